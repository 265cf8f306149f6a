"""Other kernels' types, and those of kernel modules: they come out as others say that they are.

- A tool's CO-RE relocations, for five kernels: llvm-objdump says which instructions of the object depend on which
  member, bpftool where each kernel has that member.
- Modules of a Debian kernel, and programs that need their types; where a module brings a base of its own
  (``.BTF.base``), its types are put on a kernel's to the byte as by libbpf.

``make conformance`` sets PUREBPF_FETCH to have fetched what is not on this machine; without that, it is skipped.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# The suite is a package of its own, run from the root of the tree.
sys.path.insert(0, str(Path(__file__).parents[2]))

import purebpf
from purebpf.abi.bpf import BPF_PSEUDO_BTF_ID as BTF_ID
from purebpf.abi.bpf import BPF_PSEUDO_KFUNC_CALL as KFUNC
from purebpf.asm.instruction import decode
from purebpf.errors import PlanError
from purebpf.load.plan import Code
from purebpf.obj.btf_file import read_btf
from tests.conformance import debian

ROOT = Path(__file__).resolve().parents[2]
EXECSNOOP = ROOT / "prebuilt" / "execsnoop.bpf.o"
OBJECTS = ROOT / "tests" / "objects"
SUITES = ("bullseye-security", "bookworm-security", "trixie", "sid")
MODULES = ("drop_monitor", "nf_conntrack", "veth")
LONG = 8  # bytes of each element of the arrays that are accessed

pytestmark = pytest.mark.needs_tool("bpftool", "llvm-objdump-19", "llvm-objcopy-19", "cc")


def fetched(name: str, fetch: Callable[[], object]) -> Path:
    """A directory of the cache."""
    if "1" in (os.environ.get("PUREBPF_FETCH"), os.environ.get("PUREBPF_REQUIRE_ALL")):
        fetch()
    if not (debian.CACHE / name).exists():
        pytest.skip("needs what make conformance fetches")
    return debian.CACHE / name


@dataclass
class Member:
    name: str
    type_id: int
    offset: int  # in bytes


@dataclass
class Composites:
    """The structs and unions of a kernel, as bpftool lists them."""

    members: dict[int, list[Member]] = field(default_factory=dict)
    ids: dict[str, list[int]] = field(default_factory=dict)

    def offsets(self, name: str, path: str) -> set[int]:
        """At which bytes the structs of that name have a member, or an element of it: ``args[1]``."""
        wanted, index = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", path).groups(default="0")  # type: ignore[union-attr]
        return {
            offset + LONG * int(index)
            for type_id in self.ids[name]
            for member, offset in self._all_members(type_id)
            if member == wanted
        }

    def _all_members(self, type_id: int) -> Iterator[tuple[str, int]]:
        """Those of anonymous members included."""
        for member in self.members.get(type_id, ()):
            if member.name == "(anon)":
                inside = self._all_members(member.type_id)
                yield from ((name, member.offset + offset) for name, offset in inside)
            else:
                yield member.name, member.offset


def listing(path: Path, base: Path | None = None) -> str:
    """What bpftool says about types: a line for each, followed by an indented line for each member."""
    command = ["bpftool", *(["-B", base] if base else []), "btf", "dump", "file", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def composites(*listings: str) -> Composites:
    """The structs and unions in what bpftool says about a kernel, and about its modules."""
    found = Composites()
    current: list[Member] = []
    for line in "\n".join(listings).splitlines():
        if line.startswith("["):
            current = []
            head = re.match(r"\[(\d+)\] (?:STRUCT|UNION) '([^']+)'", line)
            if head:
                found.members[int(head[1])] = current
                found.ids.setdefault(head[2], []).append(int(head[1]))
        else:
            member = re.match(r"\t'([^']+)' type_id=(\d+) bits_offset=(\d+)", line)
            if member:
                current.append(Member(member[1], int(member[2]), int(member[3]) // 8))
    return found


def accesses(path: Path) -> list[tuple[str, int, str, str]]:
    """The instructions whose value is a member's offset: function, index, struct and member, as by llvm-objdump."""
    listing = subprocess.run(["llvm-objdump-19", "-dr", path], capture_output=True, text=True, check=True).stdout
    functions = re.split(r"^[0-9a-f]+ <(\w+)>:\n", listing, flags=re.MULTILINE)[1:]
    relocation = re.compile(
        r"^ +(\d+):\t.*\n\t\t[0-9a-f]+:  CO-RE <byte_off> \[\d+\] struct (\w+)::(\S+) ", re.MULTILINE
    )
    return [
        (function, int(index), name, member)
        for function, text in zip(functions[::2], functions[1::2], strict=True)
        for index, name, member in relocation.findall(text)
    ]


