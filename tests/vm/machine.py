"""A virtual machine: boots, is watched, and ends, whatever happens in it.

The machine is QEMU's, with two emulated processors: that runs anywhere, if ten times slower.  They take turns in one
thread, so that a guest uses one core.  They are plain ones, since what newer ones have beyond them (page tables of five
levels, wide vectors) is work to emulate.

The machine has three serial ports (init.sh says what for), each of which QEMU writes to a file.  The files are all that
is known about the guest.  It is given up when the kernel says that it is beyond help, or stuck; when nothing at all is
written for a while; or when the time is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEMORY_MIB = 1536

KERNEL_PARAMETERS = [
    "console=ttyS0",
    "loglevel=5",
    # What goes wrong in the kernel ends in a panic, and a panic ends the machine.  The emulated processors have to
    # share real ones, so that being slow is not yet being stuck.
    "panic=-1",
    "oops=panic",
    "softlockup_panic=1",
    "watchdog_thresh=30",
    "rcupdate.rcu_cpu_stall_timeout=120",
    # Debian's kernels have the BPF LSM, but 5.10 starts it only if asked to.
    "lsm=landlock,lockdown,yama,bpf",
    # What is cheap on an emulated processor: its time stamp counter is the real machine's clock.
    "tsc=reliable",
    "mitigations=off",
    # Much of what the tests do waits for all processors to have left something.
    "rcupdate.rcu_expedited=1",
]

FATAL = re.compile(r"Kernel panic.*|\bBUG: .*|\bOops: .*|soft lockup.*|self-detected stall.*|detected stalls.*")
GRACE = 5
"""Seconds that a kernel gets to print the rest when something is wrong."""


@dataclass
class Watch:
    """What is written to the serial ports, and whether it still comes."""

    silence: float
    fatal: str | None = None
    _last: float = field(default_factory=time.monotonic)
    _since_fatal: float = 0

    def see(self, console: str, anything: bool, now: float) -> str | None:
        """Take what the console said since, and whether any port said anything.  Returns why to give up, or None."""
        if anything:
            self._last = now
        if self.fatal is None and (found := FATAL.search(console)):
            self.fatal, self._since_fatal = found[0].strip(), now
        if self.fatal is not None and now - self._since_fatal > GRACE:
            return f"the kernel said: {self.fatal}"
        if now - self._last > self.silence:
            return f"nothing was heard for {self.silence:.0f} seconds"
        return None


@dataclass
class Run:
    """What became of a guest.  ``failure`` says why it did not get to the end of its job, if so."""

    failure: str | None
    exit: int | None
    seconds: float
    results: list[dict[str, Any]]
    console: str
    output: str


def run(
    emulator: Sequence[str | Path],
    kernel: Path,
    initramfs: Path,
    directory: Path,
    *,
    limit: float,
    silence: float,
    show: Callable[[bytes], None] | None = None,
    stop: threading.Event | None = None,
) -> Run:
    """Boot and wait for the end: ``limit`` seconds in all, and ``silence`` seconds without a word, at most.

    ``emulator`` is the command that runs QEMU.  ``show`` gets what the job prints, while it is printed.  Another thread
    may ``stop`` it.
    """
    ports = [directory / name for name in ("console", "output", "results")]
    for port in ports:
        port.touch()
    # A time limit of its own, so that no machine outlives this process for long.
    command: list[str | Path] = ["timeout", "--foreground", "--signal=KILL", str(limit), *emulator]
    command += ["-accel", "tcg,thread=single", "-cpu", "qemu64", "-smp", "2", "-m", str(MEMORY_MIB)]
    command += ["-nodefaults", "-nic", "none", "-display", "none", "-no-reboot"]
    command += ["-kernel", kernel, "-initrd", initramfs, "-append", " ".join(KERNEL_PARAMETERS)]
    command += [word for port in ports for word in ("-serial", f"file:{port}")]
    start = time.monotonic()
    with (directory / "qemu").open("wb") as messages:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages, start_new_session=True
        )
        try:
            failure = _watch(process, ports, Watch(silence), show, stop or threading.Event())
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    console, output, written = (port.read_bytes().decode(errors="replace") for port in ports)
    results = [json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n")]
    status = results.pop()["exit"] if results and "exit" in results[-1] else None
    if failure is None and status is None:
        if process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
            failure = f"the time was over, {limit:.0f} seconds"
        elif found := FATAL.search(console):
            failure = f"the kernel said: {found[0].strip()}"
        else:
            failure = f"the machine ended by itself: {(directory / 'qemu').read_text().strip()}"
    return Run(failure, status, time.monotonic() - start, results, console, output)


def _watch(
    process: subprocess.Popen[bytes],
    ports: list[Path],
    watch: Watch,
    show: Callable[[bytes], None] | None,
    stop: threading.Event,
) -> str | None:
    """Read along until the machine ends, or has to be ended.  Returns why, if it has to."""
    with contextlib.ExitStack() as stack:
        console, output, results = (stack.enter_context(port.open("rb")) for port in ports)
        while True:
            ended = process.poll() is not None
            said, printed, resulted = console.read(), output.read(), results.read()
            if show is not None and printed:
                show(printed)
            if ended:
                return None
            failure = watch.see(said.decode(errors="replace"), bool(said or printed or resulted), time.monotonic())
            if failure is not None:
                return failure
            if stop.wait(0.2):
                return "stopped"
