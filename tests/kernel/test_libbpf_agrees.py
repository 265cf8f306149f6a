"""libbpf and purebpf load the same objects, and make the same bpf(2) calls in the same order with the same fields.

What differs, and may:

- libbpf begins each load with a trivial program of its own, to see whether it is permitted to load any;
- libbpf lists the BTF of kernel modules by bpf(2), for types that the kernel proper does not have;
- logs: both ask for the verifier's when a program is refused, in buffers of different sizes, and libbpf for BTF's;
- the size of the attributes: each passes as much of them as it knows;
- addresses: of each pointer that strace does not look behind, only whether it is one.  What is behind them shows in
  what the kernel keeps: function and line records of programs, the values of maps.

File descriptors are compared by the call that returned them.  What libbpf refuses purebpf refuses too, at the same call
or when it plans.
"""

from __future__ import annotations

import platform
import subprocess

import pytest
import traced

from purebpf.abi.bpf import bpf_cmd

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("strace", "cc")]

BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE = 1, 2
LISTING = (bpf_cmd.BPF_BTF_GET_NEXT_ID, bpf_cmd.BPF_BTF_GET_FD_BY_ID, bpf_cmd.BPF_OBJ_GET_INFO_BY_FD)
# What libbpf 1.1 does not load: it has dropped legacy map definitions, and learned these only later.
NOT_LOADED = (
    "legacy map definitions in 'maps' section are not supported",
    "attr 'map_extra': expected PTR, got enum",  # __ulong
    "skipping unrecognized data section(4) .struct_ops.link",
    "exception callback type id not found in func_info",
    "extern (func ksym) 'bpf_rcu_read_lock': func_proto",  # although it is weak
    "missing BPF prog type, check ELF section name '.text'",  # that a function alone there is no program
)
IN_OWN_BPFFS = ["unshare", "-m", "sh", "-c", 'mount -t bpf bpf /sys/fs/bpf && exec "$@"', "sh"]
PINNED = [path for path in traced.OBJECTS if path.name == "mapinit_pinned.bpf.o"]

POINTERS = ("key", "value", "func_info", "line_info", "log_buf", "btf_log_buf", "fd_array")
DESCRIPTORS = (
    "map_fd",
    "btf_fd",
    "inner_map_fd",
    "prog_btf_fd",
    "prog_fd",
    "attach_prog_fd",
    "attach_btf_obj_fd",
    "bpf_fd",
)


@pytest.fixture(scope="module")
def libbpf(tmp_path_factory):
    return traced.libbpf(tmp_path_factory)


def comparable(calls):
    """The calls without what may differ, and with names for file descriptors."""
    names = {}
    calls = [call for call in calls if call.cmd not in LISTING and not asks_for_log(call)]
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
        if call.cmd in (bpf_cmd.BPF_MAP_CREATE, bpf_cmd.BPF_PROG_LOAD, bpf_cmd.BPF_BTF_LOAD, bpf_cmd.BPF_OBJ_GET):
            names[call.result] = f"<result of call {number}, {call.cmd.name}>"
        yield call.cmd.name, fields, call.error


def asks_for_log(call):
    return call.fields.get("log_level") or call.fields.get("btf_log_level")


def with_names(insn, names):
    is_map = insn["code"] == 0x18 and insn["src_reg"] in (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE)
    return insn | {"imm": names[insn["imm"]]} if is_map else insn


def kernel_side(lines):
    """What the loaders print about function and line records, and the content of maps."""
    return [line for line in lines if line.split()[0] in ("functions", "lines", "map")]


@pytest.mark.parametrize("path", traced.OBJECTS, ids=lambda path: path.name)
def test_same_calls(path, libbpf, tmp_path):
    compare(path, libbpf, tmp_path)


def compare(path, libbpf, tmp_path):
    theirs = traced.trace([libbpf, "load", path], tmp_path / "libbpf")
    ours = traced.trace([*traced.PUREBPF, path], tmp_path / "purebpf")
    if not theirs.succeeded and any(reason in theirs.errors for reason in NOT_LOADED):
        return
    assert ours.succeeded == theirs.succeeded, ours.errors
    trial, *their_calls = traced.between_marks(theirs.calls)[0]
    assert (trial.cmd, trial.fields["insn_cnt"]) == (bpf_cmd.BPF_PROG_LOAD, 2)
    our_calls = traced.between_marks(ours.calls)[0]
    if "PlanError" in ours.errors:
        assert not list(comparable(our_calls))
        return

    for our, their in zip(comparable(our_calls), comparable(their_calls), strict=True):
        assert our == their
    assert kernel_side(ours.lines) == kernel_side(theirs.lines)


