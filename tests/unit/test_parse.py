"""purebpf.parse: the maps and programs that libbpf sees in the same object, and what the C source says."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from elf_image import SHF_EXECINSTR, SHT_NOBITS, SHT_REL, STB_GLOBAL, STB_LOCAL, STT_FUNC, ElfImage, build
from libbpf_view import Libbpf

import purebpf
from purebpf.abi.bpf import bpf_map_type, bpf_prog_type
from purebpf.obj.spec import Relocation

ROOT = Path(__file__).parents[2]
# The objects of tests/conformance (conf_*) are compared there, with a later libbpf.
OBJECTS = sorted([*ROOT.glob("prebuilt/*.bpf.o"), *ROOT.glob("tests/objects/*.bpf.o")])
OBJECTS = [path for path in OBJECTS if not path.name.startswith("conf_")]
HELLO = (ROOT / "prebuilt/hello.bpf.o").read_bytes()
PROGRAM = "tracepoint/syscalls/sys_enter_openat"
EXIT = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
RINGS = (bpf_map_type.BPF_MAP_TYPE_RINGBUF, bpf_map_type.BPF_MAP_TYPE_USER_RINGBUF)
LITTLE = purebpf.KernelFacts.offline(release="6.1.0")


def test_object(name):
    return ROOT / "tests/objects" / f"{name}.bpf.o"


test_object.__test__ = False


# Against libbpf


@pytest.fixture(scope="module")
def libbpf(tmp_path_factory):
    return Libbpf(tmp_path_factory.mktemp("libbpf"))


def map_as_libbpf_has_it(spec):
    # What the user sees as the map's name is the section's, if it is not one of the usual.
    if spec.kind == "struct_ops":  # libbpf 1.1 tells nothing more about it
        spec = replace(spec, value_type_id=0, contents=None)
    if spec.kind == "kconfig":  # what is in it, libbpf reads when it loads the object, and we when we plan
        spec = replace(spec, contents=bytearray(spec.value_size))
    name = spec.section if spec.kind not in ("user", "struct_ops") and "." in spec.section[1:] else spec.name
    numbers = "type key_size value_size max_entries map_flags numa_node map_extra key_type_id value_type_id"
    return {
        "name": name,
        **{field: getattr(spec, field) for field in numbers.split()},
        **({"max_entries": "rounded"} if spec.type in RINGS else {}),
        "pinned": spec.pinning,
        "contents": None if spec.contents is None else spec.contents.hex(),
        "inner": map_as_libbpf_has_it(spec.inner) if spec.inner else None,
    }


def as_given(map):
    """libbpf rounds the size of a ring up when it opens an object, we do so in the plan."""
    if map is not None and map["type"] in RINGS:
        map["max_entries"] = "rounded"
    return map and map | {"inner": as_given(map["inner"])}


@pytest.mark.needs_tool("cc")
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_same_as_libbpf(path, libbpf):
    theirs, complaint = libbpf.open(path)
    if theirs is None:
        reasons = ("legacy map definitions", "on_struct_ops_s is not struct_ops BPF program")  # struct_ops.s is newer
        assert any(reason in complaint for reason in reasons) or "long_attributes" in path.name, complaint
        return
    ours = purebpf.parse(path)
    for program in theirs["programs"]:
        if program["type"] == bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS:  # it depends on the kernel; 1.1 has a first guess
            program["attach_type"] = 0
    for key in [key for key, spec in ours.maps.items() if spec.section in (".struct_ops.link", "?.struct_ops")]:
        del ours.maps[key]  # libbpf 1.1 passes these sections over
    assert ours.name[:15] == theirs["name"]
    assert [map_as_libbpf_has_it(spec) for spec in ours.maps.values()] == [as_given(map) for map in theirs["maps"]]
    if "text_program" in path.name:  # a function alone in .text was a program until libbpf 1.5
        theirs["programs"].clear()
    known = {name.rstrip("+") for name in libbpf.section_names()}
    for program in ours.programs.values():
        if (
            program.definition is not None and program.definition.name.rstrip("+") not in known
        ):  # newer than this libbpf
            program.type = program.expected_attach_type = 0
    assert [
        {
            "name": program.name,
            "section": program.section.removeprefix("?"),
            "type": program.type,
            "attach_type": program.expected_attach_type,
            "autoload": program.autoload,
            "insns": program.insns.hex(),
        }
        for program in ours.programs.values()
    ] == theirs["programs"]
    if ours.kern_version is not None:
        assert ours.kern_version == theirs["kern_version"]


# Where a program is


def test_programs_in_order():
    """By section, then by place; a "?" in the section's name means not to load it unasked."""
    spec = purebpf.parse(test_object("obj_programs"))
    assert [(program.name, program.section, program.autoload) for program in spec.programs.values()] == [
        ("second_alphabetically", "tracepoint/sched/sched_switch", True),
        ("first_alphabetically", "tracepoint/sched/sched_switch", True),
        ("third_of_one_section", "tracepoint/sched/sched_switch", True),
        ("not_unless_asked", "?tracepoint/sched/sched_switch", False),
        ("not_either", "?tp/sched/sched_wakeup", False),
        ("network", "xdp", True),
        ("sleepable", "?fentry.s/do_unlinkat", False),
        ("with_attach_type", "cgroup/connect4", True),
        ("slashes", "?uprobe//usr/lib/libc.so.6:malloc", False),
    ]
    assert spec.kern_version == 4 << 16 | 14 << 8 | 7
    assert spec.license == "GPL v2"


