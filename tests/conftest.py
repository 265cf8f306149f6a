"""Shared test helpers: what a test needs, and a count of what was skipped for want of it.

``needs_root`` and ``needs_tool(name)`` skip a test by name and reason.  With ``PUREBPF_REQUIRE_ALL=1`` in the
environment (CI sets it) a test that would be skipped fails instead, so that no skip hides a failure.

``needs_kernel(what, condition)`` is for hooks that the running kernel may lack, whoever runs the test: such a test is
skipped, as "needs a kernel with WHAT", unless ``condition`` (a bool, or a function without arguments) is true.  The
condition must not ask the code that is being tested.
"""

from __future__ import annotations

import collections
import os
import shutil

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_root: the test makes bpf(2) calls and needs root")
    config.addinivalue_line("markers", "needs_tool(*names): the test runs these programs")
    config.addinivalue_line("markers", "needs_kernel(what, condition): the test needs a hook that not all kernels have")


def _missing(item):
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        return "needs root"
    for mark in item.iter_markers("needs_tool"):
        for name in mark.args:
            if shutil.which(name) is None:
                return f"needs {name}"
    return None


def _lacking(item):
    for mark in item.iter_markers("needs_kernel"):
        what, condition = mark.args
        if not (condition() if callable(condition) else condition):
            return f"needs a kernel with {what}"
    return None


def pytest_runtest_setup(item):
    reason = _missing(item)
    if reason is None:
        lacking = _lacking(item)
        if lacking is not None:
            pytest.skip(lacking)
        return
    if os.environ.get("PUREBPF_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason}, and PUREBPF_REQUIRE_ALL is set", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter):
    reasons = collections.Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    counted = ", ".join(f"{count} {reason.removeprefix('Skipped: ')}" for reason, count in sorted(reasons.items()))
    terminalreporter.write_line(f"skipped: {counted}" if counted else "skipped: none")
