"""Shared test helpers: what a test needs, and a count of what was skipped for want of it.

``needs_root`` and ``needs_tool(name)`` skip a test by name and reason.  With ``PUREBPF_REQUIRE_ALL=1`` in the
environment (CI sets it) a test that would be skipped fails instead, so that no skip hides a failure.
"""

from __future__ import annotations

import collections
import os
import shutil

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_root: the test makes bpf(2) calls and needs root")
    config.addinivalue_line("markers", "needs_tool(*names): the test runs these programs")


def _missing(item):
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        return "needs root"
    for mark in item.iter_markers("needs_tool"):
        for name in mark.args:
            if shutil.which(name) is None:
                return f"needs {name}"
    return None


def pytest_runtest_setup(item):
    reason = _missing(item)
    if reason is None:
        return
    if os.environ.get("PUREBPF_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason}, and PUREBPF_REQUIRE_ALL is set", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter):
    reasons = collections.Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    counted = ", ".join(f"{count} {reason.removeprefix('Skipped: ')}" for reason, count in sorted(reasons.items()))
    terminalreporter.write_line(f"skipped: {counted}" if counted else "skipped: none")
