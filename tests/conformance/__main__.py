"""Proof that purebpf hands the kernel the same bytes as libbpf does: ``python -m tests.conformance``, as root.

Each object is loaded by libbpf, the installed version and the newest one, and by purebpf.  A library preloaded into all
of them records their bpf(2) calls (recorder.c).  Then the calls are compared field by field and byte by byte
(comparison.py), with file descriptors replaced by what they stand for (recording.py): instructions after relocation,
maps and their contents, types, ids.  A refusal must be shared.

The objects are those of this project, one for each feature among them (tests/objects/conf_*.bpf.c), and those inside
the programs of Debian's libbpf-tools.  All are loaded for several kernels: the running one, and others of which only
the version, the types and the configuration are there (debian.py).  That suffices, since the recorder keeps a loader
going when the running kernel refuses something.

Of each object those programs are loaded that load by default, and if there are others, all.  If a loader refuses, each
program of that object is loaded alone as well, so that one that cannot be loaded hides no other.

A table comes out; then what is explained, and why; what all refuse, and why; and what differs without an explanation.
The exit status is 1 if there is any of the latter, or an explanation that is of no use any more.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import re
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from . import debian
from .comparison import EXPLANATIONS, Difference, Explanation, differences, one_line
from .loaders import ROOT, Job, Loader, Target, build, link
from .recording import Load

Loads = dict[Job, Load]

_LONGEST_COMPLAINT = 150
"""In characters, where the whole is not asked for."""


@dataclass
class Count:
    """How many objects, or programs, came out how."""

    OUTCOMES = ("equal", "explained", "refused", "by one", "differing")
    counts: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, libbpf: str, job: Job, found: list[Difference], is_refused: bool) -> None:
        """``is_refused``: by both."""
        if not found:
            self.counts["refused" if is_refused else "equal"] += 1
        elif all(explanation(libbpf, job, difference) for difference in found):
            self.counts["explained"] += 1
        else:
            self.counts["by one" if found[0].what.startswith("refused") else "differing"] += 1

    def row(self) -> str:
        numbers = [sum(self.counts.values()), *(self.counts[outcome] for outcome in self.OUTCOMES)]
        return "".join(f"{number:10}" for number in numbers)


@dataclass
class Row:
    """The comparison with one libbpf for one target."""

    target: str
    libbpf: str
    objects: Count = field(default_factory=Count)
    programs: Count = field(default_factory=Count)
    instructions: int = 0
    differences: dict[Job, list[Difference]] = field(default_factory=dict)
    refused: dict[Job, tuple[str, str]] = field(default_factory=dict)
    """What purebpf and libbpf complain of."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("--target", action="append", help="only for this target; can be given more than once")
    parser.add_argument("--verbose", action="store_true", help="print all details, and why what both refuse is refused")
    parser.add_argument("objects", nargs="*", type=Path, help="only these objects")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        *libbpfs, purebpf = build(directory)
        paths = [path.absolute() for path in options.objects] or all_objects(directory, libbpfs[-1])
        rows = []
        for target in targets(options.target):
            loads = load_all(target, [purebpf, *libbpfs], paths, directory)  # the slowest first
            rows += [compare(target, libbpf, loads[libbpf], loads[purebpf]) for libbpf in libbpfs]
    print_table(rows)
    print_refused(rows, options.verbose)
    return print_differences(rows, options.verbose, is_whole=not (options.objects or options.target))


def all_objects(directory: Path, libbpf: Loader) -> list[Path]:
    """Ours, the linked ones of ours, and those of libbpf-tools."""
    ours = sorted(ROOT.glob("prebuilt/*.bpf.o")) + sorted(ROOT.glob("tests/objects/*.bpf.o"))
    parts = sorted(ROOT.glob("tests/objects/conf_link_*.bpf.o"))
    return [*ours, link(libbpf, directory / "conf_linked.bpf.o", parts), *debian.tool_objects()]


def targets(wanted: list[str] | None) -> list[Target]:
    """The kernels to load for; and the running one once more, with another one's types for CO-RE."""
    kernels = debian.kernels()
    found = [Target("running"), *(Target(name, kernel) for name, kernel in kernels.items())]
    name, kernel = next(iter(kernels.items()))
    found.append(Target(f"running, CO-RE {name}", core_btf=kernel.btf))
    unknown = set(wanted or ()) - {target.name for target in found}
    if unknown:
        sys.exit(f"no target {sorted(unknown)}; there are {[target.name for target in found]}")
    return [target for target in found if not wanted or target.name in wanted]


def load_all(target: Target, loaders: list[Loader], paths: list[Path], directory: Path) -> dict[Loader, Loads]:
    """Have every loader load every object."""

    def run(loader: Loader, jobs: list[Job]) -> Loads:
        return loader.run(target, jobs, directory)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [Job(path, "default") for path in paths]
        loads = dict(zip(loaders, pool.map(run, loaders, [jobs] * len(loaders)), strict=True))
        more_of_all = [job for found in loads.values() for load in found.values() for job in more_jobs(load)]
        jobs = list(dict.fromkeys(more_of_all))
        for loader, more in zip(loaders, pool.map(run, loaders, [jobs] * len(loaders)), strict=True):
            loads[loader] |= more
    return loads


def more_jobs(load: Load) -> list[Job]:
    """What to load of an object beside the default."""
    path = Path(load.path)
    jobs = [Job(path, "all")] if any(name.startswith("?") for name in load.programs) else []
    if load.outcome != "loaded" or jobs:
        jobs += [Job(path, name.removeprefix("?")) for name in load.programs]
    return jobs


