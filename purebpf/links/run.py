"""Running a program without attaching it: once or many times, on a packet or a context that the caller gives.

That is how programs are tested (BPF_PROG_TEST_RUN, Linux 4.12), and how those of section ``syscall`` do their work
(5.14).  Each type of program takes other arguments: networking programs a packet, and a context like ``struct
__sk_buff``; raw tracepoints an array of numbers, and a CPU to run on; tracing programs and iterators none.
"""

from __future__ import annotations

import ctypes
import errno
from typing import NamedTuple

from purebpf.abi.attr import bpf_attr_prog_test_run
from purebpf.abi.bpf import bpf_prog_type, bpf_test_run_flags
from purebpf.errors import KernelError
from purebpf.kernel.bpf import address, prog_test_run
from purebpf.kernel.fd import Fd, number_of

_CANNOT = "Programs of this type cannot be run on request"
_WHY_NOT = {
    524: _CANNOT,  # ENOTSUPP, which user space has no name for
    errno.EOPNOTSUPP: _CANNOT,
    errno.EFAULT: _CANNOT,
    errno.EINVAL: (
        "Programs of this type take other arguments: a packet has at least 14 bytes, a context is of a size and with"
        " values that the type allows, and repeat, cpu and flags are for some types only"
    ),
    errno.ENXIO: "There is no such CPU, or it is offline",
}
_CONTEXT_STAYS = (
    bpf_prog_type.BPF_PROG_TYPE_SYSCALL,
    bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT,
    bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE,
)
"""Types whose context the kernel does not copy to another place; that of a SYSCALL is changed where it is."""
_MARGIN = 4096
"""How much longer than its input the output may be: what a program can put before a packet, and after."""


class RunResult(NamedTuple):
    """``duration`` is the time of one run, in nanoseconds, on average."""

    retval: int
    duration: int
    data: bytes
    ctx: bytes


def run(
    prog_fd: Fd | int,
    name: str,
    prog_type: int,
    *,
    data: bytes = b"",
    ctx: bytes = b"",
    repeat: int = 0,
    cpu: int | None = None,
    flags: int = 0,
    batch_size: int = 0,
) -> RunResult:
    """Run a loaded program; see `purebpf.Program.run`."""
    action = f"running program {name!r}"
    comes_back = not flags & bpf_test_run_flags.BPF_F_TEST_XDP_LIVE_FRAMES  # such frames go out into the network
    data_out = ctypes.create_string_buffer(len(data) + _MARGIN) if data and comes_back else None
    ctx_in = ctypes.create_string_buffer(ctx, len(ctx)) if ctx else None
    is_copied = ctx and comes_back and prog_type not in _CONTEXT_STAYS
    ctx_out = ctypes.create_string_buffer(len(ctx)) if is_copied else None
    attr = bpf_attr_prog_test_run(
        prog_fd=number_of(prog_fd),
        data_in=address(data) if data else 0,
        data_size_in=len(data),
        data_out=ctypes.addressof(data_out) if data_out else 0,
        data_size_out=len(data_out) if data_out else 0,
        ctx_in=ctypes.addressof(ctx_in) if ctx_in else 0,
        ctx_size_in=len(ctx),
        ctx_out=ctypes.addressof(ctx_out) if ctx_out else 0,
        ctx_size_out=len(ctx) if ctx_out else 0,
        repeat=repeat,
        cpu=cpu or 0,
        flags=flags | (bpf_test_run_flags.BPF_F_TEST_RUN_ON_CPU if cpu is not None else 0),
        batch_size=batch_size,
    )
    try:
        prog_test_run(attr, action=action)
    except KernelError as error:
        code = error.errno or 0
        raise KernelError(code, action, error.hint or _WHY_NOT.get(code, "")) from None
    left = ctx_out.raw[: attr.ctx_size_out] if ctx_out else ctx_in.raw if ctx_in else b""
    return RunResult(attr.retval, attr.duration, data_out.raw[: attr.data_size_out] if data_out else b"", left)
