"""struct_ops maps: how the object has them, and how a kernel wants them, by kernel types made for the purpose."""

from __future__ import annotations

import struct
import subprocess

import pytest
import traced
from btf_making import FUNC_PROTO, PTR, Assembler

import purebpf
from purebpf.abi.bpf import bpf_cmd, bpf_map_flags, bpf_map_type
from purebpf.errors import ObjectFormatError, PlanError, PureBpfError
from purebpf.load.facts import Facts, ModuleBtf
from purebpf.load.plan import Handle, make_plan

NAME = 16
# Members of the kernel's struct by name: (kind, byte offset).  In another order than the objects', with others between.
KERNEL_MEMBERS = {
    "ssthresh": ("function", 0),
    "cong_avoid": ("function", 8),
    "set_state": ("function", 16),
    "undo_cwnd": ("function", 24),
    "release": ("function", 32),
    "name": ("name", 40),
    "flags": ("u32", 56),
}
DATA_OFFSET, STRUCT_SIZE = 64, 64


def kernel_types(members=KERNEL_MEMBERS, *, outer=True, inside=True, base=None, bits=()):
    """The BTF of a kernel with struct tcp_congestion_ops, and the ids of that and of the value's struct."""
    made = Assembler(base=base)
    u32 = made.int("unsigned int", 4, signed=False)
    char = made.int("char", 1)
    name = made.array(char, NAME, index=u32)
    function = made.add(PTR, "", made.add(FUNC_PROTO, "", u32))
    kinds = {
        "function": function,
        "name": name,
        "short name": made.array(char, 8, index=u32),
        "u32": u32,
        "pointer": made.add(PTR, "", u32),
    }
    words = [
        (member, kinds[kind], 8 * offset | (4 << 24 if member in bits else 0))
        for member, (kind, offset) in members.items()
    ]
    ops = made.struct("tcp_congestion_ops", STRUCT_SIZE, *words, kind_flag=bool(bits))
    value = 0
    if outer:
        data = ops if inside else u32
        value = made.struct(
            "bpf_struct_ops_tcp_congestion_ops", 128, ("common", u32, 0), ("data", data, 8 * DATA_OFFSET)
        )
    return made, ops, value


KERNEL, OPS, VALUE = kernel_types()


def no_types():
    raise PureBpfError("there are no types here")


def facts(read_btf=KERNEL.btf, modules=()):
    return Facts(
        release="6.9.0",
        read_btf=read_btf,
        read_modules=lambda kernel: [ModuleBtf(name, id, made.btf(kernel)) for name, id, made in modules],
        byteorder="little",
        possible_cpus=1,
        page_size=4096,
    )


def parse(name="mapinit_struct_ops"):
    return purebpf.parse(traced.HERE / f"objects/{name}.bpf.o")


# --- as the object has them ---


def test_definitions():
    spec = parse()
    assert list(spec.maps) == ["congestion", "congestion_too"]
    one = spec.maps["congestion"]
    assert (one.type, one.key_size, one.max_entries) == (bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS, 4, 1)
    assert one.functions == {
        "undo_cwnd": "purebpf_undo_cwnd",
        "cong_avoid": "purebpf_cong_avoid",
        "ssthresh": "purebpf_ssthresh",
    }
    assert one.contents == b"purebpf_test".ljust(one.value_size, b"\0")
    assert one.value_size == spec.btf.size_of(one.value_type_id)
    assert one.autocreate and not one.map_flags


def test_sections():
    maps = parse("mapinit_struct_ops_link").maps
    flags = {key: (definition.autocreate, definition.map_flags) for key, definition in maps.items()}
    assert flags == {"by_link": (True, bpf_map_flags.BPF_F_LINK), "on_demand": (False, 0)}


# --- as the kernel wants them ---


