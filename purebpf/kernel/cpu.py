"""Which CPUs there are.

A perf ring exists once for each online CPU, a per-CPU map holds one value for each *possible* CPU: one that
could ever be plugged in.  The kernel lists both under /sys/devices/system/cpu, see
Documentation/admin-guide/cputopology.rst.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from purebpf.errors import KernelError

_FOLDER = Path("/sys/devices/system/cpu")


def online() -> list[int]:
    """The numbers of the CPUs that run now, ascending.  They may have gaps, and change with hotplug."""
    return _read("online")


def possible() -> list[int]:
    """The numbers of the CPUs that can ever be online, ascending.  Fixed from boot on."""
    return _read("possible")


def page_size() -> int:
    """The size in bytes of a memory page: 4096 on most machines, up to 65536 on arm64 and ppc64."""
    return mmap.PAGESIZE


def _read(name: str) -> list[int]:
    path = _FOLDER / name
    try:
        return parse_list(path.read_text())
    except OSError as error:
        raise KernelError(error.errno or 0, f"reading {path}", "sysfs must be mounted at /sys") from None


def parse_list(text: str) -> list[int]:
    """The numbers in a CPU list as the kernel writes it: ``"0-3,7,9-11\\n"``; the empty list is an empty
    line.

    Raises ValueError for anything else.
    """
    numbers: list[int] = []
    for part in text.strip().split(",") if text.strip() else []:
        first, dash, last = part.partition("-")
        numbers.extend(range(int(first), int(last if dash else first) + 1))
    return numbers
