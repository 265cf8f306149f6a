"""purebpf.obj.sections against libbpf: the same section names, and the same types by them."""

from __future__ import annotations

import pytest
from elf_image import SHF_EXECINSTR, STB_GLOBAL, STT_FUNC, STT_OBJECT, build
from libbpf_view import Libbpf

import purebpf
from purebpf.abi.bpf import bpf_attach_type, bpf_prog_flags, bpf_prog_type
from purebpf.obj import sections

EXIT = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
FACTS = purebpf.KernelFacts.offline(release="6.1.0")

TARGETS = ["", "/", "/target", "/a/b", "//usr/lib/libc.so:malloc", ".s", ".s/target", "+", "x", "/x+"]


@pytest.fixture(scope="module")
def libbpf(tmp_path_factory):
    return Libbpf(tmp_path_factory.mktemp("libbpf"))


@pytest.mark.needs_tool("cc")
def test_types(libbpf):
    """All names that this libbpf knows, with all sorts of endings.  What only later versions know comes on top."""
    known = {name.rstrip("+") for name in libbpf.section_names()}
    assert len(known) > 80
    newer = {row.name.rstrip("+") for row in sections.SECTIONS} - known
    asked = [name + ending for name in sorted(known) for ending in TARGETS]
    for name, types in libbpf.sections(asked).items():
        found = sections.find(name)
        if found is not None and found.name.rstrip("+") in newer:
            continue
        assert (name, types) == (name, (found.type, found.attach_type) if found else None)


def test_flags():
    """What libbpf sets beside the types shows only on load; but the names say it."""
    for row in sections.SECTIONS:
        stem = row.name.rstrip("+")
        sleepable = stem == "syscall" or ".s" in stem.replace(".session", "")
        assert (row.prog_flags & bpf_prog_flags.BPF_F_SLEEPABLE != 0) == sleepable
        assert (row.prog_flags & bpf_prog_flags.BPF_F_XDP_HAS_FRAGS != 0) == stem.startswith("xdp.frags")


@pytest.mark.parametrize(
    ("section", "type", "attach_type", "flags", "attach_to"),
    [
        ("tracepoint/sched/sched_switch", "TRACEPOINT", 0, 0, "sched/sched_switch"),
        ("tp/sched/sched_switch", "TRACEPOINT", 0, 0, "sched/sched_switch"),
        ("tp", "TRACEPOINT", 0, 0, ""),
        ("kprobe/do_unlinkat", "KPROBE", 0, 0, "do_unlinkat"),
        ("uretprobe.s//bin/bash:readline", "KPROBE", 0, bpf_prog_flags.BPF_F_SLEEPABLE, "/bin/bash:readline"),
        ("xdp", "XDP", bpf_attach_type.BPF_XDP, 0, ""),
        (
            "xdp.frags/cpumap",
            "XDP",
            bpf_attach_type.BPF_XDP_CPUMAP,
            bpf_prog_flags.BPF_F_XDP_HAS_FRAGS,
            "",
        ),
        ("tc", "SCHED_CLS", 0, 0, ""),
        ("tcx/ingress", "SCHED_CLS", bpf_attach_type.BPF_TCX_INGRESS, 0, ""),
        ("cgroup/connect6", "CGROUP_SOCK_ADDR", bpf_attach_type.BPF_CGROUP_INET6_CONNECT, 0, ""),
        ("sk_reuseport/migrate", "SK_REUSEPORT", bpf_attach_type.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE, 0, ""),
    ],
)
def test_program(section, type, attach_type, flags, attach_to):
    for prefix in ("", "?"):
        program = parse(prefix + section).programs["prog"]
        assert program.type == bpf_prog_type[f"BPF_PROG_TYPE_{type}"]
        assert (program.expected_attach_type, program.prog_flags, program.attach_to) == (attach_type, flags, attach_to)
        assert (program.section, program.autoload) == (prefix + section, prefix == "")