def test_value():
    plan = make_plan(parse(), facts())
    value = plan.struct_ops["congestion"]
    expected = bytearray(128)
    expected[DATA_OFFSET + 40 : DATA_OFFSET + 52] = b"purebpf_test"
    assert value.data == expected
    assert sorted((offset, size, handle.name) for offset, size, handle in value.handles) == [
        (DATA_OFFSET + 0, 8, "purebpf_ssthresh"),
        (DATA_OFFSET + 8, 8, "purebpf_cong_avoid"),
        (DATA_OFFSET + 24, 8, "purebpf_undo_cwnd"),
    ]


def test_fields():
    spec = parse()
    struct.pack_into("<I", spec.maps["congestion"].contents, 24, 5)  # flags
    plan = make_plan(spec, facts())
    assert struct.unpack_from("<I", plan.struct_ops["congestion"].data, DATA_OFFSET + 56) == (5,)
    create = plan.creation_of(Handle("map", "congestion"))
    assert create == {
        "map_type": bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS,
        "key_size": 4,
        "value_size": 128,
        "max_entries": 1,
        "map_name": "congestion",
        "btf_fd": Handle("btf", spec.name),
        "btf_vmlinux_value_type_id": VALUE,
    }
    loads = {c.creates.name: c.fields for c in plan if c.cmd == bpf_cmd.BPF_PROG_LOAD}
    # The attach type is the member's index in the kernel's struct.
    assert {name: (f["attach_btf_id"], f.get("expected_attach_type", 0)) for name, f in loads.items()} == {
        "purebpf_ssthresh": (OPS, 0),
        "purebpf_cong_avoid": (OPS, 1),
        "purebpf_undo_cwnd": (OPS, 3),
    }
    assert not any(c.cmd == bpf_cmd.BPF_MAP_UPDATE_ELEM for c in plan)


def test_flavours_and_members_that_the_kernel_has_not():
    spec = parse("mapinit_struct_ops_link")
    plan = make_plan(spec, facts())
    assert plan.creation_of(Handle("map", "by_link"))["map_flags"] == bpf_map_flags.BPF_F_LINK
    assert list(plan.struct_ops) == ["by_link"]


def test_what_maps_decide_about_programs():
    """bpf_object_adjust_struct_ops_autoload() in libbpf.c: a program is loaded if a map with it is created."""

    def loaded():
        return {c.creates.name for c in make_plan(spec, facts()) if c.cmd == bpf_cmd.BPF_PROG_LOAD}

    spec = parse("mapinit_struct_ops_link")
    shared = {"link_ssthresh", "link_cong_avoid"}
    assert loaded() == shared | {"link_undo_cwnd"}
    spec.programs["link_ssthresh"].autoload = False
    assert loaded() == shared | {"link_undo_cwnd"}
    spec.maps["on_demand"].autocreate = True
    assert loaded() == shared | {"link_undo_cwnd", "other_undo_cwnd"}
    spec.maps["by_link"].autocreate = spec.maps["on_demand"].autocreate = False
    assert loaded() == set()


def test_a_struct_of_a_module():
    kernel = Assembler()
    kernel.int()
    module, ops, value = kernel_types(base=kernel)
    other = Assembler(base=kernel)
    plan = make_plan(parse(), facts(kernel.btf, [("other", 5, other), ("mod", 6, module)]))
    handle = Handle("module btf", "mod")
    assert plan.commands[0].creates == handle
    assert plan.commands[0].fields == {"btf_id": 6}
    create = plan.creation_of(Handle("map", "congestion"))
    assert create["value_type_btf_obj_fd"] == handle
    assert create["map_flags"] == bpf_map_flags.BPF_F_VTYPE_BTF_OBJ_FD
    assert create["btf_vmlinux_value_type_id"] == value
    for command in plan:
        if command.cmd == bpf_cmd.BPF_PROG_LOAD:
            assert (command.fields["attach_btf_obj_fd"], command.fields["attach_btf_id"]) == (handle, ops)


def changed(**changes):
    """The kernel's members with some of them changed, or without those that are None."""
    return {name: member for name, member in (KERNEL_MEMBERS | changes).items() if member}


