"""BPF instructions as data: bytes to instructions and back, and instructions as readable text.

- ``instruction``: the opcodes, ``Instruction``, ``decode`` and ``encode``;
- ``disassemble``: a listing that reads like ``llvm-objdump -d``;
- ``helpers``: the numbers and names of the kernel's helper functions.

Nothing here touches the kernel.  The instruction set is defined in the kernel's
Documentation/bpf/standardization/instruction-set.rst (also RFC 9669).
"""
