"""purebpf.obj.elf: what it reads is what llvm-readelf reads, and damage is named with its place."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import struct
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from elf_image import (
    EHDR,
    SHDR,
    SHF_EXECINSTR,
    SHT_NOBITS,
    SHT_NULL,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_GLOBAL,
    STT_FUNC,
    ElfImage,
    build,
)

import purebpf
from purebpf.obj import elf

ROOT = Path(__file__).parents[2]
OBJECTS = sorted([*ROOT.glob("prebuilt/*.bpf.o"), *ROOT.glob("tests/objects/*.bpf.o")])
HELLO = (ROOT / "prebuilt/hello.bpf.o").read_bytes()
HEADER = "ELF header"


# What is read


@pytest.fixture(scope="module")
def readelf():
    """llvm-readelf's view of an object."""

    def read(path):
        flags = ["--sections", "--symbols", "--relocations", "--elf-output-style=JSON"]
        output = subprocess.run(["llvm-readelf-19", *flags, path], capture_output=True, check=True).stdout
        return json.loads(output)[0]

    return read


@pytest.mark.needs_tool("llvm-readelf-19")
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_reads_what_readelf_reads(path, readelf):
    ours, theirs = elf.read(path.read_bytes()), readelf(path)

    sections = [item["Section"] for item in theirs["Sections"]]
    assert [
        (s.number, s.name, s.type, s.size, s.link, s.info, s.executable) for s in ours.sections if s.type != "SHT_NULL"
    ] == [
        (
            s["Index"],
            s["Name"]["Name"],
            elf_type(s["Type"]),
            s["Size"],
            s["Link"],
            s["Info"],
            "SHF_EXECINSTR" in [flag["Name"] for flag in s["Flags"]["Flags"]],
        )
        for s in sections
        if s["Type"]["Name"] != "SHT_NULL"
    ]

    symbols = [item["Symbol"] for item in theirs["Symbols"]]
    assert [(s.value, s.size, s.binding, s.type, s.visibility, s.undefined) for s in ours.symbols] == [
        (
            s["Value"],
            s["Size"],
            BINDINGS[s["Binding"]["Value"]],
            SYMBOL_TYPES[s["Type"]["Value"]],
            VISIBILITIES[s["Other"]["Value"] & 3],
            s["Section"]["Value"] == 0,
        )
        for s in symbols
    ]
    for our, their in zip(ours.symbols, symbols, strict=True):
        assert our.section == (their["Section"]["Value"] or None)
        if our.type != "STT_SECTION":  # which has no name of its own; readelf shows the section's
            assert our.name == their["Name"]["Name"]

    targets = {s["Index"]: s["Info"] for s in sections}
    relocations = {
        targets[table["SectionIndex"]]: [
            (
                entry["Relocation"]["Offset"],
                entry["Relocation"]["Type"]["Value"],
                entry["Relocation"]["Symbol"]["Value"],
            )
            for entry in table["Relocs"]
        ]
        for table in theirs["Relocations"]
    }
    wanted = {s.number for s in ours.sections if s.executable or s.name == ".maps" or "struct_ops" in s.name}
    assert {
        index: [(entry.offset, entry.type, entry.symbol.number) for entry in found]
        for index, found in ours.relocations.items()
    } == {index: found for index, found in relocations.items() if index in wanted}


BINDINGS = ["STB_LOCAL", "STB_GLOBAL", "STB_WEAK"]
SYMBOL_TYPES = ["STT_NOTYPE", "STT_OBJECT", "STT_FUNC", "STT_SECTION", "STT_FILE"]
VISIBILITIES = ["STV_DEFAULT", "STV_INTERNAL", "STV_HIDDEN", "STV_PROTECTED"]


def elf_type(kind):
    """As pyelftools spells it, which has no name for LLVM's own."""
    return kind["Name"] if kind["Value"] < 0x60000000 else str(kind["Value"])


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_section_contents(path):
    image = ElfImage(path.read_bytes())
    for section in elf.read(bytes(image)).sections[1:]:
        expected = b"" if section.type == "SHT_NOBITS" else image.content(section.name)
        assert section.data == expected


