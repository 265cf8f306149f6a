"""libbpf and purebpf load the same objects, and make the same bpf(2) calls in the same order with the same fields.

What differs, and may:

- libbpf begins each load with a trivial program of its own, to see whether it is permitted to load any;
- libbpf lists the BTF of kernel modules by bpf(2), for types that the kernel proper does not have;
- the verifier's log: both ask for it when a program is refused, in buffers of different sizes;
- the size of the attributes: each passes as much of them as it knows;
- addresses: of each pointer that strace does not look behind, only whether it is one.  What is behind them shows in
  what the kernel keeps: function and line records of programs, the values of maps.

File descriptors are compared by the call that returned them.  What libbpf refuses purebpf refuses too, at the same call
or when it plans.
"""

from __future__ import annotations

import pytest
import traced

from purebpf.abi.bpf import bpf_cmd

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("strace", "cc")]

BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE = 1, 2
LISTING = (bpf_cmd.BPF_BTF_GET_NEXT_ID, bpf_cmd.BPF_BTF_GET_FD_BY_ID, bpf_cmd.BPF_OBJ_GET_INFO_BY_FD)
# What libbpf 1.1 does not open: it has dropped legacy map definitions, and does not know __ulong yet.
NOT_OPENED = ("legacy map definitions in 'maps' section are not supported", "attr 'map_extra': expected PTR, got enum")

POINTERS = ("key", "value", "func_info", "line_info", "log_buf", "btf_log_buf", "fd_array")
DESCRIPTORS = ("map_fd", "btf_fd", "inner_map_fd", "prog_btf_fd", "prog_fd", "attach_prog_fd", "attach_btf_obj_fd")


@pytest.fixture(scope="module")
def libbpf(tmp_path_factory):
    return traced.libbpf(tmp_path_factory)


def comparable(calls):
    """The calls without what may differ, and with names for file descriptors."""
    names = {}
    calls = [call for call in calls if call.cmd not in LISTING and not call.fields.get("log_level")]
    for number, call in enumerate(calls, 1):
        fields = {}
        for name, value in call.fields.items():
            if name in DESCRIPTORS:
                value = names.get(value, value)
            elif name in POINTERS:
                value = bool(value)
            elif name == "insns":
                value = [with_names(insn, names) for insn in value]
            if value:  # libbpf passes fewer fields; those it leaves out are zero
                fields[name] = value
        if call.cmd in (bpf_cmd.BPF_MAP_CREATE, bpf_cmd.BPF_PROG_LOAD, bpf_cmd.BPF_BTF_LOAD):
            names[call.result] = f"<result of call {number}, {call.cmd.name}>"
        yield call.cmd.name, fields, call.error


def with_names(insn, names):
    is_map = insn["code"] == 0x18 and insn["src_reg"] in (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE)
    return insn | {"imm": names[insn["imm"]]} if is_map else insn


def kernel_side(lines):
    """What the loaders print about function and line records, and the content of maps."""
    return [line for line in lines if line.split()[0] in ("functions", "lines", "map")]


@pytest.mark.parametrize("path", traced.OBJECTS, ids=lambda path: path.name)
def test_same_calls(path, libbpf, tmp_path):
    theirs = traced.trace([libbpf, "load", path], tmp_path / "libbpf")
    ours = traced.trace([*traced.PUREBPF, path], tmp_path / "purebpf")
    if not theirs.succeeded and any(reason in theirs.errors for reason in NOT_OPENED):
        return
    assert ours.succeeded == theirs.succeeded, ours.errors
    trial, *their_calls = traced.between_marks(theirs.calls)[0]
    assert (trial.cmd, trial.fields["insn_cnt"]) == (bpf_cmd.BPF_PROG_LOAD, 2)
    our_calls = traced.between_marks(ours.calls)[0]
    if not our_calls:
        assert "PlanError" in ours.errors
        return

    for our, their in zip(comparable(our_calls), comparable(their_calls), strict=True):
        assert our == their
    assert kernel_side(ours.lines) == kernel_side(theirs.lines)
