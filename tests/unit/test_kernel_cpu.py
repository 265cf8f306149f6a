"""CPU lists.  The format is the kernel's "%*pbl", see Documentation/admin-guide/cputopology.rst."""

from __future__ import annotations

import os
import resource

import pytest

from purebpf.errors import KernelError
from purebpf.kernel import cpu


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0\n", [0]),
        ("0-3\n", [0, 1, 2, 3]),
        ("0-3,7,9-11\n", [0, 1, 2, 3, 7, 9, 10, 11]),
        ("1,3,5", [1, 3, 5]),
        ("\n", []),
        ("", []),
        ("62-65\n", [62, 63, 64, 65]),
        ("0,1023-1025,8191\n", [0, 1023, 1024, 1025, 8191]),
        ("0-8191\n", list(range(8192))),
    ],
)
def test_lists(text, numbers):
    assert cpu.parse_list(text) == numbers


@pytest.mark.parametrize("text", ["x", "0-", "-3", "1,,2", "0-3-5", "1;2"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        cpu.parse_list(text)


def test_this_machine():
    online, possible = cpu.online(), cpu.possible()
    assert len(online) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert set(online) <= set(possible)
    assert cpu.page_size() == resource.getpagesize()


def test_no_sysfs(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "_FOLDER", tmp_path)
    with pytest.raises(KernelError, match="sysfs must be mounted"):
        cpu.online()
