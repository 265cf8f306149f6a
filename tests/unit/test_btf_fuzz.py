"""Mutated BTF and .BTF.ext: whatever the bytes, the answer is ObjectFormatError or a sensible value, and soon."""

from __future__ import annotations

import contextlib
import struct

from btf_making import PTR, STRUCT, TYPEDEF, UNION, Assembler
from hypothesis import given, settings
from hypothesis import strategies as st
from test_btf_ext import Tables
from test_btf_reader import every_kind

from purebpf.btf.ext import BtfExt
from purebpf.btf.reader import Btf
from purebpf.btf.types import Typedef
from purebpf.btf.value import codec, to_plain
from purebpf.errors import ObjectFormatError


def seed(order):
    """Every kind, and structs with something of everything for the codecs."""
    a = every_kind(order)
    text = a.array(3, 16)
    grid = a.array(a.array(1, 3), 2)
    flexible = a.array(3, 0)
    inner = a.struct("inner", 8, ("x", 1, 0), ("y", 10, 32))
    union = a.struct("", 8, ("number", 25, 0), ("inner", inner, 0), kind=UNION)
    a.add(PTR, "", inner)
    a.add(STRUCT, "bits", 4, "a", 1, 3 << 24, "b", 2, 1 << 24 | 3, "c", 9, 28 << 24 | 4, vlen=3, kind_flag=1)
    members = [("text", text, 0), ("grid", grid, 128), ("", union, 320), ("named", union, 384), ("data", flexible, 448)]
    a.struct("event___old", 56, *members)
    return a.bytes()


def split_seed():
    a = Assembler(base=every_kind("<"))
    inherited = a.add(TYPEDEF, "own", 6)
    a.struct("module", 16, ("inherited", inherited, 0), ("number", 1, 96))
    return a.bytes()


SEEDS = [seed("<"), seed(">")]
EXT = {order: Tables(order) for order in "<>"}
WORDS = st.one_of(
    st.integers(0, 40),
    st.sampled_from([0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 0x04FFFFFF, 0x84000002, 0x05000002]),
    st.integers(0, 0xFFFFFFFF),
    st.builds(
        lambda kind, vlen, flag: flag << 31 | kind << 24 | vlen,
        st.integers(0, 20),
        st.integers(0, 9),
        st.integers(0, 1),
    ),
)


@st.composite
def mutated(draw, whole, order):
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        match draw(st.sampled_from(["word", "word", "word", "byte", "cut", "insert", "copy"])):
            case "word":
                position = 4 * draw(st.integers(0, max(0, len(data) // 4 - 1)))
                data[position : position + 4] = struct.pack(order + "I", draw(WORDS))
            case "byte":
                position = draw(st.integers(0, max(0, len(data) - 1)))
                data[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del data[draw(st.integers(0, len(data))) :]
            case "insert":
                position = draw(st.integers(0, len(data)))
                data[position:position] = draw(st.binary(max_size=12))
            case "copy":
                source, target = draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))
                data[target : target + 12] = data[source : source + 12]
    return bytes(data)


def use_everything(data, base=None):
    """All that a loader asks of BTF; each question may be refused with ObjectFormatError."""
    try:
        btf = Btf.from_bytes(data, base=base)
    except ObjectFormatError:
        return
    for question in (btf.validate, lambda: btf.find("event", Typedef), lambda: btf.find_flavors("event")):
        with contextlib.suppress(ObjectFormatError):
            question()
    for type_id in range(len(btf)):
        for question in (btf.type, btf.resolve, btf.size_of, btf.align_of):
            try:
                question(type_id)
            except ObjectFormatError as error:
                assert error.where
        try:
            made = codec(btf, type_id)
        except ObjectFormatError:
            continue
        if made.size > 1 << 16:
            continue
        value = made.decode(bytes(range(256)) * (made.size // 256 + 1))
        again = made.decode(made.encode(value))
        if made.exact:  # else members that overlap may be lost in one another
            assert again == value
        repr(to_plain(value)), repr(value)


@settings(max_examples=300, deadline=1000)
@given(st.sampled_from(range(2)).flatmap(lambda i: mutated(SEEDS[i], "<>"[i])))
def test_mutated_btf(data):
    use_everything(data)


@settings(max_examples=100, deadline=1000)
@given(mutated(split_seed(), "<"))
def test_mutated_split_btf(data):
    use_everything(data, base=every_kind("<").btf())


@settings(max_examples=200, deadline=1000)
@given(st.sampled_from("<>").flatmap(lambda order: st.tuples(st.just(order), mutated(EXT[order].bytes(), order))))
def test_mutated_btf_ext(case):
    order, data = case
    try:
        ext = BtfExt.from_bytes(data, EXT[order].btf)
    except ObjectFormatError as error:
        assert error.where
        return
    for lines in ext.line_info.values():
        for line in lines:
            try:
                assert isinstance(line.file_name + line.line, str)
            except ObjectFormatError as error:
                assert error.where


@settings(max_examples=100, deadline=1000)
@given(st.binary(max_size=200))
def test_noise(data):
    use_everything(data)
    use_everything(b"\x9f\xeb\1\0" + data)
