"""The table of tests by kernels."""

from __future__ import annotations

import collections
import json
from dataclasses import dataclass
from typing import Any

from .machine import Run


@dataclass
class Table:
    """What became of each test on each kernel."""

    runs: dict[str, Run]
    results: dict[str, dict[str, dict[str, Any]]]
    """By kernel and test, as reporter.py writes them; a test during which the guest was lost has the outcome lost."""

    @classmethod
    def of(cls, runs: dict[str, Run]) -> Table:
        results: dict[str, dict[str, dict[str, Any]]] = {}
        for kernel, run in runs.items():
            found = results[kernel] = {}
            for line in run.results:
                if "start" in line:
                    found[line["start"]] = {"outcome": "lost", "reason": run.failure or "", "seconds": 0}
                elif "test" in line:
                    found[line.pop("test")] = line
                elif "error" in line:
                    found[line["error"].partition(":")[0]] = {
                        "outcome": "failed",
                        "reason": line["error"],
                        "seconds": 0,
                    }
        return cls(runs, results)

    def json(self) -> str:
        kernels = {
            kernel: {"failure": run.failure, "seconds": round(run.seconds), "tests": self.results[kernel]}
            for kernel, run in self.runs.items()
        }
        return json.dumps(kernels, indent=1) + "\n"

    def text(self) -> str:
        """A line for each test, with numbers for the reasons to skip it, and what these mean."""
        tests = list(dict.fromkeys(test for results in self.results.values() for test in results))
        reasons: dict[str, int] = {}
        width = max(map(len, tests), default=0) + 2
        lines = ["".ljust(width) + "".join(f"{kernel:>8}" for kernel in self.runs)]
        for test in tests:
            cells = []
            for results in self.results.values():
                result = results.get(test)
                if result is None:
                    cells.append("-")
                elif result["outcome"] == "skipped":
                    cells.append(f"skip {reasons.setdefault(result['reason'], len(reasons) + 1)}")
                else:
                    cells.append({"passed": "pass", "failed": "FAIL", "lost": "LOST"}[result["outcome"]])
            lines.append(test.ljust(width) + "".join(f"{cell:>8}" for cell in cells))
        lines.append("")
        for outcome in ("passed", "failed", "lost", "skipped"):
            counts = [
                collections.Counter(result["outcome"] for result in results.values())[outcome]
                for results in self.results.values()
            ]
            lines.append(outcome.ljust(width) + "".join(f"{count:8}" for count in counts))
        lines.append("seconds".ljust(width) + "".join(f"{run.seconds:8.0f}" for run in self.runs.values()))
        lines += ["", *(f"skip {number}: {reason}" for reason, number in reasons.items())]
        return "\n".join(lines) + "\n"
