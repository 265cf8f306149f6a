"""Many functions of the kernel with one tracing program (``fentry.multi``, ``fexit.multi``, ``fsession.multi``).

The functions are given as types of the BTF that the program was loaded for, the kernel's or a module's.  Linux 7.2.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence

from purebpf.abi.attr import bpf_attr_link_create
from purebpf.btf.reader import Btf
from purebpf.btf.types import Enum, Enum64, Func, FuncProto, Int, Ptr, Struct, Union, Void
from purebpf.errors import AttachError, PureBpfError
from purebpf.kernel.bpf import link_create
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.glob import is_pattern, matcher
from purebpf.links.link import Link
from purebpf.links.refusal import explained
from purebpf.links.tracing import WHY_NOT
from purebpf.load.nearest import nearest, suggestion

_MOST_PARAMETERS = 12
_LARGEST_PARAMETER = 16


def attach_tracing_multi(
    prog_fd: Fd | int,
    kind: str,
    functions: str | Sequence[str],
    attach_type: int,
    btf: Btf,
    *,
    cookies: Sequence[int] = (),
) -> Link:
    """Attach a program to functions of the kernel: a pattern with ``*`` and ``?``, or a list of names.

    ``btf`` has them.  ``cookies`` are what bpf_get_attach_cookie() returns in the program, one for each entry of a
    list.  Raises AttachError if there is no such function that can be traced, KernelError if the kernel refuses.
    """
    target = functions if isinstance(functions, str) else f"{len(functions)} functions"
    action = f"attaching to {kind} {target}"
    if cookies and (isinstance(functions, str) or len(cookies) != len(functions)):
        raise ValueError(f"{action}: {len(cookies)} cookies; there must be one for each entry of a list of functions")
    found = find(btf, functions, action)
    ids = (ctypes.c_uint32 * len(found))(*found)
    values = (ctypes.c_uint64 * len(cookies))(*cookies)
    attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), attach_type=attach_type)
    attr.tracing_multi.ids = ctypes.addressof(ids)
    attr.tracing_multi.cookies = ctypes.addressof(values) if cookies else 0
    attr.tracing_multi.cnt = len(ids)
    with explained(WHY_NOT):
        link = link_create(attr, f"link to {kind} {target}", action=action)
    return Link(kind, target, link, bpf_link=link)


def parse(target: str) -> tuple[str, str]:
    """Module, "" for the kernel, and pattern, from what follows ``fentry.multi/``.  Raises AttachError."""
    if not re.fullmatch(r"(\w+:)?[\w.*?]+", target, re.ASCII):
        raise AttachError(f"{target!r} is no name or pattern of functions; the section should read fentry.multi/tcp_*")
    module, _, pattern = target.rpartition(":")
    return module, pattern


def find(btf: Btf, functions: str | Sequence[str], action: str) -> list[int]:
    """The ids of functions that can be traced: all that fit a pattern, or each of a list of names."""
    if isinstance(functions, str) and is_pattern(functions):
        fits = matcher(functions)
        known = zip(btf.ids(Func), btf.names(Func), strict=True)
        ids = [type_id for type_id, name in known if fits(name) and is_traceable(btf, type_id)]
        if not ids:
            raise AttachError(f"{action}: no function that can be traced fits the pattern")
        return ids
    ids = []
    for name in [functions] if isinstance(functions, str) else functions:
        found = [type_id for type_id in btf.find(name, Func) if is_traceable(btf, type_id)]
        if not found:
            near = suggestion(nearest(name, btf.names(Func)))
            raise AttachError(f"{action}: there is no function {name!r} that can be traced{near}")
        ids.append(found[0])
    return ids


def is_traceable(btf: Btf, type_id: int) -> bool:
    """Whether the kernel can pass a function's arguments on: there are few enough, and each fits in two registers."""
    function = btf.type(type_id)
    proto = btf.type(function.type_id) if isinstance(function, Func) else None
    if not isinstance(proto, FuncProto) or len(proto.params) > _MOST_PARAMETERS:
        return False
    if isinstance(btf.resolve(proto.type_id), Struct | Union):
        return False
    return all(_is_passed(btf, parameter.type_id) for parameter in proto.params)


def _is_passed(btf: Btf, type_id: int) -> bool:
    try:
        parameter = btf.resolve(type_id)
        if isinstance(parameter, Void) or not isinstance(parameter, Int | Ptr | Enum | Enum64 | Struct | Union):
            return False
        return 0 < btf.size_of(type_id) <= _LARGEST_PARAMETER
    except PureBpfError:
        return False
