"""The plan: which bpf(2) calls, in which order, with which fields.

That libbpf makes the same ones is tested where there is a kernel (tests/kernel/test_libbpf_agrees.py).  Here stands
what needs none: other kernels, the other byte order, edited specs, and what cannot be planned.
"""

from __future__ import annotations

import errno
import struct

import pytest
import traced

import purebpf
from purebpf.abi.bpf import bpf_cmd, bpf_map_type, bpf_prog_type
from purebpf.errors import ObjectFormatError, PlanError, PureBpfError
from purebpf.load.facts import Facts
from purebpf.load.plan import Handle, Mapped, SourceLine, line_at, make_plan, show
from purebpf.obj.spec import MapSpec, ObjectSpec, ProgramSpec, Relocation

HASH, ARRAY = bpf_map_type.BPF_MAP_TYPE_HASH, bpf_map_type.BPF_MAP_TYPE_ARRAY
# include/uapi/linux/bpf.h
LD_IMM64, EXIT, MOV32, CALL = 0x18, 0x95, 0xB4, 0x85
BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE = 1, 2


def no_types():
    raise PureBpfError("there are no types here")


def facts(release="6.1.0", byteorder="little", page_size=4096):
    return Facts(release=release, read_btf=no_types, byteorder=byteorder, possible_cpus=6, page_size=page_size)


def parse(name):
    folder = "prebuilt" if name in ("hello", "killsnoop", "opensnoop", "execsnoop") else "tests/objects"
    return purebpf.parse(traced.HERE.parent / folder / f"{name}.bpf.o")


def insn(code, registers=0, imm=0, order="<"):
    return struct.pack(order + "BBhi", code, registers, 0, imm)


def made(byteorder="little"):
    """An object of one program, which returns 0, and no types."""
    spec = ObjectSpec("made", byteorder, license="GPL")
    order = "<" if byteorder == "little" else ">"
    code = insn(MOV32, order=order) + insn(EXIT, order=order)
    spec.programs["main"] = ProgramSpec("main", "tp/a/b", 0, code, type=bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT)
    return spec


def commands(plan, cmd):
    return [command for command in plan if command.cmd == cmd]


def creation(spec, key, **known):
    """The fields of the map's creation."""
    return next(c.fields for c in make_plan(spec, facts(**known)) if c.creates == Handle("map", key))


def load_of(plan, name):
    return next(command for command in plan if command.creates == Handle("prog", name))


# --- order ---


def test_types_then_maps_then_programs():
    spec = parse("load_variables")
    steps = [(command.cmd.name.removeprefix("BPF_"), command.creates) for command in make_plan(spec, facts())]
    fill, freeze, bind = ("MAP_UPDATE_ELEM", None), ("MAP_FREEZE", None), ("PROG_BIND_MAP", None)
    assert steps == [
        ("BTF_LOAD", Handle("btf", "load_variables")),
        ("MAP_CREATE", Handle("map", "events")),
        *(("MAP_CREATE", Handle("map", ".rodata")), fill, freeze),
        *(("MAP_CREATE", Handle("map", ".data")), fill),
        *(("MAP_CREATE", Handle("map", ".bss")), fill),
        *(("MAP_CREATE", Handle("map", ".data.custom")), fill),
        *(("MAP_CREATE", Handle("map", ".rodata.custom")), fill, freeze),
        *(("PROG_LOAD", Handle("prog", "send_variables")), bind, bind),
    ]


def test_an_inner_map_comes_before_its_map():
    plan = make_plan(parse("load_map_types"), facts())
    steps = [command.creates for command in plan]
    outer, inner = Handle("map", "outer"), Handle("inner map", "outer")
    assert steps.index(inner) + 1 == steps.index(outer)
    assert plan.commands[steps.index(inner)].fields["map_name"] == "outer.inner"
    assert plan.commands[steps.index(outer)].fields["inner_map_fd"] == inner


def test_an_inner_map_called_like_another():
    spec = parse("load_map_types")
    spec.maps["outer"].inner.name = "queue"
    handles = [command.creates for command in make_plan(spec, facts()) if command.creates]
    assert len(handles) == len(set(handles))


