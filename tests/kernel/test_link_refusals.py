"""What somebody reads who attaches the wrong program, or to something that is not there: what, where, and what to do.

Kinds that have more to say have their tests with the kind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from pathlib import Path

import pytest
from kernel_state import RELEASE, parsed, refused, running_kernel
from network import cgroup, namespace

from purebpf.abi.bpf import bpf_attach_type
from purebpf.abi.perf import perf_sw_ids, perf_type_id
from purebpf.errors import AttachError, KernelError

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
LIBRARY = str(OBJECTS / "probed.x86_64.so")

pytestmark = pytest.mark.needs_root


@contextlib.contextmanager
def program(name):
    """One of the programs that section tests have, alone in the kernel."""
    for each in ("hook_network", "hook_tracing"):
        spec = parsed(each)
        if name in spec.programs:
            break
    for key, each in spec.programs.items():
        each.autoload = key == name
    with spec.load(running_kernel()) as bpf:
        yield bpf.programs[name]


def to_socket(program):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        program.attach_socket_filter(own)


def to_cgroup(program):
    with cgroup() as path:
        program.attach_cgroup(path, attach_type=bpf_attach_type.BPF_CGROUP_INET4_CONNECT)


WRONG = {
    "tracepoint": (lambda program: program.attach_tracepoint("sched", "sched_switch"), "TRACEPOINT"),
    "raw tracepoint": (
        lambda program: program.attach_raw_tracepoint("sched_switch"),
        "RAW_TRACEPOINT or BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE",
    ),
    "perf event": (
        lambda program: program.attach_perf_event(
            perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_CPU_CLOCK, frequency=1, pid=os.getpid()
        ),
        "PERF_EVENT",
    ),
    "socket": (to_socket, "SOCKET_FILTER"),
    "cgroup": (to_cgroup, "CGROUP_SOCK_ADDR"),
    "network namespace": (
        lambda program: program.attach_netns(),
        "SK_LOOKUP or BPF_PROG_TYPE_FLOW_DISSECTOR",
    ),
    "iterator": (lambda program: program.attach_iter(), "TRACING"),
    "security hook": (lambda program: program.attach_lsm(), "TRACING or BPF_PROG_TYPE_LSM or BPF_PROG_TYPE_EXT"),
    "clsact": (lambda program: program.attach_tc("lo", "ingress", handle=7), "SCHED_CLS or BPF_PROG_TYPE_SCHED_ACT"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_program_of_the_wrong_type(kind):
    attach, takes = WRONG[kind]
    with namespace(), program("on_xdp") as wrong, pytest.raises(KernelError) as caught:
        attach(wrong)
    said = f"That takes a program of type BPF_PROG_TYPE_{takes}, and this one is of type BPF_PROG_TYPE_XDP"
    assert caught.value.errno == errno.EINVAL
    assert caught.value.hint.endswith(said)


needs_tcx = pytest.mark.needs_kernel("tcx (Linux 6.6)", RELEASE >= (6, 6))
needs_netfilter = pytest.mark.needs_kernel("programs at netfilter hooks (Linux 6.4)", RELEASE >= (6, 4))


@pytest.mark.parametrize(
    ("takes", "attach"),
    [
        pytest.param("XDP", lambda program: program.attach_xdp("lo", mode="generic"), id="XDP"),
        pytest.param("SCHED_CLS", lambda program: program.attach_tcx("lo", "ingress"), id="tcx", marks=needs_tcx),
        pytest.param(
            "NETFILTER",
            lambda program: program.attach_netfilter("ipv4", "input", priority=7),
            id="netfilter",
            marks=needs_netfilter,
        ),
    ],
)
def test_a_tracing_program_for_packets(takes, attach):
    said = f"a program of type BPF_PROG_TYPE_{takes}, and this one is of type BPF_PROG_TYPE_TRACEPOINT"
    with namespace(), program("on_tp") as wrong, refused(KernelError, f"EINVAL.*{said}"):
        attach(wrong)


def test_a_closed_program():
    with program("on_xdp") as closed:
        closed.close()
        with pytest.raises(ValueError, match=r"^prog 'on_xdp' is closed$"):
            closed.attach_xdp("lo")


@pytest.mark.parametrize("index", [0, -1, 99999, 1 << 40])
def test_no_interface_of_this_number(index):
    said = f"this network namespace has no network interface with index {index}; there are lo"
    with namespace(), program("on_xdp") as xdp, refused(AttachError, said):
        xdp.attach_xdp(index)


def test_bad_descriptors():
    """They are no cgroup's or namespace's; the error belongs to the family."""
    number = 1 << 20
    with program("on_cgroup_connect4") as connect, refused(KernelError, f"opening cgroup {number}: .*EBADF"):
        connect.attach_cgroup(number)
    with program("on_sk_lookup") as lookup, refused(KernelError, f"opening network namespace {number}: .*EBADF"):
        lookup.attach_netns(number)


def first_version():
    """The directory of a cgroup of version 1, if there is one."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return next((line.split()[4] for line in mounts if " - cgroup " in line), None)


@pytest.mark.needs_kernel("cgroups of version 1 mounted", lambda: first_version() is not None)
def test_a_cgroup_of_version_1():
    path = first_version()
    said = f"EBADF.*{path} is no directory of a file system of type cgroup2, version 1 having no programs"
    with program("on_cgroup_connect4") as connect, refused(KernelError, said):
        connect.attach_cgroup(path)


def test_no_such_process():
    """The highest number there can be is 2**22."""
    with program("on_uprobe") as probe, pytest.raises(KernelError) as caught:
        probe.attach_uprobe(LIBRARY, offset=0x1000, pid=1 << 23)
    assert re.search(r"attaching to uprobe .*\(ESRCH\)\. There is no process 8388608$", str(caught.value))
