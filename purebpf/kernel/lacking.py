"""What the running kernel lacks of that which it was asked to load.

To a program type that it does not know, or a map type, or a way to attach, the kernel says EINVAL, as it does to
mistakes.  So when it has refused something, it is asked again, for the least that is of the same kind: a program of two
instructions, a map of one element (`purebpf.kernel.probe`).  If that is refused too, the kernel is too old, or built
without; `purebpf.abi.releases` knows which release and which option.  A program for one network interface may lack that
one, or an ability of its driver.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_prog_flags, bpf_prog_type
from purebpf.abi.releases import (
    ATTACH_TYPES,
    MAP_FLAGS,
    MAP_TYPES,
    PROGRAM_TYPES,
    SLEEPABLE,
    SLEEPABLE_RAW_TP,
    XDP_DEV_BOUND_ONLY,
    XDP_HAS_FRAGS,
    Origin,
)
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import probe
from purebpf.kernel.config import built_without
from purebpf.kernel.diagnose import Situation
from purebpf.kernel.interface import find

_ENOTSUPP: Final = 524
_TELLING: Final = (errno.EINVAL, errno.E2BIG, errno.EACCES, errno.EOPNOTSUPP, _ENOTSUPP)
"""What kernels say to what they do not know.  EACCES: the context has no such field for the verifier yet."""

_CHECKED_BY_PROBE: Final = (
    bpf_prog_type.BPF_PROG_TYPE_TRACING,
    bpf_prog_type.BPF_PROG_TYPE_LSM,
    bpf_prog_type.BPF_PROG_TYPE_SK_REUSEPORT,
)
"""Where it takes more than a load to see whether the kernel knows a way to attach."""

Member = TypeVar("Member", bound=int)


def lacking(code: int, cmd: bpf_cmd, fields: Mapping[str, int]) -> str:
    """Why a map or program was refused with errno ``code``: what the kernel lacks, "" if it lacks nothing.

    ``fields`` are the command's attributes that are numbers.  Also "" where this process may not ask the kernel.
    """
    look = {bpf_cmd.BPF_PROG_LOAD: _of_program, bpf_cmd.BPF_MAP_CREATE: _of_map}.get(cmd)
    if look is None or code not in _TELLING:
        return ""
    try:
        return look(fields)
    except AttachError as error:  # of an interface that is not there
        message = str(error)
        return message[:1].upper() + message[1:]
    except KernelError:
        return ""


def _of_program(fields: Mapping[str, int]) -> str:
    kind = _member(PROGRAM_TYPES, fields.get("prog_type", 0))
    if kind is None:
        return ""
    flags = fields.get("prog_flags", 0)
    hook = _member(ATTACH_TYPES, fields.get("expected_attach_type", 0))
    unknown = hook if hook is not None and not _knows(kind, hook) else None
    if unknown is not None and _version() < ATTACH_TYPES[unknown]:
        return _absent(f"programs for {unknown.name}", Origin(ATTACH_TYPES[unknown]))
    if not probe.has_program_type(kind.name.removeprefix("BPF_PROG_TYPE_").lower()):
        return _absent(f"programs of type {kind.name}", PROGRAM_TYPES[kind])
    if unknown is not None:
        return _absent(f"programs for {unknown.name}", Origin(ATTACH_TYPES[unknown]))
    if flags & bpf_prog_flags.BPF_F_XDP_HAS_FRAGS and _refuses(kind, prog_flags=bpf_prog_flags.BPF_F_XDP_HAS_FRAGS):
        return _absent("XDP programs with BPF_F_XDP_HAS_FRAGS", Origin(XDP_HAS_FRAGS))
    if ifindex := fields.get("prog_ifindex", 0):
        return _of_bound(kind, ifindex, flags)
    if flags & bpf_prog_flags.BPF_F_SLEEPABLE:
        return _of_sleepable(kind, fields.get("expected_attach_type", 0))
    return ""


def _knows(kind: bpf_prog_type, hook: bpf_attach_type) -> bool:
    if kind in _CHECKED_BY_PROBE:
        return probe.has_attach_kind(hook.name.removeprefix("BPF_").lower())
    return not _refuses(kind, expected_attach_type=hook)


def _refuses(kind: bpf_prog_type, **fields: int) -> bool:
    code, _ = probe.refusal(kind, probe.RETURN_1, fields)
    return code == errno.EINVAL


def _of_bound(kind: bpf_prog_type, ifindex: int, flags: int) -> str:
    """Why there is no program of the type for this one network interface; see kernel/bpf/offload.c."""
    name = find(ifindex).name
    driver = flags & bpf_prog_flags.BPF_F_XDP_DEV_BOUND_ONLY
    if driver and _version() < XDP_DEV_BOUND_ONLY:
        return _absent("XDP programs with BPF_F_XDP_DEV_BOUND_ONLY", Origin(XDP_DEV_BOUND_ONLY))
    code, _ = probe.refusal(kind, probe.RETURN_1, {"prog_ifindex": ifindex, "prog_flags": driver})
    if code == errno.EOPNOTSUPP:
        return f"The driver of network interface {name} has no XDP"
    if code == errno.EINVAL and not driver:
        return (
            f"Network interface {name} runs no programs in its card (offload). One for its driver has"
            " BPF_F_XDP_DEV_BOUND_ONLY among its prog_flags"
        )
    return ""


def _of_sleepable(kind: bpf_prog_type, hook: int) -> str:
    fields = {"prog_flags": bpf_prog_flags.BPF_F_SLEEPABLE, "expected_attach_type": hook}
    if kind in (bpf_prog_type.BPF_PROG_TYPE_TRACING, bpf_prog_type.BPF_PROG_TYPE_LSM):
        fields["attach_btf_id"] = 1
    code, log = probe.refusal(kind, probe.RETURN_1, fields)
    if "can be sleepable" not in log and (code != errno.EINVAL or log):  # no log: the flag itself is unknown
        return ""
    what = f"sleepable programs of type {kind.name}"
    if kind is bpf_prog_type.BPF_PROG_TYPE_TRACING and hook == bpf_attach_type.BPF_TRACE_RAW_TP:
        return _absent(f"{what} for BPF_TRACE_RAW_TP", Origin(SLEEPABLE_RAW_TP))
    if kind not in SLEEPABLE:
        return f"There are no {what}"
    return _absent(what, Origin(SLEEPABLE[kind]))


def _of_map(fields: Mapping[str, int]) -> str:
    kind = _member(MAP_TYPES, fields.get("map_type", 0))
    if kind is None:
        return ""
    if not probe.has_map_type(kind.name.removeprefix("BPF_MAP_TYPE_").lower()):
        return _absent(f"maps of type {kind.name}", MAP_TYPES[kind])
    flags = fields.get("map_flags", 0)
    for flag, since in MAP_FLAGS.items():
        if flags & flag and _version() < since:
            return _absent(f"maps with {flag.name}", Origin(since))
    if ifindex := fields.get("map_ifindex", 0):
        return f"Network interface {find(ifindex).name} holds no maps of type {kind.name} in its card (offload)"
    return ""


def _member(members: Iterable[Member], number: int) -> Member | None:
    return next((member for member in members if member == number), None)


def _absent(what: str, origin: Origin) -> str:
    """That there is no such thing, and since when there is; if the kernel is not too old, what it was built without."""
    version = _version()
    if version < origin.since:
        major, minor = origin.since
        options = f" with {' and '.join(origin.options)}" if origin.options else ""
        return f"Linux {version[0]}.{version[1]} has no {what}, which take Linux {major}.{minor}{options}"
    reason = built_without(*origin.options) if origin.options else ""
    return f"This kernel has no {what}" + (f". {reason}" if reason else "")


def _version() -> tuple[int, int]:
    return Situation(status="", release=os.uname().release).version
