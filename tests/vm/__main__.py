"""Runs the kernel tests on kernels other than this machine's: ``python -m tests.vm``, or ``make test-kernels``.

Debian's kernels 5.10, 6.1, 6.12 and that of its unstable suite are booted in QEMU (machine.py), each with a root made
of Debian's packages and this checkout (image.py), and run ``tests/kernel`` there.  Neither KVM nor root is needed, but
``busybox-static`` and an apt that is set up for Debian, from where all else comes, QEMU too.  A table comes out, test
by kernel, with the reason for each skip (table.py).  The exit status is 1 if a test failed, or a guest did not get to
the end.

A guest has no compiler, no strace and no libbpf, but for the program of libbpf_attach.py, which is compiled here.
Tests that need more run on this machine only, and are among the skips.

While working on something, run less::

    python -m tests.vm --kernel 6.1 tests/kernel/test_map.py -k batch      one guest, and any arguments of pytest's
    python -m tests.vm --kernel 6.1 --shell 'python3 -m purebpf run hello --duration 5'
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from . import libbpf_attach, machine, table
from .image import Image, emulator, image, images, kernel_suites

LIMIT = 25 * 60
"""Seconds that a guest gets."""

SILENCE = 4 * 60
"""Seconds without a word from a guest after which it is given up; a test that takes half of that says where it is."""

AT_ONCE = len(os.sched_getaffinity(0))
"""A guest uses one core."""

ROUNDS = 4
"""What tests of many rounds are limited to; see tests/conftest.py."""

PYTEST = f"""\
export PUREBPF_VM_RESULTS=/dev/ttyS2 PUREBPF_ROUNDS={ROUNDS}
exec python3 -m pytest -p tests.vm.reporter -p no:cacheprovider -o faulthandler_timeout={SILENCE // 2} --color=no \\
    --assert=plain --showlocals -m "not any_kernel" """
"""Rewriting the assertions, so that they say what they compared, would take a guest most of a minute: it shows the
variables instead.  ``--assert=rewrite`` after other arguments has it say more.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm", description="Run the kernel tests on other kernels, in virtual machines."
    )
    parser.add_argument("--kernel", action="append", help="5.10, 6.1, 6.12, or the version of Debian's unstable suite")
    parser.add_argument("--shell", metavar="COMMAND", help="run this instead of the tests, in the root of the checkout")
    parser.add_argument("--report", type=Path, metavar="PATH", help="write the table to PATH.txt and PATH.json")
    parser.add_argument("--keep", action="store_true", help="keep what the guests wrote, and say where")
    arguments, pytest_arguments = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    if arguments.shell is not None:
        job = arguments.shell + "\n"
    else:
        if not any(argument.startswith("tests") for argument in pytest_arguments):
            pytest_arguments.append("tests/kernel")
        job = PYTEST + shlex.join(pytest_arguments) + "\n"
        libbpf_attach.build()
    chosen = choose(arguments.kernel)
    directory = Path(tempfile.mkdtemp(prefix="purebpf-vm-"))
    try:
        runs = run_all(chosen, job, directory)
    finally:
        if arguments.keep:
            print(f"what the guests wrote is in {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory)
    for name, run in runs.items():
        if run.failure is not None:
            print(f"{name}: {run.failure}.  The end of its console:\n{end(run.console)}", file=sys.stderr)
    if arguments.shell is None:
        found = table.Table.of(runs)
        if len(runs) > 1:
            print(found.text())
        if arguments.report is not None:
            arguments.report.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{arguments.report}.txt").write_text(found.text())
            Path(f"{arguments.report}.json").write_text(found.json())
    return max(1 if run.exit is None else run.exit for run in runs.values())


def choose(names: list[str] | None) -> list[Image]:
    if names is None:
        return list(images())
    known = {version.replace("\\", "").rstrip("."): (suite, version) for suite, version in kernel_suites()}
    chosen = []
    for name in names:
        # What the unstable suite has shows when its kernel is there.
        suite, version = known.get(name) or kernel_suites()[-1]
        found = image(suite, version)
        if found.name != name:
            sys.exit(f"there is no kernel {name}; the newest is {found.name}")
        chosen.append(found)
    return chosen


def run_all(chosen: list[Image], job: str, directory: Path) -> dict[str, machine.Run]:
    stop = threading.Event()
    qemu = emulator()

    def one(image: Image) -> machine.Run:
        place = directory / image.name
        place.mkdir()
        initramfs = place / "initramfs"
        image.write_initramfs(initramfs, job)
        show = show_bytes if len(chosen) == 1 else None
        run = machine.run(qemu, image.kernel, initramfs, place, limit=LIMIT, silence=SILENCE, show=show, stop=stop)
        print(f"{image.name}: {run.failure or f'exit status {run.exit}'}, {run.seconds:.0f} s", file=sys.stderr)
        return run

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            # The newest first: their kernels, and their Python, take the longest.
            started = [(image.name, pool.submit(one, image)) for image in reversed(chosen)]
            return {name: run.result() for name, run in reversed(started)}
        finally:
            stop.set()


def show_bytes(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def end(text: str) -> str:
    return "\n".join(text.splitlines()[-40:])


sys.exit(main())
