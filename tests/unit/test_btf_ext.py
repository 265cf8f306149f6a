"""The .BTF.ext reader against the format's definition and clang's output."""

from __future__ import annotations

import struct
import subprocess

import pytest
from btf_making import FUNC, FUNC_PROTO, Assembler, compile_c

from purebpf.btf.ext import BtfExt, CoreRelo, FuncInfo
from purebpf.btf.types import Func, Struct
from purebpf.errors import ObjectFormatError

PROGRAM = """\
#define SEC(name) __attribute__((section(name), used))
struct task_struct { int pid; struct { int tgid; } ids[3]; } __attribute__((preserve_access_index));
static struct task_struct *volatile task;
SEC("tp/first") int first(void *ctx) {
    return task->pid +
        task->ids[2].tgid;
}
SEC("tp/second") int second(void *ctx) { return __builtin_preserve_field_info(task->pid, 2); }
SEC("tp/second") int third(void *ctx) { return __builtin_btf_type_id(*(struct task_struct *)0, 1); }
"""


@pytest.mark.needs_tool("clang-19")
@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_tables_of_a_clang_object(tmp_path, target):
    made = compile_c(tmp_path, PROGRAM, target=target)
    btf = made.btf
    ext = BtfExt.from_bytes(made.sections[".BTF.ext"], btf)

    named = {
        section: [(info.insn_off, btf.type(info.type_id).name) for info in infos]
        for section, infos in ext.func_info.items()
    }
    third_offset = made.symbols["third"][1]
    assert named == {"tp/first": [(0, "first")], "tp/second": [(0, "second"), (third_offset, "third")]}
    assert all(isinstance(btf.type(i.type_id), Func) for infos in ext.func_info.values() for i in infos)

    (task_struct,) = btf.find("task_struct", Struct)
    assert [relo[1:] for relo in ext.core_relos["tp/first"]] == [(task_struct, "0:0", 0), (task_struct, "0:1:2:0", 0)]
    assert [relo[1:] for relo in ext.core_relos["tp/second"]] == [(task_struct, "0:0", 2), (task_struct, "0", 7)]
    for section, relos in ext.core_relos.items():
        for relo in relos:
            assert isinstance(relo, CoreRelo)
            assert 0 <= relo.insn_off < len(made.sections[section])

    source = PROGRAM.splitlines()
    lines = ext.line_info["tp/first"]
    assert {line.line_num for line in lines} >= {5, 6}
    for line in lines:
        assert line.file_name == str(made.path).replace(f".{target}.o", ".c")
        assert line.line == source[line.line_num - 1]
        assert 0 <= line.column <= len(line.line)


@pytest.mark.needs_tool("clang-19", "llvm-objdump-19")
def test_line_numbers_are_those_of_the_debug_information(tmp_path):
    """llvm-objdump --line-numbers reads DWARF, which clang writes beside BTF."""
    made = compile_c(tmp_path, PROGRAM)
    ext = BtfExt.from_bytes(made.sections[".BTF.ext"], made.btf)
    command = ["llvm-objdump-19", "--disassemble-symbols=first", "--line-numbers", made.path]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    shown, line_num = {}, None
    for line in listing.splitlines():
        head, _, rest = line.strip().partition(":")
        if line.startswith("; /"):
            line_num = int(line.rpartition(":")[2])
        elif head.isdigit() and rest:
            shown[8 * int(head)] = line_num
    assert shown
    for line in ext.line_info["tp/first"]:
        if line.line_num:  # 0: code of no line
            assert shown[line.insn_off] == line.line_num


# -- by hand -------------------------------------------------------------------------------------------------------


class Tables:
    """A .BTF.ext section of three tables, each a list of words."""

    def __init__(self, order="<"):
        self.order = order
        strings = Assembler(order)
        strings.add(FUNC_PROTO)
        strings.add(FUNC, "f", 1)
        self.section, self.other = strings.string("tp/x"), strings.string("tp/y")
        self.file, self.line, self.access = strings.string("a.c"), strings.string("  x = 1;"), strings.string("0:1")
        self.btf = strings.btf()
        self.func = [8, self.section, 1, 0, 2]
        self.lines = [16, self.section, 1, 8, self.file, self.line, 7 << 10 | 3]
        self.core = [16, self.section, 1, 16, 2, self.access, 5]

    def bytes(self, *, with_core=True):
        tables = [self.func, self.lines, self.core if with_core else []]
        header = [32 if with_core else 24]
        offset = 0
        for table in tables[: 3 if with_core else 2]:
            header += [offset, 4 * len(table)]
            offset += 4 * len(table)
        words = [word for table in (header, *tables) for word in table]
        head = struct.pack(self.order + "HBB", 0xEB9F, 1, 0)
        return head + struct.pack(f"{self.order}{len(words)}I", *words)

    def parse(self, **kwargs):
        return BtfExt.from_bytes(self.bytes(**kwargs), self.btf)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tables_by_hand(order):
    ext = Tables(order).parse()
    assert ext.func_info == {"tp/x": [FuncInfo(0, 2)]}
    assert ext.core_relos == {"tp/x": [CoreRelo(16, 2, "0:1", 5)]}
    (line,) = ext.line_info["tp/x"]
    assert (line.insn_off, line.file_name, line.line, line.line_num, line.column) == (8, "a.c", "  x = 1;", 7, 3)
    assert line.line_col == 7 << 10 | 3


