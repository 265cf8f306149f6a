"""A plugin for pytest in a guest: writes what became of each test, a JSON object a line, the moment it is known.

The lines are ``{"start": TEST}``, then ``{"test": TEST, "outcome": "passed", "failed" or "skipped", "reason": TEXT,
"seconds": NUMBER, "properties": {...}}`` with what the test recorded (``record_property``); and ``{"error": TEXT}`` for
a file whose tests could not be collected.
"""

from __future__ import annotations

import gc
import json
import os


class Reporter:
    def __init__(self, path):
        # Nobody's controlling terminal, and unbuffered: a panic leaves no time to flush.
        self._port = os.open(path, os.O_WRONLY | os.O_NOCTTY)
        self._reports = []

    def _write(self, **line):
        data = json.dumps(line).encode() + b"\n"
        while data:
            data = data[os.write(self._port, data) :]

    def pytest_collectreport(self, report):
        if report.failed:
            self._write(error=f"{report.nodeid}: {report.longreprtext}")

    def pytest_collection_finish(self):
        gc.freeze()  # what there is stays: tests that collect garbage need not look at it again

    def pytest_runtest_logstart(self, nodeid):
        self._reports.clear()
        self._write(start=nodeid)

    def pytest_runtest_logreport(self, report):
        self._reports.append(report)

    def pytest_runtest_logfinish(self, nodeid):
        outcomes = {report.outcome: report for report in self._reports}
        worst = outcomes.get("failed") or outcomes.get("skipped") or self._reports[-1]
        reason = worst.longreprtext if worst.failed else worst.longrepr[2] if worst.skipped else ""
        self._write(
            test=nodeid,
            outcome=worst.outcome,
            reason=reason.removeprefix("Skipped: "),
            seconds=round(sum(report.duration for report in self._reports), 2),
            properties=dict(self._reports[-1].user_properties),
        )


def pytest_configure(config):
    config.pluginmanager.register(Reporter(os.environ["PUREBPF_VM_RESULTS"]))
