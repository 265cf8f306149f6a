"""Questions to the kernel: each is asked once, and a refusal to answer is no answer."""

from __future__ import annotations

import errno

import pytest

from purebpf import features
from purebpf.abi.bpf import bpf_cmd
from purebpf.errors import KernelError
from purebpf.kernel import diagnose, probe
from purebpf.kernel import features as loading

ROOT = diagnose.Situation(status="CapEff:\t000001ffffffffff\n")
NOBODY = diagnose.Situation(status="CapEff:\t0000000000000000\n", uid=1000)


class Kernel:
    """Answers every call with ``answers[command]``, an errno; and counts the calls."""

    def __init__(self, answers):
        self.answers = answers
        self.calls = []

    def bpf(self, cmd, attr, *, action=""):
        self.calls.append(cmd)
        raise KernelError(self.answers[cmd], action)


@pytest.fixture
def kernel(monkeypatch):
    """A kernel in whose place any errno can be answered."""

    def make(answers, situation=ROOT):
        fake = Kernel(answers)
        monkeypatch.setattr(loading, "bpf", fake.bpf)
        monkeypatch.setattr(probe, "bpf", fake.bpf)
        monkeypatch.setattr(diagnose.Situation, "now", lambda: situation)
        monkeypatch.setattr(loading.Features, "raise_limit", lambda self: None)
        return fake

    caches = [probe._program_type, probe._map_type, probe._helper, probe._attach_type, probe._instructions]
    for cache in caches:
        cache.cache_clear()
    yield make
    for cache in caches:
        cache.cache_clear()


QUESTIONS = [
    lambda: features.has_program_type("xdp"),
    lambda: features.has_program_type("tracing"),
    lambda: features.has_map_type("ringbuf"),
    lambda: features.has_map_type("struct_ops"),
    lambda: features.has_map_type("task_storage"),
    lambda: features.has_helper("xdp", "redirect_map"),
    lambda: features.has_attach_kind("tcx_ingress"),
    lambda: features.has_attach_kind("cgroup_inet4_bind"),
    lambda: features.has_attach_kind("trace_kprobe_multi"),
    lambda: features.has_attach_kind("trace_uprobe_session"),
    lambda: features.has_attach_kind("xdp"),
    lambda: features.has_attach_kind("lsm_mac"),
    lambda: features.has_instruction_set(4),
    features.has_large_programs,
    features.has_bounded_loops,
]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.ENOMEM, errno.EMFILE])
def test_a_refusal_is_no_answer(question, code, kernel):
    kernel(dict.fromkeys(bpf_cmd, code))
    for _ in range(2):
        with pytest.raises(KernelError) as refused:
            question()
        assert refused.value.errno == code


@pytest.mark.parametrize("question", QUESTIONS)
def test_who_may_not_ask_is_told_so(question, kernel):
    """Not even where the kernel would say something: to long programs and to loops it says no without CAP_BPF."""
    asked = kernel(dict.fromkeys(bpf_cmd, errno.EINVAL), NOBODY)
    with pytest.raises(KernelError, match="bpf needs CAP_BPF and CAP_PERFMON") as refused:
        question()
    assert refused.value.errno == errno.EPERM
    assert asked.calls == []


def test_in_a_user_namespace_nothing_can_be_asked(kernel):
    status = diagnose.Situation(status="CapEff:\t000001ffffffffff\n", in_user_namespace=True)
    kernel(dict.fromkeys(bpf_cmd, errno.EINVAL), status)
    with pytest.raises(KernelError, match="outside of user namespaces"):
        features.has_map_type("hash")


def test_a_question_is_asked_once(kernel):
    asked = kernel(dict.fromkeys(bpf_cmd, errno.EINVAL))
    assert asked.calls == []
    assert [features.has_map_type("hash"), features.has_map_type("hash")] == [False, False]
    assert asked.calls == [bpf_cmd.BPF_MAP_CREATE]
    assert not features.has_helper("xdp", "redirect_map")  # of a type that is not there
    assert not features.has_helper("xdp", "bpf_redirect")
    assert asked.calls[1:] == [bpf_cmd.BPF_PROG_LOAD]


@pytest.mark.parametrize("program_type", ["tracing", "ext", "lsm", "struct_ops"])
def test_helpers_that_depend_on_the_target(program_type, kernel):
    kernel({})
    with pytest.raises(KernelError, match="depends on what the program is attached to") as refused:
        features.has_helper(program_type, "get_current_task")
    assert refused.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda: features.has_program_type("tracepiont"), "no program type 'tracepiont'; did you mean tracepoint"),
        (lambda: features.has_program_type("unspec"), "no program type 'unspec'"),
        (lambda: features.has_map_type("ringbuffer"), "no map type 'ringbuffer'; did you mean ringbuf"),
        (lambda: features.has_helper("xdp", "redirect_maps"), "no helper 'redirect_maps'; did you mean redirect_map"),
        (lambda: features.has_helper("kp", "redirect"), "no program type 'kp'"),
        (lambda: features.has_attach_kind("tcx"), "no way to attach 'tcx'"),
        (lambda: features.has_instruction_set(5), "no version 5"),
    ],
)
def test_names_that_nobody_knows(question, message):
    with pytest.raises(ValueError, match=message):
        question()


def test_names():
    assert {"xdp", "netfilter"} <= set(features.PROGRAM_TYPES)
    assert {"hash", "cgroup_storage", "rhash"} <= set(features.MAP_TYPES)
    assert {"map_lookup_elem", "cgrp_storage_delete"} <= set(features.HELPERS)
    assert {"kprobe", "uprobe", "cgroup_inet_ingress", "trace_fsession_multi"} <= set(features.ATTACH_KINDS)
    assert set(features.NOISY_HELPERS) < set(features.HELPERS)
    everything = (*features.PROGRAM_TYPES, *features.MAP_TYPES, *features.HELPERS, *features.ATTACH_KINDS)
    assert all(name == name.lower() != "unspec" for name in everything)
