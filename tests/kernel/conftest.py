"""Fixtures of the kernel tests."""

from __future__ import annotations

import subprocess

import pytest

# What they assert is shown as in the tests themselves.
pytest.register_assert_rewrite("kernel_state", "network", "probing", "running", "triggers")


@pytest.fixture(scope="session")
def bpffs(tmp_path_factory):
    """A BPF file system, mounted for the tests and unmounted after them."""
    path = tmp_path_factory.mktemp("bpffs")
    subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)
