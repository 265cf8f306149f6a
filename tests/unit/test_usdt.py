"""Static tracepoints of user space: their notes in a file, and how the notes describe arguments, on each machine.

The forms of arguments are those in libbpf's tests and comments, and in notes that compilers made.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from purebpf.errors import ObjectFormatError
from purebpf.obj.binary import Binary
from purebpf.obj.usdt import Argument, ArgumentType, notes, parse_arguments, sites

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
LIBRARY, PROGRAM = (OBJECTS / f"probed.x86_64{suffix}" for suffix in (".so", ""))
CONST, REG, REG_DEREF, SIB = ArgumentType

# offsetof(struct pt_regs, ...), as the compiler says
X86_64 = {
    **{"r15": 0, "rbp": 32, "rbx": 40, "r8": 72, "rax": 80, "rcx": 88},
    **{"rdx": 96, "rsi": 104, "rdi": 112, "rip": 128, "rsp": 152},
}


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("x86_64", "-4@$-9", Argument(CONST, 4, True, -9)),
        ("x86_64", "8@$71", Argument(CONST, 8, False, 71)),
        ("x86_64", "8@%rdi", Argument(REG, 8, False, 0, 112)),
        ("x86_64", "-4@%edi", Argument(REG, 4, True, 0, 112)),
        ("x86_64", "-2@%cx", Argument(REG, 2, True, 0, 88)),
        ("x86_64", "-1@%sil", Argument(REG, 1, True, 0, 104)),
        ("x86_64", "1@%r15b", Argument(REG, 1, False, 0, 0)),
        ("x86_64", "-4@-1204(%rbp)", Argument(REG_DEREF, 4, True, -1204, 32)),
        ("x86_64", "8@(%rsp)", Argument(REG_DEREF, 8, False, 0, 152)),
        ("x86_64", "8@8(%rip)", Argument(REG_DEREF, 8, False, 8, 128)),
        ("x86_64", "1@-96(%rbp,%rax,8)", Argument(SIB, 1, False, -96, 32, 80, 3)),
        ("x86_64", "1@(%rbp,%rax,8)", Argument(SIB, 1, False, 0, 32, 80, 3)),
        ("x86_64", "1@-96(%rbp,%rax)", Argument(SIB, 1, False, -96, 32, 80, 0)),
        ("x86_64", "1@(%rbp,%rax)", Argument(SIB, 1, False, 0, 32, 80, 0)),
        ("x86_64", " -4 @ 4 ( %rdi , %rcx , 2 ) ", Argument(SIB, 4, True, 4, 112, 88, 1)),
        ("i386", "-4@8(%ebp)", Argument(REG_DEREF, 4, True, 8, 20)),
        ("i386", "4@%eax", Argument(REG, 4, False, 0, 24)),
        ("aarch64", "-8@x4", Argument(REG, 8, True, 0, 32)),
        ("aarch64", "-4@[sp, 96]", Argument(REG_DEREF, 4, True, 96, 248)),
        ("aarch64", "-4@[sp]", Argument(REG_DEREF, 4, True, 0, 248)),
        ("aarch64", "8@[x30, -16]", Argument(REG_DEREF, 8, False, -16, 240)),
        ("aarch64", "4@5", Argument(CONST, 4, False, 5)),
        ("riscv64", "-8@-88(s0)", Argument(REG_DEREF, 8, True, -88, 64)),
        ("riscv64", "4@5", Argument(CONST, 4, False, 5)),
        ("riscv64", "-8@a1", Argument(REG, 8, True, 0, 88)),
        ("riscv64", "-8@t6", Argument(REG, 8, True, 0, 248)),
        ("s390x", "-2@-28(%r15)", Argument(REG_DEREF, 2, True, -28, 144)),
        ("s390x", "-8@%r0", Argument(REG, 8, True, 0, 24)),
        ("s390x", "4@71", Argument(CONST, 4, False, 71)),
        ("arm", "-4@[fp, #96]", Argument(REG_DEREF, 4, True, 96, 44)),
        ("arm", "-4@[sp]", Argument(REG_DEREF, 4, True, 0, 52)),
        ("arm", "4@#5", Argument(CONST, 4, False, 5)),
        ("arm", "-8@r4", Argument(REG, 8, True, 0, 16)),
    ],
)
def test_one_argument(machine, text, expected):
    assert parse_arguments(text, machine) == [expected]


@pytest.mark.parametrize("register", X86_64)
def test_registers_of_x86_64(register):
    (argument,) = parse_arguments(f"8@%{register}", "x86_64")
    assert argument.register == X86_64[register]


def test_many_arguments():
    text = "-4@-1204(%rbp) -4@%edi -8@-1216(%rbp) -8@%r8 -4@$5 -8@%r9 8@%rdx 8@%r10 -4@$-9 -2@%cx -2@%ax -1@%sil"
    found = parse_arguments(text, "x86_64")
    assert [argument.size for argument in found] == [4, 4, 8, 8, 4, 8, 8, 8, 4, 2, 2, 1]
    assert [argument.value for argument in found] == [-1204, 0, -1216, 0, 5, 0, 0, 0, -9, 0, 0, 0]
    assert parse_arguments("", "x86_64") == parse_arguments("  ", "x86_64") == []


@pytest.mark.parametrize(
    ("machine", "text", "message"),
    [
        ("x86_64", "8@%rdi 8f@%xmm0", "argument 1 is '8f@%xmm0'"),
        ("x86_64", "-4@counter(%rip)", "argument 0 is '-4@counter"),
        ("x86_64", "8@%xmm0", "x86_64 has no register 'xmm0'"),
        ("x86_64", "8@(%rdi,%rzx)", "x86_64 has no register 'rzx'"),
        ("x86_64", "3@$1", "has 3 bytes, not 1, 2, 4 or 8"),
        ("x86_64", "0@$1", "has 0 bytes"),
        ("x86_64", "8@(%rdi,%rsi,3)", "multiplied by 1, 2, 4 or 8, not 3"),
        ("x86_64", "4@$1x", "argument 0"),
        ("x86_64", "4@5", "argument 0"),
        ("x86_64", "nonsense", "argument 0 is 'nonsense'"),
        ("x86_64", " ".join(["4@$1"] * 13), "more than 12 arguments"),
        ("aarch64", "8@x31", "aarch64 has no register 'x31'"),
        ("s390x", "8@%r16", "s390x has no register 'r16'"),
        ("loongarch64", "8@$r4", "does not know the registers of loongarch64; it knows those of x86_64"),
    ],
)
def test_arguments_that_cannot_be_read(machine, text, message):
    with pytest.raises(ValueError) as caught:
        parse_arguments(text, machine)
    assert message in str(caught.value)


# Notes


def opened(path, change=lambda data: None):
    data = bytearray(path.read_bytes())
    change(data)
    return Binary(io.BytesIO(bytes(data)), "a file")


def test_notes():
    found = notes(opened(LIBRARY))
    assert {note.provider for note in found} == {"probed"}
    names = [note.name for note in found]
    assert names.count("places") == 3
    assert set(names) >= {"nothing", "constants", "registers", "memory", "indexed", "counted", "nops"}
    assert next(note for note in found if note.name == "nothing").arguments == ""


@pytest.mark.parametrize("path", [LIBRARY, PROGRAM])
def test_places(path):
    """There is a nop."""
    binary = opened(path)
    for name, number in (("nothing", 1), ("places", 3), ("nops", 1)):
        found = sites(binary, "probed", name)
        assert len(found) == number
        assert all(binary.read(site.offset, 1, "code") == b"\x90" for site in found)
    assert sites(binary, "probed", "no") == sites(binary, "no", "places") == []
    (counted,) = sites(binary, "probed", "counted")
    assert counted.semaphore and not sites(binary, "probed", "nothing")[0].semaphore


def test_a_file_that_was_moved():
    """As by prelink: sections and segments have other addresses than the notes say, ``.stapsdt.base`` among them."""
    distance = 0x10000

    def move(data):
        segments, sections = struct.unpack_from("<QQ", data, 32)
        (segment_count,) = struct.unpack_from("<H", data, 56)
        (section_count,) = struct.unpack_from("<H", data, 60)
        for at in range(segments + 16, segments + 56 * segment_count, 56):
            struct.pack_into("<Q", data, at, struct.unpack_from("<Q", data, at)[0] + distance)
        for at in range(sections + 16, sections + 64 * section_count, 64):
            (address,) = struct.unpack_from("<Q", data, at)
            struct.pack_into("<Q", data, at, address and address + distance)

    moved, original = opened(LIBRARY, move), opened(LIBRARY)
    for name in ("places", "counted"):
        expected = [site._replace(address=site.address + distance) for site in sites(original, "probed", name)]
        assert sites(moved, "probed", name) == expected


def in_notes(binary):
    return binary.section(".note.stapsdt").offset


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 7, "a note of type 3 by b'stapsdt'"),  # the name's length
        (4, 0x7FFFFFFF, "a note that is cut off"),  # the description's
        (4, 8, "expected three addresses and three strings"),
        (8, 4, "a note of type 4 by"),
        (20, 0xFFFFFF, "static tracepoint probed:nothing is said to be at 0xffffff, in no segment"),
        (36, 0x1100, "the semaphore of static tracepoint probed:nothing .* in a segment that is executable"),
        (36, 0xFFFFFF, "the semaphore of .* in no segment"),
        (20, 0x2000, "in a segment that is not executable"),
    ],
)
def test_notes_that_are_damaged(offset, value, message):
    """Of the first note: a header of 12 bytes, a name of 8, location, base and semaphore."""
    start = in_notes(opened(LIBRARY))
    damaged = opened(LIBRARY, lambda data: struct.pack_into("<I", data, start + offset, value))
    with pytest.raises(ObjectFormatError, match=message):
        sites(damaged, "probed", "nothing")


def test_notes_in_a_section_of_another_type():
    def change(data):
        sections, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
        for at in range(sections + 4, sections + 64 * count, 64):
            if struct.unpack_from("<I", data, at)[0] == 7:
                struct.pack_into("<I", data, at, 1)

    with pytest.raises(ObjectFormatError, match="its type is 1, expected SHT_NOTE"):
        notes(opened(LIBRARY, change))
