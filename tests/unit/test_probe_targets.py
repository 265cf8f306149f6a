"""What the names of sections say about tracepoints and probes, and what the names of system calls' functions are."""

from __future__ import annotations

import pytest

from purebpf.errors import AttachError
from purebpf.kernel import config, features
from purebpf.kernel.kallsyms import Kallsyms
from purebpf.links import kprobe, kprobe_multi, tracepoint, uprobe, uprobe_multi, usdt
from purebpf.links.probe import split_offset


@pytest.mark.parametrize(
    ("module", "target", "expected"),
    [
        (tracepoint, "sched/sched_switch", ("sched", "sched_switch")),
        (kprobe, "do_nanosleep", ("do_nanosleep", 0)),
        (kprobe, "do_nanosleep+16", ("do_nanosleep", 16)),
        (kprobe, "do_nanosleep+0x10", ("do_nanosleep", 16)),
        (kprobe, "do_nanosleep+020", ("do_nanosleep", 16)),
        (kprobe, "f.constprop.0+0", ("f.constprop.0", 0)),
        (kprobe_multi, "tcp_*", "tcp_*"),
        (kprobe_multi, "tcp_v?_rcv.isra.0", "tcp_v?_rcv.isra.0"),
        (uprobe, "/usr/bin/bash:readline", ("/usr/bin/bash", "readline", 0)),
        (uprobe, "libc.so.6:malloc+0x8", ("libc.so.6", "malloc", 8)),
        (uprobe, "a:operator+", ("a", "operator+", 0)),
        (uprobe, "a:f::g@V+1", ("a", "f::g@V", 1)),
        (uprobe_multi, "libc.so.6:mem*", ("libc.so.6", "mem*")),
        (uprobe_multi, "a:b:c?", ("a", "b:c?")),
        (usdt, "/a/b:provider:name", ("/a/b", "provider", "name")),
    ],
)
def test_targets(module, target, expected):
    assert module.parse(target) == expected


@pytest.mark.parametrize(
    ("module", "target"),
    [
        *((tracepoint, target) for target in ("sched", "sched/", "/sched_switch", "")),
        *((kprobe, target) for target in ("", "a b", "f+", "f+0x", "f+1+2", "f-1", "+1", "f+09")),
        *((kprobe_multi, target) for target in ("", "tcp *", "tcp_[ab]", "a+1")),
        *((uprobe, target) for target in ("", "a", "a:", ":f", "a:+1")),
        *((uprobe_multi, target) for target in ("", "a", "a:", ":f*")),
        *((usdt, target) for target in ("", "a:b", "a:b:", ":b:c", "a:b:c:d")),
    ],
)
def test_targets_that_say_nothing(module, target):
    with pytest.raises(AttachError, match="the section should read"):
        module.parse(target)


def test_offsets():
    assert split_offset("f+0") == ("f", 0)
    assert split_offset("a+b+0x1F") == ("a+b", 31)
    assert split_offset("f") == ("f", 0)
    assert split_offset("f+x") == ("f+x", 0)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "__x64_sys_read"),
        ("i386", "__ia32_sys_read"),
        ("aarch64", "__arm64_sys_read"),
        ("s390x", "__s390x_sys_read"),
    ],
)
def test_functions_of_system_calls(machine, expected, monkeypatch):
    monkeypatch.setattr(features, "machine", lambda: machine)
    assert features.syscall_function("read", wrapper=True) == expected
    assert features.syscall_function("read", wrapper=False) == "__se_sys_read"


def test_functions_among_the_kernels_symbols():
    symbols = Kallsyms(
        b"ffffffff81000010 T do_nanosleep\n"
        b"ffffffff81000020 t tcp_rcv.llvm.123\n"
        b"ffffffff81000030 D do_nanosleeq\n"
        b"ffffffff81000040 t tcp_send\t[module]\n"
        b"ffffffff81000050 t tcp_send\n",
        "a list",
    )
    assert symbols.near_function("do_nanoslep") == ["do_nanosleep"]
    assert symbols.addresses_of_functions({"tcp_rcv", "tcp_send"}) == [
        0xFFFFFFFF81000020,
        0xFFFFFFFF81000040,
        0xFFFFFFFF81000050,
    ]
    assert symbols.addresses_of_functions({"do_nanosleeq"}) == []


def test_what_a_kernel_was_built_without(monkeypatch):
    monkeypatch.setattr(config, "running_config", lambda: config.read_config(b"CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\n"))
    assert "built without CONFIG_C and CONFIG_D" in config.built_without("CONFIG_A", "CONFIG_C", "CONFIG_D")
    assert config.built_without("CONFIG_A", "CONFIG_B") == ""