@pytest.mark.parametrize(
    ("section", "nearest"),
    [
        ("tracepont/sched/sched_switch", "tracepoint/sched/sched_switch"),
        ("tracepoints/sched/sched_switch", "tracepoint/sched/sched_switch"),
        ("Tracepoint/sched/x", "tracepoint/sched/x"),
        ("trace_point/sched/x", "tracepoint/sched/x"),
        ("kprobes/vfs_read", "kprobe/vfs_read"),
        ("raw_tracepiont/sched_switch", "raw_tracepoint/sched_switch"),
        ("cgroup/conect4", "cgroup/connect4"),
        ("XDP", "xdp"),
        ("sockop", "sockops"),
        ("tc/ingres", "tc/ingress"),
        ("fentry.sleep/vfs_read", "fentry.s/vfs_read"),
    ],
)
def test_unknown_section(section, nearest):
    """Such a program can be parsed and given a type, but not loaded as it is."""
    assert sections.find(section) is None
    for prefix in ("", "?"):
        spec = parse(prefix + section)
        assert spec.programs["prog"].type == bpf_prog_type.BPF_PROG_TYPE_UNSPEC
        spec.programs["prog"].autoload = True
        with pytest.raises(purebpf.PlanError) as error:
            spec.plan(FACTS)
        assert str(error.value) == (
            f"program 'prog': no program type is known by the section name '{prefix}{section}'; the nearest is "
            f"'{nearest}'. Rename the section, or set the program's type before loading"
        )
        spec.programs["prog"].type = bpf_prog_type.BPF_PROG_TYPE_SOCKET_FILTER
        assert "prog_type = BPF_PROG_TYPE_SOCKET_FILTER" in str(spec.plan(FACTS))


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("xdp_drop", "xdp"),
        ("xdp/ingress", "xdp"),
        ("xdp_devmap/one", "xdp/devmap"),
        ("xdp_cpumap/one", "xdp/cpumap"),
        ("classifier/ingress", "classifier"),
        ("action-mark", "action"),
        ("socket1", "socket"),
        ("sockops2", "sockops"),
        ("sk_skb/stream_verdict2", "sk_skb/stream_verdict"),
        ("sk_skb1", "sk_skb"),
        ("cgroup/sock1", "cgroup/sock"),
        ("cgroup/skb1", "cgroup/skb"),
        ("cgroup_skb/egress/x", "cgroup_skb/egress"),
        ("lwt_xmit_push", "lwt_xmit"),
        ("perf_event/cycles", "perf_event"),
        ("kprobe/vfs_read", "kprobe+"),
        ("xdp.frags", "xdp.frags"),
    ],
)
def test_names_of_the_time_of_legacy_maps(section, row):
    """With libbpf before 1.0 the names of most kinds without a target were prefixes."""
    assert sections.find_legacy(section).name == row
    code = [(section, EXIT, {"flags": SHF_EXECINSTR}), ("maps", bytes(20), {})]
    functions = [("prog", 1, 0, len(EXIT), STT_FUNC, STB_GLOBAL), ("map", 2, 0, 20, STT_OBJECT, STB_GLOBAL)]
    program = purebpf.parse(build(code, functions)).programs["prog"]
    assert program.definition.name == row


@pytest.mark.parametrize("section", ["tcp", "tc_ingress", "syscalls", "kprobes/x", "netfilter1", "XDP"])
def test_names_that_never_were_prefixes(section):
    assert sections.find_legacy(section) is None


@pytest.mark.parametrize("section", ["", "?", "/", "\\xff", "x" * 4000, "?" * 100])
def test_nonsense_for_a_name(section):
    with pytest.raises(purebpf.PlanError, match="no program type is known by the section name") as error:
        spec = parse(section)
        spec.programs["prog"].autoload = True
        spec.plan(FACTS)
    assert repr(section) in str(error.value)


def parse(section):
    """An object with one program in a section of that name."""
    code = [(section, EXIT, {"flags": SHF_EXECINSTR})]
    return purebpf.parse(build(code, [("prog", 1, 0, len(EXIT), STT_FUNC, STB_GLOBAL)]))
