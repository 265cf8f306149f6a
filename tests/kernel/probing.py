"""What tests of probes share: functions to probe, in files of their own, and what the running kernel can probe."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_state import RELEASE, has_symbol, parsed, running_kernel

OBJECTS = Path(__file__).resolve().parents[1] / "objects"

x86_64_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86_64: registers, and compiled code")


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
    spec = parsed(name)
    for key, program in spec.programs.items():
        program.autoload = key in programs
    for key, value in variables.items():
        spec.variables[key] = value
    with spec.load(kernel or running_kernel()) as bpf:
        yield bpf
