"""XDP: programs that see each packet that a network interface receives, before the network stack does.

They run in the interface's driver ("driver", also called native), in the network stack where the driver knows nothing
of XDP ("generic"), or in the network card itself ("offload").  An interface has one XDP program in each mode, and can
have a driver's and a generic one only one at a time.  Since Linux 5.9 a bpf link ties a program to an interface, before
that a message by rtnetlink puts it there.
"""

from __future__ import annotations

import errno
from typing import Literal

from purebpf.abi.attr import bpf_attr_link_create, bpf_prog_info
from purebpf.abi.bpf import bpf_attach_type, bpf_prog_type
from purebpf.abi.net import xdp_flags
from purebpf.errors import AttachError
from purebpf.kernel import netlink
from purebpf.kernel.bpf import link_create, obj_get_info_by_fd
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.features import Features, running
from purebpf.kernel.interface import Interface, find
from purebpf.links.guarded import guarded
from purebpf.links.link import Link
from purebpf.links.refusal import explained, program_of
from purebpf.load.features import Feature

Mode = Literal["auto", "driver", "generic", "offload"]


def attach_xdp(
    prog_fd: Fd | int,
    interface: str | int,
    mode: Mode = "auto",
    *,
    replace: Fd | int | None = None,
    features: Features | None = None,
) -> Link:
    """Run a loaded XDP program on what a network interface receives.

    ``replace`` is the program whose place it takes, at once, if that was put there without a link; so is this one then.

    Raises AttachError if there is no such interface, KernelError if the kernel refuses; nothing stays behind then.
    """
    if mode != "auto" and mode not in netlink.XDP_MODES:
        raise AttachError(f"XDP has no mode {mode!r}; there are auto, {', '.join(netlink.XDP_MODES)}")
    flags = 0 if mode == "auto" else netlink.XDP_MODES[mode][0]
    where = find(interface)
    action = f"attaching an XDP program to network interface {where.name}"
    with explained(lambda: _why_not(where, mode), prog_fd, bpf_prog_type.BPF_PROG_TYPE_XDP):
        if replace is None and (features or running()).has(Feature.XDP_LINK):
            attr = bpf_attr_link_create(
                prog_fd=number_of(prog_fd),
                target_ifindex=where.ifindex,
                attach_type=bpf_attach_type.BPF_XDP,
                flags=flags,
            )
            link = link_create(attr, f"link to XDP of {where.name}", action=action)
            return Link("xdp", where.name, link, bpf_link=link)
        return _by_netlink(prog_fd, where, flags, replace, action)


def _by_netlink(prog_fd: Fd | int, where: Interface, flags: int, replace: Fd | int | None, action: str) -> Link:
    def attach() -> None:
        if replace is None:
            noexist = xdp_flags.XDP_FLAGS_UPDATE_IF_NOEXIST
            netlink.set_xdp(where.ifindex, number_of(prog_fd), flags | noexist, action=action)
        else:
            netlink.set_xdp(where.ifindex, number_of(prog_fd), flags, number_of(replace), action=action)

    prog_id = obj_get_info_by_fd(prog_fd, bpf_prog_info).id
    return guarded("xdp", where.name, attach, netlink.remove_xdp, [prog_fd], where.ifindex, prog_id)


def _why_not(where: Interface, mode: Mode) -> dict[int, str]:
    """Why the kernel refused, by errno; see dev_xdp_attach() in net/core/dev.c."""
    there = [f"{mode}: program {program_of(id)}" for mode, id in netlink.xdp_programs(where.ifindex).items()]
    busy = "The interface has an XDP program already" + (f" ({', '.join(there)})" if there else "")
    return {
        errno.EBUSY: f"{busy}; detach that first",
        errno.EEXIST: f"{busy}, of another mode or not the one to be replaced" if there else "None is to be replaced",
        errno.EOPNOTSUPP: f"The driver of {where.name} has no XDP in mode {mode!r}; any has it with mode='generic'",
        errno.EINVAL: (
            "The program is for the values of a devmap or cpumap, or for a certain interface (its ifindex) and not in"
            f" mode {mode!r} there, or the settings of {where.name} (its MTU, or features such as LRO) do not allow XDP"
        ),
    }
