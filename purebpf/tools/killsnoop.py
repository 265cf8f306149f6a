"""killsnoop: who was killed by SIGKILL, and by whom.

The object is written the way of the years before BTF: its map is defined in section ``maps``, and nothing says what its
values mean.  So Python gets bytes, and takes them apart with the layout that stands in programs/killsnoop.bpf.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import purebpf
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool, c_string, printable

_KILL = struct.Struct("=QIIii16s16s")


class Front(Tool):
    name = "killsnoop"
    summary = "who was killed by SIGKILL meanwhile, and by whom, from a map that is read at the end"
    header = f"{'PID':<7} {'COMM':<16} {'KILLER':<7} {'COMM':<16} {'UID':<6}"
    full = False

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        while session.wait():
            pass
        bpf.detach()  # while keys are added, a walk of the map may miss some, or meet them twice
        kills = [(pid, *_KILL.unpack(value)) for pid, value in bpf.maps["kills"].items()]
        self.full = len(kills) == bpf.maps["kills"].max_entries
        for pid, time, killer_pid, killer_uid, code, group, killer_comm, victim_comm in sorted(
            kills, key=lambda kill: kill[1]
        ):
            yield {
                "time": time,
                "pid": pid,
                "comm": c_string(victim_comm),
                "killer_pid": killer_pid,
                "killer_comm": c_string(killer_comm),
                "killer_uid": killer_uid,
                "code": code,
                "group": bool(group),
            }

    def line(self, row: Row) -> str:
        victim = f"{row['pid']:<7} {printable(row['comm']):<16}"
        return f"{victim} {row['killer_pid']:<7} {printable(row['killer_comm']):<16} {row['killer_uid']:<6}"

    def remark(self) -> str:
        return "the map of kills is full: later ones were not noted" if self.full else ""
