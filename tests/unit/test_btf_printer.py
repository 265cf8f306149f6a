"""The C printer: what clang makes of its headers, against the BTF printed, and against bpftool's header."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
import time
from collections import Counter
from typing import ClassVar

import pytest
from btf_making import (
    CONST,
    DATASEC,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    PTR,
    RESTRICT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOLATILE,
    Assembler,
    compile_c,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_btf_fuzz import mutated

from purebpf.btf import types
from purebpf.btf.printer import c_header
from purebpf.btf.reader import Btf
from purebpf.errors import ObjectFormatError

KERNEL_BTF = "/sys/kernel/btf/vmlinux"
needs_kernel_btf = pytest.mark.skipif(not os.path.exists(KERNEL_BTF), reason="needs /sys/kernel/btf/vmlinux")
needs_clang = pytest.mark.needs_tool("clang-19")


# -- helpers -------------------------------------------------------------------------------------------------------


def describe(btf, type_id):
    """A type as nested tuples without ids; what has a name stands for itself."""
    found = btf.type(type_id)
    kind = type(found).__name__
    match found:
        case types.Composite() if found.name:
            return (kind, found.name)
        case types.Composite():
            return (kind, found.size, members(btf, found))
        case types.Enumeration() if not found.name:
            return (kind, found.size, found.is_signed, found.values)
        case types.Int():
            return (kind, found.name, found.size)
        case types.Array():
            return (kind, found.nelems, describe(btf, found.type_id))
        case types.FuncProto():
            params = tuple((param.name, describe(btf, param.type_id)) for param in found.params)
            return (kind, describe(btf, found.type_id), params)
        case types.Ptr() | types.Const() | types.Volatile() | types.Restrict():
            return (kind, describe(btf, found.type_id))
        case types.TypeTag():
            return (kind, found.name, describe(btf, found.type_id))
        case _:
            return (kind, found.name)


def members(btf, found):
    """All members but the padding that the printer had to name."""
    return tuple(
        (member.name, member.bit_offset, member.bitfield_size, describe(btf, member.type_id))
        for member in found.members
        if not member.name.startswith("__padding") and not is_padding(btf, member)
    )


def is_padding(btf, member):
    found = btf.type(member.type_id)
    return not member.name and isinstance(found, types.Composite) and not members(btf, found)


def definitions(btf):
    """Everything that a header defines: (kind, name) to what it is."""
    made = {}
    for type_id in range(1, len(btf)):
        found = btf.type(type_id)
        key = type(found).__name__, found.name
        match found:
            case types.Composite() if found.name:
                made[key] = (found.size, members(btf, found))
            case types.Enumeration() if found.name:
                made[key] = (found.size, found.is_signed, found.values)
            case types.Typedef():
                made[key] = describe(btf, found.type_id)
    return made


def variables(btf):
    """A variable of each type that has a name, for clang to write BTF about it."""
    names = []
    for kind, name in definitions(btf):
        names.append(name if kind == "Typedef" else f"{kind.lower().removesuffix('64')} {name}")
    return "".join(f"{name} *variable{i};\n" for i, name in enumerate(names))


def recompiled(directory, btf, target="bpfel"):
    """The types that clang sees in the header of these types; it must find nothing to warn of."""
    source = c_header(btf).replace("/*", "\n/*") + variables(btf)
    path = directory / "recompiled.c"
    path.write_text(source)
    check = ["clang-19", "-target", target, "-fsyntax-only", "-Wall", "-Werror", path]
    subprocess.run(check, check=True)
    return compile_c(directory, source, target=target, name="recompiled").btf


# -- layouts that clang made -----------------------------------------------------------------------------------------

NASTY = """
#define PACKED __attribute__((packed))
#define ALIGNED(n) __attribute__((aligned(n)))
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;

struct empty {};
struct only_empty { struct empty a, b; };
struct plain { u8 a; u32 b; u16 c; u64 d; u8 e; };
struct packed_odd { u8 a; u32 b; u16 c; u64 d; u8 e; } PACKED;
struct packed_even { u32 a; u32 b; } PACKED;
struct packed_gap { u8 a; u64 b PACKED; u32 c; };
struct packed_hidden { u8 a; struct packed_even even; u32 last; };
struct packed_inside { u8 a; struct { u32 x; u8 y; } PACKED in; u64 b; };
struct packed_aligned { u8 a; u32 b ALIGNED(8); u8 c; } PACKED;
struct aligned_2 { u8 a; } ALIGNED(2);
struct aligned_16 { u32 a; } ALIGNED(16);
struct aligned_64 { u32 a; u8 b; } ALIGNED(64);
struct aligned_page { u32 a; u8 b ALIGNED(4096); u16 c; };
struct holds_aligned { u8 a; struct aligned_16 b; struct aligned_64 c[2]; u8 d; };
struct member_aligned { u8 a; u8 b ALIGNED(8); u16 c ALIGNED(32); u8 d; };
struct tail { u64 a; u8 b; };
struct int128 { u8 a; __int128 b; u8 c; unsigned __int128 d; };
struct int128_packed { u64 a; __int128 b; } PACKED;
struct reals { float f; u8 a; double d; u8 b; };

