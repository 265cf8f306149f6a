"""CO-RE relocation, against what clang, bpftool and libbpf say.

``core_local.bpf.o`` has one program for each kind of relocation; ``core_target.bpf.o``, whose BTF plays the
kernel's, has other layouts of the same types, and a constant that clang computed for each program.
"""

import json
import re
import struct
import subprocess
from pathlib import Path

import pytest
from btf_making import PTR, Assembler
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st
from with_libbpf import compiled

import purebpf
from purebpf.btf.ext import BtfExt, CoreRelo
from purebpf.btf.reader import Btf
from purebpf.btf.types import Enum, Struct, Union
from purebpf.errors import PlanError
from purebpf.load.core import CoreTarget, Poisoned, bpf_core_relo_kind, relocate
from purebpf.load.plan import line_at

OBJECTS = Path(__file__).parent.parent / "objects"
VMLINUX = Path("/sys/kernel/btf/vmlinux")
POISON = bytes.fromhex("85000000 1023ad0b")  # call 0x0bad2310


class Object:
    """What these tests need of an ELF file, read with pyelftools."""

    def __init__(self, path):
        self.path = Path(path)
        with self.path.open("rb") as file:
            elf = ELFFile(file)
            self.byteorder = "little" if elf.little_endian else "big"
            self.btf = Btf.from_bytes(elf.get_section_by_name(".BTF").data(), where=self.path.name)
            ext = elf.get_section_by_name(".BTF.ext")
            relos = BtfExt.from_bytes(ext.data(), self.btf).core_relos if ext else {}
            self.programs = {}  # in the order of the .BTF.ext: name -> (instructions, their offset, relocations)
            self.data = {}
            functions = []
            for symbol in elf.get_section_by_name(".symtab").iter_symbols():
                if not isinstance(symbol["st_shndx"], int):
                    continue
                section = elf.get_section(symbol["st_shndx"])
                start, size = symbol["st_value"], symbol["st_size"]
                if symbol["st_info"]["type"] == "STT_FUNC":
                    functions.append((list(relos).index(section.name), start, size, symbol.name, section))
                elif symbol["st_info"]["type"] == "STT_OBJECT" and section["sh_type"] != "SHT_NOBITS":
                    self.data[symbol.name] = section.data()[start : start + size]
            for _, start, size, name, section in sorted(functions, key=lambda function: function[:2]):
                self.programs[name] = section.data()[start : start + size], start, relos[section.name]

    def number(self, name):
        """The value of an unsigned long constant; None if there is none of that name."""
        return int.from_bytes(self.data[name], self.byteorder) if name in self.data else None

    def relocate(self, name, target, **options):
        """The instructions of a program after relocation, and what became poison."""
        code, start, relos = self.programs[name]
        insns = bytearray(code)
        poisoned = relocate(insns, relos, local=self.btf, target=target, program=name, section_offset=start, **options)
        return bytes(insns), poisoned

    def relocated_value(self, name, target):
        """The number in the one instruction of a program that has a relocation."""
        insns, _ = self.relocate(name, target)
        code, start, relos = self.programs[name]
        (at,) = (relo.insn_off - start for relo in relos if start <= relo.insn_off < start + len(code))
        return value_of(insns[at:], self.byteorder)


def btf_of(types, strings, *, base=None):
    """BTF from its two sections; the format is Documentation/bpf/btf.rst."""
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return Btf.from_bytes(header + types + strings, base=base, where="handmade")


def split_btf(base, name, size):
    """Split BTF with one struct that has no members."""
    (base_strings,) = struct.unpack_from("<I", base.data, 20)
    return btf_of(struct.pack("<III", base_strings + 1, 4 << 24, size), b"\0" + name.encode() + b"\0", base=base)


LOAD_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}  # BPF_W, BPF_H, BPF_B, BPF_DW


def value_of(insns, byteorder):
    """The immediate of an instruction, or offset and width of a load or store; see RFC 9669."""
    prefix = "<" if byteorder == "little" else ">"
    opcode, _, offset, imm = struct.unpack_from(prefix + "BBhi", insns)
    if opcode & 7 in (1, 2, 3):
        return offset, LOAD_SIZES[opcode & 0x18]
    if opcode == 0x18:
        (upper,) = struct.unpack_from(prefix + "12xI", insns)
        return upper << 32 | imm & 0xFFFFFFFF
    assert opcode & 7 in (4, 7)
    return imm & 0xFFFFFFFFFFFFFFFF


