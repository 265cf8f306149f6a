"""Values against bytes that the C compiler laid out, in both byte orders."""

from __future__ import annotations

import copy
import json
import struct

import pytest
from btf_making import (
    DATASEC,
    ENUM,
    FLOAT,
    FUNC_PROTO,
    FWD,
    PTR,
    STRUCT,
    TYPEDEF,
    UNION,
    VAR,
    Assembler,
    compile_c,
)

from purebpf.btf import types
from purebpf.btf.value import CharArray, EnumConstant, StructValue, UnionValue, codec, to_plain
from purebpf.errors import ObjectFormatError

SOURCE = r"""
typedef unsigned char u8;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;
enum action { XDP_ABORTED, XDP_DROP, XDP_PASS, ALIAS = XDP_PASS };
enum negative { MINUS = -2, PLUS = 2 };
enum wide { WIDE = 0x123456789abcdefULL, NARROW = 1 };
enum tiny { TINY = 200 } __attribute__((packed));
struct inner { char letter; short number; };
struct event {
    u32 pid;
    int ret;
    u64 when;
    s64 delta;
    char comm[16];
    u8 mac[6];
    _Bool ok;
    enum action action;
    enum negative negative;
    enum wide wide;
    enum tiny tiny;
    void *pointer;
    float ratio;
    double precise;
    short counts[3];
    struct inner inner;
    struct inner pairs[2];
    char names[2][4];
    int grid[2][3];
    __int128 huge;
    _Bool flags[2];
    char letter;
};
struct event event = {
    .pid = 4000000000, .ret = -13, .when = 1ULL << 63, .delta = -5, .comm = "bash", .mac = {1, 2, 3, 0xfd, 0xfe, 0xff},
    .ok = 1, .action = XDP_PASS, .negative = MINUS, .wide = WIDE, .tiny = TINY, .pointer = (void *)0xffff888000001000,
    .ratio = 0.5, .precise = -1e300, .counts = {1, -2, 3}, .inner = {'x', -300}, .pairs = {{'a', 1}, {'b', 2}},
    .names = {"ab", "cdef"}, .grid = {{1, 2, 3}, {-4, 5, 6}}, .huge = -((__int128)1 << 100), .flags = {0, 1},
    .letter = '\n',
};

struct bits {
    u32 a : 3, b : 5, : 4, c : 10;
    int negative : 4;
    u64 wide : 40;
    _Bool flag : 1;
    enum action action : 3;
    char plain;
    u64 late : 63;
} ;
struct bits bits = { .a = 5, .b = 17, .c = 1023, .negative = -8, .wide = 0xfedcba9876, .flag = 1,
    .action = XDP_DROP, .plain = 'p', .late = 0x5555555555555555 };
struct packed_bits { u32 a : 7; u64 b : 64; u32 c : 1; u8 d; u32 e : 30; } __attribute__((packed));
struct packed_bits packed_bits = { .a = 100, .b = 0xfedcba9876543210, .c = 1, .d = 0x77, .e = 0x2aaaaaaa };

union either { u32 number; u8 bytes[8]; struct inner inner; };
struct unions {
    int kind;
    union { u32 v4; u8 v6[16]; struct { short low; short high; }; };
    union either named;
    struct { struct { char deep; }; int after; };
};
struct unions unions = { .kind = 4, .v6 = {1, 2, 3, 4, 5}, .named.number = 0x01020304, .deep = 'd', .after = 9 };

struct text { u32 n; char data[]; };
struct text text = { .n = 3, .data = "one\0two" };
struct numbers { u64 when; u32 n; u32 data[]; };  // the array begins inside the struct's size
struct numbers numbers = { .n = 3, .data = {7, 8, 9} };
struct octets { u32 n; u8 data[]; };
struct octets octets = { .n = 3, .data = {7, 8, 9} };
struct pairs { u32 n; struct inner data[]; };
struct pairs pairs = { .n = 2, .data = {{'a', 1}, {'b', 2}} };
struct outer { struct numbers inner; int after; };
struct outer outer = { .inner = { .n = 1 }, .after = 7 };

struct keywords { int class, def, count, index, _fields, __codec__, raw; };
struct keywords keywords = {1, 2, 3, 4, 5, 6, 7};

int number = -7;
const volatile u64 constant = 42;
char title[8] = "title";
enum action action = XDP_DROP;
struct empty {} empty;
typedef struct { int x; } anonymous_t;
anonymous_t anonymous = { 3 };
const anonymous_t *to_anonymous = 0;
"""