def test_subprograms_and_calls():
    spec = purebpf.parse(test_object("obj_programs"))
    places = {program.name: offset for offset, program in spec.subprograms.items()}
    assert set(places) == {"static_function", "global_function", "hidden_function", "weak_function"}
    # The object's own symbol table: global functions are called by their symbol, static ones by the section's.
    image = ElfImage(test_object("obj_programs").read_bytes())
    for name, offset in places.items():
        assert struct.unpack_from("<Q", image.data, image.symbol_at(name) + 8) == (offset,)
    calls = {
        program.name: [(entry.kind, entry.target, entry.offset) for entry in program.relocations]
        for program in spec.programs.values()
        if program.relocations
    }
    assert calls == {
        "second_alphabetically": [("call", "global_function", places["global_function"])],
        "first_alphabetically": [("call", "hidden_function", places["hidden_function"])],
        "not_unless_asked": [("call", "weak_function", places["weak_function"])],
    }


def test_function_alone_in_text():
    """It is a subprogram that nobody calls.  For libbpf before 1.5 it was a program, and of no known type."""
    spec = purebpf.parse(test_object("obj_text_program"))
    assert spec.programs == {}
    assert [program.name for program in spec.subprograms.values()] == ["lonely"]
    assert spec.license == ""
    assert [command.cmd.name for command in spec.plan(LITTLE)] == ["BPF_BTF_LOAD"]


def test_variables_in_an_arena():
    spec = purebpf.parse(test_object("conf_arena_variables"))
    assert {name: place.map for name, place in spec.variables.places.items()} == {
        "number": "arena",
        "hidden_number": "arena",
        "counts": "arena",
        "history": "arena",
        "ordinary": ".data",
    }
    arena = spec.maps["arena"]
    assert (arena.type, arena.kind, arena.max_entries) == (bpf_map_type.BPF_MAP_TYPE_ARENA, "user", 10)
    image = ElfImage(test_object("conf_arena_variables").read_bytes())
    start, end = image.content_at(".addr_space.1")
    assert arena.contents == image.data[start:end]
    assert (spec.variables["number"], spec.variables["hidden_number"], spec.variables["counts"].sum) == (7, 5, 2)
    spec.variables["hidden_number"] = -2
    place = spec.variables.places["hidden_number"]
    assert arena.contents[place.offset : place.offset + place.size] == (-2).to_bytes(8, "little", signed=True)
    (count,) = spec.subprograms.values()
    assert {(entry.kind, entry.target) for entry in count.relocations} == {("data", "arena")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conf_arena_missing", r"section '\.addr_space\.1': .* section '\.maps' defines none"),
        ("conf_arenas", "maps 'first', 'second': an object can have only one arena"),
    ],
)
def test_not_one_arena(name, message):
    with pytest.raises(purebpf.ObjectFormatError, match=message):
        purebpf.parse(test_object(name))