def test_first_section_of_a_name():
    found = elf.read(build([("twice", b"a", {}), ("twice", b"b", {})]))
    assert found.section("twice").data == b"a"
    assert found.section("never") is None


def test_symbols_in_a_section():
    symbols = [("a", 1, 0, 8, STT_FUNC, STB_GLOBAL), ("b", 2, 0, 8, STT_FUNC, STB_GLOBAL)]
    symbols.append(("c", 1, 8, 8, STT_FUNC, STB_GLOBAL))
    found = elf.read(build([("one", bytes(16), {}), ("two", bytes(16), {}), ("three", b"", {})], symbols))
    assert [[symbol.name for symbol in found.symbols_in(section)] for section in found.sections[1:4]] == [
        ["a", "c"],
        ["b"],
        [],
    ]


def test_relocations_are_sorted_and_of_both_kinds():
    def rel(offset, symbol, *addend):
        return struct.pack(f"<QQ{len(addend)}q", offset, symbol << 32 | 1, *addend)

    image = build(
        [
            ("prog", bytes(32), {"flags": SHF_EXECINSTR}),
            (".relprog", rel(16, 1) + rel(8, 2), {"type": SHT_REL, "link": 4, "info": 1, "entsize": 16}),
            (".relaprog", rel(0, 1, 5), {"type": SHT_RELA, "link": 4, "info": 1, "entsize": 24}),
        ],
        [("a", 0, 0, 0, 0, STB_GLOBAL), ("b", 0, 0, 0, 0, STB_GLOBAL)],
    )
    assert [(entry.offset, entry.symbol.name) for entry in elf.read(image).relocations[1]] == [
        (0, "a"),
        (8, "b"),
        (16, "a"),
    ]


@pytest.mark.needs_tool("clang-19")
@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/objects/obj_*.bpf.c")), ids=lambda path: path.name)
def test_other_byte_order(path, big_endian):
    """A big-endian object of the same source: other bytes, the same file."""
    little, big = elf.read(path.with_suffix(".o").read_bytes()), elf.read(big_endian(path))

    def shape(file):
        return (
            [(s.name, s.type, s.size) for s in file.sections if s.type != "SHT_STRTAB" and "BTF" not in s.name],
            [s for s in file.symbols if s.type != "STT_SECTION"],
            {index: [(r.offset, r.type, r.symbol.name) for r in found] for index, found in file.relocations.items()},
        )

    assert (little.byteorder, big.byteorder) == ("little", "big")
    assert shape(little) == shape(big)


@pytest.fixture(scope="module")
def big_endian(tmp_path_factory):
    """Compile a C source for a big-endian machine, otherwise as the Makefile does."""

    def compile(source):
        out = tmp_path_factory.mktemp("big") / "big.bpf.o"
        include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
        flags = ["-target", "bpfeb", "-mcpu=v3", "-O2", "-g", include]
        subprocess.run(["clang-19", *flags, "-c", source, "-o", out], check=True)
        subprocess.run(["llvm-strip-19", "-g", out], check=True)
        return out.read_bytes()

    return compile


def test_machine_before_bpf_had_a_number():
    assert vars(elf.read(bytes(ElfImage(HELLO).header(machine=0)))) == vars(elf.read(HELLO))


# Files that cannot be read


def message_of(source):
    with pytest.raises(purebpf.PureBpfError) as error:
        purebpf.parse(source)
    return str(error.value)


def test_no_such_file(tmp_path):
    path = tmp_path / "missing.bpf.o"
    with pytest.raises(purebpf.KernelError) as error:
        purebpf.parse(path)
    assert error.value.errno == errno.ENOENT
    assert str(error.value) == f"reading object file '{path}': No such file or directory (ENOENT)"


def test_unreadable_file(tmp_path):
    path = tmp_path / "secret.bpf.o"
    path.write_bytes(HELLO)
    path.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        with pytest.raises(purebpf.KernelError) as error:
            purebpf.parse(path)
    finally:
        if was_root:
            os.seteuid(0)
    assert error.value.errno == errno.EACCES
    assert str(error.value) == f"reading object file '{path}': Permission denied (EACCES)"


