"""Split BTF on another base: a module's types mean the same as before, and what the base lacks is named."""

from __future__ import annotations

import base64
import zlib

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
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    Assembler,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_btf_fuzz import mutated
from test_btf_printer import definitions, describe

from purebpf.btf import types
from purebpf.btf.reader import Btf
from purebpf.btf.relocate import relocate
from purebpf.errors import ObjectFormatError, PlanError

# -- a module made apart from its kernel ------------------------------------------------------------------------------


def kernel(order="<", more=0):
    """A base with all that a module may refer to; ``more`` types come before it, and the second struct grows."""
    a = Assembler(order)
    for i in range(more):
        a.struct(f"unrelated{i}", 0)
    made = a.made = {}
    number = made["number"] = a.int()
    made["letter"] = a.int("char", 1, flags=2)
    made["embedded"] = a.struct("embedded", 8, ("x", number, 0), ("y", number, 32))
    made["pointed"] = a.struct("pointed", 4 + 4 * more, ("x", number, 0))
    made["either"] = a.struct("either", 4, ("x", number, 0), kind=UNION)
    made["enum"] = a.add(ENUM, "colour", 4, "RED", 0, vlen=1)
    made["big"] = a.add(ENUM64, "big", 8, "E", 0, 1, vlen=1)
    made["forward"] = a.add(FWD, "opaque")
    made["real"] = a.add(FLOAT, "double", 8)
    made["nameless"] = a.struct("", 4, ("n", number, 0))
    for name in list(made):
        made["*" + name] = a.add(PTR, "", made[name])
    made["alias"] = a.add(TYPEDEF, "alias", made["*pointed"])
    made["text"] = a.array(made["letter"], 16, index=number)
    return a


def module(base):
    """Split BTF, in the order in which a distilled one has its own types; what it refers to is ``made`` by the base."""
    made = base.made
    a = Assembler(base.order, base=base)
    used = ["embedded", "*pointed", "*either", "enum", "big", "*forward", "real", "nameless", "alias", "text"]
    a.struct("module", 88, *(("abcdefghij"[i], made[name], 64 * i) for i, name in enumerate(used)))
    proto = a.add(FUNC_PROTO, "", made["number"], "x", made["*nameless"], vlen=1)
    function = a.add(FUNC, "work", proto, vlen=1)
    a.add(DECL_TAG, "bpf_kfunc", function, -1)
    variable = a.add(VAR, "variable", made["letter"], 1)
    a.add(DATASEC, ".data", 1, variable, 0, 1, vlen=1)
    return a


def distilled(order="<"):
    """The base that a build makes of ``kernel()``: named types without their members; the rest is the module's own."""
    a = Assembler(order)
    made = a.made = {}
    made["number"] = a.int()
    made["letter"] = a.int("char", 1, flags=2)
    made["embedded"] = a.struct("embedded", 8)
    made["pointed"] = a.struct("pointed", 4)
    made["either"] = a.struct("either", 4, kind=UNION)
    made["enum"] = a.add(ENUM, "colour", 4)
    made["big"] = a.add(ENUM, "big", 8)
    made["forward"] = a.add(FWD, "opaque")
    made["real"] = a.add(FLOAT, "double", 8)
    first = a.next_id + 6  # after the types of module(), which refer to these
    names = ["nameless", "*pointed", "*either", "*forward", "*nameless", "alias", "text"]
    made.update((name, first + i) for i, name in enumerate(names))
    return a


def distilled_module(base):
    made = base.made
    a = module(base)
    a.struct("", 4, ("n", made["number"], 0))
    for name in ("pointed", "either", "forward", "nameless"):
        a.add(PTR, "", made[name])
    a.add(TYPEDEF, "alias", made["*pointed"])
    a.array(made["letter"], 16, index=made["number"])
    return a


def own(btf):
    """What a module says, without ids."""
    found = [btf.type(type_id) for type_id in range(len(btf.base), len(btf))]
    named = {(type(each).__name__, each.name): describe(btf, each.id) for each in found if each.name}
    extra = {
        each.name: (describe(btf, each.type_id), getattr(each, "component_idx", None))
        for each in found
        if isinstance(each, types.Func | types.Var | types.DeclTag)
    }
    sections = [
        [(describe(btf, v.type_id), v.offset, v.size) for v in each.variables]
        for each in found
        if isinstance(each, types.Datasec)
    ]
    split = {key: value for key, value in definitions(btf).items() if key in named}
    return named, extra, sections, split


