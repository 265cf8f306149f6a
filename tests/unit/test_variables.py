"""Global variables of an object: where they lie, what they hold, and how they are set before a load.

The truth is the C source, the object's symbol table, and the BTF that libbpf's static linker (bpftool gen object) makes
of the object's: it completes the sizes and offsets that clang leaves 0.
"""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest
from elf_image import SHT_NOBITS, STB_GLOBAL, STT_OBJECT, ElfImage, build

import purebpf
from purebpf.abi.bpf import bpf_map_flags
from purebpf.btf.types import Datasec, Func, Var

ROOT = Path(__file__).parents[2]
PATH = ROOT / "tests/objects/obj_variables.bpf.o"
# The objects of tests/conformance (conf_*) are compared there, with a later libbpf.
OBJECTS = sorted([*ROOT.glob("prebuilt/*.bpf.o"), *ROOT.glob("tests/objects/*.bpf.o")])
OBJECTS = [path for path in OBJECTS if not path.name.startswith("conf_")]
OBJECTS.remove(ROOT / "tests/objects/obj_legacy_unknown.bpf.o")  # which we refuse, and libbpf's linker does not read
NO_BTF = (".BTF", ".rel.BTF", ".BTF.ext", ".rel.BTF.ext")
STATIC, GLOBAL = 0, 1


@pytest.fixture
def variables():
    return purebpf.parse(PATH).variables


# Where they lie


def test_places(variables):
    """Each is where the symbol table has it: section, offset and size."""
    image = ElfImage(PATH.read_bytes())
    for position in image.symbols():
        name = image.symbol_name(position)
        info, _, section, value, size = struct.unpack_from("<BBHQQ", image.data, position + 4)
        if info & 0xF != STT_OBJECT or name in ("LICENSE", "elsewhere"):
            continue
        place = variables.places[name]
        assert (place.map, place.offset, place.size) == (image.section_name(image.sections()[section]), value, size)


def test_only_those_in_sections_that_become_maps(variables):
    assert "elsewhere" not in variables
    assert "LICENSE" not in variables
    assert set(variables) == {
        *("byte", "aligned_to_8", "negative", "point", "flexible"),
        *("static_in_data", "hidden_in_data", "weak_in_data"),
        *("zero", "text", "static_in_bss", "hidden_in_bss"),
        *("colour", "flag", "fraction", "numbers"),
        *("custom", "custom_static", "custom_hidden", "custom_constant", "custom_zero", "odd_name"),
    }
    assert len(variables) == 22


# What they hold


def test_initial_values(variables):
    """As in the source."""
    point, flexible = variables["point"], variables["flexible"]
    assert (point.x, point.y, point.label) == (-1, 1 << 40, "abc")
    assert (flexible.size, flexible.bytes.raw) == (4, b"\1\2\3\4")
    assert variables["colour"].name == "BLUE"
    plain = {name: value for name, value in variables.items() if name not in ("point", "flexible")}
    assert plain == {
        "byte": 0xAB,
        "aligned_to_8": 0x1122334455667788,
        "negative": -7,
        "static_in_data": 5,
        "hidden_in_data": 6,
        "weak_in_data": 7,
        "zero": 0,
        "text": "",
        "static_in_bss": 0,
        "hidden_in_bss": 0,
        "colour": -5,
        "flag": True,
        "fraction": 0.5,
        "numbers": (1, 20, 300),
        "custom": 8,
        "custom_static": 9,
        "custom_hidden": 9,
        "custom_constant": 10,
        "custom_zero": 0,
        "odd_name": 11,
    }


def test_set_values(variables):
    spec = variables._spec
    before = {key: bytes(definition.contents) for key, definition in spec.maps.items()}
    variables["numbers"] = [7, 8, 9]
    assert spec.maps[".rodata"].contents[16:28] == struct.pack("<3I", 7, 8, 9)
    variables["text"] = "hello"
    assert spec.maps[".bss"].contents[16:48] == b"hello".ljust(32, b"\0")
    variables["negative"] = -8
    assert spec.maps[".data"].contents[16:20] == struct.pack("<i", -8)
    variables["colour"] = "RED"
    assert variables["colour"] == 1
    variables["point"] = {"x": 5}
    assert variables["point"].y == 0
    for key, changed in (".rodata", range(28)), (".bss", range(16, 48)), (".data", range(16, 48)):
        for offset, (old, new) in enumerate(zip(before[key], spec.maps[key].contents, strict=True)):
            assert old == new or offset in changed


