"""The BTF reader against the format's definition, clang's output, and bpftool's reading of the same files."""

from __future__ import annotations

import gc
import os
import struct

import pytest
from btf_making import (
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOLATILE,
    Assembler,
    bpftool_types,
    compile_c,
)

from purebpf.btf import types
from purebpf.btf.reader import Btf, essential_name
from purebpf.errors import ObjectFormatError

KERNEL_BTF = "/sys/kernel/btf/vmlinux"
needs_kernel_btf = pytest.mark.skipif(not os.path.exists(KERNEL_BTF), reason="needs /sys/kernel/btf/vmlinux")


# -- every kind, by the definition of its record -----------------------------------------------------------------


@pytest.fixture(params=["<", ">"])
def order(request):
    return request.param


def every_kind(order):
    a = Assembler(order)
    a.int("int")  # 1
    a.int("_Bool", 1, signed=False, flags=4)  # 2
    a.int("char", 1, signed=False, flags=2)  # 3
    a.add(PTR, "", 1)  # 4
    a.array(1, 7)  # 5
    a.struct("plain", 12, ("a", 1, 0), ("b", 5, 32))  # 6
    a.struct("bits", 8, ("a", 1, 3 << 24 | 0), ("b", 1, 29 << 24 | 3), ("c", 1, 32), kind_flag=1)  # 7
    a.struct("either", 4, ("i", 1, 0), ("p", 4, 0), kind=UNION)  # 8
    a.add(ENUM, "unsigned_enum", 4, "A", 0, "B", 0xFFFFFFFF, vlen=2)  # 9
    a.add(ENUM, "signed_enum", 4, "C", -1, "D", 0x7FFFFFFF, vlen=2, kind_flag=1)  # 10
    a.add(FWD, "later_struct")  # 11
    a.add(FWD, "later_union", kind_flag=1)  # 12
    a.add(TYPEDEF, "number", 1)  # 13
    a.add(VOLATILE, "", 13)  # 14
    a.add(CONST, "", 14)  # 15
    a.add(RESTRICT, "", 4)  # 16
    a.add(FUNC_PROTO, "", 1, "x", 1, "", 0, vlen=2)  # 17
    a.add(FUNC, "work", 17, vlen=2)  # 18: vlen is the linkage
    a.add(VAR, "global", 1, 1)  # 19
    a.add(DATASEC, ".bss", 8, 19, 4, 4, vlen=1)  # 20
    a.add(FLOAT, "double", 8)  # 21
    a.add(DECL_TAG, "member_tag", 6, 1)  # 22
    a.add(DECL_TAG, "type_tag", 6, -1, kind_flag=1)  # 23
    a.add(TYPE_TAG, "user", 1)  # 24
    a.add(ENUM64, "big", 8, "E", 0x89ABCDEF, 0x1234567, vlen=1)  # 25
    a.add(ENUM64, "signed_big", 8, "F", -2, -1, vlen=1, kind_flag=1)  # 26
    return a


def test_every_kind_is_read_from_both_byte_orders(order):
    btf = every_kind(order).btf()
    assert btf.byteorder == {"<": "little", ">": "big"}[order]
    member, value = types.Member, types.EnumValue
    expected = [
        types.Void(0, "void"),
        types.Int(1, "int", 4, True, False, False, 0, 32),
        types.Int(2, "_Bool", 1, False, False, True, 0, 8),
        types.Int(3, "char", 1, False, True, False, 0, 8),
        types.Ptr(4, "", 1),
        types.Array(5, "", 1, 1, 7),
        types.Struct(6, "plain", 12, (member("a", 1, 0, 0), member("b", 5, 32, 0))),
        types.Struct(7, "bits", 8, (member("a", 1, 0, 3), member("b", 1, 3, 29), member("c", 1, 32, 0))),
        types.Union(8, "either", 4, (member("i", 1, 0, 0), member("p", 4, 0, 0))),
        types.Enum(9, "unsigned_enum", 4, False, (value("A", 0), value("B", 0xFFFFFFFF))),
        types.Enum(10, "signed_enum", 4, True, (value("C", -1), value("D", 0x7FFFFFFF))),
        types.Fwd(11, "later_struct", False),
        types.Fwd(12, "later_union", True),
        types.Typedef(13, "number", 1),
        types.Volatile(14, "", 13),
        types.Const(15, "", 14),
        types.Restrict(16, "", 4),
        types.FuncProto(17, "", 1, (types.Param("x", 1), types.Param("", 0))),
        types.Func(18, "work", 17, 2),
        types.Var(19, "global", 1, 1),
        types.Datasec(20, ".bss", 8, (types.VarSecinfo(19, 4, 4),)),
        types.Float(21, "double", 8),
        types.DeclTag(22, "member_tag", 6, 1, False),
        types.DeclTag(23, "type_tag", 6, -1, True),
        types.TypeTag(24, "user", 1, False),
        types.Enum64(25, "big", 8, False, (value("E", 0x0123456789ABCDEF),)),
        types.Enum64(26, "signed_big", 8, True, (value("F", -2),)),
    ]
    assert [btf.type(i) for i in range(len(btf))] == expected
    assert btf.type(7) is btf.type(7)
    btf.validate()


