"""struct_ops: a struct full of functions that the kernel calls, some or all of them programs.

The map's one value is the struct.  To put it there registers it: a TCP congestion control, say, which a socket can
ask for by its name from then on.  To delete it unregisters it; until then it stays, even when the process has ended.
A map of section ``.struct_ops.link`` is only filled in that way, and a bpf link registers it (Linux 6.4).
"""

from __future__ import annotations

import errno

from purebpf.abi.attr import bpf_attr_link_create
from purebpf.abi.bpf import bpf_attach_type, bpf_map_flags
from purebpf.errors import KernelError
from purebpf.kernel.bpf import link_create, map_update_elem, struct_ops_unregister
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.guarded import guarded
from purebpf.links.link import Link
from purebpf.links.refusal import explained

_KEY = bytes(4)
_WHY_NOT = {
    errno.EEXIST: "One of this name is registered already",
    errno.EBUSY: "The map is registered already, or has been",
    errno.EINVAL: "The kernel does not accept what the members of the struct say",
}


def attach_struct_ops(map_fd: Fd | int, name: str, value: bytes, map_flags: int) -> Link:
    """Register a loaded struct_ops map with its ``value``.  Raises KernelError."""
    if map_flags & bpf_map_flags.BPF_F_LINK:
        register(map_fd, name, value, map_flags)
        attr = bpf_attr_link_create(map_fd=number_of(map_fd), attach_type=bpf_attach_type.BPF_STRUCT_OPS)
        with explained(_WHY_NOT):
            link = link_create(attr, f"link of struct_ops {name}", action=f"registering struct_ops {name!r}")
        return Link("struct_ops", name, link, bpf_link=link)

    def fill() -> None:
        register(map_fd, name, value, map_flags)

    return guarded("struct_ops", name, fill, struct_ops_unregister, [map_fd])


def register(map_fd: Fd | int, name: str, value: bytes, map_flags: int) -> None:
    """Fill the map, which without BPF_F_LINK registers it.  One with it may have been filled before."""
    with explained(_WHY_NOT):
        try:
            map_update_elem(map_fd, _KEY, value)
        except KernelError as error:
            if not (map_flags & bpf_map_flags.BPF_F_LINK and error.errno == errno.EBUSY):
                raise KernelError(error.errno or 0, f"registering struct_ops {name!r}", error.hint) from None
