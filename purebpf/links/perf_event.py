"""Perf events: performance counters, and what else perf_event_open(2) opens that a program can hang on.

A program of type BPF_PROG_TYPE_PERF_EVENT runs whenever a counter overflows: so many CPU cycles or page faults later,
or so many times a second.  That is how a profiler looks at what runs.  A counter counts on one CPU, or for one thread,
so there is an event for each; all of them are one `Link`.

Tracepoints, kprobes and uprobes are perf events too, and what `attach_to` does is common to all.  Since Linux 5.15 a
bpf link ties program and event together, before that an ioctl on the event does.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from purebpf.abi.bpf import bpf_prog_type
from purebpf.abi.perf import PERF_EVENT_IOC_DISABLE, PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, perf_event_attr
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import cpu
from purebpf.kernel.bpf import link_create_perf_event
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.features import Features, running
from purebpf.kernel.perf import ioctl, perf_event_open
from purebpf.links.link import Link
from purebpf.links.refusal import explained
from purebpf.load.features import Feature

_NOT_COUNTED = (
    "This machine does not count such events; virtual machines often count none in hardware."
    " PERF_COUNT_SW_CPU_CLOCK, of type PERF_TYPE_SOFTWARE, works everywhere"
)
# kernel/events/core.c: perf_event_open(), perf_event_set_bpf_prog()
_WHY_NOT_OPENED = {
    errno.ENOENT: _NOT_COUNTED,
    errno.EOPNOTSUPP: _NOT_COUNTED,
    errno.ENODEV: "There is no such CPU online, or it does not count such events",
    errno.EINVAL: "There is no such event, or the frequency is beyond kernel.perf_event_max_sample_rate",
    errno.ESRCH: "There is no such process",
}
_WHY_NOT_ATTACHED = {
    errno.EINVAL: "The program is not of the type that the event takes: BPF_PROG_TYPE_PERF_EVENT for a counter",
    errno.EEXIST: "The event has a program already",
    errno.EPROTO: "The program asks for stacks, which the event has to record: open it with PERF_SAMPLE_CALLCHAIN, and"
    " without exclude_callchain_kernel and exclude_callchain_user",
}


def attach_to(
    prog_fd: Fd | int, event: Fd, what: str, *, action: str, cookie: int = 0, features: Features | None = None
) -> Fd | None:
    """Tie a program to an open perf event, and start the event.  Returns the bpf link, or None if an ioctl did it.

    ``what`` names the event, "tracepoint sched/sched_switch".  Raises AttachError for a cookie before Linux 5.15, and
    KernelError.
    """
    event.what = f"perf event of {what}"
    with ExitStack() as undo:
        link = None
        if (features or running()).has(Feature.PERF_LINK):
            link = undo.enter_context(link_create_perf_event(prog_fd, event, cookie, action=action))
            link.what = f"link to {what}"
        elif cookie:
            raise AttachError(f"{action}: a cookie needs bpf links to perf events, which Linux 5.15 brought")
        else:
            ioctl(event, PERF_EVENT_IOC_SET_BPF, number_of(prog_fd), action=action)
        ioctl(event, PERF_EVENT_IOC_ENABLE, action=action)
        undo.pop_all()
    return link


def attach_perf_event(
    prog_fd: Fd | int,
    type: int,
    config: int,
    *,
    frequency: int | None = None,
    period: int | None = None,
    pid: int = -1,
    cpus: Iterable[int] | None = None,
    cookie: int = 0,
    features: Features | None = None,
) -> Link:
    """Run a loaded program each time that a counter overflows.

    ``type`` is a `perf_type_id` or the number of a source in /sys/bus/event_source/devices, ``config`` says which of
    its events.  The program runs ``frequency`` times a second of what is counted, or after each ``period`` events.

    It runs on all CPUs that are online now, or on ``cpus``; with a ``pid`` only while this process runs (0: the
    caller's), its threads, and what they start.

    Raises KernelError if there is no such counter, or no such process; nothing stays open then.
    """
    if (frequency is None) == (period is None):
        raise ValueError("give frequency=, in Hz, or period=, a number of events: one of the two")
    name = f"{type}:{config:#x}"
    what = f"perf event {name}" + (f" of process {pid}" if pid >= 0 else "")
    action = f"attaching to {what}"
    attr = perf_event_attr(type=type, config=config, disabled=1)
    if frequency is not None:
        attr.freq, attr.sample_freq = 1, frequency
    elif period is not None:
        attr.sample_period = period
    if pid >= 0:
        attr.inherit = 1
        where = [(thread, number) for thread in _threads(pid, action) for number in cpus or (-1,)]
    else:
        where = [(-1, number) for number in (cpu.online() if cpus is None else cpus)]
    fds: list[Fd] = []
    with ExitStack() as undo:
        for thread, number in where:
            with explained(_WHY_NOT_OPENED):
                event = undo.enter_context(perf_event_open(attr, thread, number, action=action))
            with explained(_WHY_NOT_ATTACHED, prog_fd, bpf_prog_type.BPF_PROG_TYPE_PERF_EVENT):
                link = attach_to(prog_fd, event, what, action=action, cookie=cookie, features=features)
            fds += [undo.enter_context(link), event] if link else [event]
        undo.pop_all()
    return Link("perf_event", name, *fds)


def attach_perf_event_fd(prog_fd: Fd | int, event: int, *, cookie: int = 0, features: Features | None = None) -> Link:
    """Run a loaded program with a perf event that the caller has opened, and which stays the caller's.

    Before Linux 5.15 nothing but closing the event takes the program off it; until then closing the link stops it.
    """
    what = f"perf event {event}"
    action = f"attaching to {what}"
    try:
        number = fcntl.fcntl(event, fcntl.F_DUPFD_CLOEXEC, 0)
    except OSError as error:
        raise KernelError(error.errno or 0, action) from None
    with ExitStack() as undo, explained(_WHY_NOT_ATTACHED):
        own = undo.enter_context(Fd(number, what))
        link = attach_to(prog_fd, own, what, action=action, cookie=cookie, features=features)
        undo.pop_all()
    if link:
        return Link("perf_event", str(event), link, own, bpf_link=link)
    return Link("perf_event", str(event), own, detach=lambda: _stop(own))


def _stop(event: Fd) -> None:
    ioctl(event, PERF_EVENT_IOC_DISABLE)


def _threads(pid: int, action: str) -> list[int]:
    """The threads of a process."""
    try:
        return sorted(int(name.name) for name in Path(f"/proc/{pid or os.getpid()}/task").iterdir())
    except FileNotFoundError:
        raise AttachError(f"{action}: there is no such process") from None