def test_resolve_strips_what_does_not_change_the_layout(order):
    btf = every_kind(order).btf()
    assert btf.resolve(15).name == "int"
    assert btf.resolve(24).name == "int"
    assert btf.resolve(16).id == 4  # and stops at the pointer
    assert btf.resolve(0) == types.Void(0, "void")


def test_sizes(order):
    btf = every_kind(order).btf()
    sizes = {1: 4, 2: 1, 4: 8, 5: 28, 6: 12, 8: 4, 9: 4, 15: 4, 16: 8, 19: 4, 20: 8, 21: 8, 24: 4, 25: 8}
    assert {i: btf.size_of(i) for i in sizes} == sizes
    for sizeless in (0, 11, 17, 18):
        with pytest.raises(ObjectFormatError, match="has no size"):
            btf.size_of(sizeless)
    with pytest.raises(ObjectFormatError, match="has no alignment"):
        btf.align_of(0)


def test_pointers_are_as_wide_as_long():
    assert Assembler().btf().pointer_size == 8
    for name in ("long", "long unsigned int"):
        a = Assembler()
        a.int("int")
        a.int(name, 4)
        pointer = a.add(PTR)
        btf = a.btf()
        assert (btf.pointer_size, btf.size_of(pointer), btf.align_of(pointer)) == (4, 4, 4)


# -- names ---------------------------------------------------------------------------------------------------------


def test_find_gives_every_type_with_the_name_in_ascending_order():
    a = Assembler()
    a.int("thing")  # 1
    a.struct("thing", 0)  # 2
    a.int("nothing")  # 3
    a.add(TYPEDEF, "thing", 2)  # 4
    btf = a.btf()
    assert btf.find("thing") == [1, 2, 4]
    assert btf.find("thing", types.Struct) == [2]
    assert btf.find("thing", types.Union) == []
    assert btf.find("absent") == btf.find("") == btf.find("thing\0thing") == btf.find("\ud800") == []


def test_names_may_begin_inside_a_longer_string():
    a = Assembler()
    offset = a.string("nothing")
    a.add(STRUCT, offset + 2, 0)
    a.add(STRUCT, offset, 0)
    btf = a.btf()
    assert [btf.type(i).name for i in (1, 2)] == ["thing", "nothing"]
    assert btf.find("thing") == [1]
    assert btf.find("nothing") == [2]


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___v5", "task_struct"),
        ("a___b___c", "a___b"),  # the last separator counts
        ("a____b", "a____b"),  # four underscores are none: one neighbour is an underscore
        ("___x", "___x"),
        ("x___", "x___"),
        ("a___b", "a"),
        ("", ""),
    ],
)
def test_essential_name(name, essential):
    assert essential_name(name) == essential


def test_find_flavors():
    a = Assembler()
    for name in ("task", "task___old", "task___", "task_other", "sub_task___x", "task___a___b", "task", "task____x"):
        a.struct(name, 0)
    btf = a.btf()
    assert btf.find_flavors("task") == [1, 2, 7]
    assert btf.find_flavors("task___a") == [6]
    assert btf.find_flavors("") == btf.find_flavors("none") == []


def test_names_that_are_not_utf8_are_escaped():
    a = Assembler()
    a.add(STRUCT, b"a\xffb", 0)
    assert a.btf().type(1).name == "a\\xffb"


# -- split BTF -----------------------------------------------------------------------------------------------------


