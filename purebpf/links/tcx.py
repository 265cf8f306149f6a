"""tcx and netkit: programs on what a network interface receives and sends, in an order (Linux 6.6 and 6.7).

tcx is the way of traffic control without its qdiscs and filters.  A netkit is a pair of virtual interfaces, one for a
container and one for its host, whose programs take the place of the device's own transmission: those of its primary
interface, and those of its peer, which are attached from the side of the primary too.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Literal

from purebpf.abi.attr import bpf_attr_link_create, bpf_attr_prog_attach
from purebpf.abi.bpf import bpf_attach_flags, bpf_attach_type, bpf_prog_type
from purebpf.errors import AttachError
from purebpf.kernel.bpf import link_create, prog_attach, prog_detach
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.interface import Interface, find
from purebpf.links import order
from purebpf.links.guarded import guarded
from purebpf.links.link import Link
from purebpf.links.order import Attached, Neighbour, Order
from purebpf.links.refusal import explained, unless_lacking

Direction = Literal["ingress", "egress"]
Side = Literal["primary", "peer"]

TCX: dict[Direction, bpf_attach_type] = {
    "ingress": bpf_attach_type.BPF_TCX_INGRESS,
    "egress": bpf_attach_type.BPF_TCX_EGRESS,
}
NETKIT: dict[Side, bpf_attach_type] = {
    "primary": bpf_attach_type.BPF_NETKIT_PRIMARY,
    "peer": bpf_attach_type.BPF_NETKIT_PEER,
}


def attach_tcx(
    prog_fd: Fd | int,
    interface: str | int,
    direction: Direction,
    *,
    before: Neighbour | None = None,
    after: Neighbour | None = None,
    replace: Fd | int | None = None,
    expected_revision: int = 0,
) -> Link:
    """Run a loaded program on what an interface receives ("ingress") or sends ("egress").

    By default it runs after those already there.  ``replace`` is the program whose place it takes, at once, if that was
    attached without a link; so is this one then.

    Raises AttachError if there is no such interface, KernelError if the kernel refuses; nothing stays behind then.
    """
    attach_type = choose("direction", direction, TCX)
    place = order.order(before, after)
    with explained(lambda: _why_not(attach_type), prog_fd, bpf_prog_type.BPF_PROG_TYPE_SCHED_CLS):
        if replace is None:
            return _linked(prog_fd, find(interface), attach_type, place, expected_revision)
        return _replacing(prog_fd, find(interface), attach_type, place, number_of(replace), expected_revision)


def attach_netkit(
    prog_fd: Fd | int,
    interface: str | int,
    side: Side,
    *,
    before: Neighbour | None = None,
    after: Neighbour | None = None,
    expected_revision: int = 0,
) -> Link:
    """Run a loaded program on what a netkit pair's primary interface or its peer sends.

    ``interface`` is the primary one.  Otherwise like attach_tcx().
    """
    attach_type = choose("side", side, NETKIT)
    with explained(lambda: _why_not(attach_type), prog_fd, bpf_prog_type.BPF_PROG_TYPE_SCHED_CLS):
        return _linked(prog_fd, find(interface), attach_type, order.order(before, after), expected_revision)


def attached(interface: str | int, where: Direction | Side) -> Attached:
    """The programs on an interface, in their order, and the revision of that order.  Raises KernelError."""
    attach_type = choose("direction", where, {**TCX, **NETKIT})
    found = find(interface)
    return order.attached(found.ifindex, attach_type, action=f"asking for the programs on {where} of {found.name}")


def choose(what: str, word: str, choices: Mapping[Any, bpf_attach_type]) -> bpf_attach_type:
    """The attach type that a user calls so.  Raises AttachError."""
    if word not in choices:
        raise AttachError(f"there is no {what} {word!r}; it is {' or '.join(choices)}")
    return choices[word]


def _linked(
    prog_fd: Fd | int, interface: Interface, attach_type: bpf_attach_type, place: Order, expected_revision: int
) -> Link:
    attr = bpf_attr_link_create(
        prog_fd=number_of(prog_fd), target_ifindex=interface.ifindex, attach_type=attach_type, flags=place.flags
    )
    attr.tcx.relative_fd = place.relative  # netkit has the same fields
    attr.tcx.expected_revision = expected_revision
    kind, target = _named(interface, attach_type)
    link = link_create(attr, f"link to {kind} of {target}", action=f"attaching a program to {kind} of {target}")
    return Link(kind, target, link, bpf_link=link)


def _replacing(
    prog_fd: Fd | int,
    interface: Interface,
    attach_type: bpf_attach_type,
    place: Order,
    replaced_fd: int,
    expected_revision: int,
) -> Link:
    kind, target = _named(interface, attach_type)
    attr = bpf_attr_prog_attach(
        target_ifindex=interface.ifindex,
        attach_bpf_fd=number_of(prog_fd),
        attach_type=attach_type,
        attach_flags=place.flags | bpf_attach_flags.BPF_F_REPLACE,
        replace_bpf_fd=replaced_fd,
        relative_fd=place.relative,
        expected_revision=expected_revision,
    )

    return guarded(
        kind,
        target,
        lambda: prog_attach(attr, action=f"replacing a program on {kind} of {target}"),
        prog_detach,
        [prog_fd],
        interface.ifindex,
        attach_type,
    )


def _why_not(attach_type: bpf_attach_type) -> dict[int, str]:
    """Why the kernel refused, by errno; see bpf_mprog_attach() in kernel/bpf/mprog.c, drivers/net/netkit.c."""
    what = "tcx, which takes Linux 6.6 with CONFIG_NET_XGRESS"
    if attach_type in NETKIT.values():
        what = "netkit, which takes Linux 6.7 with CONFIG_NETKIT"
    otherwise = "What it was to be put before or after is of another type"
    return {
        **order.NOT_IN_ORDER,
        errno.ENXIO: "The interface is no netkit device",
        errno.EACCES: "The interface is the peer of a netkit pair; programs for both are attached to the primary one",
        errno.EINVAL: unless_lacking(attach_type, f"This kernel has no {what}", otherwise),
    }


def _named(interface: Interface, attach_type: bpf_attach_type) -> tuple[str, str]:
    """BPF_TCX_INGRESS of interface eth0 is "tcx" of "eth0 ingress"."""
    kind, where = attach_type.name.removeprefix("BPF_").lower().split("_")
    return kind, f"{interface.name} {where}"
