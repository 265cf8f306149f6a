"""Network interfaces by name or number, in the network namespace of the calling thread."""

from __future__ import annotations

from typing import NamedTuple

from purebpf.errors import AttachError
from purebpf.load.nearest import nearest


class Interface(NamedTuple):
    """``ifindex`` is its number, which bpf(2) and rtnetlink take."""

    ifindex: int
    name: str


def find(interface: str | int) -> Interface:
    """The network interface of this name or index.  Raises AttachError, with the names that there are."""
    import socket

    try:
        if isinstance(interface, int):
            return Interface(interface, socket.if_indextoname(interface))
        return Interface(socket.if_nametoindex(interface), interface)
    except (OSError, OverflowError, ValueError):
        names = [name for _, name in socket.if_nameindex()]
    near = nearest(interface, names) if isinstance(interface, str) else []
    meant = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:20])}"
    what = f"index {interface}" if isinstance(interface, int) else f"the name {interface!r}"
    raise AttachError(f"this network namespace has no network interface with {what}; {meant}")