def test_only_what_is_to_be_loaded():
    spec = parse("load_rejected")
    assert not commands(make_plan(spec, facts()), bpf_cmd.BPF_PROG_LOAD)
    spec.programs["fine"].autoload = True
    plan = make_plan(spec, facts())
    assert [command.creates.name for command in commands(plan, bpf_cmd.BPF_PROG_LOAD)] == ["fine"]
    assert len(commands(plan, bpf_cmd.BPF_MAP_CREATE)) == 2


def test_what_may_fail():
    optional = {command.cmd for command in make_plan(parse("load_variables"), facts()) if command.optional}
    assert optional == {bpf_cmd.BPF_BTF_LOAD, bpf_cmd.BPF_PROG_BIND_MAP}


def test_the_same_again():
    spec = parse("load_subprograms")
    assert make_plan(spec, facts()) == make_plan(spec, facts()) == make_plan(parse("load_subprograms"), facts())


# --- fields of maps ---


@pytest.mark.parametrize(
    "size, page_size, planned",
    [
        (0, 4096, 0),
        (1, 4096, 4096),
        (4096, 4096, 4096),
        (4097, 4096, 8192),
        (3 * 4096, 4096, 4 * 4096),
        (4096, 65536, 65536),
        (1 << 31, 4096, 1 << 31),
        ((1 << 31) + 1, 4096, (1 << 31) + 1),  # the next one does not fit in 32 bits: let the kernel refuse it
    ],
)
@pytest.mark.parametrize("kind", ["RINGBUF", "USER_RINGBUF"])
def test_ring_buffer_size(kind, size, page_size, planned):
    """adjust_ringbuf_sz() in libbpf.c."""
    spec = made()
    spec.maps["ring"] = MapSpec("ring", bpf_map_type[f"BPF_MAP_TYPE_{kind}"], max_entries=size)
    assert creation(spec, "ring", page_size=page_size).get("max_entries", 0) == planned
    assert make_plan(spec, facts(page_size=page_size)).max_entries(Handle("map", "ring")) == planned


def test_a_perf_event_array_has_room_for_all_cpus():
    spec = parse("load_map_types")
    assert creation(spec, "events")["max_entries"] == 6
    assert creation(spec, "one_event")["max_entries"] == 1


def test_edited_maps():
    spec = parse("load_maps")
    spec.maps["counts"].max_entries = 77
    spec.maps["counts"].type = bpf_map_type.BPF_MAP_TYPE_LRU_HASH
    fields = creation(spec, "counts")
    assert (fields["max_entries"], fields["map_type"]) == (77, bpf_map_type.BPF_MAP_TYPE_LRU_HASH)


def test_edited_variables():
    spec = parse("load_variables")
    spec.variables["number"] = 0x1122334455667788
    place = spec.variables.places["number"]
    plan = make_plan(spec, facts())
    (value,) = (
        c.fields["value"] for c in plan if c.fields.get("map_fd") == Handle("map", ".rodata") and "key" in c.fields
    )
    assert value[place.offset : place.offset + 8] == bytes.fromhex("8877665544332211")


def test_types_of_maps():
    """Keys and values are described, but not those of map types that take no description; see libbpf.c."""
    spec = parse("load_map_types")
    plan = {c.creates: c for c in commands(make_plan(spec, facts()), bpf_cmd.BPF_MAP_CREATE)}
    typed = plan[Handle("map", "routes")]
    assert typed.fields["btf_fd"] == Handle("btf", "load_map_types")
    assert typed.fields["btf_key_type_id"] and typed.fields["btf_value_type_id"]
    assert typed.retry_without_btf
    assert typed.without_btf == {name: v for name, v in typed.fields.items() if not name.startswith("btf_")}
    for name in ("events", "stacks", "queue", "cgroups", "outer"):
        fields = plan[Handle("map", name)].fields
        assert not any(field.startswith("btf_") for field in fields), name
        assert not plan[Handle("map", name)].retry_without_btf


@pytest.mark.parametrize("name, kept", [("x" * 15, "x" * 15), ("x" * 16, "x" * 15), ("y" * 200, "y" * 15)])
def test_long_names(name, kept):
    """BPF_OBJ_NAME_LEN is 16, with the NUL."""
    spec = made()
    spec.maps["m"] = MapSpec(name, HASH, 4, 4, 1)
    spec.programs["main"].name = name
    assert creation(spec, "m")["map_name"] == kept
    assert load_of(make_plan(spec, facts()), "main").fields["prog_name"] == kept


