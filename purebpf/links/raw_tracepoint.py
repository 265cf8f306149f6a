"""Raw tracepoints: a tracepoint's arguments as the kernel passes them, with nothing copied or formatted.

A program of type BPF_PROG_TYPE_RAW_TRACEPOINT gets them as an array of 64-bit numbers (Linux 4.17); one of type
BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE may change what a few tracepoints let it change (5.2).  The name has no category:
``sched_switch``.
"""

from __future__ import annotations

import errno

from purebpf.abi.bpf import bpf_prog_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.bpf import raw_tracepoint_open
from purebpf.kernel.fd import Fd
from purebpf.kernel.kallsyms import read_kallsyms
from purebpf.links.link import Link
from purebpf.links.refusal import explained
from purebpf.load.nearest import nearest, suggestion

_TYPES = (bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT, bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE)
_WHY_NOT = {
    errno.EINVAL: (
        "The program reads or writes beyond what this tracepoint has; or this kernel has no"
        " cookies for raw tracepoints (Linux 6.10)"
    ),
    errno.EACCES: "The program reads more arguments than this tracepoint has",
    errno.E2BIG: "This kernel has no cookies for raw tracepoints (Linux 6.10), or there are 64 programs already",
    errno.EEXIST: "The program is attached to this tracepoint already",
}


def attach_raw_tracepoint(prog_fd: Fd | int, name: str, *, cookie: int = 0) -> Link:
    """Run a loaded program whenever the tracepoint ``name`` is hit.

    ``cookie`` is what bpf_get_attach_cookie() returns in the program (Linux 6.10).  Raises AttachError if there is no
    such tracepoint, KernelError if the kernel refuses.
    """
    action = f"attaching to raw tracepoint {name}"
    try:
        with explained(_WHY_NOT, prog_fd, *_TYPES):
            link = raw_tracepoint_open(prog_fd, name, f"link to raw tracepoint {name}", cookie, action=action)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        near = suggestion(nearest(name, _names()))
        raise AttachError(f"{action}: this kernel has no tracepoint {name!r}{near}") from None
    return Link("raw_tracepoint", name, link, bpf_link=link)


def _names() -> list[str]:
    """The kernel's tracepoints, each of which has a function that calls what is attached to it (Linux 5.10)."""
    prefix = "__traceiter_"
    return [name.removeprefix(prefix) for name in read_kallsyms().function_names() if name.startswith(prefix)]
