"""purebpf.obj.mapdefs: map definitions in BTF and legacy ones, good and bad.

That good definitions in BTF are read as libbpf reads them is shown in test_parse.py, over all objects.  Here is what
libbpf 1.1 cannot read, and what both refuse.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
from pathlib import Path

import pytest
from btf_making import DATASEC, PTR, VAR, Assembler
from elf_image import STB_GLOBAL, STT_OBJECT, ElfImage, build
from elftools.elf.elffile import ELFFile
from libbpf_view import Libbpf

import purebpf
from purebpf.abi.bpf import bpf_map_flags, bpf_map_type

ROOT = Path(__file__).parents[2]
LEGACY = (ROOT / "tests/objects/obj_legacy_maps.bpf.o").read_bytes()
FIELDS = ("type", "key_size", "value_size", "max_entries", "map_flags")
USUAL = (bpf_map_type.BPF_MAP_TYPE_HASH, 6, 3, 1_000_000, bpf_map_flags.BPF_F_NO_PREALLOC)
NO_BTF = (".BTF", ".rel.BTF", ".BTF.ext", ".rel.BTF.ext")


# Legacy definitions


def numbers(spec):
    return tuple(getattr(spec, field) for field in FIELDS)


def test_legacy_definitions_of_all_sizes():
    """In the order of their place; what a short definition leaves out is 0."""
    spec = purebpf.parse(LEGACY)
    assert {name: numbers(definition) for name, definition in spec.maps.items()} == {
        "pinnable": (bpf_map_type.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 24, 7, 0),
        "short_one": (bpf_map_type.BPF_MAP_TYPE_ARRAY, 4, 8, 16, 0),
        "usual": USUAL,
        "with_numa_node": (bpf_map_type.BPF_MAP_TYPE_LRU_HASH, 8, 16, 5, 0),
    }
    image = ElfImage(LEGACY)
    sizes = [struct.unpack_from("<Q", image.data, image.symbol_at(name) + 16)[0] for name in spec.maps]
    assert sizes == [280, 16, 20, 28]
    assert list(spec.maps) == ["pinnable", "short_one", "usual", "with_numa_node"]
    assert all(definition.section == "maps" for definition in spec.maps.values())


def test_legacy_definitions_without_btf():
    with_btf, without = purebpf.parse(LEGACY), purebpf.parse(bytes(ElfImage(LEGACY).without(*NO_BTF)))
    assert without.btf is None
    assert without.btf_ext is None
    assert {name: numbers(spec) for name, spec in without.maps.items()} == {
        name: numbers(spec) for name, spec in with_btf.maps.items()
    }
    assert [(entry.kind, entry.target) for entry in without.programs["use_all"].relocations] == [
        ("map", "usual"),
        ("map", "short_one"),
        ("map", "with_numa_node"),
        ("map", "pinnable"),
    ]
    plan = str(without.plan(purebpf.KernelFacts.offline(release="4.9.0")))
    assert "BPF_BTF_LOAD" not in plan
    assert "btf" not in plan
    assert plan.count("bpf(BPF_MAP_CREATE)") == 4


def test_legacy_types_by_annotation():
    """BPF_ANNOTATE_KV_PAIR leaves a struct of the map's name; it counts if the sizes are those of the map."""
    spec = purebpf.parse(LEGACY)
    usual, others = spec.maps.pop("usual"), spec.maps
    assert {(other.key_type_id, other.value_type_id) for other in others.values()} == {(0, 0)}
    assert spec.btf.size_of(usual.key_type_id) == 6
    assert [member.name for member in spec.btf.type(usual.value_type_id).members] == ["a", "b", "c"]

    image = ElfImage(LEGACY)
    start, _ = image.content_at("maps")
    (place,) = struct.unpack_from("<Q", image.data, image.symbol_at("usual") + 8)
    struct.pack_into("<I", image.data, start + place + 4, 7)
    changed = purebpf.parse(bytes(image)).maps["usual"]
    assert (changed.key_size, changed.key_type_id, changed.value_type_id) == (7, 0, 0)