def test_what_is_set_is_what_the_plan_loads(variables):
    variables["custom"] = 0x12345678
    plan = variables._spec.plan(purebpf.KernelFacts.offline(release="6.1.0"))
    (command,) = [command for command in plan if command.action == "filling the variables of '.data.custom'"]
    assert command.fields["value"] == struct.pack("<I", 0x12345678)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("byte", 256, ValueError, "256"),
        ("byte", -1, ValueError, "-1"),
        ("byte", "abc", TypeError, "abc"),
        ("text", "x" * 33, (TypeError, ValueError), "text|char"),
        ("numbers", [1, 2], ValueError, "2 elements"),
        ("point", {"z": 1}, ValueError, "'z'"),
        ("colour", "GREEN", ValueError, "'GREEN'"),
        ("missing", 1, KeyError, "missing"),
    ],
)
def test_set_wrong_values(variables, name, value, error, message):
    before = {key: bytes(definition.contents) for key, definition in variables._spec.maps.items()}
    with pytest.raises(error, match=message):
        variables[name] = value
    assert {key: bytes(definition.contents) for key, definition in variables._spec.maps.items()} == before


def test_as_a_mapping(variables):
    assert "byte" in variables
    assert variables.get("missing") is None
    with pytest.raises(KeyError):
        variables["missing"]
    with pytest.raises(TypeError, match="cannot be deleted"):
        del variables["byte"]
    assert repr(variables).startswith("<Variables byte, aligned_to_8, ")
    assert repr(purebpf.parse(build([])).variables) == "<Variables none>"


def test_string_constants():
    """They become a map, for programs refer to them; BTF does not describe them, so they are no variables."""
    spec = purebpf.parse(ROOT / "tests/objects/obj_strings.bpf.o")
    assert set(spec.variables) == {"choice", "copy_string.names"}
    strings = spec.maps[".rodata.str1.1"]
    assert (strings.name, strings.kind, strings.value_type_id) == (".rodata.str1.1", "rodata", 0)
    assert set(bytes(strings.contents).split(b"\0")) == {b"first", b"second", b"literal %d", b""}
    assert strings.map_flags == bpf_map_flags.BPF_F_RDONLY_PROG


# Without BTF


@pytest.fixture
def untyped():
    return purebpf.parse(bytes(ElfImage(PATH.read_bytes()).without(*NO_BTF))).variables


def test_values_without_btf(variables, untyped):
    """Unsigned numbers where the size allows, else bytes; by the symbol table alone."""
    assert set(untyped) == set(variables)
    for name, place in variables.places.items():
        other = untyped.places[name]
        assert (other.map, other.offset, other.size, other.type_id) == (place.map, place.offset, place.size, 0)
    assert untyped["negative"] == (1 << 32) - 7
    assert untyped["numbers"] == struct.pack("<3I", 1, 20, 300)
    assert all(definition.value_type_id == 0 for definition in untyped._spec.maps.values())
    # Only BTF says that a variable is there for others, so nothing is offered for mapping.
    assert {definition.map_flags for definition in untyped._spec.maps.values()} == {0, 1 << 7}


def test_set_values_without_btf(untyped):
    untyped["negative"] = -1
    untyped["byte"] = 255
    untyped["numbers"] = bytes(range(12))
    assert (untyped["negative"], untyped["byte"], untyped["numbers"]) == (0xFFFFFFFF, 255, bytes(range(12)))
    for name, value, message in [
        ("byte", 256, "byte: 256 does not fit in 1 bytes"),
        ("byte", -129, "byte: -129 does not fit in 1 bytes"),
        ("numbers", b"short", "numbers: 5 bytes given, the variable has 12"),
    ]:
        with pytest.raises(ValueError, match=message):
            untyped[name] = value


@pytest.mark.parametrize("order", "<>")
def test_numbers_without_btf_in_both_byte_orders(order):
    image = build([(".data", b"\1\2\3\4", {})], [("v", 1, 0, 4, STT_OBJECT, STB_GLOBAL)], order=order)
    spec = purebpf.parse(image)
    assert spec.variables["v"] == (0x04030201 if order == "<" else 0x01020304)
    spec.variables["v"] = 0x0A0B0C0D
    assert spec.maps[".data"].contents == struct.pack(order + "I", 0x0A0B0C0D)


@pytest.mark.parametrize(
    ("value", "size"), [(4, 1), (0, 5), (1 << 63, 1 << 63), (0, (1 << 64) - 1), ((1 << 64) - 1, 1)]
)
def test_variable_outside_of_its_section(value, size):
    for section in ((".data", bytes(4), {}), (".bss", b"", {"type": SHT_NOBITS, "size": 4})):
        with pytest.raises(purebpf.ObjectFormatError) as error:
            purebpf.parse(build([section], [("v", 1, value, size, STT_OBJECT, STB_GLOBAL)]))
        assert str(error.value) == f"section '{section[0]}', variable 'v': lies at {value} to {value + size} of 4"


# The BTF of sections


