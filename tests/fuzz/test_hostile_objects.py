"""Objects made to cost time or memory: small files, from which a careless reader makes gigabytes, or works for hours.

Each goes through the whole pure path within the limits of limits.py, and is refused where it would cost more.
"""

from __future__ import annotations

import struct
import time

import pytest
from elf_image import SHF_EXECINSTR, SHT_NOBITS, SHT_REL, STB_GLOBAL, STT_FUNC, STT_OBJECT, build
from limits import MAX_SECONDS, go_through, limited

import purebpf

EXIT = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
CALL = bytes.fromhex("85100000ffffffff")
FACTS = purebpf.KernelFacts.offline(release="6.1.0")
CODE = {"flags": SHF_EXECINSTR}


def refused(image, message):
    with limited(), pytest.raises(purebpf.PureBpfError, match=message):
        go_through(image, FACTS)


def relocations(target, *entries):
    table = b"".join(struct.pack("<QQ", offset, symbol << 32 | 10) for offset, symbol in entries)
    return table, {"type": SHT_REL, "info": target, "entsize": 16}


def test_limits_hold():
    with pytest.raises(MemoryError), limited():
        bytearray(4 << 30)  # more than what other tests have left free in the heap
    with pytest.raises(AssertionError, match=r"this took 1\.\d s"), limited():
        until = time.thread_time() + 1.01 * MAX_SECONDS
        while time.thread_time() < until:
            pass


def test_sections_of_the_same_bytes():
    content = bytes(4 << 20)
    same = [(f".data.{number}", b"", {"offset": 64, "size": len(content)}) for number in range(2000)]
    refused(build([(".data", content, {}), *same]), r"section '\.data\.0': overlaps others")


def test_programs_of_the_same_code():
    """What other names mean the same code costs nothing to parse; but each is a program of its own."""
    symbols = [(f"f{number}", 1, 0, 16 * 20_000, STT_FUNC, STB_GLOBAL) for number in range(2000)]
    refused(build([("xdp", EXIT * 20_000, CODE)], symbols), r"the plan becomes too large at program 'f\d+'")


def test_a_large_subprogram_of_many_programs():
    count, size = 1000, 20_000
    table, fields = relocations(1, *((24 * number, count + 1) for number in range(count)))
    sections = [("xdp", (CALL + EXIT) * count, CODE), (".relxdp", table, fields), (".text", EXIT * size, CODE)]
    symbols = [(f"f{number}", 1, 24 * number, 24, STT_FUNC, STB_GLOBAL) for number in range(count)]
    symbols.append(("large", 3, 0, 16 * size, STT_FUNC, STB_GLOBAL))
    refused(build(sections, symbols), r"the plan becomes too large at program 'f\d+'")


def test_many_constants_of_many_programs():
    """Each section of constants is bound to each program."""
    symbols = [(f"f{number}", 1, 16 * number, 16, STT_FUNC, STB_GLOBAL) for number in range(400)]
    constants = [(f".rodata.{number}", b"x", {}) for number in range(400)]
    refused(build([("xdp", EXIT * 400, CODE), *constants], symbols), r"the plan becomes too large at program 'f\d+'")


def test_a_long_chain_of_calls():
    """Each function calls the next one: deeper than Python can follow by recursion."""
    count = 2000
    call_next = struct.pack("<BBhi", 0x85, 0x10, 0, 2) + EXIT
    table, fields = relocations(2, (0, 1))
    code = call_next * (count - 1) + EXIT.ljust(24, b"\0")
    sections = [(".text", code, CODE), ("xdp", CALL + EXIT, CODE), (".relxdp", table, fields)]
    symbols = [(f"f{number}", 1, 24 * number, 24, STT_FUNC, STB_GLOBAL) for number in range(count)]
    with limited():
        assert go_through(build(sections, [*symbols, ("main", 2, 0, 24, STT_FUNC, STB_GLOBAL)]), FACTS) == 1


def test_functions_that_call_each_other_and_themselves():
    code = struct.pack("<BBhi", 0x85, 0x10, 0, -1) + struct.pack("<BBhi", 0x85, 0x10, 0, -2) + EXIT
    table, fields = relocations(2, (0, 1))
    sections = [(".text", code, CODE), ("xdp", CALL + EXIT, CODE), (".relxdp", table, fields)]
    symbols = [("f", 1, 0, 32, STT_FUNC, STB_GLOBAL), ("main", 2, 0, 24, STT_FUNC, STB_GLOBAL)]
    with limited():
        assert go_through(build(sections, symbols), FACTS) == 1


def test_zeros():
    """64 MiB of them cost their own size, in the spec, in the plan and in the call."""
    with limited():
        assert go_through(build([(".bss", b"", {"type": SHT_NOBITS, "size": 64 << 20})]), FACTS) == 2
    refused(build([(".bss", b"", {"type": SHT_NOBITS, "size": 4 << 30})]), "section '.bss': 4294967296 zero bytes")


def test_many_symbols_of_one_long_name():
    name = "x" * 4000
    symbols = [(name, 1, 0, 0, STT_OBJECT, STB_GLOBAL)] * 3000
    with limited():
        assert go_through(build([("data", b"", {})], symbols), FACTS) == 0


def test_many_legacy_maps():
    definition = struct.pack("<5I", 1, 4, 4, 0xFFFFFFFF, 0)
    symbols = [(f"m{number}", 1, 20 * number, 20, STT_OBJECT, STB_GLOBAL) for number in range(1000)]
    with limited():
        assert go_through(build([("maps", definition * 1000, {})], symbols), FACTS) == 1000


def test_many_sections_of_one_name():
    for name, fields in (("maps", {}), ("license", {}), ("xdp", CODE), (".text", CODE)):
        with limited():
            assert go_through(build([(name, b"", fields)] * 3000), FACTS) == 0