@pytest.mark.parametrize("number", [1 << 32, 1 << 40, -1])
def test_numbers_that_fit_no_field(number):
    spec = made()
    spec.maps["m"] = MapSpec("m", HASH, 4, 4, number)
    with pytest.raises(PlanError, match=rf"^creating map 'm': max_entries = {number} is no number of 32 bits$"):
        make_plan(spec, facts())
    spec.maps["m"] = MapSpec("m", HASH, 4, 4, 1, map_extra=1 << 40)
    assert creation(spec, "m")["map_extra"] == 1 << 40


def test_for_one_network_interface():
    spec = made()
    spec.maps["m"] = MapSpec("m", HASH, 4, 4, 1, ifindex=7)
    spec.programs["main"].ifindex = 8
    assert creation(spec, "m")["map_ifindex"] == 7
    assert load_of(make_plan(spec, facts()), "main").fields["prog_ifindex"] == 8


def test_an_initial_value_of_another_size():
    spec = parse("load_variables")
    spec.maps[".data"].value_size = 4096
    with pytest.raises(PlanError, match=r"^map '\.data' has values of 4096 bytes, and its initial value 4$"):
        make_plan(spec, facts())


# --- fields of programs ---


def test_a_program_without_types():
    plan = make_plan(made(), facts("5.10.0"))
    assert len(plan) == 1
    fields = dict(load_of(plan, "main").fields)
    assert fields.pop("insns").insns == insn(MOV32) + insn(EXIT)
    assert fields == {
        "prog_type": bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT,
        "insn_cnt": 2,
        "license": "GPL",
        "kern_version": 0x050A00,
        "prog_name": "main",
    }


def test_kernel_version():
    """The kernel's own, as old kernels wanted it for kprobes, unless the object has one in section "version"."""
    spec = made()
    assert load_of(make_plan(spec, facts("4.14.336")), "main").fields["kern_version"] == 0x040EFF
    spec.kern_version = 0x012345
    assert load_of(make_plan(spec, facts()), "main").fields["kern_version"] == 0x012345
    spec.kern_version = 0
    assert "kern_version" not in load_of(make_plan(spec, facts()), "main").fields


def test_no_license_is_an_empty_string():
    """The kernel reads it in any case."""
    spec = made()
    spec.license = ""
    assert load_of(make_plan(spec, facts()), "main").fields["license"] == ""


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_maps_and_variables_in_code(byteorder):
    order = "<" if byteorder == "little" else ">"
    registers = 0x03 if byteorder == "little" else 0x30  # destination r3
    spec = made(byteorder)
    spec.maps["m"] = MapSpec("m", HASH, 4, 4, 1)
    spec.maps[".data"] = MapSpec(".data", ARRAY, 4, 16, 1, kind="data", contents=bytearray(16))
    load = insn(LD_IMM64, registers, 0, order) + insn(0, order=order)
    far = insn(LD_IMM64, registers, 4, order) + insn(0, order=order)  # clang's addend: the byte in the section
    spec.programs["main"].insns = load + far + far + insn(EXIT, order=order)
    spec.programs["main"].relocations = (
        Relocation(0, "map", "m"),
        Relocation(2, "data", ".data", 0),
        Relocation(4, "data", ".data", 8),
    )
    code = load_of(make_plan(spec, facts(byteorder=byteorder)), "main").fields["insns"]
    assert code.handles == ((0, Handle("map", "m")), (2, Handle("map", ".data")), (4, Handle("map", ".data")))

    def loads(source, offset):
        swapped = registers | (source << 4 if byteorder == "little" else source)
        return insn(LD_IMM64, swapped, 0, order) + insn(0, 0, offset, order)

    assert code.insns == (
        loads(BPF_PSEUDO_MAP_FD, 0)
        + loads(BPF_PSEUDO_MAP_VALUE, 4)
        + loads(BPF_PSEUDO_MAP_VALUE, 12)
        + insn(EXIT, order=order)
    )


