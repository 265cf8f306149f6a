"""Programs on what interfaces receive and send: by tcx, as filters, and in netkit pairs."""

from __future__ import annotations

import gc
import socket
import subprocess
from contextlib import ExitStack
from functools import partial

import pytest
from kernel_state import (
    RELEASE,
    THREADS,
    attach_and_detach,
    eventually,
    id_of,
    killed_later,
    links_of,
    no_children,
    nothing_left,
    refused,
)
from network import ip, loaded, namespace, order, possible, runs, send, tc, veth, without_capabilities

from purebpf.abi.attr import bpf_attr_prog_attach
from purebpf.abi.bpf import bpf_attach_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import netlink
from purebpf.kernel.bpf import prog_attach, prog_detach
from purebpf.kernel.features import Feature, Features
from purebpf.links.tc import attach_tc
from purebpf.links.tcx import attached

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("ip", "tc", "bpftool")]

needs_tcx = pytest.mark.needs_kernel("tcx", RELEASE >= (6, 6))


needs_netkit = pytest.mark.needs_kernel("netkit", lambda: possible("ip link add type netkit"))
needs_actions = pytest.mark.needs_kernel(
    "filters that match all packets, and BPF actions",
    lambda: possible(
        "tc qdisc add dev lo clsact && tc filter add dev lo ingress matchall action bpf bytecode '1,6 0 0 0,'"
    ),
)

BY_TCX = Features({Feature.TCX_LINK: True})
BY_FILTER = Features({Feature.TCX_LINK: False})
way = pytest.mark.parametrize(
    "features", [pytest.param(BY_TCX, id="tcx", marks=needs_tcx), pytest.param(BY_FILTER, id="filter")]
)
direction = pytest.mark.parametrize("direction", ["ingress", "egress"])


@pytest.fixture(autouse=True)
def interfaces():
    with namespace():
        veth()
        yield


@pytest.fixture
def bpf():
    with loaded("on_tc", "on_classifier", "tc_1", "tc_2", "tc_3") as bpf:
        yield bpf


def attach(bpf, direction="ingress", name="on_tc", interface="pb0", **options):
    return attach_tc(bpf.programs[name].fileno(), interface, direction, **options)


def programs(direction, interface="pb0"):
    """The ids of the programs there: those of tcx, which older tools do not show, and those of filters."""
    by_tcx = attached(interface, direction).prog_ids if RELEASE >= (6, 6) else []
    return by_tcx + [program for _, _, program in filters(direction, interface)]


def qdiscs(interface="pb0"):
    return [each["kind"] for each in tc("qdisc", "show", "dev", interface) if each["kind"] in ("clsact", "ingress")]


def filters(direction, interface="pb0"):
    """What tc shows of the filters of BPF programs: handle, priority, id of the program."""
    shown = tc("filter", "show", "dev", interface, direction)
    return [
        (int(each["options"]["handle"], 16), each["pref"], each["options"]["prog"]["id"])
        for each in shown
        if "handle" in each.get("options", {})
    ]


@way
@direction
def test_packets_are_seen_until_the_link_is_closed(bpf, features, direction):
    program = bpf.programs["on_tc"]
    sender, other = ("pb1", "pb0") if direction == "ingress" else ("pb0", "pb1")
    link = attach(bpf, direction, features=features)
    assert (link.kind, link.target) == ("tcx" if features is BY_TCX else "tc", f"pb0 {direction}")
    assert programs(direction) == [id_of(program)]
    assert len(links_of(program)) == (features is BY_TCX)
    assert qdiscs() == ([] if features is BY_TCX else ["clsact"])
    send(sender, 10)
    assert eventually(lambda: runs(bpf, "on_tc") == 10)
    send(other)

    link.close()
    send(sender)
    assert programs(direction) == links_of(program) == qdiscs() == []
    assert runs(bpf, "on_tc") == 10
    link.close()  # harmless
    assert link.closed


