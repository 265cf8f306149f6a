"""Programs on sockets and maps of sockets, in network namespaces, at netfilter hooks, in routes, with infrared."""

from __future__ import annotations

import gc
import glob
import os
import socket
import struct
import subprocess
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from kernel_state import (
    RELEASE,
    THREADS,
    attach_and_detach,
    eventually,
    killed_later,
    links_of,
    no_children,
    nothing_left,
    refused,
)
from network import in_child, ip, loaded, namespace, possible, runs, send, unshare_mounts, veth
from triggers import connection, knock, segment_routed, udp_to

from purebpf.abi.attr import bpf_attr_prog_query
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import bpf as kernel_bpf
from purebpf.kernel import pin
from purebpf.kernel.features import Feature, Features
from purebpf.links.sockmap import attach_sockmap

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("ip", "bpftool")]

LOCAL = "127.0.0.1"


@pytest.fixture(autouse=True)
def network():
    with namespace():
        yield


@pytest.fixture
def bpf(request):
    with loaded(*request.param) as bpf:
        yield bpf


def object_with(*names):
    return pytest.mark.parametrize("bpf", [names], indirect=True, ids=[names[0]])


@contextmanager
def datagrams():
    """Two sockets; what the first sends, the second receives."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((LOCAL, 0))
        other.settimeout(10)
        one.connect(other.getsockname())
        yield one, other


# Sockets


@object_with("on_socket")
def test_a_socket_filter(bpf):
    with datagrams() as (one, other):
        link = bpf.programs["on_socket"].attach_socket_filter(other)
        assert (link.kind, link.target) == ("socket filter", f"socket {other.fileno()}")
        one.send(b"hello")
        assert (other.recv(9), runs(bpf, "on_socket")) == (b"hello", 1)

        link.close()
        one.send(b"hello")
        assert (other.recv(9), runs(bpf, "on_socket")) == (b"hello", 1)
        link.close()  # harmless
        assert link.closed

        with bpf.programs["on_socket"].attach_socket_filter(other.fileno()):
            one.send(b"hello")
            assert (other.recv(9), runs(bpf, "on_socket")) == (b"hello", 2)


@object_with("on_socket")
def test_all_packets_of_an_interface(bpf):
    veth()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sniffer:
        sniffer.bind(("pb0", 3))
        with bpf.programs["on_socket"].attach_socket_filter(sniffer):
            send("pb1", 4)
            assert eventually(lambda: runs(bpf, "on_socket") == 4)


@object_with("on_socket", "on_reuseport")
def test_a_socket_that_is_closed_before_the_link(bpf):
    """Its number may be another socket's by then, which is to be left alone."""
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        link = bpf.programs["on_socket"].attach_socket_filter(one)
        number = one.fileno()
    with datagrams() as (one, other):
        assert one.fileno() == number
        with bpf.programs["on_socket"].attach_socket_filter(one):
            link.close()
            other.sendto(b"hello", one.getsockname())
            assert runs(bpf, "on_socket") == 1
    with sharing(1) as (one,):
        link = bpf.programs["on_reuseport"].attach_reuseport(one)
    link.close()


@object_with("on_socket", "on_xdp")
def test_what_is_no_socket_or_no_filter(bpf):
    with open("/dev/null") as file, refused(KernelError, "ENOTSOCK"):
        bpf.programs["on_socket"].attach_socket_filter(file)
    with (
        datagrams() as (_, other),
        refused(KernelError, "EINVAL.*of type BPF_PROG_TYPE_SOCKET_FILTER, and this"),
    ):
        bpf.programs["on_xdp"].attach_socket_filter(other)
    with datagrams() as (_, other), bpf.programs["on_socket"].attach_socket_filter(other):
        other.setsockopt(socket.SOL_SOCKET, 44, 1)  # SO_LOCK_FILTER
        with refused(KernelError, "EPERM.*locked"):
            bpf.programs["on_socket"].attach_socket_filter(other)
        other.close()


@contextmanager
def sharing(number):
    """So many sockets that share a port."""
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(number)]
    try:
        port = 0
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind((LOCAL, port))
            port = each.getsockname()[1]
        yield sockets
    finally:
        for each in sockets:
            each.close()


needs_migration = pytest.mark.needs_kernel("programs that migrate sockets", RELEASE >= (5, 14))


