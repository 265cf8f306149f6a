"""Raw and typed tracepoints, iterators, programs run on request, and what all bpf links can do."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import network
import pytest
from kernel_state import (
    RELEASE,
    THREADS,
    attach_and_detach,
    bpftool,
    eventually,
    id_of,
    nothing_left,
    parsed,
    running_kernel,
)
from network import cgroup, namespace
from triggers import system_call

import purebpf
from purebpf.abi.bpf import bpf_link_type, bpf_test_run_flags
from purebpf.links import info

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
SCHED_RR_GET_INTERVAL = {"x86_64": 148, "aarch64": 127, "riscv64": 127}  # nobody calls it by chance
SLOTS = ["RAW", "RAW_COOKIE", "TYPED", "TYPED_COOKIE", "SYSCALL"]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(platform.machine() not in SCHED_RR_GET_INTERVAL, reason="needs to know a system call's number"),
]
needs_raw_cookies = pytest.mark.needs_kernel("cookies of raw tracepoints (Linux 6.10)", RELEASE >= (6, 10))


@contextlib.contextmanager
def loaded(*names, object_name="link_typed"):
    """The object with only these of its programs."""
    spec = parsed(object_name)
    spec.variables["only_tgid"] = os.getpid()
    if "system_call" in spec.variables:
        spec.variables["system_call"] = SCHED_RR_GET_INTERVAL[platform.machine()]
    for name, program in spec.programs.items():
        program.autoload = name in names
    with spec.load(running_kernel()) as bpf:
        yield bpf


def hits(bpf, slot):
    return bpf.maps["hits"][SLOTS.index(slot)]


class TestTracepoints:
    def test_raw(self):
        with loaded("raw") as bpf, bpf.programs["raw"].attach_raw_tracepoint("sys_enter") as link:
            system_call()
            assert hits(bpf, "RAW") == 1
            link.close()
            link.close()
            system_call()
            assert hits(bpf, "RAW") == 1
            assert link.closed and "closed" in repr(link)

    @needs_raw_cookies
    def test_a_cookie(self):
        with loaded("raw_cookie") as bpf, bpf.programs["raw_cookie"].attach_raw_tracepoint("sys_enter", cookie=1000):
            system_call()
            system_call()
            assert hits(bpf, "RAW_COOKIE") == 2000

    @pytest.mark.needs_kernel("no cookies of raw tracepoints", RELEASE < (6, 10))
    def test_no_cookie(self):
        with loaded("raw") as bpf, pytest.raises(purebpf.KernelError, match=r"Linux 6\.10"):
            bpf.programs["raw"].attach_raw_tracepoint("sys_enter", cookie=1000)

    def test_what_a_writable_one_writes(self):
        with loaded("writes", "swap") as bpf:
            bpf.programs["swap"].run(data=bytes(64))
            with bpf.programs["writes"].attach():
                with pytest.raises(purebpf.KernelError) as error:
                    bpf.programs["swap"].run(data=bytes(64))
                assert error.value.errno == errno.ERESTART
            bpf.programs["swap"].run(data=bytes(64))

    def test_typed(self):
        with loaded("typed") as bpf:
            assert [link.kind for link in bpf.attach()] == ["tp_btf"]
            system_call()
            assert hits(bpf, "TYPED") == 1
            bpf.detach()
            system_call()
            assert hits(bpf, "TYPED") == 1

    @needs_raw_cookies
    def test_a_cookie_of_a_typed_one(self):
        with loaded("typed_cookie") as bpf, bpf.programs["typed_cookie"].attach_tracing(cookie=500):
            system_call()
            assert hits(bpf, "TYPED_COOKIE") == 500

    def test_no_such_tracepoint(self):
        with loaded("nowhere") as bpf:
            with pytest.raises(purebpf.AttachError, match="no tracepoint 'no_such_tracepoint_enter'"):
                bpf.programs["nowhere"].attach()
            with pytest.raises(purebpf.AttachError, match="did you mean sched_switch"):
                bpf.programs["nowhere"].attach_raw_tracepoint("sched_swich")

    def test_a_program_of_another_type(self):
        with loaded("mark") as bpf, pytest.raises(purebpf.KernelError, match="this one is of type BPF_PROG_TYPE_"):
            bpf.programs["mark"].attach_raw_tracepoint("sys_enter")


class TestIterators:
    def test_tasks(self):
        with loaded("tasks") as bpf, bpf.programs["tasks"].attach() as link:
            rows = [tuple(map(int, line.split())) for line in link.read().splitlines()]
            assert (os.getpid(), os.getpid()) in rows
            with link.open() as one, link.open() as other:  # two runs, each from the beginning
                assert one.read(4) == other.read(4)

    @pytest.mark.needs_kernel("iterators over the tasks of one process (Linux 6.1)", RELEASE >= (6, 1))
    def test_of_one_process(self):
        with loaded("tasks") as bpf, bpf.programs["tasks"].attach_iter(pid=os.getpid()) as link:
            rows = [tuple(map(int, line.split())) for line in link.read().splitlines()]
            assert {tgid for tgid, _ in rows} == {os.getpid()}
            assert (os.getpid(), os.getpid()) in rows

    def test_the_elements_of_a_map(self):
        with loaded("elements") as bpf:
            walked = bpf.maps["walked"]
            walked.update({1: 10, 2: 20, 3: 30})
            with bpf.programs["elements"].attach_iter(walked) as link:
                assert sorted(link.read().splitlines()) == [b"1 10", b"2 20", b"3 30"]

    @pytest.mark.needs_kernel("iterators over control groups (Linux 6.1)", RELEASE >= (6, 1))
    @pytest.mark.needs_tool("mount")
    def test_control_groups(self):
        with cgroup() as outer, cgroup(below=outer) as inner, loaded("groups") as bpf:
            ids = os.stat(outer).st_ino, os.stat(inner).st_ino
            walked = {}
            for order in ("self", "descendants", "descendants-after"):
                with bpf.programs["groups"].attach_iter(cgroup=outer, order=order) as link:
                    walked[order] = tuple(map(int, link.read().split()))
                    assert link.info.attached_to == info.Iterator("cgroup", 0, ids[0], 0, 0)
            with bpf.programs["groups"].attach_iter(cgroup=inner, order="ancestors") as link:
                walked["ancestors"] = tuple(map(int, link.read().split()))[:2]
        assert walked == {
            "self": ids[:1],
            "descendants": ids,
            "descendants-after": ids[::-1],
            "ancestors": ids[::-1],
        }

    @pytest.mark.needs_kernel("iterators over control groups (Linux 6.1)", RELEASE >= (6, 1))
    def test_no_such_control_group(self):
        with loaded("groups") as bpf, pytest.raises(purebpf.PureBpfError, match="cgroup /sys/nothing"):
            bpf.programs["groups"].attach_iter(cgroup="/sys/nothing")

    def test_without_the_map_that_it_needs(self):
        with loaded("elements") as bpf, pytest.raises(purebpf.KernelError, match="needs to be told what to walk"):
            bpf.programs["elements"].attach()

    def test_more_than_one_thing(self):
        with loaded("tasks") as bpf, pytest.raises(ValueError, match="only one of"):
            bpf.programs["tasks"].attach_iter(pid=1, tid=1)


class TestRun:
    @pytest.mark.needs_kernel("programs of type SYSCALL (Linux 5.14)", RELEASE >= (5, 14))
    def test_a_syscall_program(self):
        with loaded("multiply") as bpf:
            result = bpf.programs["multiply"].run(ctx=struct.pack("=IIQ", 6, 7, 0))
            assert (result.retval, struct.unpack("=IIQ", result.ctx)) == (7, (6, 7, 42))
            with pytest.raises(purebpf.AttachError, match=r"program\.run\(\)"):
                bpf.programs["multiply"].attach()

    def test_a_packet(self):
        packet = bytes(range(100))
        with loaded("swap") as bpf:
            result = bpf.programs["swap"].run(data=packet, repeat=3)
        assert (result.retval, result.data) == (3, bytes([packet[0] ^ 0xFF ^ 0xFF ^ 0xFF]) + packet[1:])
        assert result.duration >= 0

    def test_a_context(self):
        """struct __sk_buff: the second member is its mark."""
        ctx = bytearray(192)
        struct.pack_into("=I", ctx, 8, 41)
        with loaded("mark") as bpf:
            result = bpf.programs["mark"].run(data=bytes(60), ctx=bytes(ctx))
        assert result.retval == 60
        assert struct.unpack_from("=I", result.ctx, 8) == (42,)

    def test_on_a_cpu(self):
        with loaded("raw") as bpf:
            arguments = struct.pack("=QQ", 0, SCHED_RR_GET_INTERVAL[platform.machine()])
            bpf.programs["raw"].run(ctx=arguments)
            assert hits(bpf, "RAW") == 1
            before = os.sched_getaffinity(0)
            cpu = min(before)
            os.sched_setaffinity(0, {cpu})  # so that it is this process that runs there
            try:
                bpf.programs["raw"].run(ctx=arguments, cpu=cpu)
            finally:
                os.sched_setaffinity(0, before)
            assert hits(bpf, "RAW") == 2

    @pytest.mark.needs_kernel("live frames (Linux 5.18)", RELEASE >= (5, 18))
    @pytest.mark.needs_tool("ip")
    def test_live_frames(self):
        """They go into the network, as if they had come in by the loopback interface, and never come back."""
        with namespace(), network.loaded("on_xdp") as bpf:
            flags = bpf_test_run_flags.BPF_F_TEST_XDP_LIVE_FRAMES
            result = bpf.programs["on_xdp"].run(data=bytes(64), repeat=100, flags=flags, batch_size=32)
            assert (result.retval, result.data) == (0, b"")
            assert network.runs(bpf, "on_xdp") == 100

    def test_what_cannot_be(self):
        with loaded("mark", "tasks", "raw") as bpf:
            with pytest.raises(purebpf.KernelError, match="at least 14 bytes"):
                bpf.programs["mark"].run(data=b"short")
            with pytest.raises(purebpf.KernelError, match="cannot be run on request"):
                bpf.programs["tasks"].run()
            with pytest.raises(purebpf.KernelError):
                bpf.programs["raw"].run(cpu=100_000, ctx=bytes(16))


class TestLinks:
    def test_info(self):
        with loaded("raw", "typed", "tasks") as bpf:
            links = bpf.attach()
            told = [link.info for link in links]
            ids = [id_of(program) for program in bpf.programs.values()]
            assert [each.prog_id for each in told] == ids
            assert len({each.id for each in told}) == 3
            raw, typed, tasks = (each.attached_to for each in told)
            assert raw == info.RawTracepoint("sys_enter", 0)
            assert typed == raw  # by now they are the same to the kernel
            assert tasks == info.Iterator("task", 0, 0, 0, 0)
            assert told[0].type == bpf_link_type.BPF_LINK_TYPE_RAW_TRACEPOINT

    @pytest.mark.needs_tool("bpftool")
    def test_bpftool_sees_the_same(self):
        with loaded("raw") as bpf, bpf.programs["raw"].attach() as link:
            told = link.info
            (seen,) = (each for each in bpftool("link", "show") if each["id"] == told.id)
        assert (seen["type"], seen["prog_id"], seen["tp_name"]) == ("raw_tracepoint", told.prog_id, "sys_enter")

    @pytest.mark.needs_tool("bpftool")
    def test_pins(self, bpffs):
        path = bpffs / "link"
        with loaded("raw") as bpf:
            with bpf.programs["raw"].attach() as link:
                link.pin(path)
                with pytest.raises(purebpf.AttachError, match=r"pinned at .* already"):
                    link.pin(bpffs / "other")
                identity = link.info.id
            system_call()  # the link is closed, the pin holds it
            assert hits(bpf, "RAW") == 1
            with purebpf.Link.from_pin(path) as again:
                assert again.info.id == identity
                again.unpin()
                again.unpin()
                assert not path.exists()
                system_call()
                assert hits(bpf, "RAW") == 2
            assert eventually(lambda: identity not in [link["id"] for link in bpftool("link", "show")])
            system_call()
            assert hits(bpf, "RAW") == 2

    def test_bad_pins(self, bpffs, tmp_path):
        with loaded("raw") as bpf, bpf.programs["raw"].attach() as link:
            with pytest.raises(purebpf.KernelError, match="is in no BPF file system"):
                link.pin(tmp_path / "link")
            with pytest.raises(purebpf.KernelError) as error:
                purebpf.Link.from_pin(bpffs / "nothing")
            assert error.value.errno == errno.ENOENT
            link.pin(bpffs / "taken")
            with bpf.programs["raw"].attach_raw_tracepoint("sys_exit") as other:
                with pytest.raises(purebpf.KernelError, match="The name is taken"):
                    other.pin(bpffs / "taken")
                assert other.pinned_at is None
            link.unpin()

    def test_a_pinned_iterator_can_be_read_like_a_file(self, bpffs):
        with loaded("tasks") as bpf, bpf.programs["tasks"].attach() as link:
            link.pin(bpffs / "tasks")
            assert f"{os.getpid()} {os.getpid()}" in (bpffs / "tasks").read_text().splitlines()
            link.unpin()

    def test_updates_where_there_can_be_none(self):
        with loaded("raw", "raw_cookie" if RELEASE >= (6, 10) else "raw") as bpf, bpf.programs["raw"].attach() as link:
            other = list(bpf.programs.values())[-1]
            with pytest.raises(purebpf.KernelError, match="cannot be updated"):
                link.update(other)
            with pytest.raises(purebpf.KernelError, match="only when its last descriptor"):
                link.detach()

    def test_what_is_no_link(self):
        link = purebpf.Link("filter", "eth0")
        for attempt in (link.fileno, lambda: link.info, lambda: link.pin("/x"), lambda: link.update(link)):
            with pytest.raises(purebpf.AttachError, match="it is no single bpf link"):
                attempt()


class TestObject:
    def test_all_or_nothing(self):
        """The last of these cannot be attached: its error names it, and the others are detached."""
        with loaded("raw", "typed", "nowhere") as bpf:
            with pytest.raises(purebpf.AttachError, match=r"^program 'nowhere': .*no_such_tracepoint_enter"):
                bpf.attach()
            assert bpf.links == []
            system_call()
            assert (hits(bpf, "RAW"), hits(bpf, "TYPED")) == (0, 0)

    def test_autoattach(self):
        with loaded("raw", "typed", "nowhere") as bpf:
            bpf.spec.programs["nowhere"].autoattach = False
            assert len(bpf.attach()) == 2
            system_call()
            assert (hits(bpf, "RAW"), hits(bpf, "TYPED")) == (1, 1)


@pytest.mark.needs_tool("bpftool")
@pytest.mark.parametrize("name", ["raw", "writes", "typed", "tasks"])
def test_500_rounds_leave_nothing(name, rounds):
    threads = THREADS if RELEASE >= (6, 10) else 1  # before that a tracepoint takes a program once
    with loaded(name) as bpf, nothing_left(bpf.programs[name]):
        attach_and_detach(rounds(500), *[bpf.programs[name].attach] * threads)


@pytest.mark.needs_tool("bpftool")
def test_a_killed_process_leaves_nothing():
    code = """
import os, sys
sys.path.append(sys.argv[1])
import test_link_typed as t
with t.loaded("raw", "typed") as bpf:
    print(*(link.info.id for link in bpf.attach()), flush=True)
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    ids = {int(number) for number in done.stdout.split()}
    assert len(ids) == 2
    assert eventually(lambda: not ids & {link["id"] for link in bpftool("link", "show")})
