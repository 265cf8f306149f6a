"""Static tracepoints of user space (USDT): where they are in a file, and where their arguments are when one is hit.

``STAP_PROBE2(provider, name, x, y)`` of <sys/sdt.h> compiles to one ``nop`` instruction, and to a note in the ELF
section ``.note.stapsdt``, which says where the instruction is and how the compiler has come to keep ``x`` and ``y``
there: ``-4@%edi 8@-24(%rbp)`` are a signed 4-byte number in a register, and 8 bytes on the stack.  The same tracepoint
may be in many places, as code gets inlined, each with arguments of its own.  It may have a semaphore, a 16-bit counter
that the program looks at to find out whether anybody is tracing.

Notes are not loaded with the program, so tools that move it, as prelink did, leave the addresses in them alone.  The
section ``.stapsdt.base`` is moved, and each note has its old address; the difference is to be added.

Format: https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation.  The part after the @ is an operand in the
assembler's language.  `parse_arguments` knows those that libbpf does.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from purebpf.errors import ObjectFormatError
from purebpf.obj.binary import SHT_NOTE, Binary, Segment, string

_NOTES, _BASE = ".note.stapsdt", ".stapsdt.base"
_NOTE_NAME, _NOTE_TYPE = b"stapsdt\0", 3
_ADDRESS: Final = {32: "I", 64: "Q"}
MAX_ARGUMENTS = 12
"""BPF_USDT_MAX_ARG_CNT of usdt.bpf.h."""


class Note(NamedTuple):
    """A static tracepoint at one place, as the file says it.  The addresses are those in memory, not moved yet."""

    provider: str
    name: str
    location: int
    base: int
    semaphore: int
    arguments: str


class Site(NamedTuple):
    """A place of a static tracepoint.

    ``offset`` is that of its instruction in the file, ``address`` that in memory of a program that is not relocated
    when it starts.  ``semaphore`` is the offset in the file of its semaphore, 0 if it has none.
    """

    offset: int
    address: int
    semaphore: int
    arguments: str


def notes(binary: Binary) -> list[Note]:
    """All notes about static tracepoints in a file.  Raises ObjectFormatError for one that is malformed."""
    section = binary.section(_NOTES)
    if section is None:
        return []
    where = f"{binary.path}, section {_NOTES!r}"
    if section.type != SHT_NOTE:
        raise ObjectFormatError(f"its type is {section.type}, expected SHT_NOTE ({SHT_NOTE})", where=where)
    found = []
    for at, name, kind, description in _records(binary.content(section), binary.prefix, where):
        if name != _NOTE_NAME or kind != _NOTE_TYPE:
            raise ObjectFormatError(f"a note of type {kind} by {name!r}", where=f"{where}, offset {at}")
        found.append(_note(binary, description, f"{where}, offset {at}"))
    return found


def _records(data: bytes, prefix: str, where: str) -> Iterator[tuple[int, bytes, int, bytes]]:
    """Each note: its offset, name, type and description.  The parts are padded to multiples of 4."""
    header = struct.Struct(prefix + "III")
    at = 0
    while at < len(data):
        if at + header.size > len(data):
            raise ObjectFormatError("a note that is cut off", where=f"{where}, offset {at}")
        name_size, size, kind = header.unpack_from(data, at)
        name = at + header.size
        description = name + -(-name_size // 4) * 4
        if description + size > len(data):
            raise ObjectFormatError("a note that is cut off", where=f"{where}, offset {at}")
        yield at, data[name : name + name_size], kind, data[description : description + size]
        at = description + -(-size // 4) * 4


def _note(binary: Binary, data: bytes, where: str) -> Note:
    addresses = struct.Struct(binary.prefix + 3 * _ADDRESS[binary.bits])
    texts = data[addresses.size :].split(b"\0")
    if len(data) < addresses.size or len(texts) < 4 or not texts[1]:
        raise ObjectFormatError("expected three addresses and three strings, provider, name, arguments", where=where)
    provider, name, arguments = (string(text, 0) for text in texts[:3])
    location, base, semaphore = addresses.unpack_from(data)
    return Note(provider, name, location, base, semaphore, "" if arguments.startswith(":") else arguments)


def sites(binary: Binary, provider: str, name: str) -> list[Site]:
    """Where a static tracepoint is.  Raises ObjectFormatError if a note does not fit the file."""
    base = binary.section(_BASE)
    found = []
    for note in notes(binary):
        if (note.provider, note.name) != (provider, name):
            continue
        moved = base.address - note.base if base is not None and base.address and note.base else 0
        address = note.location + moved
        offset = _file_offset(binary, address, f"static tracepoint {provider}:{name}", executable=True)
        semaphore = 0
        if note.semaphore:
            what = f"the semaphore of static tracepoint {provider}:{name}"
            semaphore = _file_offset(binary, note.semaphore + moved, what, executable=False)
        found.append(Site(offset, address, semaphore, note.arguments))
    return found


def _file_offset(binary: Binary, address: int, what: str, *, executable: bool) -> int:
    segment: Segment | None = next((each for each in binary.segments if each.holds(address)), None)
    if segment is None:
        raise ObjectFormatError(f"{what} is said to be at {address:#x}, in no segment", where=binary.path)
    if segment.executable != executable:
        kind = "executable" if segment.executable else "not executable"
        raise ObjectFormatError(f"{what} is said to be at {address:#x}, in a segment that is {kind}", where=binary.path)
    return address - segment.address + segment.offset


class ArgumentType(IntEnum):
    """Where an argument is: ``enum __bpf_usdt_arg_type`` of usdt.bpf.h."""

    BPF_USDT_ARG_CONST = 0  # value
    BPF_USDT_ARG_REG = 1  # in a register
    BPF_USDT_ARG_REG_DEREF = 2  # in memory at register + value
    BPF_USDT_ARG_SIB = 3  # in memory at register + index register * scale + value


class Argument(NamedTuple):
    """One argument.  ``size`` is in bytes, registers are offsets in the kernel's ``struct pt_regs`` in bytes."""

    type: ArgumentType
    size: int
    signed: bool
    value: int = 0
    register: int = 0
    index_register: int = 0
    scale_bitshift: int = 0


