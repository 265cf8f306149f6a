"""perf_event_open(2) and the ioctls on its descriptors.

A perf event is what a BPF program of a tracing type hangs on, and what a perf ring belongs to.  The
interface is defined in include/uapi/linux/perf_event.h.

Some kinds of events have no fixed number.  The kernel lists them in /sys/bus/event_source/devices, each with its number
and with the places of its parameters in the attributes of an event (Documentation/ABI/testing/
sysfs-bus-event_source-devices-format).
"""

from __future__ import annotations

import ctypes
import fcntl
import re
from pathlib import Path

from purebpf.abi.perf import PERF_FLAG_FD_CLOEXEC, perf_event_attr
from purebpf.errors import KernelError
from purebpf.kernel import diagnose
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.syscall import syscall

_SOURCES = Path("/sys/bus/event_source/devices")


def event_type(source: str) -> int | None:
    """The number of a source of events, such as "kprobe", for ``perf_event_attr.type``; None if there is none."""
    try:
        return int((_SOURCES / source / "type").read_text())
    except FileNotFoundError:
        return None


def config_bit(source: str, parameter: str) -> int | None:
    """The lowest bit of a parameter of such a source in ``perf_event_attr.config``; None if there is none."""
    try:
        place = re.match(r"config:(\d+)", (_SOURCES / source / "format" / parameter).read_text())
    except FileNotFoundError:
        return None
    return int(place[1]) if place else None


def perf_event_open(
    attr: perf_event_attr,
    pid: int,
    cpu: int,
    group_fd: Fd | int = -1,
    flags: int = PERF_FLAG_FD_CLOEXEC,
    *,
    action: str = "",
) -> Fd:
    """Open the perf event that ``attr`` describes, for a process (-1: all) on a CPU (-1: any).

    ``attr.size`` is set here.

    ``action`` says what the event is for, for the message of the :class:`KernelError` raised when the
    kernel refuses: EACCES or EPERM without CAP_PERFMON, ENODEV where the CPU is offline or the event does
    not exist.
    """
    attr.size = ctypes.sizeof(attr)
    try:
        number = syscall("perf_event_open", attr, pid, cpu, number_of(group_fd), flags)
    except OSError as error:
        raise _explained(error, action or "perf_event_open") from None
    return Fd(number, f"perf event on CPU {cpu}" if cpu >= 0 else "perf event")


def ioctl(fd: Fd | int, request: int, arg: int | bytearray = 0, *, action: str = "") -> int:
    """One of the ``PERF_EVENT_IOC_...`` requests.  A bytearray is passed as a pointer, and filled by the
    kernel.

    Raises :class:`KernelError`.
    """
    try:
        return fcntl.ioctl(number_of(fd), request, arg)
    except OSError as error:
        raise _explained(error, action or f"ioctl({request:#x}) of a perf event") from None


def _explained(error: OSError, action: str) -> KernelError:
    code = error.errno or 0
    return KernelError(code, action, diagnose.hint(code, "perf_event_open", {"CAP_PERFMON"}))