def test_a_load_cut_in_half():
    spec = made()
    spec.maps["m"] = MapSpec("m", HASH, 4, 4, 1)
    spec.programs["main"].insns = insn(EXIT) + insn(LD_IMM64)
    spec.programs["main"].relocations = (Relocation(1, "map", "m"),)
    with pytest.raises(ObjectFormatError, match=r"^program 'main': instruction 1 is cut off"):
        make_plan(spec, facts())


def test_records_of_subprograms_count_from_the_programs_start():
    """third (25 slots), last (5), left (8), count (12), note (14), right (8): so llvm-objdump shows them."""
    fields = load_of(make_plan(parse("load_subprograms"), facts()), "third").fields
    assert (fields["func_info_rec_size"], fields["func_info_cnt"]) == (8, 6)
    assert [slot for slot, _ in struct.iter_unpack("<II", fields["func_info"])] == [0, 25, 30, 38, 50, 64]
    slots = [slot for slot, *_ in struct.iter_unpack("<4I", fields["line_info"])]
    assert slots == sorted(slots)
    assert slots[0] == 0 and len(slots) == fields["line_info_cnt"]
    assert fields["insn_cnt"] == 72 > slots[-1]


def test_source_lines_of_subprograms():
    spec = parse("load_rejected")
    spec.programs["bad_in_subprogram"].autoload = True
    command = load_of(make_plan(spec, facts()), "bad_in_subprogram")
    last = command.fields["insn_cnt"] - 1
    source = (traced.HERE / "objects/load_rejected.bpf.c").read_text().splitlines()
    for slot, text in ((0, "int bad_in_subprogram(void)"), (last, "return *pointer; /* in the subprogram */")):
        (number,) = (number for number, line in enumerate(source, 1) if line.strip() == text)
        assert line_at(command.lines, slot) == f"tests/objects/load_rejected.bpf.c:{number}: {text}"


def test_line_at():
    lines = [SourceLine(0, "a"), SourceLine(4, "b"), SourceLine(9, "c")]
    assert [line_at(lines, slot) for slot in (0, 3, 4, 8, 9, 100)] == ["a", "a", "b", "b", "c", "c"]
    assert line_at(lines[1:], 3) == line_at([], 0) == ""


def test_endless_code():
    """A program and its subprograms: a few functions can become more code than there is memory."""
    spec = made()
    spec.subprograms[0] = ProgramSpec("huge", ".text", 0, insn(EXIT) * (1 << 20))
    spec.programs["main"].insns = insn(CALL, 0x10, -1) + insn(EXIT)
    spec.programs["main"].relocations = (Relocation(0, "call", "huge", 0),)
    with pytest.raises(PlanError, match="'main' has more than 1048576 instructions"):
        make_plan(spec, facts())


# --- what cannot be planned ---


@pytest.mark.parametrize("byteorder, target", [("little", "bpfel"), ("big", "bpfeb")])
def test_the_other_byte_order(byteorder, target):
    spec = made("big" if byteorder == "little" else "little")
    with pytest.raises(PlanError, match=rf"{spec.byteorder}-endian, the kernel {byteorder}-endian.*-target {target}$"):
        make_plan(spec, facts(byteorder=byteorder))


def test_types_of_a_kernel_that_has_none():
    spec = parse("opensnoop")
    with pytest.raises(PlanError, match=r"'enter_openat' adapts itself .* of Linux 6\.1\.0 .* there are no types here"):
        make_plan(spec, facts())
    for program in spec.programs.values():
        program.autoload = False
    assert commands(make_plan(spec, facts()), bpf_cmd.BPF_MAP_CREATE)
    make_plan(parse("hello"), facts())


def test_an_unknown_section():
    spec = made()
    spec.programs["main"].section = "?tracepiont/sched/sched_switch"
    spec.programs["main"].type = bpf_prog_type.BPF_PROG_TYPE_UNSPEC
    with pytest.raises(PlanError, match=r"'main'.*'\?tracepiont/sched/sched_switch'.*'tracepoint/sched/sched_switch'"):
        make_plan(spec, facts())
    spec.programs["main"].type = bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT
    make_plan(spec, facts())