def _numbered(names: str, size: int, start: int = 0) -> dict[str, int]:
    """Offsets of registers that follow each other; those with several names are separated by slashes, "-" is none."""
    places = enumerate(names.split())
    return {name: start + size * place for place, slot in places for name in slot.split("/") if name != "-"}


def _many(letter: str, count: int) -> str:
    return " ".join(f"{letter}{number}" for number in range(count))


def _extended(number: int) -> str:
    return f"r{number}/r{number}d/r{number}w/r{number}b"


# struct pt_regs of arch/x86/include/asm/ptrace.h; struct user_pt_regs of the others' uapi/asm/ptrace.h, on riscv
# user_regs_struct.
_X86_64: Final = " ".join(
    (
        *(_extended(number) for number in (15, 14, 13, 12)),
        "rbp/ebp/bp/bpl rbx/ebx/bx/bl",
        *(_extended(number) for number in (11, 10, 9, 8)),
        "rax/eax/ax/al rcx/ecx/cx/cl rdx/edx/dx/dl rsi/esi/si/sil rdi/edi/di/dil - rip/eip - - rsp/esp/sp/spl",
    )
)
_I386 = "ebx/bx/bl ecx/cx/cl edx/dx/dl esi/si/sil edi/di/dil ebp/bp/bpl eax/ax/al - - - - - eip - - esp/sp/spl"
_RISCV = "- ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"

_REGISTERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": _numbered(_X86_64, 8),
    "i386": _numbered(_I386, 4),
    "aarch64": _numbered(f"{_many('x', 31)} sp", 8),
    "arm": _numbered(f"{_many('r', 11)} fp ip sp lr pc", 4),
    "riscv64": _numbered(_RISCV, 8),
    "s390x": _numbered(_many("r", 16), 8, 24),  # after args[1] and psw
}

