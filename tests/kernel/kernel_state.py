"""What the kernel has, what this process has, and that attachments leave nothing of either behind.

The links that purebpf has are not asked: bpftool shows what the kernel has, and /proc what this process has.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import pickle
import platform
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import purebpf
from purebpf.abi.attr import bpf_prog_info
from purebpf.kernel.bpf import obj_get_info_by_fd

PATIENCE = 20
"""Seconds that the kernel, which others use too, gets for what takes it a moment."""

THREADS = max(1, min(8, int(os.environ.get("PUREBPF_ROUNDS", 500)) // 2))
"""How many attach and detach at once, in tests that do so many times.  Where PUREBPF_ROUNDS allows few, each does 2."""

# What the kernel is

RELEASE = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
"""Its version: (6, 1)."""


@functools.cache
def _symbols():
    return frozenset(re.findall(r"^\S+ \S (\S+)", Path("/proc/kallsyms").read_text(), re.MULTILINE))


def has_symbol(name):
    """Whether the kernel has a function of this name, and so what it belongs to."""
    return name in _symbols()


@functools.cache
def running_kernel():
    """What loading has to know about it.  Asked once: an emulated processor reads its types for a second."""
    return purebpf.KernelFacts.running()


@functools.cache
def _pickled(name):
    return pickle.dumps(purebpf.parse(Path(__file__).resolve().parents[1] / f"objects/{name}.bpf.o"))


def parsed(name):
    """An object of tests/objects, of which the caller may change what it likes.  It is read from its file once."""
    return pickle.loads(_pickled(name))


# What is in it


def eventually(condition):
    """The kernel frees some things a moment after the last close (RCU), and counts some packets a moment later."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def bpftool(*arguments):
    """What it shows.  It fails if somebody else's program or link goes away while it looks; then it looks again."""
    deadline = time.monotonic() + PATIENCE
    while (done := subprocess.run(["bpftool", "-j", *arguments], capture_output=True)).returncode:
        assert time.monotonic() < deadline, done
        time.sleep(0.05)
    return json.loads(done.stdout.strip() or "[]")


def id_of(program):
    """The kernel's number of a program, or of what has the descriptor of one."""
    return obj_get_info_by_fd(program.fileno(), bpf_prog_info).id


def links_of(program):
    """The links that hold a program, in whatever process.  One that may be closed already is given by its id."""
    return _that_hold(program, "link")


def events_of(program):
    """The perf events that a program, or the one with this id, is attached to, with or without a link."""
    return _that_hold(program, "perf")


def _that_hold(program, kind):
    number = program if isinstance(program, int) else id_of(program)
    return [each for each in bpftool(kind, "show") if each.get("prog_id") == number]


# What this process has


def descriptors():
    """The open ones, without the one that the directory is listed with."""
    return [number for number in sorted(os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{number}")]


def children():
    """The processes that this one has started, by whichever of its threads, and that are still there."""
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # of a thread that has just ended
            found += path.read_text().split()
    return sorted(found)


def no_children():
    """The guards of links that were dropped end by themselves; Python asks for their ends when it starts a process."""
    return eventually(lambda: subprocess.run(["true"], check=True) and children() == [])


# What is left of an attachment


@contextmanager
def refused(error, match):
    """The block raises this error, and leaves no descriptor and no process behind."""
    before = descriptors(), children()
    with pytest.raises(error, match=match) as caught:
        yield caught
    assert (descriptors(), children()) == before


@contextmanager
def nothing_left(*programs):
    """The block leaves no descriptor and no process behind, and no link and no perf event with these programs."""
    gc.collect()  # what earlier tests left must not go meanwhile
    before = descriptors(), children()
    yield
    gc.collect()
    assert (descriptors(), children()) == before
    for program in programs:
        assert eventually(lambda program=program: links_of(program) == events_of(program) == [])


def attach_and_detach(rounds, *attachers):
    """Have each of these functions attach something, and close the link that it returns, so often in all.

    Each function has a thread of its own, as most of the time is spent on waiting: for all CPUs to have left a program
    that is detached, and for child processes.
    """

    def work(number):
        for _ in rounds[number :: len(attachers)]:
            attachers[number]().close()

    with ThreadPoolExecutor(len(attachers)) as threads:
        for _ in threads.map(work, range(len(attachers))):
            pass  # but it raises what the thread has raised


@contextmanager
def killed_later(attach):
    """A child process that attaches, and is killed at the end of the block, and has nobody to wait for."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            link = attach()
            os.write(writer, b"+")
            signal.pause()
            link.close()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        with open(reader, "rb") as answer:
            assert answer.read(1) == b"+"
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
