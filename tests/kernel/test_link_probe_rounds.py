"""Attaching and detaching each kind of probe many times leaves nothing: no descriptor, link, event or definition.

Detaching waits for all CPUs to have left the probe, so that several threads are faster than one.
"""

from __future__ import annotations

import os
import re

import pytest
from probing import (
    bpftool,
    descriptors,
    events_of,
    eventually,
    id_of,
    library,
    links_of,
    loaded,
    needs_fprobes,
    needs_kprobe_sessions,
    needs_kprobes,
    needs_uprobe_multi,
    needs_uprobe_sessions,
    x86_64_only,
)

from purebpf.abi.perf import perf_sw_ids, perf_type_id
from purebpf.kernel.features import Feature, Features
from purebpf.kernel.tracefs import Tracefs
from purebpf.links.kprobe import attach_kprobe
from purebpf.links.tracepoint import attach_tracepoint
from purebpf.links.uprobe import attach_uprobe

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("bpftool"), x86_64_only]
__all__ = ["library"]

FUNCTION = "__x64_sys_sched_get_priority_max"
TRACEFS = Features({Feature.PERF_LINK: False, Feature.KPROBE_PMU: False, Feature.UPROBE_PMU: False})
IOCTL = Features({Feature.PERF_LINK: False})
CLOCK = (perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_CPU_CLOCK)

# Each: the object, its program, and how to attach that to something in a library.
KINDS = {
    "tracepoint": (
        *("link_probes", "on_tracepoint"),
        lambda program, _: attach_tracepoint(program.fileno(), "syscalls", "sys_enter_sched_get_priority_max"),
    ),
    "kprobe": ("link_probes", "on_kprobe", lambda program, _: program.attach_kprobe(FUNCTION)),
    "kprobe, ioctl": (
        *("link_probes", "on_kprobe"),
        lambda program, _: attach_kprobe(program.fileno(), FUNCTION, features=IOCTL),
    ),
    "kprobe, tracefs": (
        *("link_probes", "on_kprobe"),
        lambda program, _: attach_kprobe(program.fileno(), FUNCTION, features=TRACEFS),
    ),
    "kretprobe": ("link_probes", "on_kretprobe", lambda program, _: program.attach_kprobe(FUNCTION)),
    "ksyscall": ("link_probes", "on_ksyscall", lambda program, _: program.attach()),
    "kprobe.multi": ("link_probes_multi", "on_kprobe", lambda program, _: program.attach_kprobe_multi([FUNCTION])),
    "kprobe.session": ("link_probes_multi", "on_ksession", lambda program, _: program.attach_kprobe_multi([FUNCTION])),
    "uprobe": ("link_probes", "on_uprobe", lambda program, library: program.attach_uprobe(library.path, "probed_sum")),
    "uprobe, ioctl": (
        *("link_probes", "on_uprobe"),
        lambda program, library: attach_uprobe(program.fileno(), library.path, "probed_sum", features=IOCTL),
    ),
    "uprobe, tracefs": (
        *("link_probes", "on_uprobe"),
        lambda program, library: attach_uprobe(program.fileno(), library.path, "probed_sum", features=TRACEFS),
    ),
    "uretprobe": (
        *("link_probes", "on_uretprobe"),
        lambda program, library: program.attach_uprobe(library.path, "probed_sum"),
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
}

MARKS = {
    **dict.fromkeys(("kprobe", "kprobe, ioctl", "kprobe, tracefs", "kretprobe", "ksyscall"), needs_kprobes),
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
    with loaded(name, program_name) as bpf:
        program, number = bpf.programs[program_name], id_of(bpf.programs[program_name])
        attach(program, library).close()
        before = descriptors()
        for _ in rounds(500):
            attach(program, library).close()
        assert descriptors() == before
        assert definitions() == []
        assert eventually(lambda: not events_of(number))
        assert links_of(number) == []
        assert program._usdt._taken == set()
    assert eventually(lambda: all(each["id"] != number for each in bpftool("prog", "show")))
