"""The BTF writer: read back, by our reader and by bpftool, its bytes are the types that were written."""

from __future__ import annotations

import copy
import os
from collections import Counter

import pytest
from btf_making import FUNC, FUNC_PROTO, PTR, STRUCT, TYPEDEF, Assembler, bpftool_types, compile_c
from hypothesis import given, settings
from hypothesis import strategies as st
from test_btf_fuzz import SEEDS, mutated
from test_btf_reader import every_kind

from purebpf.btf.reader import Btf
from purebpf.btf.types import (
    Array,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    EnumValue,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Unknown,
    Var,
    VarSecinfo,
    Volatile,
)
from purebpf.btf.writer import write
from purebpf.errors import ObjectFormatError

KERNEL_BTF = "/sys/kernel/btf/vmlinux"
ORDERS = {"<": "little", ">": "big"}


def types_of(btf):
    return [btf.type(type_id) for type_id in range(len(btf))]


def written(btf):
    return write(types_of(btf), byteorder=btf.byteorder)


@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_are_those_of_the_format(order):
    """Byte for byte as laid down by hand, in tests/unit/btf_making.py, after <linux/btf.h>."""
    a = Assembler(order)
    number = a.int()
    a.add(PTR, "", number)
    a.array(number, 7)
    a.add(STRUCT, "bits", 8, "first", number, 3 << 24, "second", number, 29 << 24 | 3, vlen=2, kind_flag=1)
    a.add(FUNC, "work", a.add(FUNC_PROTO, "", number, "parameter", 2, "", 0, vlen=2), vlen=2)
    assert written(a.btf()) == a.bytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_is_read_back(order):
    btf = every_kind(order).btf()
    again = Btf.from_bytes(written(btf))
    assert again.byteorder == ORDERS[order]
    assert types_of(again) == types_of(btf)


@pytest.mark.parametrize("order", ["little", "big"])
def test_byte_order_can_be_exchanged(order):
    btf = every_kind("<").btf()
    again = Btf.from_bytes(write(types_of(btf), byteorder=order))
    assert (again.byteorder, types_of(again)) == (order, types_of(btf))


def test_strings_are_written_once():
    a = Assembler()
    number = a.int("same")
    for _ in range(3):
        a.struct("same", 8, ("same", number, 0), ("other", number, 32))
    assert Btf.from_bytes(written(a.btf())).strings == b"\0same\0other\0"


def test_nothing_is_valid_btf():
    assert len(Btf.from_bytes(write([], byteorder="little"))) == 1


@pytest.mark.needs_tool("bpftool")
def test_split_btf_takes_strings_from_its_base(tmp_path):
    base = Assembler()
    number = base.int()
    inner = base.struct("inner", 4, ("x", number, 0))
    middle = Assembler(base=base)
    alias = middle.add(TYPEDEF, "alias", inner)
    middle_btf = middle.btf(base.btf())
    types = [
        Struct(alias + 1, "outer", 8, (Member("x", inner, 0, 0), Member("y", alias, 32, 0))),
        Typedef(alias + 2, "alias", alias + 1),
    ]
    data = write(types, byteorder="little", base=middle_btf)
    split = Btf.from_bytes(data, base=middle_btf)
    assert split.strings == b"outer\0y\0"
    assert [split.type(alias + 1), split.type(alias + 2)] == types

    (tmp_path / "base").write_bytes(base.bytes())
    (tmp_path / "split").write_bytes(write([Typedef(3, "inner", 2)], byteorder="little", base=base.btf()))
    seen = bpftool_types(tmp_path / "split", base=tmp_path / "base")
    assert seen == [{"id": 3, "kind": "TYPEDEF", "name": "inner", "type_id": 2}]


SOURCE = """
struct pair { int a : 3; unsigned b : 7; struct pair *next; const char text[]; };
union either { struct pair p; long long number; void (*call)(int x, ...); };
struct undefined;
enum colour { RED = -1, GREEN } colour;
enum big { BIG = 1ULL << 40 } big;
typedef volatile union either either_t;
extern either_t shared;
int __attribute__((btf_type_tag("user"))) *restrict tagged;
extern double real;
int work(either_t *e, enum big b, struct undefined *u) { shared.number = (long)&real; return e->p.a + b; }
"""


@pytest.mark.needs_tool("clang-19", "bpftool")
@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_bpftool_reads_what_clang_wrote(tmp_path, target):
    made = compile_c(tmp_path, SOURCE, target=target)
    assert types_of(Btf.from_bytes(written(made.btf))) == types_of(made.btf)
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(made.sections[".BTF"])
    after.write_bytes(written(made.btf))
    assert bpftool_types(after) == bpftool_types(before)


