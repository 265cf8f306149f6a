"""trace_pipe: lines that a program prints arrive, and a pipe that somebody else reads says so."""

from __future__ import annotations

import errno
import itertools
import os
import select
import time
from pathlib import Path

import pytest
from kernel_state import RELEASE

import purebpf
from purebpf.errors import KernelError
from purebpf.kernel.tracefs import Tracefs

pytestmark = pytest.mark.needs_root

PREBUILT = Path(__file__).resolve().parents[2] / "prebuilt"


@pytest.fixture
def pipe():
    """The machine has one; another test run may be reading it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            pipe = purebpf.TracePipe()
            break
        except KernelError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    with pipe:
        yield pipe


def write(text):
    """Put text into the trace buffer, as one write."""
    with Tracefs.open() as tracefs, tracefs.open_file("trace_marker", os.O_WRONLY) as file:
        os.write(file.fileno(), text.encode())


def lines_with(pipe, word, count):
    """That many lines with the word in them; other people's lines are in between."""
    found = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        select.select([pipe], [], [], 1)
        found += [line for line in pipe.lines() if word in line]
    return found


def test_lines(pipe):
    word = f"purebpf-test-{os.getpid()}"
    for number in range(5):
        write(f"{word}-{number}-ü\n")
    found = lines_with(pipe, word, 5)
    assert [line.rpartition(": ")[2] for line in found] == [f"{word}-{number}-ü" for number in range(5)]


def test_lines_that_do_not_wait(pipe):
    """With nothing to read, an empty answer at once."""
    for _ in pipe.lines():
        pass
    started = time.monotonic()
    assert len([line for line in pipe.lines() if "purebpf-test" in line]) == 0
    assert time.monotonic() - started < 5


def test_lines_that_nobody_took(pipe):
    """Who stops in the middle gets the rest the next time."""
    word = f"purebpf-rest-{os.getpid()}"
    write(f"{word}-first\n")
    write(f"{word}-second\n")
    found = []
    deadline = time.monotonic() + 10
    while len(found) < 2 and time.monotonic() < deadline:
        found += [line for line in itertools.islice(pipe.lines(), 1) if word in line]
    assert [line.rpartition("-")[2] for line in found] == ["first", "second"]


def test_a_line_in_pieces(pipe, monkeypatch):
    """Reads end anywhere in a line, and in a character."""
    word = f"purebpf-pieces-{os.getpid()}"
    monkeypatch.setattr("purebpf.events.trace_pipe._CHUNK", 200)
    for number in range(20):
        write(f"{word}-{number}-{'ü' * 50}\n")
    found = lines_with(pipe, word, 20)
    assert [line.rpartition(": ")[2] for line in found] == [f"{word}-{number}-{'ü' * 50}" for number in range(20)]


def test_a_program_prints(pipe):
    with purebpf.load(PREBUILT / "hello.bpf.o") as bpf:
        bpf.attach()
        Path("/dev/null").read_bytes()
        name = Path("/proc/self/comm").read_text().strip()
        assert lines_with(pipe, f"{name}-{os.getpid()}", 1)


@pytest.mark.needs_kernel("a trace_pipe that refuses a second reader (Linux 6.6)", RELEASE >= (6, 6))
def test_a_second_reader(pipe):
    with pytest.raises(KernelError, match=r"^opening trace_pipe: .*EBUSY.*Somebody else reads it") as caught:
        purebpf.TracePipe()
    assert caught.value.errno == errno.EBUSY


def test_closing(pipe):
    pipe.close()
    pipe.close()
    with pytest.raises(ValueError, match="closed"):
        list(pipe.lines())