def test_functions_alone_in_text():
    spec = purebpf.parse(test_object("obj_text_functions"))
    assert spec.programs == {}
    assert {program.name for program in spec.subprograms.values()} == {"add", "twice", "thrice"}


def test_relocations_by_what_the_symbol_is():
    spec = purebpf.parse(test_object("obj_variables"))
    image = ElfImage(test_object("obj_variables").read_bytes())
    (program,) = spec.programs.values()
    start, end = image.content_at(f".rel{program.section}")
    expected = []
    for position in range(start, end, 16):
        offset, info = struct.unpack_from("<QQ", image.data, position)
        symbol = image.symbols()[info >> 32]
        value, section = (struct.unpack_from(kind, image.data, symbol + at)[0] for kind, at in (("<Q", 8), ("<H", 6)))
        expected.append((offset // 8, "data", image.section_name(image.sections()[section]), value))
    assert [(r.insn, r.kind, r.target, r.offset) for r in program.relocations] == expected
    assert {target for _, _, target, _ in expected} == set(spec.maps)


def test_object_name():
    assert purebpf.parse(ROOT / "prebuilt/hello.bpf.o").name == "hello"
    assert purebpf.parse(str(ROOT / "prebuilt/hello.bpf.o"), "other").name == "other"
    for kind in (bytes, bytearray, memoryview):
        assert purebpf.parse(kind(HELLO)).name == "object"
    assert purebpf.parse(HELLO, "mine").maps[".rodata"].name == "mine.rodata"


@pytest.mark.parametrize(
    ("object_name", "section", "name"),
    [  # from the description of internal_map_name() in libbpf, which gives these examples
        ("my_object_name", ".rodata", "my_objec.rodata"),
        ("my_object_name", ".bss", "my_objec.bss"),
        ("o", ".bss", "o.bss"),
        ("my_object_name", ".rodata.abracadabra", ".rodata.abracad"),
        ("my_object_name", ".data.x", ".data.x"),
        ("my-object name", ".data", "my_objec.data"),
        ("\N{OHM SIGN}\N{SNOWMAN}abc", ".data", "__abc.data"),
    ],
)
def test_names_of_data_maps(object_name, section, name):
    kind = {"type": SHT_NOBITS, "size": 4} if section.startswith(".bss") else {}
    spec = purebpf.parse(build([(section, b"" if kind else bytes(4), kind)]), object_name)
    assert spec.maps[section].name == name


@pytest.mark.parametrize(
    ("content", "license"),
    [
        (b"GPL\0", "GPL"),
        (b"GPL", "GPL"),
        (b"GPL\0MIT\0", "GPL"),
        (b"", ""),
        (b"\0", ""),
        (b"x" * 100, "x" * 63),
        (b"\xff\0", "\\xff"),
    ],
)
def test_license(content, license):
    """Up to the first NUL, 63 characters at most: what libbpf's fixed-size copy keeps."""
    assert purebpf.parse(build([("license", content, {})])).license == license


def test_version():
    assert purebpf.parse(build([("version", b"\1\2\3\4", {})])).kern_version == 0x04030201
    assert purebpf.parse(build([("version", b"\1\2\3\4", {})], order=">")).kern_version == 0x01020304
    assert purebpf.parse(build([])).kern_version is None
    for content in (b"", b"\1", bytes(8)):
        assert refusal(build([("version", content, {})])) == (
            f"section 'version': {len(content)} bytes, expected the 4 of a version code"
        )


# The other byte order


@pytest.mark.needs_tool("clang-19", "llvm-strip-19")
@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/objects/obj_*.bpf.c")), ids=lambda path: path.name)
def test_big_endian_object(path, tmp_path):
    """It says the same, and is refused when it comes to a little-endian kernel."""
    out = tmp_path / path.with_suffix(".o").name
    include = f"-I/usr/include/{subprocess.check_output(['uname', '-m'], text=True).strip()}-linux-gnu"
    flags = ["-target", "bpfeb", "-mcpu=v3", "-O2", "-g", include]
    subprocess.run(["clang-19", *flags, "-c", path, "-o", out], check=True)
    subprocess.run(["llvm-strip-19", "-g", out], check=True)
    if "legacy_unknown" in path.name:
        assert refusal(out.read_bytes()) == refusal(path.with_suffix(".o").read_bytes())
        return
    little, big = purebpf.parse(path.with_suffix(".o")), purebpf.parse(out)
    assert (little.byteorder, big.byteorder) == ("little", "big")

    def maps(spec):
        return {key: map_as_libbpf_has_it(definition) | {"contents": None} for key, definition in spec.maps.items()}

    def functions(spec):
        return [
            (program.name, program.section, program.relocations, swap(program.insns, spec.byteorder))
            for program in [*spec.programs.values(), *spec.subprograms.values()]
        ]

    def swap(insns, byteorder):
        order = "<" if byteorder == "little" else ">"
        fields = struct.iter_unpack(order + "BBhi", insns)
        return [(op, registers if order == "<" else registers >> 4 | registers << 4 & 0xFF, off, imm)
                for op, registers, off, imm in fields]  # fmt: skip

    assert maps(little) == maps(big)
    if path.name != "obj_variables.bpf.c":  # where the compiler makes other code of it
        assert functions(little) == functions(big)
    assert little.variables.places == big.variables.places
    assert dict(little.variables) == dict(big.variables)
    with pytest.raises(purebpf.PlanError) as error:
        big.plan(LITTLE)
    assert str(error.value) == (
        f"object {big.name!r} is big-endian, the kernel little-endian; compile it with clang -target bpfel"
    )
    with pytest.raises(purebpf.PlanError, match=r"is little-endian, the kernel big-endian; .* -target bpfeb"):
        little.plan(purebpf.KernelFacts.offline(release="6.1.0", byteorder="big"))


# Damage


def refusal(image):
    with pytest.raises(purebpf.ObjectFormatError) as error:
        purebpf.parse(bytes(image))
    return str(error.value)


def test_btf_of_the_other_byte_order():
    image = ElfImage(HELLO)
    start, end = image.content_at(".BTF")
    image.data[start:end] = swapped_btf(image.content(".BTF"))
    assert refusal(image) == "section '.BTF': big-endian BTF in a little-endian file"


def swapped_btf(data):
    """BTF without types."""
    header = struct.pack(">HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1)
    return header.ljust(len(data), b"\0")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "0 bytes at 0 are no whole instructions of 8 bytes"),
        ({"size": 12}, "12 bytes at 0 are no whole instructions of 8 bytes"),
        ({"value": 4, "size": 8}, "8 bytes at 4 are no whole instructions of 8 bytes"),
        ({"size": 184}, "its bytes 0 to 184 end beyond the section's 176"),
        ({"value": 176, "size": 8}, "its bytes 176 to 184 end beyond the section's 176"),
        ({"size": (1 << 64) - 8}, f"its bytes 0 to {(1 << 64) - 8} end beyond the section's 176"),
        ({"value": (1 << 64) - 8}, f"its bytes {(1 << 64) - 8} to {(1 << 64) + 168} end beyond the section's 176"),
        ({"info": STB_LOCAL << 4 | STT_FUNC}, "is static; a program must be a global function"),
    ],
)
def test_function_symbol(fields, message):
    image = ElfImage(HELLO).symbol("hello_openat", **fields)
    assert refusal(image) == f"section '{PROGRAM}', function 'hello_openat': {message}"