def test_legacy_definition_that_asks_for_more():
    path = ROOT / "tests/objects/obj_legacy_unknown.bpf.o"
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(path)
    assert str(error.value) == (
        f"{path}: map 'pinned': bytes 20 to 28 are not zero; known are only type, key_size, value_size, max_entries, "
        "map_flags"
    )


def legacy(content, *symbols, order="<"):
    """The maps of an object whose section "maps" has this content; symbols are (name, value, size)."""
    table = [(name, 1, value, size, STT_OBJECT, STB_GLOBAL) for name, value, size in symbols]
    return purebpf.parse(build([("maps", content, {})], table, order=order)).maps


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("count", range(1, 8))
def test_legacy_definition_of_each_size(count, order):
    content = struct.pack(f"{order}{min(count, 5)}I", *range(1, min(count, 5) + 1)).ljust(4 * count, b"\0")
    expected = (*range(1, min(count, 5) + 1), 0, 0, 0, 0)[:5]
    assert numbers(legacy(content, ("m", 0, 4 * count), order=order)["m"]) == expected


def test_legacy_definitions_whose_symbols_have_no_size():
    """As handwritten assembly has them: each reaches to the next one."""
    content = struct.pack("<9I", 1, 2, 3, 4, 0, 2, 4, 8, 1)
    maps = legacy(content, ("second", 20, 0), ("first", 0, 0))
    assert {name: numbers(spec) for name, spec in maps.items()} == {"first": (1, 2, 3, 4, 0), "second": (2, 4, 8, 1, 0)}


def test_legacy_section_without_symbols():
    assert legacy(bytes(20)) == {}


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ([("m", 8, 20)], "map 'm': a definition of 20 bytes at 8 of 20"),
        ([("m", 20, 0)], "map 'm': a definition of 0 bytes at 20 of 20"),
        ([("m", 24, 0)], "map 'm': a definition of -4 bytes at 24 of 20"),
        ([("m", 1 << 63, 20)], f"map 'm': a definition of 20 bytes at {1 << 63} of 20"),
        ([("m", 0, 1 << 63)], f"map 'm': a definition of {1 << 63} bytes at 0 of 20"),
        ([("m", 0, 3)], "map 'm': a definition of 3 bytes at 0 of 20"),
        ([("", 0, 20)], "map '': a definition of 20 bytes at 0 of 20"),
        ([("m", 0, 20), ("m", 0, 20)], "section 'maps': there are two maps 'm'"),
    ],
)
def test_legacy_definition_out_of_place(symbols, message):
    with pytest.raises(purebpf.ObjectFormatError) as error:
        legacy(bytes(20), *symbols)
    assert str(error.value) == message


def test_absurd_numbers_are_the_kernels_business():
    """A definition says what it says; its sizes cost nothing until the kernel is asked for the map."""
    maps = legacy(b"\xff" * 20, ("m", 0, 20))
    assert numbers(maps["m"]) == (0xFFFFFFFF,) * 5
    spec = purebpf.parse(build([("maps", b"\xff" * 20, {})], [("m", 1, 0, 20, STT_OBJECT, STB_GLOBAL)]))
    plan = str(spec.plan(purebpf.KernelFacts.offline(release="6.1.0")))
    assert plan.count(f" = {0xFFFFFFFF}") == 5


# Definitions in BTF


def test_long_attributes():
    """64 bits of map_extra, which libbpf can read since 1.5; the values are those of the source."""
    maps = purebpf.parse(ROOT / "tests/objects/obj_long_attributes.bpf.o").maps
    assert {name: spec.map_extra for name, spec in maps.items()} == {
        "fits_32_bits": 6,
        "needs_64_bits": 0xFEDCBA9876543210,
    }


def test_initial_slots():
    """Which maps and programs stand in a definition's initializer, and where."""
    maps = purebpf.parse(ROOT / "tests/objects/obj_btf_maps.bpf.o").maps
    assert {name: spec.slots for name, spec in maps.items() if spec.slots} == {
        "of_maps_filled": {0: "inner_one", 3: "inner_two", 4: "inner_one"},
        "of_programs": {1: "tail"},
    }
    assert [name for name, spec in maps.items() if spec.inner] == ["of_maps_filled", "of_maps"]