struct bits { u32 a : 1; u32 b : 31; u32 c : 3; u32 : 5; u32 d : 20; };
struct bits_zero { u32 a : 3; u32 : 0; u32 b : 4; u8 : 0; u8 c : 1; };
struct bits_gap { u32 a : 3; u64 b : 40; u64 : 9; u8 c : 7; u16 d : 9; u8 e; u32 f : 5; };
struct bits_packed { u32 a : 31; u32 b : 2; u32 c : 31; } PACKED;
struct bits_packed_even { u32 a : 31; u32 b : 2; u32 c : 30; u8 d : 1; } PACKED;
struct bits_packed_gap { u8 a : 3; u64 b : 63; u32 : 7; u8 c : 1; u32 d; } PACKED;
struct bits_mixed { u8 a : 4; u16 b : 12; u32 c : 17; u8 d; u8 e : 1; _Bool f : 1; u64 g : 33; };
struct bits_last { u64 a; u8 b : 1; };
struct bits_aligned { u8 a : 1; u32 b : 4 ALIGNED(8); u8 c : 2; };
struct bits_enum { enum colour { RED, GREEN, BLUE } a : 2; enum { ON, OFF } b : 1; int c : 29; };
struct bits_long { u64 a : 1, b : 63, c : 64; u64 : 63; u64 d : 1; };
struct bits_unnamed { u64 : 64; u8 a; u32 : 24; u32 : 17; u8 b; };
struct bits_only { u32 : 32; };
struct bits_128 { unsigned __int128 a : 100; u8 b; unsigned __int128 c : 20; };

union simple { u8 a; u32 b; u64 c; };
union packed_union { u8 a[5]; u32 b; } PACKED;
union aligned_union { u8 a; u16 b; } ALIGNED(16);
union padded_union { u8 a[5]; } ALIGNED(8);
union large_union { u8 a[3]; } ALIGNED(4096);
union bits_union { u32 a : 3; u8 b : 7; u64 c : 33; };
union bits_small { u32 a : 3; } PACKED;
union empty_union {};
struct unions { u8 a; union { u8 b; u64 c; struct { u16 d, e; } PACKED; }; union aligned_union f; u8 g; };
struct anonymous { struct { union { struct { u8 a; struct { u32 b; }; }; u64 c; }; u8 d; }; const struct { u8 e; }; };
struct named_inside { struct { u8 a; struct { u64 b; } c[2]; } d, e[3], *f, (*g)[2]; };
struct outer { u8 a; struct inner_of_outer { u32 a; } b; };
struct odd_size { u8 a[3]; };
struct odd_array { struct odd_size a[5]; u16 b; };

struct flexible { u32 a; u8 data[]; };
struct flexible_aligned { u64 a; u32 b; u8 data[]; };
struct flexible_padded { u8 a; u8 data[] ALIGNED(8); };
struct zero_inside { u32 a; u8 none[0]; u64 align[0]; u8 b; };
struct zero_first { u64 align[0]; u8 a; };
struct flexible_structs { u32 a; struct { u8 x; u16 y; } entries[]; };
union flexible_union { struct { struct empty e; u8 data[0]; }; u64 x; };
struct arrays { u8 a[2][3][4]; u32 (*b)[2][3]; u64 *c[4]; const u8 d[2]; struct plain e[2][2]; };

enum __attribute__((packed)) small_enum { SMALL_A = -1, SMALL_B = 100 };
enum __attribute__((packed)) byte_enum { BYTE_A = 255 };
enum __attribute__((packed)) half_enum { HALF_A = -1, HALF_B = 1000 };
enum __attribute__((mode(DI))) wide_enum { WIDE_A = 1 };
enum signed_enum { SIGNED_A = -1, SIGNED_B = 2147483647, SIGNED_C = -2147483648 };
enum unsigned_enum { UNSIGNED_A = 0, UNSIGNED_B = 4294967295 };
enum long_enum { LONG_A = -1, LONG_B = 4294967295 };
enum longest_enum { LONGEST_A = -9223372036854775807LL - 1, LONGEST_B = 9223372036854775807LL };
enum unsigned_long_enum { UNSIGNED_LONG_A = 18446744073709551615ULL };
struct enums { enum small_enum a; enum half_enum b; enum wide_enum c; enum { LOCAL_A, LOCAL_B } d; u8 e;
               enum long_enum f; enum __attribute__((packed)) { LOCAL_C } g; };

