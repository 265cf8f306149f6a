"""Attaching and detaching each kind of probe many times leaves nothing: no descriptor, link, event or definition.

Each kind is there, and each way to attach it, but not each kind in each way: detaching a perf event takes the kernel
nearly a tenth of a second, and it detaches one at a time.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from functools import partial

import pytest
from kernel_state import THREADS, attach_and_detach, bpftool, eventually, id_of, nothing_left
from probing import (
    library,
    loaded,
    needs_fprobes,
    needs_kprobe_sessions,
    needs_kprobes,
    needs_uprobe_multi,
    needs_uprobe_sessions,
    x86_64_only,
)

from purebpf.abi.perf import perf_event_attr, perf_sw_ids, perf_type_id
from purebpf.kernel.features import Feature, Features
from purebpf.kernel.perf import perf_event_open
from purebpf.kernel.tracefs import Tracefs
from purebpf.links.kprobe import attach_kprobe
from purebpf.links.perf_event import attach_perf_event
from purebpf.links.uprobe import attach_uprobe

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("bpftool"), x86_64_only]
__all__ = ["library"]

FUNCTION = "__x64_sys_sched_get_priority_max"
TRACEFS = Features({Feature.PERF_LINK: False, Feature.KPROBE_PMU: False, Feature.UPROBE_PMU: False})
IOCTL = Features({Feature.PERF_LINK: False})
CLOCK = (perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_CPU_CLOCK)


def to_an_open_event(program):
    attr = perf_event_attr(type=CLOCK[0], config=CLOCK[1], sample_period=10**9)
    with perf_event_open(attr, 0, -1) as event:
        return program.attach_perf_event_fd(event.fileno())


# Each: the object, its program, and how to attach that to something in a library.
KINDS = {
    "kprobe": ("link_probes", "on_kprobe", lambda program, _: program.attach_kprobe(FUNCTION)),
    "kretprobe, ioctl": (
        *("link_probes", "on_kretprobe"),
        lambda program, _: attach_kprobe(program.fileno(), FUNCTION, retprobe=True, features=IOCTL),
    ),
    "kprobe, tracefs": (
        *("link_probes", "on_kprobe"),
        lambda program, _: attach_kprobe(program.fileno(), FUNCTION, features=TRACEFS),
    ),
    "ksyscall": ("link_probes", "on_ksyscall", lambda program, _: program.attach()),
    "kprobe.multi": ("link_probes_multi", "on_kprobe", lambda program, _: program.attach_kprobe_multi([FUNCTION])),
    "kprobe.session": ("link_probes_multi", "on_ksession", lambda program, _: program.attach_kprobe_multi([FUNCTION])),
    "uprobe": ("link_probes", "on_uprobe", lambda program, library: program.attach_uprobe(library.path, "probed_sum")),
    "uretprobe, ioctl": (
        *("link_probes", "on_uretprobe"),
        lambda program, library: attach_uprobe(
            program.fileno(), library.path, "probed_sum", retprobe=True, features=IOCTL
        ),
    ),
    "uprobe, tracefs": (
        *("link_probes", "on_uprobe"),
        lambda program, library: attach_uprobe(program.fileno(), library.path, "probed_sum", features=TRACEFS),
    ),
    "uprobe.multi": (
        *("link_probes_multi", "on_uprobe"),
        lambda program, library: program.attach_uprobe_multi(library.path, "probed_many_*"),
    ),
    "uprobe.session": (
        *("link_probes_multi", "on_usession"),
        lambda program, library: program.attach_uprobe_multi(library.path, "probed_many_*"),
    ),
    "usdt": (
        *("link_usdt", "on_usdt"),
        lambda program, library: program.attach_usdt(library.path, "probed", "places", pid=0),
    ),
    "perf_event": (
        *("link_probes", "on_perf_event"),
        lambda program, _: program.attach_perf_event(*CLOCK, frequency=100),
    ),
    "perf_event, ioctl": (
        *("link_probes", "on_perf_event"),
        lambda program, _: attach_perf_event(program.fileno(), *CLOCK, frequency=100, features=IOCTL),
    ),
    "perf_event that is open": ("link_probes", "on_perf_event", lambda program, _: to_an_open_event(program)),
}

MARKS = {
    **dict.fromkeys(("kprobe", "kretprobe, ioctl", "kprobe, tracefs", "ksyscall"), needs_kprobes),
    **{"kprobe.multi": needs_fprobes, "kprobe.session": needs_kprobe_sessions},
    **{"uprobe.multi": needs_uprobe_multi, "uprobe.session": needs_uprobe_sessions},
}


def definitions():
    """The events of this process that tracefs has."""
    with Tracefs.open() as tracefs:
        files = [file for file in ("kprobe_events", "uprobe_events") if file in tracefs.listdir()]
        return re.findall(rf"\bpurebpf_{os.getpid()}_\w+", "".join(map(tracefs.read, files)))


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=MARKS.get(kind, ())) for kind in KINDS])
def test_500_rounds_leave_nothing(kind, rounds, library):
    name, program_name, attach = KINDS[kind]
    with ExitStack() as stack:
        objects = [stack.enter_context(loaded(name, program_name)) for _ in range(THREADS)]
        programs = [bpf.programs[program_name] for bpf in objects]
        attach(programs[0], library).close()
        with nothing_left(*programs):
            attach_and_detach(rounds(500), *(partial(attach, program, library) for program in programs))
            assert definitions() == []
        assert not any(program._usdt()._taken for program in programs)
        numbers = {id_of(program) for program in programs}
    assert eventually(lambda: not numbers & {each["id"] for each in bpftool("prog", "show")})
