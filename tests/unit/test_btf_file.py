"""BTF out of files: bare, or from ELF files for machines of both word sizes and byte orders."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import subprocess
from pathlib import Path

import pytest
from btf_making import STRUCT, Assembler
from hypothesis import given, settings
from hypothesis import strategies as st
from test_btf_relocate import distilled, distilled_module, kernel, own
from test_btf_relocate import module as undistilled_module

from purebpf.btf.reader import Btf
from purebpf.errors import KernelError, ObjectFormatError, PlanError
from purebpf.obj.btf_file import read_btf

OBJECT = Path(__file__).parents[1] / "objects" / "cli_mixed.bpf.o"


def little():
    a = Assembler()
    a.add(STRUCT, "little", 0)
    return a.bytes()


def elf(directory, target, **sections):
    """A compiler's object file for this machine with these sections added."""
    path = directory / f"{target}.o"
    subprocess.run(["clang-19", "-target", target, "-x", "c", "-c", "-", "-o", path], input=b"int x = 1;", check=True)
    options = []
    for name, data in sections.items():
        (directory / name).write_bytes(data)
        options += ["--add-section", f".{name.replace('_', '.')}={directory / name}"]
    subprocess.run(["llvm-objcopy-19", *options, path], check=True)
    return path


def test_bare(tmp_path):
    path = tmp_path / "bare"
    path.write_bytes(little())
    assert read_btf(path).type(1).name == "little"
    assert read_btf(str(path)).where == str(path)
    assert read_btf(little(), where="here").where == "here"


@pytest.mark.needs_tool("llvm-objcopy-19")
def test_bpf_object(tmp_path):
    path = tmp_path / "btf"
    subprocess.run(["llvm-objcopy-19", "--dump-section", f".BTF={path}", OBJECT, "/dev/null"], check=True)
    assert read_btf(OBJECT).data == read_btf(OBJECT.read_bytes()).data == path.read_bytes()


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
@pytest.mark.parametrize("target", ["x86_64-linux", "i386-linux", "powerpc-linux", "s390x-linux"])
def test_elf_of_any_machine(tmp_path, target):
    path = elf(tmp_path, target, BTF=little())
    assert read_btf(path).type(1).name == "little"
    for size in range(0, path.stat().st_size, 7):
        with pytest.raises(ObjectFormatError):
            read_btf(path.read_bytes()[:size])


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
def test_module_with_a_distilled_base(tmp_path):
    base = distilled()
    path = elf(tmp_path, "x86_64-linux", BTF=distilled_module(base).bytes(), BTF_base=base.bytes())
    alone = read_btf(path)
    assert alone.base.data == base.bytes()
    target = kernel(more=3)
    on_kernel = read_btf(path, base=target.btf())
    assert own(on_kernel)[1] == own(undistilled_module(target).btf(target.btf()))[1]
    with pytest.raises(PlanError, match=r"x86_64-linux\.o builds on int int of 4 bytes, and \.BTF has no such type"):
        read_btf(path, base=Btf.from_bytes(little()))


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
def test_module_without_a_distilled_base(tmp_path):
    base = kernel()
    path = elf(tmp_path, "x86_64-linux", BTF=undistilled_module(base).bytes())
    assert read_btf(path, base=base.btf()).find("module")
    with pytest.raises(ObjectFormatError, match="opened without its base"):
        read_btf(path)


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
def test_what_has_no_types(tmp_path):
    with pytest.raises(ObjectFormatError, match=r"x86_64-linux.o: this ELF file has no section .BTF. clang writes"):
        read_btf(elf(tmp_path, "x86_64-linux"))
    with pytest.raises(ObjectFormatError, match="BTF: neither BTF nor an ELF file"):
        read_btf(b"")
    with pytest.raises(ObjectFormatError, match="neither BTF nor an ELF file"):
        read_btf(Path(__file__))
    with pytest.raises(KernelError, match=r"reading types from .*nothing: No such file"):
        read_btf(tmp_path / "nothing")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(ObjectFormatError, match=f"{path}: this is no regular file"):
            read_btf(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither BTF nor an ELF file: it is empty"),
        (gzip.compress(little()), "it is compressed with gzip, and must be unpacked"),
        (lzma.compress(little()), "it is compressed with xz"),
        (bytes(0x202) + b"HdrS" + bytes(100), "a boot image with a compressed kernel in it, which scripts/extract-v"),
        (b"MZ", "neither BTF nor an ELF file$"),
    ],
)
def test_files_taken_for_types_by_mistake(content, message):
    with pytest.raises(ObjectFormatError, match=message):
        read_btf(content)


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (4, b"\3", "unknown ELF class 3 or byte order 1"),
        (5, b"\3", "unknown ELF class 2 or byte order 3"),
        (40, struct.pack("<Q", 1 << 63), "the section header table ends beyond the file's"),
        (58, b"\0\0", "section headers of 0 bytes, expected 64"),
        (60, b"\0\0", "0 section headers of 64 bytes"),
        (62, b"\xff\xff", "their names in section 65535"),
    ],
)
def test_damaged_elf_header(tmp_path, offset, value, message):
    data = bytearray(elf(tmp_path, "x86_64-linux", BTF=little()).read_bytes())
    data[offset : offset + len(value)] = value
    with pytest.raises(ObjectFormatError, match=message):
        read_btf(bytes(data))


WHOLE = OBJECT.read_bytes()


@settings(max_examples=200, deadline=1000)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 8), st.binary(min_size=1, max_size=8)), max_size=4), st.data())
def test_mutated(changes, data):
    """Half of the changes fall upon the header and the section header table, at the end."""
    damaged = bytearray(WHOLE)
    for offset, value in changes:
        if data.draw(st.booleans()):
            offset = offset % 64 if offset % 2 else len(WHOLE) - 8 - offset % 2000
        damaged[offset : offset + len(value)] = value
    try:
        read_btf(bytes(damaged)).validate()
    except ObjectFormatError as error:
        assert error.where


def test_large_file_is_not_read_whole(tmp_path):
    """A kernel with its debug information: here 1 GiB of hole before the sections."""
    data = bytearray(WHOLE)
    (table,) = struct.unpack_from("<Q", data, 40)
    path = tmp_path / "vmlinux"
    hole = 1 << 30
    with path.open("wb") as file:
        moved = data[table:]
        for at in range(0, len(moved) - len(moved) % 64, 64):
            (offset,) = struct.unpack_from("<Q", moved, at + 24)
            struct.pack_into("<Q", moved, at + 24, offset + hole)
        struct.pack_into("<Q", data, 40, table + hole)
        file.write(data[:64])
        file.seek(hole + 64)
        file.write(data[64:table] + moved)
    assert os.stat(path).st_size > hole
    assert read_btf(path).data == read_btf(WHOLE).data
