"""runqlat: how long tasks that could run wait for a CPU, as a histogram."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import purebpf
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool, count

_BAR = 40  # characters, for the slot with the most waits


class Front(Tool):
    name = "runqlat"
    summary = "a histogram of how long tasks wait for a CPU"
    header = f"{'MICROSECONDS':>24} : {'WAITS':<10} DISTRIBUTION"
    most = 0
    not_measured = 0

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        while session.wait():
            pass
        bpf.detach()
        *slots, self.not_measured = (sum(of_each_cpu) for of_each_cpu in bpf.maps["histogram"].values())
        used = [slot for slot, waits in enumerate(slots) if waits]
        self.most = max(slots)
        for slot in range(used[-1] + 1 if used else 0):
            yield {"from_us": 1 << slot if slot else 0, "to_us": (2 << slot) - 1, "waits": slots[slot]}

    def line(self, row: Row) -> str:
        bar = "*" * -(-row["waits"] * _BAR // self.most)
        return f"{row['from_us']:>10} -> {row['to_us']:<10} : {row['waits']:<10} |{bar:<{_BAR}}|"

    def remark(self) -> str:
        if self.not_measured:
            return f"{count(self.not_measured, 'wait')} not measured because too many tasks were waiting"
        return ""