@pytest.mark.parametrize("name", ["on_tc_ingress", "on_tc_egress", "on_tc", "on_classifier"])
def test_by_the_program(name):
    direction = "egress" if name == "on_tc_egress" else "ingress"
    says_it = name.endswith("gress")
    with loaded(name) as bpf:
        program = bpf.programs[name]
        with program.attach_tc("pb0") if says_it else program.attach_tc("pb0", direction):
            send("pb0" if direction == "egress" else "pb1")
            assert eventually(lambda: runs(bpf, name) == 1)
        if not says_it:
            with refused(
                AttachError, f"section {program.spec.section!r} does not say the direction: ingress or egress"
            ):
                program.attach_tc("pb0")


@needs_actions
@direction
def test_an_action(direction):
    with loaded("on_action") as bpf:
        with bpf.programs["on_action"].attach_tc("pb0", direction):
            send("pb1" if direction == "ingress" else "pb0", 3)
            assert eventually(lambda: runs(bpf, "on_action") == 3)
            assert qdiscs() == ["clsact"]
        assert qdiscs() == []
        with killed_later(lambda: bpf.programs["on_action"].attach_tc("pb0", direction)):
            assert qdiscs() == ["clsact"]
        assert eventually(lambda: qdiscs() == [])


# Filters, and the qdisc that they need


def test_handle_and_priority(bpf):
    """They ask for a filter, also where there is tcx."""
    with bpf.programs["on_tc"].attach_tc("pb0", "ingress", handle=0x2A, priority=7):
        assert filters("ingress") == [(0x2A, 7, id_of(bpf.programs["on_tc"]))]
        who = rf"EEXIST.*There is a filter .* already \(program 'on_tc' \(id {id_of(bpf.programs['on_tc'])}\)\)"
        with refused(KernelError, who):
            attach(bpf, name="tc_1", handle=0x2A, priority=7)
        with attach(bpf, name="tc_2", priority=9, features=BY_FILTER), attach(bpf, name="tc_1", priority=8):
            send("pb1")
            assert eventually(lambda: runs(bpf, "on_tc") == 1)
            assert order(bpf, 2) == 12
    assert qdiscs() == []


@pytest.mark.parametrize(("handle", "priority"), [(1 << 32, 0), (-1, 0), (0, 1 << 16), (0, -1)])
def test_numbers_that_are_none_of_a_filter(bpf, handle, priority):
    with refused(AttachError, "a handle of 32 bits and a priority of 16 bits"):
        attach(bpf, handle=handle, priority=priority)


@pytest.mark.parametrize("which", ["first", "last"])
def test_the_qdisc_goes_with_the_last_filter(bpf, which):
    links = [attach(bpf, direction, features=BY_FILTER) for direction in ("ingress", "egress")]
    links.append(attach(bpf, "ingress", "tc_1", features=BY_FILTER))
    while links:
        assert qdiscs() == ["clsact"]
        links.pop(0 if which == "first" else -1).close()
    assert qdiscs() == []


@pytest.mark.parametrize("kind", ["clsact", "ingress"])
def test_others_qdisc_stays(bpf, kind):
    subprocess.run(["tc", "qdisc", "add", "dev", "pb0", kind], check=True)
    with attach(bpf, features=BY_FILTER):
        send("pb1")
        assert eventually(lambda: runs(bpf, "on_tc") == 1)
    assert qdiscs() == [kind]
    with killed_later(lambda: attach(bpf, features=BY_FILTER)):
        assert len(programs("ingress")) == 1
    assert eventually(lambda: programs("ingress") == [])
    assert qdiscs() == [kind]


def test_egress_where_a_qdisc_has_only_ingress(bpf):
    subprocess.run(["tc", "qdisc", "add", "dev", "pb0", "ingress"], check=True)
    with refused(AttachError, "has a qdisc 'ingress', in place of a qdisc 'clsact'.*tc qdisc delete dev pb0 ingress"):
        attach(bpf, "egress", features=BY_FILTER)


def test_others_filters_stay(bpf):
    """One of another tool, added to the qdisc that we added."""
    link = attach(bpf, features=BY_FILTER)
    classic = ["bpf", "bytecode", "1,6 0 0 0,", "flowid", "1:1"]
    subprocess.run(["tc", "filter", "add", "dev", "pb0", "ingress", "pref", "3", *classic], check=True)
    link.close()
    assert qdiscs() == ["clsact"]
    assert [each["pref"] for each in tc("filter", "show", "dev", "pb0", "ingress")] == [3, 3]


