"""Programs and maps that need what the kernel does not have: it refuses them, and the error says what is missing."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest
from kernel_state import RELEASE, parsed, running_kernel

from purebpf.abi.bpf import bpf_map_type
from purebpf.errors import KernelError, PlanError, VerifierError

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
SOURCE = OBJECTS / "core_unmet.bpf.c"

pytestmark = pytest.mark.needs_root


def refusal(program):
    spec = parsed("core_unmet")
    for name, each in spec.programs.items():
        each.autoload = name == program
    with pytest.raises(VerifierError) as caught:
        spec.load(running_kernel()).close()
    return str(caught.value)


TYPE = r"\(type \d+ of /sys/kernel/btf/vmlinux\)"
TASK = rf"struct task_struct {TYPE}"


@pytest.mark.parametrize(
    ("program", "line", "reason"),
    [
        (
            "no_member",
            "PROGRAM(no_member, BPF_CORE_READ(TASK, real_parent, tgidd))",
            rf"the offset of task_struct->real_parent->tgidd: {TASK} has no 'tgidd'; did you mean tgid\?",
        ),
        (
            "no_member_on_the_way",
            "PROGRAM(no_member_on_the_way, BPF_CORE_READ(TASK, reel_parent, tgid))",
            rf"the offset of task_struct->reel_parent: {TASK} has no 'reel_parent'; did you mean real_parent or",
        ),
        (
            "no_member_in_a_subprogram",
            "return BPF_CORE_READ(task, real_parent, tgidd);",
            rf"the offset of task_struct->real_parent->tgidd: {TASK} has no 'tgidd'; did you mean tgid\?",
        ),
        (
            "no_member_of_many",
            "PROGRAM(no_member_of_many, BPF_CORE_READ(TASK, never_existed))",
            rf"the offset of task_struct->never_existed: {TASK} has no 'never_existed' among its \d+ members",
        ),
        (
            "no_type",
            "PROGRAM(no_type, BPF_CORE_READ(TASKK, tgid))",
            r"the offset of task_structt->tgid: .*/sys/kernel/btf/vmlinux .* struct task_structt; did you mean task_",
        ),
        (
            "another_type",
            "PROGRAM(another_type, BPF_CORE_READ(TASK, group_leader))",
            rf"{TASK} has 'group_leader' as struct task_struct \*, which cannot stand for int",
        ),
        (
            "another_size",
            "PROGRAM(another_size, TASK->start_time)",
            r"task_struct->start_time: the program reads or writes 4 bytes, the target has 8, and only pointers and",
        ),
        (
            "no_enumerator",
            "PROGRAM(no_enumerator, bpf_core_enum_value(enum bpf_attach_type___never, BPF_NEVER_EXISTED___never))",
            rf"enum bpf_attach_type {TYPE} has no 'BPF_NEVER_EXISTED' among its \d+ values",
        ),
        (
            "no_function",
            "PROGRAM(no_function, bpf_never_existed(1))",
            r"The kernel has no function 'bpf_never_existed' as declared; test bpf_ksym_exists\(\) first",
        ),
    ],
)
def test_what_is_missing_is_said(program, line, reason):
    message = refusal(program)
    (number,) = (i for i, text in enumerate(SOURCE.read_text().splitlines(), 1) if text.strip() == line)
    assert message.startswith(f"loading program {program!r} (section 'raw_tp/sched_switch'): ")
    stopped = re.search(r"The verifier stopped at instruction (\d+), from (.*)", message)
    assert stopped[2] == f"tests/objects/core_unmet.bpf.c:{number}: {line}"
    # The kernel's own words: that instruction, and a helper that does not exist.
    assert re.search(rf"^ *{stopped[1]}: .* call unknown#(195896080|2002000000)$", message, re.MULTILINE)
    assert re.search(reason, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "conf_kconfig_missing",
            r"^extern 'CONFIG_THAT_DOES_NOT_EXIST' is (not in|a value of .* cannot be had:) .*/(boot|proc|lib)/",
        ),
        (
            "conf_ksym_missing",
            "^extern 'symbol_that_does_not_exist' is not in /proc/kallsyms, which has variables only",
        ),
        ("conf_btf_targets_missing", "^program 'no_function': Linux .* has no function 'no_such_function'"),
        (
            "conf_ksym_wrong_type",
            # The BTF of older kernels has no variables.
            "^extern 'runqueues'( is declared as int, and in /sys.*vmlinux it is struct rq|: there is no variable)",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_is_loaded(name, message):
    spec = parsed(name)
    for program in spec.programs.values():
        program.autoload = program.name != "writable"  # of a section that no loader knows
    with pytest.raises(PlanError, match=message):
        spec.load(running_kernel()).close()


# --- what the kernel is too old for, or built without ---


def config():
    """The kernel's own lines, as text; "" where it does not show them."""
    release = os.uname().release
    for path in map(Path, (f"/boot/config-{release}", "/proc/config.gz", f"/lib/modules/{release}/config")):
        if path.exists():
            data = path.read_bytes()
            return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return ""


def before(*since):
    return pytest.mark.needs_kernel(f"a release before {since[0]}.{since[1]}", since > RELEASE)


