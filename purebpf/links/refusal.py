"""What to say when the kernel refuses to attach a program."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from purebpf.abi.attr import bpf_attr_get_id, bpf_prog_info
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_prog_type
from purebpf.errors import KernelError
from purebpf.kernel.bpf import bpf, obj_get_info_by_fd
from purebpf.kernel.fd import Fd


@contextmanager
def explained(
    why_not: Mapping[int, str] | Callable[[], Mapping[int, str]], prog_fd: Fd | int | None = None, *types: bpf_prog_type
) -> Iterator[None]:
    """Give a KernelError the reason that its errno has here; a function for reasons that take a look around.

    What is known already comes first: the kernel's own words, or a capability that is missing, which is reason enough.
    With ``types``, EINVAL for a program that is of none of them needs no other reason.
    """
    try:
        yield
    except KernelError as error:
        code = error.errno or 0
        known = "" if code == errno.E2BIG else error.hint  # that hint is too general
        if code == errno.EPERM and known:
            raise
        reason = _of_another_type(prog_fd, types) if code == errno.EINVAL and prog_fd is not None else ""
        reason = reason or (why_not() if callable(why_not) else why_not).get(code, "")
        raise KernelError(code, error.action, ". ".join(filter(None, [known, reason]))) from None


def _of_another_type(prog_fd: Fd | int, types: tuple[bpf_prog_type, ...]) -> str:
    try:
        number = obj_get_info_by_fd(prog_fd, bpf_prog_info).type
    except KernelError:  # it is no program
        return ""
    if number in types:
        return ""
    takes = " or ".join(each.name for each in types)
    found = next((each.name for each in bpf_prog_type if each == number), str(number))
    return f"That takes a program of type {takes}, and this one is of type {found}"


def unless_lacking(attach_type: bpf_attach_type, lacking: str, otherwise: str) -> str:
    """What EINVAL means, which is also the kernel's answer where it has no such hook: ``lacking``, or ``otherwise``."""
    from purebpf.kernel import probe  # here, as it is only needed when something has gone wrong

    try:
        has_it = probe.has_attach_kind(attach_type.name.removeprefix("BPF_").lower())
    except KernelError:  # this process may not ask
        return f"{otherwise}. Or: {lacking}"
    return otherwise if has_it else lacking


def program_of(prog_id: int) -> str:
    """A program of which only the id is known, as "'NAME' (id 12)"; its name takes CAP_SYS_ADMIN."""
    try:
        attr = bpf_attr_get_id(prog_id=prog_id)
        with Fd(bpf(bpf_cmd.BPF_PROG_GET_FD_BY_ID, attr), f"program {prog_id}") as fd:
            name = obj_get_info_by_fd(fd, bpf_prog_info).name.decode(errors="replace")
    except KernelError:
        name = ""
    return f"{name!r} (id {prog_id})" if name else f"id {prog_id}"
