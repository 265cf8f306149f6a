"""Linking of subprograms: against libbpf, and by hand for what clang would not write and for both byte orders."""

from __future__ import annotations

import struct
import subprocess

import pytest
import traced

import purebpf
from purebpf.errors import ObjectFormatError
from purebpf.load.link import exception_callbacks, link
from purebpf.obj.spec import ObjectSpec, ProgramSpec, Relocation

# include/uapi/linux/bpf.h
CALL, EXIT, LD_IMM64 = 0x85, 0x95, 0x18
BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL, BPF_PSEUDO_FUNC = 1, 2, 4


# --- against libbpf ---


@pytest.fixture(scope="module")
def libbpf(tmp_path_factory):
    return traced.libbpf(tmp_path_factory)


LINKED = [
    *traced.HERE.parent.glob("prebuilt/*snoop.bpf.o"),
    *traced.HERE.glob("objects/load_*s.bpf.o"),
]


def without_maps(code, linked):
    """The code without what becomes of loads of maps and variables, which the linker leaves alone."""
    code = bytearray(code)
    for entry in linked.relocations():
        if entry.kind in ("map", "data"):
            code[entry.insn * 8 + 1] &= 0x0F
            code[entry.insn * 8 + 4 : entry.insn * 8 + 8] = bytes(4)
            code[entry.insn * 8 + 12 : entry.insn * 8 + 16] = bytes(4)
    return bytes(code)


@pytest.mark.needs_tool("cc")
@pytest.mark.parametrize("path", sorted(LINKED), ids=lambda path: path.name)
def test_same_code_as_libbpf(path, libbpf):
    """libbpf links without a kernel when it is to write a program that loads the object (a "light skeleton")."""
    done = subprocess.run([libbpf, "link", path], capture_output=True, text=True)
    if "legacy map definitions" in done.stderr:
        return
    assert done.returncode == 0, done.stderr
    theirs = {name: bytes.fromhex(code) for _, name, code in map(str.split, done.stdout.splitlines())}
    spec = purebpf.parse(path)
    ours = {name: link(spec, program, {}) for name, program in spec.programs.items() if program.autoload}
    assert list(ours) == list(theirs)
    for name, linked in ours.items():
        assert without_maps(linked.code, linked) == without_maps(theirs[name], linked), name


def test_the_order_of_subprograms():
    """As libbpf 1.1 puts them: a function stands where its first call is met, followed by what it calls itself."""
    spec = purebpf.parse(traced.HERE / "objects/load_subprograms.bpf.o")
    order = {name: [part.function.name for part in link(spec, spec.programs[name], {}).parts] for name in spec.programs}
    assert order == {
        "first": ["first", "right", "last", "left", "count"],
        "second": ["second", "note", "right", "last", "left", "count"],
        "third": ["third", "last", "left", "count", "note", "right"],
        "alone": ["alone"],
    }


# --- by hand ---


@pytest.fixture(params=["little", "big"])
def making(request):
    return Making(request.param)


class Making:
    """Makes an object out of functions, each a list of instructions."""

    def __init__(self, byteorder):
        self.order = "<" if byteorder == "little" else ">"
        self.spec = ObjectSpec("made", byteorder)
        self.size = 0

    def insn(self, code, src=0, imm=0):
        """One instruction; the destination register is 3."""
        registers = 3 | src << 4 if self.order == "<" else 3 << 4 | src
        return struct.pack(self.order + "BBhi", code, registers, 0, imm)

    def exit(self):
        return self.insn(EXIT)

    def subprogram(self, name, *insns, relocations=()):
        function = ProgramSpec(name, ".text", self.size, b"".join(insns), tuple(relocations))
        self.spec.subprograms[self.size] = function
        self.size += len(function.insns)
        return function

    def program(self, *insns, relocations=()):
        return ProgramSpec("main", "tp", 0, b"".join(insns), tuple(relocations))

    def fields(self, code, slot):
        """(opcode, destination, source, immediate) of an instruction."""
        opcode, registers, _, imm = struct.unpack_from(self.order + "BBhi", code, slot * 8)
        low, high = registers & 0xF, registers >> 4
        return opcode, *((low, high) if self.order == "<" else (high, low)), imm


def names(linked):
    return [part.function.name for part in linked.parts]


def test_a_call_by_symbol(making):
    """clang refers to a global function by its symbol, with an immediate of -1."""
    making.subprogram("before", making.exit())
    making.subprogram("callee", making.exit())
    program = making.program(
        making.insn(CALL, BPF_PSEUDO_CALL, -1), making.exit(), relocations=[Relocation(0, "call", "callee", 8)]
    )
    linked = link(making.spec, program, {})
    assert names(linked) == ["main", "callee"]
    assert [part.start for part in linked.parts] == [0, 2]
    assert making.fields(linked.code, 0) == (CALL, 3, BPF_PSEUDO_CALL, 1)