LOCAL = Object(OBJECTS / "core_local.bpf.o")
TARGET = Object(OBJECTS / "core_target.bpf.o")
BITFIELDS = ["narrow", "below_zero", "spread", "grows", "signed_grows", "becomes_bits"]
SINGLE = [
    name
    for name in LOCAL.programs
    if not name.startswith("bits_") and name not in ("guarded", "type_id_local", "type_id_target")
]


@pytest.fixture
def target():
    return CoreTarget(TARGET.btf)


# Every kind of relocation


@pytest.mark.parametrize("name", SINGLE)
def test_program_gets_the_value_that_the_compiler_computed_from_the_target(name, target):
    expected = TARGET.number(name)
    insns, poisoned = LOCAL.relocate(name, target)
    if expected is None:
        assert len(poisoned) == 1
        assert POISON in insns
    else:
        assert poisoned == []
        width = TARGET.number(f"{name}_width")
        assert LOCAL.relocated_value(name, target) == (expected if width is None else (expected, width))


def test_the_table_of_expected_values_has_no_name_without_a_program():
    bitfields = {f"bits_{name}" for name in BITFIELDS} | {"bits_sample"}
    assert {name.removesuffix("_width") for name in TARGET.data} - bitfields <= set(SINGLE)


def extract(local, target, name):
    """Do with the target's bytes what BPF_CORE_READ_BITFIELD() does with the five relocated numbers."""
    facts = ("offset", "size", "lshift", "rshift", "signed")
    core = CoreTarget(target.btf)
    offset, size, lshift, rshift, signed = (local.relocated_value(f"bits_{name}_{fact}", core) for fact in facts)
    data = target.data["bits_sample"][offset : offset + size]
    assert len(data) == size in (1, 2, 4, 8)
    value = int.from_bytes(data, target.byteorder) << lshift & 0xFFFFFFFFFFFFFFFF
    if signed and value >> 63:
        value -= 1 << 64
    return value >> rshift & 0xFFFFFFFFFFFFFFFF


@pytest.mark.parametrize("name", BITFIELDS)
def test_bit_fields_are_extracted_from_the_targets_bytes(name):
    assert extract(LOCAL, TARGET, name) == TARGET.number(f"bits_{name}")


@pytest.mark.needs_tool("clang-19")
def test_bit_fields_of_big_endian_machines(tmp_path):
    objects = []
    for name in ("core_local", "core_target"):
        source, built = OBJECTS / f"{name}.bpf.c", tmp_path / f"{name}.o"
        include = f"-I/usr/include/{subprocess.check_output(['uname', '-m'], text=True).strip()}-linux-gnu"
        options = ["-target", "bpfeb", "-mcpu=v3", "-O2", "-g", include]
        subprocess.run(["clang-19", *options, "-c", source, "-o", built], check=True)
        objects.append(Object(built))
    local, target = objects
    assert local.byteorder == "big"
    for name in BITFIELDS:
        assert extract(local, target, name) == target.number(f"bits_{name}"), name
    core = CoreTarget(target.btf)
    for name in ("offset_nested", "load_grows", "enumval_wide"):
        width = target.number(f"{name}_width")
        expected = target.number(name)
        assert local.relocated_value(name, core) == ((expected, width) if width else expected)


@pytest.mark.needs_tool("bpftool")
@pytest.mark.parametrize(("name", "path"), [("type_id_local", LOCAL.path), ("type_id_target", TARGET.path)])
def test_type_ids_are_those_that_bpftool_prints(name, path, target):
    printed = subprocess.check_output(["bpftool", "btf", "dump", "file", path, "-j"])
    (sample,) = (t["id"] for t in json.loads(printed)["types"] if (t["kind"], t["name"]) == ("STRUCT", "sample"))
    assert LOCAL.relocated_value(name, target) == sample


def test_nothing_changes_when_the_target_has_the_same_types():
    # Left out: bit fields, where clang may choose another load than libbpf; and types as such, because the
    # flavour of struct sample makes two candidates of that name.
    for name, (code, _, _) in LOCAL.programs.items():
        if name.startswith(("offset", "size", "exists", "signed", "load", "store", "enumval", "guarded")):
            assert LOCAL.relocate(name, CoreTarget(LOCAL.btf)) == (code, []), name


