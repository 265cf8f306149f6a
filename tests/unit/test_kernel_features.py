"""Features are probed late, once, and not at all where the answer is given."""

from __future__ import annotations

import errno

import pytest

from purebpf.errors import KernelError
from purebpf.kernel import features
from purebpf.kernel.features import Features
from purebpf.load.features import Feature

MODERN = {Feature.MEMCG_ACCOUNT: True}
# These need BTF, and BTF is not for everybody: a process that may load none goes without, as with libbpf.
OF_BTF = {feature for feature in Feature if feature.name.startswith("BTF")} | {Feature.MODULE_BTF, Feature.ARG_CTX_TAG}
NOT_PROBED = {  # not by bpf(2); the last one not at all here
    *(Feature.SYSCALL_WRAPPER, Feature.KPROBE_PMU, Feature.UPROBE_PMU, Feature.UPROBE_SYSCALL, Feature.MEMCG_ACCOUNT),
}


def test_every_feature_has_a_probe():
    assert set(features._PROBES) == set(Feature)


def test_probed_once_when_first_asked(monkeypatch):
    calls = []
    monkeypatch.setitem(features._PROBES, Feature.PERF_LINK, lambda: bool(calls.append(1)))
    some = Features(MODERN)
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
    some = Features(MODERN)
    for _ in range(2):
        with pytest.raises(KernelError):
            some.has(Feature.PERF_LINK)


def kernel_that_answers(code):
    def bpf(cmd, attr, *, action=""):
        raise KernelError(code, action)

    return bpf


def test_a_refusal_says_nothing_about_the_feature(monkeypatch):
    monkeypatch.setattr(features, "bpf", kernel_that_answers(errno.EPERM))
    for feature in set(Feature) - OF_BTF - NOT_PROBED:
        with pytest.raises(KernelError, match="probing a feature of the kernel"):
            Features(MODERN).has(feature)


def test_who_may_load_no_btf_does_without(monkeypatch):
    monkeypatch.setattr(features, "bpf", kernel_that_answers(errno.EPERM))
    assert not any(Features(MODERN).has(feature) for feature in OF_BTF - {Feature.MODULE_BTF})


def test_the_first_probe_may_itself_be_beyond_the_limit(monkeypatch):
    """On a kernel that counts BPF memory by user, other processes of the user may have used it up."""
    monkeypatch.setattr(features, "bpf", kernel_that_answers(errno.EPERM))
    assert not Features().has(Feature.MEMCG_ACCOUNT)
    monkeypatch.setattr(features, "bpf", kernel_that_answers(errno.ENOMEM))
    with pytest.raises(KernelError):
        Features().has(Feature.MEMCG_ACCOUNT)


def test_the_limit_is_raised_before_the_first_probe(monkeypatch):
    """On a kernel that counts the probes' own programs against it."""
    steps = []
    monkeypatch.setattr(features, "raise_memlock_limit", lambda: steps.append("raised"))
    for feature in (Feature.MEMCG_ACCOUNT, Feature.BTF):
        monkeypatch.setitem(features._PROBES, feature, lambda feature=feature: bool(steps.append(feature)))
    assert not Features().has(Feature.BTF)
    assert steps == [Feature.MEMCG_ACCOUNT, "raised", Feature.BTF]
    assert not Features(MODERN).has(Feature.BTF)
    assert steps[3:] == [Feature.BTF]


@pytest.mark.needs_root
def test_the_running_kernel():
    """A kernel that runs this has had the old features for long; what it answers is no accident of a broken probe."""
    some = Features()
    for feature in Feature:
        if feature.since <= (5, 8):
            assert some.has(feature) or feature in (Feature.SYSCALL_WRAPPER, Feature.KPROBE_PMU), feature
