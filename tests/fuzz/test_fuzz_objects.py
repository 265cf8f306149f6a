"""Damaged objects through the whole pure path: parse, plan, print the plan, and fill in the attributes of each call.

Whatever the bytes, only the documented errors may come out, after a second and 200 MB at the most.  Some of the damage
is blind (bits, words, ranges); most of it knows the format and strikes at fields: of the ELF header, of section
headers, symbols and relocations, of BTF and .BTF.ext records, of map definitions, of instructions.

How many cases, cases.py says.  The memory limit is the kernel's: RLIMIT_DATA.
"""

from __future__ import annotations

import collections
import functools
import struct
from pathlib import Path

from cases import CASES, NUMBERS, POSITIONS, Outcomes
from elf_image import EHDR, REL, SHDR, SHF_EXECINSTR, SHT_REL, SYM, ElfImage, build
from hypothesis import strategies as st
from limits import go_through

import purebpf

ROOT = Path(__file__).parents[2]


# The undamaged objects, and where their fields are


def big_endian_object():
    """None of the compiled objects is one."""
    exit, call = bytes.fromhex("b700000000000000 9500000000000000"), bytes.fromhex("8501000000000000")
    load = bytes.fromhex("1810000000000000 0000000000000000")
    rel = struct.pack(">QQQQ", 0, 3 << 32 | 1, 16, 4 << 32 | 10)
    sections = [
        ("tracepoint/a/b", load + call + exit, {"flags": SHF_EXECINSTR}),
        (".reltracepoint/a/b", rel, {"type": 9, "link": 8, "info": 1, "entsize": 16}),
        (".text", exit, {"flags": SHF_EXECINSTR}),
        (".data", bytes(8), {}),
        ("maps", struct.pack(">5I", 1, 4, 8, 16, 0), {}),
        ("license", b"GPL\0", {}),
    ]
    symbols = [("prog", 1, 0, 40, 2, 1), ("v", 4, 0, 8, 1, 1), ("m", 5, 0, 20, 1, 1), ("f", 3, 0, 16, 2, 1)]
    return build(sections, symbols, order=">")


class Seed:
    """An object, the kernel facts to plan it for, and its fields as (position, size in bytes), by what they are."""

    def __init__(self, name, data):
        self.name = name
        self.data = data
        image = ElfImage(data)
        # Where a program needs the kernel's types, those of its own object are some that it finds.
        self.facts = purebpf.KernelFacts.offline(
            release="6.1.0", btf=btf_of(image), byteorder="little" if image.order == "<" else "big"
        )
        fields = collections.defaultdict(list)
        for kind, position, size in fields_of(image):
            fields[kind].append((position, size))
        self.fields = list(fields.values())