def test_a_filter_that_another_replaced_stays(bpf):
    link = attach(bpf, handle=5, priority=5)
    index = socket.if_nametoindex("pb0")
    subprocess.run(["tc", "filter", "delete", "dev", "pb0", "ingress", "pref", "5", "handle", "5", "bpf"], check=True)
    netlink.add_classifier(
        index, netlink.INGRESS, 5, 5, bpf.programs["tc_2"].fileno(), "another", "adding a filter, as somebody else"
    )
    link.close()
    assert filters("ingress") == [(5, 5, id_of(bpf.programs["tc_2"]))]


# The order of programs with tcx


@needs_tcx
def test_the_order_of_programs(bpf):
    one, two, three = (bpf.programs[name] for name in ("tc_1", "tc_2", "tc_3"))
    with one.attach_tcx("pb0", "ingress") as first, two.attach_tcx("pb0", "ingress") as second:
        link_id = links_of(two)[0]["id"]
        for place, expected in [
            ({}, 123),
            ({"before": "all"}, 312),
            ({"after": "all"}, 123),
            ({"before": second}, 132),
            ({"after": first}, 132),
            ({"before": two}, 132),
            ({"after": one}, 132),
            ({"before": ("prog", id_of(one))}, 312),
            ({"after": ("prog", id_of(one))}, 132),
            ({"before": ("link", link_id)}, 132),
            ({"after": ("link", link_id)}, 123),
        ]:
            with three.attach_tcx("pb0", "ingress", **place):
                send("pb1")
                assert order(bpf, 3) == expected, place
                assert programs("ingress") == attached("pb0", "ingress").prog_ids


@needs_tcx
def test_the_revision(bpf):
    one, two = bpf.programs["tc_1"], bpf.programs["tc_2"]
    assert attached("pb0", "egress").prog_ids == []
    with one.attach_tcx("pb0", "egress", expected_revision=attached("pb0", "egress").revision):
        revision = attached("pb0", "egress").revision
        two.attach_tcx("pb0", "egress", expected_revision=revision).close()
        with refused(KernelError, "ESTALE.*revision is not the expected one"):
            two.attach_tcx("pb0", "egress", expected_revision=revision)


@needs_tcx
def test_replacing_a_program_without_a_link(bpf):
    one, two, three = (bpf.programs[name] for name in ("tc_1", "tc_2", "tc_3"))
    index, egress = socket.if_nametoindex("pb0"), bpf_attach_type.BPF_TCX_EGRESS
    for program in (one, two):
        attr = bpf_attr_prog_attach(target_ifindex=index, attach_bpf_fd=program.fileno(), attach_type=egress)
        prog_attach(attr, action="as somebody else")
    link = three.attach_tcx("pb0", "egress", replace=one)
    assert programs("egress") == [id_of(three), id_of(two)]
    with namespace():  # there is another interface of this index, or none
        link.close()
    assert programs("egress") == [id_of(two)]
    with killed_later(lambda: three.attach_tcx("pb0", "egress", replace=two)):
        assert programs("egress") == [id_of(three)]
    assert eventually(lambda: programs("egress") == [])
    with refused(KernelError, "ENOENT.*to replace, is not attached there"):
        three.attach_tcx("pb0", "egress", replace=two)
    prog_detach(two.fileno(), index, egress)  # harmless, as it is not there


@needs_tcx
def test_places_that_are_none(bpf):
    one, two, three = (bpf.programs[name] for name in ("tc_1", "tc_2", "tc_3"))
    with pytest.raises(ValueError, match="only one can be given"):
        one.attach_tcx("pb0", "ingress", before="all", after="all")
    with pytest.raises(ValueError, match="'first' is no place"):
        one.attach_tcx("pb0", "ingress", before="first")
    with two.attach_tcx("pb0", "ingress"):
        with refused(KernelError, "ENOENT.*not attached there"):
            one.attach_tcx("pb0", "ingress", before=three)
        with refused(KernelError, "EEXIST.*attached there already"):
            two.attach_tcx("pb0", "ingress")