@pytest.mark.parametrize("name", ["on_reuseport", pytest.param("on_reuseport_migrate", marks=needs_migration)])
def test_a_chooser_among_sockets(name):
    with loaded(name) as bpf, sharing(2) as (one, other), socket.socket(type=socket.SOCK_DGRAM) as sender:
        link = bpf.programs[name].attach_reuseport(one)
        assert link.kind == "reuseport"
        for _ in range(10):
            sender.sendto(b"hello", other.getsockname())
        assert runs(bpf, name) == 10
        link.close()
        sender.sendto(b"hello", other.getsockname())
        assert runs(bpf, name) == 10
        link.close()  # harmless


@object_with("on_reuseport", "on_xdp")
def test_no_chooser(bpf):
    with datagrams() as (_, other), refused(KernelError, "EINVAL.*SO_REUSEPORT set before it is bound"):
        bpf.programs["on_reuseport"].attach_reuseport(other)
    with sharing(1) as (one,), refused(KernelError, "EINVAL.*BPF_PROG_TYPE_SK_REUSEPORT"):
        bpf.programs["on_xdp"].attach_reuseport(one)


@object_with("on_socket", "on_reuseport")
def test_500_rounds_on_sockets_leave_nothing(bpf, rounds):
    filters, chooses = bpf.programs["on_socket"], bpf.programs["on_reuseport"]
    with datagrams() as (_, other), sharing(1) as (one,), nothing_left(filters, chooses):
        attach_and_detach(rounds(500), lambda: filters.attach_socket_filter(other))
        attach_and_detach(rounds(500), lambda: chooses.attach_reuseport(one))


# Maps of sockets

BY_LINK = Features({Feature.SOCKMAP_LINK: True})
WITHOUT = Features({Feature.SOCKMAP_LINK: False})
needs_links = pytest.mark.needs_kernel("links to maps of sockets", RELEASE >= (6, 10))
way = pytest.mark.parametrize(
    "features", [pytest.param(BY_LINK, id="bpf link", marks=needs_links), pytest.param(WITHOUT, id="no link")]
)
needs_verdict = pytest.mark.needs_kernel("sk_skb verdicts without a parser", RELEASE >= (5, 13))
TYPES = {
    "on_msg": bpf_attach_type.BPF_SK_MSG_VERDICT,
    "on_verdict": bpf_attach_type.BPF_SK_SKB_VERDICT,
    "on_any_verdict": bpf_attach_type.BPF_SK_SKB_VERDICT,
    "on_stream_verdict": bpf_attach_type.BPF_SK_SKB_STREAM_VERDICT,
    "on_stream_parser": bpf_attach_type.BPF_SK_SKB_STREAM_PARSER,
}


def talk(bpf, name):
    """Say something over a new connection whose sending or receiving end is in the map."""
    with connection() as (one, other):
        bpf.maps["sockets"][0] = (one if name == "on_msg" else other).fileno()
        one.send(b"hello")
        assert other.recv(9) == b"hello"


@way
@pytest.mark.parametrize(
    "name",
    [
        "on_msg",
        pytest.param("on_verdict", marks=needs_verdict),
        pytest.param("on_any_verdict", marks=needs_verdict),
        "on_stream_verdict",
        "on_stream_parser",
    ],
)
def test_a_map_of_sockets(name, features):
    names = ("on_stream_parser", "on_stream_verdict") if "stream" in name else (name,)
    with loaded(*names) as bpf:
        links = [
            attach_sockmap(bpf.programs[each].fileno(), bpf.maps["sockets"], TYPES[each], features=features)
            for each in names
        ]
        assert {(link.kind, link.target) for link in links} == {("sockmap", "sockets")}
        assert len(links_of(bpf.programs[name])) == (features is BY_LINK)
        talk(bpf, name)
        assert eventually(lambda: runs(bpf, name) > 0)
        before = runs(bpf, name)

        for link in links:
            link.close()
            link.close()  # harmless
        talk(bpf, name)
        assert runs(bpf, name) == before
        assert links_of(bpf.programs[name]) == []


@object_with("on_msg", "on_any_verdict")
def test_a_map_of_sockets_by_the_program(bpf):
    with bpf.programs["on_msg"].attach_sockmap(bpf.maps["sockets"].fileno()):
        talk(bpf, "on_msg")
        assert runs(bpf, "on_msg") == 1
    with refused(AttachError, "section 'sk_skb' does not say which attach_type"):
        bpf.programs["on_any_verdict"].attach_sockmap(bpf.maps["sockets"])


