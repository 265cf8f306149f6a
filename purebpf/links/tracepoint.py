"""Tracepoints: the kernel's own, stable places to trace, such as ``syscalls/sys_enter_execve``.

A program of type BPF_PROG_TYPE_TRACEPOINT hangs on a perf event that is opened for the tracepoint's
number.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack

from purebpf.abi.bpf import bpf_prog_type
from purebpf.abi.perf import perf_event_attr, perf_type_id
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import cpu
from purebpf.kernel.fd import Fd
from purebpf.kernel.features import Features
from purebpf.kernel.perf import perf_event_open
from purebpf.kernel.tracefs import tracepoint_id
from purebpf.links.link import Link
from purebpf.links.perf_event import attach_to
from purebpf.links.refusal import explained

# perf_event_set_bpf_prog() in kernel/events/core.c, perf_event_attach_bpf_prog() in kernel/trace/bpf_trace.c
_WHY_NOT = {
    errno.EACCES: "The program reads beyond the end of this tracepoint's record; it is made for another one",
    errno.EEXIST: "The program is attached to this tracepoint already",
    errno.E2BIG: "As many programs are attached to this tracepoint as the kernel allows (64)",
}


def attach_tracepoint(
    prog_fd: Fd | int, category: str, name: str, *, cookie: int = 0, features: Features | None = None
) -> Link:
    """Run a loaded program whenever the tracepoint ``category``/``name`` is hit, on whatever CPU.

    ``cookie`` is what bpf_get_attach_cookie() returns in the program (Linux 5.15).
    ``features`` decides between a bpf link and the ioctl; by default the running kernel is asked.

    Raises :class:`AttachError` if there is no such tracepoint, :class:`KernelError` if the kernel refuses;
    nothing stays open then.
    """
    target = f"{category}/{name}"
    action = f"attaching to tracepoint {target}"
    try:
        number = tracepoint_id(category, name)
    except KernelError as error:
        raise KernelError(error.errno or 0, f"{action}: {error.action}", error.hint) from None
    attr = perf_event_attr(type=perf_type_id.PERF_TYPE_TRACEPOINT, config=number)
    with ExitStack() as undo:
        # An event for all processes must name a CPU.  Any one will do: the program runs on all of them.
        event = undo.enter_context(perf_event_open(attr, pid=-1, cpu=cpu.online()[0], action=action))
        with explained(_WHY_NOT, prog_fd, bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT):
            link = attach_to(prog_fd, event, f"tracepoint {target}", action=action, cookie=cookie, features=features)
        undo.pop_all()
    return Link("tracepoint", target, *([link] if link else []), event, bpf_link=link)


def parse(target: str) -> tuple[str, str]:
    """Category and name, from what follows ``tracepoint/`` in a section's name.  Raises AttachError."""
    category, slash, name = target.partition("/")
    if not (slash and category and name):
        raise AttachError(f"{target!r} names no tracepoint; the section should read tracepoint/CATEGORY/NAME")
    return category, name
