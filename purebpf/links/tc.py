"""Traffic control: programs on what a network interface receives ("ingress") or sends ("egress").

Since Linux 6.6 they are attached by tcx.  Before, they are filters of a qdisc, a queueing discipline, named clsact,
which does nothing else; both are set up by rtnetlink.  A clsact qdisc that was missing is added, and removed together
with the last filter on it; one that was there is left alone.

The programs are of type BPF_PROG_TYPE_SCHED_CLS, and decide what becomes of a packet.  Those of type
BPF_PROG_TYPE_SCHED_ACT are made to be the action of another filter; here that is one that matches all packets.
"""

from __future__ import annotations

import errno
import os

from purebpf.abi.attr import bpf_prog_info
from purebpf.abi.bpf import bpf_prog_type
from purebpf.errors import AttachError
from purebpf.kernel import netlink
from purebpf.kernel.bpf import obj_get_info_by_fd
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.features import Features, running
from purebpf.kernel.interface import Interface, find
from purebpf.links.guarded import guarded
from purebpf.links.link import Link
from purebpf.links.refusal import explained, program_of
from purebpf.links.tcx import TCX, Direction, attach_tcx, choose
from purebpf.load.features import Feature

_PARENT = {"ingress": netlink.INGRESS, "egress": netlink.EGRESS}


def attach_tc(
    prog_fd: Fd | int,
    interface: str | int,
    direction: Direction,
    *,
    handle: int = 0,
    priority: int = 0,
    features: Features | None = None,
) -> Link:
    """Run a loaded program on what an interface receives ("ingress") or sends ("egress"): by tcx, else as a filter.

    ``handle`` (32 bits) and ``priority`` (16 bits) are those of the filter; who gives one of them gets a filter.

    Raises AttachError if there is no such interface, KernelError if the kernel refuses; nothing stays behind then.
    """
    choose("direction", direction, TCX)
    info = obj_get_info_by_fd(prog_fd, bpf_prog_info)
    is_action = info.type == bpf_prog_type.BPF_PROG_TYPE_SCHED_ACT
    if not (handle or priority or is_action) and (features or running()).has(Feature.TCX_LINK):
        return attach_tcx(prog_fd, interface, direction)
    if not (0 <= handle < 1 << 32 and 0 <= priority < 1 << 16):
        raise AttachError(f"a filter has a handle of 32 bits and a priority of 16 bits, not {handle} and {priority}")
    where = find(interface)
    target = f"{where.name} {direction}"
    parent = _PARENT[direction]
    handle = handle or 1 + int.from_bytes(os.urandom(4), "little") % 0x7FFFFFFF  # tells this filter from others
    qdisc_would_be_ours = _qdisc_is_ours(where, direction)

    def attach() -> None:
        add = netlink.add_action if is_action else netlink.add_classifier
        with netlink.nobody_else_at_filters():
            qdisc_is_ours = _qdisc_is_ours(where, direction)
            name = f"{info.name.decode(errors='replace')}:[{info.id}]{netlink.OF_OUR_QDISC if qdisc_is_ours else ''}"
            netlink.add_clsact(where.ifindex, action=f"adding a clsact qdisc to network interface {where.name}")
            try:
                action = f"attaching a filter to {target}"
                add(where.ifindex, parent, handle, priority, number_of(prog_fd), name, action)
            except BaseException:
                if qdisc_is_ours:
                    netlink.remove_unused_clsact(where.ifindex)
                raise

    with explained(lambda: _why_not(where, parent, handle), prog_fd, *_TYPES):
        arguments = (where.ifindex, parent, handle, info.id, int(qdisc_would_be_ours))
        return guarded("tc", target, attach, netlink.remove_filter, [], *arguments)


_TYPES = (bpf_prog_type.BPF_PROG_TYPE_SCHED_CLS, bpf_prog_type.BPF_PROG_TYPE_SCHED_ACT)


def _qdisc_is_ours(where: Interface, direction: Direction) -> bool:
    """Whether the interface's clsact qdisc is missing, or was added by purebpf."""
    kind = netlink.ingress_qdisc(where.ifindex)
    if kind == "ingress" and direction == "egress":
        raise AttachError(
            f"network interface {where.name} has a qdisc 'ingress', in place of a qdisc 'clsact', and so no filters on"
            f" what it sends. If nobody needs it, remove it:  tc qdisc delete dev {where.name} ingress"
        )
    there = [*netlink.filters(where.ifindex, netlink.INGRESS), *netlink.filters(where.ifindex, netlink.EGRESS)]
    return not kind or any(each.name.endswith(netlink.OF_OUR_QDISC) for each in there)


def _why_not(where: Interface, parent: int, handle: int) -> dict[int, str]:
    """Why the kernel refused, by errno; see cls_bpf_change() in net/sched/cls_bpf.c."""
    taken = [each for each in netlink.filters(where.ifindex, parent) if each.handle == handle]
    who = f" ({', '.join(f'program {program_of(each.prog_id)}' for each in taken)})" if taken else ""
    return {
        errno.EEXIST: f"There is a filter with this handle and priority already{who}",
        errno.ENOSPC: f"There is a filter with this handle and priority already{who}",
        errno.ENOENT: (
            "This kernel has no clsact qdisc (CONFIG_NET_SCH_INGRESS), no BPF filters (CONFIG_NET_CLS_BPF), or, for"
            " programs of type BPF_PROG_TYPE_SCHED_ACT, no filters that match all and BPF actions"
            " (CONFIG_NET_CLS_MATCHALL, CONFIG_NET_ACT_BPF)"
        ),
    }
