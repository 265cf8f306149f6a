"""Programs bound to the kernel's types: their events arrive, their iterators run, the kernel calls them back."""

from __future__ import annotations

import os
import platform
import socket
import struct
import sys
from pathlib import Path

import pytest
from kernel_state import RELEASE, parsed, running_kernel

from purebpf.abi.attr import bpf_attr_iter_create, bpf_attr_link_create, bpf_attr_raw_tracepoint_open, bpf_prog_info
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd
from purebpf.errors import KernelError
from purebpf.kernel.bpf import bpf, obj_get_info_by_fd
from purebpf.kernel.fd import Fd

pytestmark = pytest.mark.needs_root

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
SCHED_RR_GET_INTERVAL = {"x86_64": 148, "aarch64": 127, "riscv64": 127}  # nobody calls it by chance


@pytest.mark.skipif(platform.machine() not in SCHED_RR_GET_INTERVAL, reason="needs to know a system call's number")
def test_a_typed_tracepoint():
    spec = parsed("target_kernel")
    spec.variables["only_tgid"] = os.getpid()
    spec.variables["system_call"] = SCHED_RR_GET_INTERVAL[platform.machine()]
    with spec.load(running_kernel()) as loaded:
        program = loaded.programs["on_sys_enter"]
        attr = bpf_attr_raw_tracepoint_open(prog_fd=program.fileno())
        with Fd(bpf(bpf_cmd.BPF_RAW_TRACEPOINT_OPEN, attr), "tracepoint link"):
            assert dict(loaded.maps["seen"].items()) == {}
            os.sched_rr_get_interval(0)
            assert dict(loaded.maps["seen"].items()) == {os.getpid(): SCHED_RR_GET_INTERVAL[platform.machine()]}


def test_an_iterator():
    with parsed("target_kernel").load(running_kernel()) as loaded:
        program = loaded.programs["dump_task"]
        attr = bpf_attr_link_create(prog_fd=program.fileno(), attach_type=bpf_attach_type.BPF_TRACE_ITER)
        with Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr), "iterator link") as link:
            created = bpf_attr_iter_create(link_fd=link.fileno())
            iterator = bpf(bpf_cmd.BPF_ITER_CREATE, created)
            with open(iterator) as file:
                tasks = [tuple(map(int, line.split())) for line in file]
    assert (os.getpid(), os.getpid()) in tasks
    assert len(tasks) == len(set(tasks)) > 1


@pytest.mark.needs_kernel("attach_btf_id in bpf_prog_info (Linux 6.0)", RELEASE >= (6, 0))
def test_what_the_kernel_says_they_are_bound_to():
    """attach_btf_id of bpf_prog_info, against the kernel's own BTF."""
    kernel = running_kernel().btf
    with parsed("target_kernel").load(running_kernel()) as loaded:
        bound = {
            name: kernel.type(obj_get_info_by_fd(program.fileno(), bpf_prog_info).attach_btf_id).name
            for name, program in loaded.programs.items()
        }
    assert bound == {
        "on_sys_enter": "btf_trace_sys_enter",
        "dump_task": "bpf_iter_task",
        "dump_task_sleeping": "bpf_iter_task",
    }


def test_a_function_of_another_program():
    """The kernel finds the function by the id that the plan says, whether or not it lets it be replaced here."""
    with parsed("target_replaceable").load(running_kernel()) as target:
        spec = parsed("target_fentry")
        for key, program in spec.programs.items():
            program.autoload = key == "replace"
        spec.programs["replace"].attach_prog_fd = target.programs["calls_it"].fileno()
        plan = spec.plan(running_kernel())
        load = next(command for command in plan if command.cmd == bpf_cmd.BPF_PROG_LOAD)
        types = target.spec.btf
        assert types.type(load.fields["attach_btf_id"]).name == "replaceable"
        try:
            spec.load(running_kernel()).close()
        except KernelError as error:
            assert "replace" in str(error)


def congestion_controls():
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def has_tcp_struct_ops():
    btf = Path("/sys/kernel/btf/vmlinux")
    return btf.exists() and b"\0bpf_struct_ops_tcp_congestion_ops\0" in btf.read_bytes()


needs_tcp_struct_ops = pytest.mark.needs_kernel("struct_ops of TCP (Linux 5.6)", has_tcp_struct_ops)


@needs_tcp_struct_ops
def test_struct_ops():
    """The value, put into the map, registers the congestion control; removing it takes it away again."""
    before = congestion_controls()
    with parsed("mapinit_struct_ops").load(running_kernel()) as loaded:
        assert congestion_controls() == before
        for key, name in (("congestion", "purebpf_test"), ("congestion_too", "purebpf_too")):
            ops = loaded.maps[key]
            ops[bytes(4)] = loaded.struct_ops[key]
            try:
                assert set(congestion_controls()) - set(before) == {name}
                assert name.encode() in ops[bytes(4)]
            finally:
                del ops[bytes(4)]
            assert congestion_controls() == before


@needs_tcp_struct_ops
def test_struct_ops_are_called():
    """A connection is made with the congestion control, and data goes through."""
    with parsed("mapinit_struct_ops").load(running_kernel()) as loaded:
        ops = loaded.maps["congestion"]
        ops[bytes(4)] = loaded.struct_ops["congestion"]
        try:
            with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"purebpf_test")
                client.connect(server.getsockname())
                with server.accept()[0] as other:
                    client.sendall(b"x" * 10000)
                    assert len(other.recv(10000, socket.MSG_WAITALL)) == 10000
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).startswith(b"purebpf_test")
        finally:
            del ops[bytes(4)]


@needs_tcp_struct_ops
@pytest.mark.needs_kernel("struct_ops registered by a link (Linux 6.4)", RELEASE >= (6, 4))
def test_struct_ops_by_link():
    """The value waits in the map, and a link registers it."""
    with parsed("mapinit_struct_ops_link").load(running_kernel()) as loaded:
        ops = loaded.maps["by_link"]
        before = congestion_controls()
        ops[bytes(4)] = loaded.struct_ops["by_link"]
        assert congestion_controls() == before
        attr = bpf_attr_link_create(attach_type=bpf_attach_type.BPF_STRUCT_OPS)
        attr.map_fd = ops.fileno()
        with Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr), "struct_ops link"):
            assert set(congestion_controls()) - set(before) == {"purebpf_link"}


def test_descriptors_of_programs_in_the_value():
    with parsed("mapinit_struct_ops").load(running_kernel()) as loaded:
        descriptors = {program.fileno() for program in loaded.programs.values()}
        words = struct.unpack(f"{len(loaded.struct_ops['congestion']) // 8}Q", loaded.struct_ops["congestion"])
        assert descriptors <= set(words)
        assert sys.byteorder == loaded.spec.byteorder