def test_split_btf_continues_ids_and_strings(order):
    base = Assembler(order)
    base.int("int")
    shared = base.string("shared")
    base.add(STRUCT, shared, 0)
    split = Assembler(order, base)
    split.add(TYPEDEF, "own", 1)
    split.add(STRUCT, shared, 0)
    split.add(TYPEDEF, "own___flavor", 3)
    base_btf = base.btf()
    btf = split.btf(base_btf)
    assert len(base_btf) == 3
    assert len(btf) == 6
    assert [btf.type(i).name for i in range(6)] == ["void", "int", "shared", "own", "shared", "own___flavor"]
    assert btf.type(1) is base_btf.type(1)
    assert btf.find("shared") == [2, 4]
    assert base_btf.find("shared") == [2]
    assert btf.find("own", types.Typedef) == [3]
    assert btf.find("int", types.Int) == [1]
    assert btf.find_flavors("own") == [3, 5]
    assert btf.size_of(5) == 4
    assert btf.pointer_size == base_btf.pointer_size == 8
    assert Btf.from_bytes(Assembler(order, base).bytes(), base=base_btf).find("int") == [1]
    with pytest.raises(ObjectFormatError, match="type id 6"):
        btf.type(6)


def test_split_btf_needs_its_base():
    base = Assembler()
    base.int("int")
    split = Assembler(base=base)
    split.add(TYPEDEF, "own", 1)
    with pytest.raises(ObjectFormatError, match="without its base"):
        split.btf()
    with pytest.raises(ObjectFormatError, match="big-endian base"):
        split.btf(Assembler(">").btf())


# -- the layout section of newer kernels ------------------------------------------------------------------------------


def test_layout_section_gives_the_length_of_unknown_kinds():
    a = Assembler()
    a.add(25, "future", 0, 1, 2, 3, 4, 5, vlen=2)  # 4 bytes of its own, 8 for each of vlen
    a.int("int")
    layout = b"".join(struct.pack("<BBH", 4, 8, 0) for _ in range(26))
    btf = Btf.from_bytes(a.bytes(layout))
    assert btf.type(1) == types.Unknown(1, "future", 25)
    assert btf.type(2).name == "int"
    with pytest.raises(ObjectFormatError, match="unknown kind 25"):
        a.btf()
    assert len(Btf.from_bytes(every_kind("<").bytes(layout))) == 27  # it does not change the known kinds
    with pytest.raises(ObjectFormatError, match="layout"):
        Btf.from_bytes(a.bytes(layout[:-1]))
    with pytest.raises(ObjectFormatError, match="layout"):
        Btf.from_bytes(a.bytes(b"\1" + layout[1:]))


# -- malformed ---------------------------------------------------------------------------------------------------------


def header(types_size, strings, **fields):
    values = {
        "magic": 0xEB9F,
        "version": 1,
        "flags": 0,
        "hdr_len": 24,
        "type_off": 0,
        "type_len": types_size,
        "str_off": types_size,
        "str_len": strings,
        **fields,
    }
    return struct.pack("<HBBIIIII", *values.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": 0x1234}, "magic"),
        ({"version": 2}, "version 2"),
        ({"flags": 1}, "flags 0x1"),
        ({"hdr_len": 20}, "header length 20"),
        ({"hdr_len": 1 << 31}, "header length"),
        ({"type_off": 2}, "unaligned"),
        ({"type_off": 0xFFFFFFFC}, "type section"),
        ({"type_len": 1 << 31}, "type section"),
        ({"str_off": 1 << 31}, "string section"),
        ({"str_len": 2}, "string section"),
        ({"str_len": 0}, "does not end with NUL"),
        ({"type_len": 10}, "multiple of 4"),
        ({"type_len": 4}, "past the end of the type section"),
        ({"type_len": 8}, "past the end of the type section"),
    ],
)
def test_malformed_header(fields, message):
    record = struct.pack("<III", 0, STRUCT << 24, 0)
    with pytest.raises(ObjectFormatError, match=message) as caught:
        Btf.from_bytes(header(12, 1, **fields) + record + b"\0", where="an object's .BTF")
    assert caught.value.where.startswith("an object's .BTF")


def test_cut_off_anywhere():
    whole = every_kind("<").bytes()
    for size in range(len(whole)):
        with pytest.raises(ObjectFormatError):
            Btf.from_bytes(whole[:size])


def test_strings_must_begin_and_end_with_nul():
    with pytest.raises(ObjectFormatError, match="do not begin with NUL"):
        Btf.from_bytes(header(0, 2) + b"a\0")
    with pytest.raises(ObjectFormatError, match="does not end with NUL"):
        Btf.from_bytes(header(0, 2) + b"\0a")