@pytest.mark.parametrize("order", ["<", ">"])
def test_module_means_the_same_on_its_kernel_and_on_another(order):
    base = distilled(order)
    btf = distilled_module(base).btf(base.btf())
    for more in (0, 1, 5):
        target = kernel(order, more)
        expected = own(module(target).btf(target.btf()))
        target_btf = target.btf()
        relocated = relocate(btf, target_btf)
        assert relocated.base is target_btf
        assert relocated.byteorder == btf.byteorder
        found = own(relocated)
        # The typedef of the base has become the module's own.
        assert found[0].pop(("Typedef", "alias")) == ("Typedef", "alias")
        assert found[3].pop(("Typedef", "alias")) == ("Ptr", ("Struct", "pointed"))
        assert found == expected
        assert relocated.size_of(relocated.find("pointed")[0]) == 4 + 4 * more


# btf__distill_base() of libbpf 1.7 made these of kernel() and module(): the base, and the module.
LIBBPF_BASE = (
    "c-lpZu?hk~3`A$~PQ^;Fv=KWCJ3GJT_BMD6r#YA1@9_iu2@?`<AelGAe7*rEn5y3$e+9Qrp6o*JS^F)p+F9;|ad6h{(YRMW8?Tiw&bq%EZ}i=a_u"
    "3=BD#mFjpl76%C}Cmg#3|Q_3Pzr}6~z1iFT=YL61O-Lekau!lK"
)
LIBBPF_MODULE = (
    "c-l>mT~5M46opTJ6i_Hs)Mr=V27EDUj4^}|Lrh<YnYI)wSeha~kM6{+upbwp=XxvjCf}UXJ7?~6zP>G7K<mL$Zn3W`as;>m^@ccQ|Bm?Nn%t8U@+m"
    "XOA=#2gQj;)e_9$J+)Ay+j$<q(09m&%_QO_iA14GKW<ZZo=+bx1;a!La2HIJzyjrdJ2Kdgy<d$wkftG2~^*v<P_*QKs1y|Qe#;twjmUh(qp8})U6-"
    "*?Jq{LPfi`#fIG#xMvGA;uU9CU`}PHy&Tliz&i9d6_25EW*kZsR^0BjLnBZ1~W^|0>47kC4~"
)


def test_what_libbpf_distilled():
    data = [zlib.decompress(base64.b85decode(text)) for text in (LIBBPF_BASE, LIBBPF_MODULE)]
    base = Btf.from_bytes(data[0])
    btf = Btf.from_bytes(data[1], base=base)
    by_hand = distilled()
    assert own(btf) == own(distilled_module(by_hand).btf(by_hand.btf()))
    target = kernel(more=3)
    found = own(relocate(btf, target.btf()))
    assert found == own(relocate(distilled_module(by_hand).btf(by_hand.btf()), target.btf()))


# -- what may stand for what ------------------------------------------------------------------------------------------


def pair(add, *, embed=False):
    """A distilled base with one type besides int, and a module that points to it, or embeds it."""
    base = Assembler()
    base.int()
    wanted = add(base)
    a = Assembler(base=base)
    if embed:
        inner = a.add(TYPEDEF, "t", a.add(CONST, "", a.array(wanted, 2)))
        a.struct("own", 64, ("x", inner, 0))
    else:
        a.struct("own", 8, ("x", a.add(PTR, "", a.add(TYPE_TAG, "user", wanted)), 0))
    return a.btf(base.btf())


def target(*adds):
    """A kernel with these types from id 2 on."""
    a = Assembler()
    a.int()
    for add in adds:
        add(a)
    return a.btf()


def struct(name="s", size=4, kind_flag=0):
    return lambda a: a.struct(name, size, ("x", 1, 0), kind_flag=kind_flag)


def union(name="s", size=4):
    return lambda a: a.struct(name, size, ("x", 1, 0), kind=UNION)


def forward(name="s", kind_flag=0):
    return lambda a: a.add(FWD, name, kind_flag=kind_flag)


def enum(size=4):
    return lambda a: a.add(ENUM, "e", size)


def enum64(size=8):
    return lambda a: a.add(ENUM64, "e", size, "A", 1, 0, vlen=1)


def real(size=8):
    return lambda a: a.add(FLOAT, "double", size)


def number(name="long", **options):
    return lambda a: a.int(name, 8, **options)