typedef int number;
typedef const number constant;
typedef struct { number x; struct { constant y; }; } unnamed_struct;
typedef union { u8 a; u64 b; } unnamed_union;
typedef enum { TYPEDEF_A, TYPEDEF_B = 5 } unnamed_enum;
typedef struct later later_t;
typedef later_t *later_pointer;
typedef void function(number, ...);
typedef function *function_pointer;
typedef struct only_declared only_declared_t;
typedef struct { later_pointer next; } holder;
struct uses { later_pointer a; holder b; unnamed_struct c; unnamed_union d; unnamed_enum e; only_declared_t *f; };
struct later { struct uses *uses; struct later *next, **all; };
typedef later_t later_array[3];
struct later_user { later_array *many; later_pointer one; };

struct only_in_params;
struct callbacks {
    void (*none)(void);
    int (*some)(struct callbacks *self, struct plain by_value, struct only_in_params *, const char *format, ...);
    int (*array[3])(int);
    int *(*returns_pointer)(void);
    int (*(*returns_function)(int x))(long y);
    int (*(*returns_array)(void))[4];
    int (*(*table[2][3])(int (*)(int), void (**)(void)))(int);
    function_pointer f, *g;
    function *h;
    struct plain (*by_value)(union simple);
    void (*with_unnamed)(struct { u8 a; } *);
    const struct { u8 x; } *pointed;
};
struct qualifiers {
    const u8 a; volatile u32 b; const volatile u64 c; const u8 *d; u8 *const e; const u8 *const volatile f;
    u8 *restrict g; const void *restrict const h; const u8 *const *const *i; volatile struct plain j;
    const constant *k; number *const l[3]; int (*const m)(const int *restrict); const u8 (*n)[2];
};
#define TAG(x) __attribute__((btf_type_tag(x)))
struct tags { int TAG("user") *a; struct plain TAG("rcu") *b; int TAG("one") TAG("two") *c;
              int TAG("in") * TAG("out") *d; const u8 TAG("quo\\"te\\\\") *e; void TAG("percpu") *f; };

struct loop_a { struct loop_b *b; struct { struct loop_b *c; struct loop_c *d; } in; };
struct loop_b { struct loop_a a; struct loop_c *c; };
struct loop_c { struct loop_b b[2]; struct loop_a *a; struct loop_c *(*f)(struct loop_c); };
struct keywords { u8 class, new, template; };
"""


@needs_clang
@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_header_compiles_to_the_types_it_was_made_of(tmp_path, target):
    names = re.findall(r"^(?:struct|union|enum) (?:__attribute__\(\(.*?\)\) )?(\w+) \{", NASTY, re.MULTILINE)
    keywords = [re.search(rf"(struct|union|enum)(?: __attribute__\S+)? {name} \{{", NASTY)[1] for name in names]
    uses = "".join(f"{keyword} {name} v_{name};\n" for keyword, name in zip(keywords, names, strict=True))
    uses += "function *v1; later_array *v2; unnamed_enum v3; constant v4;"
    made = compile_c(tmp_path, NASTY + uses, target=target).btf
    before = definitions(made)
    assert {name for kind, name in before if kind != "Typedef"} >= set(names)
    after = definitions(recompiled(tmp_path, made, target))
    for key, definition in before.items():
        assert after[key] == definition, key
    assert after.keys() == before.keys()


class Layouts:
    """Structs and unions at random, of all that may move a member."""

    BASIC = ("char", "_Bool", "short", "unsigned int", "long", "__int128", "float", "double", "void *", "int *(*)[2]")
    INTEGERS: ClassVar = {"unsigned char": 8, "_Bool": 1, "short": 16, "unsigned int": 32, "long": 64, "__int128": 128}

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.known = []
        self.count = 0

    def attributes(self, *, small):
        chosen = []
        if self.random.random() < 0.2:
            chosen.append("packed")
        if self.random.random() < 0.15:
            chosen.append(f"aligned({2 ** self.random.randint(0, 4 if small else 7)})")
        return f" __attribute__(({', '.join(chosen)}))" if chosen else ""

    def member(self, depth):
        self.count += 1
        name = f"m{self.count}"
        choice = self.random.random()
        if choice < 0.4:
            integer, bits = self.random.choice(list(self.INTEGERS.items()))
            width = self.random.randint(0, bits)
            return f"{integer} {name if width and self.random.random() < 0.8 else ''} : {width};"
        dimensions = "".join(f"[{self.random.randint(0, 5)}]" for _ in range(self.random.choice([0, 0, 0, 1, 2])))
        attributes = self.attributes(small=True)
        if choice < 0.55 and depth < 3:
            return f"{self.body(depth + 1)} {name if self.random.random() < 0.5 else ''}{attributes};"
        if choice < 0.75 and self.known:
            return f"{self.random.choice(self.known[:40])} {name}{dimensions}{attributes};"
        basic = self.random.choice(self.BASIC)
        if "(*)" in basic:
            return basic.replace("(*)", f"(*{name})") + ";"
        return f"{basic} {name}{dimensions}{attributes};"

    def body(self, depth=0, name=""):
        keyword = self.random.choice(["struct", "struct", "struct", "union"])
        lines = " ".join(self.member(depth) for _ in range(self.random.choice([0, 1, 2, 3, 4, 5, 8])))
        return f"{keyword} {name} {{ {lines} }}{self.attributes(small=False)}"

    def source(self, count):
        text = ""
        for i in range(count):
            body = self.body(name=f"type{i}")
            self.known.append(f"{body.split()[0]} type{i}")
            text += f"{body};\n{self.known[-1]} v_type{i};\n"
        return text


@needs_clang
def test_random_layouts(tmp_path):
    made = compile_c(tmp_path, Layouts(1).source(400)).btf
    before, after = definitions(made), definitions(recompiled(tmp_path, made))
    assert len(before) == 400
    for key, definition in before.items():
        assert after[key] == definition, key


# -- this machine's kernel ---------------------------------------------------------------------------------------------


def flat(btf, found, start=0):
    """Where each named member lies, in bits: also those in unnamed structs, which belong to the outer one."""
    for member in found.members:
        inner = btf.resolve(member.type_id)
        if member.name and not member.name.startswith("__padding"):
            yield member.name, start + member.bit_offset, member.bitfield_size
        elif isinstance(inner, types.Composite):
            yield from flat(btf, inner, start + member.bit_offset)


def constants(directory, header, expressions):
    """What clang evaluates these expressions to, with this header."""
    table = "const unsigned long table[] = {" + ",\n".join(expressions) + "};\n"
    made = compile_c(directory, header + table, target="bpfel")
    return struct.unpack(f"<{len(expressions)}Q", made.variable("table"))


def layout_expressions(btf, composites):
    """C expressions for the sizes of structs and unions and the offsets of their members, and what they should be."""
    expected = {}
    for found in composites:
        tag = f"{type(found).__name__.lower()} {found.name}"
        expected[f"sizeof({tag})"] = found.size
        for name, bits, bitfield in flat(btf, found):
            if not bitfield:
                expected[f"__builtin_offsetof({tag}, {name})"] = bits // 8
    return expected


@pytest.fixture(scope="module")
def kernel():
    with open(KERNEL_BTF, "rb") as file:
        return Btf.from_bytes(file.read())


@pytest.fixture(scope="module")
def kernel_header(kernel):
    return c_header(kernel)


@pytest.fixture(scope="module")
def unique(kernel):
    """Structs and unions whose name stands for nothing else: which of several gets which number, the order decides."""
    tagged = [kernel.type(id) for id in kernel.ids(types.Struct, types.Union, types.Enum, types.Enum64, types.Fwd)]
    names = Counter(found.name for found in tagged)
    return [found for found in tagged if isinstance(found, types.Composite) and names[found.name] == 1]


@needs_clang
@needs_kernel_btf
def test_every_struct_of_the_kernel_has_its_layout(kernel, kernel_header, unique, tmp_path):
    expected = layout_expressions(kernel, unique)
    assert len(expected) > 50_000
    assert constants(tmp_path, kernel_header, expected) == tuple(expected.values())


@needs_clang
@needs_kernel_btf
def test_bit_fields_and_ambiguous_names_of_the_kernel(kernel, kernel_header, unique, tmp_path):
    """What expressions cannot tell is in the BTF that clang makes of the header."""

    def layouts(btf):
        """The layouts of each name, or of several with numbers."""
        found = {}
        for type_id in btf.ids(types.Struct, types.Union):
            composite = btf.type(type_id)
            members = list(flat(btf, composite))
            name = re.sub(r"___\d+$", "", composite.name)
            if name and (name not in plain or any(bitfield for *_, bitfield in members)):
                found.setdefault((type(composite), name), []).append((composite.size, members))
        return {key: sorted(layouts) for key, layouts in found.items()}

    plain = {found.name for found in unique}
    expected = layouts(kernel)
    names = {name for _, name in expected}
    tags = re.findall(r"^((?:struct|union) (\w+?)(?:___\d+)?) \{", kernel_header, re.MULTILINE)
    pointers = [f"{tag} *variable{i};\n" for i, (tag, name) in enumerate(tags) if name in names]
    assert len(pointers) > 300
    found = layouts(compile_c(tmp_path, kernel_header + "".join(pointers), target="bpfel").btf)
    assert found == expected


def is_too_hard(btf, found):
    """For bpftool; see below."""
    if isinstance(found, types.Composite):
        inner = [btf.innermost(member.type_id) for member in found.members]
        return found.name == "__va_list_tag" or any(is_too_hard(btf, each) for each in inner)
    return isinstance(found, types.Enumeration) and found.size != 4


@needs_clang
@needs_kernel_btf
@pytest.mark.needs_tool("bpftool")
def test_2000_structs_of_the_kernel_are_as_with_bpftool(kernel, kernel_header, unique, tmp_path):
    """Structs with small enums or a va_list in them are left out, but not from the tests above.

    bpftool 7.1, which Debian 12 has, gives small enums four bytes, and no bpftool gives a va_list the size that it has
    in the kernel.
    """
    command = ["bpftool", "btf", "dump", "file", KERNEL_BTF, "format", "c"]
    theirs = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    chosen = random.Random(2000).sample([found for found in unique if not is_too_hard(kernel, found)], 2000)
    expressions = layout_expressions(kernel, chosen)
    assert len(expressions) > 8000
    assert constants(tmp_path, kernel_header, expressions) == constants(tmp_path, theirs, expressions)


@needs_clang
@needs_kernel_btf
def test_header_of_the_kernel_has_no_fault_that_clang_knows(kernel_header, tmp_path):
    path = tmp_path / "vmlinux.c"
    path.write_text(kernel_header)
    check = ["clang-19", "-target", "bpf", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", path]
    subprocess.run(check, check=True)


@needs_kernel_btf
def test_header_of_the_kernel_takes_seconds(kernel):
    kernel = Btf.from_bytes(kernel.data)
    before = time.process_time()
    c_header(kernel)
    assert time.process_time() - before < 10


# -- made by hand ------------------------------------------------------------------------------------------------------


def header_of(assembler):
    """The definitions in the header, each without its line breaks."""
    text = c_header(assembler.btf())
    blocks = text.split("\n\n")[2:-2]
    return [" ".join(block.split()) for block in blocks]


def compiles(tmp_path, assembler):
    """Without a warning, but for the header that has no struct, and no use for the attribute of all structs."""
    path = tmp_path / "header.c"
    path.write_text(c_header(assembler.btf()))
    options = ["-target", "bpf", "-fsyntax-only", "-Wall", "-Werror", "-Wno-pragma-clang-attribute"]
    subprocess.run(["clang-19", *options, path], check=True)


def test_frame_of_the_header():
    a = Assembler()
    a.struct("s", 4, ("x", a.int(), 0))
    assert c_header(a.btf()) == (
        "#ifndef __VMLINUX_H__\n"
        "#define __VMLINUX_H__\n"
        "\n"
        "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
        "#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)\n"
        "#endif\n"
        "\n"
        "struct s {\n"
        "\tint x;\n"
        "};\n"
        "\n"
        "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
        "#pragma clang attribute pop\n"
        "#endif\n"
        "\n"
        "#endif /* __VMLINUX_H__ */\n"
    )


@needs_clang
def test_names_that_several_types_have(tmp_path):
    a = Assembler()
    number = a.int()
    a.struct("same", 4, ("a", number, 0))
    second = a.struct("same", 8, ("a", number, 0), ("b", number, 32))
    a.struct("same", 4, ("a", number, 0), kind=UNION)
    a.add(ENUM, "same", 4, "VALUE", 1, vlen=1)
    a.add(ENUM, "other", 4, "VALUE", 2, "same", 3, vlen=2)
    a.struct("same___2", 4, ("a", number, 0))
    a.add(TYPEDEF, "same", second)
    a.add(TYPEDEF, "VALUE", number)
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct same { int a; };",
        "struct same___2 { int a; int b; };",
        "union same___3 { int a; };",
        "enum same___4 { VALUE = 1, };",
        "enum other { VALUE___2 = 2, same = 3, };",
        "struct same___2___2 { int a; };",
        "typedef struct same___2 same___2;",
        "typedef int VALUE___3;",
    ]


@needs_clang
def test_forward_declarations(tmp_path):
    a = Assembler()
    forward = a.add(FWD, "both")
    union = a.add(FWD, "both", kind_flag=1)
    never = a.add(FWD, "never")
    pointers = [a.add(PTR, "", target) for target in (forward, union, never)]
    a.struct(
        "user", 24, *((name, pointer, 64 * i) for i, (name, pointer) in enumerate(zip("abc", pointers, strict=True)))
    )
    a.struct("both", 0, kind=UNION)
    a.struct("both", 0)
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct both;",
        "union both___2;",
        "struct never;",
        "struct user { struct both *a; union both___2 *b; struct never *c; };",
        "union both___2 {};",
        "struct both {};",
    ]


@needs_clang
def test_what_no_c_compiler_would_take_is_renamed(tmp_path):
    a = Assembler()
    number = a.int()
    a.struct("core::option::Option<u8>", 12, ("default", number, 0), ("0", number, 32), ("ok", number, 64))
    a.add(TYPEDEF, "typeof", number)
    a.add(ENUM, "", 4, "a.b", 1, "a-b", 2, vlen=2)
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct core__option__Option_u8_ { int _default; int _0; int ok; };",
        "typedef int _typeof;",
        "enum { a_b = 1, a_b___2 = 2, };",
    ]


@needs_clang
def test_basic_types_that_bpf_does_not_have(tmp_path):
    a = Assembler()
    members = [
        a.int("__Poly8_t", 1, signed=False),
        a.int("ssizetype", 8),
        a.int("DW_ATE_unsigned_24", 3, signed=False),
        a.int("bool", 1, signed=False, flags=4),
        a.int("__int128 unsigned", 16, signed=False),
        a.int("__uint256", 32, signed=False),
        a.add(FLOAT, "long double", 16),
        a.add(FLOAT, "_Float16", 2),
        a.add(FLOAT, "_Float32", 4),
        a.add(ENUM, "declared", 4),
    ]
    sizes = [1, 8, 3, 1, 16, 32, 16, 2, 4, 4]
    for i, (member, size) in enumerate(zip(members, sizes, strict=True)):
        a.struct(f"s{i}", size, ("x", member, 0))
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct s0 { unsigned char x; };",
        "struct s1 { signed long long x; };",
        "struct s2 { struct { unsigned char bytes[3]; } x; };",
        "struct s3 { _Bool x; };",
        "struct s4 { __int128 unsigned x; };",
        "struct s5 { struct { unsigned char bytes[32]; } x; };",
        "struct s6 { struct { unsigned char bytes[16]; } x; };",
        "struct s7 { struct { unsigned char bytes[2]; } x; };",
        "struct s8 { float x; };",
        "struct s9 { unsigned int x; };",
    ]


@needs_clang
def test_enums_before_btf_had_their_sign(tmp_path):
    a = Assembler()
    a.add(ENUM, "small", 1, "A", 0xFFFFFFFF, "B", 1, vlen=2)
    a.add(ENUM, "usual", 4, "C", 0xFFFFFFFF, vlen=1)
    a.add(ENUM, "declared", 4)
    a.add(ENUM64, "big", 8, "D", 0, 0x80000000, "E", 1, 0, vlen=2, kind_flag=1)
    compiles(tmp_path, a)
    assert header_of(a) == [
        "enum small { A = -1, B = 1, } __attribute__((packed));",
        "enum usual { C = 4294967295, };",
        "enum big { D = -9223372036854775807 - 1, E = 1, };",
    ]


@needs_clang
def test_enums_without_a_name(tmp_path):
    """Printed where they are mentioned, else for their constants; constants cannot be declared twice."""
    a = Assembler()
    constants = a.add(ENUM, "", 4, "CONSTANT", 1, vlen=1)
    mentioned = a.add(ENUM, "", 4, "MENTIONED", 1, vlen=1)
    a.add(VAR, "variable", constants, 1)
    a.struct("s", 12, ("a", mentioned, 0), ("b", mentioned, 32), ("c", mentioned, 64))
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct s { enum { MENTIONED = 1, } a; enum { MENTIONED___2 = 1, } b; enum { MENTIONED___3 = 1, } c; };",
        "enum { CONSTANT = 1, };",
    ]


@needs_clang
def test_bit_fields_before_struct_members_had_their_size(tmp_path):
    """An INT of 3 bits at bit 2 of itself, which lies in the struct at bit 8: bits 10 to 12."""
    a = Assembler()
    narrow = a.int("unsigned int", 4, signed=False, bits=3, offset=2)
    a.struct("old", 4, ("a", narrow, 8), ("b", narrow, 12))
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct old { short: 10; unsigned int a: 3; char: 1; unsigned int b: 3; };",
    ]


@needs_clang
def test_named_struct_as_unnamed_member(tmp_path):
    """As -fms-extensions allows it; and a member that has no name for no reason."""
    a = Assembler()
    number = a.int()
    inner = a.struct("inner", 4, ("x", number, 0))
    alias = a.add(TYPEDEF, "alias", a.struct("", 4, ("z", number, 0)))
    a.struct("outer", 16, ("", inner, 0), ("y", number, 32), ("", alias, 64), ("", number, 96))
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct inner { int x; };",
        "typedef struct { int z; } alias;",
        "struct outer { struct { int x; }; int y; struct { int z; }; int __padding1; };",
    ]


@needs_clang
def test_wide_gaps(tmp_path):
    a = Assembler()
    number = a.int()
    a.struct("wide", 1 << 31, ("a", number, 1 << 20), ("b", number, (1 << 20) + 64))
    a.struct("bits", 512, ("a", number, 1 << 24 | 3), ("b", number, 1 << 24 | 2053), kind_flag=1)
    a.struct("either", 1 << 20, ("a", number, 0), kind=UNION)
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct wide { unsigned char __padding1[131072]; int a; int: 32; int b; "
        "unsigned char __padding2[2147352564]; };",
        "struct bits { char: 3; int a: 1; long: 60; unsigned char __padding3[248]; char: 5; int b: 1; long: 58; "
        "unsigned char __padding4[248]; };",
        "union either { int a; struct { unsigned char __padding5[1048576]; }; };",
    ]


@needs_clang
def test_va_list(tmp_path):
    """Every compiler has another; the layout is that of the one that made the BTF.  Old GCC described it as void."""
    a = Assembler()
    tag = a.struct("__va_list_tag", 24, ("gp_offset", a.int("unsigned int", 4, signed=False), 0))
    builtin = a.add(TYPEDEF, "__builtin_va_list", a.array(tag, 1))
    a.add(TYPEDEF, "va_list", builtin)
    a.struct("holds", 24, ("list", builtin, 0))
    a.add(TYPEDEF, "__gnuc_va_list", 0)
    compiles(tmp_path, a)
    assert header_of(a) == [
        "struct __va_list_tag { unsigned int gp_offset; int: 32; long: 64; long: 64; };",
        "typedef struct __va_list_tag va_list[1];",
        "struct holds { struct __va_list_tag list[1]; };",
        "typedef __builtin_va_list __gnuc_va_list;",
    ]


@needs_clang
def test_qualifiers_in_places_that_c_does_not_know(tmp_path):
    """GCC has constant arrays, and volatile functions that do not return."""
    a = Assembler()
    number = a.int()
    a.add(TYPEDEF, "array", a.add(CONST, "", a.array(number, 2)))
    a.add(TYPEDEF, "pointer", a.add(PTR, "", a.add(VOLATILE, "", a.add(FUNC_PROTO, "", 0, vlen=0))))
    a.add(TYPEDEF, "restricted", a.add(RESTRICT, "", number))
    a.add(TYPEDEF, "tagged", a.add(TYPE_TAG, "x", a.array(number, 2)))
    a.add(TYPEDEF, "attribute", a.add(PTR, "", a.add(TYPE_TAG, "address_space(1)", number, kind_flag=1)))
    a.add(TYPEDEF, "evil", a.add(PTR, "", a.add(TYPE_TAG, "x)) int y; int z((", number, kind_flag=1)))
    a.add(TYPEDEF, "line", a.add(PTR, "", a.add(TYPE_TAG, "new\nline", number)))
    compiles(tmp_path, a)
    assert header_of(a) == [
        "typedef int array[2];",
        "typedef void (*pointer)(void);",
        "typedef int restricted;",
        "typedef int tagged[2];",
        "typedef int __attribute__((address_space(1))) *attribute;",
        "typedef int *evil;",
        "typedef int *line;",
    ]


def test_types_of_32_bits():
    """With long of 4 bytes, long long is aligned to 4, as on i386; where it is aligned to 8, so is every member."""
    a = Assembler()
    long = a.int("long", 4)
    longer = a.int("long long", 8)
    a.struct("i386", 12, ("a", long, 0), ("b", longer, 32))
    a.struct("arm", 16, ("a", long, 0), ("b", longer, 64))
    a.struct("p", 16, ("a", a.add(PTR, "", 0), 0), ("b", longer, 64))
    assert header_of(a) == [
        "struct i386 { long a; long long b; };",
        "struct arm { long a; int: 32; long long b; };",
        "struct p { void *a; int: 32; long long b; };",
    ]


def test_variables_and_functions_are_left_out():
    a = Assembler()
    number = a.int()
    proto = a.add(FUNC_PROTO, "", number, "x", a.struct("", 4, ("a", number, 0)), vlen=1)
    a.add(FUNC, "work", proto, vlen=1)
    a.add(DATASEC, ".data", 4, a.add(VAR, "global", number, 1), 0, 4, vlen=1)
    assert header_of(a) == []


def test_split_btf_is_printed_with_its_base():
    base = Assembler()
    inner = base.struct("inner", 4, ("x", base.int(), 0))
    a = Assembler(base=base)
    a.struct("outer", 4, ("x", inner, 0))
    text = c_header(a.btf(base.btf()))
    assert text.index("struct inner {") < text.index("struct outer {")


def test_long_chains_of_definitions():
    """10,000 structs, each of which needs the next."""
    a = Assembler()
    number = a.int()
    for i in range(10000):
        a.struct(f"s{i}", 4, ("x", number if i == 9999 else a.next_id + 1, 0))
    headers = header_of(a)
    assert headers[0] == "struct s9999 { int x; };"
    assert headers[-1] == "struct s0 { struct s1 x; };"


def nested(depth):
    a = Assembler()
    inner = a.int()
    for _ in range(depth):
        inner = a.struct("", 4, ("x", inner, 0))
    a.struct("outer", 4, ("x", inner, 0))
    return a


@needs_clang
def test_nesting(tmp_path):
    compiles(tmp_path, nested(50))
    with pytest.raises(ObjectFormatError, match="nested too deeply"):
        c_header(nested(10000).btf())


def malformed():
    def case(message):
        a = Assembler()
        a.int()  # 1
        cases.append((message, a))
        return a

    cases = []
    case("type 2 .*contains itself").struct("s", 4, ("x", 2, 0))
    a = case("contains itself")
    a.struct("s", 4, ("x", 3, 0))
    a.add(TYPEDEF, "t", a.array(2, 1))
    case("contains itself|in a circle").add(TYPEDEF, "t", 2)
    a = case("in a circle")
    a.add(PTR, "", 2)
    a.add(TYPEDEF, "t", 2)
    a = case("in a circle")
    a.struct("", 8, ("x", 3, 0))
    a.add(PTR, "", 2)
    a.add(TYPEDEF, "t", 2)
    a = case("in a circle")
    a.struct("", 8, ("x", 2, 0))
    a.struct("s", 8, ("x", 2, 0))
    case("type 2 .*struct s: C cannot place its members there").struct("s", 8, ("x", 1, 0), ("y", 1, 16))
    case("cannot place its members there").struct("s", 8, ("x", 1, 32), ("y", 1, 0))
    case("cannot place its members there, in 2 bytes").struct("s", 2, ("x", 1, 0))
    case("union u: C cannot place").struct("u", 8, ("x", 1, 32), kind=UNION)
    case("cannot place its members there").struct("s", 4, ("x", 1, 4))
    case("no bit field of 33 bits").struct("s", 8, ("x", 1, 33 << 24), kind_flag=1)
    a = case("no bit field of 3 bits")
    a.add(PTR, "", 1)
    a.struct("s", 8, ("x", 2, 3 << 24), kind_flag=1)
    case("void has no size").struct("s", 8, ("x", 0, 0))
    a = case("has no size")
    a.add(FWD, "f")
    a.struct("s", 8, ("x", 2, 0))
    a = case("FUNC_PROTO has no size")
    a.add(FUNC_PROTO, "", 0)
    a.struct("s", 8, ("x", 2, 0))
    a = case("FUNC_PROTO has no size")
    a.add(FUNC_PROTO, "", 0)
    a.add(TYPEDEF, "t", a.add(PTR, "", a.array(2, 3)))
    a = case("a function that returns an array")
    a.array(1, 3)
    a.add(TYPEDEF, "t", a.add(FUNC_PROTO, "", 2))
    a = case("void parameter among others")
    a.add(TYPEDEF, "t", a.add(FUNC_PROTO, "", 0, "x", 0, "y", 1, vlen=2))
    a = case("BTF_KIND_VAR v is used as the type of something")
    a.add(VAR, "v", 1, 0)
    a.add(TYPEDEF, "t", 2)
    case("an enum of 3 bytes").add(ENUM, "e", 3, "A", 1, vlen=1)
    case("struct s has two members 'x'").struct("s", 8, ("x", 1, 0), ("x", 1, 32))
    a = case("struct s has two members 'y'")
    a.struct("", 4, ("y", 1, 0))
    a.struct("s", 8, ("y", 1, 0), ("", 2, 32))
    a = case("need more than 128 MiB")
    inner = 1
    for _ in range(40):
        inner = a.struct("", 4, ("a", inner, 0), ("b", inner, 0), kind=UNION)
    a.struct("s", 4, ("x", inner, 0))
    return cases


@pytest.mark.parametrize(
    ("message", "assembler"), malformed(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_be_written_in_c(message, assembler):
    with pytest.raises(ObjectFormatError, match=message):
        c_header(assembler.btf())


def sound(order):
    """A little of everything, with layouts that C could have."""
    a = Assembler(order)
    number, letter = a.int(), a.int("char", 1, flags=2)
    pointer = a.add(PTR, "", 0)
    text = a.array(letter, 16)
    inner = a.struct("", 8, ("x", number, 0), ("y", letter, 32))
    a.struct("u", 16, ("p", pointer, 0), ("t", text, 0), ("", inner, 0), kind=UNION)
    enum = a.add(ENUM, "e", 4, "A", 0, "B", 1, vlen=2)
    bits = a.struct("bits", 8, ("a", number, 3 << 24), ("b", enum, 2 << 24 | 3), ("c", number, 32), kind_flag=1)
    alias = a.add(TYPEDEF, "alias", bits)
    proto = a.add(FUNC_PROTO, "", a.add(CONST, "", pointer), "x", alias, "", 0, vlen=2)
    callback = a.add(PTR, "", proto)
    forward = a.add(PTR, "", a.add(FWD, "f"))
    members = [("f", callback, 0), ("a", alias, 64), ("l", a.next_id + 1, 128), ("g", forward, 192), ("e", text, 256)]
    a.struct("s", 48, *members)
    a.add(PTR, "", a.next_id - 1)
    a.add(TYPEDEF, "t", a.array(a.next_id - 2, 3))
    a.add(ENUM64, "", 8, "C", 0, 1, vlen=1)
    return a.bytes()


SOUND = {"<": sound("<"), ">": sound(">")}


@needs_clang
def test_sound(tmp_path):
    (tmp_path / "header.c").write_text(c_header(Btf.from_bytes(SOUND["<"])))
    subprocess.run(
        ["clang-19", "-target", "bpf", "-fsyntax-only", "-Wall", "-Werror", tmp_path / "header.c"], check=True
    )


@settings(max_examples=300, deadline=1000)
@given(st.sampled_from("<>").flatmap(lambda order: mutated(SOUND[order], order)))
def test_mutated_btf(data):
    """A header or an ObjectFormatError that says where, and soon."""
    try:
        header = c_header(Btf.from_bytes(data))
    except ObjectFormatError as error:
        assert error.where
        return
    assert header.endswith("#endif /* __VMLINUX_H__ */\n")
