"""Which security modules (LSM) are active: the kernel asks only those before it lets a process do something.

A kernel has the modules it was built with.  The boot option ``lsm=`` says which of them are active and in what order,
or else CONFIG_LSM does; securityfs shows the outcome.  See Documentation/admin-guide/LSM/index.rst.
"""

from __future__ import annotations

import re
from pathlib import Path

from purebpf.errors import AttachError, PureBpfError
from purebpf.kernel.config import running_config

_SECURITYFS = Path("/sys/kernel/security/lsm")
_BOOT_OPTIONS = Path("/proc/cmdline")


def require_bpf(action: str) -> None:
    """Raise AttachError if "bpf" is known not to be active.

    The kernel attaches programs to security hooks all the same, and never calls them.
    """
    modules = _active()
    if modules is not None and "bpf" not in modules:
        raise AttachError(
            f"{action}: the program would never be called, as bpf is not among the active security modules "
            f"({','.join(modules)}); boot the kernel with the option  lsm={','.join([*modules, 'bpf'])}"
        )


def _active() -> list[str] | None:
    """Their names, as far as one can know without securityfs, which is not mounted everywhere; None if one cannot."""
    if _SECURITYFS.exists():
        return _SECURITYFS.read_text().strip().split(",")
    if said := re.findall(r"(?:^|\s)lsm=(\S*)", _BOOT_OPTIONS.read_text()):
        return str(said[-1]).strip('"').split(",")
    try:
        configured = running_config().values.get("CONFIG_LSM")
    except PureBpfError:
        return None
    return configured.strip('"').split(",") if configured else None