@way
@object_with("on_msg", "on_xdp")
def test_a_map_of_sockets_is_left_as_it_was(bpf, features):
    def attach(program="on_msg", sockmap="sockets"):
        return attach_sockmap(bpf.programs[program].fileno(), bpf.maps[sockmap], TYPES["on_msg"], features=features)

    with killed_later(attach):
        talk(bpf, "on_msg")
        assert runs(bpf, "on_msg") == 1

    def is_over():
        before = runs(bpf, "on_msg")
        talk(bpf, "on_msg")
        return runs(bpf, "on_msg") == before

    assert eventually(is_over)
    with refused(KernelError, "EINVAL.*SK_MSG or BPF_PROG_TYPE_SK_SKB, and this one is of type"):
        attach("on_xdp")
    with refused(KernelError, "(EINVAL|E(OP)?NOTSUPP?).*map is none"):
        attach("on_msg", "ports")
    link = attach()
    with pytest.warns(ResourceWarning):
        del link
        gc.collect()
    assert eventually(is_over)
    assert no_children()


@way
def test_500_rounds_on_maps_of_sockets_leave_nothing(features, rounds):
    """On several maps, as each has one program of a kind."""
    with ExitStack() as stack:
        objects = [stack.enter_context(loaded("on_msg")) for _ in range(THREADS)]
        with nothing_left(*(bpf.programs["on_msg"] for bpf in objects)):
            attach = partial(attach_sockmap, attach_type=TYPES["on_msg"], features=features)
            attach_and_detach(
                rounds(500), *(partial(attach, bpf.programs["on_msg"].fileno(), bpf.maps["sockets"]) for bpf in objects)
            )
        for bpf in objects:
            talk(bpf, "on_msg")
            assert runs(bpf, "on_msg") == 0


# Network namespaces


def packet():
    """An AF_PACKET socket has the headers taken apart of what it sends."""
    send("lo")


@pytest.mark.parametrize(("name", "trigger"), [("on_lookup", knock), ("on_flow", packet)])
def test_a_network_namespace(name, trigger):
    with loaded(name) as bpf:
        program = bpf.programs[name]
        with open("/proc/thread-self/ns/net") as own:
            for netns in (None, "/proc/self/ns/net", own.fileno()):
                before = runs(bpf, name)
                link = program.attach_netns() if netns is None else program.attach_netns(netns)
                assert link.kind == "netns"
                (shown,) = links_of(program)
                assert shown["netns_ino"] == os.fstat(own.fileno()).st_ino
                trigger()
                assert runs(bpf, name) > before
                with namespace():
                    before = runs(bpf, name)
                    trigger()
                    assert runs(bpf, name) == before
                link.close()
                trigger()
                assert runs(bpf, name) == before
                assert links_of(program) == []
                link.close()  # harmless
        with killed_later(program.attach_netns):
            assert len(links_of(program)) == 1
        assert eventually(lambda: links_of(program) == [])
        with namespace():
            link = program.attach_netns()
        link.close()  # of a namespace that is gone


@pytest.mark.parametrize("name", ["on_lookup", "on_flow"])
def test_500_rounds_in_a_network_namespace_leave_nothing(name, rounds):
    with loaded(name) as bpf, nothing_left(bpf.programs[name]):
        attach_and_detach(rounds(500), bpf.programs[name].attach_netns)


@object_with("on_lookup", "on_flow", "on_xdp")
def test_no_network_namespace(bpf):
    lookup = bpf.programs["on_lookup"]
    with refused(AttachError, "no network namespace /run/netns/nobody"):
        lookup.attach_netns("/run/netns/nobody")
    with refused(KernelError, "EINVAL.*no network namespace's"):
        lookup.attach_netns("/proc/self/ns/uts")
    with refused(KernelError, "EINVAL.*FLOW_DISSECTOR, and this one is of type"):
        bpf.programs["on_xdp"].attach_netns()
    with bpf.programs["on_flow"].attach_netns(), refused(KernelError, "E2BIG.*1 flow dissector"):
        bpf.programs["on_flow"].attach_netns()
    with refused(AttachError, r"section 'sk_lookup' does not say .*; use program.attach_netns\(\)"):
        lookup.attach()


# netfilter

