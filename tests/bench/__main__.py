"""How fast purebpf starts and loads, beside libbpf and BCC on the same job: ``python -m tests.bench``, as root.

The job is execsnoop: prebuilt/execsnoop.bpf.o for purebpf and for a small C program with libbpf (execsnoop_libbpf.c),
and a tool of the same kind that BCC compiles when it starts (execsnoop_bcc.py).  Each round is a new process of each
contender, so none has the kernel's types in memory from the round before.  The contenders take turns, and medians are
compared: what else the machine does hits all of them alike.  ``BOUNDS`` says what is compared, and with which limits.

After that btf_printer.py measures how long the C header of the kernel's types takes.

The exit status is 1 if a limit is missed, or cannot be checked because a contender is not there.

On Debian, all that is needed comes with:

    apt-get install gcc libbpf-dev python3-bpfcc bpftool linux-headers-cloud-amd64

BCC compiles against kernel headers, which it looks for in /lib/modules/$(uname -r)/build and .../source.  Where the
kernel is not one of Debian's, the headers of Debian's serve for this tool:

    cd /lib/modules && ln -s *-cloud-amd64 $(uname -r)

A tracefs is needed too.  Where there is none, one is mounted that only the bench sees.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from . import btf_printer

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OBJECT = ROOT / "prebuilt" / "execsnoop.bpf.o"
TRACEFS = Path("/sys/kernel/tracing")

_MOUNTED = "PUREBPF_BENCH_MOUNTED"
_PAUSE = 0.2  # seconds between contenders: the kernel takes apart what the last one has attached

WALL, USER = "load and attach (ms)", "  of it, in user space (ms)"
START, MEMORY = "process start to attached (ms)", "peak memory till then (MiB)"
ROWS = (WALL, USER, START, MEMORY)
COLUMNS = ("purebpf", "purebpf run", "libbpf", "BCC")
"""``purebpf`` is the library inside a process that has imported it; ``purebpf run`` the command."""


class Bound(NamedTuple):
    """The ratio of two contenders in a row of the table, which may be ``most`` at most."""

    name: str
    row: str
    dividend: str
    divisor: str
    most: float


BOUNDS = [
    Bound("load and attach: purebpf / libbpf", WALL, "purebpf", "libbpf", 6),
    Bound("load and attach: purebpf / BCC", WALL, "purebpf", "BCC", 1 / 3),
    Bound("process start to attached: purebpf run / BCC", START, "purebpf run", "BCC", 1 / 2),
    Bound("peak memory: purebpf run / BCC", MEMORY, "purebpf run", "BCC", 1 / 3),
]


class NotAttachedError(Exception):
    """A contender ended too soon; what it said."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Compare purebpf with libbpf and BCC.")
    parser.add_argument("--rounds", type=int, default=15, help="processes of each contender, 15 by default")
    options = parser.parse_args()
    if not (TRACEFS / "events").exists() and _MOUNTED not in os.environ:
        return _again_with_tracefs()
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        missing = _warm_up(commands)
        print(
            f"execsnoop on Linux {platform.release()}, Python {platform.python_version()}; medians of {options.rounds}"
        )
        table = _measure(commands, options.rounds)
    _print_table(table)
    results = [_check(bound, table) for bound in BOUNDS]
    for name, why in missing.items():
        print(f"\n{name} is missing, and its bounds are not checked; {__file__} says what to install.  {why}")
    print(flush=True)
    results.append(btf_printer.main([]) == 0)
    return 0 if all(results) else 1


def _again_with_tracefs() -> int:
    """This bench once more, in a mount namespace with a tracefs."""
    script = f'mount -t tracefs tracefs {TRACEFS} && exec "$@"'
    command = [sys.executable, "-m", "tests.bench", *sys.argv[1:]]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command], env=os.environ | {_MOUNTED: "1"}
    ).returncode


# Running the contenders


