"""bpf(2): one function for the system call, and thin typed wrappers for the commands that live objects need.

The attributes of each command are the structures of :mod:`purebpf.abi.attr`.  The interface is defined in
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
from typing import TypeVar

from purebpf.abi.attr import (
    bpf_attr_enable_stats,
    bpf_attr_info,
    bpf_attr_link_create,
    bpf_attr_map_elem,
)
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_stats_type
from purebpf.errors import KernelError
from purebpf.kernel import diagnose
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.syscall import syscall

Info = TypeVar("Info", bound=ctypes.Structure)


def bpf(cmd: bpf_cmd, attr: ctypes.Structure, *, action: str = "") -> int:
    """Make one bpf(2) call and return its result: a new file descriptor for the commands that create
    something, else 0.

    The size passed is that of ``attr``'s structure.  The kernel writes its answers into ``attr``.  A
    structure longer than the kernel's own is fine as long as what the kernel does not know is zero; else it
    answers E2BIG.

    Raises :class:`KernelError`.  ``action`` says what is being done, for its message: ``"creating map
    'events'"``.
    """
    try:
        return syscall("bpf", cmd, attr, ctypes.sizeof(attr))
    except OSError as error:
        code = error.errno or 0
        hint = diagnose.bpf_hint(code, cmd, attr)
        raise KernelError(code, action or f"bpf({cmd.name})", hint) from None


def address(data: bytes) -> int:
    """Where the bytes are in memory, for a pointer field of an attribute structure.

    The caller keeps ``data`` alive until the call is made.  A NUL follows the last byte, as in C strings.
    """
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def map_lookup_elem(fd: Fd | int, key: bytes, value_size: int, flags: int = 0) -> bytes | None:
    """The value under ``key``, or None if there is none.

    ``value_size`` is what the kernel writes: for a per-CPU map the value's size rounded up to 8, once for
    each possible CPU.
    """
    value = ctypes.create_string_buffer(value_size)
    attr = bpf_attr_map_elem(map_fd=number_of(fd), key=address(key), value=ctypes.addressof(value), flags=flags)
    found = _unless(errno.ENOENT, bpf_cmd.BPF_MAP_LOOKUP_ELEM, attr)
    return value.raw if found else None


def map_update_elem(fd: Fd | int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Set the value under ``key``.

    ``flags`` is BPF_ANY; or BPF_NOEXIST, and EEXIST is raised if there is one; or BPF_EXIST, and ENOENT is
    raised if there is none.
    """
    attr = bpf_attr_map_elem(map_fd=number_of(fd), key=address(key), value=address(value), flags=flags)
    bpf(bpf_cmd.BPF_MAP_UPDATE_ELEM, attr)


def map_delete_elem(fd: Fd | int, key: bytes) -> bool:
    """Remove ``key`` and its value; False if there was none."""
    attr = bpf_attr_map_elem(map_fd=number_of(fd), key=address(key))
    return _unless(errno.ENOENT, bpf_cmd.BPF_MAP_DELETE_ELEM, attr)


def map_get_next_key(fd: Fd | int, key: bytes | None, key_size: int) -> bytes | None:
    """The key that follows ``key`` in the map's own order, or None after the last.

    None, or a key that is not in the map, asks for the first one.
    """
    following = ctypes.create_string_buffer(key_size)
    attr = bpf_attr_map_elem(
        map_fd=number_of(fd), key=0 if key is None else address(key), next_key=ctypes.addressof(following)
    )
    found = _unless(errno.ENOENT, bpf_cmd.BPF_MAP_GET_NEXT_KEY, attr)
    return following.raw if found else None


def obj_get_info_by_fd(fd: Fd | int, info_type: type[Info]) -> Info:
    """What the kernel tells about a map, program, link or BTF.

    ``info_type`` is the structure for the kind of object: bpf_map_info, bpf_prog_info, bpf_link_info,
    bpf_btf_info. Fields that the kernel does not know yet are 0.
    """
    info = info_type()
    attr = bpf_attr_info(bpf_fd=number_of(fd), info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
    bpf(bpf_cmd.BPF_OBJ_GET_INFO_BY_FD, attr)
    return info


def link_create_perf_event(prog_fd: Fd | int, perf_fd: Fd | int, cookie: int = 0, *, action: str = "") -> Fd:
    """Attach a tracing program to an open perf event; it stays attached until the link is closed.

    ``cookie`` is what bpf_get_attach_cookie() returns in the program.  Linux 5.15.
    """
    attr = bpf_attr_link_create(
        prog_fd=number_of(prog_fd), target_fd=number_of(perf_fd), attach_type=bpf_attach_type.BPF_PERF_EVENT
    )
    attr.perf_event.bpf_cookie = cookie
    return Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr, action=action), "perf event link")


def enable_stats() -> Fd:
    """Make the kernel count runs and run time of every program (``run_cnt``, ``run_time_ns`` of
    bpf_prog_info).

    It counts as long as the descriptor stays open.  Linux 5.8, CAP_SYS_ADMIN.
    """
    attr = bpf_attr_enable_stats(type=bpf_stats_type.BPF_STATS_RUN_TIME)
    return Fd(bpf(bpf_cmd.BPF_ENABLE_STATS, attr), "BPF statistics switch")


def _unless(absent: int, cmd: bpf_cmd, attr: ctypes.Structure) -> bool:
    """Make the call; False if it failed with the errno ``absent``, which is an answer and no error."""
    try:
        bpf(cmd, attr)
    except KernelError as error:
        if error.errno != absent:
            raise
        return False
    return True