REFUSED = {
    "takes no struct_ops of struct 'tcp_congestion_ops'": kernel_types(outer=False),
    "bpf_struct_ops_tcp_congestion_ops of Linux 6.9.0 has no member of struct": kernel_types(inside=False),
    "'undo_cwnd' is set, and the kernel's 'tcp_congestion_ops' has no such": kernel_types(changed(undo_cwnd=None)),
    "'name' is set, and the kernel's 'tcp_congestion_ops' has no such": kernel_types(changed(name=None)),
    "'name' has 16 bytes, 8 in the kernel": kernel_types(changed(name=("short name", 40))),
    "'name' is of kind ARRAY, and of kind INT in the kernel": kernel_types(changed(name=("u32", 40))),
    "'ssthresh' is no pointer to a function in the kernel": kernel_types(changed(ssthresh=("pointer", 0))),
    "'flags' is a bit field, which cannot be set": kernel_types(bits=("flags",)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message):
    with pytest.raises(PlanError) as error:
        make_plan(parse(), facts(REFUSED[message][0].btf))
    assert str(error.value).startswith("struct_ops map 'congestion': ")
    assert message in str(error.value)


def test_no_types():
    with pytest.raises(
        PlanError, match="'congestion' is laid out by the kernel's types, and they cannot be had: there "
    ):
        make_plan(parse(), facts(no_types))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ssthresh": "nobody"}, "'ssthresh' is set to 'nobody', which is no struct_ops program"),
        ({"nothing": "purebpf_ssthresh"}, "has no member 'nothing' to put a program in"),
        ({"ssthresh": "purebpf_undo_cwnd"}, "program 'purebpf_undo_cwnd' stands in '.*' and in another member"),
    ],
)
def test_functions_that_do_not_fit(change, message):
    spec = parse()
    spec.maps["congestion"].functions.update(change)
    with pytest.raises(PlanError, match=message):
        make_plan(spec, facts())


def test_a_pointer_that_is_no_function():
    spec = parse()
    del spec.maps["congestion"].functions["undo_cwnd"]
    spec.maps["congestion"].contents[16] = 1
    with pytest.raises(PlanError, match="'undo_cwnd' is a pointer, but to no struct_ops program"):
        make_plan(spec, facts())


def test_a_program_that_stands_nowhere():
    spec = parse()
    for definition in spec.maps.values():
        del definition.functions["undo_cwnd"]
    with pytest.raises(PlanError, match=r"'purebpf_undo_cwnd' of section 'struct_ops' stands in no struct_ops map"):
        make_plan(spec, facts())
    spec.programs["purebpf_undo_cwnd"].autoload = False
    make_plan(spec, facts())


SOURCE = """
struct ops {{ int number; int (*function)(void); int (*other)(void); }};
int program(void);
__attribute__((section("tc"), noinline)) int no_callback(void) {{ return 0; }}
__attribute__((section("struct_ops"))) int program(void) {{ return 0; }}
__attribute__((section(".struct_ops"))) {definition}
"""

BAD = {
    "int map = 5;": "section '.struct_ops', variable 'map': is no struct with a name",
    "struct { int number; } map = {1};": "section '.struct_ops', variable 'map': is no struct with a name",
    "struct ops map = {1, no_callback};": (
        "map 'map', relocation at byte 8: 'function' is set to 'no_callback', which is no program of a section "
        "struct_ops"
    ),
    "struct ops2 { void *pointer; } map = {program};": (
        "map 'map', relocation at byte 0: 'pointer' is no pointer to a function"
    ),
}


@pytest.mark.needs_tool("clang-19")
@pytest.mark.parametrize("definition", BAD)
def test_bad_definitions(definition, tmp_path):
    (tmp_path / "bad.c").write_text(SOURCE.format(definition=definition))
    subprocess.run(
        ["clang-19", "-target", "bpf", "-O2", "-g", "-c", tmp_path / "bad.c", "-o", tmp_path / "bad.o"], check=True
    )
    with pytest.raises(ObjectFormatError) as error:
        purebpf.parse(tmp_path / "bad.o")
    assert BAD[definition] in str(error.value)