def test_two_programs_of_a_name():
    sections = [("xdp", EXIT, {"flags": SHF_EXECINSTR}), ("tc", EXIT, {"flags": SHF_EXECINSTR})]
    symbols = [("same", 1, 0, 16, STT_FUNC, STB_GLOBAL), ("same", 2, 0, 16, STT_FUNC, STB_GLOBAL)]
    assert refusal(build(sections, symbols)) == "section 'tc': there are two programs 'same'"


def test_two_sections_of_variables_of_a_name():
    assert refusal(build([(".data", b"1", {}), (".data", b"2", {})])) == ("section '.data': there are two maps '.data'")


def test_functions_that_overlap():
    def parse(*places):
        symbols = [(f"f{number}", 1, *place, STT_FUNC, STB_GLOBAL) for number, place in enumerate(places)]
        return purebpf.parse(build([("xdp", EXIT * 2, {"flags": SHF_EXECINSTR})], symbols))

    assert list(parse((16, 16), (0, 16)).programs) == ["f1", "f0"]
    aliases = parse((0, 16), (0, 16), (16, 16)).programs
    assert list(aliases) == ["f0", "f1", "f2"]
    assert aliases["f0"].insns is aliases["f1"].insns
    for places in [((0, 24), (16, 16)), ((0, 32), (0, 16)), ((0, 16), (0, 16), (8, 16))]:
        with pytest.raises(
            purebpf.ObjectFormatError, match=r"section 'xdp', function 'f.': begins at byte \d+, inside"
        ):
            parse(*places)


