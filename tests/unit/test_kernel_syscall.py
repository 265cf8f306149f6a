"""System calls through libc: errors, and calls that a signal interrupts."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import textwrap

import pytest

from purebpf.abi.perf import perf_event_attr
from purebpf.kernel import syscall as module
from purebpf.kernel.syscall import syscall


def test_the_errno_is_raised():
    with pytest.raises(OSError) as caught:
        syscall("fsopen", b"no such file system", 0x7FFFFFFF)
    assert caught.value.errno in (errno.EINVAL, errno.EPERM, errno.ENOSYS)


def test_a_pointer_that_is_null():
    with pytest.raises(OSError) as caught:
        syscall("perf_event_open", None, 0, -1, -1, 0)
    assert caught.value.errno in (errno.EFAULT, errno.EPERM, errno.EACCES, errno.ENOSYS)


def test_a_structure_is_passed_by_pointer_and_written_to():
    """The kernel answers E2BIG to an attribute size it cannot take, and writes the size it knows."""
    attr = perf_event_attr(size=1)
    with pytest.raises(OSError) as caught:
        syscall("perf_event_open", attr, 0, -1, -1, 0)
    if caught.value.errno == errno.E2BIG:
        assert attr.size >= 64
    else:
        assert caught.value.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS)


@pytest.mark.parametrize(("name", "calls"), [("perf_event_open", 3), ("bpf", 1)])
def test_interrupted_calls(monkeypatch, name, calls):
    """A libc whose calls a signal interrupts twice."""
    answers = [errno.EINTR, errno.EINTR, errno.EBADF]
    made = []

    def interrupted(*_words):
        made.append(1)
        ctypes.set_errno(answers.pop(0))
        return -1

    monkeypatch.setattr(module, "_libc_syscall", lambda: interrupted)
    with pytest.raises(OSError) as caught:
        syscall(name, 0)
    assert len(made) == calls
    assert caught.value.errno == (errno.EBADF if calls == 3 else errno.EINTR)


@pytest.mark.needs_tool("gcc")
def test_libc_syscall_is_the_way(tmp_path):
    """A preloaded library that defines ``syscall`` sees the call, with its arguments whole."""
    source = r"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <stdio.h>
    #include <sys/syscall.h>
    long syscall(long number, long a, long b, long c, long d, long e, long f) {
        if (number == SYS_bpf) {
            fprintf(stderr, "%ld %d %ld\n", a, *(int *)b, c);
            return 77;
        }
        long (*libc)(long, ...) = dlsym(RTLD_NEXT, "syscall");
        return libc(number, a, b, c, d, e, f);
    }
    """
    (tmp_path / "shim.c").write_text(textwrap.dedent(source))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c"], check=True)
    script = """
from purebpf.abi.attr import bpf_attr_map_elem
from purebpf.abi.bpf import bpf_cmd
from purebpf.kernel.bpf import bpf
print(bpf(bpf_cmd.BPF_MAP_LOOKUP_ELEM, bpf_attr_map_elem(map_fd=1234)))
"""
    env = os.environ | {"LD_PRELOAD": str(tmp_path / "shim.so")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stderr == "1 1234 32\n"  # BPF_MAP_LOOKUP_ELEM is 1; its attributes end with the flags, at 32
    assert done.stdout == "77\n"
