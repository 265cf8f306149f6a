"""What the ready-made tools have in common, and their list.

A tool is a BPF object under ``prebuilt/`` and a front in Python that turns what the object delivers into rows: plain
dicts of JSON values.  The runner (:mod:`purebpf.cli.run`) prints a row as the tool's line of text, or as JSON.  It
goes in this order: ``configure``, ``prepare``, load, ``open``, ``attach``, ``rows``.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import shlex
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import purebpf
from purebpf.tools.session import Session

NAMES = ("execsnoop", "hello", "hello-kprobe", "killsnoop", "opensnoop", "profile", "runqlat", "xdpcount")
Row = dict[str, Any]

# From the kernel's include/linux/errno.h.  When a signal interrupts a system call, this is how the call asks to be made
# again afterwards.  The process never sees it; a tracepoint does.
_RESTARTS = {512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK"}


class Tool:
    """The front of one tool."""

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    header: str = ""
    optional: ClassVar[frozenset[str]] = frozenset()
    """Programs whose hook some machines do not have; the tool does without them there."""
    pages: int | None = None
    """The size of each perf ring that the user asked for, in memory pages."""

    def __init__(self) -> None:
        self.lost = 0

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
        """Add what only this tool takes on the command line."""

    def configure(self, options: argparse.Namespace) -> None:
        """Take what was given on the command line: what ``add_options`` added, and the options of every run."""
        self.pages = options.pages

    def prepare(self, spec: purebpf.ObjectSpec) -> None:
        """Set variables of the object before it is loaded."""

    def open(self, bpf: purebpf.BpfObject) -> AbstractContextManager[Any]:
        """What the events come from.  It is opened before the programs are attached, so that none is missed."""
        return nullcontext()

    def attach(self, bpf: purebpf.BpfObject) -> None:
        """Attach each program whose section says where.  A tool runs whole or not, but for what is ``optional``."""
        for program in bpf.programs.values():
            if not program.attaches_itself:
                continue  # another program calls it
            try:
                bpf.links.append(program.attach())
            except purebpf.AttachError:
                if program.name not in self.optional:
                    raise

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        """The rows of a run, until the session is over.  ``source`` is what ``open()`` opened."""
        raise NotImplementedError

    def line(self, row: Row) -> str:
        """A row as text under ``header``, without control characters."""
        raise NotImplementedError

    def remark(self) -> str:
        """What the rows do not tell, when all is over: above all, how much was lost."""
        if not self.lost:
            return ""
        return f"{count(self.lost, 'event')} lost because a ring was full; more --pages make it larger"

    def ring(self, array: purebpf.Map, type_name: str | None, pages: int) -> AbstractContextManager[Any]:
        """Open the rings of a map, and count in ``lost`` what is lost.

        ``pages`` is only a wish: without CAP_IPC_LOCK, kernel.perf_event_mlock_kb limits the memory of all rings
        together, and smaller ones are taken then.  What the user asked for is taken as it is, or refused.
        """
        wanted = self.pages or pages
        while True:
            try:
                rings: AbstractContextManager[Any] = array.read(type_name, pages=wanted, on_lost=self._count_lost)
                return rings
            except purebpf.KernelError as error:
                if self.pages or wanted == 1 or error.errno not in (errno.EPERM, errno.ENOMEM):
                    raise
            wanted //= 2

    def _count_lost(self, cpu: int, number: int) -> None:
        self.lost += number


def tool(name: str) -> type[Tool]:
    """The front of the tool with this name."""
    front: type[Tool] = importlib.import_module(f"purebpf.tools.{name.replace('-', '_')}").Front
    return front


def prebuilt(name: str) -> Path:
    """Where the compiled object of a tool is: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "prebuilt" / f"{name}.bpf.o"
    return inside if inside.exists() else package.parent / "prebuilt" / f"{name}.bpf.o"


def ring_events(bpf: purebpf.BpfObject, rings: Mapping[str, Any], session: Session) -> Iterator[tuple[str, Any]]:
    """The events of rings, each with its ring's name, until the session is over; then those that are left in them.

    The programs are detached before the last look, so that there is an end to it and the count of lost events is exact.
    """
    while session.wait(*rings.values()):
        for name, ring in rings.items():
            for event in ring.poll(0):
                yield name, event
                if session.over:
                    break
    bpf.detach()
    for name, ring in rings.items():
        for event in ring.drain():
            yield name, event


def whole_number(text: str) -> int:
    """The type of an option, as argparse wants it: a number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return number


def count(number: int, noun: str) -> str:
    """``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def error_name(result: int) -> str | None:
    """The name of a negative system call result: -2 is "ENOENT"; None for a success."""
    return None if result >= 0 else errno.errorcode.get(-result) or _RESTARTS.get(-result, str(result))


def decode(raw: bytes) -> str:
    """Bytes that the kernel takes as a name, as text.

    What is not UTF-8 becomes surrogates, from which ``os.fsencode`` makes the same bytes again.
    """
    return raw.decode("utf-8", "surrogateescape")


def c_string(raw: bytes) -> str:
    """The text in an array of char: up to the first NUL, if there is one."""
    return decode(raw.partition(b"\0")[0])


def printable(text: str) -> str:
    """Text for a terminal: on one line, without control characters, and without what hides or reorders others."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def quoted(text: str) -> str:
    """An argument as a shell would have to read it (bash's ``$'...'`` where it must), fit for a terminal."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + printable(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def _escape(letter: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(letter)
    return named or "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))
