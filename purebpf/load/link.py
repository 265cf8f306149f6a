"""Linking: a program and the subprograms that it calls become one piece of code.

The kernel wants each program with its own copy of every function it calls.  Calls are followed depth first; a function
is appended when its first call is met.  After that each call's immediate is the distance, in instruction slots, from
the instruction after it to the function.  Taking a function's address, for a callback, is followed and counted in the
same way; clang leaves a plain load there, which a source register of BPF_PSEUDO_FUNC makes the address of a function.
The order is libbpf's.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from purebpf.abi.bpf import BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC
from purebpf.asm.instruction import BPF_CALL, BPF_DW, BPF_IMM, BPF_JMP, BPF_LD
from purebpf.btf.types import DeclTag, Func
from purebpf.errors import ObjectFormatError
from purebpf.obj.spec import ObjectSpec, ProgramSpec, Relocation

_SLOT = 8
_EXCEPTION_TAG = "exception_callback:"
_GLOBAL = 1  # BTF_FUNC_GLOBAL
_OP_CALL = BPF_JMP | BPF_CALL
_OP_LD_IMM64 = BPF_LD | BPF_IMM | BPF_DW
_CALL_OR_LOAD = re.compile(bytes([_OP_CALL]) + rb"|\x%02x.?" % _OP_LD_IMM64, re.DOTALL)
"""Finds calls and 64-bit loads, which take two slots, in the opcodes of a function."""


class Part(NamedTuple):
    """A function inside linked code: it begins at instruction slot ``start``."""

    function: ProgramSpec
    start: int


class Linked(NamedTuple):
    """A program's code with all it calls.  ``code`` is bytes; the first part is the program itself."""

    code: bytearray
    parts: tuple[Part, ...]

    def relocations(self) -> list[Relocation]:
        """The relocations of all parts, counted from the start of the code."""
        return [
            Relocation(part.start + entry.insn, entry.kind, entry.target, entry.offset)
            for part in self.parts
            for entry in part.function.relocations
        ]


def link(
    spec: ObjectSpec, program: ProgramSpec, patched: dict[int, bytes], callback: ProgramSpec | None = None
) -> Linked:
    """Append to ``program`` every subprogram that it reaches, and point the calls at them.

    ``patched`` holds the instructions of functions after CO-RE relocation, by ``id`` of their ProgramSpec.
    ``callback`` is appended last, with what it calls: the kernel calls it when the program throws an exception.
    """
    code = bytearray(patched.get(id(program), program.insns))
    starts = {id(program): 0}
    parts = [Part(program, 0)]

    def append(function: ProgramSpec) -> _Walk:
        starts[id(function)] = len(code) // _SLOT
        parts.append(Part(function, starts[id(function)]))
        code.extend(patched.get(id(function), function.insns))
        return _Walk(spec, function, starts[id(function)], code)

    walks = [_Walk(spec, program, 0, code)]
    while walks:
        step = walks[-1].next_call(code)
        if step is None:
            walks.pop()
            if not walks and callback is not None and id(callback) not in starts:
                walks.append(append(callback))
            continue
        slot, callee = step
        if id(callee) not in starts:
            walks.append(append(callee))
        struct.pack_into(_order(spec) + "i", code, slot * _SLOT + 4, starts[id(callee)] - slot - 1)
    return Linked(code, tuple(parts))


def has_exception_tags(spec: ObjectSpec) -> bool:
    """Whether there may be a tag ``exception_callback:NAME`` at all."""
    return spec.btf is not None and _EXCEPTION_TAG.encode() in spec.btf.data


def exception_callbacks(spec: ObjectSpec) -> dict[str, ProgramSpec]:
    """By program, the subprogram that a tag ``exception_callback:NAME`` on its main function names.

    A program with several such tags gets none here; the verifier refuses it.
    """
    found: dict[str, ProgramSpec] = {}
    btf = spec.btf
    if btf is None or not has_exception_tags(spec):
        return found
    tagged: set[str] = set()
    for tag in map(btf.type, range(1, len(btf))):
        if not isinstance(tag, DeclTag) or tag.component_idx != -1 or not tag.name.startswith(_EXCEPTION_TAG):
            continue
        function, name = btf.type(tag.type_id), tag.name.removeprefix(_EXCEPTION_TAG)
        where = f"BTF type {tag.id} (DECL_TAG {tag.name!r})"
        if not isinstance(function, Func) or function.linkage != _GLOBAL:
            raise ObjectFormatError("is not on a program", where=where)
        callback = next((one for one in spec.subprograms.values() if one.name == name), None)
        linkages = [kind.linkage for id in btf.find(name, Func) if isinstance(kind := btf.type(id), Func)]
        if callback is None or linkages != [_GLOBAL]:
            raise ObjectFormatError("names no global function that is not hidden", where=where)
        if function.name in tagged:
            found.pop(function.name, None)
        else:
            found[function.name] = callback
        tagged.add(function.name)
    return found


def set_source(code: bytearray, position: int, source: int, byteorder: str) -> None:
    """Set an instruction's source register; the two registers share a byte, in the machine's order."""
    registers = code[position + 1]
    code[position + 1] = registers & 0x0F | source << 4 if byteorder == "little" else registers & 0xF0 | source


def _order(spec: ObjectSpec) -> str:
    return "<" if spec.byteorder == "little" else ">"


class _Walk:
    """Goes through the instructions of one function that stands at slot ``start`` and finds its calls, one by one."""

    def __init__(self, spec: ObjectSpec, function: ProgramSpec, start: int, code: bytearray) -> None:
        self.spec = spec
        self.function = function
        self.start = start
        self.targets = {entry.insn: entry for entry in function.relocations}
        opcodes = code[start * _SLOT : start * _SLOT + len(function.insns) : _SLOT]
        self.candidates = _CALL_OR_LOAD.finditer(bytes(opcodes))

    def next_call(self, code: bytearray) -> tuple[int, ProgramSpec] | None:
        """The slot of the next call or function pointer and the function it means; None at the end."""
        for candidate in self.candidates:
            slot = candidate.start()
            position = (self.start + slot) * _SLOT
            opcode, registers = code[position], code[position + 1]
            source = registers >> 4 if self.spec.byteorder == "little" else registers & 0xF
            entry = self.targets.get(slot)
            is_call = opcode == _OP_CALL and source == BPF_PSEUDO_CALL
            takes_address = source == BPF_PSEUDO_FUNC or (entry is not None and entry.kind == "function")
            is_pointer = opcode == _OP_LD_IMM64 and takes_address
            if not (is_call or is_pointer) or (entry is not None and entry.kind == "extern"):
                continue
            if is_pointer:
                set_source(code, position, BPF_PSEUDO_FUNC, self.spec.byteorder)
            (imm,) = struct.unpack_from(_order(self.spec) + "i", code, position + 4)
            return self.start + slot, self._callee(slot, imm, entry, is_call)
        return None

    def _callee(self, slot: int, imm: int, entry: Relocation | None, is_call: bool) -> ProgramSpec:
        """Where a call goes: without a relocation, relative to its own place in the section ``.text``."""
        if entry is None:
            offset = self.function.section_offset + (slot + imm + 1) * _SLOT if is_call else -1
        elif is_call:
            offset = entry.offset + (imm + 1) * _SLOT
        else:
            offset = entry.offset + imm
        callee = self.spec.subprograms.get(offset)
        if callee is None:
            raise ObjectFormatError(
                f"instruction {slot} refers to a function at byte {offset} of section '.text', where none begins",
                where=f"function {self.function.name!r}",
            )
        return callee
