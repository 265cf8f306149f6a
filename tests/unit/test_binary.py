"""Programs and shared libraries: what functions they have, where those are in the file, and where files are found.

The files are tests/objects/probed.*; what is true of them is in probed.c, and as nm(1) and readelf(1) showed it.
"""

from __future__ import annotations

import io
import os
import random
import struct
from pathlib import Path

import pytest

from purebpf.errors import ObjectFormatError
from purebpf.links.glob import is_pattern, matcher
from purebpf.obj import binary, symbols, usdt
from purebpf.obj.binary import ET_DYN, ET_EXEC, SHT_DYNSYM, SHT_SYMTAB, Binary

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
LIBRARY, PROGRAM = (OBJECTS / f"probed.x86_64{suffix}" for suffix in (".so", ""))


def opened(data):
    return Binary(io.BytesIO(data), "a file")


@pytest.fixture
def library():
    with Binary.open(str(LIBRARY)) as found:
        yield found


def test_kinds():
    for path, kind in ((LIBRARY, ET_DYN), (PROGRAM, ET_EXEC)):
        with Binary.open(str(path)) as found:
            assert (found.type, found.bits, found.byteorder) == (kind, 64, "little")
            assert [segment.executable for segment in found.segments].count(True) == 1


def test_both_tables(library):
    offered = {each.name: each for each in symbols.functions(library, SHT_DYNSYM)}
    known = {each.name: each for each in symbols.functions(library, SHT_SYMTAB)}
    assert "probed_static" in known and "probed_static" not in offered
    assert offered["probed_sum"].offset == known["probed_sum"].offset
    assert offered["probed_sum"].version == "PROBED_1"
    assert offered["getpid"].offset is None
    assert offered["chosen"].indirect and not offered["chosen_now"].indirect
    assert offered["probed_many_alias"].offset == offered["probed_many_one"].offset


def test_the_code_is_there(library):
    """probed_sum begins with lea (%rdi,%rsi,1),%rax."""
    (function,) = symbols.find(library, "probed_sum")
    assert library.read(function.offset, 4, "code") == bytes.fromhex("488d0437")
    with Binary.open(str(PROGRAM)) as program:
        (function,) = symbols.find(program, "probed_sum")
        assert program.read(function.offset, 4, "code") == bytes.fromhex("488d0437")


def offsets(library, name):
    return [each.offset for each in symbols.find(library, name)]


def test_versions(library):
    first, second = offsets(library, "versioned_1"), offsets(library, "versioned_2")
    assert offsets(library, "versioned@PROBED_1") == first
    assert offsets(library, "versioned@@PROBED_2") == offsets(library, "versioned@PROBED_2") == second
    assert sorted(offsets(library, "versioned")) == sorted(first + second)
    assert offsets(library, "versioned@PROBED_3") == []


@pytest.mark.parametrize("name", ["probed", "probed_su", "probed_summ", "getpid", "chosen", "", "@PROBED_1"])
def test_no_such_function(name, library):
    assert offsets(library, name) == []


# A 32-bit file of the other byte order, put together here: one function, and a weak one of the same name elsewhere.


def old_machine(second_binding):
    strings = b"\0f\0"
    names = b"\0.text\0.symtab\0.strtab\0"
    entries = [(0, 0, 0, 0, 0, 0), (1, 0x1004, 8, 0x12, 0, 1), (1, 0x1008, 8, second_binding << 4 | 2, 0, 1)]
    table = b"".join(struct.pack(">IIIBBH", *entry) for entry in entries)
    code = bytes(16)
    start = 52
    at = [start, start + len(code), start + len(code) + len(table)]
    end = at[2] + len(strings) + len(names)
    sections = [
        (0,) * 10,
        (1, 1, 6, 0x1000, at[0], len(code), 0, 0, 0, 0),
        (7, SHT_SYMTAB, 0, 0, at[1], len(table), 3, 0, 0, 16),
        (15, 3, 0, 0, at[2], len(strings), 0, 0, 0, 0),
        (15, 3, 0, 0, at[2] + len(strings), len(names), 0, 0, 0, 0),
    ]
    header = b"\x7fELF\x01\x02\x01" + bytes(9)
    header += struct.pack(">HHIIIIIHHHHHH", ET_EXEC, 8, 1, 0, 0, end, 0, 52, 32, 0, 40, len(sections), 4)
    return header + code + table + strings + names + b"".join(struct.pack(">10I", *each) for each in sections)


def test_another_word_size_and_byte_order():
    found = opened(old_machine(second_binding=2))
    assert (found.bits, found.byteorder) == (32, "big")
    assert offsets(found, "f") == [52 + 4]  # the weak one does not count
    assert sorted(offsets(opened(old_machine(second_binding=1)), "f")) == [52 + 4, 52 + 8]