@needs_tcx
def test_more_programs_than_there_can_be(bpf):
    with refused(KernelError, r"(ERANGE|E2BIG).*as the kernel allows \(64\)"), ExitStack() as stack:
        for _ in range(65):
            more = stack.enter_context(loaded("on_tc"))
            stack.enter_context(more.programs["on_tc"].attach_tcx("pb0", "ingress"))


@needs_tcx
@pytest.mark.parametrize("name", ["on_tcx_ingress", "on_tcx_egress"])
def test_tcx_by_the_section(name):
    with loaded(name) as bpf, bpf.programs[name].attach_tcx("pb0") as link:
        assert (link.kind, link.target) == ("tcx", f"pb0 {name.removeprefix('on_tcx_')}")
        send("pb1" if name.endswith("ingress") else "pb0")
        assert eventually(lambda: runs(bpf, name) == 1)


# netkit


@needs_netkit
@pytest.mark.parametrize("side", ["primary", "peer"])
def test_netkit(side):
    ip("link", "add", "nk0", "type", "netkit", "peer", "name", "nk1")
    for name in ("nk0", "nk1"):
        ip("link", "set", name, "up")
    name = f"on_netkit_{side}"
    with loaded(name, "on_tc") as bpf:
        with bpf.programs[name].attach_netkit("nk0") as link, bpf.programs["on_tc"].attach_netkit("nk0", side):
            assert (link.kind, link.target) == ("netkit", f"nk0 {side}")
            assert attached("nk0", side).prog_ids == [id_of(bpf.programs[each]) for each in (name, "on_tc")]
            send("nk0" if side == "primary" else "nk1")
            assert eventually(lambda: runs(bpf, name) == runs(bpf, "on_tc") == 1)
            with bpf.programs["on_tc"].attach_netkit("nk0", "peer" if side == "primary" else "primary", before="all"):
                pass
        assert attached("nk0", side).prog_ids == []
        with killed_later(lambda: bpf.programs[name].attach_netkit("nk0")):
            assert len(attached("nk0", side).prog_ids) == 1
        assert eventually(lambda: attached("nk0", side).prog_ids == [])
        with refused(KernelError, "EACCES.*peer of a netkit pair"):
            bpf.programs[name].attach_netkit("nk1")
        with refused(KernelError, "ENXIO.*no netkit device"):
            bpf.programs[name].attach_netkit("pb0")
        link = bpf.programs[name].attach_netkit("nk0")
        ip("link", "delete", "nk0")
        link.close()


@needs_netkit
@pytest.mark.parametrize("side", ["primary", "peer"])
def test_500_rounds_of_netkit_leave_nothing(side, rounds):
    """On several pairs, as a program can be attached to each once."""
    for number in range(THREADS):
        ip("link", "add", f"nk{number}", "type", "netkit", "peer", "name", f"peer{number}")
    with loaded("on_tc") as bpf, nothing_left(bpf.programs["on_tc"]):
        attach = partial(bpf.programs["on_tc"].attach_netkit, side=side)
        attach_and_detach(rounds(500), *(partial(attach, f"nk{number}") for number in range(THREADS)))
        assert [attached(f"nk{number}", side).prog_ids for number in range(THREADS)] == [[]] * THREADS


@pytest.mark.needs_kernel("no netkit", lambda: not possible("ip link add type netkit"))
def test_a_kernel_without_netkit():
    with loaded("on_tc") as bpf, refused(KernelError, "EINVAL.*Linux 6.7 with CONFIG_NETKIT"):
        bpf.programs["on_tc"].attach_netkit("pb0", "primary")


@pytest.mark.needs_kernel("no tcx", RELEASE < (6, 6))
def test_a_kernel_without_tcx(bpf):
    with refused(KernelError, "EINVAL.*Linux 6.6"):
        bpf.programs["on_tc"].attach_tcx("pb0", "ingress")


# Nothing stays behind


