"""What all bpf links can do, over the kinds of hooks: tell what they are, change their program, let go of it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import socket
from pathlib import Path

import probing
import pytest
import triggers
from kernel_state import RELEASE, has_symbol, id_of
from network import cgroup, in_cgroup, ip, loaded, namespace, runs, send, veth
from probing import library, needs_kprobes, x86_64_only

import purebpf
from purebpf.abi.attr import bpf_map_info
from purebpf.abi.bpf import bpf_attach_type
from purebpf.abi.perf import perf_event_attr, perf_sw_ids, perf_type_id
from purebpf.kernel.bpf import obj_get_info_by_fd
from purebpf.kernel.perf import perf_event_open
from purebpf.links import info

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("ip")]
__all__ = ["library"]

SYSTEM_CALL = "__x64_sys_sched_get_priority_max"


def needs(what, major, minor):
    return pytest.mark.needs_kernel(f"{what} (Linux {major}.{minor})", (major, minor) <= RELEASE)


needs_tcx = needs("tcx", 6, 6)
tells_of_perf_events = needs("what it tells of links to perf events", 6, 6)


# Links that can be updated, and detached while they are open


class Place:
    """Somewhere to attach a program to: which one, how, and what makes it run."""

    def __init__(self, program, attach, trigger):
        self.program, self.attach, self.trigger = program, attach, trigger

    @contextlib.contextmanager
    def surroundings(self):
        with namespace():
            veth()
            yield


class InCgroup(Place):
    def __init__(self):
        super().__init__("on_sock_create", lambda program: program.attach_cgroup(self.path), self.create)

    def create(self):
        in_cgroup(self.path, lambda: socket.socket().close())

    @contextlib.contextmanager
    def surroundings(self):
        with cgroup() as self.path:
            yield


PLACES = [
    pytest.param(InCgroup(), id="cgroup"),
    pytest.param(Place("on_lookup", lambda program: program.attach_netns(), triggers.knock), id="netns"),
    pytest.param(
        Place("on_xdp", lambda program: program.attach_xdp("pb0"), lambda: send("pb1")),
        id="xdp",
        marks=needs("links of XDP programs", 5, 9),
    ),
    pytest.param(
        Place("on_tcx_ingress", lambda program: program.attach_tcx("pb0"), lambda: send("pb1")),
        id="tcx",
        marks=needs_tcx,
    ),
]


@contextlib.contextmanager
def attached(place):
    """A link with the first of two programs, and how often each has run when the trigger is pulled once more."""
    with place.surroundings(), loaded(place.program) as one, loaded(place.program) as other:

        def pull():
            before = [runs(bpf, place.program) for bpf in (one, other)]
            place.trigger()
            return [runs(bpf, place.program) > count for bpf, count in zip((one, other), before, strict=True)]

        first, second = (bpf.programs[place.program] for bpf in (one, other))
        with place.attach(first) as link:
            yield link, first, second, pull


@pytest.mark.parametrize("place", PLACES)
def test_update(place):
    with attached(place) as (link, first, second, pull):
        identity = link.info.id
        assert pull() == [True, False]
        link.update(second)
        assert pull() == [False, True]
        assert link.info[:3:2] == (identity, id_of(second))
        with pytest.raises(purebpf.KernelError, match="Another program than the expected one") as error:
            link.update(second, old=first)
        assert error.value.errno == errno.EPERM
        link.update(first, old=second)
        assert pull() == [True, False]


@pytest.mark.parametrize("place", PLACES)
def test_update_with_a_program_of_another_type(place):
    other = "on_socket"
    with attached(place) as (link, *_, pull), loaded(other) as bpf:
        with pytest.raises(purebpf.KernelError, match="cannot be updated, or not with a program of this type"):
            link.update(bpf.programs[other])
        assert pull() == [True, False]


@pytest.mark.parametrize("place", PLACES)
def test_detach(place):
    with attached(place) as (link, _, second, pull):
        link.detach()
        assert pull() == [False, False]
        assert not link.closed
        with pytest.raises(purebpf.KernelError, match="has been detached") as error:
            link.update(second)
        assert error.value.errno == errno.ENOLINK
        link.detach()
        with place.attach(second):
            assert pull() == [False, True]


@pytest.mark.parametrize("place", PLACES)
def test_a_pin_that_is_detached(place, bpffs):
    path = bpffs / f"detached{os.getpid()}"
    with attached(place) as (link, *_, pull):
        link.pin(path)
        link.close()
        assert pull() == [True, False]
        with purebpf.Link.from_pin(path) as again:
            again.detach()
            assert pull() == [False, False]
            again.unpin()


# What they tell


@pytest.fixture
def interfaces():
    with namespace():
        veth()
        yield socket.if_nametoindex("pb0")


def test_info_of_a_cgroup():
    with (
        cgroup() as path,
        loaded("on_sock_create") as bpf,
        bpf.programs["on_sock_create"].attach_cgroup(path) as link,
    ):
        expected = info.Cgroup(os.stat(path).st_ino, bpf_attach_type.BPF_CGROUP_INET_SOCK_CREATE)
        assert link.info.attached_to == expected


def test_info_of_a_network_namespace():
    with namespace(), loaded("on_lookup") as bpf, bpf.programs["on_lookup"].attach_netns() as link:
        expected = info.Netns(os.stat("/proc/thread-self/ns/net").st_ino, bpf_attach_type.BPF_SK_LOOKUP)
        assert link.info.attached_to == expected


@pytest.mark.parametrize(
    ("name", "method", "attach_type"),
    [
        ("on_xdp", "attach_xdp", bpf_attach_type.BPF_XDP),
        pytest.param("on_tcx_egress", "attach_tcx", bpf_attach_type.BPF_TCX_EGRESS, marks=needs_tcx),
    ],
)
def test_info_of_an_interface(interfaces, name, method, attach_type):
    with loaded(name) as bpf, getattr(bpf.programs[name], method)("pb0") as link:
        assert link.info.attached_to == info.Interface(interfaces, attach_type)
        ip("link", "delete", "pb0")
        assert link.info.attached_to == info.Interface(0, attach_type)


@pytest.mark.needs_kernel("netkit (Linux 6.7)", lambda: has_symbol("netkit_prog_attach"))
def test_info_of_netkit():
    with namespace(), loaded("on_netkit_peer") as bpf:
        ip("link", "add", "nk0", "type", "netkit", "peer", "name", "nk1")
        with bpf.programs["on_netkit_peer"].attach_netkit("nk0") as link:
            expected = info.Interface(socket.if_nametoindex("nk1"), bpf_attach_type.BPF_NETKIT_PEER)
            assert link.info.attached_to == expected


@pytest.mark.needs_kernel("links of netfilter (Linux 6.4)", lambda: has_symbol("bpf_nf_link_attach"))
def test_info_of_a_packet_filter():
    with (
        namespace(),
        loaded("on_netfilter") as bpf,
        bpf.programs["on_netfilter"].attach_netfilter("ipv6", "output", priority=-7) as link,
    ):
        assert link.info.attached_to == info.Netfilter(socket.AF_INET6, 3, -7, 0)


@needs("links of sockmaps", 6, 10)
def test_info_of_a_sockmap():
    with loaded("on_msg") as bpf, bpf.programs["on_msg"].attach_sockmap(bpf.maps["sockets"]) as link:
        map_id = obj_get_info_by_fd(bpf.maps["sockets"].fileno(), bpf_map_info).id
        assert link.info.attached_to == info.Sockmap(map_id, bpf_attach_type.BPF_SK_MSG_VERDICT)


@needs("links to perf events", 5, 15)
@x86_64_only
def test_info_of_a_tracepoint():
    with probing.loaded("link_probes", "on_tracepoint") as bpf:
        program = bpf.programs["on_tracepoint"]
        with program.attach_tracepoint("syscalls", "sys_enter_sched_get_priority_max", cookie=7) as link:
            told = link.info
    assert told.prog_id
    if RELEASE >= (6, 9):
        assert told.attached_to == info.Tracepoint("sys_enter_sched_get_priority_max", 7)
    elif RELEASE < (6, 6):
        assert told.attached_to is None


@tells_of_perf_events
@needs_kprobes
@x86_64_only
def test_info_of_a_kprobe():
    with (
        probing.loaded("link_probes", "on_kretprobe") as bpf,
        bpf.programs["on_kretprobe"].attach_kprobe(SYSTEM_CALL, cookie=7) as link,
    ):
        told = link.info.attached_to
    assert (told.function, told.offset, told.retprobe, told.missed) == (SYSTEM_CALL, 0, True, 0)
    assert told.addr in addresses(SYSTEM_CALL)
    assert told.cookie == (7 if RELEASE >= (6, 9) else 0)


@pytest.mark.needs_kernel("CONFIG_FPROBE", lambda: has_symbol("register_fprobe"))
@tells_of_perf_events
@x86_64_only
def test_info_of_many_kprobes():
    functions = [SYSTEM_CALL, SYSTEM_CALL.replace("max", "min")]
    with (
        probing.loaded("link_probes_multi", "on_kretprobe") as bpf,
        bpf.programs["on_kretprobe"].attach_kprobe_multi(functions, cookies=[5, 6]) as link,
    ):
        told = link.info.attached_to
    cookies = told.cookies if RELEASE >= (6, 9) else [5, 6]
    by_address = dict(zip(told.addrs, cookies, strict=True))
    assert len(by_address) == 2
    assert {by_address.get(address) for address in addresses(functions[0])} >= {5}
    assert (told.flags, told.missed) == (1, 0)  # BPF_F_KPROBE_MULTI_RETURN


def addresses(function):
    """Also those beside it: a kernel with IBT tells the one of the instruction after the landing pad, or of that."""
    listed = re.findall(rf"^(\S+) \S {function}$", Path("/proc/kallsyms").read_text(), re.MULTILINE)
    return {int(address, 16) + pad for address in listed for pad in (0, 4)}


@tells_of_perf_events
@x86_64_only
def test_info_of_a_uprobe(library):
    with (
        probing.loaded("link_probes", "on_uprobe") as bpf,
        bpf.programs["on_uprobe"].attach_uprobe(library.path, "probed_sum", cookie=7) as link,
    ):
        told = link.info.attached_to
    cookie = 7 if RELEASE >= (6, 9) else 0
    assert told == info.Uprobe(library.path, file_offset(library.probed_sum), 0, cookie, False)


@needs("what it tells of many uprobes", 6, 8)
@x86_64_only
def test_info_of_many_uprobes(library):
    names = ["probed_sum", "probed_many_one"]
    with probing.loaded("link_probes_multi", "on_uretprobe") as bpf:
        program = bpf.programs["on_uretprobe"]
        with program.attach_uprobe_multi(library.path, names, cookies=[5, 6], pid=os.getpid()) as link:
            told = link.info.attached_to
    assert (told.path, told.offsets) == (library.path, [file_offset(getattr(library, name)) for name in names])
    assert (told.cookies, told.ref_ctr_offsets) == ([5, 6], [0, 0])
    assert (told.flags, told.pid) == (1, os.getpid())  # BPF_F_UPROBE_MULTI_RETURN


def file_offset(function):
    """Where in its file a loaded function is, by this process' own memory map."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end, offset = (int(word, 16) for word in re.match(r"(\w+)-(\w+) \S+ (\w+)", line).groups())
        if start <= address < end:
            return address - start + offset
    raise AssertionError(address)


@tells_of_perf_events
@x86_64_only
def test_info_of_a_counter():
    counter = perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_PAGE_FAULTS
    attr = perf_event_attr(type=counter[0], config=counter[1], disabled=1, sample_period=10**9)
    with (
        perf_event_open(attr, pid=0, cpu=-1) as event,
        probing.loaded("link_probes", "on_perf_event") as bpf,
        bpf.programs["on_perf_event"].attach_perf_event_fd(event.fileno(), cookie=7) as link,
    ):
        told = link.info.attached_to
    assert told == info.PerfEvent(*counter, 7 if RELEASE >= (6, 9) else 0)
