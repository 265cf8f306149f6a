"""Facts about a kernel: what they are made from, and that BTF is read only when asked for."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from btf_making import Assembler
from test_btf_relocate import distilled, distilled_module, kernel
from test_btf_relocate import module as split

from purebpf.btf.reader import Btf
from purebpf.errors import KernelError, ObjectFormatError, PlanError, PureBpfError
from purebpf.kernel import cpu
from purebpf.kernel.facts import KernelFacts, _running_version
from purebpf.load.facts import version_code


@pytest.mark.parametrize(
    "release, code",
    [
        ("6.1.0", 0x060100),
        ("6.1.0-28-cloud-amd64", 0x060100),
        ("5.10.226", 0x050AE2),
        ("4.14.336", 0x040EFF),  # KERNEL_VERSION() in <linux/version.h> stops at 255
        ("6.12-rc3", 0x060C00),
        ("7.2.1+", 0x070201),
    ],
)
def test_version_code(release, code):
    assert version_code(release) == code


@pytest.mark.parametrize("release", ["", "six", "6", "v6.1"])
def test_no_version(release):
    with pytest.raises(PureBpfError, match=f"^'{release}' is no kernel release such as"):
        version_code(release)


@pytest.mark.parametrize(
    "release, build, signature, code",
    [
        ("6.1.0-28-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)", "", 0x060177),
        ("5.15.0-91-generic", "#101-Ubuntu SMP", "Ubuntu 5.15.0-91.101-generic 5.15.131\n", 0x050F83),
        ("6.18.44", "#1 SMP", "something else", 0x06122C),
        ("6.18.44", "#1 SMP", "", 0x06122C),
    ],
)
def test_version_of_distributions(release, build, signature, code):
    assert _running_version(release, build, signature) == code


def test_running():
    facts = KernelFacts.running()
    assert facts.release == os.uname().release
    assert facts.byteorder == sys.byteorder
    assert facts.possible_cpus == len(cpu.possible()) >= os.cpu_count()
    assert facts.page_size == os.sysconf("SC_PAGE_SIZE")
    assert repr(facts) == f"<KernelFacts of Linux {os.uname().release}>"


def btf_file(tmp_path):
    made = Assembler()
    made.int("one")
    made.int("two")
    path = tmp_path / "vmlinux"
    path.write_bytes(made.bytes())
    return path


def elf_file(tmp_path, target, content=None):
    """What a kernel's build makes of its types: an ELF file with a section .BTF."""
    path = tmp_path / f"{target}.elf"
    subprocess.run(["clang-19", "-target", target, "-x", "c", "-c", "-", "-o", path], input=b"int x = 1;", check=True)
    if content is not None:
        (tmp_path / "content").write_bytes(content)
        subprocess.run(["llvm-objcopy-19", "--add-section", f".BTF={tmp_path / 'content'}", path], check=True)
    return path


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
def test_btf_from_wherever(tmp_path):
    path = btf_file(tmp_path)
    raw = path.read_bytes()
    elf = elf_file(tmp_path, "x86_64-linux", raw)
    for source in (path, str(path), raw, Btf.from_bytes(raw), elf, str(elf), elf.read_bytes()):
        assert len(KernelFacts.offline(release="6.1.0", btf=source).btf) == 3
        assert len(KernelFacts.running(core_btf=source).core_target.kernel) == 3


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
@pytest.mark.parametrize("order", ["little", "big"])
def test_types_of_the_other_byte_order(tmp_path, order):
    other = Assembler("<" if order == "little" else ">")
    other.int("one")
    (tmp_path / "raw").write_bytes(other.bytes())
    elf = elf_file(tmp_path, "x86_64-linux" if order == "little" else "s390x-linux", other.bytes())
    for source in (other.bytes(), other.btf(), tmp_path / "raw", elf):
        assert len(KernelFacts.offline(release="6.1.0", btf=source, byteorder=order).btf) == 2
        different = "big" if order == "little" else "little"
        message = f"{order}-endian types, and the kernel is {different}-endian"
        with pytest.raises(ObjectFormatError, match=message) as caught:
            KernelFacts.offline(release="6.1.0", btf=source, byteorder=different).btf  # noqa: B018
        if isinstance(source, os.PathLike):
            assert caught.value.where == str(source)
        running = KernelFacts.running(core_btf=source)
        if order == sys.byteorder:
            assert running.core_target.kernel.byteorder == order
        else:
            with pytest.raises(ObjectFormatError, match=message):
                running.core_target  # noqa: B018


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
def test_files_without_types(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("types")
    for path, message in [
        (elf_file(tmp_path, "x86_64-linux"), "this ELF file has no section .BTF"),
        (other, "neither BTF nor an ELF file"),
    ]:
        with pytest.raises(ObjectFormatError, match=f"^{path}: {message}"):
            KernelFacts.offline(release="6.1.0", btf=path).btf  # noqa: B018
        with pytest.raises(ObjectFormatError, match=f"^{path}: {message}"):
            KernelFacts.running(core_btf=path).core_target  # noqa: B018
    with pytest.raises(ObjectFormatError, match=r"^core_btf: neither"):
        KernelFacts.running(core_btf=b"types").core_target  # noqa: B018


@pytest.mark.needs_tool("clang-19", "llvm-objcopy-19")
def test_types_of_modules(tmp_path):
    """Built with the kernel, or apart from it on a base of its own: raw, in an ELF file, or as bytes."""
    base, apart = kernel(more=3), distilled()
    raw = split(base).bytes()
    (tmp_path / "raw").write_bytes(raw)
    (tmp_path / "base").write_bytes(apart.bytes())
    built_apart = elf_file(tmp_path, "x86_64-linux", distilled_module(apart).bytes())
    subprocess.run(["llvm-objcopy-19", "--add-section", f".BTF.base={tmp_path / 'base'}", built_apart], check=True)
    sources = {"a": tmp_path / "raw", "b": raw, "c": split(base).btf(base.btf()), "d": built_apart}
    facts = KernelFacts.offline(release="6.12.0", btf=base.bytes(), modules=sources)
    assert [module.name for module in facts.modules] == ["a", "b", "c", "d"]
    for module in facts.modules:
        (found,) = module.btf.find("module")
        member = module.btf.type(found).members[1]
        pointed = module.btf.type(module.btf.type(member.type_id).type_id)
        assert (pointed.name, pointed.size) == ("pointed", 16)
        assert module.btf.base.data == base.bytes()
    lacking = KernelFacts.offline(release="6.12.0", btf=btf_file(tmp_path), modules={"d": built_apart})
    with pytest.raises(
        PlanError, match=f"^{built_apart} builds on int int of 4 bytes, and .*/vmlinux has no such type"
    ):
        lacking.modules  # noqa: B018
    alone = KernelFacts.offline(release="6.12.0", btf=base.bytes(), modules={"d": tmp_path / "nowhere"})
    with pytest.raises(KernelError, match=r"^reading types from .*/nowhere: No such file"):
        alone.modules  # noqa: B018


def test_btf_is_read_when_asked_for_and_once(tmp_path):
    path = tmp_path / "later"
    facts = KernelFacts.offline(release="6.1.0", btf=path)
    path.write_bytes(btf_file(tmp_path).read_bytes())
    types = facts.btf
    path.unlink()
    assert facts.btf is types
    assert facts.core_target is facts.core_target


def test_no_btf(tmp_path):
    with pytest.raises(PureBpfError, match=r"no BTF was given; pass offline\(btf="):
        KernelFacts.offline(release="6.1.0").btf  # noqa: B018
    with pytest.raises(KernelError, match=r"^reading types from .*nowhere: No such file") as caught:
        KernelFacts.offline(release="6.1.0", btf=tmp_path / "nowhere").btf  # noqa: B018
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(ObjectFormatError, match="this is no regular file"):
        KernelFacts.offline(release="6.1.0", btf=tmp_path).btf  # noqa: B018


def test_a_kernel_without_btf(monkeypatch, tmp_path):
    monkeypatch.setattr("purebpf.kernel.facts.KERNEL_BTF", tmp_path / "vmlinux")
    with pytest.raises(KernelError, match="built without CONFIG_DEBUG_INFO_BTF"):
        KernelFacts.running().btf  # noqa: B018
