"""Damaged types: those of an object, of a kernel, and of a kernel's modules, through the planner with CO-RE.

The damage knows BTF and .BTF.ext (Documentation/bpf/btf.rst): types that refer to themselves, to each other in a circle
or in a long chain, and to ids that do not exist; counts and lengths beyond the section; names without an end; records
of other kinds; and records of .BTF.ext for instructions, types and accesses that are not there.

How many cases, cases.py says; the limits for each are those of limits.py.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from pathlib import Path

from cases import CASES, NUMBERS, POSITIONS, Outcomes
from elf_image import ElfImage, build
from hypothesis import strategies as st
from limits import go_through, use

import purebpf
from purebpf.btf import types as btf_types
from purebpf.btf.reader import Btf
from purebpf.btf.writer import write

ROOT = Path(__file__).parents[2]
LARGEST = 8000  # bytes of an object; larger ones have no more kinds of records
PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, RESTRICT = 2, 3, 4, 5, 6, 8, 9, 10, 11
FUNC, FUNC_PROTO, VAR, DATASEC, DECL_TAG, TYPE_TAG, ENUM64 = 12, 13, 14, 15, 17, 18, 19
SHORT = (PTR, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, TYPE_TAG, 7, 16)  # records of three words; with FWD and FLOAT

# By kind, the words of a record that refer to types; and of its elements, how many words and which of them do.
REFERENCES = dict.fromkeys((PTR, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DECL_TAG, TYPE_TAG), (2,))
REFERENCES[ARRAY] = (3, 4)
EXTRA = {1: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}
ELEMENTS = {STRUCT: (3, 1), UNION: (3, 1), ENUM: (2, None), FUNC_PROTO: (2, 1), DATASEC: (3, 0), ENUM64: (3, None)}


class Types:
    """Where everything is in a BTF blob that begins at ``start``; ``first_id`` is that of its first type."""

    def __init__(self, data, start=0, first_id=1):
        types, types_size, strings, strings_size = struct.unpack_from("<4I", data, start + 8)
        self.header = [start + offset for offset in (0, 4, 8, 12, 16, 20)]
        self.first_id = first_id
        self.records = []  # position and kind of each
        self.references, self.names, self.numbers = [], [], []  # (position, id of the record) each
        position = start + 24 + types
        while position < start + 24 + types + types_size:
            info = struct.unpack_from("<I", data, position + 4)[0]
            kind, count = info >> 24 & 0x1F, info & 0xFFFFFF
            self._add(position, kind, count if kind in ELEMENTS else 0)
            size, _ = ELEMENTS.get(kind, (0, None))
            position += 4 * (3 + EXTRA.get(kind, 0) + size * (count if size else 0))
        first = start + 24 + strings
        self.strings = range(first, first + strings_size)
        self.ends = [at for at in self.strings if data[at] == 0]

    def _add(self, position, kind, count):
        type_id = self.first_id + len(self.records)
        self.records.append((position, kind))
        head = 3 + EXTRA.get(kind, 0)
        references = [position + 4 * word for word in REFERENCES.get(kind, ())]
        names = [position]
        numbers = [position + 4 * word for word in range(2, head)]
        size, reference = ELEMENTS.get(kind, (0, None))
        for element in range(position + 4 * head, position + 4 * (head + size * count), 4 * max(size, 1)):
            words = [element + 4 * word for word in range(size)]
            numbers += words[1:]
            if reference is not None:
                references.append(words[reference])
            if reference != 0:
                names.append(words[0])
        self.references += [(at, type_id) for at in references]
        self.names += [(at, type_id) for at in names]
        self.numbers += [(at, type_id) for at in numbers]

    @property
    def end(self):
        return self.first_id + len(self.records)


class Ext:
    """Where everything is in a .BTF.ext section."""

    def __init__(self, data, start):
        self.header = [start + offset for offset in (0, 4, *range(8, 32, 4))]
        tables = struct.unpack_from("<6I", data, start + 8)
        self.sizes, self.runs, self.records = [], [], []
        for offset, size in zip(tables[::2], tables[1::2], strict=True):
            position, end = start + 32 + offset, start + 32 + offset + size
            if not size:
                continue
            self.sizes.append(position)
            (record_size,) = struct.unpack_from("<I", data, position)
            position += 4
            while position < end:
                self.runs += [position, position + 4]
                (count,) = struct.unpack_from("<I", data, position + 4)
                position += 8 + count * record_size
                self.records += range(position - count * record_size, position, 4)


# Damage: functions of a seed, its bytes, two numbers that choose, and one that hurts


def put(data, position, value):
    if position + 4 <= len(data):
        struct.pack_into("<I", data, position, value & 0xFFFFFFFF)


def get(data, position):
    return struct.unpack_from("<I", data, position)[0] if position + 4 <= len(data) else 0


def pick(items, number):
    return items[number % len(items)]


def refer(types, data, first, second, number):
    """To itself, to its neighbours, to what does not exist, or to any type."""
    position, own = pick(types.references, first)
    others = (own, own - 1, own + 1, types.end, types.end - 1, types.first_id - 1, 0xFFFFFFFF, number % types.end)
    put(data, position, pick(others, second))


def circle(types, data, first, second, number):
    """Two types refer to each other."""
    (one, one_id), (other, other_id) = pick(types.references, first), pick(types.references, second)
    put(data, one, other_id)
    put(data, other, one_id)


def chain(types, data, first, second, number):
    """All short records become of one kind, or of two in turn, and each refers to the next one."""
    kinds = pick(SHORT, first), pick(SHORT, second)
    short = [place for place, (_, kind) in enumerate(types.records) if kind in SHORT]
    for turn, (place, following) in enumerate(zip(short, [*short[1:], *short[:1]], strict=True)):
        position, _ = types.records[place]
        put(data, position + 4, kinds[turn % 2] << 24)
        put(data, position + 8, types.first_id + following if number % 2 else types.first_id + place + 1)


def contain(types, data, first, second, number):
    """Members become anonymous ones of a struct or union, perhaps that of which they are members."""
    composites = [at for at, (_, kind) in enumerate(types.records) if kind in (STRUCT, UNION)]
    if composites:
        position, _ = types.records[pick(composites, first)]
        inside = types.first_id + pick(composites, second)
        for member in range(min(get(data, position + 4) & 0xFFFFFF, number % 4)):
            put(data, position + 12 + 12 * member, 0)
            put(data, position + 16 + 12 * member, inside)


def count(types, data, first, second, number):
    position, _ = pick(types.records, first)
    info = get(data, position + 4)
    counts = (info + 1, info - 1, 0, 0xFFFF, 0xFFFFFF, number)
    put(data, position + 4, info & 0xFF000000 | pick(counts, second) & 0xFFFFFF)


def change_kind(types, data, first, second, number):
    position, _ = pick(types.records, first)
    put(
        data,
        position + 4,
        get(data, position + 4) & 0x80FFFFFF | pick((second % 21, 31, 127, number % 128), number) << 24,
    )


def flag(types, data, first, second, number):
    position, _ = pick(types.records, first)
    put(data, position + 4, get(data, position + 4) ^ 1 << 31)


def name(types, data, first, second, number):
    position, _ = pick(types.names, first)
    size = len(types.strings)
    old, other = get(data, position), get(data, pick(types.names, second)[0])
    put(data, position, pick((other, old + 1, size, size - 1, size + 1, 0, 0xFFFFFFFF, number), second + number))


def endless(types, data, first, second, number):
    """Names run into the next ones, the last one out of the section."""
    chosen = (types.ends[-1:], types.ends, types.ends[first % len(types.ends) :][: second % 20])
    for position in pick(chosen, number):
        if position < len(data):
            data[position] = pick((0x41, 0xFF, 0x80, 0x5F), second)


def set_number(types, data, first, second, number):
    """A size, an offset, a number of elements, an encoding."""
    position, _ = pick(types.numbers, first)
    old = get(data, position)
    put(data, position, pick((number, old + 1, old - 1, old << 8, old ^ 1 << 31, 0xFFFFFFFF), second))


def header(part, data, first, second, number):
    position = pick(part.header, first)
    old = get(data, position)
    put(data, position, pick((number, old + 4, old - 4, old + 1, 0xFFFFFFFF - old, 0x7FFFFFFC), second))


def copy_record(types, data, first, second, number):
    """The words of one record over those of another, which may be of another length."""
    (source, _), (target, _) = pick(types.records, first), pick(types.records, second)
    data[target : target + 12] = data[source : source + 12]


def ext_size(ext, data, first, second, number):
    put(data, pick(ext.sizes, first), pick((0, 4, 7, 8, 12, 16, 20, 0xFFFFFFFC, number), second))


def ext_run(ext, data, first, second, number):
    position = pick(ext.runs, first)
    old = get(data, position)
    put(data, position, pick((old + 1, old - 1, 0, 0xFFFFFFFF, 0x10000000, number), second))


def ext_record(ext, data, first, second, number):
    position = pick(ext.records, first)
    old, other = get(data, position), get(data, pick(ext.records, second))
    put(data, position, pick((other, number, old + 8, old - 8, old + 1, number % 16, 0xFFFFFFFF), second + number))


OF_TYPES = [refer] * 4 + [circle, chain, contain, contain, count, count, change_kind, change_kind, flag, name, name]
OF_TYPES += [endless, set_number, set_number, set_number, header, copy_record, copy_record]
OF_EXT = [header, ext_size, ext_run, ext_record, ext_record, ext_record, ext_record]


@st.composite
def damage(draw):
    """A function of a seed and its bytes."""
    of_ext, which = draw(st.booleans()), draw(POSITIONS)
    return functools.partial(strike, of_ext, which, draw(POSITIONS), draw(POSITIONS), draw(NUMBERS))


def strike(of_ext, which, first, second, number, seed, data):
    if of_ext and seed.ext:
        pick(OF_EXT, which)(seed.ext, data, first, second, number)
        return
    types, action = pick(seed.types, first + second), pick(OF_TYPES, which)
    if types.references or action not in (refer, circle):  # those of a distilled base have none
        action(types, data, first, second, number)


# What is damaged


@functools.cache
def small_objects():
    """The files of small objects with types, and what they parse to, all programs to be loaded."""
    found = []
    for path in sorted([*ROOT.glob("prebuilt/*.bpf.o"), *ROOT.glob("tests/objects/*.bpf.o")]):
        data = path.read_bytes()
        with contextlib.suppress(purebpf.ObjectFormatError):  # some are there to be refused
            spec = purebpf.parse(data)
            if len(data) <= LARGEST and spec.btf and spec.btf_ext:
                for program in spec.programs.values():
                    program.autoload = True
                found.append((ElfImage(data), spec))
    return found


class ObjectSeed:
    """An object, and a kernel that has all types and symbols that it asks for."""

    def __init__(self, image, spec):
        self.data = bytes(image)
        self.types = [Types(image.data, image.content_at(".BTF")[0])]
        self.ext = Ext(image.data, image.content_at(".BTF.ext")[0])
        self.facts = facts_for(spec, btf=image.content(".BTF"))


def facts_for(spec, **files):
    config = "".join(f"{name}=1\n" for name in spec.externs).encode()
    symbols = dict.fromkeys(spec.externs, 0xFFFFFFFF81000000)
    return purebpf.KernelFacts.offline(release="6.1.0", config=config, symbols=symbols, **files)


def test_damaged_types_of_objects(capsys):
    seeds = [ObjectSeed(image, spec) for image, spec in small_objects()]
    outcomes = Outcomes()
    outcomes.run(seeds, lambda data, seed: go_through(data, seed.facts), CASES or 600, damage())
    outcomes.report("objects with damaged types", capsys)
    assert outcomes["loadable"] > outcomes.total() / 20


class KernelSeed:
    """The types of a kernel, bare or in an ELF file, and an object that is relocated to them.

    They are read by the same code whether they are the kernel's own or given in their place (``core_btf``).
    """

    ext = None

    def __init__(self, image, spec, in_elf):
        content = image.content(".BTF")
        self.data = build([(".BTF", content, {})]) if in_elf else content
        start = ElfImage(self.data).content_at(".BTF")[0] if in_elf else 0
        self.types = [Types(self.data, start)]
        self.spec = spec

    def plan(self, data):
        return use(self.spec.plan(facts_for(self.spec, btf=data)))


def test_damaged_types_of_kernels(capsys):
    needy = [(image, spec) for image, spec in small_objects() if spec.btf_ext.core_relos]
    seeds = [KernelSeed(image, spec, in_elf) for image, spec in needy for in_elf in (False, True)]
    outcomes = Outcomes()
    outcomes.run(seeds, lambda data, seed: seed.plan(data), CASES // 4 or 300, damage())
    outcomes.report("damaged types of kernels", capsys)
    assert outcomes["loadable"] > outcomes.total() / 20


class ModuleSeed:
    """The types of a module, all those of an object; the kernel has but a few; and the object, which needs them.

    Bare, as a build together with the kernel makes them, or in a file with a base of its own: ``.BTF.base``.
    """

    ext = None

    def __init__(self, image, spec, has_base):
        self.spec = spec
        self.kernel = write(named_types(first_id=2, members=(("x", 2), ("y", 2))), byteorder="little")
        base = write(named_types(first_id=1, members=()), byteorder="little") if has_base else self.kernel
        bare = as_split(image.content(".BTF"), Btf.from_bytes(base))
        if not has_base:
            self.data, self.types = bare, [Types(bare)]
            return
        self.data = build([(".BTF", bare, {}), (".BTF.base", base, {})])
        file = ElfImage(self.data)
        self.types = [Types(self.data, file.content_at(name)[0]) for name in (".BTF", ".BTF.base")]

    def plan(self, data):
        return use(self.spec.plan(facts_for(self.spec, btf=self.kernel, modules={"module": data})))


def named_types(first_id, members):
    """One type of each kind that a distilled base can have, where they have no members; ``first_id - 1`` go before."""
    ids = iter(range(first_id, first_id + 7))
    inside = tuple(btf_types.Member(name, type_id, 32 * place, 0) for place, (name, type_id) in enumerate(members))
    return [
        *(btf_types.Typedef(type_id, "unrelated", first_id) for type_id in range(1, first_id)),
        btf_types.Int(next(ids), "int", 4, True, False, False, 0, 32),
        btf_types.Int(next(ids), "long", 8, True, False, False, 0, 64),
        btf_types.Enum(next(ids), "colour", 4, False, ()),
        btf_types.Struct(next(ids), "point", 8, inside),
        btf_types.Union(next(ids), "either", 8, inside),
        btf_types.Fwd(next(ids), "opaque", False),
        btf_types.Float(next(ids), "double", 8),
    ]


def as_split(data, base):
    """All types of a BTF, as they are on a base that they share an ``int`` with."""
    data, types, own = bytearray(data), Types(data), Btf.from_bytes(data)
    shared = {type_id: base.find("int")[0] for type_id in own.find("int", btf_types.Int)}
    for position, _ in types.references:
        old = get(data, position)
        put(data, position, shared.get(old, old and old + len(base) - 1))
    for position, _ in types.names:
        put(data, position, get(data, position) and get(data, position) + len(base.strings))
    return bytes(data)


def test_damaged_types_of_modules(capsys):
    seeds = [ModuleSeed(image, spec, has_base) for image, spec in small_objects() for has_base in (False, True)]
    outcomes = Outcomes()
    outcomes.run(seeds, lambda data, seed: seed.plan(data), CASES // 4 or 300, damage())
    outcomes.report("damaged types of modules", capsys)
    assert outcomes["loadable"] > outcomes.total() / 20