def test_an_extern_that_is_not_declared():
    spec = made()
    spec.programs["main"].insns = insn(CALL, 0x10, -1) + insn(EXIT)
    spec.programs["main"].relocations = (Relocation(0, "extern", "bpf_rcu_read_lock"),)
    with pytest.raises(PlanError, match=r"'main', instruction 0 refers to extern 'bpf_rcu_read_lock'"):
        make_plan(spec, facts())


# --- arenas ---

ARENA = Handle("map", "arena")


@pytest.mark.parametrize(("release", "start"), [("6.12.0", 0), ("7.0.0", 8 * 4096)])
def test_the_variables_of_an_arena(release, start):
    """They take its last pages if the kernel can address those."""
    spec = parse("conf_arena_variables")
    size = len(spec.maps["arena"].contents)
    assert 4096 < size <= 2 * 4096
    plan = make_plan(spec, facts(release))
    create = next(command for command in plan if command.creates == ARENA)
    assert create.mapped == Mapped(10 * 4096, 0, bytes(spec.maps["arena"].contents), start)
    assert not create.fields.keys() & {"btf_fd", "btf_value_type_id"}
    assert not [c for c in commands(plan, bpf_cmd.BPF_MAP_UPDATE_ELEM) if c.fields["map_fd"] == ARENA]
    assert f"then mapped into memory: 40960 bytes, with {size} bytes of variables from {start} on" in str(plan)
    code = load_of(plan, "address").fields["insns"]
    loads = [slot for slot, handle in code.handles if handle == ARENA]
    assert {code.insns[slot * 8 + 1] >> 4 for slot in loads} == {BPF_PSEUDO_MAP_VALUE}
    counts, history = (start + spec.variables.places[name].offset for name in ("counts", "history"))
    places = {struct.unpack_from("<I", code.insns, slot * 8 + 12)[0] for slot in loads}
    assert places == {counts, history}


def test_an_arena_without_variables():
    """Whether the kernel could address them is not asked."""
    spec = made()
    spec.maps["arena"] = MapSpec("arena", bpf_map_type.BPF_MAP_TYPE_ARENA, max_entries=3, map_extra=1 << 44)
    plan = make_plan(spec, facts(page_size=65536))
    (mapped,) = (command.mapped for command in plan if command.creates == ARENA)
    assert mapped == Mapped(3 * 65536, 1 << 44)
    assert "then mapped into memory: 196608 bytes at 0x100000000000\n" in str(plan)


def test_an_arena_that_is_not_created():
    spec = parse("conf_arena_variables")
    spec.maps["arena"].autocreate = False
    plan = make_plan(spec, facts())
    assert not any(command.mapped for command in plan)
    assert "Map 'arena', which it uses, is not created" in load_of(plan, "use").notes.values()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_entries": 1}, r"arena 'arena' has 4096 bytes, too few for its \d+ bytes of variables"),
        ({"map_flags": 1 << 10 | 1 << 17}, "has variables, and the flag BPF_F_SEGV_ON_FAULT"),
    ],
)
@pytest.mark.parametrize("release", ["6.12.0", "7.0.0"])
def test_an_arena_that_cannot_hold_its_variables(change, message, release):
    spec = parse("conf_arena_variables")
    for name, value in change.items():
        setattr(spec.maps["arena"], name, value)
    with pytest.raises(PlanError, match=message):
        make_plan(spec, facts(release))


# --- maps that come filled, pinned, or not at all ---


