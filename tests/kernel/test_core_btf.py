"""Types from a file in place of the running kernel's, for CO-RE: programs loaded with them read what is there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from elf_image import build
from running import OUTER_PIDS, PATIENCE

import purebpf

EXECSNOOP = Path(__file__).resolve().parents[2] / "prebuilt" / "execsnoop.bpf.o"
TYPES = Path("/sys/kernel/btf/vmlinux")

EMPTY = bytes.fromhex("9feb0100 18000000 00000000 00000000 00000000 01000000 00")  # a header, and one string

pytestmark = pytest.mark.needs_root


def parent_of_a_child(kernel, mark):
    """The parent that execsnoop sees of a process that this one starts, with ``mark`` as its argument."""
    end = time.monotonic() + PATIENCE
    with purebpf.load(EXECSNOOP, kernel=kernel) as loaded, loaded.maps["events"].read("event") as ring:
        loaded.attach()
        os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-c", "", mark], {}), 0)
        while time.monotonic() < end:
            for event in ring.poll(1):
                if mark.encode() in event.text.raw:
                    return event.ppid
    raise AssertionError("no event of the child")


@pytest.mark.any_kernel
@pytest.mark.parametrize("form", ["raw file", "ELF file", "raw", "ELF"])
def test_types_from_a_file(form, tmp_path):
    content = TYPES.read_bytes()
    if "ELF" in form:
        content = build([(".text", b"", {}), (".BTF", content, {})])
    source = content
    if "file" in form:
        source = tmp_path / "vmlinux"
        source.write_bytes(content)
    parent = parent_of_a_child(purebpf.KernelFacts.running(core_btf=source), f"purebpf-{os.getpid()}-{form}")
    if OUTER_PIDS:
        assert parent == os.getpid()


def test_the_wrong_types():
    """What a file lacks, no matter whether the kernel has it, a program is refused for."""
    message = "CO-RE cannot provide the offset of .*: core_btf has no struct trace_event_raw_sys_enter"
    with pytest.raises(purebpf.VerifierError, match=message):
        purebpf.load(EXECSNOOP, kernel=purebpf.KernelFacts.running(core_btf=EMPTY)).close()
