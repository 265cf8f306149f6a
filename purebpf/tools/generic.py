"""The front for any object that is no tool of ours: attach what can be attached, print what its perf rings deliver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import purebpf
from purebpf.events.array import PerfEventArray
from purebpf.events.perf import DEFAULT_PAGES, Sample
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool, ring_events


class Front(Tool):
    """Events of a map are decoded if the object has a struct named after it; else they are bytes.

    A map ``events`` sends ``struct events``, ``struct event`` or ``struct event_t``, whichever there is.
    """

    @contextmanager
    def open(self, bpf: purebpf.BpfObject) -> Iterator[Mapping[str, Any]]:
        arrays = [each for each in bpf.maps.values() if isinstance(each, PerfEventArray)]
        with ExitStack() as opened:
            yield {
                array.name: opened.enter_context(self.ring(array, _struct_name(array), DEFAULT_PAGES))
                for array in arrays
            }

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        for name, event in ring_events(bpf, source, session):
            if isinstance(event, Sample):
                yield {"map": name, "cpu": event.cpu, "data": event.data.hex()}
            else:
                yield {"map": name, "event": purebpf.to_plain(event)}

    def line(self, row: Row) -> str:
        if "data" not in row:
            return f"{row['map']}: " + " ".join(f"{name}={value!r}" for name, value in row["event"].items())
        raw = bytes.fromhex(row["data"])
        lines = [f"{row['map']}: {len(raw)} bytes on CPU {row['cpu']}"]
        for offset in range(0, len(raw), 16):
            part = raw[offset : offset + 16]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            lines.append(f"  {offset:04x}  {part.hex(' '):<47}  {text}")
        return "\n".join(lines)


def _struct_name(array: PerfEventArray) -> str | None:
    singular = array.name.removesuffix("s")
    candidates = (array.name, singular, f"{singular}_t", f"{array.name}_t")
    return next((name for name in candidates if array.has_struct(name)), None)