def test_maps_in_maps():
    """The maps go in when the outer one is created, the programs when all are loaded, at their indices."""
    plan = make_plan(parse("mapinit_slots"), facts())
    fills = commands(plan, bpf_cmd.BPF_MAP_UPDATE_ELEM)
    placed = [
        (
            command.fields["map_fd"].name,
            int.from_bytes(command.fields["key"], "little"),
            [(offset, size, str(handle)) for offset, size, handle in command.fields["value"].handles],
        )
        for command in fills
    ]
    assert sorted(placed) == [
        ("array_of_maps", 1, [(0, 4, "<map first>")]),
        ("array_of_maps", 3, [(0, 4, "<map second>")]),
        ("array_of_maps", 4, [(0, 4, "<map first>")]),
        ("hash_of_maps", 0, [(0, 4, "<map second>")]),
        ("hash_of_maps", 2, [(0, 4, "<map first>")]),
        ("programs", 0, [(0, 4, "<prog plus_two>")]),
        ("programs", 3, [(0, 4, "<prog plus_one>")]),
    ]
    assert plan.commands[-2:] == tuple(fills[-2:])
    assert "value = <4 bytes with <prog plus_one>>" in str(plan)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda spec: setattr(spec.maps["second"], "autocreate", False), "the map 'second' is to be in it .* created"),
        (
            lambda spec: setattr(spec.programs["plus_one"], "autoload", False),
            "'programs' is to have program 'plus_one'",
        ),
        (lambda spec: setattr(spec.maps["programs"], "autocreate", False), "'programs' is to have program 'plus_two'"),
        (lambda spec: spec.maps["programs"].slots.update({1: "nobody"}), "'programs' is to have program 'nobody'"),
    ],
)
def test_what_is_not_there_to_fill_in(change, message):
    spec = parse("mapinit_slots")
    change(spec)
    with pytest.raises(PlanError, match=message):
        make_plan(spec, facts())


def test_an_inner_map_that_is_created_later():
    spec = parse("mapinit_slots")
    spec.maps["first"] = spec.maps.pop("first")
    with pytest.raises(PlanError, match="the map 'first' is to be in it from the start, and is not created before it"):
        make_plan(spec, facts())


def test_a_map_that_is_not_created():
    """Its load becomes two calls of a helper that no kernel has: libbpf's poison_map_ldimm64()."""
    spec = parse("load_variables")
    spec.maps[".bss"].autocreate = False
    plan = make_plan(spec, facts())
    assert Handle("map", ".bss") not in [command.creates for command in plan]
    load = load_of(plan, "send_variables")
    calls = insn(CALL, 0, 2001000000 + list(spec.maps).index(".bss"))
    whole = make_plan(parse("load_variables"), facts())
    before, after = (load_of(one, "send_variables").fields["insns"] for one in (whole, plan))
    places = [slot for slot, handle in before.handles if handle.name == ".bss"]
    assert places
    for slot in places:
        assert after.insns[8 * slot : 8 * slot + 16] == calls * 2
        assert load.notes[slot] == "Map '.bss', which it uses, is not created"
    assert after.handles == tuple(entry for entry in before.handles if entry[1].name != ".bss")


def test_constants_that_are_not_created_are_not_bound():
    spec = parse("load_variables")
    spec.maps[".rodata"].autocreate = False
    bound = commands(make_plan(spec, facts()), bpf_cmd.BPF_PROG_BIND_MAP)
    assert [command.fields["map_fd"].name for command in bound] == [".rodata.custom"]


def test_pinned_maps():
    spec = made()
    spec.maps["m"] = MapSpec("m", HASH, 4, 8, 16, map_flags=1, pinning=1)
    look, check, create, pin, again, check_again, load = make_plan(spec, facts(), "/run/bpf")
    get, info = bpf_cmd.BPF_OBJ_GET, bpf_cmd.BPF_OBJ_GET_INFO_BY_FD
    steps = [get, info, bpf_cmd.BPF_MAP_CREATE, bpf_cmd.BPF_OBJ_PIN, get, info]
    assert [command.cmd for command in (look, check, create, pin, again, check_again)] == steps
    handle = Handle("map", "m")
    assert look.fields == again.fields == {"pathname": "/run/bpf/m"}
    assert pin.fields == {"pathname": "/run/bpf/m", "bpf_fd": handle}
    assert look.creates == create.creates == again.creates == handle
    # Not there: create. There: go on with the program. Pinned, or there meanwhile: take that.
    assert (look.tolerated, look.skips_if_not, look.skips_if_done) == (errno.ENOENT, 1, 0)
    assert (check.tolerated, check.skips_if_done) == (0, 4)
    assert (pin.tolerated, pin.skips_if_not, pin.skips_if_done) == (errno.EEXIST, 0, 2)
    assert (again.tolerated, check_again.skips_if_done) == (0, 0)
    assert dict(check.expected.fields) == {
        "type": HASH,
        "key_size": 4,
        "value_size": 8,
        "max_entries": 16,
        "map_flags": 1,
        "map_extra": 0,
    }
    assert check_again.expected == check.expected
    assert load.cmd == bpf_cmd.BPF_PROG_LOAD
    text = str(make_plan(spec, facts()))
    assert "looking for map 'm' at '/sys/fs/bpf/m'  (may answer ENOENT, which leaves out the next call)" in text
    assert "(success leaves out the next 4 calls)" in text
    assert "    must answer max_entries = 16" in text


