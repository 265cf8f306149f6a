"""Instructions as text, in the syntax of ``llvm-objdump -d`` and of clang's BPF assembler.

Each instruction class has a function, each operation an entry in a table.  A lookup that fails means that the
instruction set has no such instruction, and its text is ``<unknown>``, as llvm-objdump has it.  As in
llvm-objdump, a field that an instruction does not use is not looked at: it is for the verifier to judge.

The text is that of ``llvm-objdump --mcpu=v4``, the newest instruction set of LLVM 19.  What came later is
written as later LLVMs write it: ``load_acquire`` and ``store_release`` (LLVM 20), ``gotox`` (LLVM 22).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from purebpf.asm import instruction as isa
from purebpf.asm.instruction import SLOT_SIZE, Instruction, imm64

UNKNOWN = "<unknown>"


def disassemble(instructions: Sequence[Instruction], *, labels: Mapping[int, str] | None = None) -> list[str]:
    """The lines of a listing as ``llvm-objdump -d --no-show-raw-insn`` prints it: ``       0:\\tr1 = 0x5``.

    The number before an instruction is that of its slot.  ``labels`` names slots, usually by the symbols of
    their section.  Each name is announced by an empty line and a line with its address in bytes, and each
    jump then says where it leads: ``goto +0x3 <LBB0_2>``, or ``<LBB0_2+0x10>`` if no name is nearer.
    """
    labels = labels or {}
    labelled = sorted(labels)
    lines = []
    slot = 0
    while slot < len(instructions):
        if slot in labels:
            lines += ["", f"{slot * SLOT_SIZE:016x} <{labels[slot]}>:"]
        instruction = instructions[slot]
        text = instruction_text(*instructions[slot : slot + 2])
        displacement = _displacement(instruction)
        if labels and displacement is not None and text != UNKNOWN:
            # Addresses are unsigned, so a jump to before the section is one far behind it.
            target = (slot + 1 + displacement) % (2**64 // SLOT_SIZE)
            text += _nearest_label(target, labels, labelled)
        lines.append(f"{slot:8}:\t{text}")
        slot += 2 if instruction.is_ld_imm64 and text != UNKNOWN else 1
    return lines


def _nearest_label(target: int, labels: Mapping[int, str], labelled: list[int]) -> str:
    following = bisect_right(labelled, target)
    if following == 0:
        return ""
    label = labelled[following - 1]
    offset = f"+{(target - label) * SLOT_SIZE:#x}" if target > label else ""
    return f" <{labels[label]}{offset}>"


def _displacement(instruction: Instruction) -> int | None:
    """How many slots after the next one a jump leads; None for no jump, or if a register says where."""
    if instruction.opcode == isa.BPF_JMP32 | isa.BPF_JA:
        return instruction.imm
    if instruction.opcode == isa.BPF_JMP | isa.BPF_JA | isa.BPF_X:
        return None
    is_jump = instruction.opcode & isa.BPF_CLASS_MASK in (isa.BPF_JMP, isa.BPF_JMP32)
    leaves = instruction.opcode & isa.BPF_OP_MASK in (isa.BPF_CALL, isa.BPF_EXIT)
    return instruction.off if is_jump and not leaves else None


def instruction_text(instruction: Instruction, following: Instruction | None = None) -> str:
    """The text of one instruction: ``r1 = *(u64 *)(r1 + 0x10)``.

    ``following`` is the slot after it: the second half of an ``ld_imm64``, and ignored for anything else.
    """
    try:
        if instruction.is_ld_imm64:
            return _ld_imm64(instruction, following)
        return _TEXT_OF_CLASS[instruction.opcode & isa.BPF_CLASS_MASK](instruction)
    except LookupError:
        return UNKNOWN


# Programs have r0 to r10; r11 is the kernel's own, which a program cannot name and llvm-objdump can.
_R = tuple(f"r{number}" for number in range(12))
_W = tuple(f"w{number}" for number in range(12))  # their lower 32 bits

_BITS = {isa.BPF_B: 8, isa.BPF_H: 16, isa.BPF_W: 32, isa.BPF_DW: 64}


def _bits(instruction: Instruction) -> int:
    return _BITS[instruction.opcode & isa.BPF_SIZE_MASK]


def _address(register: int, off: int) -> str:
    return f"{_R[register]} {'-' if off < 0 else '+'} {abs(off):#x}"


def _ld_imm64(instruction: Instruction, following: Instruction | None) -> str:
    if following is None or instruction.off != 0:
        return UNKNOWN
    dst, value = _R[instruction.dst_reg], f"{imm64(instruction, following):#x}"
    if instruction.src_reg == 0:
        return f"{dst} = {value} ll"
    return f"ld_pseudo\t{dst}, {instruction.src_reg:#x}, {value}"


def _ld(instruction: Instruction) -> str:
    mode, bits = instruction.opcode & isa.BPF_MODE_MASK, _bits(instruction)
    if mode not in (isa.BPF_ABS, isa.BPF_IND) or bits == 64:
        return UNKNOWN
    index = f"{instruction.imm:#x}" if mode == isa.BPF_ABS else _R[instruction.src_reg]
    return f"r0 = *(u{bits} *)skb[{index}]"


def _ldx(instruction: Instruction) -> str:
    mode, bits = instruction.opcode & isa.BPF_MODE_MASK, _bits(instruction)
    address = _address(instruction.src_reg, instruction.off)
    if mode == isa.BPF_MEM:
        return f"{(_R if bits == 64 else _W)[instruction.dst_reg]} = *(u{bits} *)({address})"
    if mode == isa.BPF_MEMSX and bits != 64:
        return f"{_R[instruction.dst_reg]} = *(s{bits} *)({address})"
    return UNKNOWN


def _st(instruction: Instruction) -> str:
    if instruction.opcode & isa.BPF_MODE_MASK != isa.BPF_MEM:
        return UNKNOWN
    address = _address(instruction.dst_reg, instruction.off)
    return f"*(u{_bits(instruction)} *)({address}) = {instruction.imm:#x}"


def _stx(instruction: Instruction) -> str:
    mode, bits = instruction.opcode & isa.BPF_MODE_MASK, _bits(instruction)
    if mode == isa.BPF_ATOMIC:
        return _atomic(instruction)
    if mode != isa.BPF_MEM:
        return UNKNOWN
    source = (_R if bits == 64 else _W)[instruction.src_reg]
    return f"*(u{bits} *)({_address(instruction.dst_reg, instruction.off)}) = {source}"


_ATOMIC_OPERATIONS = {
    isa.BPF_ADD: ("+=", "add"),
    isa.BPF_OR: ("|=", "or"),
    isa.BPF_AND: ("&=", "and"),
    isa.BPF_XOR: ("^=", "xor"),
}


def _atomic(instruction: Instruction) -> str:
    # All of imm counts, as for the kernel; LLVM 19 looks at its lowest byte alone.
    operation, bits = instruction.imm, _bits(instruction)
    register = _R if bits == 64 else _W
    dst, src = register[instruction.dst_reg], register[instruction.src_reg]
    if operation == isa.BPF_LOAD_ACQ:
        return f"{dst} = load_acquire((u{bits} *)({_address(instruction.src_reg, instruction.off)}))"
    address = _address(instruction.dst_reg, instruction.off)
    if operation == isa.BPF_STORE_REL:
        return f"store_release((u{bits} *)({address}), {src})"
    if bits < 32:
        return UNKNOWN
    width = "_64" if bits == 64 else "32_32"
    if operation == isa.BPF_XCHG:
        return f"{src} = xchg{width}({address}, {src})"
    if operation == isa.BPF_CMPXCHG:
        return f"{register[0]} = cmpxchg{width}({address}, {register[0]}, {src})"
    assignment, name = _ATOMIC_OPERATIONS[operation & ~isa.BPF_FETCH]
    if operation & isa.BPF_FETCH:
        return f"{src} = atomic_fetch_{name}((u{bits} *)({address}), {src})"
    return f"lock *(u{bits} *)({address}) {assignment} {src}"


# The assignment operator, by the operation and by off, which chooses between unsigned and signed.
_ASSIGNMENTS = {
    (isa.BPF_ADD, 0): "+=",
    (isa.BPF_SUB, 0): "-=",
    (isa.BPF_MUL, 0): "*=",
    (isa.BPF_DIV, 0): "/=",
    (isa.BPF_DIV, 1): "s/=",
    (isa.BPF_OR, 0): "|=",
    (isa.BPF_AND, 0): "&=",
    (isa.BPF_LSH, 0): "<<=",
    (isa.BPF_RSH, 0): ">>=",
    (isa.BPF_MOD, 0): "%=",
    (isa.BPF_MOD, 1): "s%=",
    (isa.BPF_XOR, 0): "^=",
    (isa.BPF_MOV, 0): "=",
    (isa.BPF_ARSH, 0): "s>>=",
}
_BYTE_SWAPS = {
    isa.BPF_ALU | isa.BPF_END | isa.BPF_TO_LE: "le",
    isa.BPF_ALU | isa.BPF_END | isa.BPF_TO_BE: "be",
    isa.BPF_ALU64 | isa.BPF_END: "bswap",
}
_SWAP_WIDTHS = {16: "16", 32: "32", 64: "64"}
_SIGN_EXTENSIONS = {8: "(s8)", 16: "(s16)", 32: "(s32)"}


def _alu(instruction: Instruction) -> str:
    opcode, off, imm = instruction.opcode, instruction.off, instruction.imm
    if opcode in _BYTE_SWAPS:
        register = _R[instruction.dst_reg]
        return f"{register} = {_BYTE_SWAPS[opcode]}{_SWAP_WIDTHS[imm]} {register}"
    is_64bit = opcode & isa.BPF_CLASS_MASK == isa.BPF_ALU64
    registers = _R if is_64bit else _W
    dst = registers[instruction.dst_reg]
    operation = opcode & (isa.BPF_OP_MASK | isa.BPF_SRC_MASK)
    if operation == isa.BPF_NEG:
        return f"{dst} = -{dst}"
    if operation == isa.BPF_MOV | isa.BPF_X and off != 0:
        src = registers[instruction.src_reg]
        if off == isa.BPF_ADDR_SPACE_CAST and is_64bit:
            return f"{dst} = addr_space_cast({src}, {imm >> 16 & 0xFFFF:#x}, {imm & 0xFFFF:#x})"
        if off == 32 and not is_64bit:
            return UNKNOWN
        return f"{dst} = {_SIGN_EXTENSIONS[off]}{src}"
    return f"{dst} {_ASSIGNMENTS[opcode & isa.BPF_OP_MASK, off]} {_operand(instruction, registers)}"


_COMPARISONS = {
    isa.BPF_JEQ: "==",
    isa.BPF_JGT: ">",
    isa.BPF_JGE: ">=",
    isa.BPF_JSET: "&",
    isa.BPF_JNE: "!=",
    isa.BPF_JSGT: "s>",
    isa.BPF_JSGE: "s>=",
    isa.BPF_JLT: "<",
    isa.BPF_JLE: "<=",
    isa.BPF_JSLT: "s<",
    isa.BPF_JSLE: "s<=",
}


def _jmp(instruction: Instruction) -> str:
    opcode, off, imm = instruction.opcode, instruction.off, instruction.imm
    if opcode == isa.BPF_JMP | isa.BPF_JA:
        return f"goto {off:+#x}"
    if opcode == isa.BPF_JMP32 | isa.BPF_JA:
        return f"gotol {imm:+#x}"
    if opcode == isa.BPF_JMP | isa.BPF_JA | isa.BPF_X:
        return f"gotox {_R[instruction.dst_reg]}"
    if opcode == isa.BPF_JMP | isa.BPF_JCOND:
        return f"may_goto {off:+#x}"
    if opcode == isa.BPF_JMP | isa.BPF_CALL:
        return f"call {imm:#x}"
    if opcode == isa.BPF_JMP | isa.BPF_CALL | isa.BPF_X:
        return f"callx {_R[instruction.dst_reg]}"
    if opcode == isa.BPF_JMP | isa.BPF_EXIT and imm == 0:
        return "exit"
    registers = _R if opcode & isa.BPF_CLASS_MASK == isa.BPF_JMP else _W
    comparison = _COMPARISONS[opcode & isa.BPF_OP_MASK]
    dst, operand = registers[instruction.dst_reg], _operand(instruction, registers)
    return f"if {dst} {comparison} {operand} goto {off:+#x}"


def _operand(instruction: Instruction, registers: tuple[str, ...]) -> str:
    is_register = instruction.opcode & isa.BPF_SRC_MASK == isa.BPF_X
    return registers[instruction.src_reg] if is_register else f"{instruction.imm:#x}"


_TEXT_OF_CLASS = {
    isa.BPF_LD: _ld,
    isa.BPF_LDX: _ldx,
    isa.BPF_ST: _st,
    isa.BPF_STX: _stx,
    isa.BPF_ALU: _alu,
    isa.BPF_JMP: _jmp,
    isa.BPF_JMP32: _jmp,
    isa.BPF_ALU64: _alu,
}