needs_netfilter = pytest.mark.needs_kernel(
    "programs at netfilter hooks",
    lambda: RELEASE >= (6, 4) and "nf_hook_run_bpf" in Path("/proc/kallsyms").read_text(),
)
needs_defrag = pytest.mark.needs_kernel("netfilter programs that see whole packets", RELEASE >= (6, 6))


def datagram(family):
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", ("::1" if family == socket.AF_INET6 else LOCAL, 9))


@needs_netfilter
@pytest.mark.parametrize("hook", ["prerouting", "input", "output", "postrouting"])
@pytest.mark.parametrize(("family", "number"), [("ipv4", socket.AF_INET), ("ipv6", socket.AF_INET6)])
def test_netfilter(family, number, hook):
    with loaded("on_netfilter") as bpf:
        program = bpf.programs["on_netfilter"]
        link = program.attach_netfilter(family, hook, priority=-7)
        assert (link.kind, link.target) == ("netfilter", f"{family} {hook} -7")
        datagram(number)
        before = runs(bpf, "on_netfilter")
        assert before > 0
        link.close()
        datagram(number)
        assert runs(bpf, "on_netfilter") == before
        assert links_of(program) == []
        link.close()  # harmless


@needs_netfilter
@object_with("on_netfilter", "on_xdp")
def test_netfilter_is_left_as_it_was(bpf):
    program = bpf.programs["on_netfilter"]
    with killed_later(lambda: program.attach_netfilter("ipv4", "input")):
        assert len(links_of(program)) == 1
    assert eventually(lambda: links_of(program) == [])
    with namespace():
        link = program.attach_netfilter("ipv4", "input")
    link.close()
    with program.attach_netfilter("ipv4", "input"), refused(KernelError, "EBUSY.*has this priority"):
        program.attach_netfilter("ipv4", "input")
    with refused(KernelError, "ERANGE.*first or the last"):
        program.attach_netfilter("ipv4", "input", priority=-(2**31))
    with refused(KernelError, "EINVAL.*BPF_PROG_TYPE_NETFILTER"):
        bpf.programs["on_xdp"].attach_netfilter("ipv4", "input")
    with refused(AttachError, "no family 'inet'; it is one of ipv4, ipv6"):
        program.attach_netfilter("inet", "input")
    with refused(AttachError, "no hook 'ingress'; it is one of prerouting, input, forward, output, postrouting"):
        program.attach_netfilter("ipv4", "ingress")


@needs_netfilter
@object_with("on_netfilter")
def test_500_rounds_at_a_netfilter_hook_leave_nothing(bpf, rounds):
    """Each thread with a priority of its own, as the hook has one program of each."""
    attach = partial(bpf.programs["on_netfilter"].attach_netfilter, "ipv4", "input")
    with nothing_left(bpf.programs["on_netfilter"]):
        attach_and_detach(rounds(500), *(partial(attach, priority=number) for number in range(THREADS)))


@needs_netfilter
@needs_defrag
@object_with("on_netfilter")
def test_netfilter_sees_whole_packets(bpf):
    ip("link", "set", "lo", "mtu", "1500")
    with datagrams() as (one, other):
        one.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: fragment
        for defrag, packets in ((False, 3), (True, 1)):
            before = runs(bpf, "on_netfilter")
            with bpf.programs["on_netfilter"].attach_netfilter("ipv4", "prerouting", defrag=defrag):
                one.send(bytes(4000))
                assert len(other.recv(5000)) == 4000
            assert runs(bpf, "on_netfilter") == before + packets
    with refused(KernelError, "ERANGE.*put together"):
        bpf.programs["on_netfilter"].attach_netfilter("ipv4", "prerouting", priority=-400, defrag=True)


@pytest.mark.needs_kernel("no programs at netfilter hooks", RELEASE < (6, 4))
@object_with("on_socket")
def test_a_kernel_without_netfilter_programs(bpf):
    with refused(KernelError, "EINVAL.*takes a program of type BPF_PROG_TYPE_NETFILTER"):
        bpf.programs["on_socket"].attach_netfilter("ipv4", "input")


# Routes, to which a program is given by its pin


needs_seg6 = pytest.mark.needs_kernel(
    "segment routing", lambda: possible("ip -6 route add fd00::/64 encap seg6local action End dev lo")
)


