"""profile: which functions the CPUs spend their time in, found by looking many times a second.

The object counts stacks of addresses, each a number in the map of stacks; `purebpf.tools.symbols` makes names of them
when the run is over.
"""

from __future__ import annotations

import argparse
import errno
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import purebpf
from purebpf.abi.perf import perf_sw_ids, perf_type_id
from purebpf.tools.session import Session
from purebpf.tools.symbols import Frame, KernelSymbols, ProcessSymbols
from purebpf.tools.tool import Row, Tool, c_string, count, printable, whole_number

_FREQUENCY = 99  # Hz; not 100, lest all that is done a hundred times a second is met each time, or never
_NO_STACK = -errno.EFAULT


class Front(Tool):
    """Rows are distinct stacks, or, for the table, functions."""

    name = "profile"
    summary = "the functions that CPUs spend their time in, of the kernel and of programs"
    header = f"{'SAMPLES':>8} {'SHARE':>6}  {'PID':<7} {'COMM':<16} FUNCTION"
    pid: int | None = None
    frequency = _FREQUENCY
    folded = False
    by_function = True

    def __init__(self) -> None:
        super().__init__()
        self.remarks: list[str] = []

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
        parser.add_argument("--pid", type=whole_number, metavar="PID", help="look at one process only")
        parser.add_argument(
            "--frequency",
            type=whole_number,
            default=_FREQUENCY,
            metavar="HZ",
            help=f"how many times a second to look, on each CPU (default: {_FREQUENCY})",
        )
        parser.add_argument(
            "--folded", action="store_true", help="print whole stacks, a line each, as flamegraph.pl reads them"
        )

    def configure(self, options: argparse.Namespace) -> None:
        super().configure(options)
        self.pid, self.frequency, self.folded = options.pid, options.frequency, options.folded
        self.by_function = not (options.folded or options.json)
        if self.folded:
            self.header = ""

    def prepare(self, spec: purebpf.ObjectSpec) -> None:
        namespace = Path("/proc/self/ns/pid").stat()
        # The kernel's own number of a device, include/linux/kdev_t.h
        spec.variables["namespace_dev"] = os.major(namespace.st_dev) << 20 | os.minor(namespace.st_dev)
        spec.variables["namespace_ino"] = namespace.st_ino
        if self.pid is not None:
            _check_process(self.pid)
            spec.variables["target_pid"] = self.pid

    def attach(self, bpf: purebpf.BpfObject) -> None:
        clock = perf_sw_ids.PERF_COUNT_SW_CPU_CLOCK
        sample = bpf.programs["sample"]
        bpf.links.append(sample.attach_perf_event(perf_type_id.PERF_TYPE_SOFTWARE, clock, frequency=self.frequency))

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        while session.wait():
            pass
        bpf.detach()
        kernel, processes = KernelSymbols(), ProcessSymbols()
        stacks = list(_stacks(bpf, kernel, processes))
        yield from _by_function(stacks) if self.by_function else _whole(stacks)
        self._note(bpf, stacks, kernel, processes)

    def line(self, row: Row) -> str:
        if self.folded:
            frames = [row["comm"], *row["user"], *(f"{function}_[k]" for function in row["kernel"])]
            return ";".join(printable(frame).replace(";", ":") for frame in frames) + f" {row['samples']}"
        where = f"{row['function']} ({row['object']})" if row["object"] else row["function"]
        comm = printable(row["comm"])
        return f"{row['samples']:>8} {row['share']:>6.1%}  {row['pid']:<7} {comm:<16} {printable(where)}"

    def _note(
        self, bpf: purebpf.BpfObject, stacks: list[Stack], kernel: KernelSymbols, processes: ProcessSymbols
    ) -> None:
        if not stacks:
            self.remarks.append("nothing was running")
        if lost := sum(bpf.maps["lost"][0]):
            self.remarks.append(f"{count(lost, 'sample')} lost because the map of counts was full")
        if collided := sum(stack.samples for stack in stacks if _LOST in (stack.user[:1] + stack.kernel[:1])):
            self.remarks.append(f"{count(collided, 'sample')} without stack because the map of stacks was too small")
        if kernel.hidden:
            self.remarks.append("the kernel hides its addresses (sysctl kernel.kptr_restrict), so they have no names")
        if ended := sum(stack.samples for stack in stacks if stack.pid in processes.ended):
            self.remarks.append(f"{count(ended, 'sample')} without names because the process has ended")

    def remark(self) -> str:
        return "; ".join(self.remarks)


class Stack(NamedTuple):
    """A stack, and how often it was met.  Frames go from the innermost out: first the kernel's, then the program's."""

    pid: int
    comm: str
    samples: int
    kernel: list[Frame]
    user: list[Frame]


_LOST, _UNKNOWN = Frame("[lost]", ""), Frame(None, "")


def _stacks(bpf: purebpf.BpfObject, kernel: KernelSymbols, processes: ProcessSymbols) -> Iterator[Stack]:
    def addresses(number: int) -> list[int]:
        raw = memoryview(bpf.maps["stacks"][number]).cast("Q").tolist()
        return raw[: raw.index(0)] if 0 in raw else raw

    for key, samples in bpf.maps["counts"].items():
        kernel_frames = user_frames = [_LOST]
        if key.kernel_stack >= 0:
            kernel_frames = kernel.frames(addresses(key.kernel_stack))
        if key.user_stack >= 0:
            user_frames = processes.frames(key.pid, addresses(key.user_stack))
        yield Stack(
            key.pid,
            c_string(key.comm.raw),
            samples,
            [] if key.kernel_stack == _NO_STACK else kernel_frames,
            [] if key.user_stack == _NO_STACK else user_frames,
        )


def _whole(stacks: list[Stack]) -> Iterator[Row]:
    """Stacks from the outermost function in, as flame graphs have them.

    Several of the kernel's may be one here: it tells places in a function apart.
    """
    found: Counter[tuple[int, str, tuple[Frame, ...], tuple[Frame, ...]]] = Counter()
    for stack in stacks:
        found[stack.pid, stack.comm, tuple(stack.user), tuple(stack.kernel)] += stack.samples
    for (pid, comm, user, kernel), samples in found.most_common():
        yield {
            "samples": samples,
            "pid": pid,
            "comm": comm,
            "user": [str(frame) for frame in reversed(user)],
            "kernel": [str(frame) for frame in reversed(kernel)],
        }


def _by_function(stacks: list[Stack]) -> Iterator[Row]:
    """The function that was running, by process: the innermost of each stack."""
    total = sum(stack.samples for stack in stacks)
    found: Counter[tuple[int, str, Frame]] = Counter()
    for stack in stacks:
        innermost = (stack.kernel or stack.user or [_UNKNOWN])[0]
        found[stack.pid, stack.comm, innermost] += stack.samples
    for (pid, comm, frame), samples in found.most_common():
        yield {
            "samples": samples,
            "share": samples / total,
            "pid": pid,
            "comm": comm,
            "function": frame.function or "[unknown]",
            "object": frame.object,
        }


def _check_process(pid: int) -> None:
    action = f"profiling process {pid}"
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise purebpf.KernelError(errno.ESRCH, action) from error
    process = status.partition("\nTgid:\t")[2].split(maxsplit=1)[0]
    if process != str(pid):
        raise purebpf.KernelError(errno.ESRCH, action, f"That is a thread of process {process}")
