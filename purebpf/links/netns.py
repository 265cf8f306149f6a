"""Network namespaces: programs that find the socket for an arriving packet, or take packet headers apart.

The first are of type BPF_PROG_TYPE_SK_LOOKUP (Linux 5.9), and choose a listening socket before the kernel looks for
one.  The others are of type BPF_PROG_TYPE_FLOW_DISSECTOR (with a link, Linux 5.8), and take the place of the kernel's
own code that finds addresses and ports, wherever it needs these, for example to hash packets.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from purebpf.abi.attr import bpf_attr_link_create
from purebpf.abi.bpf import bpf_attach_type, bpf_prog_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.bpf import link_create
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.link import Link
from purebpf.links.refusal import explained, unless_lacking
from purebpf.load.nearest import nearest

Netns = str | os.PathLike[str] | int
"""A network namespace: the path of its file, /run/netns/NAME or /proc/PID/ns/net, or a descriptor of that."""

_TYPES = (bpf_prog_type.BPF_PROG_TYPE_SK_LOOKUP, bpf_prog_type.BPF_PROG_TYPE_FLOW_DISSECTOR)
_OWN = "/proc/thread-self/ns/net"
_NAMED = Path("/run/netns")


def attach_netns(prog_fd: Fd | int, attach_type: bpf_attach_type, netns: Netns | None = None) -> Link:
    """Run a loaded program in a network namespace, by default that of the calling thread.

    Raises AttachError if there is no such namespace, KernelError if the kernel refuses; nothing stays behind then.
    """
    target = _OWN if netns is None else netns
    with _opened(target) as fd, explained(lambda: _why_not(attach_type), prog_fd, *_TYPES):
        attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), target_fd=fd.fileno(), attach_type=attach_type)
        action = f"attaching a program to network namespace {target} ({attach_type.name})"
        link = link_create(attr, f"link to network namespace {target}", action=action)
    return Link("netns", str(target), link, bpf_link=link)


def _why_not(attach_type: bpf_attach_type) -> dict[int, str]:
    """Why the kernel refused, by errno; see netns_bpf_link_create() in kernel/bpf/net_namespace.c."""
    return {
        errno.EINVAL: unless_lacking(
            attach_type,
            "This kernel has no such programs: flow dissectors take Linux 5.8, socket lookups 5.9",
            "The file is no network namespace's",
        ),
        errno.EEXIST: (
            "A flow dissector is attached already: there is either one for the whole machine, in its first network"
            " namespace, or one for each of the other namespaces"
        ),
        errno.E2BIG: "As many programs are there as a network namespace can have: 1 flow dissector, 64 socket lookups",
    }


def _opened(netns: Netns) -> Fd:
    try:
        if isinstance(netns, int):
            return Fd(os.dup(netns), f"network namespace {netns}")
        return Fd(os.open(netns, os.O_RDONLY | os.O_CLOEXEC), f"network namespace {netns}")
    except FileNotFoundError:
        names = [each.name for each in _NAMED.iterdir()] if _NAMED.is_dir() else []
        near = nearest(Path(str(netns)).name, names) or sorted(names)[:20]
        there = f"there are {', '.join(str(_NAMED / name) for name in near)}" if near else "none is named by ip netns"
        raise AttachError(f"there is no network namespace {netns}; {there}") from None
    except OSError as error:
        raise KernelError(error.errno or 0, f"opening network namespace {netns}") from None
