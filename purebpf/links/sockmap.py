"""Maps of sockets (sockmap, sockhash): programs on the data of each socket that is in the map.

Those of type BPF_PROG_TYPE_SK_MSG see what a socket is told to send, those of type BPF_PROG_TYPE_SK_SKB what it has
received: a parser finds out where a message ends, a verdict says what becomes of it.  A map has one program of each
kind.  Since Linux 6.10 a bpf link ties a program to the map; before, the map holds it.
"""

from __future__ import annotations

import errno

from purebpf.abi.attr import bpf_attr_link_create, bpf_attr_prog_attach
from purebpf.abi.bpf import bpf_attach_type, bpf_prog_type
from purebpf.kernel.bpf import link_create, prog_attach, prog_detach
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.features import Features, running
from purebpf.links.guarded import guarded
from purebpf.links.link import Link
from purebpf.links.order import SupportsFileno
from purebpf.links.refusal import explained, unless_lacking
from purebpf.load.features import Feature

_TYPES = (bpf_prog_type.BPF_PROG_TYPE_SK_MSG, bpf_prog_type.BPF_PROG_TYPE_SK_SKB)


def attach_sockmap(
    prog_fd: Fd | int,
    sockmap: SupportsFileno | int,
    attach_type: bpf_attach_type,
    *,
    features: Features | None = None,
) -> Link:
    """Run a loaded program on the data of the sockets in a map.

    Raises KernelError if the kernel refuses; nothing stays behind then.
    """
    map_fd = sockmap if isinstance(sockmap, int) else sockmap.fileno()
    target = getattr(sockmap, "name", f"map {map_fd}")
    action = f"attaching a program to sockmap {target} ({attach_type.name})"
    with explained(lambda: _why_not(attach_type), prog_fd, *_TYPES):
        if (features or running()).has(Feature.SOCKMAP_LINK):
            attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), target_fd=map_fd, attach_type=attach_type)
            link = link_create(attr, f"link to sockmap {target}", action=action)
            return Link("sockmap", target, link, bpf_link=link)
        without_link = bpf_attr_prog_attach(target_fd=map_fd, attach_bpf_fd=number_of(prog_fd), attach_type=attach_type)
        return guarded(
            "sockmap",
            target,
            lambda: prog_attach(without_link, action=action),
            prog_detach,
            [prog_fd, map_fd],
            attach_type,
        )


def _why_not(attach_type: bpf_attach_type) -> dict[int, str]:
    """Why the kernel refused, by errno; see sock_map_prog_update() in net/core/sock_map.c."""
    return {
        errno.EBUSY: "A program of that kind is attached to the map by a link, or one of the other kind of verdict",
        errno.EINVAL: unless_lacking(
            attach_type,
            f"This kernel has no programs for {attach_type.name} (CONFIG_NET_SOCK_MSG, CONFIG_BPF_STREAM_PARSER)",
            "The map is none of sockets, or the program was loaded for something else",
        ),
        errno.EOPNOTSUPP: "The map is none of sockets, or this kernel has no such parsers (CONFIG_BPF_STREAM_PARSER)",
    }