@pytest.mark.parametrize(
    ("name", "route", "trigger"),
    [
        ("on_route_in", "table local local 10.9.0.1/32 dev lo encap bpf in", lambda: udp_to("10.9.0.1")),
        ("on_route_out", "10.9.1.0/24 dev pb0 encap bpf out", lambda: udp_to("10.9.1.77")),
        ("on_route_xmit", "10.9.1.0/24 dev pb0 encap bpf xmit", lambda: udp_to("10.9.1.77")),
        pytest.param(
            *("on_route_seg6", "fd00::/64 dev pb0 encap seg6local action End.BPF endpoint", segment_routed),
            marks=needs_seg6,
        ),
    ],
)
def test_a_route(name, route, trigger, tmp_path):
    veth()
    ip("address", "add", "10.9.1.2/30", "dev", "pb0")
    for setting in ("pb0/disable_ipv6=0", "all/forwarding=1"):
        path, _, value = setting.partition("=")
        Path("/proc/sys/net/ipv6/conf", path).write_text(value)
    with loaded(name) as bpf:
        program = bpf.programs[name]
        with refused(AttachError, f"section '{program.spec.section}' is attached to nothing: a route runs it; pin it"):
            program.attach()
        pinned_and_routed(program, route, tmp_path)
        trigger()
        assert eventually(lambda: runs(bpf, name) > 0)


def pinned_and_routed(program, route, directory):
    """Done by a child process, where a BPF file system can be mounted for itself alone."""

    def pin_and_route():
        unshare_mounts()
        subprocess.run(["mount", "-t", "bpf", "bpf", directory], check=True)
        pin.make(program, f"{directory}/program", "pinning")
        ip(*(["-6"] if "::" in route else []), "route", "add", *route.split(), "pinned", f"{directory}/program")

    in_child(pin_and_route)


# Infrared receivers

needs_receiver = pytest.mark.needs_kernel(
    "programs for infrared receivers, and one (rc-loopback)",
    lambda: bool(glob.glob("/dev/lirc*")) and "lirc_prog_attach" in Path("/proc/kallsyms").read_text(),
)


def receiver():
    return sorted(glob.glob("/dev/lirc*"))[0]


def programs_of(lirc):
    """How many programs are attached to the receiver that is open there."""
    attr = bpf_attr_prog_query(target_fd=lirc, attach_type=bpf_attach_type.BPF_LIRC_MODE2)
    kernel_bpf.bpf(bpf_cmd.BPF_PROG_QUERY, attr)
    return attr.count


@needs_receiver
@object_with("on_pulse", "on_xdp")
def test_an_infrared_receiver(bpf):
    device = receiver()
    program = bpf.programs["on_pulse"]
    lirc = os.open(device, os.O_RDWR)

    def attached():
        return programs_of(lirc)

    link = program.attach_lirc(device)
    assert (link.kind, link.target, attached()) == ("lirc", device, 1)
    os.write(lirc, struct.pack("=5I", 900, 450, 900, 450, 900))  # the loopback device receives what is sent
    assert eventually(lambda: runs(bpf, "on_pulse") > 4)
    with refused(KernelError, "EEXIST.*attached to the device already"):
        program.attach_lirc(device)
    link.close()
    link.close()  # harmless
    assert attached() == 0
    with killed_later(lambda: program.attach_lirc(lirc)):
        assert attached() == 1
    assert eventually(lambda: attached() == 0)
    with refused(KernelError, "EINVAL.*BPF_PROG_TYPE_LIRC_MODE2"):
        bpf.programs["on_xdp"].attach_lirc(device)
    os.close(lirc)


@needs_receiver
def test_500_rounds_on_an_infrared_receiver_leave_nothing(rounds):
    """With several programs, as each can be attached once."""
    with ExitStack() as stack:
        programs = [stack.enter_context(loaded("on_pulse")).programs["on_pulse"] for _ in range(THREADS)]
        with nothing_left(*programs):
            attach_and_detach(rounds(500), *(partial(program.attach_lirc, receiver()) for program in programs))
        with open(receiver(), "rb") as lirc:
            assert programs_of(lirc.fileno()) == 0


@object_with("on_socket")
def test_no_infrared_receiver(bpf):
    with refused(AttachError, "there is no infrared device /dev/lirc77; there (is none at all|are /dev/lirc)"):
        bpf.programs["on_socket"].attach_lirc("/dev/lirc77")
    with refused(KernelError, "EINVAL.*of type BPF_PROG_TYPE_LIRC_MODE2, and this one is of type"):
        bpf.programs["on_socket"].attach_lirc("/dev/null")