def test_header_without_core_relocations():
    ext = Tables().parse(with_core=False)
    assert ext.core_relos == {}
    assert list(ext.line_info) == ["tp/x"]


def test_longer_records_and_several_sections():
    tables = Tables()
    tables.func = [12, tables.section, 2, 0, 2, 99, 8, 1, 99, tables.other, 1, 16, 2, 99]
    ext = tables.parse()
    assert ext.func_info == {"tp/x": [FuncInfo(0, 2), FuncInfo(8, 1)], "tp/y": [FuncInfo(16, 2)]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.func.__setitem__(0, 4), "records of 4 bytes"),
        (lambda t: t.func.__setitem__(0, 10), "records of 10 bytes"),
        (lambda t: t.func.__setitem__(0, 0xFFFFFFFC), "records of 4294967292 bytes"),
        (lambda t: t.func.__setitem__(2, 0), "0 records"),
        (lambda t: t.func.__setitem__(2, 2), "2 records"),
        (lambda t: t.func.__setitem__(2, 0xFFFFFFFF), "4294967295 records"),
        (lambda t: t.func.__setitem__(1, 0xFFFF), r"func_info at offset 0x24: .*string offset 65535"),
        (lambda t: t.func.__setitem__(3, 4), "instruction offset 4"),
        (lambda t: t.func.__setitem__(4, 99), "refers to type 99"),
        (lambda t: t.func.append(0), "cut off before the records"),
        (lambda t: t.func.__delitem__(slice(1, None)), "no records"),
        (lambda t: t.core.__setitem__(4, 99), "refers to type 99"),
        (lambda t: t.core.__setitem__(5, 0xFFFF), "string offset 65535"),
        (lambda t: t.lines.__setitem__(3, 1), "instruction offset 1"),
    ],
)
def test_malformed_tables(change, message):
    tables = Tables()
    change(tables)
    with pytest.raises(ObjectFormatError, match=message):
        tables.parse()


def test_source_text_is_looked_up_late():
    tables = Tables()
    tables.lines[5] = 0xFFFF
    (line,) = tables.parse().line_info["tp/x"]
    with pytest.raises(ObjectFormatError, match="string offset"):
        _ = line.line


@pytest.mark.parametrize(
    ("position", "fields", "message"),
    [
        (0, struct.pack("<H", 0x1234), "magic"),
        (0, struct.pack(">H", 0xEB9F), "big-endian"),
        (2, b"\2", "version 2"),
        (3, b"\1", "flags 0x1"),
        (4, struct.pack("<I", 20), "header length 20"),
        (4, struct.pack("<I", 0xFFFFFFFF), "header length"),
        (8, struct.pack("<I", 2), "unaligned"),
        (8, struct.pack("<I", 0xFFFFFFFC), "past the end"),
        (12, struct.pack("<I", 0xFFFFFFFC), "past the end"),
        (12, struct.pack("<I", 3), "no records"),
    ],
)
def test_malformed_header(position, fields, message):
    tables = Tables()
    data = bytearray(tables.bytes())
    data[position : position + len(fields)] = fields
    with pytest.raises(ObjectFormatError, match=message):
        BtfExt.from_bytes(data, tables.btf)


def test_cut_off_anywhere():
    tables = Tables()
    whole = tables.bytes()
    for size in range(len(whole)):
        with pytest.raises(ObjectFormatError):
            BtfExt.from_bytes(whole[:size], tables.btf)


def test_long_access_string():
    tables = Tables()
    strings = Assembler()
    strings.add(FUNC_PROTO)
    strings.add(FUNC, "f", 1)
    tables.section = strings.string("tp/x")
    long = strings.string("0:" * 1000 + "0")
    tables.btf = strings.btf()
    tables.core = [16, tables.section, 1, 16, 2, long, 5]
    with pytest.raises(ObjectFormatError, match="access string of 2001 characters"):
        tables.parse()
