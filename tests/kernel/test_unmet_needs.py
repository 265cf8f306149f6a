"""Programs that need what the kernel does not have: the verifier refuses them, and the error says what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import purebpf
from purebpf.errors import PlanError, VerifierError

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
SOURCE = OBJECTS / "core_unmet.bpf.c"

pytestmark = pytest.mark.needs_root


def refusal(program):
    spec = purebpf.parse(OBJECTS / "core_unmet.bpf.o")
    for name, each in spec.programs.items():
        each.autoload = name == program
    with pytest.raises(VerifierError) as caught:
        spec.load().close()
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
            r"^extern 'CONFIG_THAT_DOES_NOT_EXIST' is (not in|a value of .* cannot be had:) .*/(boot|proc)/",
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
    spec = purebpf.parse(OBJECTS / f"{name}.bpf.o")
    for program in spec.programs.values():
        program.autoload = program.name != "writable"  # of a section that no loader knows
    with pytest.raises(PlanError, match=message):
        spec.load().close()
