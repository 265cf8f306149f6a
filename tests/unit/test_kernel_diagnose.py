"""Hints from given facts: one case for each cause, and which of two causes wins.

The same causes for real, as far as this machine can have them, are in tests/kernel/test_bpf_syscall.py.
"""

from __future__ import annotations

import errno

import pytest

from purebpf.abi.attr import (
    bpf_attr_link_create,
    bpf_attr_map_create,
    bpf_attr_map_elem,
    bpf_attr_prog_attach,
    bpf_attr_prog_load,
)
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_map_type, bpf_prog_type
from purebpf.kernel import diagnose
from purebpf.kernel.diagnose import Situation, bpf_hint, hint, needed_for

# Masks of /proc/PID/status; the numbers are those of <linux/capability.h>.
NONE, ALL = 0, 0x1FFFFFFFFFF
BPF, PERFMON, SYS_ADMIN, NET_ADMIN = 1 << 39, 1 << 38, 1 << 21, 1 << 12
DOCKER = 0xA80425FB  # what Docker gives root in a container by default


def status(effective, bounding=ALL, seccomp=0):
    return f"Name:\tpython\nCapEff:\t{effective:016x}\nCapBnd:\t{bounding:016x}\nSeccomp:\t{seccomp}\n"


PROG = bpf_attr_prog_load(prog_type=bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT)
MAP = bpf_attr_map_create(map_type=bpf_map_type.BPF_MAP_TYPE_HASH)


def load_hint(code, **facts):
    return bpf_hint(code, bpf_cmd.BPF_PROG_LOAD, PROG, Situation(**facts))


def test_an_ordinary_user():
    text = load_hint(errno.EPERM, status=status(NONE), uid=1000)
    assert "CAP_BPF and CAP_PERFMON" in text and "sudo" in text and "docker" not in text


def test_only_what_is_missing_is_named():
    text = load_hint(errno.EPERM, status=status(BPF), uid=1000)
    assert "needs CAP_PERFMON," in text


def test_before_5_8_it_is_sys_admin():
    text = load_hint(errno.EPERM, status=status(NONE), uid=1000, release="5.4.0-42-generic")
    assert "needs CAP_SYS_ADMIN," in text and "CAP_BPF" not in text


def test_root_of_a_docker_container():
    text = load_hint(errno.EPERM, status=status(DOCKER, DOCKER, seccomp=2))
    for part in (
        "CAP_BPF and CAP_PERFMON",
        "--cap-add BPF --cap-add PERFMON",
        "--cap-add SYS_ADMIN",
        "seccomp=unconfined",
    ):
        assert part in text
    assert "sudo" not in text


def test_a_container_on_an_old_kernel():
    text = load_hint(errno.EPERM, status=status(DOCKER, DOCKER, seccomp=2), release="5.4.0")
    assert "--cap-add SYS_ADMIN --cap-add SYS_RESOURCE" in text and "--cap-add BPF" not in text


def test_a_container_on_5_10():
    text = load_hint(errno.EPERM, status=status(DOCKER, DOCKER), release="5.10.0-28-amd64")
    assert "--cap-add BPF --cap-add PERFMON --cap-add SYS_RESOURCE" in text


def test_a_user_in_a_container_without_the_capabilities():
    assert "--cap-add BPF" in load_hint(errno.EPERM, status=status(NONE, DOCKER), uid=1000)


def test_a_user_namespace_wins_over_everything():
    text = load_hint(errno.EPERM, status=status(ALL, seccomp=2), in_user_namespace=True)
    assert "user namespace" in text and "CAP_BPF and CAP_PERFMON" in text and "--cap-add" not in text


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_a_seccomp_filter(monkeypatch, code):
    monkeypatch.setattr(diagnose, "_filtered", lambda call, command: True)
    text = load_hint(code, status=status(ALL, seccomp=2))
    for part in (
        "seccomp filter blocks bpf",
        "--cap-add BPF --cap-add PERFMON",
        "--security-opt seccomp=unconfined",
    ):
        assert part in text


def test_a_seccomp_filter_that_lets_bpf_through_is_not_blamed(monkeypatch):
    monkeypatch.setattr(diagnose, "_filtered", lambda call, command: False)
    assert "seccomp" not in load_hint(errno.EPERM, status=status(ALL, seccomp=2))


def test_a_security_module_is_what_is_left():
    assert "security module" in load_hint(errno.EPERM, status=status(ALL))
    attr = bpf_attr_link_create(attach_type=bpf_attach_type.BPF_XDP)
    assert bpf_hint(errno.EPERM, bpf_cmd.BPF_LINK_CREATE, attr, Situation(status=status(ALL))) == ""


@pytest.mark.parametrize(
    ("call", "reason"),
    [("bpf", "CONFIG_BPF_SYSCALL"), ("perf_event_open", "CONFIG_PERF_EVENTS"), ("fsopen", "5.2")],
)
def test_a_call_that_the_kernel_lacks(call, reason):
    text = hint(errno.ENOSYS, call, {"CAP_BPF"}, Situation(status=status(ALL)))
    assert reason in text and "seccomp" not in text