_OFFSET, _REGISTER = r"(?P<value>[+-]?\d+)", r"(?P<register>[a-z0-9]+)"
_CONST, _REG, _REG_DEREF, _SIB = ArgumentType
_X86_FORMS: Final = (
    (
        _SIB,
        rf"{_OFFSET}?\s*\(\s*%{_REGISTER}\s*,\s*%(?P<index>[a-z0-9]+)\s*(?:,\s*(?P<scale>[+-]?\d+)\s*)?\)",
    ),
    (_REG_DEREF, rf"{_OFFSET}?\s*\(\s*%{_REGISTER}\s*\)"),
    (_REG, rf"%{_REGISTER}"),
    (_CONST, rf"\${_OFFSET}"),
)
_FORMS: Final[dict[str, tuple[tuple[ArgumentType, str], ...]]] = {
    "x86_64": _X86_FORMS,
    "i386": _X86_FORMS,
    "aarch64": (
        (_REG_DEREF, rf"\[\s*{_REGISTER}\s*(?:,\s*{_OFFSET}\s*)?\]"),
        (_CONST, _OFFSET),
        (_REG, _REGISTER),
    ),
    "arm": (
        (_REG_DEREF, rf"\[\s*{_REGISTER}\s*(?:,\s*#{_OFFSET}\s*)?\]"),
        (_CONST, rf"#{_OFFSET}"),
        (_REG, _REGISTER),
    ),
    "riscv64": (
        (_REG_DEREF, rf"{_OFFSET}\s*\(\s*{_REGISTER}\s*\)"),
        (_CONST, _OFFSET),
        (_REG, _REGISTER),
    ),
    "s390x": (
        (_REG_DEREF, rf"{_OFFSET}\s*\(\s*%{_REGISTER}\s*\)"),
        (_REG, rf"%{_REGISTER}"),
        (_CONST, _OFFSET),
    ),
}
"""The operands of each machine's assembler, in the order in which they are tried."""

_SCALES: Final = {1: 0, 2: 1, 4: 2, 8: 3}


def parse_arguments(text: str, machine: str) -> list[Argument]:
    """The arguments that a note describes, on a machine by its name in `purebpf.abi.syscalls`.

    Raises ValueError for what is not understood, and for more than MAX_ARGUMENTS.
    """
    if machine not in _FORMS:
        raise ValueError(f"purebpf does not know the registers of {machine}; it knows those of {', '.join(_FORMS)}")
    found: list[Argument] = []
    at = len(text) - len(text.lstrip())
    while at < len(text):
        if len(found) == MAX_ARGUMENTS:
            raise ValueError(f"{text!r} has more than {MAX_ARGUMENTS} arguments")
        for kind, form in _FORMS[machine]:
            matched = re.compile(rf"(?P<size>[+-]?\d+)\s*@\s*{form}(?:\s+|$)").match(text, at)
            if matched:
                found.append(_argument(kind, matched, machine))
                at = matched.end()
                break
        else:
            raise ValueError(f"argument {len(found)} is {text[at:].split()[0]!r}, which purebpf cannot read")
    return found


def _argument(kind: ArgumentType, matched: re.Match[str], machine: str) -> Argument:
    fields = matched.groupdict()
    size = int(fields["size"])
    scale = int(fields.get("scale") or 1)
    if abs(size) not in (1, 2, 4, 8):
        raise ValueError(f"{matched[0].strip()!r} has {abs(size)} bytes, not 1, 2, 4 or 8")
    if scale not in _SCALES:
        raise ValueError(f"{matched[0].strip()!r}: an index is multiplied by 1, 2, 4 or 8, not {scale}")
    registers = _REGISTERS[machine]
    for name in (fields.get("register"), fields.get("index")):
        if name and name not in registers:
            raise ValueError(f"{matched[0].strip()!r}: {machine} has no register {name!r}")
    return Argument(
        kind,
        abs(size),
        size < 0,
        int(fields.get("value") or 0),
        registers.get(fields.get("register") or "", 0),
        registers.get(fields.get("index") or "", 0),
        _SCALES[scale],
    )