# What is malformed


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x7fELF", b"#!/bin/sh\n"),
        *(b"\x7fELF" + bytes(60), b"\x7fELF\x02\x03" + bytes(58), b"\x7fELF\x02\x01" + bytes(20)),
    ],
)
def test_what_is_no_file_of_this_kind(data):
    with pytest.raises(ObjectFormatError, match="a file"):
        opened(data)


def test_cut_off_anywhere():
    data = LIBRARY.read_bytes()
    for size in range(0, len(data), 7):
        with pytest.raises(ObjectFormatError, match="a file"):
            opened(data[:size]).sections  # noqa: B018


def test_damaged_at_random():
    """It is read, perhaps as something else, or refused; nothing else happens."""
    randomly = random.Random(4)
    for path in (LIBRARY, PROGRAM):
        original = path.read_bytes()
        for _ in range(1500):
            data = bytearray(original)
            regions = ((0, 64), (len(data) - 3000, len(data)), (0, len(data)))
            for _ in range(randomly.randint(1, 20)):
                data[randomly.randrange(*randomly.choice(regions))] = randomly.choice(
                    (0, 1, 0x7F, 0xFF, randomly.randrange(256))
                )
            try:
                found = opened(bytes(data))
                for table in (SHT_DYNSYM, SHT_SYMTAB):
                    symbols.functions(found, table)
                symbols.find(found, "versioned@PROBED_1")
                for note in usdt.notes(found):
                    usdt.sites(found, note.provider, note.name)
            except ObjectFormatError as error:
                assert "a file" in str(error)


def test_sizes_beyond_all_bounds():
    """Nothing is read, and no memory taken, for what the file cannot have."""
    data = bytearray(LIBRARY.read_bytes())
    table = struct.unpack_from("<Q", data, 40)[0]
    count = struct.unpack_from("<H", data, 60)[0]
    for index in range(count):
        struct.pack_into("<Q", data, table + 64 * index + 32, (1 << 64) - 24)
    with pytest.raises(ObjectFormatError, match="would end beyond the file's"):
        symbols.functions(opened(bytes(data)), SHT_SYMTAB)


# Where files are found


def executable(path, mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    path.chmod(mode)
    return str(path)


def test_libraries(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{first}::{second}")
    assert binary.search_path(True)[:4] == [str(first), str(second), "/usr/lib64", "/usr/lib"]
    later = executable(second / "libpb.so.1", 0o644)
    assert binary.find("libpb.so.1") == later
    assert binary.find("libpb") == later
    sooner = executable(first / "libpb.so.1", 0o644)
    assert binary.find("libpb.so.1") == binary.find("libpb") == sooner
    assert binary.find("libpb.so") is None
    assert binary.find("libp*") is None


def test_programs(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("PATH", f"{first}:{second}")
    assert binary.search_path(False) == [str(first), str(second), "/usr/bin", "/usr/sbin"]
    executable(first / "pbtest", 0o644)  # not executable
    (first / "pbother").mkdir()  # no file
    assert binary.find("pbtest") is binary.find("pbother") is None
    found = executable(second / "pbtest")
    assert binary.find("pbtest") == found
    monkeypatch.delenv("PATH")
    assert binary.find("pbtest") is None


def test_the_machine_has_its_own_directory(monkeypatch):
    monkeypatch.setattr(binary, "machine", lambda: "aarch64")
    assert binary.search_path(True, {}) == ["/usr/lib64", "/usr/lib", "/lib/aarch64-linux-gnu"]
    monkeypatch.setattr(binary, "machine", lambda: "loongarch64")
    assert binary.search_path(True, {}) == ["/usr/lib64", "/usr/lib"]


# Patterns of names


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("tcp_*", ["tcp_", "tcp_send"], ["tcp", "xtcp_send"]),
        ("*_send", ["tcp_send", "_send"], ["tcp_sendmsg"]),
        ("t?p", ["tcp", "t.p"], ["tp", "tccp"]),
        ("a*b*c", ["abc", "axxbyyc"], ["acb", "ab"]),
        ("a.b[c]", ["a.b[c]"], ["axb[c]", "a.bc"]),
        ("*", ["", "anything"], []),
        ("", [""], ["x"]),
    ],
)
def test_patterns(pattern, fits, does_not):
    match = matcher(pattern)
    assert all(match(name) for name in fits)
    assert not any(match(name) for name in does_not)
    assert is_pattern(pattern) == any(letter in pattern for letter in "*?")


def test_files_are_closed_when_they_are_refused(tmp_path):
    (tmp_path / "text").write_text("text")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ObjectFormatError):
        Binary.open(str(tmp_path / "text"))
    assert len(os.listdir("/proc/self/fd")) == before
