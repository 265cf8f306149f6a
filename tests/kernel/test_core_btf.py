"""Types from a file in place of the running kernel's, for CO-RE: programs loaded with them read what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from elf_image import build

import purebpf

EXECSNOOP = Path(__file__).resolve().parents[2] / "prebuilt" / "execsnoop.bpf.o"
TYPES = Path("/sys/kernel/btf/vmlinux")

pytestmark = pytest.mark.needs_root


def seen(kernel, mark):
    """The parent that execsnoop sees of a process that this one starts, whose argument is ``mark``."""
    with purebpf.load(EXECSNOOP, kernel=kernel) as loaded:
        loaded.attach()
        pid = os.posix_spawn("/bin/true", ["true", mark], {})
        os.waitpid(pid, 0)
        for event in loaded.maps["events"].read("event", timeout=10):
            if mark.encode() in bytes(event.data):
                return event.ppid
    return None


@pytest.mark.parametrize("form", ["raw file", "ELF file", "raw", "ELF"])
def test_types_from_a_file(form, tmp_path):
    content = TYPES.read_bytes()
    if "ELF" in form:
        content = build([(".text", b"", {}), (".BTF", content, {})])
    source = content
    if "file" in form:
        source = tmp_path / "vmlinux"
        source.write_bytes(content)
    assert seen(purebpf.KernelFacts.running(core_btf=source), f"purebpf-{os.getpid()}-{form}") == os.getpid()