FIRST = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, int);
	__type(value, long);
} shared SEC(".maps");

int counter = 5;
int hidden_counter __hidden = 6;
static volatile int own = 7;

__attribute__((noinline)) static int same_name(int x) { return x + own; }
__weak __attribute__((noinline)) int overridden(int x) { return same_name(x) + 1000; }
__weak __attribute__((noinline)) int weak_twice(int x) { return x + 1; }
__hidden __attribute__((noinline)) int hidden(struct __sk_buff *skb) { return skb->len + hidden_counter; }

SEC("tc")
int first(struct __sk_buff *skb)
{
	return overridden(skb->len) + weak_twice(3) + hidden(skb) + counter;
}

char LICENSE[] SEC("license") = "GPL";
"""

SECOND = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, int);
	__type(value, long);
} shared SEC(".maps");

extern int counter;
extern int hidden(struct __sk_buff *skb) __hidden;
static volatile int own = 70;

__attribute__((noinline)) static int same_name(int x) { return x * own; }
__attribute__((noinline)) int overridden(int x) { return same_name(x) + 2000; }
__weak __attribute__((noinline)) int weak_twice(int x) { return x + 2; }

SEC("tc")
int second(struct __sk_buff *skb)
{
	int key = 1;
	long *value = bpf_map_lookup_elem(&shared, &key);

	return overridden(skb->len) + weak_twice(3) + hidden(skb) + counter + (value ? *value : 0);
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.needs_tool("clang-19", "bpftool")
def test_same_calls_of_a_linked_object(libbpf, tmp_path):
    """Two source files, linked: static functions of one name, weak and hidden ones, a map and variables of both."""
    headers = f"-I/usr/include/{platform.machine()}-linux-gnu"
    for name, source in (("first", FIRST), ("second", SECOND)):
        (tmp_path / f"{name}.c").write_text(source)
        subprocess.run(
            ["clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", headers, "-c", f"{name}.c", "-o", f"{name}.o"],
            cwd=tmp_path,
            check=True,
        )
    subprocess.run(["bpftool", "gen", "object", "linked.bpf.o", "first.o", "second.o"], cwd=tmp_path, check=True)
    compare(tmp_path / "linked.bpf.o", libbpf, tmp_path)


@pytest.mark.needs_tool("unshare")
@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_same_pins(path, libbpf, tmp_path):
    """With a BPF file system, which only they see: pins are made."""
    theirs = traced.trace([*IN_OWN_BPFFS, libbpf, "load", path], tmp_path / "libbpf")
    ours = traced.trace([*IN_OWN_BPFFS, *traced.PUREBPF, path], tmp_path / "purebpf")
    assert ours.succeeded and theirs.succeeded, ours.errors + theirs.errors
    our_calls, (_, *their_calls) = traced.between_marks(ours.calls)[0], traced.between_marks(theirs.calls)[0]
    assert any(call.cmd == bpf_cmd.BPF_OBJ_PIN for call in our_calls)
    for our, their in zip(comparable(our_calls), comparable(their_calls), strict=True):
        assert our == their


@pytest.mark.needs_tool("unshare")
@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_same_pins_taken(path, libbpf, tmp_path):
    """The pins are there already.  libbpf duplicates the descriptors it takes, so they cannot be compared."""
    theirs = traced.trace([*IN_OWN_BPFFS, libbpf, "again", path], tmp_path / "libbpf")
    ours = traced.trace([*IN_OWN_BPFFS, *traced.PUREBPF, path, "again"], tmp_path / "purebpf")
    assert ours.succeeded and theirs.succeeded, ours.errors + theirs.errors
    our_calls, (_, *their_calls) = traced.between_marks(ours.calls)[0], traced.between_marks(theirs.calls)[0]
    assert not any(call.cmd == bpf_cmd.BPF_OBJ_PIN for call in our_calls)
    our_calls, their_calls = without_descriptors(our_calls), without_descriptors(their_calls)
    for our, their in zip(comparable(our_calls), comparable(their_calls), strict=True):
        assert our == their


def without_descriptors(calls):
    for call in calls:
        for name in DESCRIPTORS:
            call.fields.pop(name, None)
        for insn in call.fields.get("insns", ()):
            if insn["code"] == 0x18:
                insn |= {"src_reg": 0, "imm": 0}
    return calls