WRONG_SLOTS = {
    # (map, what the relocation is changed to): complaint
    ("of_maps_filled", "tail"): "is no map of section '.maps'",
    ("of_programs", "inner_one"): "is no program",
}


@pytest.mark.parametrize(("name", "target"), WRONG_SLOTS)
def test_initial_slots_of_another_kind(name, target):
    """The relocation of a slot is turned to a symbol that cannot be there."""
    image = ElfImage((ROOT / "tests/objects/obj_btf_maps.bpf.o").read_bytes())
    symbols = [symbol.name for symbol in elf_of(image).get_section_by_name(".symtab").iter_symbols()]
    wanted, old = symbols.index(target), symbols.index("inner_one" if name == "of_maps_filled" else "tail")
    data = bytearray(bytes(image))
    start, size = relocation_section(image, ".rel.maps")
    for position in range(start, start + size, 16):
        offset, info = struct.unpack_from("<QQ", data, position)
        if info >> 32 == old:
            struct.pack_into("<QQ", data, position, offset, wanted << 32 | info & 0xFFFFFFFF)
            break
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(bytes(data))
    assert str(error.value) == f"map {name!r}, initial value {target!r}: {WRONG_SLOTS[name, target]}"


def elf_of(image):
    return ELFFile(io.BytesIO(bytes(image)))


def relocation_section(image, name):
    section = elf_of(image).get_section_by_name(name)
    return section["sh_offset"], section["sh_size"]


def test_definitions_without_btf():
    image = ElfImage((ROOT / "tests/objects/obj_btf_maps.bpf.o").read_bytes()).without(*NO_BTF)
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(bytes(image))
    assert str(error.value) == "section '.maps': its definitions are BTF, and there is no .BTF; compile with -g"


COMMON = "__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, int);"
INNER = "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, int);"
OF_MAPS = "__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 1); __type(key, int);"

BAD_DEFINITIONS = {
    f"struct {{ {COMMON} __uint(colour, 3); }} m": "unknown attribute 'colour'",
    f"struct {{ {COMMON} int value_size; }} m": "value_size is not written as __uint(value_size, number)",
    f"struct {{ {COMMON} int *value_size; }} m": "value_size is not written as __uint(value_size, number)",
    f"struct {{ {COMMON} int value; }} m": "value is no pointer to a type; use __type(value, ...)",
    f"struct {{ {COMMON} __uint(key_size, 8); }} m": "key_size is given twice, as 4 and as 8",
    f"struct {{ {COMMON} __uint(value_size, 8); __type(value, int); }} m": "value_size is given twice, as 8 and as 4",
    f"struct {{ {COMMON} __uint(pinning, 2); }} m": (
        "pinning 2 is neither LIBBPF_PIN_NONE (0) nor LIBBPF_PIN_BY_NAME (1)"
    ),
    f"struct {{ {COMMON} int map_extra; }} m": "map_extra is not written as __uint(map_extra, number)",
    f"struct {{ {COMMON} __array(values, int); }} m": "only a map of maps or a prog array can have 'values'",
    "struct { __uint(max_entries, 1); } m": "has no type; add __uint(type, BPF_MAP_TYPE_...)",
    "struct { __uint(type, BPF_MAP_TYPE_UNSPEC); } m": "has no type; add __uint(type, BPF_MAP_TYPE_...)",
    "int m": "is defined by a Void, not by a struct",  # clang describes no such variable there
    f"static struct {{ {COMMON} }} m": "is static; a map must be a global variable",
    f"struct {{ {OF_MAPS} {INNER} }} *values; }} m": "'values' is not written as __array(values, ...)",
    f"struct {{ {OF_MAPS} {INNER} }} *values[2]; }} m": "'values' is not written as __array(values, ...)",
    f"struct {{ {OF_MAPS} __array(values, int); }} m": "'values' of a map of maps must be a map definition",
    f"struct {{ {OF_MAPS} __uint(value_size, 8); __array(values, {INNER} }}); }} m": (
        "value_size is given twice, as 8 and as 4"
    ),
    f"struct {{ {OF_MAPS} __array(values, {INNER} __uint(pinning, 1); }}); }} m": "an inner map cannot be pinned",
    f"struct {{ {OF_MAPS} __array(values, {INNER} __array(values, {INNER} }}); }}); }} m": (
        "maps nest only one level deep"
    ),
    f"struct {{ {OF_MAPS} __array(values, {INNER} int colour; }}); }} m": "unknown attribute 'colour'",
    "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __array(values, int); } m": (
        "'values' of a prog array must be a function type"
    ),
}


