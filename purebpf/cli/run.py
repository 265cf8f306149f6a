"""``purebpf run``: a tool or a foreign object, from its file to lines on the terminal."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import warnings
from pathlib import Path
from typing import Any

import purebpf
from purebpf.btf.value import EnumConstant
from purebpf.tools import output
from purebpf.tools.generic import Front as GenericFront
from purebpf.tools.session import Session
from purebpf.tools.tool import NAMES, Row, Tool, count, prebuilt, tool


class SettingError(purebpf.PureBpfError):
    """A ``--set`` that the object does not take."""


def open_target(
    target: str, settings: list[tuple[str, str]], options: argparse.Namespace | None = None
) -> tuple[purebpf.ObjectSpec, Tool]:
    """Parse what the user named, set its variables, and find the front for it.

    ``options`` are those of a run, which the front takes its own from.
    """
    front: Tool
    if target in NAMES:
        front, path = tool(target)(), prebuilt(target)
        hint = "The tool's object was not compiled; make prebuilt does that, in a checkout of the sources"
    else:
        front, path = GenericFront(), Path(target)
        near = difflib.get_close_matches(target, NAMES, 1)
        hint = f"Nor is that a tool; did you mean {near[0]}?" if near else f"The tools are {', '.join(NAMES)}"
    try:
        spec = purebpf.parse(path)
    except purebpf.KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        if os.sep in target or target.endswith(".o"):
            hint = ""
        raise purebpf.KernelError(errno.ENOENT, error.action, hint) from None
    if options is not None:
        front.configure(options)
    front.prepare(spec)
    for name, text in settings:
        _set_variable(spec, name, text)
    return spec, front


def run(options: argparse.Namespace) -> int:
    """Load, attach, and print rows until the run is over; what the rows do not tell is said on standard error."""
    warnings.showwarning = lambda message, *_: output.say(f"purebpf: {message}")
    with Session() as session:
        spec, front = open_target(options.target, options.set, options)
        name = front.name or spec.name
        with spec.load() as bpf, front.open(bpf) as source:
            if front.name:
                front.attach(bpf)
            else:
                _attach_what_works(bpf)
            session.start(options.duration)
            output.say(f"{name}: {count(len(bpf.links), 'program')} attached; Ctrl-C ends")
            if front.header and not options.json:
                output.write(front.header)
            for number, row in enumerate(front.rows(bpf, source, session), 1):
                output.write(_json(row) if options.json else front.line(row))
                if number == options.count:
                    break
        output.flush()
        if remark := front.remark():
            output.say(f"{name}: {remark}")
    return 0


def _json(row: Row) -> str:
    import json  # not at the top, for runs without it to start sooner

    return json.dumps(row)


def _attach_what_works(bpf: purebpf.BpfObject) -> None:
    """Of a foreign object run whatever can be attached, and report the rest."""
    refusals = []
    for program in bpf.programs.values():
        try:
            bpf.links.append(program.attach())
        except (purebpf.AttachError, purebpf.KernelError) as error:
            refusals.append(error)
    if not bpf.links:
        raise refusals[0] if len(refusals) == 1 else purebpf.AttachError(_nothing_attached(bpf, refusals))
    for refusal in refusals:
        output.say(f"{bpf.name}: not attached: {refusal}")


def _nothing_attached(bpf: purebpf.BpfObject, refusals: list[purebpf.AttachError | purebpf.KernelError]) -> str:
    if not refusals:
        return f"object {bpf.name!r} has no program that is loaded"
    reasons: dict[str, str] = {}
    for refusal in refusals:
        hint = refusal.hint if isinstance(refusal, purebpf.KernelError) else ""
        reasons.setdefault(hint or str(refusal), str(refusal))  # what several have in common is said once
    return "\n  ".join([f"no program of object {bpf.name!r} can be attached:", *reasons.values()])


def _set_variable(spec: purebpf.ObjectSpec, name: str, text: str) -> None:
    if name not in spec.variables:
        known = ", ".join(spec.variables) or "none"
        raise SettingError(f"object {spec.name!r} has no variable {name!r}; its variables: {known}")
    try:
        spec.variables[name] = _value(text, spec.variables[name])
    except (TypeError, ValueError) as error:
        raise SettingError(f"--set {name}={text}: {error}") from None


def _value(text: str, present: Any) -> Any:
    """The text as a value of the kind that the variable has at present."""
    if isinstance(present, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError("it takes true or false")
        return text.lower() in ("true", "1")
    if isinstance(present, EnumConstant) and text.isidentifier():
        return text
    if isinstance(present, int):
        try:
            return int(text, 0)
        except ValueError:
            raise ValueError("it takes a whole number, such as 10 or 0xa") from None
    if isinstance(present, float):
        try:
            return float(text)
        except ValueError:
            raise ValueError("it takes a number, such as 1.5") from None
    if isinstance(present, str):
        return text
    raise TypeError("only numbers, truth values and text can be set here")
