"""Iterators: programs that the kernel calls for each of its own objects, and whose output is read like a file.

``SEC("iter/task")`` runs for every thread, ``iter/bpf_map_elem`` for every element of a map, and so on (Linux 5.8).
The link says what to walk; each file that is opened of it is a run of its own, from the beginning, and what the program
writes with bpf_seq_printf() and bpf_seq_write() is what read(2) returns.  Pinned, such a link is a file that ``cat``
can read; ``Link.from_pin()`` makes an `IteratorLink` of it again.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
from typing import Literal

from purebpf.abi.attr import bpf_attr_link_create, bpf_iter_link_info
from purebpf.abi.bpf import bpf_attach_type, bpf_cgroup_iter_order, bpf_prog_type
from purebpf.errors import KernelError
from purebpf.kernel.bpf import iter_create, link_create
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.link import Link
from purebpf.links.refusal import explained

CgroupOrder = Literal["self", "children", "descendants", "descendants-after", "ancestors"]
_ORDERS: dict[CgroupOrder, bpf_cgroup_iter_order] = {
    "self": bpf_cgroup_iter_order.BPF_CGROUP_ITER_SELF_ONLY,
    "children": bpf_cgroup_iter_order.BPF_CGROUP_ITER_CHILDREN,
    "descendants": bpf_cgroup_iter_order.BPF_CGROUP_ITER_DESCENDANTS_PRE,
    "descendants-after": bpf_cgroup_iter_order.BPF_CGROUP_ITER_DESCENDANTS_POST,
    "ancestors": bpf_cgroup_iter_order.BPF_CGROUP_ITER_ANCESTORS_UP,
}
_WHY_NOT = {
    errno.EINVAL: "The iterator does not walk what it was told to, or it must be told what to walk (a map, a cgroup)",
    errno.EBADF: "The iterator needs to be told what to walk: a map, for iter/bpf_map_elem",
}


class IteratorLink(Link):
    """The link of an iterator."""

    def open(self) -> io.FileIO:
        """A file to read one run's output from, in bytes; reading it runs the program.  The caller closes it.

        Raises KernelError.
        """
        fd = iter_create(self.fileno(), action=f"running iterator {self.target}")
        return io.FileIO(fd.release(), "rb")

    def read(self) -> bytes:
        """All of one run's output.  Raises KernelError if the kernel ends it with an error."""
        with self.open() as file:
            try:
                return file.readall()
            except OSError as error:
                raise KernelError(error.errno or 0, f"reading from iterator {self.target}") from error


def attach_iterator(
    prog_fd: Fd | int,
    target: str,
    *,
    map_fd: Fd | int | None = None,
    cgroup: str | os.PathLike[str] | int | None = None,
    order: CgroupOrder = "descendants",
    tid: int = 0,
    pid: int = 0,
) -> IteratorLink:
    """Make an iterator of a loaded program; it runs when it is read.

    ``map_fd`` is the map whose elements ``iter/bpf_map_elem`` and its like walk.  ``cgroup``, a path or descriptor, and
    ``order`` are for ``iter/cgroup`` (Linux 6.1).  ``tid`` or ``pid`` restrict ``iter/task`` and its like to one
    thread, or to the threads of one process (6.1).  Raises KernelError.
    """
    what = bpf_iter_link_info()
    given = sum(each not in (None, 0) for each in (map_fd, cgroup, tid, pid))
    if given > 1:
        raise ValueError("an iterator walks one thing: give only one of map, cgroup, tid and pid")
    action = f"attaching iterator {target}".rstrip()  # a program of another kind names no target
    opened = None
    if map_fd is not None:
        what.map.map_fd = number_of(map_fd)
    elif cgroup is not None:
        if not isinstance(cgroup, int):
            try:
                opened = Fd(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), f"cgroup {cgroup}")
            except OSError as error:
                raise KernelError(error.errno or 0, f"{action}: opening cgroup {cgroup}") from None
        what.cgroup.order = _ORDERS[order]
        what.cgroup.cgroup_fd = number_of(opened) if opened else cgroup
    else:
        what.task.tid, what.task.pid = tid, pid
    attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), attach_type=bpf_attach_type.BPF_TRACE_ITER)
    if given:
        attr.iter_info, attr.iter_info_len = ctypes.addressof(what), ctypes.sizeof(what)
    try:
        with explained(_WHY_NOT, prog_fd, bpf_prog_type.BPF_PROG_TYPE_TRACING):
            link = link_create(attr, f"link to iterator {target}", action=action)
    finally:
        if opened is not None:
            opened.close()
    return IteratorLink("iter", target, link, bpf_link=link)
