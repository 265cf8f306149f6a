"""Shared test helpers: what a test needs, and a count of what was skipped for want of it.

``needs_root`` and ``needs_tool(name)`` skip a test by name and reason.  With ``PUREBPF_REQUIRE_ALL=1`` in the
environment (CI sets it) a test that is skipped fails instead, in whatever way it was skipped, so that no skip hides a
failure.

``needs_kernel(what, condition)`` is for hooks that the running kernel may lack, whoever runs the test: such a test is
skipped, as "needs a kernel with WHAT", unless ``condition`` (a bool, or a function without arguments) is true.  The
condition must not ask the code that is being tested.  This is the one reason to skip that CI accepts.

``any_kernel`` is for tests of what has nothing to do with the kernel but runs on one: one will do, and tests/vm leaves
them out.

Tests that do the same thing many times take the number from ``rounds``.  ``PUREBPF_ROUNDS`` in the environment limits
it, for machines that are slow (tests/vm sets it).
"""

from __future__ import annotations

import collections
import os
import shutil

import pytest

NEEDS_KERNEL = "needs a kernel with "


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_root: the test makes bpf(2) calls and needs root")
    config.addinivalue_line("markers", "needs_tool(*names): the test runs these programs")
    config.addinivalue_line("markers", "any_kernel: it is the same on all kernels")
    config.addinivalue_line("markers", "needs_kernel(what, condition): the test needs a hook that not all kernels have")


def pytest_runtest_setup(item):
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")
    for mark in item.iter_markers("needs_tool"):
        for name in mark.args:
            if shutil.which(name) is None:
                pytest.skip(f"needs {name}")
    for mark in item.iter_markers("needs_kernel"):
        what, condition = mark.args
        if not (condition() if callable(condition) else condition):
            pytest.skip(f"{NEEDS_KERNEL}{what}")


@pytest.fixture
def rounds():
    """``range`` up to a number, or to PUREBPF_ROUNDS if that is less."""
    limit = os.environ.get("PUREBPF_ROUNDS")
    return lambda number: range(number if limit is None else min(number, int(limit)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("PUREBPF_REQUIRE_ALL") == "1":
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(NEEDS_KERNEL):
            report.outcome = "failed"
            report.longrepr = f"{reason}, and PUREBPF_REQUIRE_ALL is set"
    return report


def pytest_terminal_summary(terminalreporter):
    reasons = collections.Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    counted = ", ".join(f"{count} {reason.removeprefix('Skipped: ')}" for reason, count in sorted(reasons.items()))
    terminalreporter.write_line(f"skipped: {counted}" if counted else "skipped: none")