@pytest.mark.parametrize("offset", [0, 4, 15])
def test_relocation_of_what_holds_no_address(offset):
    """Of other instructions than calls and 64-bit loads, and of parts of instructions."""
    code = EXIT[:8] + LD_IMM64
    image = ElfImage(relocated(code, "v", DATA, 4, 4, OBJECT, 1)).relocation("xdp", 0, offset=offset)
    assert refusal(image) == (
        f"section 'xdp', function 'prog', relocation of instruction {offset // 8} against 'v': "
        f"opcode {code[offset // 8 * 8]:#x} at byte {offset} cannot be relocated"
    )


def relocated(code, *symbol, order="<"):
    """A program of these instructions with a relocation of the first one against the one symbol given."""
    rel = struct.pack("<QQ", 0, 2 << 32 | 1) if order == "<" else struct.pack(">QQ", 0, 2 << 32 | 1)
    return build(
        [
            ("xdp", code, {"flags": SHF_EXECINSTR}),
            (".relxdp", rel, {"type": SHT_REL, "link": 7, "info": 1, "entsize": 16}),
            (".text", EXIT, {"flags": SHF_EXECINSTR}),
            (".data", bytes(8), {}),
            ("elsewhere", bytes(8), {}),
        ],
        [("prog", 1, 0, len(code), STT_FUNC, STB_GLOBAL), symbol, ("f", 3, 0, 16, STT_FUNC, STB_GLOBAL)],
        order=order,
    )


LD_IMM64 = bytes.fromhex("18010000000000000000000000000000")
PSEUDO_CALL = bytes.fromhex("85100000ffffffff")
HELPER_CALL = bytes.fromhex("8500000001000000")
UNDEF, XDP, TEXT, DATA, ELSEWHERE, ABSOLUTE = 0, 1, 3, 4, 5, 0xFFF1
NOTYPE, OBJECT, FUNC, SECTION = range(4)


