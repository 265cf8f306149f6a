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
    bpf_attr_iter_create,
    bpf_attr_link_create,
    bpf_attr_link_detach,
    bpf_attr_link_update,
    bpf_attr_map_elem,
    bpf_attr_prog_attach,
    bpf_attr_prog_query,
    bpf_attr_prog_test_run,
    bpf_attr_raw_tracepoint_open,
    bpf_link_info,
)
from purebpf.abi.bpf import bpf_attach_flags, bpf_attach_type, bpf_cmd, bpf_stats_type
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


def link_create(attr: bpf_attr_link_create, what: str, *, action: str) -> Fd:
    """Attach a program; it stays attached until the link is closed.  Linux 5.7, and later for most kinds of hook.

    ``what`` names the link, for messages.
    """
    return Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr, action=action), what)


def link_info(link: Fd | int, info: bpf_link_info | None = None) -> bpf_link_info:
    """What the kernel tells about a link.  ``info`` may point to room for names and lists; it is filled."""
    info = info or bpf_link_info()
    attr = bpf_attr_info(bpf_fd=number_of(link), info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
    bpf(bpf_cmd.BPF_OBJ_GET_INFO_BY_FD, attr, action="asking about a link")
    return info


def link_update(link: Fd | int, new_fd: int, old_fd: int | None, *, action: str) -> None:
    """Replace a link's program, or struct_ops map; with ``old_fd``, only if that is the present one.  Linux 5.7."""
    attr = bpf_attr_link_update(link_fd=number_of(link), new_prog_fd=new_fd)
    if old_fd is not None:
        attr.flags = bpf_attach_flags.BPF_F_REPLACE
        attr.old_prog_fd = old_fd
    bpf(bpf_cmd.BPF_LINK_UPDATE, attr, action=action)


def link_detach(link: Fd | int, *, action: str) -> None:
    """Take a link off its hook, whoever holds it.  Linux 5.9."""
    bpf(bpf_cmd.BPF_LINK_DETACH, bpf_attr_link_detach(link_fd=number_of(link)), action=action)


def raw_tracepoint_open(prog_fd: Fd | int, name: str | None, what: str, cookie: int = 0, *, action: str) -> Fd:
    """Attach a program to a raw tracepoint, or without ``name`` to what it was bound to when it was loaded."""
    encoded = b"" if name is None else name.encode()
    attr = bpf_attr_raw_tracepoint_open(prog_fd=number_of(prog_fd), cookie=cookie)
    attr.name = address(encoded) if name is not None else 0
    return Fd(bpf(bpf_cmd.BPF_RAW_TRACEPOINT_OPEN, attr, action=action), what)


def iter_create(link: Fd | int, *, action: str) -> Fd:
    """A new run of an iterator: a descriptor to read its output from.  Linux 5.8."""
    attr = bpf_attr_iter_create(link_fd=number_of(link))
    return Fd(bpf(bpf_cmd.BPF_ITER_CREATE, attr, action=action), "a run of an iterator")


def prog_attach(attr: bpf_attr_prog_attach, *, action: str) -> None:
    """Attach a program without a link; it stays attached until it is detached.  Linux 4.10."""
    bpf(bpf_cmd.BPF_PROG_ATTACH, attr, action=action)


def prog_detach(prog_fd: int, target: int, attach_type: int) -> None:
    """Undo BPF_PROG_ATTACH, if the program is still attached and the target still exists."""
    attr = bpf_attr_prog_attach(target_fd=target, attach_bpf_fd=prog_fd, attach_type=attach_type)
    try:
        bpf(bpf_cmd.BPF_PROG_DETACH, attr, action="detaching a program")
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EBADF):
            raise


def prog_detach_from_cgroup(prog_fd: int, cgroup_fd: int, attach_type: int, prog_id: int) -> None:
    """The same for a control group, of which the kernel would detach whatever other program there is.

    It does so where the programs are not attached with BPF_F_ALLOW_MULTI; so it is asked first.
    """
    prog_ids = (ctypes.c_uint32 * 64)()
    attr = bpf_attr_prog_query(
        target_fd=cgroup_fd, attach_type=attach_type, prog_ids=ctypes.addressof(prog_ids), count=len(prog_ids)
    )
    found = _unless(errno.ENOENT, bpf_cmd.BPF_PROG_QUERY, attr)  # else the cgroup has been removed
    if found and prog_id in prog_ids[: attr.count]:
        prog_detach(prog_fd, cgroup_fd, attach_type)


def struct_ops_unregister(map_fd: int) -> None:
    """Take back the functions that a struct_ops map without a link has registered, if it still has."""
    key = bytes(4)
    _unless(errno.ENOENT, bpf_cmd.BPF_MAP_DELETE_ELEM, bpf_attr_map_elem(map_fd=map_fd, key=address(key)))


def prog_test_run(attr: bpf_attr_prog_test_run, *, action: str) -> None:
    """Run a program now; the answers are in ``attr``, also after a KernelError ENOSPC, where room was too small."""
    bpf(bpf_cmd.BPF_PROG_TEST_RUN, attr, action=action)


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
