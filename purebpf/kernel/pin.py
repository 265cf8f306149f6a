"""Pins: names in a BPF file system (bpffs) that keep a map or a link alive when no process has it open any more.

bpf(2) makes and opens them (BPF_OBJ_PIN, BPF_OBJ_GET); to remove one is unlink(2).  A distribution mounts the file
system at /sys/fs/bpf.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from purebpf.abi.attr import bpf_attr_obj
from purebpf.abi.bpf import bpf_cmd
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.bpf import address, bpf
from purebpf.kernel.fd import Fd


def prepare(path: str) -> None:
    """Make the directory of a pin, if only that is missing, and see that a BPF file system is there.

    Raises KernelError, with how to mount one.
    """
    parent = Path(path).parent
    action = f"preparing to pin at {path!r}"
    try:
        parent.mkdir(mode=0o700)
    except FileExistsError:
        pass  # the usual case
    except OSError as error:
        raise KernelError(error.errno or 0, action, f"Directory {str(parent)!r} cannot be made") from error
    try:
        device = parent.stat().st_dev
    except OSError as error:
        raise KernelError(error.errno or 0, action) from error
    if _is_bpffs(device) is False:
        points = [point for _, point, kind in _mounts() if kind == "bpf"]
        there = f"Pins go below {' or '.join(points)}" if points else "Mount one:  mount -t bpf bpf /sys/fs/bpf"
        raise KernelError(errno.EINVAL, action, f"{str(parent)!r} is in no BPF file system. {there}")


def make(fd: Fd, path: str, action: str) -> None:
    """Pin what the descriptor is of.  Raises KernelError: EEXIST if the name is taken."""
    name = os.fsencode(path)
    attr = bpf_attr_obj(pathname=address(name), bpf_fd=fd.fileno())
    try:
        bpf(bpf_cmd.BPF_OBJ_PIN, attr, action=action)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
        raise KernelError(errno.EEXIST, action, "The name is taken; remove that pin, or choose another name") from None


def open_pinned(path: str, kind: str) -> Fd:
    """Open what is pinned at ``path``, which must be a ``kind``: "map", "prog" or "link".

    Raises KernelError if nothing there can be opened, AttachError if it is something else.
    """
    name = os.fsencode(path)
    action = f"opening the {kind} pinned at {path!r}"
    fd = Fd(bpf(bpf_cmd.BPF_OBJ_GET, bpf_attr_obj(pathname=address(name)), action=action), f"{kind} pinned at {path}")
    try:
        found = str(Path(f"/proc/self/fd/{fd.fileno()}").readlink())
    except OSError:  # no /proc: what it is shows when it is used
        return fd
    if kind not in found:
        fd.close()
        raise AttachError(f"{path!r} is no pinned {kind}, but {found.removeprefix('anon_inode:')}")
    return fd


def remove(path: str) -> None:
    """Remove a pin, if it is still there.  Raises KernelError."""
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise KernelError(error.errno or 0, f"removing the pin {path!r}") from error


def _is_bpffs(device: int) -> bool | None:
    """Whether this device number is a BPF file system's; None where /proc does not tell."""
    kinds = {kind for number, _, kind in _mounts() if number == f"{os.major(device)}:{os.minor(device)}"}
    return "bpf" in kinds if kinds else None


def _mounts() -> Iterator[tuple[str, str, str]]:
    """Device number, mount point and kind of each mounted file system; none where there is no /proc."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return
    for line in mounts.splitlines():
        first, _, rest = line.partition(" - ")
        yield first.split()[2], first.split()[4], rest.split()[0]
