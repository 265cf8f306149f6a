"""What strace sees of a load is what its plan says: the same commands in the same order, and in each the same fields.

A field that the plan does not name must be zero.  A file descriptor must be the one that an earlier call returned for
the handle that stands in the plan, in the instructions too.
"""

from __future__ import annotations

import json
import struct

import pytest
import traced

import purebpf
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_prog_type

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("strace")]

# Both tell the kernel nothing that it would not know otherwise: strace names them, but not what is behind them.
POINTERS = ("key", "value", "func_info", "line_info")
PREBUILT = sorted(traced.HERE.parent.glob("prebuilt/*.bpf.o"))
# Those of which all programs are for tracepoints, so that attaching them is the same for all.
ATTACHED = [
    path
    for path in PREBUILT
    if {program.type for program in purebpf.parse(path).programs.values()} == {bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT}
]
# One is rejected when it is loaded.
LOADED = [path for path in sorted(traced.HERE.glob("objects/load_*.bpf.o")) if "no_license" not in path.name]
LOADED += [path for path in PREBUILT if path not in ATTACHED]


def load(path, tmp_path, *options):
    """(the calls of the load, the calls after it, the plan's commands, the plan as text)."""
    run = traced.trace([*traced.PUREBPF, path, *options], tmp_path / "trace")
    assert run.succeeded, run.errors
    printed = dict(line.split(" ", 1) for line in run.lines if line.startswith(("plan ", "text ")))
    return *traced.between_marks(run.calls), json.loads(printed["plan"]), json.loads(printed["text"])


def check_call(call, command, fields, opened):
    """That a call is what the command says; ``opened`` are the descriptors by handle."""
    assert call.cmd.name == command["cmd"]
    if call.cmd == bpf_cmd.BPF_PROG_BIND_MAP:  # strace prints an address only
        return
    named = {name: expected(value, opened) for name, value in fields.items()}
    for name, value in call.fields.items():
        if name == "insns":
            value = traced.code(value)
        if name in POINTERS and name in named:
            assert value != 0
        elif isinstance(value, bytes):
            assert value == named.pop(name, b""), name
        else:
            assert value == named.pop(name, 0), name
    # The rest strace does not print; numa_node only if a flag says that it counts.
    assert set(named) <= {*POINTERS, "numa_node"}


def expected(value, opened):
    """A field of the plan as strace shows it."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        return value
    if "handle" in value:
        return opened[value["handle"]]
    if "bytes" in value:
        return bytes.fromhex(value["bytes"])
    insns = bytearray.fromhex(value["code"])
    for slot, handle in value["handles"]:
        struct.pack_into("=i", insns, slot * 8 + 4, opened[handle])
    return bytes(insns)


def check_load(calls, commands):
    opened = {}
    calls = iter(calls)
    for command in commands:
        call = next(calls)
        check_call(call, command, command["fields"], opened)
        if call.result < 0:
            assert command["retry_without_btf"]
            call = next(calls)
            check_call(call, command, command["without_btf"], opened)
        assert call.result >= 0
        if command["creates"]:
            opened[command["creates"]] = call.result
    assert next(calls, None) is None
    return opened


def check_text(text, commands):
    """Each command, and each of its fields, stands in the text, in this order."""
    lines = iter(text.splitlines())
    for number, command in enumerate(commands, 1):
        assert any(line.startswith(f"{number}. bpf({command['cmd']})") for line in lines)
        for name, value in command["fields"].items():
            line = next(line for line in lines if line.startswith(f"    {name} = "))
            shown = line.partition(" = ")[2]
            if isinstance(value, str):
                assert shown == f'"{value}"'
            elif isinstance(value, int):
                assert shown == str(value) or shown.isidentifier() or "|" in shown
            elif "handle" in value:
                assert shown == value["handle"]
    assert not any("bpf(" in line for line in lines)


@pytest.mark.parametrize("path", LOADED, ids=lambda path: path.name)
def test_load(path, tmp_path):
    calls, _, commands, text = load(path, tmp_path)
    check_load(calls, commands)
    check_text(text, commands)


@pytest.mark.parametrize("path", ATTACHED, ids=lambda path: path.name)
def test_load_and_attach(path, tmp_path):
    calls, after, commands, text = load(path, tmp_path, "attach")
    opened = check_load(calls, commands)
    check_text(text, commands)

    # Each program that says where is linked to a perf event of its own, in the plan's order.
    events = [call.result for call in after if call.name == "perf_event_open"]
    links = [
        call.fields["link_create"]
        for call in after
        if call.name == "bpf" and call.cmd == bpf_cmd.BPF_LINK_CREATE and call.result >= 0
    ]
    programs = [fd for handle, fd in opened.items() if handle.startswith("<prog ")]
    assert events
    if links:  # Linux 5.15
        linked = [link["prog_fd"] for link in links]
        assert linked == [fd for fd in programs if fd in linked]
        assert [link["target_fd"] for link in links] == events
        assert {link["attach_type"] for link in links} == {bpf_attach_type.BPF_PERF_EVENT}


@pytest.mark.parametrize("path", [path for path in LOADED if "variables" in path.name], ids=lambda path: path.name)
def test_values_behind_the_pointers(path, tmp_path):
    """What strace does not look behind the kernel shows: the maps' values, the function and line records."""
    run = traced.trace([*traced.PUREBPF, path], tmp_path / "trace")
    commands = json.loads(next(line for line in run.lines if line.startswith("plan "))[5:])
    filled = [command["fields"]["value"]["bytes"] for command in commands if command["cmd"] == "BPF_MAP_UPDATE_ELEM"]
    assert [line.split()[2] for line in run.lines if line.startswith("map ")] == filled
    loads = [command["fields"] for command in commands if command["cmd"] == "BPF_PROG_LOAD"]
    assert [line.split()[2] for line in run.lines if line.startswith("functions ")] == [
        fields["func_info"]["bytes"] for fields in loads
    ]
