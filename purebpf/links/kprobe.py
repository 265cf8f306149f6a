"""kprobes: nearly any instruction of the kernel, and the return of nearly any function.

A program of type BPF_PROG_TYPE_KPROBE runs before the instruction, with the registers as its context.  What the
kernel's functions are called, and what they take, changes from release to release; a tracepoint is a better choice
where there is one.  System calls are in functions whose names differ between machines, which `attach_ksyscall` knows.
"""

from __future__ import annotations

import errno
import re

from purebpf.errors import AttachError, KernelError
from purebpf.kernel.fd import Fd
from purebpf.kernel.features import Features, running, syscall_function
from purebpf.kernel.kallsyms import read_kallsyms
from purebpf.links.link import Link
from purebpf.links.probe import Probe, attach_probe, split_offset
from purebpf.load.features import Feature
from purebpf.load.nearest import suggestion

_WHY_NOT = {
    errno.EINVAL: "Only a program of type BPF_PROG_TYPE_KPROBE that does not sleep can be attached to a kprobe",
    errno.EACCES: "The program reads beyond the end of the registers (struct pt_regs)",
    errno.E2BIG: "As many programs are attached to this kprobe as the kernel allows (64)",
}


def attach_kprobe(
    prog_fd: Fd | int,
    function: str | int,
    *,
    offset: int = 0,
    retprobe: bool = False,
    cookie: int = 0,
    features: Features | None = None,
) -> Link:
    """Run a loaded program whenever a kernel function is entered, or when it returns.

    ``function`` is its name, or an address; ``offset`` an instruction in it, in bytes from its beginning.

    Raises AttachError if there is no such function, with the nearest names, or if it is not to be probed; KernelError
    if the kernel refuses.
    """
    if offset < 0 or (retprobe and offset):
        raise ValueError(f"offset {offset}: it counts from a function's beginning, and a return has none")
    name, start = (function, 0) if isinstance(function, str) else ("", function)
    target = (name or f"{start:#x}") + (f"+{offset:#x}" if offset else "")
    probe = Probe("kprobe", name, start + offset, retprobe)
    try:
        return attach_probe(prog_fd, probe, target, cookie=cookie, features=features, why_not=_WHY_NOT)
    except KernelError as error:
        if error.hint:
            raise
        raise _explained(error, probe) from None


def attach_ksyscall(
    prog_fd: Fd | int, name: str, *, retprobe: bool = False, cookie: int = 0, features: Features | None = None
) -> Link:
    """Run a loaded program whenever the system call ``name`` ("openat") is entered, or when it returns.

    The function is ``__x64_sys_openat`` on x86-64, where a wrapper takes the arguments out of the caller's registers
    (Feature.SYSCALL_WRAPPER), ``__se_sys_openat`` where there is none.  See BPF_KSYSCALL() of bpf_tracing.h.
    """
    wrapper = (features or running()).has(Feature.SYSCALL_WRAPPER)
    function = syscall_function(name, wrapper=wrapper)
    return attach_kprobe(prog_fd, function, retprobe=retprobe, cookie=cookie, features=features)


def parse(target: str) -> tuple[str, int]:
    """Function and offset, from what follows ``kprobe/`` in a section's name.  Raises AttachError."""
    function, offset = split_offset(target)
    if not re.fullmatch(r"[\w.]+", function, re.ASCII):
        raise AttachError(f"{target!r} is no place in the kernel; the section should read kprobe/FUNCTION+OFFSET")
    return function, offset


def _explained(error: KernelError, probe: Probe) -> AttachError | KernelError:
    """Why the kernel would not set this kprobe."""
    code, name = error.errno or 0, probe.code
    if name and code in (errno.ENOENT, errno.EINVAL):
        symbols = read_kallsyms()
        if not symbols.addresses(name):
            near = suggestion(symbols.near_function(name))
            return AttachError(f"{error.action}: this kernel has no function {name}{near}")
    reasons = {
        errno.ENOENT: "There is no code of the kernel at this address",
        errno.EADDRNOTAVAIL: f"There are several functions {name}; give the address of one, from /proc/kallsyms",
        errno.EILSEQ: "No instruction begins there",
        errno.EINVAL: "The kernel does not let itself be probed there: it is a function that probing itself depends on"
        " (debugfs, kprobes/blacklist), or a place that is no code, or a return of what is no beginning of a function",
    }
    return KernelError(code, error.action, reasons.get(code, ""))
