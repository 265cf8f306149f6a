"""System call numbers, for the calls that a C library has no function for.

glibc wraps neither bpf(2) nor perf_event_open(2), and fsopen(2) only since 2.36, so purebpf makes these calls
by number, through libc's ``syscall()``.  The number depends on the machine, more exactly on the ABI of this
process: a 32-bit Python on a 64-bit kernel uses the 32-bit numbers.

The numbers are from ``asm/unistd.h`` of each machine.  Calls since Linux 5.1 have the same number everywhere,
plus the ABI's base on MIPS.  Numbers never change.
"""

from __future__ import annotations

import ctypes
import os

from purebpf.errors import PlanError

_SINCE_5_2 = {"move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432}
# asm-generic/unistd.h, the table of the newer machines:
_GENERIC = {"bpf": 280, "perf_event_open": 241, **_SINCE_5_2}
_MIPS_N64 = 5000

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "uprobe": 336, **_SINCE_5_2},
    "i386": {"bpf": 357, "perf_event_open": 336, **_SINCE_5_2},
    "aarch64": _GENERIC,
    "arm": {"bpf": 386, "perf_event_open": 364, **_SINCE_5_2},
    "riscv64": _GENERIC,
    "s390x": {"bpf": 351, "perf_event_open": 331, **_SINCE_5_2},
    "ppc64le": {"bpf": 361, "perf_event_open": 319, **_SINCE_5_2},
    "loongarch64": _GENERIC,
    "mips64": {
        "bpf": _MIPS_N64 + 315,
        "perf_event_open": _MIPS_N64 + 292,
        **{name: _MIPS_N64 + number for name, number in _SINCE_5_2.items()},
    },
}
"""Machine (as ``uname -m`` calls it, i386 and arm for all their variants) -> call -> number."""


def machine(name: str = "", pointer_size: int = 0) -> str:
    """The key of ``NUMBERS`` for a process with pointers of ``pointer_size`` bytes; ``name`` is ``uname -m``.

    Both default to this process.  Of two ABIs with 32-bit pointers on one 64-bit kernel only the classic one
    is known: i386, not x32.  A machine without an entry in ``NUMBERS`` gets a name that has none either.
    """
    name = name or os.uname().machine
    pointer_size = pointer_size or ctypes.sizeof(ctypes.c_void_p)
    if pointer_size == 4:
        if name in ("x86_64", "i386", "i486", "i586", "i686"):
            return "i386"
        if name.startswith(("arm", "aarch64")):
            return "arm"
        return f"{name} with 32-bit pointers"
    return {"aarch64_be": "aarch64", "ppc64": "ppc64le"}.get(name, name)


def number(name: str, on: str | None = None) -> int:
    """The number of system call ``name`` on machine ``on``, a key of ``NUMBERS`` (None: this process's).

    Raises PlanError for a machine that is not in ``NUMBERS``, and KeyError for a call that is not.
    """
    on = on or machine()
    if on not in NUMBERS:
        known = ", ".join(NUMBERS)
        raise PlanError(f"purebpf does not know the number of {name}(2) on machine {on!r}; it knows {known}")
    return NUMBERS[on][name]