@pytest.mark.parametrize("kind", [0, 20, 127])
def test_unknown_kind_is_named_with_its_place(kind):
    a = Assembler()
    a.int("int")
    a.add(kind, "x", 0)
    with pytest.raises(ObjectFormatError, match=f"type 2 at offset 0x28: unknown kind {kind}"):
        a.btf()


def test_record_that_runs_past_the_section():
    a = Assembler()
    a.add(STRUCT, "s", 0, vlen=0xFFFFFF)
    with pytest.raises(ObjectFormatError, match=r"type 1 at offset 0x18.*past the end"):
        a.btf()


def references_to_nowhere():
    yield "ptr", lambda x: x.add(PTR, "", 99)
    yield "array element", lambda x: x.array(99, 1)
    yield "array index", lambda x: x.array(0, 1, index=99)
    yield "member", lambda x: x.struct("s", 4, ("m", 99, 0))
    yield "return type", lambda x: x.add(FUNC_PROTO, "", 99)
    yield "parameter", lambda x: x.add(FUNC_PROTO, "", 0, "p", 99, vlen=1)
    yield "func", lambda x: x.add(FUNC, "f", 99)
    yield "func without prototype", lambda x: x.add(FUNC, "f", 0)
    yield "var", lambda x: x.add(VAR, "v", 99, 0)
    yield "datasec", lambda x: x.add(DATASEC, ".bss", 4, 99, 0, 4, vlen=1)
    yield "decl tag", lambda x: x.add(DECL_TAG, "t", 99, -1)
    yield "type tag", lambda x: x.add(TYPE_TAG, "t", 99)
    yield "own name", lambda x: x.add(STRUCT, 9999, 0)
    yield "member name", lambda x: x.struct("s", 4, (9999, 0, 0))
    yield "enum name", lambda x: x.add(ENUM, "e", 4, 9999, 0, vlen=1)
    yield "enum64 name", lambda x: x.add(ENUM64, "e", 8, 9999, 0, 0, vlen=1)
    yield "long name", lambda x: x.struct("x" * 5000, 4)


@pytest.mark.parametrize("broken", [pytest.param(make, id=name) for name, make in references_to_nowhere()])
def test_bad_references_and_names_are_found_lazily_and_by_validate(broken):
    a = Assembler()
    broken(a)
    btf = a.btf()
    with pytest.raises(ObjectFormatError, match="type 1 at offset 0x18"):
        btf.type(1)
    with pytest.raises(ObjectFormatError):
        btf.validate()


@pytest.mark.parametrize("type_id", [-1, 1, 2**40])
def test_type_ids_out_of_range(type_id):
    btf = Assembler().btf()
    with pytest.raises(ObjectFormatError, match=f"type id {type_id}"):
        btf.type(type_id)


def test_string_offsets_out_of_range():
    btf = Assembler().btf()
    assert btf.string(0) == ""
    for offset in (-1, 1, 2**40):
        with pytest.raises(ObjectFormatError, match="string offset"):
            btf.string(offset)


def test_circles_end():
    a = Assembler()
    a.add(TYPEDEF, "t", 2)  # 1 and 2 are each other
    a.add(CONST, "", 1)
    a.array(3, 2, index=0)  # 3 is an array of itself
    a.struct("s", 8, ("me", 5, 0))  # 4 contains itself, by way of an array
    a.array(4, 1, index=0)
    btf = a.btf()
    btf.validate()
    for query, type_id in [(btf.resolve, 1), (btf.size_of, 1), (btf.align_of, 1), (btf.size_of, 3), (btf.align_of, 3)]:
        with pytest.raises(ObjectFormatError, match=r"circle|deep|larger"):
            query(type_id)
    with pytest.raises(ObjectFormatError, match="containing themselves"):
        btf.align_of(4)


def test_absurd_sizes():
    a = Assembler()
    a.int("int")
    for _ in range(3):
        a.array(a.next_id - 1, 0xFFFFFFFF)
    btf = a.btf()
    for type_id in (2, 3, 4):
        with pytest.raises(ObjectFormatError, match="4 GiB"):
            btf.size_of(type_id)


def test_alignment_work_does_not_double_with_depth():
    a = Assembler()
    a.int("int")
    for depth in range(60):
        a.struct(f"s{depth}", 4, ("a", a.next_id - 1, 0), ("b", a.next_id - 1, 0))
    assert a.btf().align_of(a.next_id - 1) == 4


# -- against clang and bpftool -----------------------------------------------------------------------------------------