@pytest.fixture(scope="module", params=["bpfel", "bpfeb"])
def made(request, tmp_path_factory):
    return compile_c(tmp_path_factory.mktemp("value"), SOURCE, target=request.param)


def codec_of(made, name):
    (variable,) = made.btf.find(name, types.Var)
    return codec(made.btf, variable)


def decoded(made, name):
    return codec_of(made, name).decode(made.variable(name))


EVENT = {
    "pid": 4000000000,
    "ret": -13,
    "when": 1 << 63,
    "delta": -5,
    "comm": "bash",
    "mac": b"\x01\x02\x03\xfd\xfe\xff",
    "ok": True,
    "action": 2,
    "negative": -2,
    "wide": 0x123456789ABCDEF,
    "tiny": 200,
    "pointer": 0xFFFF888000001000,
    "ratio": 0.5,
    "precise": -1e300,
    "counts": (1, -2, 3),
    "inner": (ord("x"), -300),
    "pairs": ((ord("a"), 1), (ord("b"), 2)),
    "names": ("ab", "cdef"),
    "grid": ((1, 2, 3), (-4, 5, 6)),
    "huge": -(1 << 100),
    "flags": (False, True),
    "letter": 10,
}
pytestmark = pytest.mark.needs_tool("clang-19")


def test_every_kind_of_member(made):
    event = decoded(made, "event")
    assert {name: getattr(event, name) for name in EVENT} == EVENT
    assert event == tuple(EVENT.values())
    assert type(event.ok) is bool
    assert [type(item) for item in (event.comm, event.action, event.inner)] == [
        CharArray,
        EnumConstant,
        type(event.pairs[0]),
    ]


def test_what_the_compiler_laid_out_encodes_to_the_same_bytes(made):
    for name in ("event", "bits", "packed_bits", "unions", "keywords", "number", "title", "action", "anonymous"):
        raw = made.variable(name)
        own = codec_of(made, name)
        value = own.decode(raw)
        assert own.encode(value) == raw, name
        assert own.encode(raw) == raw
        assert own.decode(own.encode(to_plain(value))) == value
    fields = codec_of(made, "event")
    assert fields.encode(EVENT) == fields.encode(list(EVENT.values())) == made.variable("event")


def test_offset_and_kinds_of_buffers(made):
    raw = made.variable("event")
    own = codec_of(made, "event")
    value = own.decode(raw)
    shifted = b"12345" + raw + b"rest"
    assert own.decode(shifted, 5) == own.decode(bytearray(shifted), 5) == own.decode(memoryview(shifted), 5) == value


def test_plain_types(made):
    assert decoded(made, "number") == -7
    assert decoded(made, "constant") == 42
    assert decoded(made, "title") == "title"
    assert decoded(made, "title").raw == b"title\0\0\0"
    assert decoded(made, "action").name == "XDP_DROP"
    assert decoded(made, "empty") == ()
    assert repr(decoded(made, "anonymous")) == "anonymous_t(x=3)"
    assert type(decoded(made, "anonymous")) is type(decoded(made, "anonymous"))
    assert codec_of(made, "constant").encode(1 << 63) == (1 << 63).to_bytes(8, made.btf.byteorder)
    assert codec_of(made, "number").size == 4


def test_bit_fields(made):
    bits = decoded(made, "bits")
    assert bits == (5, 17, 1023, -8, 0xFEDCBA9876, True, 1, ord("p"), 0x5555555555555555)
    assert bits.action.name == "XDP_DROP"
    packed = decoded(made, "packed_bits")
    assert packed == (100, 0xFEDCBA9876543210, 1, 0x77, 0x2AAAAAAA)
    own = codec_of(made, "bits")
    changed = bits._replace(c=0, negative=7)
    assert changed.c == 0
    assert changed.negative == 7
    assert own.encode(changed) == own.encode({**to_plain(bits), "c": 0, "negative": 7})
    for change, message in [
        ({"a": 8}, "bits.a: 8 does not fit in 3 bits of u32"),
        ({"a": -1}, "bits.a: -1 does not fit"),
        ({"negative": 8}, "bits.negative: 8 does not fit in 4 bits of int"),
        ({"negative": -9}, "bits.negative: -9 does not fit"),
        ({"flag": 2}, "bits.flag: 2 is neither 0 nor 1"),
        ({"action": "XDP"}, "bits.action: action has no 'XDP'"),
    ]:
        with pytest.raises(ValueError, match=message):
            own.encode(change)


