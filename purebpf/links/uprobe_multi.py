"""Many functions of one file at once: a bpf link to a list of uprobes (Linux 6.6).

It is made in one call, and costs far less than so many single ones.  With a session (Linux 6.13) the program runs
twice, when a function is entered and when it returns, and what it returns at first decides about the second time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Sequence

from purebpf.abi.attr import bpf_attr_link_create
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_uprobe_multi_flags
from purebpf.errors import AttachError
from purebpf.kernel.bpf import address, bpf
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.code import full_path, function_offset, function_offsets
from purebpf.links.glob import is_pattern
from purebpf.links.link import Link
from purebpf.links.refusal import explained
from purebpf.links.uprobe import WHY_NOT_SET, process


def attach_uprobe_multi(
    prog_fd: Fd | int,
    path: str,
    functions: str | Sequence[str] | Sequence[int],
    *,
    pid: int = -1,
    retprobe: bool = False,
    session: bool = False,
    cookies: Sequence[int] = (),
    ref_ctr_offsets: Sequence[int] = (),
) -> Link:
    """Run a loaded program whenever one of many functions of a file is entered, or when it returns.

    ``functions`` is a pattern (``*``, ``?``), a list of names, or a list of offsets in the file.  ``cookies`` are what
    bpf_get_attach_cookie() returns in the program, and ``ref_ctr_offsets`` the places of 16-bit numbers in the file
    that are raised meanwhile, one for each entry of a list.  ``path`` and ``pid`` are as for a single uprobe.

    The program must have been loaded with the attach type BPF_TRACE_UPROBE_MULTI, or BPF_TRACE_UPROBE_SESSION for a
    session.  Raises AttachError if there is no such file or function, with the nearest names; ObjectFormatError for a
    file that is not well-formed; KernelError.
    """
    kind = "uprobe.session" if session else "uretprobe.multi" if retprobe else "uprobe.multi"
    target = f"{path}:{functions}" if isinstance(functions, str) else f"{path}: {len(functions)} functions"
    action = f"attaching to {kind} {target}"
    path = full_path(path, action)
    offsets = _offsets(path, functions, action)
    for values in (cookies, ref_ctr_offsets):
        if values and (isinstance(functions, str) or len(values) != len(offsets)):
            raise ValueError(
                f"{action}: {len(values)} cookies or ref_ctr_offsets; there must be one for each entry of a list"
            )
    link = link_uprobes(
        prog_fd,
        path,
        offsets,
        pid=pid,
        cookies=cookies,
        ref_ctr_offsets=ref_ctr_offsets,
        flags=bpf_uprobe_multi_flags.BPF_F_UPROBE_MULTI_RETURN if retprobe else 0,
        attach_type=bpf_attach_type.BPF_TRACE_UPROBE_SESSION if session else bpf_attach_type.BPF_TRACE_UPROBE_MULTI,
        action=action,
    )
    link.what = f"link to {kind} {target}"
    return Link(kind, target, link, bpf_link=link)


def link_uprobes(
    prog_fd: Fd | int,
    path: str,
    offsets: Sequence[int],
    *,
    pid: int,
    cookies: Sequence[int] = (),
    ref_ctr_offsets: Sequence[int] = (),
    flags: int = 0,
    attach_type: int = bpf_attach_type.BPF_TRACE_UPROBE_MULTI,
    action: str,
) -> Fd:
    """The bpf link to these places in a file.  Raises KernelError."""
    name = os.fsencode(path)
    places, values, counters = _array(offsets), _array(cookies), _array(ref_ctr_offsets)
    attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), attach_type=attach_type)
    attr.uprobe_multi.path = address(name)
    attr.uprobe_multi.cnt = len(offsets)
    attr.uprobe_multi.offsets = ctypes.addressof(places)
    attr.uprobe_multi.cookies = ctypes.addressof(values) if cookies else 0
    attr.uprobe_multi.ref_ctr_offsets = ctypes.addressof(counters) if ref_ctr_offsets else 0
    attr.uprobe_multi.flags = flags
    attr.uprobe_multi.pid = process(pid) if pid >= 0 else 0
    needed = "6.13" if attach_type == bpf_attach_type.BPF_TRACE_UPROBE_SESSION else "6.6"
    invalid = (
        f"It takes Linux {needed}, a program that was loaded for this kind of attachment, and offsets within the file"
    )
    with explained({**WHY_NOT_SET, errno.EINVAL: invalid}):
        return Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr, action=action), f"link to uprobes of {path}")


def parse(target: str) -> tuple[str, str]:
    """File and pattern, from what follows ``uprobe.multi/`` in a section's name.  Raises AttachError."""
    matched = re.fullmatch(r"([^:]+):(.+)", target)
    if matched is None:
        raise AttachError(f"{target!r} names no functions; the section should read uprobe.multi/FILE:PATTERN")
    return matched[1], matched[2]


def _offsets(path: str, functions: str | Sequence[str] | Sequence[int], action: str) -> list[int]:
    if isinstance(functions, str):
        if is_pattern(functions):
            return function_offsets(path, functions, action)
        functions = [functions]
    return [each if isinstance(each, int) else function_offset(path, each, action) for each in functions]


def _array(numbers: Sequence[int]) -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * len(numbers))(*numbers)