def programs(path: Path, kernel: purebpf.KernelFacts) -> dict[str, Code]:
    """The instructions of each program, planned for a kernel."""
    found = {}
    for command in purebpf.parse(path).plan(kernel):
        code = command.fields.get("insns")
        if command.creates is not None and isinstance(code, Code):
            found[command.creates.name] = code
    return found


def test_how_accesses_are_found() -> None:
    found = accesses(EXECSNOOP)
    assert {("exit_execve", "task_struct", member) for member in ("real_parent", "tgid", "mm")} <= {
        (function, name, member) for function, _, name, member in found
    }


@pytest.mark.parametrize("suite", ["running", *SUITES])
def test_execsnoop_is_patched_with_the_offsets_of_the_kernel(suite: str) -> None:
    if suite == "running":
        btf = Path("/sys/kernel/btf/vmlinux")
        kernel = purebpf.KernelFacts.running()
    else:
        directory = fetched(f"kernel-{suite}", debian.kernels)
        btf = directory / "btf"
        kernel = purebpf.KernelFacts.offline(release=(directory / "version").read_text().split()[0], btf=btf)
    checked = check_offsets(EXECSNOOP, kernel, composites(listing(btf)))
    assert {("task_struct", "real_parent"), ("task_struct", "tgid")} < checked


def check_offsets(path: Path, kernel: purebpf.KernelFacts, types: Composites) -> set[tuple[str, str]]:
    """Each instruction that depends on a member's offset has that of the kernel; returns structs and members."""
    code_of, checked = programs(path, kernel), set()
    for function, index, name, member in accesses(path):
        opcode, offset, immediate = struct.unpack_from("=BxhI", code_of[function].insns, 8 * index)
        assert opcode & 7 in (1, 7)  # BPF_LDX has the offset for itself, BPF_ALU64 an immediate
        patched = offset if opcode & 7 == 1 else immediate
        assert {patched} == types.offsets(name, member), f"{function} at {index}: {name}::{member}"
        checked.add((name, member))
    return checked


# Modules


@dataclass
class Module:
    """A module of a Debian kernel: its file, its types bare, and the kernel's types, which they build on."""

    file: Path
    types: Path
    kernel: Path


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest, tmp_path: Path) -> Module:
    directory = fetched("modules", debian.modules)
    file, types = directory / f"{request.param}.ko", tmp_path / "types"
    subprocess.run(["llvm-objcopy-19", "--dump-section", f".BTF={types}", file, tmp_path / "copy"], check=True)
    return Module(file, types, directory / "btf")


