"""XDP programs see the packets that an interface receives, by link and by netlink, and nothing stays behind."""

from __future__ import annotations

import gc
import socket
from functools import partial
from pathlib import Path

import pytest
from kernel_state import (
    RELEASE,
    THREADS,
    attach_and_detach,
    bpftool,
    eventually,
    id_of,
    killed_later,
    links_of,
    no_children,
    nothing_left,
    refused,
    running_kernel,
)
from network import ip, loaded, namespace, runs, send, veth, without_capabilities

import purebpf
from purebpf.abi.bpf import bpf_prog_flags
from purebpf.errors import AttachError, KernelError, VerifierError
from purebpf.kernel import netlink
from purebpf.kernel.features import Feature, Features
from purebpf.links.xdp import attach_xdp

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("ip", "bpftool")]

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
BY_LINK = Features({Feature.XDP_LINK: True})
BY_NETLINK = Features({Feature.XDP_LINK: False})
way = pytest.mark.parametrize(
    "features", [pytest.param(BY_LINK, id="bpf link"), pytest.param(BY_NETLINK, id="netlink")]
)


@pytest.fixture(autouse=True)
def interfaces():
    with namespace():
        veth()
        yield


@pytest.fixture
def bpf():
    with loaded("on_xdp", "on_xdp_too") as bpf:
        yield bpf


def attach(bpf, interface="pb0", *arguments, name="on_xdp", **options):
    return attach_xdp(bpf.programs[name].fileno(), interface, *arguments, **options)


def on(interface):
    """The programs on an interface by mode, as bpftool shows them."""
    (found,) = bpftool("net", "show", "dev", interface)
    return {each["mode"]: each["id"] for each in found["xdp"]}


@way
@pytest.mark.parametrize("mode", ["auto", "driver", "generic"])
def test_packets_are_seen_until_the_link_is_closed(bpf, features, mode):
    program = bpf.programs["on_xdp"]
    link = attach(bpf, "pb0", mode, features=features)
    assert (link.kind, link.target, link.closed) == ("xdp", "pb0", False)
    assert on("pb0") == {"generic" if mode == "generic" else "driver": id_of(program)}
    assert len(links_of(program)) == features.has(Feature.XDP_LINK)
    send("pb1", 10)
    assert eventually(lambda: runs(bpf, "on_xdp") == 10)
    send("pb0")  # what the interface sends is not seen

    link.close()
    send("pb1")
    assert on("pb0") == {}
    assert links_of(program) == []
    assert runs(bpf, "on_xdp") == 10
    link.close()  # harmless
    assert link.closed


def test_by_the_program(bpf):
    with bpf.programs["on_xdp"].attach_xdp(socket.if_nametoindex("pb0"), "generic") as link:
        assert link.target == "pb0"
        send("pb1")
        assert eventually(lambda: runs(bpf, "on_xdp") == 1)


@pytest.mark.needs_kernel("XDP programs for packets in fragments", RELEASE >= (5, 18))
def test_packets_in_fragments():
    with loaded("on_xdp_frags") as bpf, bpf.programs["on_xdp_frags"].attach_xdp("pb0", "driver"):
        send("pb1")
        assert eventually(lambda: runs(bpf, "on_xdp_frags") == 1)


# What a packet meets on its way to another interface or CPU

frags = pytest.mark.parametrize(
    "frags",
    [
        "",
        pytest.param(
            "_frags",
            marks=pytest.mark.needs_kernel("XDP programs for packets in fragments", RELEASE >= (5, 18)),
        ),
    ],
)


