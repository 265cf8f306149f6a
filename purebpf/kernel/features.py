"""What the running kernel can do, found out by trying.

A version number says little about a kernel: distributions backport and configure.  So each feature has a
probe, a harmless call that only a kernel with the feature answers in one certain way.  The probes, and the
answers they look for, are the ones libbpf makes.  To add a feature, add its name and its probe.
"""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Callable, Mapping
from enum import Enum

from purebpf.abi.attr import bpf_attr_prog_load
from purebpf.abi.bpf import bpf_cmd, bpf_prog_type
from purebpf.errors import KernelError
from purebpf.kernel.bpf import address, bpf, link_create_perf_event
from purebpf.kernel.fd import Fd


class Feature(str, Enum):
    """The names of the features."""

    PERF_LINK = "perf_link"
    """A bpf link can hold a program on a perf event.  Linux 5.15."""


class Features:
    """The features of a kernel.  Each is probed when first asked for, and once.

    ``known`` are answers given beforehand; they are not probed.
    """

    def __init__(self, known: Mapping[Feature, bool] | None = None) -> None:
        self._known = dict(known or {})

    def has(self, feature: Feature) -> bool:
        """Whether the kernel has the feature.

        Raises :class:`KernelError` if the kernel does not let this process find out.
        """
        if feature not in self._known:
            self._known[feature] = _PROBES[feature]()
        return self._known[feature]


@functools.cache
def running() -> Features:
    """The features of the running kernel."""
    return Features()


def _instruction(opcode: int, immediate: int = 0) -> bytes:
    """One ``struct bpf_insn``, in the machine's byte order, that names no register but r0."""
    return struct.pack("=BBhi", opcode, 0, 0, immediate)


_RETURN_0 = _instruction(0xB7) + _instruction(0x95)  # r0 = 0; exit


def _load(prog_type: bpf_prog_type, instructions: bytes) -> Fd:
    license_text = b"GPL"
    attr = bpf_attr_prog_load(
        prog_type=prog_type,
        insn_cnt=len(instructions) // 8,
        insns=address(instructions),
        license=address(license_text),
    )
    return Fd(bpf(bpf_cmd.BPF_PROG_LOAD, attr, action="probing a feature of the kernel"), "feature probe")


def _perf_link() -> bool:
    """With a bad descriptor for the event, a kernel with the feature answers EBADF, one without it EINVAL."""
    with _load(bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT, _RETURN_0) as program:
        try:
            link_create_perf_event(program, -1).close()
        except KernelError as error:
            return error.errno == errno.EBADF
        return False


_PROBES: dict[Feature, Callable[[], bool]] = {
    Feature.PERF_LINK: _perf_link,
}