def test_file_that_fails_when_read():
    assert message_of("/proc/self/mem") == "reading object file '/proc/self/mem': Input/output error (EIO)"


def test_special_files(tmp_path):
    """Opening a FIFO would wait for a writer, reading a device might never end."""
    fifo, address = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        special = {tmp_path: "a directory", fifo: "a FIFO", address: "a socket", "/dev/zero": "a device"}
        for path, kind in special.items():
            assert message_of(path) == f"{path}: this is {kind}, not a file that holds a BPF object"


def test_messages_name_the_file(tmp_path):
    path = tmp_path / "other.bpf.o"
    for content, complaint in {
        b"": "offset 0: not an ELF file: it does not begin with \\x7fELF",
        b"#!/bin/sh\n" * 99: "offset 0: not an ELF file: it does not begin with \\x7fELF",
        HELLO[:63]: "offset 0: truncated: an ELF header has 64 bytes, the file 63",
        bytes(ElfImage(HELLO).header(shnum=0)): "ELF header: the file has no sections",
        bytes(ElfImage(HELLO).section("license", offset=9999)): "section 'license': its 13 bytes at offset 9999 end "
        "beyond the file's 2960 bytes",
    }.items():
        path.write_bytes(content)
        assert message_of(path) == f"{path}: {complaint}"


def test_large_foreign_files_are_not_read(tmp_path):
    """The header tells; and one that looks right is read up to the limit only."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(b"\x7fELF")
        file.truncate(1 << 40)
    assert "not a 64-bit ELF file" in message_of(path)
    with path.open("wb") as file:
        file.write(HELLO)
        file.truncate(1 << 40)
    assert message_of(path) == f"{path}: the file is larger than 64 MiB"


# Headers of other files


def refusal(image):
    """What the reader says about an image."""
    with pytest.raises(purebpf.ObjectFormatError) as error:
        elf.read(bytes(image))
    assert str(error.value).startswith(f"{error.value.where}: ")
    return error.value.where, str(error.value).removeprefix(f"{error.value.where}: ")


def test_program_of_this_machine():
    where, message = refusal(Path("/bin/ls").read_bytes())
    machine = struct.unpack_from("=H", Path("/bin/ls").read_bytes(), 18)[0]
    assert where == "offset 18"
    assert message == f"built for ELF machine {machine}, not for BPF (247); compile with clang -target bpf -c"


def test_32_bits():
    image = bytearray(HELLO)
    image[4] = 1
    assert refusal(image) == ("offset 4", "not a 64-bit ELF file (class 1); BPF objects are")


def test_unknown_byte_order():
    image = bytearray(HELLO)
    image[5] = 3
    assert refusal(image) == ("offset 5", "unknown byte order 3")


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 0xFFFF])
def test_linked_files(kind):
    assert refusal(ElfImage(HELLO).header(type=kind)) == (
        "offset 16",
        f"ELF type {kind} is not a relocatable object (1); compile with clang -c and do not link",
    )


# Damage


def test_truncated_at_every_byte():
    for size in range(len(HELLO)):
        refusal(HELLO[:size])
    elf.read(HELLO)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shoff": 0}, "the file has no sections"),
        ({"shnum": 0}, "the file has no sections"),
        (
            {"shoff": 1 << 63},
            f"truncated: the section header table (13 entries at offset {1 << 63}) ends beyond the file's 2960 bytes",
        ),
        (
            {"shnum": 0xFFFF},
            "truncated: the section header table (65535 entries at offset 2128) ends beyond the file's 2960 bytes",
        ),
        ({"shentsize": 0}, "section headers of 0 bytes, expected 64"),
        ({"shentsize": 63}, "section headers of 63 bytes, expected 64"),
        ({"shstrndx": 13}, "the names of sections are said to be in section 13 of 13"),
        ({"shstrndx": 0xFFFF}, "the names of sections are said to be in section 65535 of 13"),
    ],
)
def test_section_table(fields, message):
    assert ElfImage(HELLO).get(0, EHDR, "shnum") == 13
    assert ElfImage(HELLO).get(0, EHDR, "shoff") == 2128
    assert refusal(ElfImage(HELLO).header(**fields)) == (HEADER, message)


def test_section_count_in_section_0():
    """Where there are too many sections for the header's field, section 0 has the count; BPF objects have no need."""
    image = ElfImage(HELLO).header(shnum=0)
    image.put(image.get(0, EHDR, "shoff"), SHDR, size=1 << 60)
    assert refusal(image) == (HEADER, "the file has no sections")


