"""What an object may cost on its way to the kernel, whatever its bytes: see test_fuzz_objects.py."""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
import time
from pathlib import Path

import purebpf
from purebpf.load.execute import execute

MAX_SECONDS = 1.0
MAX_BYTES = 200 << 20


@contextlib.contextmanager
def limited():
    """Allow so much memory (beyond, there is a MemoryError) and processor time (an AssertionError); yields a Cost.

    The processor time is this thread's own, so that a busy machine fails no test, and without the garbage collection of
    what hypothesis keeps.  A tracer, as coverage is one, would make the code several times slower, and rests meanwhile.
    """
    used = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) << 10
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, hard))
    gc.disable()
    tracer = sys.gettrace()
    sys.settrace(None)
    cost = Cost()
    start = time.thread_time()
    try:
        yield cost
    finally:
        cost.seconds = time.thread_time() - start
        sys.settrace(tracer)
        gc.enable()
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    assert cost.seconds < MAX_SECONDS, f"this took {cost.seconds:.1f} s"


class Cost:
    seconds = 0.0


def go_through(data, facts):
    """All that happens to an object before the kernel gets it; returns the number of bpf(2) calls."""
    spec = purebpf.parse(data)
    repr(spec)
    for program in spec.programs.values():
        program.autoload = True
    dict(spec.variables)
    return use(spec.plan(facts))


def use(plan):
    """What happens to a plan: it is read, also the explanations in it, and executed; returns the number of calls."""
    str(plan)
    for command in plan:
        for note in command.notes.values():
            str(note)
    execute(plan, Kernel())
    return len(plan)


class Kernel:
    """Takes every call, and hands out the next number as the descriptor."""

    def __init__(self):
        self.number = 2

    def bpf(self, cmd, attr, *, action):
        self.number += 1
        return self.number

    def lacking(self, code, cmd, fields):
        return ""

    def own(self, number, what):
        return Owner(number)

    def prepare_pin(self, path):
        pass

    def note_pin(self, path):
        pass

    def map_memory(self, handle, fd, mapped):
        pass

    def undo(self):
        pass


class Owner:
    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number

    def close(self):
        pass
