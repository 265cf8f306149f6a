"""uprobes: nearly any instruction of programs and shared libraries, and the return of nearly any function there.

A program of type BPF_PROG_TYPE_KPROBE runs in the kernel before the instruction does, with the registers as its
context. The kernel knows the place as an offset in a file, and so the probe is there in whatever process maps that
file, now or later; or in one process only.
"""

from __future__ import annotations

import errno
import os

from purebpf.errors import AttachError, KernelError
from purebpf.kernel.fd import Fd
from purebpf.kernel.features import Features
from purebpf.links.code import full_path, function_offset
from purebpf.links.link import Link
from purebpf.links.probe import Probe, attach_probe, split_offset

_ENOTSUPP = 524
"""An errno that is the kernel's own, and should not get out; uprobes let it."""

# kernel/events/uprobes.c: uprobe_register(), prepare_uprobe()
WHY_NOT_SET = {
    errno.EINVAL: "The offset is beyond the end of the file, or not where an instruction can begin",
    errno.EIO: "The file is on a file system whose files cannot be probed",
    errno.ESRCH: "There is no such process",
    _ENOTSUPP: "The kernel cannot probe the instruction that is there",
}
_WHY_NOT_ATTACHED = {
    errno.EINVAL: "Only a program of type BPF_PROG_TYPE_KPROBE can be attached to a uprobe; if sleepable, Linux 6.0",
    errno.EACCES: "The program reads beyond the end of the registers (struct pt_regs)",
    errno.E2BIG: "As many programs are attached to this uprobe as the kernel allows (64)",
}


def attach_uprobe(
    prog_fd: Fd | int,
    path: str,
    function: str | None = None,
    *,
    offset: int = 0,
    pid: int = -1,
    retprobe: bool = False,
    cookie: int = 0,
    ref_ctr_offset: int = 0,
    features: Features | None = None,
) -> Link:
    """Run a loaded program whenever a function of a program or shared library is entered, or when it returns.

    ``path`` is a file, or a name without slash that is looked for as the shell and the dynamic linker would do.
    ``function`` may have a version, ``name@VERSION``; ``offset`` counts bytes from where it begins, or from the
    beginning of the file if there is none.  ``pid``: only in this process; -1 in all, 0 in the caller's.
    ``ref_ctr_offset`` is the place in the file of a 16-bit number that is raised by 1 while the probe is there.

    Raises AttachError if there is no such file or function, with the nearest names; ObjectFormatError for a file that
    is not well-formed; KernelError.
    """
    if offset < 0 or (retprobe and function is not None and offset):
        raise ValueError(f"offset {offset}: it counts from a function's beginning, and a return has none")
    kind = "uretprobe" if retprobe else "uprobe"
    target = f"{path}:{function or ''}{'+' if function and offset else ''}"
    target += f"{offset:#x}" if offset or not function else ""
    action = f"attaching to {kind} {target}"
    path = full_path(path, action)
    start = function_offset(path, function, action) if function is not None else 0
    return attach_at(
        prog_fd, Probe("uprobe", path, start + offset, retprobe, ref_ctr_offset), target, pid, cookie, features
    )


def attach_at(prog_fd: Fd | int, probe: Probe, target: str, pid: int, cookie: int, features: Features | None) -> Link:
    """Run a loaded program at a place that is known by its offset in the file."""
    try:
        return attach_probe(
            prog_fd, probe, target, pid=pid, cookie=cookie, features=features, why_not=_WHY_NOT_ATTACHED
        )
    except KernelError as error:
        code = error.errno or 0
        reasons = {**WHY_NOT_SET, errno.ESRCH: f"There is no process {pid}"}
        raise error if error.hint else KernelError(code, error.action, reasons.get(code, "")) from None


def parse(target: str) -> tuple[str, str, int]:
    """File, function and offset, from what follows ``uprobe/`` in a section's name.  Raises AttachError."""
    path, colon, place = target.partition(":")
    function, offset = split_offset(place)
    if not (path and colon and function):
        raise AttachError(f"{target!r} names no function; the section should read uprobe/FILE:FUNCTION+OFFSET")
    return path, function, offset


def process(pid: int) -> int:
    """The number of a process, where 0 is the caller's, and -1 none."""
    return os.getpid() if pid == 0 else pid