@frags
def test_a_program_in_a_devmap(frags):
    """On the way out of pb2, towards pb3; that one needs a program too, to receive what XDP sends."""
    veth("pb2", "pb3")
    with loaded(f"to_port{frags}", f"on_xdp_devmap{frags}", f"on_xdp{frags}") as bpf:
        program = bpf.programs[f"on_xdp_devmap{frags}"]
        bpf.maps["ports"][0] = (socket.if_nametoindex("pb2"), {"fd": program.fileno()})
        assert bpf.maps["ports"][0].bpf_prog.id == id_of(program)
        with (
            bpf.programs[f"to_port{frags}"].attach_xdp("pb0", "driver"),
            bpf.programs[f"on_xdp{frags}"].attach_xdp("pb3", "driver"),
        ):
            send("pb1")
            assert eventually(lambda: runs(bpf, f"on_xdp_devmap{frags}") == 1)
            assert eventually(lambda: runs(bpf, f"on_xdp{frags}") == 1)


@frags
def test_a_program_in_a_cpumap(frags):
    with loaded(f"to_cpu{frags}", f"on_xdp_cpumap{frags}") as bpf:
        program = bpf.programs[f"on_xdp_cpumap{frags}"]
        bpf.maps["cpus"][0] = (64, {"fd": program.fileno()})
        assert bpf.maps["cpus"][0].bpf_prog.id == id_of(program)
        with bpf.programs[f"to_cpu{frags}"].attach_xdp("pb0", "driver"):
            send("pb1")
            assert eventually(lambda: runs(bpf, f"on_xdp_cpumap{frags}") == 1)


# Whose program it is


def test_one_that_is_there_is_left_alone(bpf):
    for features in (BY_NETLINK, BY_LINK):
        with attach(bpf, features=features):
            for other in (BY_NETLINK, BY_LINK):
                with refused(KernelError, rf"EBUSY.*driver: program 'on_xdp' \(id {id_of(bpf.programs['on_xdp'])}\)"):
                    attach(bpf, name="on_xdp_too", features=other)
            assert on("pb0") == {"driver": id_of(bpf.programs["on_xdp"])}


def test_attaching_twice_leaves_the_first(bpf):
    with attach(bpf, features=BY_NETLINK):
        with refused(KernelError, "EBUSY"):
            attach(bpf, features=BY_NETLINK)
        assert on("pb0") == {"driver": id_of(bpf.programs["on_xdp"])}


def test_of_another_mode(bpf):
    with attach(bpf, "pb0", "generic", features=BY_NETLINK), refused(KernelError, "EEXIST.*generic: program 'on_xdp'"):
        attach(bpf, "pb0", "driver", name="on_xdp_too", features=BY_NETLINK)


def test_replacing_a_program(bpf):
    one, other = bpf.programs["on_xdp"], bpf.programs["on_xdp_too"]
    first = attach(bpf, features=BY_NETLINK)
    second = other.attach_xdp("pb0", replace=one)
    send("pb1")
    assert eventually(lambda: runs(bpf, "on_xdp_too") == 1)
    first.close()  # its program is not there any more
    assert on("pb0") == {"driver": id_of(other)}
    second.close()
    assert on("pb0") == {}
    with attach(bpf, features=BY_NETLINK), refused(KernelError, "EEXIST.*or not the one to be replaced"):
        one.attach_xdp("pb0", replace=other)


def test_others_programs_are_not_removed(bpf):
    link = attach(bpf, features=BY_NETLINK)
    index = socket.if_nametoindex("pb0")
    netlink.set_xdp(index, bpf.programs["on_xdp_too"].fileno(), 0, action="as somebody else")
    link.close()
    assert on("pb0") == {"driver": id_of(bpf.programs["on_xdp_too"])}


# Nothing stays behind


@way
def test_a_killed_process_leaves_nothing(bpf, features):
    with killed_later(lambda: attach(bpf, features=features)):
        assert on("pb0") == {"driver": id_of(bpf.programs["on_xdp"])}
    assert eventually(lambda: on("pb0") == {})


@way
def test_a_forgotten_link_detaches(bpf, features):
    link = attach(bpf, features=features)
    with pytest.warns(ResourceWarning):
        del link
        gc.collect()
    assert eventually(lambda: on("pb0") == {})
    assert no_children()