@pytest.fixture(scope="module")
def distill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of distill.c, with the newest libbpf."""
    libbpf = fetched("libbpf", debian.libbpf)
    program = tmp_path_factory.mktemp("distill") / "distill"
    source = Path(__file__).with_name("distill.c")
    command = ["cc", "-O", "-Wall", "-Werror", "-I", libbpf, "-o", program, source, libbpf / "libbpf.a", "-lelf", "-lz"]
    subprocess.run(command, check=True)
    return program


def test_a_module_with_a_base_of_its_own(module: Module, distill: Path, tmp_path: Path) -> None:
    """On the kernel that it was built for, and on others; those are too different, mostly."""
    base, split, relocated = tmp_path / "base", tmp_path / "split", tmp_path / "relocated"
    subprocess.run([distill, "distill", module.kernel, module.types, base, split], check=True)
    file = tmp_path / "apart.ko"
    options = ["--update-section", f".BTF={split}", "--add-section", f".BTF.base={base}"]
    subprocess.run(["llvm-objcopy-19", *options, module.file, file], check=True)
    taken = []
    for kernel in (module.kernel, *(fetched(f"kernel-{suite}", debian.kernels) / "btf" for suite in SUITES)):
        relocate = [distill, "relocate", base, split, kernel, relocated]
        if subprocess.run(relocate, capture_output=True).returncode == 0:
            assert read_btf(file, base=read_btf(kernel)).data == relocated.read_bytes()
            taken.append(kernel)
        else:
            with pytest.raises(PlanError, match=rf"^{file} builds on .*, and {kernel} has"):
                read_btf(file, base=read_btf(kernel))
    assert module.kernel in taken


def test_a_module_built_with_its_kernel(module: Module) -> None:
    btf = read_btf(module.file, base=read_btf(module.kernel))
    found = re.findall(r"^\[(\d+)\] (\w+) '(\w+)'", listing(module.file, module.kernel), re.MULTILINE)
    for type_id, kind, name in found:
        type_ = btf.type(int(type_id))
        assert (type_.kind.name, type_.name) == (f"BTF_KIND_{kind}", name)
    assert int(found[-1][0]) < len(btf)


def offline() -> tuple[Path, purebpf.KernelFacts]:
    """Debian's kernel 6.12 with its modules loaded, and the directory of their types."""
    directory = fetched("modules", debian.modules)
    kernel = purebpf.KernelFacts.offline(
        release="6.12.0",
        btf=directory / "btf",
        modules={name: directory / f"{name}.ko" for name in MODULES},
        symbols={"sched_send_work": 0xFFFFFFFF81000000},
    )
    return directory, kernel


def test_members_of_a_modules_struct() -> None:
    directory, kernel = offline()
    types = composites(listing(directory / "btf"), listing(directory / "veth.ko", directory / "btf"))
    assert ("veth_priv", "peer") in check_offsets(OBJECTS / "module_veth.bpf.o", kernel, types)


def test_functions_of_a_module() -> None:
    """They are called by their ids in its types, in the first BTF that fd_array has."""
    directory, kernel = offline()
    code = programs(OBJECTS / "module_conntrack.bpf.o", kernel)["insert"]
    functions = dict(re.findall(r"\[(\d+)\] FUNC '(\w+)'", listing(directory / "nf_conntrack.ko", directory / "btf")))
    called = [insn for insn in decode(code.insns, "little") if (insn.opcode, insn.src_reg) == (0x85, KFUNC)]
    assert [(functions[str(insn.imm)], insn.off) for insn in called] == [
        ("bpf_xdp_ct_alloc", 1),
        ("bpf_ct_set_timeout", 1),
        ("bpf_ct_insert_entry", 1),
        ("bpf_ct_release", 1),
    ]


def test_a_variable_of_a_module() -> None:
    directory, kernel = offline()
    code = programs(OBJECTS / "module_drop_monitor.bpf.o", kernel)["read"]
    types = listing(directory / "drop_monitor.ko", directory / "btf")
    (variable,) = re.findall(r"^\[(\d+)\] VAR 'dm_cpu_data'", types, re.MULTILINE)
    loads = [insn.imm for insn in decode(code.insns, "little") if (insn.opcode, insn.src_reg) == (0x18, BTF_ID)]
    assert loads == [int(variable)]
    assert "<module btf drop_monitor>" in {str(handle) for _, handle in code.handles}
