"""How long the C header of a whole kernel takes: ``python tests/bench/btf_printer.py [BTF file]``.

Each round is a process of its own, with nothing cached; the table has the medians, and bpftool's beside them.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

ROUNDS = 5
LIMIT = 10  # seconds for the printer

IN_PROCESS = """
import sys, time
from pathlib import Path
from purebpf.btf.printer import c_header
from purebpf.btf.reader import Btf
data = Path(sys.argv[1]).read_bytes()
start = time.perf_counter()
btf = Btf.from_bytes(data)
opened = time.perf_counter()
text = c_header(btf)
print(opened - start, time.perf_counter() - opened, len(btf), text.count("\\n"))
"""


def in_process(path):
    """Seconds to open the BTF and to print it, and the numbers of types and lines."""
    command = [sys.executable, "-c", IN_PROCESS, path]
    return [float(word) for word in subprocess.run(command, check=True, capture_output=True).stdout.split()]


def whole_process(*command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(arguments: Sequence[str]) -> int:
    path = arguments[0] if arguments else "/sys/kernel/btf/vmlinux"
    rounds = [in_process(path) for _ in range(ROUNDS)]
    opening, printing, types, lines = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{path}: {types:,.0f} types, a header of {lines:,.0f} lines; medians of {ROUNDS}")
    print(f"{opening:8.2f} s  opening, in the process")
    print(f"{printing:8.2f} s  printing, in the process; at most {LIMIT}  {'ok' if printing <= LIMIT else 'MISSED'}")
    commands = {
        "purebpf btf dump": [sys.executable, "-m", "purebpf", "btf", "dump", path, "--format", "c"],
        "bpftool btf dump": ["bpftool", "btf", "dump", "file", path, "format", "c"],
    }
    for name, command in commands.items():
        if shutil.which(command[0]):
            seconds = statistics.median(whole_process(*command) for _ in range(ROUNDS))
            print(f"{seconds:8.2f} s  {name}, the whole process")
    return 0 if printing <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