@way
def test_an_interface_that_is_removed(bpf, features):
    with attach(bpf, features=features):
        ip("link", "delete", "pb0")


def test_in_another_network_namespace(bpf):
    link = attach(bpf, features=BY_NETLINK)
    with namespace():
        veth()
        with attach(bpf, features=BY_NETLINK):
            link.close()
            assert len(on("pb0")) == 1
    assert on("pb0") == {}


@way
def test_the_program_may_be_closed_before_the_link(features):
    with loaded("on_xdp") as bpf:
        link = attach(bpf, features=features)
    with link:
        assert len(on("pb0")) == 1
    assert on("pb0") == {}


@way
def test_500_rounds_leave_nothing(bpf, features, rounds):
    """On several interfaces, as each has one program; every other in the mode of its driver."""
    for number in range(2, THREADS, 2):
        veth(f"pb{number}", f"pb{number + 1}")
    places = [(f"pb{number}", ("generic", "driver")[number % 2]) for number in range(THREADS)]
    with nothing_left(bpf.programs["on_xdp"]):
        attach_and_detach(rounds(500), *(partial(attach, bpf, *place, features=features) for place in places))
        assert [on(interface) for interface, _ in places] == [{}] * THREADS


# Programs for one interface

needs_bound = pytest.mark.needs_kernel("XDP programs for one driver (Linux 6.3)", RELEASE >= (6, 3))
OFFLOAD = bpf_prog_flags(0)
DRIVER = bpf_prog_flags.BPF_F_XDP_DEV_BOUND_ONLY


def bound(name, ifindex=0, flags=OFFLOAD):
    spec = purebpf.parse(OBJECTS / f"xdp_{name.removeprefix('in_')}.bpf.o")
    spec.programs[name].ifindex = ifindex
    spec.programs[name].prog_flags |= flags
    return spec


@needs_bound
def test_a_program_calls_its_driver():
    interface = socket.if_nametoindex("pb0")
    with bound("in_driver", interface, DRIVER).load(running_kernel()) as bpf:
        program = bpf.programs["in_driver"]
        with program.attach_xdp("pb0", "driver"):
            send("pb1", 3)
            assert eventually(lambda: bpf.maps[".bss"][0].packets == 3)
        assert bpf.maps[".data"][0].answer == 0
        for elsewhere in (("pb1", "driver"), ("pb0", "generic")):
            with refused(KernelError, rf"EINVAL.*for a certain interface.* not in mode '{elsewhere[1]}' there"):
                program.attach_xdp(*elsewhere)


@needs_bound
def test_the_driver_is_called_by_its_own_programs_only():
    with refused(VerifierError, "metadata kfuncs require device-bound program"):
        bound("in_driver").load(running_kernel()).close()


@pytest.mark.parametrize(
    ("interface", "flags", "said"),
    [
        pytest.param("pb0", OFFLOAD, "pb0 runs no programs in its card .*BPF_F_XDP_DEV_BOUND_ONLY", id="no offload"),
        pytest.param("lo", DRIVER, "driver of network interface lo has no XDP", id="no XDP", marks=needs_bound),
        pytest.param(12345, OFFLOAD, "no network interface with index 12345", id="no such card"),
        pytest.param(12345, DRIVER, "no network interface with index 12345", id="no such driver"),
    ],
)
def test_no_program_for_this_interface(interface, flags, said):
    ifindex = interface if isinstance(interface, int) else socket.if_nametoindex(interface)
    with refused(KernelError, f"loading program 'in_card' .*{said}"):
        bound("in_card", ifindex, flags).load(running_kernel()).close()