@pytest.fixture(scope="module")
def libbpf(tmp_path_factory):
    return Libbpf(tmp_path_factory.mktemp("libbpf"))


@pytest.mark.needs_tool("clang-19", "cc")
@pytest.mark.parametrize(("definition", "message"), BAD_DEFINITIONS.items())
def test_bad_definition(definition, message, libbpf, tmp_path):
    """libbpf refuses it, and so do we, with the map's name and the reason."""
    path = tmp_path / "bad.bpf.o"
    compile(f'{definition} SEC(".maps");', path)
    theirs, complaint = libbpf.open(path)
    assert theirs is None
    assert "map 'm" in complaint
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(path)
    name = "m.inner" if "{ __uint(type, BPF_MAP_TYPE_ARRAY)" in definition and _is_about_inner(message) else "m"
    assert str(error.value) == f"{path}: map '{name}': {message}"


def _is_about_inner(message):
    return message.startswith(("an inner map", "maps nest", "unknown attribute"))


@pytest.mark.needs_tool("clang-19", "cc")
def test_attributes_after_values(libbpf, tmp_path):
    """__array(values) is a flexible array, so C itself wants it last; a union gets around that."""
    path = tmp_path / "bad.bpf.o"
    compile(f'struct {{ {OF_MAPS} typeof({INNER} }}) *values[0]; __uint(map_flags, 1); }} m SEC(".maps");', path)
    assert libbpf.open(path)[0] is None
    with pytest.raises(purebpf.ObjectFormatError, match=r"map 'm': 'values' must be the last member"):
        purebpf.parse(path)


def test_two_members_of_a_name():
    """C does not allow it; and a definition of a million members would be read once for each map of that type."""
    a = Assembler()
    number = a.add(PTR, "", a.array(a.int(), 1))
    definition = a.struct("definition", 16, ("type", number, 0), ("type", number, 64))
    a.add(DATASEC, ".maps", 0, a.add(VAR, "m", definition, 1), 0, 16, vlen=1)
    image = build([(".maps", bytes(16), {}), (".BTF", a.bytes(), {})], [("m", 1, 0, 16, STT_OBJECT, STB_GLOBAL)])
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(image)
    assert str(error.value) == "map 'm': has two members 'type'"


def compile(text, path):
    """Compile C with the flags of the Makefile."""
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    command = ["clang-19", "-target", "bpf", "-O2", "-g", include, "-x", "c", "-c", "-", "-o", path]
    source = f"#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n{text}\n"
    subprocess.run(command, input=source, text=True, check=True)


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [  # the words of struct btf_var_secinfo: type, offset and size
        (0, 0, "lists type 0, which is no variable"),
        (0, 1, "lists type 1, which is no variable"),
        (0, 1 << 31, f"refers to type {1 << 31}, and there are"),
        (2, 0, "map 'types': has 0 bytes for a definition of"),
        (2, 1 << 31, "beyond the section"),
    ],
)
def test_damaged_list_of_maps(word, value, message):
    image = ElfImage((ROOT / "tests/objects/obj_btf_maps.bpf.o").read_bytes())
    struct.pack_into("<I", image.data, variable_record(image, ".maps", "types") + 4 * word, value)
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(bytes(image))
    assert message in str(error.value)


def variable_record(image, section, variable):
    """Where in the file the BTF says where a variable lies."""
    spec = purebpf.parse(bytes(image))
    (datasec,) = spec.btf.find(section)
    start, _ = image.content_at(".BTF")
    first = start + spec.btf.record_offset(datasec) + 12
    (vlen,) = struct.unpack_from("<I", image.data, first - 8)
    for position in range(first, first + 12 * (vlen & 0xFFFF), 12):
        (type_id,) = struct.unpack_from("<I", image.data, position)
        if spec.btf.type(type_id).name == variable:
            return position
    raise LookupError(variable)
