"""Makes docs/sections.md: which section names make programs that load, attach and see events, kernel by kernel.

The facts are those that tests/kernel/test_section_table.py finds out.  ``python -m tests.vm.sections`` (``make
section-table``) runs it in the guests, and here if this is root and on another kernel than the guests'.
``--report PATH.json`` takes the guests' part from what ``python -m tests.vm --report PATH`` wrote.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..conformance.debian import short_version

ROOT = Path(__file__).parents[2]
TEST = "tests/kernel/test_section_table.py"
DOCUMENT = ROOT / "docs" / "sections.md"

STEPS = ("recognised", "loaded", "attached", "event")

Rows = dict[str, dict[str, Any]]
"""What became of each section on one kernel, as test_section_table.py records it."""

BEGINNING = """\
# Section names

Each of libbpf's {total} section names, and how far a program with it gets on each kernel:

- **event**: recognised, loaded, attached, and the program has counted something that then happened;
- **attached**, **loaded**, **recognised**: that far only, and a note says why.

`make section-table` writes this file; `tests/kernel/test_section_table.py` finds out what is in it. Where purebpf stops
short, libbpf has done the same on the same kernel, and has had to fail at the same step with the same error; for what
libbpf does not attach at all, `ip` or `tc` has. A name that ends in `+` may be followed by `/` and what to attach to.

"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.sections", description="Write docs/sections.md.")
    parser.add_argument("--report", type=Path, help="what python -m tests.vm --report wrote: PATH.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        report = arguments.report or in_guests(Path(directory))
        kernels = read_report(report)
        own = short_version(os.uname().release)
        if own not in kernels and os.geteuid() == 0:
            kernels[own] = here(Path(directory))
    ordered = sorted(kernels, key=lambda name: [int(part) for part in name.split(".")])
    DOCUMENT.write_text(document({name: kernels[name] for name in ordered}))
    return 0


def in_guests(directory: Path) -> Path:
    subprocess.run([sys.executable, "-m", "tests.vm", "--report", directory / "report", TEST], cwd=ROOT, check=True)
    return directory / "report.json"


def read_report(path: Path) -> dict[str, Rows]:
    kernels = {}
    for kernel, run in json.loads(path.read_text()).items():
        tests = {name: test for name, test in run["tests"].items() if name.startswith(TEST)}
        failed = [name for name, test in tests.items() if test["outcome"] != "passed"]
        if failed or not tests:
            sys.exit(f"Linux {kernel}: {', '.join(failed) or f'{TEST} was not run'}: there is no table without that")
        found = [test["properties"]["section"] for test in tests.values() if "section" in test["properties"]]
        kernels[kernel] = {row["section"]: row for row in found}
    return kernels


def here(directory: Path) -> Rows:
    path = directory / "here.json"
    environment = {**os.environ, "PUREBPF_SECTION_TABLE": str(path)}
    subprocess.run([sys.executable, "-m", "pytest", "-q", TEST], cwd=ROOT, env=environment, check=True)
    return {row["section"]: row for row in json.loads(path.read_text())}


def document(kernels: dict[str, Rows]) -> str:
    sections = list(next(iter(kernels.values())))
    notes: dict[str, int] = {}
    lines = [
        "| section | " + " | ".join(kernels) + " |",
        "| --- |" + " --- |" * len(kernels),
    ]
    for section in sections:
        cells = [cell(rows[section], notes) for rows in kernels.values()]
        lines.append(f"| `{section}` | " + " | ".join(cells) + " |")
    counts = {name: collections.Counter(reached(row) for row in rows.values()) for name, rows in kernels.items()}
    lines.append("")
    for name, rows in kernels.items():
        release = next(iter(rows.values()))["kernel"]
        told = ", ".join(f"{counts[name][step]} {step}" for step in reversed(STEPS) if counts[name][step])
        lines.append(f"- Linux {name} ({release}): {told}")
    lines += ["", "Why not all the way:", ""]
    lines += [f"{number}. {note[:1].upper()}{note[1:]}." for note, number in notes.items()]
    return BEGINNING.format(total=len(sections)) + "\n".join(lines) + "\n"


def reached(row: dict[str, Any]) -> str:
    """The last of the steps that the row's program has got to."""
    return [step for step in STEPS if row[step]][-1]


def cell(row: dict[str, Any], notes: dict[str, int]) -> str:
    step = reached(row)
    return step if step == "event" else f"{step} [{notes.setdefault(row['why'], len(notes) + 1)}]"


if __name__ == "__main__":
    sys.exit(main())