def test_a_call_by_section(making):
    """clang refers to a static function by its section, and has its place in slots, less 1, in the immediate."""
    making.subprogram("before", making.exit(), making.exit())
    making.subprogram("callee", making.exit())
    program = making.program(
        making.exit(), making.insn(CALL, BPF_PSEUDO_CALL, 1), relocations=[Relocation(1, "call", ".text", 0)]
    )
    linked = link(making.spec, program, {})
    assert names(linked) == ["main", "callee"]
    assert making.fields(linked.code, 1) == (CALL, 3, BPF_PSEUDO_CALL, 0)


def test_a_call_within_text_has_no_relocation(making):
    making.subprogram("callee", making.exit())
    making.subprogram("caller", making.exit(), making.insn(CALL, BPF_PSEUDO_CALL, -3), making.exit())
    program = making.program(
        making.insn(CALL, BPF_PSEUDO_CALL, -1), making.exit(), relocations=[Relocation(0, "call", "caller", 8)]
    )
    linked = link(making.spec, program, {})
    assert names(linked) == ["main", "caller", "callee"]
    assert making.fields(linked.code, 3) == (CALL, 3, BPF_PSEUDO_CALL, 1)


@pytest.mark.parametrize("symbol, offset, imm", [("callback", 16, 0), (".text", 0, 16)])
def test_a_function_pointer(making, symbol, offset, imm):
    """A callback's address: clang leaves a plain 16-byte load, whose immediate counts bytes."""
    making.subprogram("before", making.exit(), making.exit())
    making.subprogram("callback", making.exit())
    program = making.program(
        making.exit(),
        making.insn(LD_IMM64, 0, imm),
        making.insn(0),
        making.exit(),
        relocations=[Relocation(1, "function", symbol, offset)],
    )
    linked = link(making.spec, program, {})
    assert names(linked) == ["main", "callback"]
    assert making.fields(linked.code, 1) == (LD_IMM64, 3, BPF_PSEUDO_FUNC, 2)
    assert making.fields(linked.code, 2) == (0, 3, 0, 0)


def test_depth_first_and_each_once(making):
    def call(slot, callee):
        return making.insn(CALL, BPF_PSEUDO_CALL, callee - slot - 1)

    making.subprogram("a", call(0, 6), call(1, 4), making.exit())  # slots 0 to 2: calls d, then c
    making.subprogram("b", making.exit())  # 3
    making.subprogram("c", call(4, 6), making.exit())  # 4: calls d
    making.subprogram("d", making.exit())  # 6
    making.subprogram("never", making.exit())
    program = making.program(
        making.insn(CALL, BPF_PSEUDO_CALL, -1),
        making.insn(CALL, BPF_PSEUDO_CALL, -1),
        making.exit(),
        relocations=[Relocation(0, "call", "a", 0), Relocation(1, "call", "b", 24)],
    )
    linked = link(making.spec, program, {})
    assert names(linked) == ["main", "a", "d", "c", "b"]
    assert [part.start for part in linked.parts] == [0, 3, 6, 7, 9]
    calls = {slot: making.fields(linked.code, slot)[3] + slot + 1 for slot in (0, 1, 3, 4, 7)}
    assert calls == {0: 3, 1: 9, 3: 6, 4: 7, 7: 6}


def test_recursion_ends(making):
    """The verifier refuses recursion; the linker only has to come to an end."""
    making.subprogram("one", making.insn(CALL, BPF_PSEUDO_CALL, 1), making.exit())
    making.subprogram("two", making.insn(CALL, BPF_PSEUDO_CALL, -3), making.insn(CALL, BPF_PSEUDO_CALL, -2))
    program = making.program(making.insn(CALL, BPF_PSEUDO_CALL, -1), relocations=[Relocation(0, "call", "one", 0)])
    linked = link(making.spec, program, {})
    assert names(linked) == ["main", "one", "two"]
    assert [making.fields(linked.code, slot)[3] for slot in (0, 1, 3, 4)] == [0, 1, -3, -2]


def test_a_chain_longer_than_the_python_stack(making):
    length = 5000
    for number in range(length):
        step = 1 if number < length - 1 else -3
        making.subprogram(f"f{number}", making.insn(CALL, BPF_PSEUDO_CALL, step), making.exit())
    program = making.program(making.insn(CALL, BPF_PSEUDO_CALL, -1), relocations=[Relocation(0, "call", "f0", 0)])
    linked = link(making.spec, program, {})
    assert names(linked) == ["main"] + [f"f{number}" for number in range(length)]


def test_calls_that_are_none_of_its_business(making):
    """Helpers, kernel functions, undefined functions, and the second half of a 16-byte load that looks like a call."""
    insns = [
        making.insn(CALL, 0, 14),
        making.insn(CALL, BPF_PSEUDO_KFUNC_CALL, 7),
        making.insn(CALL, BPF_PSEUDO_CALL, -1),
        making.insn(LD_IMM64, 0, 5),
        making.insn(CALL, BPF_PSEUDO_CALL, 9),
        making.exit(),
    ]
    program = making.program(*insns, relocations=[Relocation(2, "extern", "bpf_rcu_read_lock")])
    assert link(making.spec, program, {}).code == b"".join(insns)