def test_unions_and_anonymous_members(made):
    value = decoded(made, "unions")
    assert value.v6 == bytes([1, 2, 3, 4, 5]) + bytes(11)
    assert value.v4 == int.from_bytes(bytes([1, 2, 3, 4]), made.btf.byteorder)
    assert value.high == int.from_bytes(bytes([3, 4]), made.btf.byteorder)
    assert (value.kind, value.deep, value.after) == (4, ord("d"), 9)
    named = value.named
    assert isinstance(named, UnionValue)
    assert named.number == 0x01020304
    assert named.inner.letter == named.bytes[0]
    assert named == made.variable("unions")[20:28]
    assert repr(named).startswith("either(number=16909060, bytes=b'")
    assert to_plain(named) == {"number": 0x01020304, "bytes": list(named), "inner": to_plain(named.inner)}
    own = codec_of(made, "unions")
    assert own.decode(own.encode({"named": {"number": 0x01020304}})).named == named
    assert own.decode(own.encode({"high": 5})).v6[2:4] == (5).to_bytes(2, made.btf.byteorder)
    with pytest.raises(TypeError, match=r"unions\.named: 5 is no dict"):
        own.encode({"named": 5})
    with pytest.raises(ValueError, match="either has no member 'numbr'; near names: number"):
        own.encode({"named": {"numbr": 5}})


def test_replace_in_a_union_keeps_the_other_bytes(made):
    value = decoded(made, "unions")._replace(low=0x0909)
    assert value.v6 == bytes([9, 9, 3, 4, 5]) + bytes(11)


def test_flexible_arrays_take_the_rest(made):
    text = decoded(made, "text")
    assert text.data == "one"
    assert text.data.raw == b"one\0two\0"
    assert decoded(made, "numbers").data == (7, 8, 9)
    assert decoded(made, "octets").data == b"\x07\x08\x09"
    assert decoded(made, "pairs").data == ((ord("a"), 1), (ord("b"), 2))
    for name in ("text", "octets", "pairs", "numbers"):
        own = codec_of(made, name)
        raw = made.variable(name)
        assert own.encode(own.decode(raw)) == raw
        assert own.encode(raw) == raw

    numbers = codec_of(made, "numbers")
    raw = made.variable("numbers")
    assert numbers.size == 16
    assert numbers.decode(raw[:21]).data == (7, 8)  # what is left over is no whole number
    assert numbers.decode(raw[:12]).data == ()  # the record may end where the array begins
    assert len(numbers.encode({"data": ()})) == 16
    assert len(numbers.encode({"data": range(5)})) == 32
    assert numbers.decode(b"1234" + raw, 4) == numbers.decode(raw)
    with pytest.raises(ValueError, match="numbers: 11 bytes are too few for its 12"):
        numbers.decode(raw[:11])
    with pytest.raises(ValueError, match=r"numbers.data: 5 bytes are no whole number of u32"):
        numbers.encode({"data": b"12345"})


def test_flexible_array_inside_another_struct_is_empty(made):
    outer = decoded(made, "outer")
    assert outer.inner.n == 1
    assert outer.inner.data == ()
    assert outer.after == 7
    assert codec_of(made, "outer").encode(outer) == made.variable("outer")


def test_any_member_name(made):
    value = decoded(made, "keywords")
    assert [getattr(value, name) for name in ("class", "def", "count", "index", "_fields", "raw")] == [1, 2, 3, 4, 5, 7]
    assert to_plain(value)["__codec__"] == 6
    assert repr(value) == "keywords(class=1, def=2, count=3, index=4, _fields=5, __codec__=6, raw=7)"
    assert value._replace(count=9).count == 9


def test_values_behave(made):
    event = decoded(made, "event")
    assert isinstance(event, StructValue)
    assert repr(event.inner) == "inner(letter=120, number=-300)"
    assert "comm='bash', mac=b'\\x01\\x02\\x03\\xfd\\xfe\\xff', ok=True, action=XDP_PASS" in repr(event)
    assert {event: 1}[decoded(made, "event")] == 1  # a key of dicts
    assert event != event._replace(pid=1)
    assert event._replace(pid=1).pid == 1
    assert copy.deepcopy(event) == copy.copy(event) == event
    with pytest.raises(AttributeError):
        event.pid = 5
    with pytest.raises(AttributeError):
        event.nothing  # noqa: B018
    with pytest.raises(ValueError, match="event has no member 'pidd'; near names: pid"):
        event._replace(pidd=1)