@pytest.mark.parametrize("offset", [2960 - 12, 1 << 32, (1 << 64) - 1, (1 << 64) - 13])
def test_section_beyond_the_file(offset):
    assert refusal(ElfImage(HELLO).section("license", offset=offset)) == (
        "section 'license'",
        f"its 13 bytes at offset {offset} end beyond the file's 2960 bytes",
    )


def test_section_larger_than_the_file():
    where, message = refusal(ElfImage(HELLO).section("license", size=1 << 63))
    assert where == "section 'license'"
    assert message.startswith(f"its {1 << 63} bytes at offset")


def test_zeros_beyond_measure():
    """A section of zeros takes no room in the file, so its size is limited by nothing but us."""
    image = ElfImage(HELLO).section("license", type=SHT_NOBITS, size=4 << 30)
    assert refusal(image) == (
        "section 'license'",
        f"{4 << 30} zero bytes; objects with more than 64 MiB of such are refused",
    )
    elf.read(bytes(image.section("license", size=64 << 20)))


def test_zeros_add_up():
    sections = [(f".bss.{number}", b"", {"type": SHT_NOBITS, "size": 16 << 20}) for number in range(5)]
    elf.read(build(sections[:4]))
    assert refusal(build(sections))[0] == "section '.bss.4'"


def test_section_without_type_has_no_size():
    image = ElfImage(HELLO).section("license", type=SHT_NULL, size=1 << 63, offset=1 << 63)
    section = elf.read(bytes(image)).section("license")
    assert (section.size, section.data) == (0, b"")


