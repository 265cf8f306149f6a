"""The limit of locked memory: raised as far as that is allowed."""

from __future__ import annotations

import resource

import pytest

from purebpf.kernel.memlock import raise_memlock_limit

KIB_64 = 64 << 10
UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def limit(monkeypatch):
    """A limit of 64 KiB, which can be raised to 1 MiB by anybody and beyond that by root."""
    return Limit(monkeypatch)


class Limit:
    def __init__(self, monkeypatch):
        self.value = (KIB_64, 1 << 20)
        self.is_root = True
        monkeypatch.setattr(resource, "getrlimit", self.get)
        monkeypatch.setattr(resource, "setrlimit", self.set)

    def get(self, which):
        assert which == resource.RLIMIT_MEMLOCK
        return self.value

    def set(self, which, value):
        assert which == resource.RLIMIT_MEMLOCK
        if value[1] == UNLIMITED and not self.is_root:
            raise ValueError("not allowed to raise maximum limit")  # Python's message for EPERM
        self.value = value


def test_lifted(limit):
    raise_memlock_limit()
    assert limit.value == (UNLIMITED, UNLIMITED)


def test_raised_as_far_as_it_goes(limit):
    limit.is_root = False
    raise_memlock_limit()
    assert limit.value == (1 << 20, 1 << 20)