def test_to_plain_is_what_json_writes(made):
    plain = to_plain(decoded(made, "event"))
    assert json.loads(json.dumps(plain)) == plain
    assert plain["comm"] == "bash"
    assert type(plain["comm"]) is str
    assert plain["mac"] == [1, 2, 3, 253, 254, 255]
    assert plain["action"] == "XDP_PASS"
    assert plain["pairs"] == [{"letter": 97, "number": 1}, {"letter": 98, "number": 2}]
    assert to_plain(7) == 7
    own = codec_of(made, "action")
    assert to_plain(own.decode(own.encode(9))) == 9


def test_enum_constants(made):
    own = codec_of(made, "action")
    value = own.decode(own.encode("XDP_PASS"))
    assert value == 2
    assert value == own.decode(own.encode("ALIAS"))
    assert (str(value), repr(value), f"{value}", f"{value:>9}", f"{value:d}", f"{value:#x}", str(int(value))) == (
        "XDP_PASS",
        "XDP_PASS",
        "XDP_PASS",
        " XDP_PASS",
        "2",
        "0x2",
        "2",
    )
    assert json.dumps(value) == "2"
    unnamed = own.decode(own.encode(77))
    assert unnamed.name is None
    assert (str(unnamed), unnamed) == ("77", 77)
    assert copy.deepcopy(value).name == "XDP_PASS"


def test_text_with_bytes_that_are_no_text():
    text = CharArray(b"caf\xc3\xa9 \xff\xfe\0junk")
    assert text == "café \\xff\\xfe"
    assert text.raw == b"caf\xc3\xa9 \xff\xfe\0junk"
    assert text.encode()  # printing it cannot fail
    assert copy.deepcopy(text).raw == text.raw
    assert CharArray(b"full") == "full"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"pid": 70000000000}, ValueError, "event.pid: 70000000000 does not fit in u32"),
        ({"pid": -1}, ValueError, "event.pid: -1 does not fit in u32"),
        ({"ret": 1 << 31}, ValueError, "event.ret: 2147483648 does not fit in int"),
        ({"pid": "1"}, TypeError, "event.pid: '1' is no integer"),
        ({"pid": 1.0}, TypeError, "event.pid: 1.0 is no integer"),
        ({"pid": b"123"}, ValueError, "event.pid: 3 bytes, and u32 has 4"),
        ({"huge": 1 << 127}, ValueError, "event.huge: .* does not fit in __int128"),
        ({"tiny": 256}, ValueError, "event.tiny: 256 does not fit in tiny"),
        ({"action": "XDP_PAS"}, ValueError, "event.action: action has no 'XDP_PAS'; near names: XDP_PASS"),
        ({"ok": 2}, ValueError, "event.ok: 2 is neither"),
        ({"ratio": 1e300}, ValueError, "event.ratio: 1e.300 does not fit in float"),
        ({"ratio": "x"}, TypeError, "event.ratio: 'x' is no number"),
        ({"comm": "x" * 17}, ValueError, r"event.comm: 17 bytes, and char\[16\] has 16"),
        ({"comm": 5}, TypeError, "event.comm: 5 is no sequence"),
        ({"mac": b"12345"}, ValueError, "event.mac: 5 bytes, and .* has 6"),
        ({"mac": "123456"}, TypeError, "event.mac: '123456' is no sequence"),
        ({"counts": [1, 2]}, ValueError, r"event.counts: 2 elements, and the type is short\[3\]"),
        ({"counts": [1, 2, 40000]}, ValueError, r"event.counts\[2\]: 40000 does not fit in short"),
        ({"pairs": [{}, {"number": 40000}]}, ValueError, r"event.pairs\[1\].number: 40000 does not fit in short"),
        ({"grid": [[1, 2, 3], [4, 5]]}, ValueError, r"event.grid\[1\]: 2 elements, and the type is int\[3\]"),
        ({"letter": "ab"}, TypeError, "event.letter: 'ab' is no integer"),
        ({"nothing": 1}, ValueError, "event: event has no member 'nothing'"),
        ([1, 2], ValueError, "event: 2 members, and event has 22"),
        (5, TypeError, "event: 5 is no dict"),
        (b"123", ValueError, "event: 3 bytes, and event has"),
    ],
)
def test_what_cannot_be_encoded_names_the_member(made, value, error, message):
    with pytest.raises(error, match=message):
        codec_of(made, "event").encode(value)


