"""The command ``purebpf``: ``list`` the tools, ``run`` a tool or an object, ``explain`` a load, and more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import purebpf
from purebpf.cli import btf, features
from purebpf.cli.run import open_target, run
from purebpf.tools import output
from purebpf.tools.tool import NAMES, tool, whole_number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, 1 for an error with one message, 2 for wrong usage."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(_tool_to_run(words)).parse_args(words)
    output.prepare()
    try:
        status: int = options.command(options)
        output.flush()
    except purebpf.PureBpfError as error:
        output.discard()
        output.say(f"purebpf: {error}")
        return 1
    except BrokenPipeError:  # whoever read the output has seen enough
        output.discard()
        return 0
    except KeyboardInterrupt:
        output.discard()
        return 130
    return status


def _tool_to_run(words: Sequence[str]) -> str | None:
    """The name of the tool in ``purebpf run NAME``: each tool has options of its own."""
    return next((word for word in words if word in NAMES), None) if words and words[0] == "run" else None


def _parser(name: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="purebpf", description="Load and run eBPF objects, in pure Python.")
    parser.add_argument("--version", action="version", version=f"purebpf {purebpf.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the ready-made tools", description="List the ready-made tools.")
    listing.set_defaults(command=_list)

    running = commands.add_parser(
        "run",
        help="run a tool, or any BPF object",
        description="Load a BPF object, attach its programs, and print the events that they send, until Ctrl-C.",
        epilog=None if name else "purebpf run NAME --help shows the options of a tool.",
    )
    running.set_defaults(command=run)
    _add_target(running)
    running.add_argument("--json", action="store_true", help="print one JSON object a line")
    running.add_argument("--duration", type=_seconds, metavar="SECONDS", help="stop after this time")
    running.add_argument("--count", type=whole_number, metavar="N", help="stop after N events")
    running.add_argument(
        "--pages", type=_pages, metavar="N", help="memory pages of each CPU's perf ring, a power of two"
    )
    if name:
        tool(name).add_options(running.add_argument_group(f"options of {name}"))

    explaining = commands.add_parser(
        "explain",
        help="show the bpf(2) calls that loading makes",
        description="Print the load plan of an object for the running kernel: every bpf(2) call, field by field.",
    )
    explaining.set_defaults(command=_explain)
    _add_target(explaining)

    btf.add_parser(commands)
    features.add_parser(commands)
    return parser


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="NAME|FILE.bpf.o", help="a tool's name (see list), or a clang-built object")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        metavar="VARIABLE=VALUE",
        help="set a global variable of the object before it is loaded; may be repeated",
    )


def _list(options: argparse.Namespace) -> int:
    for name in NAMES:
        output.write(f"{name:<12} {tool(name).summary}")
    return 0


def _explain(options: argparse.Namespace) -> int:
    spec, _ = open_target(options.target, options.set)
    output.write(str(spec.plan()))
    return 0


# The types of the options: what they cannot convert is wrong usage, and argparse shows the message.


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return seconds


def _pages(text: str) -> int:
    number = whole_number(text)
    if number & (number - 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no power of two")
    return number


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not VARIABLE=VALUE")
    return name, value