@pytest.mark.parametrize(
    ("wanted", "there", "embed", "expected"),
    [
        (struct(), [struct()], False, 2),
        (struct(), [number("s"), struct("other"), struct()], False, 4),
        (struct(), [struct(size=400)], False, 2),  # grown, but only pointed at
        (
            struct(),
            [struct(size=400)],
            True,
            ".BTF builds on struct s of 4 bytes, and .BTF has no such type, only struct s of 400 bytes (type 2)",
        ),
        (struct(), [struct()], True, 2),
        (struct(), [struct(size=400), struct()], False, 3),  # of several, the one of this size
        (
            struct(),
            [struct(size=400), struct(size=8)],
            False,
            "only struct s of 400 bytes (type 2), struct s of 8 bytes",
        ),
        (
            struct(),
            [struct(), struct()],
            False,
            "has several that fit struct s of 4 bytes (type 2), struct s of 4 bytes (type 3)",
        ),
        (struct(), [struct(), union(size=8)], False, 2),
        (struct(), [forward()], False, 2),
        (struct(), [forward()], True, "has no such type, only fwd s (type 2)"),
        (struct(), [forward(), struct()], True, 3),
        (struct(), [struct(), forward()], True, "has several that fit struct s of 4 bytes (type 2), fwd s (type 3)"),
        (struct(), [lambda a: a.add(ENUM, "s", 4)], False, 2),  # libbpf does not look at the kind
        (struct(), [lambda a: a.add(ENUM, "s", 8)], False, "only enum s of 8 bytes"),
        (struct(), [], False, "builds on struct s of 4 bytes, and .BTF has no such type"),
        (struct(), [lambda a: a.add(TYPEDEF, "s", 1)], False, "has no such type, only typedef s (type 2)"),
        (union(), [union()], True, 2),
        (forward(), [forward()], False, 2),
        (forward(), [forward(kind_flag=1)], False, "builds on fwd s, and .BTF has no such type, only fwd s"),
        (forward(), [struct()], False, 2),
        (forward(), [struct(kind_flag=1)], False, "only struct s of 4 bytes"),
        (forward(), [union()], False, "only union s of 4 bytes"),
        (forward(kind_flag=1), [union()], False, "only union s of 4 bytes"),
        (enum(), [enum()], False, 2),
        (enum(), [enum(1)], False, "enum e of 4 bytes, and .BTF has no such type, only enum e of 1 bytes"),
        (enum(8), [enum64()], True, 2),
        (enum(), [enum64()], False, "only enum64 e of 8 bytes"),
        (real(), [real(4), real()], False, 3),
        (number(), [number()], False, 2),
        (
            number(),
            [number(signed=False)],
            False,
            "int long of 8 bytes, and .BTF has no such type, only int long of 8 bytes",
        ),
        (number(), [number("longer")], False, "has no such type"),
    ],
)
def test_match(wanted, there, embed, expected):
    btf, base = pair(wanted, embed=embed), target(*there)
    if isinstance(expected, str):
        with pytest.raises(PlanError) as raised:
            relocate(btf, base)
        assert expected in str(raised.value)
        return
    relocated = relocate(btf, base)
    member = relocated.type(relocated.find("own")[0]).members[0]
    found = relocated.innermost(member.type_id)
    assert (relocated.resolve(found.type_id) if isinstance(found, types.Ptr) else found).id == expected


# -- malformed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda a: a.struct("", 4), "type 2 .*BTF_KIND_STRUCT '' has no place in a distilled base"),
        (lambda a: a.add(TYPEDEF, "t", 1), "BTF_KIND_TYPEDEF 't' has no place"),
        (enum64(), "BTF_KIND_ENUM64 'e' has no place"),
    ],
)
def test_base_that_is_not_distilled(add, message):
    with pytest.raises(ObjectFormatError, match=message):
        relocate(pair(add), target(struct()))


def test_a_name_that_no_type_of_the_base_has():
    """Strings of a distilled base are the names of its types; libbpf knows no others."""
    base = Assembler()
    base.int()
    base.string("lost")
    a = Assembler(base=base)
    a.add(TYPEDEF, "", 1)
    data = bytearray(a.bytes())
    data[24:28] = (1 + len("int") + 1).to_bytes(4, "little")
    with pytest.raises(ObjectFormatError, match=r"type 2 .*string 5 of the distilled base is no type's name there"):
        relocate(Btf.from_bytes(bytes(data), base=base.btf()), target())


def test_split_btf_is_no_base():
    base = Assembler()
    base.int()
    split = Assembler(base=base)
    with pytest.raises(ObjectFormatError, match="these types are split BTF, and cannot be the base of others"):
        relocate(pair(struct()), split.btf(base.btf()))


def test_what_cannot_be_relocated_at_all():
    with pytest.raises(ObjectFormatError, match="no split BTF"):
        relocate(target(struct()), target(struct()))
    base = Assembler(">")
    base.int()
    with pytest.raises(ObjectFormatError, match="little-endian BTF, to be put on a big-endian base"):
        relocate(pair(struct()), base.btf())


BASE = distilled()
MODULE = distilled_module(BASE)
TARGET = kernel(more=2).btf()


@settings(max_examples=200, deadline=1000)
@given(st.just(BASE.bytes()) | mutated(BASE.bytes(), "<"), mutated(MODULE.bytes(), "<"))
def test_mutated(base, module):
    try:
        relocated = relocate(Btf.from_bytes(module, base=Btf.from_bytes(base)), TARGET)
    except (ObjectFormatError, PlanError):
        return
    relocated.validate()
