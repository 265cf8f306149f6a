"""Features are probed late, once, and not at all where the answer is given."""

from __future__ import annotations

import errno

import pytest

from purebpf.errors import KernelError
from purebpf.kernel import features
from purebpf.kernel.features import Feature, Features


def test_every_feature_has_a_probe():
    assert set(features._PROBES) == set(Feature)


def test_probed_once_when_first_asked(monkeypatch):
    calls = []
    monkeypatch.setitem(features._PROBES, Feature.PERF_LINK, lambda: bool(calls.append(1)))
    some = Features()
    assert calls == []
    assert [some.has(Feature.PERF_LINK), some.has(Feature.PERF_LINK)] == [False, False]
    assert calls == [1]


def test_known_answers_are_not_probed(monkeypatch):
    monkeypatch.setattr(features, "_PROBES", {})
    assert Features({Feature.PERF_LINK: True}).has(Feature.PERF_LINK)
    assert not Features({Feature.PERF_LINK: False}).has(Feature.PERF_LINK)


def test_a_probe_that_fails_is_no_answer(monkeypatch):
    def refused():
        raise KernelError(errno.EPERM, "probing")

    monkeypatch.setitem(features._PROBES, Feature.PERF_LINK, refused)
    some = Features()
    for _ in range(2):
        with pytest.raises(KernelError):
            some.has(Feature.PERF_LINK)


def kernel_that_answers(code):
    def bpf(cmd, attr, *, action=""):
        raise KernelError(code, action)

    return bpf


def test_a_refusal_says_nothing_about_the_feature(monkeypatch):
    monkeypatch.setattr(features, "bpf", kernel_that_answers(errno.EPERM))
    for feature in Feature:
        with pytest.raises(KernelError, match="probing a feature of the kernel"):
            Features().has(feature)
