"""BTF for kernels that do not know all kinds of types.

The bytes are compared with libbpf's in tests/kernel/test_old_kernels.py.  Here stands what the libbpf of most
distributions does not do yet, and what comes of each kind.
"""

from __future__ import annotations

import pytest
from btf_making import DATASEC, DECL_TAG, ENUM, ENUM64, FLOAT, FUNC, FUNC_PROTO, PTR, TYPE_TAG, VAR, Assembler

from purebpf.abi.bpf import bpf_prog_type
from purebpf.btf.edit import BtfEditor
from purebpf.btf.reader import Btf
from purebpf.btf.types import Const, Datasec, DeclTag, Enum, Func, Int, Ptr, Struct, Typedef, Union
from purebpf.load.context import Functions, replace_context_arguments
from purebpf.load.features import Feature
from purebpf.load.sanitize import sanitize_btf

KPROBE, TRACEPOINT, XDP = (bpf_prog_type[f"BPF_PROG_TYPE_{name}"] for name in ("KPROBE", "TRACEPOINT", "XDP"))
ORDERS = pytest.mark.parametrize("order", ["<", ">"])


def lacking(*features):
    return lambda feature: feature not in features


def everything(order):
    asm = Assembler(order)
    number = asm.int()
    asm.add(FLOAT, "double", 8)
    variable = asm.add(VAR, "counter", number, 1)
    asm.add(DATASEC, "?.data.x", 4, variable, 16, 4, vlen=1)
    asm.add(DECL_TAG, "tag", variable, -1)
    asm.add(TYPE_TAG, "user", number)
    asm.add(ENUM, "small", 4, "LOW", -1, vlen=1, kind_flag=1)
    asm.add(ENUM64, "large", 8, "HIGH", 1, 2, vlen=1)
    proto = asm.add(FUNC_PROTO, "", number, "argument", number, vlen=1)
    asm.add(FUNC, "function", proto, vlen=1)
    return asm


@ORDERS
def test_nothing_is_missing(order):
    btf = everything(order).btf()
    assert sanitize_btf(btf, lacking()) == btf.data


@ORDERS
def test_everything_is_missing(order):
    btf = everything(order).btf()
    clean = Btf.from_bytes(sanitize_btf(btf, lambda feature: False))
    kinds = [type(clean.type(id)) for id in range(1, len(clean))]
    assert kinds == [Int, Struct, Int, Struct, Int, Const, Enum, Union, Enum, Typedef, Int]
    assert clean.type(2).name == "" and clean.type(2).size == 8
    assert clean.type(3).size == 1
    section = clean.type(4)
    assert (section.name, section.size) == ("__data_x", 4)
    assert [(m.name, m.type_id, m.bit_offset) for m in section.members] == [("counter", 3, 128)]
    assert clean.type(7).values[0].value == 0xFFFFFFFF
    assert [(m.name, m.type_id, m.bit_offset) for m in clean.type(8).members] == [("HIGH", 11, 0)]
    assert (clean.type(11).name, clean.type(11).size) == ("enum64_placeholder", 1)
    assert clean.type(10).type_id == 9


def test_the_question_mark_of_a_section():
    btf = everything("<").btf()
    clean = Btf.from_bytes(sanitize_btf(btf, lacking(Feature.BTF_QMARK_DATASEC)))
    assert isinstance(clean.type(4), Datasec)
    assert clean.type(4).name == "_.data.x"
    assert bytes(clean.data).replace(b"_.data.x", b"?.data.x") == btf.data


@ORDERS
def test_the_layout_section(order):
    asm = everything(order)
    layout = bytes([0, 0, 0, 0, 4, 0, 0, 0])
    btf = Btf.from_bytes(asm.bytes(layout))
    assert sanitize_btf(btf, lacking()) == btf.data
    clean = sanitize_btf(btf, lacking(Feature.BTF_LAYOUT))
    assert clean == btf.data[:4] + header_without_layout(asm) + asm.types + asm.strings


def header_without_layout(asm):
    """The fields after the first four bytes: a header as long as before, and zeros where the layout was."""
    return asm.words(32, 0, len(asm.types), len(asm.types), len(asm.strings), 0, 0)


def test_edits_at_the_end():
    btf = everything("<").btf()
    edit = BtfEditor(btf)
    assert edit.add_string("counter") == btf.data[-len(everything("<").strings) :].index(b"counter")
    assert edit.add_string("") == 0
    name = edit.add_string("unter")  # the end of another is no string of its own, as with libbpf
    assert name == len(everything("<").strings)
    assert edit.add_type(1, name, 4, 32) == len(btf)
    assert edit.to_btf().type(len(btf)).name == "unter"


# --- context arguments ---


def tagged(argument_type="void"):
    """A global function of (number, context), whose second argument is tagged."""
    asm = Assembler()
    number = asm.int()
    target = {
        "void": lambda: 0,
        "number": lambda: number,
        "pt_regs": lambda: asm.struct("pt_regs", 4, ("ax", number, 0)),
        "xdp_md": lambda: asm.struct("xdp_md", 4, ("data", number, 0)),
    }[argument_type]()
    pointer = asm.add(PTR, "", target)
    proto = asm.add(FUNC_PROTO, "", number, "number", number, "context", pointer, vlen=2)
    function = asm.add(FUNC, "function", proto, vlen=1)
    asm.add(DECL_TAG, "arg:ctx", function, 1)
    return asm.btf(), function


@pytest.mark.parametrize(("prog_type", "argument", "context"), [(KPROBE, "void", "bpf_user_pt_regs_t"),
                                                                (KPROBE, "pt_regs", "bpf_user_pt_regs_t"),
                                                                (XDP, "void", "xdp_md")])  # fmt: skip
def test_a_copy_names_the_context(prog_type, argument, context):
    btf, function = tagged(argument)
    changed, (ids,) = replace_context_arguments(btf, [Functions("main", prog_type, [function])])
    copy = changed.type(ids[function])
    assert isinstance(copy, Func) and (copy.name, copy.linkage) == ("function", 1)
    number, pointer = changed.type(copy.type_id).params
    assert (number.name, number.type_id) == ("number", 1)
    assert pointer.name == "context" and isinstance(changed.type(pointer.type_id), Ptr)
    assert changed.type(changed.type(pointer.type_id).type_id) == Struct(len(changed) - 3, context, 0, ())
    tag = changed.type(len(changed) - 1)
    assert isinstance(tag, DeclTag) and (tag.type_id, tag.component_idx) == (copy.id, 1)
    assert [btf.type(id) for id in range(len(btf))] == [changed.type(id) for id in range(len(btf))]


@pytest.mark.parametrize(("prog_type", "argument"), [(TRACEPOINT, "void"), (XDP, "xdp_md"), (XDP, "number"),
                                                     (XDP, "pt_regs")])  # fmt: skip
def test_nothing_to_name(prog_type, argument):
    btf, function = tagged(argument)
    changed, (ids,) = replace_context_arguments(btf, [Functions("main", prog_type, [function])])
    assert (changed.data, ids) == (btf.data, {})


def test_each_program_has_its_copy():
    btf, function = tagged()
    programs = [Functions("one", KPROBE, [function]), Functions("two", XDP, [function]), Functions("none", XDP, [])]
    changed, (one, two, none) = replace_context_arguments(btf, programs)
    contexts = [changed.type(changed.type(changed.type(ids[function]).type_id).params[1].type_id) for ids in (one, two)]
    assert [changed.type(pointer.type_id).name for pointer in contexts] == ["bpf_user_pt_regs_t", "xdp_md"]
    assert none == {}