def test_convenient_values_encode(made):
    own = codec_of(made, "event")
    value = own.decode(own.encode({"letter": "x", "comm": b"raw\0bytes", "names": ["a", b"bcde"], "ok": 1, "ratio": 2}))
    assert (value.letter, value.comm.raw[:9], value.names, value.ok, value.ratio) == (
        ord("x"),
        b"raw\0bytes",
        ("a", "bcde"),
        True,
        2.0,
    )
    not_utf8 = b"\xff\xfe".decode("utf-8", "surrogateescape")  # as os.fsdecode gives it
    assert own.decode(own.encode({"comm": not_utf8})).comm.raw.rstrip(b"\0") == b"\xff\xfe"


def test_short_buffers(made):
    for name in ("event", "bits", "unions", "number", "title"):
        raw = made.variable(name)
        with pytest.raises(ValueError, match=f"{len(raw) - 1} bytes are too few for its {len(raw)}"):
            codec_of(made, name).decode(raw[:-1])
        with pytest.raises(ValueError, match="0 bytes are too few"):
            codec_of(made, name).decode(raw, len(raw) + 5)


def test_codecs_are_made_once(made):
    (event,) = made.btf.find("event", types.Struct)
    assert codec(made.btf, event) is codec(made.btf, event) is codec_of(made, "event")
    (numbers,) = made.btf.find("numbers", types.Struct)
    assert codec(made.btf, numbers) is codec_of(made, "numbers")


# -- BTF by hand: what clang does not write ----------------------------------------------------------------------


def test_bit_fields_of_btf_without_kind_flag():
    """Old pahole described a bit field by an integer with fewer bits than its size has."""
    a = Assembler()
    three = a.int("unsigned int", 4, signed=False, bits=3)
    five = a.int("int", 4, bits=5, offset=1)
    plain = a.int("int")
    bits = a.struct("bits", 8, ("three", three, 0), ("five", five, 3), ("unaligned", plain, 12))
    own = codec(a.btf(), bits)
    raw = (0b101 | (0b10001 << 4) | (-2 & 0xFFFFFFFF) << 12).to_bytes(8, "little")
    assert own.decode(raw) == (5, -15, -2)
    assert own.encode((5, -15, -2)) == raw


def test_data_section_is_a_struct_of_its_variables():
    a = Assembler()
    a.int("int")
    a.add(VAR, "first", 1, 1)
    a.add(VAR, "second", 1, 1)
    section = a.add(DATASEC, ".bss", 12, 2, 0, 4, 3, 8, 4, vlen=2)
    value = codec(a.btf(), section).decode(struct.pack("<3i", 1, -1, 2))
    assert (value.first, value.second) == (1, 2)


def test_odd_numbers():
    a = Assembler(">")
    three_bytes = a.int("s24", 3)
    wide_bool = a.int("bool", 4, signed=False, flags=4)
    half, extended = a.add(FLOAT, "_Float16", 2), a.add(FLOAT, "long double", 16)
    pointer = a.add(PTR, "", 0)
    btf = a.btf()
    assert codec(btf, three_bytes).decode(b"\xff\xff\xfe") == -2
    assert codec(btf, three_bytes).encode(-2) == b"\xff\xff\xfe"
    assert codec(btf, wide_bool).decode(b"\0\0\1\0") is True
    assert codec(btf, half).decode(struct.pack(">e", 1.5)) == 1.5
    assert codec(btf, extended).decode(bytes(range(16))) == bytes(range(16))
    assert codec(btf, extended).encode(bytes(16)) == bytes(16)
    with pytest.raises(TypeError, match="long double"):
        codec(btf, extended).encode(1.0)
    assert codec(btf, pointer).encode(1) == bytes(7) + b"\1"


def test_zero_sized_elements_take_no_time():
    a = Assembler()
    empty = a.struct("empty", 0)
    array = a.array(empty, 0xFFFFFFFF, index=0)
    own = codec(a.btf(), array)
    assert own.decode(b"") == ()
    assert own.encode(()) == b""