@way
@direction
def test_a_killed_process_leaves_nothing(bpf, features, direction):
    with killed_later(lambda: attach(bpf, direction, features=features)):
        assert programs(direction) == [id_of(bpf.programs["on_tc"])]
    assert eventually(lambda: programs(direction) == qdiscs() == [])


def test_a_process_killed_with_several_filters_leaves_nothing(bpf, rounds):
    def attach_all():
        links = [attach(bpf, direction, features=BY_FILTER) for direction in ("ingress", "egress")]
        links.append(attach(bpf, "egress", "tc_1", features=BY_FILTER))
        return links[0]

    for _ in rounds(50)[::10]:  # once where time is short
        with killed_later(attach_all):
            assert len(programs("egress")) == 2
        assert eventually(lambda: programs("ingress") == programs("egress") == qdiscs() == [])


@way
def test_a_forgotten_link_detaches(bpf, features):
    link = attach(bpf, features=features)
    with pytest.warns(ResourceWarning):
        del link
        gc.collect()
    assert eventually(lambda: programs("ingress") == qdiscs() == [])
    assert no_children()


@way
def test_an_interface_that_is_removed(bpf, features):
    with attach(bpf, features=features):
        ip("link", "delete", "pb0")


def test_in_another_network_namespace(bpf):
    link = attach(bpf, features=BY_FILTER)
    with namespace():
        veth()
        with attach(bpf, features=BY_FILTER):
            link.close()
            assert len(programs("ingress")) == 1
    assert programs("ingress") == qdiscs() == []


INTERFACES = [f"pb{number}" for number in range(THREADS)]


@pytest.fixture
def more_interfaces():
    for one, other in zip(INTERFACES[2::2], INTERFACES[3::2], strict=True):
        veth(one, other)


@way
def test_500_rounds_leave_nothing(bpf, features, more_interfaces, rounds):
    """On several interfaces, as tcx takes a program once."""
    with nothing_left(bpf.programs["on_tc"]):
        attach_and_detach(
            rounds(500), *(partial(attach, bpf, interface=each, features=features) for each in INTERFACES)
        )
        for interface in INTERFACES:
            assert programs("ingress", interface) == qdiscs(interface) == []


def test_threads_that_use_one_interface_leave_nothing(rounds):
    """Who adds the qdisc, and who removes it, may be different ones; those who remove are processes, the guards."""
    with loaded("on_tc", "tc_1") as bpf:
        attachers = [partial(attach, bpf, name=name, features=BY_FILTER) for name in ("on_tc", "tc_1")]
        attach_and_detach(rounds(200), *attachers)
    assert programs("ingress") == qdiscs() == []


@needs_actions
def test_500_rounds_of_an_action_leave_nothing(more_interfaces, rounds):
    with loaded("on_action") as bpf, nothing_left(bpf.programs["on_action"]):
        attach = partial(bpf.programs["on_action"].attach_tc, direction="egress")
        attach_and_detach(rounds(500), *(partial(attach, each) for each in INTERFACES))
        for interface in INTERFACES:
            assert tc("filter", "show", "dev", interface, "egress") == qdiscs(interface) == []


# Refusals


@way
def test_no_such_place(bpf, features):
    with refused(AttachError, "no network interface with the name 'lo0'; did you mean lo?"):
        attach(bpf, interface="lo0", features=features)
    with refused(AttachError, "no direction 'in'; it is ingress or egress"):
        attach(bpf, "in", features=features)


@way
def test_a_program_of_another_kind(features):
    with loaded("on_xdp") as bpf, refused(KernelError, "EINVAL.*BPF_PROG_TYPE_SCHED_CLS"):
        attach(bpf, name="on_xdp", features=features)
    assert qdiscs() == []


def test_without_the_capability(bpf):
    with refused(KernelError, "EPERM.*rtnetlink needs CAP_NET_ADMIN, which this process does not have"):
        without_capabilities(lambda: attach(bpf, features=BY_FILTER))


def test_by_its_section(bpf):
    with refused(AttachError, r"section 'tc' does not say .*; use program.attach_tc\(INTERFACE, DIRECTION\)"):
        bpf.programs["on_tc"].attach()