# --- as text ---


def test_text():
    spec = made()
    spec.maps["m"] = MapSpec("m", 9999, 4, 4, 1)
    spec.programs["main"].insns = insn(LD_IMM64, 1) + insn(0) + insn(MOV32) + insn(EXIT)
    spec.programs["main"].relocations = (Relocation(0, "map", "m"),)
    plan = make_plan(spec, facts())
    assert repr(list(plan)) == (
        "[<Command BPF_MAP_CREATE: creating map 'm'>, "
        "<Command BPF_PROG_LOAD: loading program 'main' (section 'tp/a/b')>]"
    )
    text = str(plan)
    assert text.splitlines()[:9] == [
        "Loading object 'made' into Linux 6.1.0 takes 2 bpf(2) calls:",
        "",
        "1. bpf(BPF_MAP_CREATE)  creating map 'm'  -> <map m>",
        "    map_type = 9999",
        "    key_size = 4",
        "    value_size = 4",
        "    max_entries = 1",
        '    map_name = "m"',
        "",
    ]
    assert "2. bpf(BPF_PROG_LOAD)  loading program 'main' (section 'tp/a/b')  -> <prog main>" in text
    assert '    license = "GPL"\n' in text
    (load,) = (line for line in text.splitlines() if line.endswith("; <map m>"))
    assert load.split(":")[0].strip() == "0"


def test_text_tells_what_a_refusal_leads_to():
    text = str(make_plan(parse("load_variables"), facts()))
    assert "1. bpf(BPF_BTF_LOAD)  loading the object's BTF  (may fail)  -> <btf load_variables>" in text
    assert "creating map '.bss'  (if refused, once more without the BTF fields)  -> <map .bss>" in text


@pytest.mark.parametrize(
    "value, text",
    [
        ("name", '"name"'),
        (5, "5"),
        (bpf_map_type.BPF_MAP_TYPE_HASH, "BPF_MAP_TYPE_HASH"),
        (b"", "<0 bytes >"),
        (bytes(3), "<3 bytes 00 00 00>"),
        (bytes(17), f"<17 bytes {'00 ' * 16}...>"),
        (Handle("map", "m"), "<map m>"),
    ],
)
def test_show(value, text):
    assert show(value) == text


# --- function and line records ---


def records(ext, section, *, functions, lines):
    """The object's records without those of a section."""
    ext.func_info[section] = ext.func_info[section] if functions else []
    ext.line_info[section] = ext.line_info[section] if lines else []


MAIN = "tracepoint/syscalls/sys_enter_sched_rr_get_interval"


@pytest.mark.parametrize("functions", [True, False])
@pytest.mark.parametrize("lines", [True, False])
def test_a_program_without_records(functions, lines):
    """Then its subprograms' are of no use; see reloc_prog_func_and_line_info() in libbpf.c."""
    spec = parse("load_subprograms")
    records(spec.btf_ext, MAIN, functions=functions, lines=lines)
    fields = load_of(make_plan(spec, facts()), "first").fields
    assert ("func_info" in fields, "line_info" in fields) == (functions, lines)
    assert "prog_btf_fd" in fields


@pytest.mark.parametrize("kind", ["function", "line"])
def test_a_subprogram_without_records(kind):
    spec = parse("load_subprograms")
    records(spec.btf_ext, ".text", functions=kind == "line", lines=kind == "function")
    with pytest.raises(ObjectFormatError, match=rf"^section '\.BTF\.ext': no {kind} records? for 'right'$"):
        make_plan(spec, facts())


def test_types_without_records():
    spec = parse("load_subprograms")
    spec.btf_ext = None
    fields = load_of(make_plan(spec, facts()), "first").fields
    assert fields["prog_btf_fd"] == Handle("btf", "load_subprograms")
    assert not any("info" in name for name in fields)
