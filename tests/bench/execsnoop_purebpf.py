"""The job of the bench, with purebpf: load a BPF object and attach its programs.

Prints "attached WALL USER": milliseconds by the clock, and those of them that the CPU spent in this process outside of
the kernel.  Then waits until it is terminated.
"""

from __future__ import annotations

import resource
import signal
import sys
import time

import purebpf


def user():
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


wall_before, user_before = time.perf_counter(), user()
with purebpf.load(sys.argv[1]) as bpf:
    bpf.attach()
    print(f"attached {1e3 * (time.perf_counter() - wall_before):.3f} {1e3 * (user() - user_before):.3f}", flush=True)
    signal.pause()
