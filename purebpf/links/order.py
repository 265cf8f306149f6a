"""Which of the programs at one hook runs first.

Hooks that run several programs, one after the other, put a new one at the end, or before or after one that is there:
interfaces with tcx and netkit (Linux 6.6 and 6.7), and control groups (6.17).  They count their changes, so that who
has looked at a list can make sure that nobody else has changed it since: the revision.  See bpf_mprog_attach() in
kernel/bpf/mprog.c.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Literal, NamedTuple, Protocol

from purebpf.abi.attr import bpf_attr_prog_query
from purebpf.abi.bpf import bpf_attach_flags, bpf_cmd, bpf_map_flags
from purebpf.errors import KernelError
from purebpf.kernel.bpf import bpf
from purebpf.links.link import Link


class SupportsFileno(Protocol):
    """A program, a map, a socket: what has a file descriptor."""

    def fileno(self) -> int: ...


Neighbour = Link | SupportsFileno | tuple[Literal["prog", "link"], int] | Literal["all"]
"""A place in the order of programs: a Link, a Program, one known by its id as ``("prog", 12)`` or ``("link", 3)``, or
all that are there."""


class Order(NamedTuple):
    """The fields of bpf_attr that say where: ``flags``, and ``relative_fd`` or ``relative_id``."""

    flags: int
    relative: int


def order(before: Neighbour | None, after: Neighbour | None) -> Order:
    """Where a program is to run.  Raises ValueError if both are given."""
    if before is not None and after is not None:
        raise ValueError("a program is put before one, or after one; of before= and after=, only one can be given")
    if before is not None:
        flags, relative = _neighbour(before)
        return Order(flags | bpf_attach_flags.BPF_F_BEFORE, relative)
    if after is not None:
        flags, relative = _neighbour(after)
        return Order(flags | bpf_attach_flags.BPF_F_AFTER, relative)
    return Order(0, 0)


def _neighbour(place: Neighbour) -> Order:
    match place:
        case "all":
            return Order(0, 0)
        case ("prog", int(number)):
            return Order(bpf_attach_flags.BPF_F_ID, number)
        case ("link", int(number)):
            return Order(bpf_attach_flags.BPF_F_ID | bpf_map_flags.BPF_F_LINK, number)
        case Link():
            return Order(bpf_map_flags.BPF_F_LINK, place.fileno())
        case str() | tuple():
            raise ValueError(f"{place!r} is no place: that is a Link, a Program, ('prog', ID), ('link', ID) or 'all'")
        case _:
            return Order(0, place.fileno())


NOT_IN_ORDER = {
    errno.ESTALE: "The programs there have been changed: their revision is not the expected one",
    errno.ENOENT: "The program or link that it was to be put before or after, or to replace, is not attached there",
    errno.EEXIST: "The program is attached there already",
    errno.ERANGE: "As many programs are attached there as the kernel allows (64)",
    errno.E2BIG: "As many programs are attached there as the kernel allows (64)",
}
"""Why the kernel refused to put a program there."""


class Attached(NamedTuple):
    """The ids of the programs at a hook, in the order in which they run.

    ``revision`` is what to pass as ``expected_revision``; 0 where the kernel does not count.
    """

    prog_ids: list[int]
    revision: int


def attached(target: int, attach_type: int, *, action: str) -> Attached:
    """What is attached to an interface (its index) or a control group (its descriptor).  Raises KernelError."""
    prog_ids = (ctypes.c_uint32 * 64)()
    attr = bpf_attr_prog_query(
        target_fd=target, attach_type=attach_type, prog_ids=ctypes.addressof(prog_ids), count=len(prog_ids)
    )
    try:
        bpf(bpf_cmd.BPF_PROG_QUERY, attr, action=action)
    except KernelError as error:
        if error.errno == errno.ENOENT:  # there never was any
            return Attached([], 1)
        raise
    return Attached(prog_ids[: attr.count], attr.revision)
