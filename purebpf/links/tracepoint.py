"""Tracepoints: the kernel's own, stable places to trace, such as ``syscalls/sys_enter_execve``.

A program of type BPF_PROG_TYPE_TRACEPOINT hangs on a perf event that is opened for the tracepoint's
number.  Since Linux 5.15 a bpf link ties the two together, before that an ioctl on the event does.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack

from purebpf.abi.perf import PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, perf_event_attr, perf_type_id
from purebpf.errors import KernelError
from purebpf.kernel import cpu
from purebpf.kernel.bpf import link_create_perf_event
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.features import Features, running
from purebpf.kernel.perf import ioctl, perf_event_open
from purebpf.kernel.tracefs import tracepoint_id
from purebpf.links.link import Link
from purebpf.load.features import Feature

# perf_event_set_bpf_prog() in kernel/events/core.c, perf_event_attach_bpf_prog() in kernel/trace/bpf_trace.c
_WHY_NOT = {
    errno.EINVAL: "Only a program of type BPF_PROG_TYPE_TRACEPOINT can be attached to a tracepoint",
    errno.EACCES: "The program reads beyond the end of this tracepoint's record; it is made for another one",
    errno.EEXIST: "The program is attached to this tracepoint already",
    errno.E2BIG: "As many programs are attached to this tracepoint as the kernel allows (64)",
}


def attach_tracepoint(prog_fd: Fd | int, category: str, name: str, *, features: Features | None = None) -> Link:
    """Run a loaded program whenever the tracepoint ``category``/``name`` is hit, on whatever CPU.

    ``features`` decides between a bpf link and the ioctl; by default the running kernel is asked.

    Raises :class:`AttachError` if there is no such tracepoint, :class:`KernelError` if the kernel refuses;
    nothing stays open then.
    """
    target = f"{category}/{name}"
    action = f"attaching to tracepoint {target}"
    has_perf_link = (features or running()).has(Feature.PERF_LINK)
    attr = perf_event_attr(type=perf_type_id.PERF_TYPE_TRACEPOINT, config=tracepoint_id(category, name))
    with ExitStack() as undo:
        # An event for all processes must name a CPU.  Any one will do: the program runs on all of them.
        event = undo.enter_context(perf_event_open(attr, pid=-1, cpu=cpu.online()[0], action=action))
        event.what = f"perf event of tracepoint {target}"
        link = None
        try:
            if has_perf_link:
                link = undo.enter_context(link_create_perf_event(prog_fd, event))
                link.what = f"link to tracepoint {target}"
            else:
                ioctl(event, PERF_EVENT_IOC_SET_BPF, number_of(prog_fd))
            ioctl(event, PERF_EVENT_IOC_ENABLE)
        except KernelError as error:
            code = error.errno or 0
            raise KernelError(code, action, _WHY_NOT.get(code, error.hint)) from None
        undo.pop_all()
    return Link("tracepoint", target, *([link] if link else []), event, bpf_link=link)
