"""RLIMIT_MEMLOCK, which maps and programs counted against until Linux 5.11.

Since then they count as memory of their memory cgroup.  Before, the usual limit of 64 KiB stopped any but the smallest
object, so every loader raises it.  A distribution may have brought the new accounting to an older kernel; to raise the
limit there does no harm, so the version number is good enough to go by.
"""

from __future__ import annotations

import resource

_CGROUP_ACCOUNTING = 0x050B00  # Linux 5.11, as LINUX_VERSION_CODE


def raise_memlock_limit(kernel_version: int) -> None:
    """Lift the limit on a kernel that has it: altogether where that is allowed, else as far as it is."""
    if kernel_version >= _CGROUP_ACCOUNTING:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:  # without CAP_SYS_RESOURCE the hard limit stays
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
