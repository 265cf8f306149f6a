"""Pins of links, each with an event that arrives: what can be pinned stays attached, and what cannot says so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from kernel_state import RELEASE, eventually, id_of, links_of
from network import cgroup, in_cgroup, namespace, runs, veth
from network import loaded as loaded_network
from probing import library, loaded, needs_cookies, needs_kprobes, x86_64_only

import purebpf
from purebpf.abi.bpf import bpf_attach_type
from purebpf.abi.perf import perf_sw_ids, perf_type_id
from purebpf.errors import AttachError
from purebpf.kernel.features import Feature, Features
from purebpf.links.cgroup import attach_cgroup
from purebpf.links.iterator import IteratorLink
from purebpf.links.tc import attach_tc
from purebpf.links.uprobe import attach_uprobe
from purebpf.links.usdt import Specs, attach_usdt

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("bpftool"), x86_64_only]
__all__ = ["library"]

SYSTEM_CALL = "sched_get_priority_max"
CLOCK = (perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_CPU_CLOCK)
needs_usdt_links = pytest.mark.needs_kernel("one link for static tracepoints (Linux 6.10)", RELEASE >= (6, 10))


@pytest.fixture
def path(bpffs, tmp_path):
    path = bpffs / tmp_path.name  # each test has another one
    yield path
    assert not path.exists()


@contextmanager
def pinned_by_a_killed_process(attach, path):
    """What a child process attached and pinned before it was killed; unpinned at the end."""
    child = os.fork()
    if child == 0:
        try:
            attach().pin(path)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    try:
        yield
    finally:
        path.unlink()


# What stays attached

PROBES = {
    "on_tracepoint": lambda program, _: program.attach_tracepoint("syscalls", f"sys_enter_{SYSTEM_CALL}"),
    "on_kprobe": lambda program, _: program.attach_kprobe(f"__x64_sys_{SYSTEM_CALL}"),
    "on_uprobe": lambda program, library: program.attach_uprobe(library.path, "probed_sum"),
    "on_uretprobe": lambda program, library: program.attach_uprobe(library.path, "probed_sum"),
}


@needs_cookies
@pytest.mark.parametrize("name", [pytest.param(each, marks=[needs_kprobes] * (each == "on_kprobe")) for each in PROBES])
def test_a_probe(name, path, library):
    """The link holds the perf event, too."""
    with loaded("link_probes", name) as bpf:
        program = bpf.programs[name]

        def hits():
            before = sum(each.count for each in bpf.maps["seen"].values())
            library.probed_sum(1, 2), os.sched_get_priority_max(os.SCHED_FIFO)
            return sum(each.count for each in bpf.maps["seen"].values()) - before

        with pinned_by_a_killed_process(lambda: PROBES[name](program, library), path):
            assert hits() == 1
            again = purebpf.Link.from_pin(path)
            assert type(again) is purebpf.Link
            again.close()
            again.close()
            assert hits() == 1
        assert eventually(lambda: not links_of(id_of(program)))
        assert hits() == 0


@needs_usdt_links
def test_a_static_tracepoint(path, library):
    """Its arguments stay described when the link is closed, though others are attached to then."""
    with loaded("link_usdt", "on_usdt", "on_another_usdt") as bpf:
        one, other = bpf.programs["on_usdt"], bpf.programs["on_another_usdt"]
        with one.attach_usdt(library.path, "probed", "constants", pid=0, cookie=3) as link:
            link.pin(path)
        assert link.closed
        with other.attach_usdt(library.path, "probed", "counted", pid=0, cookie=4):
            library.trace_constants(), library.trace_counted()
        first, second = bpf.maps["seen"].values()
        assert (first.count, first.cookie, first.number, first.arguments[:2]) == (1, 3, 6, (-9, 71))
        assert (second.count, second.cookie, second.number, second.arguments[0]) == (1, 4, 1, 5)
        link.unpin()
        link.close()
        assert eventually(lambda: not links_of(id_of(one)))
        library.trace_constants()
        assert bpf.maps["seen"][0].count == 1


@needs_usdt_links
def test_a_static_tracepoint_of_a_process_that_is_gone(path, library):
    with loaded("link_usdt", "on_usdt") as bpf:
        program = bpf.programs["on_usdt"]
        with pinned_by_a_killed_process(
            lambda: program.attach_usdt(library.path, "probed", "constants", pid=os.getppid(), cookie=3), path
        ):
            library.trace_constants()
            seen = bpf.maps["seen"][0]
            assert (seen.count, seen.cookie, seen.arguments[:2]) == (1, 3, (-9, 71))


@needs_usdt_links
def test_what_is_unpinned_is_detached_as_always(path, library):
    with loaded("link_usdt", "on_usdt") as bpf:
        specs = Specs(bpf.maps)
        place = library.path, "probed", "constants"
        with attach_usdt(bpf.programs["on_usdt"].fileno(), specs, *place, pid=0) as link:
            link.pin(path)
            link.unpin()
        assert specs._taken == set()
        library.trace_constants()
        assert bpf.maps["seen"][0].count == 0


# What cannot be pinned

ONLY_HERE = "cannot be pinned, and stays attached only as long as this process keeps it: it is no single bpf link"


@contextmanager
def not_pinned(link, path, why=ONLY_HERE):
    """It says why, makes no pin, and is as attached as before, in the block."""
    with link:
        with pytest.raises(AttachError, match=why):
            link.pin(path)
        assert link.pinned_at is None
        assert not path.exists()
        yield


@pytest.mark.parametrize(
    "by_link",
    [False, pytest.param(True, marks=pytest.mark.needs_kernel("links to perf events (5.15)", RELEASE >= (5, 15)))],
)
def test_a_probe_that_tracefs_defines(by_link, path, library):
    features = Features({Feature.PERF_LINK: by_link, Feature.UPROBE_PMU: False})
    with loaded("link_probes", "on_uprobe") as bpf:
        link = attach_uprobe(bpf.programs["on_uprobe"].fileno(), library.path, "probed_sum", features=features)
        with not_pinned(link, path, "cannot be pinned: tracefs defines its event, .* mount sysfs at /sys"):
            library.probed_sum(1, 2)
        assert sum(each.count for each in bpf.maps["seen"].values()) == 1


@pytest.mark.parametrize("has_cookie", [False, pytest.param(True, marks=needs_cookies)])
def test_uprobes_for_one_static_tracepoint(has_cookie, path, library):
    features = Features(
        {Feature.UPROBE_MULTI_LINK: False, Feature.PERF_LINK: has_cookie, Feature.BPF_COOKIE: has_cookie}
    )
    facts = purebpf.KernelFacts.running()
    facts._features = features.has
    with loaded("link_usdt", "on_usdt", kernel=facts) as bpf:
        program = bpf.programs["on_usdt"]
        place = library.path, "probed", "places"
        with not_pinned(attach_usdt(program.fileno(), Specs(bpf.maps), *place, pid=0, features=features), path):
            library.trace_places(7)
        assert bpf.maps["seen"][0].count == 3


def test_counters_of_several_cpus(path):
    with loaded("link_probes", "on_perf_event") as bpf:
        with not_pinned(bpf.programs["on_perf_event"].attach_perf_event(*CLOCK, frequency=100), path):
            assert eventually(lambda: sum(each.count for each in bpf.maps["seen"].values()))


def test_a_program_in_a_cgroup_without_a_link(path):
    attach_type = bpf_attach_type.BPF_CGROUP_INET_SOCK_CREATE
    features = Features({Feature.CGROUP_LINK: False})
    with cgroup() as group, loaded_network("on_sock_create") as bpf:
        link = attach_cgroup(bpf.programs["on_sock_create"].fileno(), group, attach_type, features=features)
        with not_pinned(link, path):
            in_cgroup(group, lambda: socket.socket().close())
        assert runs(bpf, "on_sock_create") == 1


@pytest.mark.needs_tool("ip")
def test_a_filter(path):
    with namespace(), loaded_network("on_tc") as bpf:
        veth()
        features = Features({Feature.TCX_LINK: False})
        with not_pinned(attach_tc(bpf.programs["on_tc"].fileno(), "pb0", "ingress", features=features), path):
            pass


# Iterators

TASKS = """
import sys
import purebpf
with purebpf.Link.from_pin(sys.argv[1]) as link:
    sys.stdout.buffer.write(link.read())
"""


def test_an_iterator_is_read_from_its_pin(path):
    me = f"{os.getpid()} {os.getpid()}"
    with loaded("link_typed", "tasks") as bpf:
        with bpf.programs["tasks"].attach() as link:
            link.pin(path)
            identity = link.info.id
        with purebpf.Link.from_pin(path) as again:
            assert isinstance(again, IteratorLink)
            assert (again.kind, again.info.id) == ("iter", identity)
            for _ in range(2):
                assert me in again.read().decode().splitlines()
            with again.open() as file:
                assert file.read(1)
        again.close()
        elsewhere = subprocess.run([sys.executable, "-c", TASKS, str(path)], capture_output=True, text=True, check=True)
        assert me in elsewhere.stdout.splitlines()
        again.unpin()
    assert eventually(lambda: is_gone(identity))


def is_gone(identity):
    return subprocess.run(["bpftool", "link", "show", "id", str(identity)], capture_output=True).returncode != 0
