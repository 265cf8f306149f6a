"""hello-kprobe: a BPF program inside the kernel's function that opens files.

The object has the first program of every introduction, in both of its forms.  The one prints "Hello, world!" into the
kernel's trace buffer, as `hello` does.  The other, with ``--ring``, sends the name of the file through a perf ring.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import purebpf
from purebpf.tools import hello
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool, c_string, decode, printable, quoted, ring_events

_PAGES = 64


class Front(hello.Front):
    name = "hello-kprobe"
    summary = "hello, world from a kprobe on do_sys_openat2; or, with --ring, the names of files"
    by_ring = False

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
        parser.add_argument("--ring", action="store_true", help="show file names, which arrive through a perf ring")

    def configure(self, options: argparse.Namespace) -> None:
        super().configure(options)
        self.by_ring = options.ring
        if self.by_ring:
            self.header = f"{'PID':<7} {'COMM':<16} FILE"

    def prepare(self, spec: purebpf.ObjectSpec) -> None:
        super().prepare(spec)
        spec.programs["hello" if self.by_ring else "hello_ring"].autoload = False

    def open(self, bpf: purebpf.BpfObject) -> AbstractContextManager[Any]:
        return self.ring(bpf.maps["events"], "event", _PAGES) if self.by_ring else super().open(bpf)

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        if not self.by_ring:
            yield from super().rows(bpf, source, session)
            return
        for _, event in ring_events(bpf, {"events": source}, session):
            name = event.name.raw[: event.size] if event.size > 0 else b""
            yield {
                "pid": event.pid,
                "comm": c_string(event.comm.raw),
                "file": decode(name[:-1]) if name else None,
            }

    def line(self, row: Row) -> str:
        if not self.by_ring:
            return super().line(row)
        file = "(name not readable)" if row["file"] is None else quoted(row["file"])
        return f"{row['pid']:<7} {printable(row['comm']):<16} {file}"

    def remark(self) -> str:
        return Tool.remark(self) if self.by_ring else super().remark()