def completed(path):
    """Section -> variable -> (offset, size, linkage), from our BTF."""
    btf = purebpf.parse(path).btf
    found = {}
    for datasec in (kind for kind in map(btf.type, range(len(btf))) if isinstance(kind, Datasec)):
        variables = [(btf.type(place.type_id), place) for place in datasec.variables]
        assert all(isinstance(var, Var) for var, _ in variables)
        assert [place.offset for _, place in variables] == sorted(place.offset for _, place in variables)
        found[datasec.name] = (
            datasec.size,
            {var.name: (place.offset, place.size, var.linkage) for var, place in variables},
        )
    return found


@pytest.mark.needs_tool("bpftool")
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_completed_as_by_the_static_linker(path, tmp_path):
    linked = tmp_path / path.name
    run = subprocess.run(["bpftool", "gen", "object", linked, path], capture_output=True, text=True)
    if run.returncode:
        assert "failed to find BTF" in run.stderr or path.name == "obj_strings.bpf.o"
        return
    dump = subprocess.run(["bpftool", "-j", "btf", "dump", "file", linked], capture_output=True, check=True).stdout
    theirs = {
        kind["name"]: (
            kind["size"],
            {
                names[place["type_id"]]["name"]: (place["offset"], place["size"], names[place["type_id"]]["linkage"])
                for place in kind["vars"]
            },
        )
        for types in [json.loads(dump)["types"]]
        for names in [{kind["id"]: kind for kind in types}]
        for kind in types
        if kind["kind"] == "DATASEC"
    }
    ours = completed(path)
    hidden = {"hidden_in_data", "hidden_in_bss", "custom_hidden"}
    linkages = {"static": STATIC, "global": GLOBAL, "global-alloc": GLOBAL}
    for section, (size, variables) in theirs.items():
        if section in (".kconfig", ".ksyms"):  # which the linker leaves to the loader
            continue
        expected = {
            name: (offset, length, STATIC if name in hidden else linkages[linkage])
            for name, (offset, length, linkage) in variables.items()
        }
        assert ours[section] == (size, expected)


def test_hidden_becomes_static():
    """Of the symbols that the source declares __hidden; the others keep what they are."""
    variables = {name: linkage for _, found in completed(PATH).values() for name, (_, _, linkage) in found.items()}
    statics = {name for name, linkage in variables.items() if linkage == STATIC}
    assert statics == {
        *("static_in_data", "static_in_bss", "custom_static"),
        *("hidden_in_data", "hidden_in_bss", "custom_hidden"),
    }


def test_hidden_subprogram_becomes_static():
    """As in libbpf: the verifier checks a global function on its own, a static one with what its callers pass."""
    btf = purebpf.parse(ROOT / "tests/objects/obj_programs.bpf.o").btf
    functions = {kind.name: kind.linkage for kind in map(btf.type, range(len(btf))) if isinstance(kind, Func)}
    statics = {name for name, linkage in functions.items() if linkage == STATIC}
    assert statics == {"static_function", "hidden_function"}
    assert functions["global_function"] == functions["weak_function"] == functions["network"] == GLOBAL


def damaged_section(word, value):
    """Change a word of the record of DATASEC .data: its struct btf_type, then 3 words for each variable."""
    image = ElfImage(PATH.read_bytes())
    btf = purebpf.parse(PATH).btf
    (datasec,) = btf.find(".data")
    position = image.content_at(".BTF")[0] + btf.record_offset(datasec) + 4 * word
    struct.pack_into("<I", image.data, position, value)
    return bytes(image), f".BTF type {datasec} (DATASEC '.data')"


def test_section_that_is_not_there():
    image = ElfImage(PATH.read_bytes()).section(".data", name=0)
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(bytes(image))
    assert "(DATASEC '.data'): describes section '.data', which is missing or empty" in str(error.value)


def test_variable_of_another_type():
    image, where = damaged_section(3, 1)
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(image)
    assert str(error.value) == f"{where}: lists type 1, which is no variable"


def test_variable_without_symbol():
    image = ElfImage(PATH.read_bytes())
    image.symbol("byte", info=0)
    with pytest.raises(purebpf.ObjectFormatError, match=r"\(DATASEC '\.data'\): variable 'byte' has no symbol"):
        purebpf.parse(bytes(image))


def test_variable_smaller_than_its_type():
    image, _ = damaged_section(5, 0)
    btf = purebpf.parse(PATH).btf
    (datasec,) = btf.find(".data")
    first = btf.type(btf.type(datasec).variables[0].type_id)
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(image)
    assert str(error.value) == f"section '.data', variable '{first.name}': has 0 bytes, less than its type"


@pytest.mark.parametrize("offset", [60, 1 << 32])
def test_variable_beyond_its_section(offset):
    image = ElfImage(PATH.read_bytes()).symbol("aligned_to_8", value=offset + 8)
    if offset == 1 << 32:  # the offset has 32 bits in BTF, and libbpf cuts it off
        assert purebpf.parse(bytes(image)).variables.places["aligned_to_8"].offset == 8
        return
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(bytes(image))
    assert str(error.value) == "section '.data', variable 'aligned_to_8': lies at 68 to 76 of 68"