def compare(target: Target, libbpf: Loader, theirs: Loads, ours: Loads) -> Row:
    """Compare all loadings.  Programs are counted where they were loaded alone, if they were."""
    row = Row(target.name, libbpf.name)
    alone = {job.path for job in theirs if job.selected not in ("default", "all")}
    for job, load in theirs.items():
        found = row.differences[job] = differences(load, ours[job])
        is_refused = load.outcome == ours[job].outcome == "refused"
        if is_refused:
            row.refused[job] = (
                one_line(ours[job].complaint).replace(f"{job.path}: ", ""),
                one_line(load.complaint),
            )
        if job.selected == "default":
            row.objects.add(libbpf.name, job, found, is_refused)
        if job.selected == "all" or (job.selected == "default") == (job.path in alone):
            continue
        row.instructions += sum(_integer(call.fields["insn_cnt"]) for call in load.code())
        for title in [call.title for call in load.code()] or [""]:
            of_program = [one for one in found if one.what == title or not one.what.startswith("BPF_")]
            if title or job.selected != "default":
                row.programs.add(libbpf.name, job, of_program, is_refused)
    return row


def explanation(libbpf: str, job: Job, difference: Difference) -> Explanation | None:
    """Why the difference is meant to be, None if it is not."""
    return next((one for one in EXPLANATIONS if one.covers(libbpf, job.name, difference)), None)


def _integer(value: object) -> int:
    assert isinstance(value, int)
    return value


def print_table(rows: list[Row]) -> None:
    columns = "".join(f"{name:>10}" for name in ("all", *Count.OUTCOMES))
    print(f"{'':31}{'objects':^60}   {'programs':^60}")
    print(f"{'loaded for':20}{'as by':11}{columns}   {columns}{'instructions':>14}")
    for row in rows:
        print(f"{row.target:20}{row.libbpf:11}{row.objects.row()}   {row.programs.row()}{row.instructions:14}")
    print("equal: every field of every call; explained: equal but for what is explained below; refused: by all loaders")


def print_refused(rows: list[Row], is_verbose: bool) -> None:
    """List the objects that are refused by both, where, and what purebpf complains of; or all that all complain of."""
    refused: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows:
        for job, (ours, theirs) in row.refused.items():
            if is_verbose:
                refused[f"{job.name} ({job.selected})"][f"{ours}; {theirs}"].append(f"{row.libbpf} {row.target}")
            elif job.selected == "default":
                refused[job.name][ours].append(row.target)
    if refused:
        print("\nRefused" + (", with the words of purebpf and libbpf:" if is_verbose else ", as purebpf says it:"))
    for name, complaints in sorted(refused.items()):
        if not is_verbose:
            first, *_ = complaints
            complaints = {_shortened(first): [place for places in complaints.values() for place in places]}
        for complaint, places in complaints.items():
            print_indented(f"{name}: {complaint}{_where(places, len(rows))}")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_COMPLAINT else text[:_LONGEST_COMPLAINT] + " ..."


def print_indented(text: str) -> None:
    print(textwrap.fill(text, 118, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False))


def print_differences(rows: list[Row], is_verbose: bool, is_whole: bool) -> int:
    """List the differences; the return value is the exit status."""
    explained: dict[Explanation, set[str]] = collections.defaultdict(set)
    others: dict[tuple[str, ...], dict[Job, list[str]]] = collections.defaultdict(dict)
    for row in rows:
        for job, found in row.differences.items():
            texts = []
            for difference in found:
                reason = explanation(row.libbpf, job, difference)
                if reason is not None:
                    explained[reason].add(job.name)
                else:
                    texts.append(f"{difference.what}: {difference.how}" if is_verbose else _kind(difference))
            if texts:
                others[tuple(dict.fromkeys(texts))].setdefault(job, []).append(f"{row.libbpf} {row.target}")
    for reason in EXPLANATIONS:
        if reason in explained:
            print(f"\nExplained: {reason}")
            print_indented(", ".join(sorted(explained[reason])))
    asked = [reason for reason in EXPLANATIONS if any(reason.is_about(row.libbpf) for row in rows)]
    useless = [reason for reason in asked if reason not in explained] if is_whole else []
    for reason in useless:
        print(f"\nNothing differs any more as explained by: {reason}")
    for texts, jobs in sorted(others.items(), key=lambda item: -len(item[1])):
        print("\n" + "\n".join(texts))
        print_jobs(jobs, len(rows))
    print("\nSomething differs that nothing explains" if others else "\nEvery difference is explained")
    return 1 if others or useless else 0


def print_jobs(jobs: dict[Job, list[str]], everywhere: int) -> None:
    """Which programs of which objects, and where if not everywhere."""
    lines: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for job, places in jobs.items():
        lines[job.name, _where(places, everywhere)].append(job.selected)
    for (name, where), selected in sorted(lines.items()):
        print_indented(f"{name}: {', '.join(selected)}{where}")


def _where(places: list[str], everywhere: int) -> str:
    return "" if len(places) == everywhere else f"  [{', '.join(dict.fromkeys(places))}]"


def _kind(difference: Difference) -> str:
    """What differences of many objects have in common: without names and numbers."""
    if difference.what.startswith(("refused", "order")) or difference.what.endswith("crashed"):
        return re.sub(r"'[^']*'|\d+", "...", f"{difference.what}: {difference.how}")
    return f"{difference.what.partition(' ')[0]}: {difference.how.partition(':')[0]}"


if __name__ == "__main__":
    sys.exit(main())