# Poison


def test_only_the_guarded_read_becomes_poison(target):
    code, start, relos = LOCAL.programs["guarded"]
    insns, poisoned = LOCAL.relocate("guarded", target)
    check, read = sorted((relo.insn_off - start) // 8 for relo in relos if start <= relo.insn_off < start + len(code))
    assert [entry.insn_index for entry in poisoned] == [read]
    assert value_of(insns[8 * check :], "little") == 0
    assert insns[8 * read : 8 * read + 8] == POISON
    untouched = [slot for slot in range(len(code) // 8) if slot not in (check, read)]
    assert all(insns[8 * slot : 8 * slot + 8] == code[8 * slot : 8 * slot + 8] for slot in untouched)


def test_both_slots_of_a_64_bit_load_become_poison(target):
    # clang would use this form for an enumerator that needs 64 bits.
    shade = LOCAL.btf.find("shade", Enum)[0]
    insns = bytearray(struct.pack("<BBhiBBhi", 0x18, 1, 0, 2, 0, 0, 0, 0))
    relo = CoreRelo(0, shade, "2", bpf_core_relo_kind.BPF_CORE_ENUMVAL_VALUE)
    assert len(relocate(insns, [relo], local=LOCAL.btf, target=target, program="p")) == 1
    assert insns == POISON * 2


def poison_message(name, target, **options):
    _, (poisoned,) = LOCAL.relocate(name, target, **options)
    assert isinstance(poisoned, Poisoned)
    return str(poisoned)


def test_poison_is_explained(target):
    of_target = f"of {TARGET.btf.where})"
    message = poison_message("load_gone", target)
    assert message.startswith("CO-RE cannot provide the offset of sample->gone: struct sample (type ")
    assert message.endswith(f"{of_target} has no 'gone'; did you mean gone_by?")

    message = poison_message("enumval_gone", target)
    assert message.startswith("CO-RE cannot provide the value of enum shade::SHADE_GONE: enum shade (type ")
    assert message.endswith("has no 'SHADE_GONE', only SHADE_DARK, SHADE_LIGHT")

    assert poison_message("offset_absent", target).endswith(": core_target.bpf.o has no struct absent")
    message = poison_message("offset_kind_changed", target)
    assert message.endswith("core_target.bpf.o has no union kind_changed, only struct kind_changed")
    message = poison_message("offset_out_of_bounds", target)
    assert "the offset of sample->bytes[7]: unsigned char[4] (type " in message
    assert message.endswith("has 4 elements")
    message = poison_message("offset_other_kind", target)
    assert message.endswith(" has 'other_kind' as struct point, which cannot stand for int")
    message = poison_message("load_signed_grows", target)
    assert "4 bytes, the target has 8" in message
    assert "bit field" in poison_message("load_becomes_bits", target)


def task_struct(*members, more=0):
    """A kernel's BTF in which struct task_struct has these members, pointers to itself, and so many others."""
    a = Assembler()
    pointer = a.add(PTR, "", 2)
    names = [*members, *(f"other{number}" for number in range(more))]
    a.struct("task_struct", 8 * len(names), *((name, pointer, 64 * place) for place, name in enumerate(names)))
    a.struct("task_structure", 0)
    return a.btf()


def reasons(path, kernel, function):
    """Why instructions of a program are invalid for that kernel, each with its source line."""
    plan = purebpf.parse(path).plan(purebpf.KernelFacts.offline(release="6.1.0", btf=kernel))
    (load,) = (command for command in plan if str(command.creates) == f"<prog {function}>")
    return [(line_at(load.lines, slot).rpartition(": ")[2], str(note)) for slot, note in load.notes.items()]


EXECSNOOP = OBJECTS.parents[1] / "prebuilt" / "execsnoop.bpf.o"
READS_PARENT = "event->ppid = BPF_CORE_READ(task, real_parent, tgid);"


@pytest.mark.parametrize(
    ("kernel", "access", "instead"),
    [
        (task_struct("real_parent"), "->real_parent->tgid", "has no 'tgid', only real_parent"),
        (task_struct("real_parent", "mm"), "->real_parent->tgid", "has no 'tgid', only real_parent, mm"),
        (task_struct("real_parent", more=50), "->real_parent->tgid", "has no 'tgid' among its 51 members"),
        (task_struct("parent", more=50), "->real_parent", "has no 'real_parent'; did you mean parent?"),
        (
            task_struct("real_parent", "tgid"),
            "->real_parent->tgid",
            "has 'tgid' as struct task_struct *, which cannot stand for int",
        ),
    ],
)
def test_the_access_is_shown_as_it_was_written(kernel, access, instead):
    found = [reason for line, reason in reasons(EXECSNOOP, kernel, "exit_execve") if line == READS_PARENT]
    where = f"struct task_struct (type 2 of {kernel.where})"
    assert f"CO-RE cannot provide the offset of task_struct{access}: {where} {instead}" in found


def test_a_type_that_is_not_there_is_explained():
    a = Assembler()
    a.struct("task_structure", 0)
    found = [line for line in reasons(EXECSNOOP, a.btf(), "exit_execve") if line[0] == READS_PARENT]
    assert [reason for _, reason in found] == [
        f"CO-RE cannot provide the offset of task_struct->{access}: .BTF has no struct task_struct; did you mean "
        "task_structure?"
        for access in ("real_parent", "real_parent->tgid")
    ]


def test_modules_that_do_not_have_a_type_either_are_counted():
    modules = [split_btf(TARGET.btf, name, 8) for name in ("one", "two")]
    message = poison_message("offset_absent", CoreTarget(TARGET.btf, modules))
    assert message.endswith(": neither core_target.bpf.o nor its 2 modules have struct absent")


def test_types_that_contain_themselves_are_refused():
    a = Assembler()
    a.struct("task_struct", 8, ("", 1, 0), ("", 1, 0))
    message = (
        f"exit_execve', .*: {re.escape(READS_PARENT)}.: CO-RE cannot relocate the offset of task_struct->real_parent"
    )
    with pytest.raises(PlanError, match=message + ": the target nests more than 64 structs"):
        reasons(EXECSNOOP, a.btf(), "exit_execve")


# Several candidates


CANDIDATES = Object(OBJECTS / "core_candidates.bpf.o")
TWINS = Object(OBJECTS / "core_candidates_target.bpf.o")


def test_candidates_that_agree():
    target = CoreTarget(TWINS.btf)
    assert CANDIDATES.relocated_value("agree", target) == TWINS.number("same_place")
    assert CANDIDATES.relocated_value("both_exist", target) == 1
    assert CANDIDATES.relocated_value("first_only", target) == TWINS.number("only_in_first")


@pytest.mark.parametrize("name", ["conflicting_offsets", "conflicting_sizes", "conflicting_ids", "after_first_only"])
def test_candidates_that_disagree_are_refused_and_named(name):
    with pytest.raises(PlanError, match="do not agree") as error:
        CANDIDATES.relocate(name, CoreTarget(TWINS.btf))
    assert f"program {name!r}, instruction 0" in str(error.value)
    assert "struct twin (type " in str(error.value)
    assert "struct twin___2 (type " in str(error.value)


def test_a_candidate_that_did_not_match_is_not_asked_again_for_this_local_type():
    target, candidates = CoreTarget(TWINS.btf), {}
    CANDIDATES.relocate("first_only", target, candidates=candidates)
    insns, _ = CANDIDATES.relocate("after_first_only", target, candidates=candidates)
    assert value_of(insns, "little") == TWINS.number("other_place_in_first")
    insns, _ = CANDIDATES.relocate("second_after_first_only", target, candidates=candidates)
    assert value_of(insns, "little") == 0
    with pytest.raises(PlanError, match="do not agree"):  # a flavour is a local type of its own
        CANDIDATES.relocate("again_after_first_only", target, candidates=candidates)


def test_a_bit_field_that_lies_in_nine_bytes_is_refused():
    with pytest.raises(PlanError, match="cannot be read with one load"):
        CANDIDATES.relocate("bits_across_nine_bytes", CoreTarget(TWINS.btf))


# Types of kernel modules


def test_modules_are_searched_for_what_the_kernel_does_not_have():
    modules = [split_btf(TARGET.btf, name, size) for name, size in (("other", 1), ("absent", 48), ("sample", 2))]
    target = CoreTarget(TARGET.btf, modules)
    assert LOCAL.relocated_value("type_size_absent", target) == 48
    assert LOCAL.relocated_value("type_id_target_absent", target) == len(TARGET.btf)
    assert LOCAL.relocated_value("type_size_struct", target) == TARGET.number("type_size_struct")


def test_modules_that_disagree():
    modules = [split_btf(TARGET.btf, "absent", size) for size in (8, 16)]
    with pytest.raises(PlanError, match="do not agree"):
        LOCAL.relocate("type_size_absent", CoreTarget(TARGET.btf, modules))


# Instruction forms


def patched(opcode, name, target):
    """Relocate a program whose first instruction got another opcode: (new opcode, registers, offset, imm)."""
    code, start, relos = LOCAL.programs[name]
    insns = bytearray([opcode]) + code[1:]
    poisoned = relocate(insns, relos, local=LOCAL.btf, target=target, program="p", section_offset=start)
    assert poisoned == []
    assert insns[8:] == code[8:]
    return struct.unpack_from("<BBhi", insns)


@pytest.mark.parametrize("opcode", [0xB7, 0xB4, 0x07, 0x04], ids=["mov", "mov32", "add", "add32"])
def test_immediates_of_arithmetic(opcode, target):
    assert patched(opcode, "offset_nested", target) == (opcode, 0, 0, TARGET.number("offset_nested"))


@pytest.mark.parametrize(
    ("opcode", "resized"),
    [(0x61, 0x79), (0x62, 0x7A), (0x63, 0x7B), (0x81, 0x99)],
    ids=["ldx", "st", "stx", "ldxs"],
)
def test_offsets_and_sizes_of_loads_and_stores(opcode, resized, target):
    _, registers, _, imm = struct.unpack_from("<BBhi", LOCAL.programs["load_grows"][0])
    expected = resized, registers, TARGET.number("load_grows"), imm
    assert patched(opcode, "load_grows", target) == expected


def test_pointers_of_a_32_bit_kernel_are_read_with_4_bytes():
    # struct sample { void *pointer; } where long has 4 bytes: an int, a pointer, and a struct of 4 bytes.
    types = struct.pack("<IIII", 1, 1 << 24, 4, 32 | 1 << 24) + struct.pack("<III", 0, 2 << 24, 0)
    types += struct.pack("<III", 6, 4 << 24 | 1, 4) + struct.pack("<III", 13, 2, 0)
    target = CoreTarget(btf_of(types, b"\0long\0sample\0pointer\0"))
    assert LOCAL.relocated_value("load_pointer", target) == (0, 4)


def test_negative_enumerators_fill_64_bits(target):
    shade = LOCAL.btf.find("shade", Enum)[0]
    insns = bytearray(struct.pack("<BBhiBBhi", 0x18, 1, 0, 1, 0, 0, 0, 0))
    relo = CoreRelo(0, shade, "1", bpf_core_relo_kind.BPF_CORE_ENUMVAL_VALUE)
    assert relocate(insns, [relo], local=LOCAL.btf, target=target, program="p") == []
    assert struct.unpack("<BBhiBBhi", insns) == (0x18, 1, 0, -7, 0, 0, 0, -1)


def test_relocations_of_other_programs_are_passed_over(target):
    code, start, relos = LOCAL.programs["offset_nested"]
    others = [relo for relo in relos if relo.insn_off not in range(start, start + len(code))]
    insns = bytearray(code)
    relocate(insns, others, local=LOCAL.btf, target=target, program="p", section_offset=start)
    assert insns == code


# Refusals


OFFSET = bpf_core_relo_kind.BPF_CORE_FIELD_BYTE_OFFSET


@pytest.mark.parametrize(
    ("insns", "what"),
    [
        ("b700000005000000", "holds 5, and the object's own types give 8"),
        ("bf10000008000000", "opcode 0xbf"),
        ("0500080000000000", "opcode 0x05"),
        ("6110040000000000", "holds 4, and the object's own types give 8"),
        ("2000000008000000", "opcode 0x20"),
        ("1810000008000000 0000000000000000", "opcode 0x18"),  # src_reg 1: a map
        ("1800000008000000 0000000001000000", "holds 4294967304"),
        ("1800000008000000 0100000000000000", "opcode 0x18"),
    ],
)
def test_instructions_that_cannot_be_patched(insns, what, target):
    sample = LOCAL.btf.find("sample", Struct)[0]
    code = bytearray(bytes.fromhex(insns))
    before = bytes(code)
    options = {"local": LOCAL.btf, "target": target, "program": "wrong"}
    with pytest.raises(PlanError, match=what) as error:
        relocate(code, [CoreRelo(0, sample, "0:1:1", OFFSET)], line_of=lambda index: "here", **options)
    assert "program 'wrong', instruction 0 (here): CO-RE" in str(error.value)
    assert "the offset of sample->at.y" in str(error.value)
    assert code == before


def test_a_load_of_another_width_than_the_member_cannot_be_resized(target):
    code, start, relos = LOCAL.programs["load_grows"]
    insns = bytearray([0x69]) + code[1:]  # a 2-byte load
    with pytest.raises(PlanError, match="moves 2 bytes, and the object's own types say 4"):
        relocate(insns, relos, local=LOCAL.btf, target=target, program="p", section_offset=start)


def test_offsets_beyond_16_bits_fit_arithmetic_only(target):
    sample = LOCAL.btf.find("sample", Struct)[0]
    tail = next(i for i, m in enumerate(LOCAL.btf.type(sample).members) if m.name == "tail")
    relo = CoreRelo(0, sample, f"0:{tail}:2050:1", OFFSET)  # elements of 8 bytes here, of 16 in the target
    tail_y = TARGET.number("offset_flexible") + (2050 - 5) * 16
    own = LOCAL.btf.type(sample).members[tail].bit_offset // 8 + 2050 * 8 + 4
    insns = bytearray(struct.pack("<BBhi", 0xB7, 0, 0, own))
    relocate(insns, [relo], local=LOCAL.btf, target=target, program="p")
    assert value_of(insns, "little") == tail_y > 32767
    insns = bytearray(struct.pack("<BBhi", 0x61, 0, own, 0))
    with pytest.raises(PlanError, match=f"offset {tail_y} is too large"):
        relocate(insns, [relo], local=LOCAL.btf, target=target, program="p")


@pytest.mark.parametrize(
    ("access", "kind", "what"),
    [
        ("0:99", 0, "index 99 of access string '0:99' is not in struct sample"),
        ("0:2:4", 0, "index 4 of access string '0:2:4'"),
        ("0:0:0", 0, "is not in int"),
        ("0:1:", 0, "no access string"),
        ("-1", 0, "no access string"),
        ("", 0, "no access string"),
        (":".join(["0"] * 65), 0, "65 indices"),
        ("0", 4, "not for array elements"),
        ("1", 8, "of a whole type is '0'"),
        ("0", 11, "names no value of struct sample"),
        ("0", 13, "kind 13 is not known"),
    ],
)
def test_records_that_make_no_sense(access, kind, what, target):
    sample = LOCAL.btf.find("sample", Struct)[0]
    insns = bytearray(8)
    with pytest.raises(PlanError, match=what) as error:
        relocate(insns, [CoreRelo(0, sample, access, kind)], local=LOCAL.btf, target=target, program="odd")
    assert "program 'odd', instruction 0: CO-RE cannot relocate" in str(error.value)
    assert "struct sample" in str(error.value)


def test_types_without_a_name_are_refused(target):
    btf = LOCAL.btf
    anonymous = next(id for id in range(1, len(btf)) if isinstance(btf.type(id), Union) and not btf.type(id).name)
    for type_id in (anonymous, 0):
        with pytest.raises(PlanError, match="without a name"):
            relocate(
                bytearray(8),
                [CoreRelo(0, type_id, "0", bpf_core_relo_kind.BPF_CORE_TYPE_EXISTS)],
                local=btf,
                target=target,
                program="p",
            )


@given(
    insns=st.binary(min_size=16, max_size=16),
    type_id=st.integers(0, len(LOCAL.btf) - 1),
    access=st.sampled_from(sorted({relo.access_str for relo in LOCAL.programs["guarded"][2]})),
    kind=st.integers(0, 13),
)
def test_any_record_relocates_or_is_refused(insns, type_id, access, kind):
    code = bytearray(insns[:8] + bytes([insns[8] & ~0x18]) + insns[9:])  # no 64-bit load in the last slot
    before = bytes(code)
    try:
        relocate(
            code,
            [CoreRelo(0, type_id, access, kind)],
            local=LOCAL.btf,
            target=CoreTarget(TARGET.btf),
            program="p",
        )
    except PlanError:
        assert code == before


# The kernel that runs the tests, and libbpf


KERNEL = Object(OBJECTS / "core_kernel.bpf.o")


@pytest.fixture(scope="module")
def vmlinux():
    if not VMLINUX.exists():
        pytest.skip("needs a kernel with BTF")
    return CoreTarget(Btf.from_bytes(VMLINUX.read_bytes(), where=str(VMLINUX)))


@pytest.mark.needs_tool("bpftool")
def test_members_of_the_kernels_own_types_are_where_bpftool_says(vmlinux):
    printed = subprocess.check_output(["bpftool", "btf", "dump", "file", VMLINUX, "-j"])
    types = json.loads(printed)["types"]
    (task,) = (t for t in types if (t["kind"], t["name"]) == ("STRUCT", "task_struct"))
    offsets = {member["name"]: member["bits_offset"] // 8 for member in task["members"]}
    for name in ("tgid", "real_parent", "exit_code", "comm"):
        assert KERNEL.relocated_value(f"offset_{name}", vmlinux) == offsets[name]
    assert KERNEL.relocated_value("id_task", vmlinux) == task["id"]
    assert KERNEL.relocated_value("size_task", vmlinux) == task["size"]
    assert KERNEL.relocated_value("exists_never", vmlinux) == 0
    assert KERNEL.relocated_value("exists_type", vmlinux) == 0
    assert KERNEL.relocated_value("exists_state", vmlinux) == int("state" in offsets)
    assert KERNEL.relocated_value("map_hash", vmlinux) == 1  # BPF_MAP_TYPE_HASH of <linux/bpf.h>
    assert KERNEL.relocated_value("map_never", vmlinux) == 0


LIBBPF_DUMP = r"""
#include <stdio.h>
#include <bpf/libbpf.h>

/* Load an object and print each program's name and instructions, whether or not the verifier takes them. */
int main(int argc, char **argv)
{
    LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = argc > 2 ? argv[2] : NULL);
    struct bpf_object *object = bpf_object__open_file(argv[1], &options);
    struct bpf_program *program;

    if (!object)
        return 1;
    bpf_object__load(object);
    bpf_object__for_each_program(program, object) {
        const unsigned char *bytes = (const void *)bpf_program__insns(program);
        printf("%s ", bpf_program__name(program));
        for (size_t i = 0; i < bpf_program__insn_cnt(program) * 8; i++)
            printf("%02x", bytes[i]);
        printf("\n");
    }
    bpf_object__close(object);
    return 0;
}
"""


@pytest.fixture(scope="module")
def libbpf_dump(tmp_path_factory):
    directory = tmp_path_factory.mktemp("libbpf")
    source = directory / "dump.c"
    source.write_text(LIBBPF_DUMP)
    program = compiled(directory, source)

    def dump(*arguments):
        """name -> instructions as libbpf relocated them; None if it refused."""
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
        if "failed to perform CO-RE relocations" in done.stderr:
            return None
        return {name: bytes.fromhex(insns) for name, insns in map(str.split, done.stdout.splitlines())}

    return dump


@pytest.mark.needs_root
@pytest.mark.needs_tool("cc")
def test_all_programs_are_the_same_as_with_libbpf(libbpf_dump, target):
    theirs = libbpf_dump(LOCAL.path, TARGET.path)
    candidates = {}
    ours = {name: LOCAL.relocate(name, target, candidates=candidates)[0] for name in LOCAL.programs}
    assert ours == theirs


@pytest.mark.needs_root
@pytest.mark.needs_tool("cc")
def test_programs_for_the_running_kernel_are_the_same_as_with_libbpf(libbpf_dump, vmlinux):
    theirs = libbpf_dump(KERNEL.path)
    candidates = {}
    ours = {name: KERNEL.relocate(name, vmlinux, candidates=candidates)[0] for name in KERNEL.programs}
    assert ours == theirs


@pytest.mark.needs_root
@pytest.mark.needs_tool("cc")
def test_libbpf_refuses_candidates_that_disagree_too(libbpf_dump):
    assert libbpf_dump(CANDIDATES.path, TWINS.path) is None
