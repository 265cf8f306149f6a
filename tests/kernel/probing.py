"""What tests of probes share: functions to probe, in files of their own, and what the running kernel can probe.

Whether it can is asked of the list of its symbols, and of its release, not of purebpf.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import purebpf
from purebpf.abi.attr import bpf_prog_info
from purebpf.kernel.bpf import obj_get_info_by_fd

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
RELEASE = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])

x86_64_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86_64: registers, and compiled code")


@functools.cache
def _kernel_symbols():
    return frozenset(re.findall(r"^\S+ \S (\S+)", Path("/proc/kallsyms").read_text(), re.MULTILINE))


def has_symbol(name):
    """Whether the kernel has a function of this name, and so what it belongs to."""
    return name in _kernel_symbols()


needs_kprobes = pytest.mark.needs_kernel("CONFIG_KPROBES", lambda: has_symbol("register_kprobe"))
needs_cookies = pytest.mark.needs_kernel("cookies of links (Linux 5.15)", RELEASE >= (5, 15))
needs_fprobes = pytest.mark.needs_kernel("CONFIG_FPROBE (Linux 5.18)", lambda: has_symbol("register_fprobe"))
needs_sleepable_uprobes = pytest.mark.needs_kernel("sleepable uprobes (Linux 6.0)", RELEASE >= (6, 0))
needs_uprobe_multi = pytest.mark.needs_kernel(
    "links to many uprobes (Linux 6.6)", lambda: has_symbol("bpf_uprobe_multi_link_attach")
)
needs_uprobe_sessions = pytest.mark.needs_kernel("sessions of uprobes (Linux 6.13)", RELEASE >= (6, 13))
needs_kprobe_sessions = pytest.mark.needs_kernel(
    "sessions of kprobes (Linux 6.10, CONFIG_FPROBE)",
    lambda: RELEASE >= (6, 10) and has_symbol("register_fprobe"),
)


class Library:
    """A shared library of this test's own (tests/objects/probed.c), loaded into this process.

    Uprobes are set on a file; with one of its own a test sees nobody's events but its own.
    """

    def __init__(self, folder):
        self.path = str(shutil.copy(OBJECTS / "probed.x86_64.so", Path(folder) / "libprobed.so.1"))
        self._loaded = ctypes.CDLL(self.path)

    def __getattr__(self, name):
        function = getattr(self._loaded, name)
        function.restype = ctypes.c_long
        return function


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path)


class Process:
    """A running program (tests/objects/probed.c) that does what it is told, letter by letter."""

    def __init__(self, path):
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        self("?")  # it runs

    def __call__(self, letter):
        self._process.stdin.write(letter.encode())
        self._process.stdin.flush()
        return self._process.stdout.read(1).decode()

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def program_file(tmp_path):
    return str(shutil.copy(OBJECTS / "probed.x86_64", tmp_path / "probed"))


@pytest.fixture
def start(program_file):
    """A function that starts the program."""
    with contextlib.ExitStack() as stack:

        def start_one():
            process = Process(program_file)
            stack.callback(process.close)
            return process

        yield start_one


@contextlib.contextmanager
def loaded(name, *programs, kernel=None, **variables):
    """An object of tests/objects, with these of its programs, and these values of its variables."""
    spec = purebpf.parse(OBJECTS / f"{name}.bpf.o")
    for key, program in spec.programs.items():
        program.autoload = key in programs
    for key, value in variables.items():
        spec.variables[key] = value
    with spec.load(kernel) as bpf:
        yield bpf


def id_of(program):
    return obj_get_info_by_fd(program.fileno(), bpf_prog_info).id


def bpftool(*arguments):
    """What it shows.  It fails if something goes away while it walks, and others may be busy on this machine."""
    end = time.monotonic() + 20
    while (done := subprocess.run(["bpftool", "-j", *arguments], capture_output=True)).returncode:
        assert time.monotonic() < end, done
        time.sleep(0.05)
    return json.loads(done.stdout)


def links_of(number):
    return [link for link in bpftool("link", "show") if link.get("prog_id") == number]


def events_of(number):
    """Perf events that the program is attached to, in whatever process."""
    return [event for event in bpftool("perf", "show") if event.get("prog_id") == number]


def eventually(condition):
    """The kernel frees some things a moment after the last close (RCU)."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def descriptors():
    """The open ones, without the one that the directory is listed with."""
    return [number for number in sorted(os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{number}")]


@contextlib.contextmanager
def refused(error, match):
    """Something must fail with this error, and leave nothing open."""
    before = descriptors()
    with pytest.raises(error, match=match) as caught:
        yield caught
    assert descriptors() == before
