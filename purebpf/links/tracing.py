"""Programs that the kernel's types bind: they know at load time what they are attached to.

The verifier has checked them against the types of the one function or tracepoint that their section names, and so
attaching needs no name any more: it is one bpf(2) call without a target.  The kinds are tracepoints with typed
arguments (``tp_btf``), the entry, the return and the return value of a function (``fentry``, ``fexit``, ``fmod_ret``,
``fsession``), hooks of the security modules (``lsm``), and functions of other programs (``freplace``).

Attaching was BPF_RAW_TRACEPOINT_OPEN at first.  BPF_LINK_CREATE, which can pass a cookie, came with Linux 5.19 for most
of them, and with 5.10 for ``freplace``, which it can also attach to another function than the one it was loaded for.
"""

from __future__ import annotations

import errno

from purebpf.abi.attr import bpf_attr_link_create
from purebpf.abi.bpf import bpf_attach_type, bpf_prog_type
from purebpf.errors import KernelError
from purebpf.kernel.bpf import link_create, raw_tracepoint_open
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.security import require_bpf
from purebpf.links.link import Link
from purebpf.links.refusal import explained

_NO_LINK_CREATE = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP)
"""What BPF_LINK_CREATE answers for these kinds before it knows them."""


_TYPES = (
    bpf_prog_type.BPF_PROG_TYPE_TRACING,
    bpf_prog_type.BPF_PROG_TYPE_LSM,
    bpf_prog_type.BPF_PROG_TYPE_EXT,
)


def attach_tracing(prog_fd: Fd | int, kind: str, target: str, attach_type: int, *, cookie: int = 0) -> Link:
    """Attach a program to what it was bound to when it was loaded.

    ``kind`` and ``target`` are for messages, ``attach_type`` is what it was loaded with.  ``cookie`` is what
    bpf_get_attach_cookie() returns in the program (Linux 5.19, not for security hooks).  Raises KernelError, and
    AttachError if the kernel would never call it: a security hook, and "bpf" is no active security module.
    """
    action = f"attaching to {kind} {target}".rstrip()  # a program of another kind has no target
    if attach_type == bpf_attach_type.BPF_LSM_MAC:
        require_bpf(action)
    what = f"link to {kind} {target}"
    attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), attach_type=attach_type)
    attr.tracing.cookie = cookie
    with explained(WHY_NOT, prog_fd, *_TYPES):
        try:
            link = link_create(attr, what, action=action)
        except KernelError as error:
            if error.errno not in _NO_LINK_CREATE or cookie:
                raise
            link = raw_tracepoint_open(prog_fd, None, what, action=action)
    return Link(kind, target, link, bpf_link=link)


def attach_freplace(prog_fd: Fd | int, target_fd: Fd | int, target_btf_id: int, function: str) -> Link:
    """Replace a function of the loaded program ``target_fd``, another one than that which the program was loaded for.

    ``target_btf_id`` is the function's type in that program's BTF.  Raises KernelError.  Linux 5.10.
    """
    attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), target_fd=number_of(target_fd))
    attr.target_btf_id = target_btf_id
    with explained(WHY_NOT):
        link = link_create(attr, f"link to freplace {function}", action=f"attaching to freplace {function}")
    return Link("freplace", function, link, bpf_link=link)


WHY_NOT = {
    errno.EBUSY: "Another program replaces the same function, or traces it in a way that excludes this one",
    errno.E2BIG: "As many programs are attached to the function as the kernel allows, or it has no cookies yet",
    errno.ENOENT: "Before Linux 5.13 a program of this kind can be attached once only; load it anew",
    errno.EINVAL: "The program is attached already, or of a type that this kernel cannot attach so",
    errno.EEXIST: "The program is attached already",
    errno.EPERM: "This kernel lets nobody attach programs of this kind",
}
"""Why the kernel refused, by errno; see bpf_tracing_prog_attach() in kernel/bpf/syscall.c."""
