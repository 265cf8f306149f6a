"""RLIMIT_MEMLOCK, which maps and programs counted against until Linux 5.11.

Since then they count as memory of their memory cgroup (Feature.MEMCG_ACCOUNT).  Before, the usual limit of 64 KiB
stopped any but the smallest object, so every loader raises it.
"""

from __future__ import annotations

import resource


def raise_memlock_limit() -> None:
    """Lift the limit: altogether where that is allowed, else as far as it is."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:  # without CAP_SYS_RESOURCE the hard limit stays
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
