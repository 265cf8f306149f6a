"""execsnoop: every program that is started, or that somebody tried to start, with all of its arguments.

The arguments of an exec may be megabytes, and a record of a perf ring ends at 64 KiB, so they arrive in pieces.  All
pieces of an exec come from one CPU, in order and with no other exec's in between; `Joiner` puts them together again.
programs/execsnoop.bpf.c says how they are made.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import purebpf
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool, c_string, decode, error_name, printable, quoted, ring_events

_LAST, _UNREADABLE, _TRUNCATED = 1, 2, 4  # EVENT_... in programs/execsnoop.bpf.c

_LARGEST_RING = 8 << 20  # bytes: the 6 MB of arguments that the kernel allows at most, in one exec
_ALL_RINGS = 64 << 20  # bytes: what the rings of all CPUs together may take, where there are many


class Exec:
    """One exec as far as it has arrived."""

    def __init__(self, first: Any) -> None:
        self.first = first
        self.lost = False
        self.truncated = False
        self._next_offset = 0
        self._runs: list[list[bytes]] = [
            []
        ]  # pieces of text that follow one another, and something missing between runs

    def add(self, event: Any) -> None:
        """Take the next piece: text that ends anywhere, and perhaps a note that what follows could not be read."""
        if event.offset != self._next_offset:
            self.lost = True
            self._runs.append([])
        self._next_offset = event.offset + event.size
        self._runs[-1].append(event.text.raw[: event.size])
        if event.flags & _UNREADABLE:
            self._runs.append([])
        if event.flags & _TRUNCATED:
            self.truncated = True

    def strings(self) -> list[bytes | None]:
        """The file name, then the arguments; None stands for what could not be read, or was lost."""
        found: list[bytes | None] = []
        for run in self._runs:
            *whole, rest = b"".join(run).split(b"\0")
            found += whole
            if rest:
                found.append(rest)
            found.append(None)
        return found[:-1]


class Joiner:
    """Makes whole execs of the pieces that the rings deliver."""

    def __init__(self) -> None:
        self._pending: dict[int, Exec] = {}

    def feed(self, event: Any) -> Iterator[Exec]:
        """Take a piece; yields the execs that are complete now, or of which no more can come because it was lost."""
        current = self._pending.get(event.cpu)
        if current is not None and current.first.time != event.time:
            yield self._give_up(event.cpu)
            current = None
        if current is None:
            current = self._pending[event.cpu] = Exec(event)
        current.add(event)
        if event.flags & _LAST:
            yield self._pending.pop(event.cpu)

    def rest(self) -> Iterator[Exec]:
        """At the end: execs whose last piece was lost."""
        for cpu in list(self._pending):
            yield self._give_up(cpu)

    def _give_up(self, cpu: int) -> Exec:
        unfinished = self._pending.pop(cpu)
        unfinished.lost = True
        return unfinished


class Front(Tool):
    name = "execsnoop"
    summary = "every exec with all of its arguments, failed ones too"
    header = f"{'PID':<7} {'PPID':<7} {'COMM':<16} {'RET':<8} ARGS"

    def open(self, bpf: purebpf.BpfObject) -> AbstractContextManager[Any]:
        return self.ring(bpf.maps["events"], "event", _ring_pages(os.cpu_count() or 1))

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        joiner = Joiner()
        for _, event in ring_events(bpf, {"events": source}, session):
            for whole in joiner.feed(event):
                yield _row(whole)
        for broken in joiner.rest():
            yield _row(broken)

    def line(self, row: Row) -> str:
        missing = "(lost)" if row["lost"] else "(not readable)"
        arguments = [missing if argument is None else quoted(argument) for argument in row["args"]]
        if row["error"] and row["file"] is not None and row["file"] not in row["args"][:1]:
            arguments.append(f"(file {quoted(row['file'])})")
        if row["lost"]:
            arguments.append("(parts of it were lost)")
        if row["truncated"]:
            arguments.append("(and more, not read)")
        result = row["error"] or row["ret"]
        return f"{row['pid']:<7} {row['ppid']:<7} {printable(row['comm']):<16} {result:<8} {' '.join(arguments)}"


def _ring_pages(cpus: int) -> int:
    """How many pages each of so many rings gets: a power of two."""
    pages = min(_LARGEST_RING, _ALL_RINGS // cpus) // mmap.PAGESIZE
    return 1 << max(0, pages.bit_length() - 1)


def _row(whole: Exec) -> Row:
    event = whole.first
    file, *arguments = [None if each is None else decode(each) for each in whole.strings()] or [None]
    return {
        "time": event.time,
        "pid": event.pid,
        "ppid": event.ppid,
        "uid": event.uid,
        "comm": c_string(event.comm.raw),
        "ret": event.ret,
        "error": error_name(event.ret),
        "file": file,
        "args": arguments,
        "lost": whole.lost,
        "truncated": whole.truncated,
    }