@pytest.mark.skipif(not os.path.exists(KERNEL_BTF), reason="needs /sys/kernel/btf/vmlinux")
def test_kernel_btf_is_read_back():
    with open(KERNEL_BTF, "rb") as file:
        btf = Btf.from_bytes(file.read())
    again = Btf.from_bytes(written(btf))
    assert all(again.type(type_id) == btf.type(type_id) for type_id in range(len(btf)))
    assert Counter(again.strings.split(b"\0")) <= Counter(btf.strings.split(b"\0"))


# -- what has no place in the format ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Typedef(2, "t", 0), "type 2: its id is 2, and by its position 1"),
        (Typedef(0, "t", 0), "type 0: its id is 0, and by its position 1"),
        (Typedef(1, "t", 1 << 32), "type 1: one of its numbers is too large"),
        (Typedef(1, "t", -1), "too large"),
        (Int(1, "i", 4, True, False, False, 0, 256), "too large"),
        (Int(1, "i", 4, True, False, False, 256, 0), "too large"),
        (Struct(1, "s", 4, (Member("x", 0, 1 << 24, 1),)), "too large"),
        (Struct(1, "s", 4, (Member("x", 0, 0, 256),)), "too large"),
        (Enum(1, "e", 4, False, (EnumValue("A", -1),)), "too large"),
        (Enum(1, "e", 4, True, (EnumValue("A", 1 << 31),)), "too large"),
        (Enum64(1, "e", 8, False, (EnumValue("A", 1 << 64),)), "too large"),
        (DeclTag(1, "d", 0, 1 << 31, False), "too large"),
        (Func(1, "f", 0, 1 << 24), "too large"),
        (Typedef(1, "a\0b", 0), "type 1: the name 'a\\\\x00b' has a NUL"),
        (Unknown(1, "u", 63), "type 1: kind 63 is not known"),
    ],
)
def test_what_cannot_be_written(found, message):
    with pytest.raises(ObjectFormatError, match=message):
        write([found], byteorder="little")


# -- whatever the types -----------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
IDS = st.integers(0, 1)  # the first type is a FuncProto, which is what a Func may refer to
FLAGS = st.booleans()
BYTES, U24, U32, S32 = (
    st.integers(low, high) for low, high in [(0, 255), (0, 2**24 - 1), (0, 2**32 - 1), (-(2**31), 2**31 - 1)]
)
U64, S64 = st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1)


def several(strategy):
    return st.lists(strategy, max_size=4).map(tuple)


def values(numbers):
    return several(st.builds(EnumValue, NAMES, numbers))


def with_id(found, type_id):
    found = copy.copy(found)
    found.id = type_id
    return found


HEAD = (st.just(0), NAMES)
PROTOS = st.builds(FuncProto, *HEAD, IDS, several(st.builds(Param, NAMES, IDS)))
MEMBERS = several(st.builds(Member, NAMES, IDS, U32, st.just(0))) | several(st.builds(Member, NAMES, IDS, U24, BYTES))
TYPES = st.one_of(
    PROTOS,
    st.builds(Int, *HEAD, U32, FLAGS, FLAGS, FLAGS, BYTES, BYTES),
    *(st.builds(kind, *HEAD, IDS) for kind in (Ptr, Typedef, Volatile, Const, Restrict)),
    st.builds(Array, *HEAD, IDS, IDS, U32),
    *(st.builds(kind, *HEAD, U32, MEMBERS) for kind in (Struct, Union)),
    st.builds(Enum, *HEAD, U32, st.just(True), values(S32)),
    st.builds(Enum, *HEAD, U32, st.just(False), values(U32)),
    st.builds(Enum64, *HEAD, U32, st.just(True), values(S64)),
    st.builds(Enum64, *HEAD, U32, st.just(False), values(U64)),
    st.builds(Fwd, *HEAD, FLAGS),
    st.builds(Func, *HEAD, st.just(1), U24),
    st.builds(Var, *HEAD, IDS, U32),
    st.builds(Datasec, *HEAD, U32, several(st.builds(VarSecinfo, IDS, U32, U32))),
    st.builds(Float, *HEAD, U32),
    st.builds(DeclTag, *HEAD, IDS, S32, FLAGS),
    st.builds(TypeTag, *HEAD, IDS, FLAGS),
)


@settings(max_examples=200, deadline=1000)
@given(PROTOS, st.lists(TYPES, max_size=12), st.sampled_from(["little", "big"]))
def test_any_types_are_read_back(first, others, byteorder):
    types = [with_id(found, i) for i, found in enumerate([first, *others], 1)]
    again = Btf.from_bytes(write(types, byteorder=byteorder))
    assert types_of(again)[1:] == types


@settings(max_examples=200, deadline=1000)
@given(st.sampled_from(range(2)).flatmap(lambda i: mutated(SEEDS[i], "<>"[i])))
def test_whatever_can_be_read_can_be_written(data):
    try:
        btf = Btf.from_bytes(data)
        types = types_of(btf)
    except ObjectFormatError:
        return
    if not any(isinstance(found, Unknown) for found in types):
        assert types_of(Btf.from_bytes(write(types, byteorder=btf.byteorder))) == types