def test_overlapping_sections_need_no_memory():
    """2,000 sections that each claim 4 MB of the same 4 MB."""
    content = bytes(4 << 20)
    image = build([("first", content, {}), *[("next", b"", {"size": len(content), "offset": 64})] * 2000])
    tracemalloc.start()
    try:
        where, message = refusal(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert where == "section 'next'"
    assert message == f"overlaps others: the sections up to it have {2 * len(content)} bytes, the file {len(image)}"
    assert peak < 32 << 20


# String tables


@pytest.mark.parametrize("offset", [299, 300, 0xFFFFFFFF])
def test_name_beyond_the_string_table(offset):
    image = ElfImage(HELLO)
    size = len(image.content(".strtab"))
    assert size < 299
    number = image.section_index("license")
    assert refusal(image.section("license", name=offset)) == (
        f"name of section {number}",
        f"the string at offset {offset} lies beyond the string table of {size} bytes",
    )


def test_name_that_is_cut_off():
    image = ElfImage(HELLO)
    start, end = image.content_at(".strtab")
    image.data[start:end] = bytes(end - start - 4) + b"last"
    assert refusal(image.put(image.section_at(""), SHDR, name=end - start - 4)) == (
        "name of section 0",
        f"the string at offset {end - start - 4} is longer than 4096 bytes, or cut off by the end of the string table "
        f"of {end - start} bytes",
    )


def test_name_beyond_measure():
    """A name of megabytes would be read once for each symbol that has it."""
    symbols = [("x" * 5000, 1, 0, 8, STT_FUNC, STB_GLOBAL)]
    where, message = refusal(build([("prog", bytes(8), {})], symbols))
    assert where == "section '.symtab', name of symbol 1"
    assert "longer than 4096 bytes" in message


def test_names_that_are_not_utf_8():
    image = ElfImage(HELLO)
    start, _ = image.content_at(".strtab")
    place = image.data.index(b"\0hello_openat\0", start) + 1
    image.data[place] = 0xFF
    assert "\\xffello_openat" in [symbol.name for symbol in elf.read(bytes(image)).symbols]


def test_section_names_in_a_section_of_zeros():
    image = ElfImage(HELLO)
    assert refusal(image.section(".strtab", type=SHT_NOBITS))[0] == "name of section 0"


@pytest.mark.parametrize("link", [".symtab", "license"])
def test_symbol_names_in_no_string_table(link):
    image = ElfImage(HELLO)
    number = image.section_index(link)
    assert refusal(image.section(".symtab", link=number)) == (
        "section '.symtab'",
        f"the names of symbols are said to be in section {number}, no string table",
    )


def test_symbol_names_in_no_section():
    assert "section 4294967295, no string table" in refusal(ElfImage(HELLO).section(".symtab", link=0xFFFFFFFF))[1]


def test_string_tables_that_point_at_each_other():
    """Nobody follows the link of a string table, so a circle of them is none."""
    image = ElfImage(HELLO)
    elf.read(bytes(image.section(".strtab", link=image.section_index(".strtab"))))


# Symbols and relocations


def test_no_symbol_table():
    assert refusal(ElfImage(HELLO).section(".symtab", type=SHT_STRTAB)) == (
        "section headers",
        "no symbol table; was the object stripped?",
    )


def test_two_symbol_tables():
    image = ElfImage(HELLO).section("license", type=SHT_SYMTAB)
    assert refusal(image) == ("section headers", "more than one symbol table")


@pytest.mark.parametrize("fields", [{"entsize": 0}, {"entsize": 16}, {"entsize": 1 << 63}, {"size": 71}])
def test_symbols_of_another_size(fields):
    image = ElfImage(HELLO)
    size, entry_size = fields.get("size", len(image.content(".symtab"))), fields.get("entsize", 24)
    assert refusal(image.section(".symtab", **fields)) == (
        "section '.symtab'",
        f"entries of {entry_size} bytes in {size}, expected entries of 24",
    )


@pytest.mark.parametrize("section", [13, 0xFEFF, 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF])
def test_symbol_in_no_section(section):
    """Sections that do not exist, and the numbers that are reserved for absolute and other symbols."""
    file = elf.read(bytes(ElfImage(HELLO).symbol("hello_openat", shndx=section)))
    symbol = next(symbol for symbol in file.symbols if symbol.name == "hello_openat")
    assert (symbol.section, symbol.undefined) == (None, False)


PROGRAM = "tracepoint/syscalls/sys_enter_openat"


def test_relocation_names_no_symbol():
    assert refusal(ElfImage(HELLO).relocation(PROGRAM, 1, symbol=99)) == (
        f"section '.rel{PROGRAM}', entry 1",
        f"names symbol 99 of {len(ElfImage(HELLO).symbols())}",
    )


@pytest.mark.parametrize("offset", [0, 1 << 63])
def test_relocation_beyond_the_section(offset):
    size = len(ElfImage(HELLO).content(PROGRAM))
    assert refusal(ElfImage(HELLO).relocation(PROGRAM, 0, offset=size + offset)) == (
        f"section '.rel{PROGRAM}', entry 0",
        f"is for byte {size + offset} of section '{PROGRAM}', which has {size}",
    )


def test_relocations_of_another_size():
    assert refusal(ElfImage(HELLO).section(f".rel{PROGRAM}", entsize=24)) == (
        f"section '.rel{PROGRAM}'",
        f"entries of 24 bytes in {len(ElfImage(HELLO).content(f'.rel{PROGRAM}'))}, expected entries of 16",
    )


def test_relocations_of_no_section():
    assert refusal(ElfImage(HELLO).section(f".rel{PROGRAM}", info=13)) == (
        f"section '.rel{PROGRAM}'",
        "applies to section 13, which does not exist",
    )


def test_random_bytes_after_a_good_header():
    noise = random.Random(1)
    for _ in range(300):
        image = bytearray(HELLO[:64] + noise.randbytes(2000))
        struct.pack_into("<Q", image, 40, 64 + noise.randrange(1000))
        refusal(image)