without_lirc = pytest.mark.needs_kernel(
    "CONFIG_BPF_LIRC_MODE2 not set", lambda: "CONFIG_BPF=y" in config() and "CONFIG_BPF_LIRC_MODE2=y" not in config()
)


@pytest.mark.parametrize(
    ("object", "program", "said"),
    [
        pytest.param(
            "hook_network",
            "on_lirc_mode2",
            "This kernel has no programs of type BPF_PROG_TYPE_LIRC_MODE2. "
            "The kernel was built without CONFIG_BPF_LIRC_MODE2",
            marks=without_lirc,
        ),
        pytest.param(
            "hook_tracing",
            "on_syscall",
            "has no programs of type BPF_PROG_TYPE_SYSCALL, which take Linux 5.14",
            marks=before(5, 14),
        ),
        pytest.param(
            "hook_network",
            "on_sk_reuseport_migrate",
            "has no programs for BPF_SK_REUSEPORT_SELECT_OR_MIGRATE, which take Linux 5.14",
            marks=before(5, 14),
        ),
        pytest.param(
            "hook_network",
            "on_xdp_frags",
            "has no XDP programs with BPF_F_XDP_HAS_FRAGS, which take Linux 5.18",
            marks=before(5, 18),
        ),
        pytest.param(
            "hook_tracing",
            "on_uprobe_s",
            "has no sleepable programs of type BPF_PROG_TYPE_KPROBE, which take Linux 6.0",
            marks=before(6, 0),
        ),
        pytest.param(
            "hook_tracing",
            "on_lsm_cgroup",
            "has no programs for BPF_LSM_CGROUP, which take Linux 6.0",
            marks=before(6, 0),
        ),
        pytest.param(
            "hook_network",
            "on_netfilter",
            "has no programs of type BPF_PROG_TYPE_NETFILTER, which take Linux 6.4 with CONFIG_NETFILTER_BPF_LINK",
            marks=before(6, 4),
        ),
        pytest.param(
            "hook_network",
            "on_cgroup_connect_unix",
            "has no programs for BPF_CGROUP_UNIX_CONNECT, which take Linux 6.7",
            marks=before(6, 7),
        ),
        pytest.param(
            "hook_tracing",
            "on_fsession",
            "has no programs for BPF_TRACE_FSESSION, which take Linux 7.0",
            marks=before(7, 0),
        ),
        pytest.param(
            "hook_tracing",
            "on_fentry_multi",
            "has no programs for BPF_TRACE_FENTRY_MULTI, which take Linux 7.2",
            marks=before(7, 2),
        ),
        pytest.param(
            "hook_tracing",
            "on_raw_tp_s",
            "has no sleepable programs of type BPF_PROG_TYPE_RAW_TRACEPOINT, which take Linux 7.2",
            marks=before(7, 2),
        ),
    ],
)
def test_a_program_that_the_kernel_does_not_know(object, program, said):
    spec = parsed(object)
    for name, each in spec.programs.items():
        each.autoload = name == program
    with pytest.raises(KernelError) as caught:
        spec.load(running_kernel()).close()
    assert str(caught.value).startswith(f"loading program {program!r} (section {spec.programs[program].section!r}): ")
    assert said in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "since"),
    [
        pytest.param(kind, since, marks=before(*since))
        for kind, since in {
            "TASK_STORAGE": (5, 11),
            "BLOOM_FILTER": (5, 16),
            "USER_RINGBUF": (6, 1),
            "CGRP_STORAGE": (6, 2),
            "ARENA": (6, 9),
            "INSN_ARRAY": (6, 19),
            "RHASH": (7, 2),
        }.items()
    ],
)
def test_a_map_that_the_kernel_does_not_know(kind, since):
    """The kernel's answer is E2BIG where it does not know all attributes either."""
    spec = parsed("load_maps")
    spec.maps["counts"].type = bpf_map_type[f"BPF_MAP_TYPE_{kind}"]
    spec.maps["counts"].map_extra = 3
    with pytest.raises(KernelError) as caught:
        spec.load(running_kernel()).close()
    text = str(caught.value)
    assert text.startswith("creating map 'counts': ")
    assert f" has no maps of type BPF_MAP_TYPE_{kind}, which take Linux {since[0]}.{since[1]}" in text
    assert f"It was asked for map_type = BPF_MAP_TYPE_{kind}, key_size = 4" in text


@pytest.mark.parametrize("program", ["on_xdp", "on_socket"])
def test_what_is_rejected_for_other_reasons_lacks_nothing(program):
    """The kernel knows all that was asked for: the program is wrong."""
    spec = parsed("hook_network")
    for name, each in spec.programs.items():
        each.autoload = name == program
    spec.programs[program].insns = bytes([0x95, 0, 0, 0, 0, 0, 0, 0])  # exit, without a value to return
    spec.programs[program].relocations = ()
    with pytest.raises(VerifierError, match="R0 !read_ok") as caught:
        spec.load(running_kernel()).close()
    assert "kernel has no" not in caught.value.hint and "Linux" not in caught.value.hint