LAYOUTS = """
typedef unsigned int u32;
typedef unsigned long long u64;
#define TABLE __attribute__((section("layout"), used))
struct inner { char a; short b; };
struct plain { u32 pid; u64 when; char comm[16]; struct inner in[3]; void *p; };
struct packed { char a; u64 b; short c; } __attribute__((packed));
struct aligned { char a; u64 b; } __attribute__((aligned(32)));
struct bits { u32 a : 3; u32 b : 29; u64 c : 40; char d; _Bool e : 1; };
struct empty { };
struct flexible { u64 n; char data[]; };
union either { char c[5]; u64 u; struct packed p; };
struct nested { char c; union { u64 u; struct { short s; char t; }; }; struct packed p[2]; struct bits b; };
struct big { __int128 i; char c; };
enum small { S0 } __attribute__((packed));
enum normal { N0 = -1, N1 = 7 };
enum wide { W0 = 0x123456789aULL };
typedef const volatile struct nested *matrix[3][4];
struct last { enum small s; enum normal n; enum wide w; matrix m; float f; double d; long l; };

#define EACH(X) X(struct inner) X(struct plain) X(struct packed) X(struct aligned) X(struct bits) \\
    X(struct empty) X(struct flexible) X(union either) X(struct nested) X(struct big) X(enum small) \\
    X(enum normal) X(enum wide) X(matrix) X(struct last) X(u64) X(char)
#define VARIABLE_(n, t) static t v##n __attribute__((used));
#define VARIABLE__(n, t) VARIABLE_(n, t)
#define VARIABLE(t) VARIABLE__(__COUNTER__, t)
EACH(VARIABLE)
#define SIZE_ALIGN(t) sizeof(t), _Alignof(t),
const u64 sizes[] TABLE = { EACH(SIZE_ALIGN) };
#define OFFSET(s, m) __builtin_offsetof(s, m)
const u64 offsets[] TABLE = { OFFSET(struct plain, p), OFFSET(struct packed, c), OFFSET(struct nested, t),
    OFFSET(struct nested, b), OFFSET(struct last, m), OFFSET(struct last, d), OFFSET(struct flexible, data) };
"""
OFFSETS = [
    ("plain", "p"),
    ("packed", "c"),
    (None, "t"),
    ("nested", "b"),
    ("last", "m"),
    ("last", "d"),
    ("flexible", "data"),
]


@pytest.mark.needs_tool("clang-19")
@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_sizes_alignments_and_offsets_are_those_of_the_compiler(tmp_path, target):
    made = compile_c(tmp_path, LAYOUTS, target=target)
    btf = made.btf
    prefix = "<" if target == "bpfel" else ">"
    numbers = [n for (n,) in struct.iter_unpack(prefix + "Q", made.variable("sizes"))]
    pairs = list(zip(numbers[0::2], numbers[1::2], strict=True))
    assert len(pairs) == 17
    for i, (size, align) in enumerate(pairs):
        (variable,) = btf.find(f"v{i}", types.Var)
        found = btf.resolve(btf.type(variable).type_id)
        assert btf.size_of(variable) == size, found
        # BTF keeps no alignment that an attribute asked for, and counts none above that of a pointer.
        if found.name not in ("aligned", "big"):
            assert btf.align_of(btf.type(variable).type_id) == align, found

    offsets = [n for (n,) in struct.iter_unpack(prefix + "Q", made.variable("offsets"))]
    for (struct_name, member_name), offset in zip(OFFSETS, offsets, strict=True):
        if struct_name is None:  # a member of an anonymous struct in an anonymous union of "nested"
            (nested,) = btf.find("nested", types.Struct)
            (outer,) = [m for m in btf.type(nested).members if m.name == ""]
            (inner,) = [m for m in btf.type(outer.type_id).members if m.name == ""]
            (member,) = [m for m in btf.type(inner.type_id).members if m.name == member_name]
            assert outer.bit_offset + inner.bit_offset + member.bit_offset == 8 * offset
        else:
            (type_id,) = btf.find(struct_name, types.Struct)
            (member,) = [m for m in btf.type(type_id).members if m.name == member_name]
            assert member.bit_offset == 8 * offset