def test_no_map_in_this_card():
    spec = bound("in_card")
    for ifindex, said in (
        (socket.if_nametoindex("pb0"), "interface pb0 holds no maps of type BPF_MAP_TYPE_ARRAY in its card"),
        (12345, "no network interface with index 12345"),
    ):
        spec.maps["seen"].ifindex = ifindex
        with refused(KernelError, f"creating map 'seen'.*{said}"):
            spec.load(running_kernel()).close()


@pytest.fixture
def card():
    """The name of a network interface with a card that takes programs, and does not run them."""
    bus = Path("/sys/bus/netdevsim")
    before = {name for _, name in socket.if_nameindex()}
    (bus / "new_device").write_text("7 1")
    try:
        (name,) = {name for _, name in socket.if_nameindex()} - before
        yield name
    finally:
        (bus / "del_device").write_text("7")


@pytest.mark.needs_kernel("CONFIG_NETDEVSIM, a network card that takes programs", Path("/sys/bus/netdevsim").exists)
def test_a_program_in_a_card(card):
    ifindex = socket.if_nametoindex(card)
    spec = bound("in_card", ifindex)
    spec.maps["seen"].ifindex = ifindex
    with spec.load(running_kernel()) as bpf:
        program = bpf.programs["in_card"]
        bpf.maps["seen"][0] = 77
        assert bpf.maps["seen"][0] == 77
        shown = bpftool("prog", "show", "id", str(id_of(program)))
        assert shown["dev"]["ifname"] == card
        with refused(KernelError, "EINVAL.*for a certain interface.* not in mode 'driver' there"):
            program.attach_xdp(card, "driver")
        for features in (BY_LINK, BY_NETLINK):
            with attach_xdp(program.fileno(), card, "offload", features=features):
                assert on(card) == {"offload": id_of(program)}
            assert on(card) == {}


# Refusals


def test_no_such_interface(bpf):
    with refused(AttachError, "no network interface with the name 'lo0'; did you mean lo?"):
        attach(bpf, "lo0")
    with refused(AttachError, "no network interface with the name 'wlan0'; there are lo, pb"):
        attach(bpf, "wlan0")
    with refused(AttachError, "no network interface with index 12345; there are"):
        attach(bpf, 12345)


@way
def test_a_driver_without_xdp(bpf, features):
    with refused(
        KernelError, "E(OP)?NOTSUPP?.*driver of lo has no XDP in mode 'driver'; any has it with mode='generic'"
    ):
        attach(bpf, "lo", "driver", features=features)


def test_no_such_mode(bpf):
    with refused(AttachError, "no mode 'native'; there are auto, driver, generic, offload"):
        attach(bpf, "pb0", "native")


@way
def test_a_program_of_another_kind(features):
    with loaded("on_tc", "on_xdp_devmap") as bpf:
        with refused(KernelError, "EINVAL.*BPF_PROG_TYPE_XDP, and this one is of type BPF_PROG_TYPE_SCHED_CLS"):
            attach(bpf, name="on_tc", features=features)
        with refused(KernelError, "EINVAL.*for the values of a devmap"):
            attach(bpf, name="on_xdp_devmap", features=features)


def test_by_its_section():
    with loaded("on_xdp", "on_xdp_devmap", "on_xdp_cpumap") as bpf:
        with refused(AttachError, r"section 'xdp' does not say .*; use program.attach_xdp\(INTERFACE\)"):
            bpf.programs["on_xdp"].attach()
        for name, kind in (("on_xdp_devmap", "devmap"), ("on_xdp_cpumap", "cpumap")):
            with refused(AttachError, rf"section 'xdp/{kind}' is attached to nothing: it runs where a {kind} sends"):
                bpf.programs[name].attach()
        assert bpf.attach() == []


def test_without_the_capability(bpf):
    """For a link the kernel does not ask: it has asked when the program was loaded."""
    with refused(KernelError, "EPERM.*rtnetlink needs CAP_NET_ADMIN, which this process does not have"):
        without_capabilities(lambda: attach(bpf, features=BY_NETLINK))
