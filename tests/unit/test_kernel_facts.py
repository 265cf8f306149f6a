"""Facts about a kernel: what they are made from, and that BTF is read only when asked for."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from btf_making import Assembler

from purebpf.btf.reader import Btf
from purebpf.errors import KernelError, PureBpfError
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


def test_btf_from_wherever(tmp_path):
    path = btf_file(tmp_path)
    for source in (path, str(path), path.read_bytes(), Btf.from_bytes(path.read_bytes())):
        assert len(KernelFacts.offline(release="6.1.0", btf=source).btf) == 3
        assert len(KernelFacts.running(core_btf=source).core_target.kernel) == 3


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
    with pytest.raises(KernelError, match=r"^reading kernel types from .*nowhere: No such file") as caught:
        KernelFacts.offline(release="6.1.0", btf=tmp_path / "nowhere").btf  # noqa: B018
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(KernelError, match="Is a directory"):
        KernelFacts.offline(release="6.1.0", btf=tmp_path).btf  # noqa: B018


def test_a_kernel_without_btf(monkeypatch, tmp_path):
    monkeypatch.setattr("purebpf.kernel.facts.KERNEL_BTF", tmp_path / "vmlinux")
    with pytest.raises(KernelError, match="built without CONFIG_DEBUG_INFO_BTF"):
        KernelFacts.running().btf  # noqa: B018