def fields_of(image):
    """(what it is, position, size in bytes) of each field."""
    yield from record("ELF header", 0, EHDR)
    for position in image.symbols():
        yield from record("symbol", position, SYM)
    for position in image.sections():
        yield from record("section", position, SHDR)
        start, size = (image.get(position, SHDR, name) for name in ("offset", "size"))
        name, kind = image.section_name(position), image.get(position, SHDR, "type")
        if kind == SHT_REL and "BTF" not in name:
            for at in range(start, start + size, 16):
                yield from record("relocation", at, REL)
        elif image.get(position, SHDR, "flags") & SHF_EXECINSTR:
            for at in range(start, start + size, 8):
                yield from record("instruction", at, INSN)
        elif name in ("maps", ".maps", "version"):
            yield from words(name, start, size // 4)
        elif name == ".BTF":
            yield from btf_fields(image, start)
        elif name == ".BTF.ext":
            yield from words("ext", start, 8, 8)
            tables = struct.unpack_from(image.order + "6I", image.data, start + 8)
            for what, offset, size in zip(("functions", "lines", "CO-RE"), tables[::2], tables[1::2], strict=True):
                yield from words(what, start + 32 + offset, size // 4, 4)


INSN = {"opcode": (0, "B"), "registers": (1, "B"), "off": (2, "H"), "imm": (4, "I")}
BTF_HEADER = {"magic": (0, "H"), "version": (2, "B"), "flags": (3, "B"), "header size": (4, "I")}
BTF_HEADER |= {"types": (8, "I"), "types size": (12, "I"), "strings": (16, "I"), "strings size": (20, "I")}
# Words of a BTF record after struct btf_type, and of each of its elements, by kind; none where not listed.
BTF_EXTRA, BTF_ELEMENT = {1: 1, 3: 3, 14: 1, 17: 1}, {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}


def record(what, position, fields):
    for name, (offset, kind) in fields.items():
        yield f"{what} {name}", position + offset, struct.calcsize("=" + kind)


def words(what, start, count, several=1):
    """``several`` words make up a record."""
    for number in range(count):
        yield f"{what} {number % several}", start + 4 * number, 4


def btf_fields(image, start):
    yield from record("BTF", start, BTF_HEADER)
    types, size = struct.unpack_from(image.order + "II", image.data, start + 8)
    position = start + 24 + types
    end = position + size
    while position < end:
        info = struct.unpack_from(image.order + "I", image.data, position + 4)[0]
        kind, count = info >> 24 & 0x1F, info & 0xFFFF if info >> 24 & 0x1F in BTF_ELEMENT else 0
        extra, element = BTF_EXTRA.get(kind, 0), BTF_ELEMENT.get(kind, 0)
        yield from words(f"BTF kind {kind}", position, 3 + extra, 3 + extra)
        yield from words(f"BTF element of kind {kind}", position + 12 + 4 * extra, count * element, max(1, element))
        position += 12 + 4 * (extra + count * element)


def btf_of(image):
    names = [image.section_name(position) for position in image.sections()]
    return image.content(".BTF") if ".BTF" in names else None


@functools.cache
def seeds():
    """The small ones first: they are what a failure shrinks to."""
    paths = [*ROOT.glob("prebuilt/*.bpf.o"), *ROOT.glob("tests/objects/*.bpf.o")]
    found = [Seed(path.name, path.read_bytes()) for path in paths]
    found.append(Seed("big-endian", big_endian_object()))
    return sorted(found, key=lambda seed: len(seed.data))


# Damage

KINDS = st.sampled_from([*["field"] * 7, *["copy"] * 3, "bit", "bit", "word", "move", "fill", "insert", "truncate"])
LENGTHS = st.one_of(st.integers(1, 24), st.integers(1, 4096))


@st.composite
def damage(draw):
    """A function that damages the bytes of a seed."""
    kind = draw(KINDS)
    first, second = draw(POSITIONS), draw(POSITIONS)
    if kind == "field":
        return functools.partial(set_field, first, second, draw(NUMBERS), draw(st.booleans()))
    if kind == "copy":
        return functools.partial(copy_field, first, second, draw(POSITIONS))
    if kind == "bit":
        return functools.partial(flip_bit, first, second % 8)
    if kind == "word":
        return functools.partial(set_word, first, 1 << second % 4, draw(NUMBERS))
    if kind == "truncate":
        return functools.partial(truncate, first)
    if kind == "move":
        return functools.partial(copy_range, first, second, draw(LENGTHS))
    if kind == "insert":
        return functools.partial(insert_range, first, second, draw(LENGTHS))
    return functools.partial(fill_range, first, draw(LENGTHS), draw(st.sampled_from([0, 0xFF, 0x7F, 0x80, 0x41])))


def put(data, position, size, value, order):
    if position + size <= len(data):
        data[position : position + size] = (value & (1 << 8 * size) - 1).to_bytes(size, order)


def get(data, position, size, order):
    return int.from_bytes(data[position : position + size], order)


def byteorder(seed):
    """Kernel types are little-endian here."""
    return "big" if seed.data[5] == 2 and seed.data[:4] == b"\x7fELF" else "little"


def set_field(kind, which, value, relative, seed, data):
    fields = seed.fields[kind % len(seed.fields)]
    position, size = fields[which % len(fields)]
    if relative:
        value += get(data, position, size, byteorder(seed))
    put(data, position, size, value, byteorder(seed))


def copy_field(kind, source, target, seed, data):
    """A value that makes sense somewhere else."""
    fields = seed.fields[kind % len(seed.fields)]
    (source_at, size), (target_at, target_size) = fields[source % len(fields)], fields[target % len(fields)]
    put(data, target_at, target_size, get(data, source_at, size, byteorder(seed)), byteorder(seed))


def flip_bit(position, bit, seed, data):
    if data:
        data[position % len(data)] ^= 1 << bit


def set_word(position, size, value, seed, data):
    if data:
        put(data, position % len(data) // size * size, size, value, byteorder(seed))


def truncate(size, seed, data):
    del data[size % (len(data) + 1) :]


def copy_range(source, target, size, seed, data):
    if data:
        target %= len(data)
        part = data[source % len(data) :][:size]
        data[target : target + len(part)] = part


def insert_range(source, target, size, seed, data):
    """Everything behind moves, so what points there points somewhere else; the section headers are still found."""
    if len(data) >= 64:
        target %= len(data)
        part = data[source % len(data) :][:size]
        data[target:target] = part
        position, size = EHDR["shoff"][0], 8
        if 64 <= target <= get(data, position, size, byteorder(seed)):
            put(data, position, size, get(data, position, size, byteorder(seed)) + len(part), byteorder(seed))


def fill_range(start, size, byte, seed, data):
    if data:
        start %= len(data)
        data[start : start + size] = bytes([byte]) * len(data[start : start + size])


def test_damaged_objects(capsys):
    outcomes = Outcomes()
    outcomes.run(seeds(), lambda data, seed: go_through(data, seed.facts), CASES or 1000, damage())
    outcomes.report("damaged objects", capsys)
    # Damage that is found at once proves little: a good part has to come through to the end.
    assert outcomes["loadable"] > outcomes.total() / 10


def test_damaged_kernel_types(capsys):
    """The other file that a plan can depend on: a kernel's BTF, here that of the object's own types."""
    names = {path.name for path in ROOT.glob("prebuilt/*snoop.bpf.o")} - {"killsnoop.bpf.o"} | {
        "core_local.bpf.o",
        "core_kernel.bpf.o",
    }
    types = [TypesSeed(seed) for seed in seeds() if seed.name in names]
    outcomes = Outcomes()
    outcomes.run(types, lambda data, seed: str(seed.plan(data)), CASES // 10 or 300, damage())
    outcomes.report("damaged types of the kernel", capsys)
    assert outcomes["loadable"] > outcomes.total() / 10


class TypesSeed:
    """The BTF of an object that has CO-RE relocations, as the thing to damage."""

    def __init__(self, seed):
        image = ElfImage(seed.data)
        start, _ = image.content_at(".BTF")
        self.data = image.content(".BTF")
        self.fields = [
            [(position - start, size) for position, size in fields if start <= position < start + len(self.data)]
            for fields in seed.fields
        ]
        self.fields = [fields for fields in self.fields if fields]
        self.spec = purebpf.parse(seed.data)
        assert self.spec.btf_ext.core_relos

    def plan(self, types):
        return self.spec.plan(purebpf.KernelFacts.offline(release="6.1.0", btf=types))
