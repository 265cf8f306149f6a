"""What the kernel has, by purebpf and by bpftool, by the kernel's own types and by its functions."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys

import pytest

from purebpf import KernelError, features
from purebpf.cli.main import main

pytestmark = pytest.mark.needs_root


@pytest.fixture(scope="module")
def bpftool():
    """What bpftool finds: by section."""
    run = subprocess.run(["bpftool", "-j", "feature", "probe", "kernel"], stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def ask(question, *about):
    """The answer, or None where the kernel answers EPERM; bpftool says "no" then."""
    try:
        return question(*about)
    except KernelError as error:
        if error.errno != 1:
            raise
        return None


def named(answers, suffix):
    return {name.removeprefix("have_").removesuffix(suffix): known for name, known in answers.items()}


@pytest.mark.needs_tool("bpftool")
def test_program_types(bpftool):
    theirs = named(bpftool["program_types"], "_prog_type")
    ours = {name: ask(features.has_program_type, name) for name in theirs}
    assert {name: bool(known) for name, known in ours.items()} == theirs
    assert {name for name, known in ours.items() if known is None} <= {"tracing", "ext", "lsm"}


@pytest.mark.needs_tool("bpftool")
def test_map_types(bpftool):
    theirs = named(bpftool["map_types"], "_map_type")
    assert {name: features.has_map_type(name) for name in theirs} == theirs


@pytest.mark.needs_tool("bpftool")
def test_instructions(bpftool):
    ours = {
        "have_large_insn_limit": features.has_large_programs(),
        "have_bounded_loops": features.has_bounded_loops(),
        **{f"have_v{version}_isa_extension": features.has_instruction_set(version) for version in (2, 3, 4)},
    }
    theirs = bpftool["misc"]
    assert {name: ours[name] for name in theirs} == theirs
    assert features.has_instruction_set(1)


@pytest.mark.needs_tool("bpftool")
def test_helpers(bpftool):
    if "bpf_xdp_adjust_head" in bpftool["helpers"]["socket_filter_available_helpers"]:
        pytest.skip("needs a kernel with a verifier that this bpftool understands: it takes each helper for available")
    step = 3 if "PUREBPF_ROUNDS" in os.environ else 1  # where time is short, each helper for a third of the types
    for start, (section, theirs) in zip(itertools.cycle(range(step)), bpftool["helpers"].items()):
        program_type = section.removesuffix("_available_helpers")
        if program_type in ("tracing", "ext", "lsm", "struct_ops"):
            assert theirs == []
            continue
        asked = [name for name in features.HELPERS if name not in features.NOISY_HELPERS][start::step]
        ours = {f"bpf_{name}" for name in asked if features.has_helper(program_type, name)}
        assert ours == set(theirs) & {f"bpf_{name}" for name in asked}, program_type


# Of attaching bpftool says nothing. But the kernel's types tell which attach types it knows, and its functions which of
# them were compiled in.

NEEDS_FUNCTION = {
    "kprobe": "perf_kprobe_init",
    "uprobe": "perf_uprobe_init",
    "lirc_mode2": "lirc_prog_attach",
    "lsm_mac": "bpf_lsm_verify_prog",
    "lsm_cgroup": "bpf_lsm_verify_prog",
    "netfilter": "bpf_nf_link_attach",
    "netkit_peer": "netkit_prog_attach",
    "netkit_primary": "netkit_prog_attach",
    "tcx_egress": "tcx_prog_attach",
    "tcx_ingress": "tcx_prog_attach",
    "trace_kprobe_multi": "kprobe_multi_link_handler",
    "trace_kprobe_session": "kprobe_multi_link_handler",
    "trace_uprobe_multi": "uprobe_multi_link_handler",
    "trace_uprobe_session": "uprobe_multi_link_handler",
}


@pytest.fixture(scope="module")
def attach_kinds():
    """The ways to attach that this kernel has, by its own types and symbols."""
    dump = subprocess.run(
        ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"], stdout=subprocess.PIPE, text=True, check=True
    )
    (members,) = re.findall(r"ENUM 'bpf_attach_type'.*\n((?:\t.*\n)*)", dump.stdout)
    known = {name.lower() for name in re.findall(r"'BPF_(\w+)'", members)} | {"kprobe", "uprobe"}
    with open("/proc/kallsyms") as file:
        functions = {line.split()[2] for line in file}
    return {name for name in known if NEEDS_FUNCTION.get(name, "_text") in functions}


@pytest.mark.needs_tool("bpftool")
@pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="needs a kernel with BTF")
def test_attach_kinds(attach_kinds, bpftool):
    ours = {name: ask(features.has_attach_kind, name) for name in features.ATTACH_KINDS}
    assert attach_kinds <= ours.keys()
    assert {name for name, known in ours.items() if known or known is None} == attach_kinds
    if not bpftool["program_types"]["have_tracing_prog_type"]:  # refused with EPERM
        return
    assert None not in ours.values()


def test_nothing_stays_behind():
    code = """if True:
        import os
        from purebpf import features
        before = os.listdir("/proc/self/fd")
        for name in features.PROGRAM_TYPES + features.MAP_TYPES + features.ATTACH_KINDS:
            for question in (features.has_program_type, features.has_map_type, features.has_attach_kind):
                try:
                    question(name)
                except (ValueError, OSError):
                    continue
        assert os.listdir("/proc/self/fd") == before
    """
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.any_kernel
def test_the_command(capsys, monkeypatch):
    monkeypatch.setattr(features, "PROGRAM_TYPES", ("kprobe", "xdp", "lirc_mode2", "struct_ops"))
    assert main(["features", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert list(answers) == [
        *("program_types", "map_types", "attach_kinds", "instruction_sets"),
        *("large_programs", "bounded_loops", "helpers"),
    ]
    assert answers["map_types"] == {name: features.has_map_type(name) for name in features.MAP_TYPES}
    assert answers["helpers"]["xdp"] == [
        name for name in features.HELPERS if features.has_helper("xdp", name) and name not in features.NOISY_HELPERS
    ]
    assert answers["helpers"]["struct_ops"] is None or not answers["program_types"]["struct_ops"]
    assert set(answers["helpers"]) == {name for name, known in answers["program_types"].items() if known}

    assert main(["features"]) == 0
    text = capsys.readouterr().out
    sections = dict(part.split("\n", 1) for part in text.split("\n\n"))
    yes = re.search(r"  yes +((?:.|\n {20})*)", sections["Map types"])[1].split()
    assert yes == [name for name, known in answers["map_types"].items() if known]
    assert all(len(line) <= 120 for line in text.splitlines())


def test_without_capabilities_there_is_no_answer():
    code = """if True:
        import os
        from purebpf import KernelError, features
        os.setresuid(65534, 65534, 65534)
        for question in (features.has_large_programs, lambda: features.has_map_type("hash")):
            try:
                print(question())
            except KernelError as error:
                print(error)
    """
    run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    for line in run.stdout.splitlines():
        assert "Operation not permitted (EPERM). bpf needs CAP_BPF and CAP_PERFMON" in line
    assert run.stdout.count("\n") == 2