def malformed():
    yield "void", lambda a: 0, "void has no values"
    yield "function", lambda a: a.add(FUNC_PROTO), "FUNC_PROTO has no values"
    yield "forward", lambda a: a.add(FWD, "later"), "FWD has no values"
    yield "array of void", lambda a: a.array(0, 1, index=0), "void has no size"
    yield "integer of 17 bytes", lambda a: a.int("i", 17), "a number of 17 bytes"
    yield "integer without bytes", lambda a: a.int("i", 0), "a number of 0 bytes"
    yield "enum of 3 bytes", lambda a: a.add(ENUM, "e", 3), "a number of 3 bytes"
    yield "float of 3 bytes", lambda a: a.add(FLOAT, "f", 3), "a number of 3 bytes"
    yield "bool of 3 bytes", lambda a: a.int("b", 3, flags=4), "a number of 3 bytes"
    yield "circle of typedefs", lambda a: a.add(TYPEDEF, "t", 1), "circle"
    yield "variable of its own type", lambda a: a.add(VAR, "v", 1, 0), "deeply"
    yield "array of itself", lambda a: a.array(1, 1, index=0), "circle"
    yield "struct in itself", lambda a: a.struct("s", 4, ("s", 1, 0)), "containing themselves"
    yield "anonymous struct in itself", lambda a: a.struct("s", 4, ("", 1, 0), ("", 1, 0)), "containing themselves"
    yield "array of 16 GiB", lambda a: a.array(a.int(), 0xFFFFFFFF), "4 GiB"
    yield "member past the end", lambda a: a.struct("s", 4, ("m", a.int(), 8)), "ends at byte 5 of 4"
    yield (
        "bit field past the end",
        lambda a: a.struct("s", 4, ("m", a.int(), 20 << 24 | 20), kind_flag=1),
        "byte 5 of 4",
    )
    yield "bit field wider than its type", lambda a: a.struct("s", 8, ("m", a.int(), 33 << 24), kind_flag=1), "33 bits"
    yield (
        "bit field of an array",
        lambda a: a.struct("s", 8, ("m", a.array(a.int(), 1), 3 << 24), kind_flag=1),
        "3 bits",
    )
    yield "struct at an odd bit", lambda a: a.struct("s", 8, ("m", a.struct("t", 4), 3)), "bit 3"
    yield "two members of one name", lambda a: a.struct("s", 8, ("m", a.int(), 0), ("m", 1, 32)), "two members 'm'"
    yield "pointer to nowhere in a member", lambda a: a.struct("s", 8, ("m", 99, 0)), "refers to type 99"


@pytest.mark.parametrize(("make", "message"), [pytest.param(m, text, id=name) for name, m, text in malformed()])
def test_malformed_types_have_no_codec(make, message):
    a = Assembler()
    type_id = make(a)
    with pytest.raises(ObjectFormatError, match=message):
        codec(a.btf(), type_id)


def test_anonymous_members_do_not_double_with_depth():
    a = Assembler()
    inner = a.struct("", 0)
    for _ in range(60):
        inner = a.struct("", 0, ("", inner, 0), ("", inner, 0))
    with pytest.raises(ObjectFormatError, match="too many"):
        codec(a.btf(), inner)


def overlapping(depth, kind):
    a = Assembler()
    inner = a.int()
    for level in range(depth):
        inner = a.struct(f"s{level}", 4, ("a", inner, 0), ("b", inner, 0), kind=kind)
    return codec(a.btf(), inner)


@pytest.mark.parametrize("kind", [STRUCT, UNION])
def test_overlapping_members_do_not_double_with_depth(kind):
    value = overlapping(8, kind).decode(bytes(4))
    assert value.a.b.a.b == value.b.b.a.b
    assert str(to_plain(value)).count("'a': 0") == 128
    with pytest.raises(ObjectFormatError, match="overlap"):
        overlapping(60, kind)


def test_static_variables_of_one_name():
    """Two source files, linked into one object, have each their own; the first keeps the name."""
    made = Assembler()
    number = made.int()
    names = ["own", "own", "own_2", "own"]
    variables = [made.add(VAR, name, number, 0) for name in names]
    words = [word for place, id in enumerate(variables) for word in (id, 4 * place, 4)]
    section = made.add(DATASEC, ".data", 16, *words, vlen=4)
    value = codec(made.btf(), section).decode(struct.pack("<4i", 5, 6, 7, 8))
    assert to_plain(value) == {"own": 5, "own_2": 6, "own_2_2": 7, "own_3": 8}