def test_patched_code_is_linked_in_place_of_the_objects_own(making):
    callee = making.subprogram("callee", making.exit())
    program = making.program(
        making.insn(CALL, BPF_PSEUDO_CALL, -1), making.exit(), relocations=[Relocation(0, "call", "callee", 0)]
    )
    patched = {
        id(callee): making.insn(EXIT, 0, 1),
        id(program): making.insn(CALL, BPF_PSEUDO_CALL, -1) + making.insn(EXIT, 0, 2),
    }
    linked = link(making.spec, program, patched)
    assert [making.fields(linked.code, slot)[3] for slot in (1, 2)] == [2, 1]
    assert program.insns[8:] == callee.insns == making.exit()


def test_relocations_move_with_their_function(making):
    making.subprogram("callee", making.exit(), relocations=[Relocation(0, "map", "events", 4)])
    program = making.program(
        making.insn(CALL, BPF_PSEUDO_CALL, -1), making.exit(), relocations=[Relocation(0, "call", "callee", 0)]
    )
    assert link(making.spec, program, {}).relocations() == [
        Relocation(0, "call", "callee", 0),
        Relocation(2, "map", "events", 4),
    ]


@pytest.mark.parametrize("imm", [0, 1, 1000, -2])
def test_a_call_to_where_no_function_begins(making, imm):
    making.subprogram("callee", making.exit(), making.exit())
    program = making.program(making.insn(CALL, BPF_PSEUDO_CALL, imm), relocations=[Relocation(0, "call", ".text", 0)])
    with pytest.raises(ObjectFormatError, match=rf"'main': instruction 0 .* byte {8 * (imm + 1)} of section '.text'"):
        link(making.spec, program, {})


@pytest.mark.parametrize("imm", [4, 16, -8])
def test_a_pointer_to_where_no_function_begins(making, imm):
    making.subprogram("callee", making.exit(), making.exit())
    program = making.program(
        making.insn(LD_IMM64, 0, imm), making.insn(0), relocations=[Relocation(0, "function", ".text", 0)]
    )
    with pytest.raises(ObjectFormatError, match=rf"byte {imm} of section '.text', where none begins"):
        link(making.spec, program, {})


def test_a_pointer_without_a_relocation(making):
    """libbpf refuses it: nothing says what it points at."""
    making.subprogram("callee", making.exit())
    program = making.program(making.insn(LD_IMM64, BPF_PSEUDO_FUNC, 0), making.insn(0))
    with pytest.raises(ObjectFormatError, match=r"'main': instruction 0 .* where none begins"):
        link(making.spec, program, {})


# --- exception callbacks ---


def test_an_exception_callback_comes_last():
    """It is called by the kernel only; what it calls comes with it.  A program without the tag has none of it."""
    spec = purebpf.parse(traced.HERE / "objects/target_exceptions.bpf.o")
    callbacks = exception_callbacks(spec)
    parts = {
        name: [part.function.name for part in link(spec, program, {}, callbacks.get(name)).parts]
        for name, program in spec.programs.items()
    }
    assert parts == {
        "with_callback": ["with_callback", "called", "on_exception", "helper_of_callback"],
        "without": ["without", "called"],
    }


TAGGED = """
#define TAG(text) __attribute__((btf_decl_tag("exception_callback:" text)))
#define GLOBAL __attribute__((noinline))
GLOBAL int callback(unsigned long cookie) {{ return 0; }}
GLOBAL int other(unsigned long cookie) {{ return 1; }}
GLOBAL __attribute__((visibility("hidden"))) int hidden(unsigned long cookie) {{ return 2; }}
GLOBAL static int local(unsigned long cookie) {{ return 3; }}
{tag} __attribute__((section("tc"))) int program(void *context) {{ return local(1) + hidden(2); }}
"""

BAD_TAGS = ['TAG("")', 'TAG("nobody")', 'TAG("local")', 'TAG("hidden")', 'TAG("program")']


def tagged(tag, directory):
    (directory / "tagged.c").write_text(TAGGED.format(tag=tag))
    command = ["clang-19", "-target", "bpf", "-O2", "-g", "-c", "tagged.c", "-o", "tagged.o"]
    subprocess.run(command, cwd=directory, check=True)
    return purebpf.parse(directory / "tagged.o")


@pytest.mark.needs_tool("clang-19")
@pytest.mark.parametrize("tag", BAD_TAGS)
def test_bad_exception_callbacks(tag, tmp_path):
    with pytest.raises(ObjectFormatError, match="names no global function that is not hidden"):
        exception_callbacks(tagged(tag, tmp_path))


@pytest.mark.needs_tool("clang-19")
def test_several_exception_callbacks(tmp_path):
    """bpf_prog_assign_exc_cb() leaves that to the verifier, which refuses it."""
    assert exception_callbacks(tagged('TAG("callback") TAG("other")', tmp_path)) == {}