def as_bpftool_shows(found):
    """A type in the words of ``bpftool btf dump -j``."""
    shown = {"id": found.id, "kind": found.kind.name.removeprefix("BTF_KIND_"), "name": found.name or "(anon)"}
    if isinstance(found, types.Reference) and not isinstance(found, types.FuncProto):
        shown["type_id"] = found.type_id
    match found:
        case types.Int():
            encoding = ["SIGNED"] * found.is_signed + ["CHAR"] * found.is_char + ["BOOL"] * found.is_bool
            shown |= {"size": found.size, "bits_offset": found.bit_offset, "nr_bits": found.bits}
            shown |= {"encoding": encoding[0] if encoding else "(none)"}
        case types.Array():
            shown |= {"type_id": found.type_id, "index_type_id": found.index_type_id, "nr_elems": found.nelems}
        case types.Composite():
            members = [
                {"name": m.name or "(anon)", "type_id": m.type_id, "bits_offset": m.bit_offset}
                | ({"bitfield_size": m.bitfield_size} if m.bitfield_size else {})
                for m in found.members
            ]
            shown |= {"size": found.size, "vlen": len(members), "members": members}
        case types.Enumeration():
            values = [{"name": v.name, "val": v.value} for v in found.values]
            sign = "SIGNED" if found.is_signed else "UNSIGNED"
            shown |= {"encoding": sign, "size": found.size, "vlen": len(values), "values": values}
        case types.Fwd():
            shown |= {"fwd_kind": "union" if found.is_union else "struct"}
        case types.Func():
            shown |= {"linkage": ["static", "global", "extern"][found.linkage]}
        case types.FuncProto():
            params = [{"name": p.name or "(anon)", "type_id": p.type_id} for p in found.params]
            shown |= {"ret_type_id": found.type_id, "vlen": len(params), "params": params}
        case types.Var():
            shown |= {"linkage": ["static", "global", "extern"][found.linkage]}
        case types.Datasec():
            variables = [{"type_id": v.type_id, "offset": v.offset, "size": v.size} for v in found.variables]
            shown |= {"size": found.size, "vlen": len(variables), "vars": variables}
        case types.Float():
            shown |= {"size": found.size}
        case types.DeclTag():
            shown |= {"component_idx": found.component_idx}
    return shown


def assert_same_as_bpftool(btf, path, *, step=1):
    theirs = bpftool_types(path)
    assert len(theirs) == len(btf) - 1
    for their in theirs[::step]:
        if their["kind"] == "ENUM" and their["encoding"] == "UNSIGNED":  # it shows them as signed 64-bit ones
            for value in their["values"]:
                value["val"] &= 0xFFFFFFFF
        assert as_bpftool_shows(btf.type(their["id"])) == their


@pytest.mark.needs_tool("clang-19", "bpftool")
@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_clang_object_reads_as_bpftool_reads_it(tmp_path, target):
    made = compile_c(tmp_path, LAYOUTS + "int f(struct plain *p) { return p->pid; }", target=target)
    assert_same_as_bpftool(made.btf, made.path)
    made.btf.validate()


@pytest.mark.needs_tool("bpftool")
def test_bpftool_reads_the_handmade_btf_as_this_reader_does(tmp_path, order):
    """That the BTF of these tests is BTF: also for another reader."""
    made = every_kind(order)
    path = tmp_path / "every_kind.btf"
    path.write_bytes(made.bytes())
    assert_same_as_bpftool(made.btf(), path)

    split = Assembler(order, made)
    split.struct("module", 8, ("inherited", 1, 0), ("own", 27, 32))
    split_path = tmp_path / "split.btf"
    split_path.write_bytes(split.bytes())
    btf = split.btf(made.btf())
    assert [as_bpftool_shows(btf.type(27))] == bpftool_types(split_path, base=path)


@needs_kernel_btf
@pytest.mark.needs_tool("bpftool")
def test_kernel_btf_reads_as_bpftool_reads_it():
    with open(KERNEL_BTF, "rb") as file:
        btf = Btf.from_bytes(file.read(), where=KERNEL_BTF)
    assert_same_as_bpftool(btf, KERNEL_BTF, step=9)


@needs_kernel_btf
def test_opening_kernel_btf_makes_no_object_per_type():
    with open(KERNEL_BTF, "rb") as file:
        data = file.read()
    gc.collect()
    before = len(gc.get_objects())
    btf = Btf.from_bytes(data)
    (task_struct,) = btf.find("task_struct", types.Struct)
    assert len(btf) > 10_000
    assert len(gc.get_objects()) - before < 1000
    names = [member.name for member in btf.type(task_struct).members]
    assert {"pid", "tgid", "comm", "real_parent"} <= set(names)
    assert btf.find_flavors("task_struct") == [task_struct]
