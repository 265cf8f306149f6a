"""hello: a line of text from inside the kernel for each file that is opened.

The program prints with ``bpf_printk`` into the kernel's one trace buffer, which everybody shares.  So it marks each
line with a number that is set before it is loaded, and only lines with that mark are shown here.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import purebpf
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool, count, printable

# What trace_pipe shows: "   cat-4711    [001] ...21  1234.567890: bpf_trace_printk: text".  A comm has 15 bytes at
# most; those that are not UTF-8 come in escapes of 4 characters each.
_LINE = re.compile(r" *(?P<comm>.{0,60}?)-(?P<pid>\d+) .*? (?P<time>\d+\.\d+): bpf_trace_printk: (?P<text>.*)")
_LOST = re.compile(r"CPU:\d+ \[LOST (?P<number>\d+) EVENTS\]")

_LAST_LOOK = 0.5  # seconds for the lines that are left at the end; others may go on writing into the buffer forever


class Front(Tool):
    name = "hello"
    summary = "bpf_printk on each openat(2): the first BPF program of every introduction"

    def prepare(self, spec: purebpf.ObjectSpec) -> None:
        spec.variables["instance"] = random.getrandbits(32)

    def open(self, bpf: purebpf.BpfObject) -> AbstractContextManager[Any]:
        return purebpf.TracePipe()

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        mark = f"purebpf-{self.name}[{bpf.spec.variables['instance']}]: "
        for line in _lines(bpf, source, session):
            match = _LINE.fullmatch(line)
            if match and match["text"].startswith(mark):
                yield {
                    "time": float(match["time"]),
                    "pid": int(match["pid"]),
                    "comm": match["comm"],
                    "text": match["text"].removeprefix(mark),
                }
            elif lost := _LOST.fullmatch(line):
                self.lost += int(lost["number"])

    def line(self, row: Row) -> str:
        return f"{row['time']:<16.6f} {row['pid']:<7} {printable(row['comm']):<16} {printable(row['text'])}"

    def remark(self) -> str:
        if not self.lost:
            return ""
        return f"{count(self.lost, 'line')} lost because the kernel's trace buffer was full, ours or other programs'"


def _lines(bpf: purebpf.BpfObject, pipe: purebpf.TracePipe, session: Session) -> Iterator[str]:
    """Everybody's lines until the session is over, then those that are left."""
    while session.wait(pipe):
        for line in pipe.lines():
            yield line
            if session.over:
                break
    bpf.detach()
    end = time.monotonic() + _LAST_LOOK
    for line in pipe.lines():
        yield line
        if time.monotonic() >= end:
            break