def test_locked_memory_before_5_11():
    facts = {"status": status(ALL), "memlock": 65536}
    text = load_hint(errno.EPERM, release="5.10.0", **facts)
    for part in ("65536 bytes", "ulimit -l unlimited", "--ulimit memlock=-1", "--cap-add SYS_RESOURCE"):
        assert part in text
    assert "memory" not in load_hint(errno.EPERM, release="5.11.0", **facts)
    assert "memory" not in load_hint(errno.EPERM, release="5.10.0", status=status(ALL))  # no limit
    old = Situation(release="5.10.0", **facts)  # a frozen map, say
    assert bpf_hint(errno.EPERM, bpf_cmd.BPF_MAP_UPDATE_ELEM, bpf_attr_map_elem(), old) == ""


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL])
def test_lockdown(code):
    assert "locked down" in load_hint(code, status=status(ALL), lockdown="none integrity [confidentiality]")
    assert "locked" not in load_hint(code, status=status(ALL), lockdown="none [integrity] confidentiality")


def test_perf_events():
    needed = {"CAP_PERFMON"}
    text = hint(
        errno.EACCES,
        "perf_event_open",
        needed,
        Situation(status=status(NONE), uid=1000, perf_event_paranoid=4),
    )
    assert "needs CAP_PERFMON" in text and "kernel.perf_event_paranoid is 4" in text
    assert hint(errno.EACCES, "perf_event_open", needed, Situation(status=status(PERFMON))) == ""
    assert hint(errno.EACCES, "perf_event_open", needed, Situation(status=status(SYS_ADMIN))) == ""
    # Debian's kernels know 3, Ubuntu's 4, and what CAP_PERFMON allows they do not.
    text = hint(errno.EACCES, "perf_event_open", needed, Situation(status=status(PERFMON), perf_event_paranoid=3))
    assert "kernel.perf_event_paranoid is 3" in text and "CAP_SYS_ADMIN" in text


def test_limits():
    here = Situation(status=status(ALL), nofile=256)
    assert "256 open files" in load_hint(errno.EMFILE, status=here.status, nofile=256)
    assert "fs.file-max" in load_hint(errno.ENFILE, status=here.status)
    assert "memory" in bpf_hint(errno.ENOMEM, bpf_cmd.BPF_MAP_CREATE, MAP, here)


def test_too_big_depends_on_the_command():
    for cmd, part in (
        (bpf_cmd.BPF_MAP_UPDATE_ELEM, "full"),
        (bpf_cmd.BPF_MAP_CREATE, "larger"),
        (bpf_cmd.BPF_PROG_LOAD, "instructions"),
        (bpf_cmd.BPF_LINK_CREATE, "attribute"),
    ):
        assert part in bpf_hint(errno.E2BIG, cmd, MAP)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EBADF, errno.EINVAL, errno.EFAULT, errno.EACCES, errno.ENOMEM])
def test_an_errno_that_speaks_for_itself(code):
    assert load_hint(code, status=status(NONE), uid=1000) == ""


def test_no_facts_no_guess():
    assert load_hint(errno.EPERM, status="") == ""


@pytest.mark.parametrize(
    ("prog_type", "needed"),
    [
        ("SOCKET_FILTER", {"CAP_BPF"}),
        ("CGROUP_SKB", {"CAP_BPF"}),
        ("KPROBE", {"CAP_BPF", "CAP_PERFMON"}),
        ("TRACING", {"CAP_BPF", "CAP_PERFMON"}),
        ("XDP", {"CAP_BPF", "CAP_NET_ADMIN"}),
        ("EXT", {"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"}),
    ],
)
def test_capabilities_of_program_types(prog_type, needed):
    attr = bpf_attr_prog_load(prog_type=bpf_prog_type[f"BPF_PROG_TYPE_{prog_type}"])
    assert needed_for(bpf_cmd.BPF_PROG_LOAD, attr) == needed


def test_capabilities_of_other_commands():
    assert needed_for(bpf_cmd.BPF_MAP_CREATE, MAP) == {"CAP_BPF"}
    sockets = bpf_attr_map_create(map_type=bpf_map_type.BPF_MAP_TYPE_SOCKHASH)
    assert needed_for(bpf_cmd.BPF_MAP_CREATE, sockets) == {"CAP_BPF", "CAP_NET_ADMIN"}
    assert needed_for(bpf_cmd.BPF_PROG_GET_NEXT_ID, MAP) == {"CAP_SYS_ADMIN"}


@pytest.mark.parametrize(
    ("hook", "needed"),
    [
        (bpf_attach_type.BPF_CGROUP_INET_INGRESS, {"CAP_BPF", "CAP_NET_ADMIN"}),
        (bpf_attach_type.BPF_NETFILTER, {"CAP_BPF", "CAP_NET_ADMIN"}),
        (bpf_attach_type.BPF_PERF_EVENT, {"CAP_BPF"}),
    ],
)
def test_what_attaching_takes(hook, needed):
    assert needed_for(bpf_cmd.BPF_LINK_CREATE, bpf_attr_link_create(attach_type=hook)) == needed
    assert needed_for(bpf_cmd.BPF_PROG_ATTACH, bpf_attr_prog_attach(attach_type=hook)) == needed


def test_what_is_no_system_call_of_its_own():
    here = Situation(status=status(ALL & ~(NET_ADMIN | SYS_ADMIN)))
    assert "rtnetlink needs CAP_NET_ADMIN" in hint(errno.EPERM, "rtnetlink", {"CAP_NET_ADMIN"}, here)
    filtered = Situation(status=status(ALL, seccomp=2))
    assert hint(errno.EPERM, "rtnetlink", {"CAP_NET_ADMIN"}, filtered) == ""


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc-v595", (6, 18)), ("5.10.0-28-amd64", (5, 10)), ("6.1-rc3", (6, 1)), ("7.2.0", (7, 2))],
)
def test_versions(release, version):
    assert Situation(status="", release=release).version == version