@pytest.mark.parametrize(
    ("code", "symbol", "expected"),
    [
        (LD_IMM64, ("v", DATA, 4, 4, OBJECT, 1), Relocation(0, "data", ".data", 4)),
        (LD_IMM64, ("", DATA, 0, 0, SECTION, 0), Relocation(0, "data", ".data", 0)),
        (LD_IMM64, ("f", TEXT, 0, 16, FUNC, 1), Relocation(0, "function", "f", 0)),
        (LD_IMM64, ("", TEXT, 0, 0, SECTION, 0), Relocation(0, "function", "", 0)),
        (PSEUDO_CALL, ("f", TEXT, 0, 16, FUNC, 1), Relocation(0, "call", "f", 0)),
        (LD_IMM64, ("v", ELSEWHERE, 0, 8, OBJECT, 1), "neither a map, a global variable nor a function"),
        (LD_IMM64, ("v", ABSOLUTE, 0, 8, OBJECT, 1), "neither a map, a global variable nor a function"),
        (LD_IMM64, ("v", UNDEF, 0, 8, OBJECT, 1), "neither a map, a global variable nor a function"),
        (LD_IMM64, ("prog", XDP, 0, 16, FUNC, 1), "neither a map, a global variable nor a function"),
        (PSEUDO_CALL, ("prog", XDP, 0, 8, FUNC, 1), "a call can only be to a function in section .text"),
        (PSEUDO_CALL, ("v", DATA, 0, 8, OBJECT, 1), "a call can only be to a function in section .text"),
        (HELPER_CALL, ("f", TEXT, 0, 16, FUNC, 1), "a call can only be to a function in section .text"),
    ],
)
def test_meaning_of_a_relocation(code, symbol, expected):
    def both_orders():
        yield relocated(code, *symbol)
        opcode, registers = code[0], code[1] >> 4 | code[1] << 4 & 0xFF
        yield relocated(bytes([opcode, registers]) + code[2:], *symbol, order=">")

    for image in both_orders():
        if isinstance(expected, str):
            label = symbol[0] or f"section {symbol[1]}"
            assert refusal(image) == (
                f"section 'xdp', function 'prog', relocation of instruction 0 against '{label}': "
                + ("the symbol is " if expected.startswith("neither") else "")
                + expected
            )
        else:
            assert purebpf.parse(image).programs["prog"].relocations == (expected,)


@pytest.mark.parametrize("code", [LD_IMM64, PSEUDO_CALL])
def test_extern_without_types(code):
    image = relocated(code, "bpf_x", UNDEF, 0, 0, NOTYPE, 1)
    assert refusal(image) == (
        "symbol 2, extern 'bpf_x': is declared and not defined, and there is no .BTF to say what it is; compile with -g"
    )


def test_relocation_outside_of_any_function():
    """Code that no symbol names is dead: the linker leaves it where a weak function was overridden."""
    code = EXIT + LD_IMM64
    rel = struct.pack("<QQ", 16, 1 << 32 | 1)
    sections = [
        ("xdp", code, {"flags": SHF_EXECINSTR}),
        (".relxdp", rel, {"type": SHT_REL, "link": 4, "info": 1, "entsize": 16}),
    ]
    spec = purebpf.parse(build(sections, [("prog", 1, 0, 16, STT_FUNC, STB_GLOBAL)]))
    assert spec.programs["prog"].relocations == ()


def test_time_and_memory_grow_with_the_file():
    """5,000 functions with a relocation each: nothing is looked for in all of a table, once for each."""
    count = 5_000
    code = (LD_IMM64 + EXIT) * count
    rels = b"".join(struct.pack("<QQ", 32 * i, (count + 1) << 32 | 1) for i in range(count))
    sections = [
        ("xdp", code, {"flags": SHF_EXECINSTR}),
        (".relxdp", rels, {"type": SHT_REL, "link": 5, "info": 1, "entsize": 16}),
        (".data", bytes(8), {}),
    ]
    symbols = [(f"f{i}", 1, 32 * i, 32, STT_FUNC, STB_GLOBAL) for i in range(count)]
    symbols.append(("v", 3, 0, 8, OBJECT, STB_GLOBAL))
    spec = purebpf.parse(build(sections, symbols))
    assert len(spec.programs) == count
    assert all(len(program.relocations) == 1 for program in spec.programs.values())


def test_spec_can_be_printed():
    spec = purebpf.parse(HELLO, "hello")
    assert repr(spec) == "<ObjectSpec 'hello': 1 maps, 1 programs>"
    assert (
        repr(spec.programs["hello_openat"])
        == f"<ProgramSpec hello_openat in section '{PROGRAM}', 22 instruction slots>"
    )
    assert spec.maps[".rodata"].type == bpf_map_type.BPF_MAP_TYPE_ARRAY
