"""opensnoop: every file that is opened, by whom, and with which result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import purebpf
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool, c_string, decode, error_name, printable, quoted, ring_events

_PAGES = 256


class Front(Tool):
    name = "opensnoop"
    summary = "every open of a file: time, command, process, result and file name"
    header = f"{'TIME':<15} {'COMM':<16} {'PID':<7} {'RESULT':<8} FILE"
    optional = frozenset({"enter_open", "exit_open", "enter_creat", "exit_creat"})

    def open(self, bpf: purebpf.BpfObject) -> AbstractContextManager[Any]:
        return self.ring(bpf.maps["events"], "event", _PAGES)

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        boot = time.time_ns() - time.monotonic_ns()
        for _, event in ring_events(bpf, {"events": source}, session):
            name = event.name.raw[: event.size]
            yield {
                "time": (event.time + boot) / 1e9,
                "pid": event.pid,
                "tid": event.tid,
                "uid": event.uid,
                "comm": c_string(event.comm.raw),
                "result": event.ret,
                "error": error_name(event.ret),
                "flags": event.flags,
                "dfd": event.dfd,
                "file": decode(name[:-1]) if name else None,
            }

    def line(self, row: Row) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(row["time"])) + f".{int(row['time'] % 1 * 1e6):06}"
        file = "(name not readable)" if row["file"] is None else quoted(row["file"])
        result = row["error"] or row["result"]
        return f"{clock:<15} {printable(row['comm']):<16} {row['pid']:<7} {result:<8} {file}"
