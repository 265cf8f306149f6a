"""``purebpf features``: what BPF offers on this machine's kernel."""

from __future__ import annotations

import argparse
import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from purebpf.errors import KernelError
from purebpf.kernel import probe
from purebpf.tools import output

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add ``features`` to the commands of ``purebpf``."""
    parser = commands.add_parser(
        "features",
        help="what BPF offers on this kernel",
        description="Show which program types, map types, ways to attach, instructions and helpers the running kernel "
        "has, found out by trying. Takes some seconds.",
    )
    parser.set_defaults(command=_features)
    parser.add_argument("--json", action="store_true", help="print one JSON object: true, false, null where not known")


def _features(options: argparse.Namespace) -> int:
    import json  # not at the top, for the other commands to start sooner

    survey = _Survey()
    output.write(json.dumps(survey.answers) if options.json else _text(survey.answers))
    output.flush()
    if survey.refusals:
        output.say(f"purebpf: to what is not known, the kernel answered: {survey.refusals[0]}")
    return 0


class _Survey:
    """All answers.  What the kernel does not let this process find out is None, and counted in ``refusals``."""

    def __init__(self) -> None:
        self.refusals: list[KernelError] = []
        probe.has_instruction_set(1)  # who may ask nothing at all learns it here, by a KernelError
        programs = {name: self._ask(probe.has_program_type, name) for name in probe.PROGRAM_TYPES}
        self.answers: dict[str, Any] = {
            "program_types": programs,
            "map_types": {name: self._ask(probe.has_map_type, name) for name in probe.MAP_TYPES},
            "attach_kinds": {name: self._ask(probe.has_attach_kind, name) for name in probe.ATTACH_KINDS},
            "instruction_sets": {
                f"v{version}": self._ask(probe.has_instruction_set, version) for version in probe.INSTRUCTION_SETS
            },
            "large_programs": self._ask(probe.has_large_programs),
            "bounded_loops": self._ask(probe.has_bounded_loops),
            "helpers": {name: self._helpers(name) for name, known in programs.items() if known},
        }

    def _ask(self, question: Callable[..., bool], *about: Any) -> bool | None:
        try:
            return question(*about)
        except KernelError as error:
            self.refusals.append(error)
            return None

    def _helpers(self, program_type: str) -> list[str] | None:
        """Those whose use is not reported in the kernel's log; None for a type whose helpers depend on the target."""
        try:
            return [
                name
                for name in probe.HELPERS
                if name not in probe.NOISY_HELPERS and probe.has_helper(program_type, name)
            ]
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                self.refusals.append(error)
            return None


def _text(answers: dict[str, Any]) -> str:
    instructions = {f"-mcpu={name}": known for name, known in answers["instruction_sets"].items()}
    instructions["more than 4096 of them"] = answers["large_programs"]
    instructions["loops"] = answers["bounded_loops"]
    unasked = f"(not asked for, because the kernel would log it: {' '.join(probe.NOISY_HELPERS)})"
    sections = [
        ["Program types", *_by_answer(answers["program_types"])],
        ["Map types", *_by_answer(answers["map_types"])],
        ["Ways to attach", *_by_answer(answers["attach_kinds"])],
        ["Instructions", *_by_answer(instructions, ", ")],
        [f"Helpers {unasked}", *_helpers_by_type(answers["helpers"])],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections)


def _by_answer(answers: dict[str, bool | None], separator: str = " ") -> Iterator[str]:
    for answer, title in ((True, "yes"), (False, "no"), (None, "not known")):
        names = [name for name, known in answers.items() if known is answer]
        if names:
            yield _paragraph(title, names, separator)


def _helpers_by_type(helpers: dict[str, list[str] | None]) -> Iterator[str]:
    """What all types have, and what each has beside."""
    known = [names for names in helpers.values() if names is not None]
    common = [name for name in probe.HELPERS if all(name in names for names in known)]
    yield _paragraph("all types", common)
    for program_type, names in helpers.items():
        if names is None:
            yield _paragraph(program_type, ["(depends on what the program is attached to)"])
        else:
            yield _paragraph(program_type, [name for name in names if name not in common] or ["(no others)"])


def _paragraph(title: str, names: list[str], separator: str = " ") -> str:
    import textwrap

    text = separator.join(names)
    return textwrap.fill(text, 110, initial_indent=f"  {title:<24}", subsequent_indent=" " * 26, break_on_hyphens=False)