def _commands(folder: Path) -> dict[str, list[str]]:
    libbpf = folder / "execsnoop_libbpf"
    subprocess.run(["gcc", "-O2", HERE / "execsnoop_libbpf.c", "-o", libbpf, "-lbpf"], check=True)
    return {
        "purebpf": [sys.executable, str(HERE / "execsnoop_purebpf.py"), str(OBJECT)],
        "purebpf run": [sys.executable, "-m", "purebpf", "run", "execsnoop"],
        "libbpf": [str(libbpf), str(OBJECT)],
        "BCC": [_python_with_bcc(), str(HERE / "execsnoop_bcc.py")],
    }


def _python_with_bcc() -> str:
    """Debian's package is for Debian's Python, which need not be the one that runs the bench."""
    has_bcc = subprocess.run([sys.executable, "-c", "import bcc"], capture_output=True).returncode == 0
    return sys.executable if has_bcc else "/usr/bin/python3"


def _warm_up(commands: dict[str, list[str]]) -> dict[str, str]:
    """Run each once, to fill caches of files and of Python's byte code, and see that the tools show an exec.

    BCC may be missing: it is taken out of the commands then, and returned with the reason.
    """
    missing = {}
    for name, command in list(commands.items()):
        try:
            shown = _run(command, is_tool=name in ("purebpf run", "BCC"))[1]
        except (NotAttachedError, OSError) as error:
            if name != "BCC":
                raise
            missing[name] = str(error)
            del commands[name]
            continue
        if name in ("purebpf run", "BCC") and "/bin/true" not in shown:
            sys.exit(f"{name} did not show the exec of /bin/true, only:\n{shown}")
    return missing


def _measure(commands: dict[str, list[str]], rounds: int) -> dict[str, dict[str, float]]:
    """The medians, by row and contender."""
    numbers: dict[str, dict[str, list[float]]] = {row: {} for row in ROWS}
    for _ in range(rounds):
        for name, command in commands.items():
            for row, number in _run(command)[0].items():
                numbers[row].setdefault(name, []).append(number)
    return {
        row: {name: statistics.median(values) for name, values in by_name.items()} for row, by_name in numbers.items()
    }


def _run(command: list[str], is_tool: bool = False) -> tuple[dict[str, float], str]:
    """The numbers of one process by row of the table, and what it printed.  A tool gets an exec to show."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # whoever installs purebpf has its byte code
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment
    )
    assert process.stdout
    printed = ""
    while "attached" not in printed:
        line = process.stdout.readline()
        if not line:
            raise NotAttachedError(f"{' '.join(command)} ended with status {process.wait()}:\n{printed}")
        printed += line
    numbers = {START: 1e3 * (time.perf_counter() - start), MEMORY: _peak_memory(process.pid)}
    if measured := re.search(r"^attached (\S+) (\S+)$", printed, re.MULTILINE):
        numbers |= {WALL: float(measured[1]), USER: float(measured[2])}
    if is_tool:
        subprocess.run(["/bin/true"], check=True)
        time.sleep(_PAUSE)
    process.terminate()
    printed += process.communicate()[0]
    time.sleep(_PAUSE)
    return numbers, printed


def _peak_memory(pid: int) -> float:
    """In MiB.  Not ru_maxrss, into which the memory of the parent goes at a fork."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert peak
    return int(peak[1]) / 1024


# The table


def _print_table(table: dict[str, dict[str, float]]) -> None:
    print(" " * 32 + "".join(f"{name:>13}" for name in COLUMNS))
    for row in ROWS:
        numbers = (table[row].get(name) for name in COLUMNS)
        print(f"{row:<32}" + "".join(" " * 12 + "-" if number is None else f"{number:13.1f}" for number in numbers))
    print()


def _check(bound: Bound, table: dict[str, dict[str, float]]) -> bool:
    row = table[bound.row]
    if not {bound.dividend, bound.divisor} <= row.keys():
        print(f"{bound.name:<46}    ?       at most {bound.most:.2f}  NOT CHECKED")
        return False
    ratio = row[bound.dividend] / row[bound.divisor]
    is_met = ratio <= bound.most
    print(f"{bound.name:<46} {ratio:6.3f}     at most {bound.most:.3f}  {'ok' if is_met else 'MISSED'}")
    return is_met


if __name__ == "__main__":
    sys.exit(main())
