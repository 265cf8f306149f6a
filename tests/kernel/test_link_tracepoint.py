"""Programs on tracepoints: events arrive, stop when the link is closed, and nothing stays behind.

The tracepoint is one that nobody else hits: the system call sched_get_priority_max(2).  The kernel's own run
counter of the program says how often it ran, bpftool what is loaded and attached.
"""

from __future__ import annotations

import errno
import gc
import os
import struct
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from kernel_state import (
    RELEASE,
    THREADS,
    attach_and_detach,
    bpftool,
    descriptors,
    events_of,
    eventually,
    id_of,
    killed_later,
    links_of,
    nothing_left,
    refused,
)

from purebpf.abi.attr import bpf_attr_prog_load, bpf_prog_info
from purebpf.abi.bpf import bpf_cmd, bpf_prog_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.bpf import address, bpf, enable_stats, obj_get_info_by_fd
from purebpf.kernel.fd import Fd
from purebpf.kernel.features import Feature, Features
from purebpf.links.tracepoint import attach_tracepoint

pytestmark = pytest.mark.needs_root

EVENT = ("syscalls", "sys_enter_sched_get_priority_max")


def hit():
    os.sched_get_priority_max(os.SCHED_FIFO)


# Instructions: struct bpf_insn {u8 code; u8 dst_reg:4, src_reg:4; s16 off; s32 imm}
RETURN_0 = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit
# r1 = *(u64 *)(r1 + 800); r0 = 0; exit.  A record of a system call ends at 64.
R1_R1 = 0x11
READ_FAR = struct.pack("=BBhi", 0x79, R1_R1, 800, 0) + RETURN_0


@contextmanager
def loaded(instructions=RETURN_0, prog_type=bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT, name=b"purebpf_test"):
    license_text = b"GPL"
    attr = bpf_attr_prog_load(
        prog_type=prog_type,
        insns=address(instructions),
        insn_cnt=len(instructions) // 8,
        license=address(license_text),
        prog_name=name,
    )
    with Fd(bpf(bpf_cmd.BPF_PROG_LOAD, attr), "test program") as fd:
        yield fd


def runs(program):
    return obj_get_info_by_fd(program, bpf_prog_info).run_cnt


WAYS = [
    pytest.param(True, id="bpf link"),
    pytest.param(False, id="ioctl"),
]


@pytest.fixture(params=WAYS)
def features(request):
    if request.param and RELEASE < (5, 15):
        pytest.skip("needs a kernel with links to perf events (Linux 5.15)")
    return Features({Feature.PERF_LINK: request.param})


@pytest.mark.needs_tool("bpftool")
def test_events_arrive_until_the_link_is_closed(features):
    with enable_stats(), loaded() as program:
        hit()
        assert runs(program) == 0
        link = attach_tracepoint(program, *EVENT, features=features)
        for _ in range(10):
            hit()
        assert runs(program) == 10
        assert len(links_of(program)) == features.has(Feature.PERF_LINK)
        assert [event["tracepoint"] for event in events_of(program)] == [EVENT[1]]

        link.close()
        hit()
        assert runs(program) == 10
        assert links_of(program) == events_of(program) == []
        link.close()  # harmless


def test_events_of_every_cpu_and_of_other_processes(features):
    with enable_stats(), loaded() as program, attach_tracepoint(program, *EVENT, features=features):
        cpus = os.sched_getaffinity(0)
        for cpu in cpus:
            script = f"import os; os.sched_setaffinity(0, [{cpu}]); os.sched_get_priority_max(os.SCHED_FIFO)"
            subprocess.run([sys.executable, "-c", script], check=True)
        assert runs(program) == len(cpus)


def test_several_programs_on_one_tracepoint(features):
    with enable_stats(), loaded() as one, loaded() as other:
        with attach_tracepoint(one, *EVENT, features=features):
            with attach_tracepoint(other, *EVENT, features=features):
                hit()
            hit()
        hit()
        assert (runs(one), runs(other)) == (2, 1)


@pytest.mark.needs_tool("bpftool")
def test_the_program_may_be_closed_before_the_link(features):
    with loaded() as program:
        number = id_of(program)
        link = attach_tracepoint(program.fileno(), *EVENT, features=features)
    with link:
        assert any(known["id"] == number for known in bpftool("prog", "show"))
    assert eventually(lambda: all(known["id"] != number for known in bpftool("prog", "show")))


def test_what_a_link_says(features):
    with loaded() as program, attach_tracepoint(program, *EVENT, features=features) as link:
        assert (link.kind, link.target, link.closed) == ("tracepoint", "/".join(EVENT), False)
        assert "/".join(EVENT) in repr(link)
    assert link.closed and "closed" in repr(link)


def test_descriptors_are_close_on_exec(features):
    before = set(descriptors())
    with loaded() as program, attach_tracepoint(program, *EVENT, features=features):
        opened = set(descriptors()) - before
        assert len(opened) == (3 if features.has(Feature.PERF_LINK) else 2)
        assert not any(os.get_inheritable(int(number)) for number in opened)


def test_a_forgotten_link_warns_and_detaches(features):
    with enable_stats(), loaded() as program:
        link = attach_tracepoint(program, *EVENT, features=features)
        with pytest.warns(ResourceWarning, match="tracepoint syscalls/sys_enter_sched_get_priority_max"):
            del link
            gc.collect()
        hit()
        assert runs(program) == 0


@pytest.mark.needs_tool("bpftool")
def test_500_rounds_leave_nothing(features, rounds):
    """With several programs, as each can be attached once.  The last to go has the kernel wait for longest."""
    mounts = Path("/proc/self/mountinfo").read_text()
    with ExitStack() as stack:
        programs = [stack.enter_context(loaded()) for _ in range(THREADS)]
        with nothing_left(*programs):
            attachers = [partial(attach_tracepoint, program, *EVENT, features=features) for program in programs]
            attach_and_detach(rounds(500), *attachers)
        numbers = {id_of(program) for program in programs}
    assert eventually(lambda: not numbers & {program["id"] for program in bpftool("prog", "show")})
    assert Path("/proc/self/mountinfo").read_text() == mounts


@pytest.mark.needs_tool("bpftool")
def test_a_killed_process_leaves_nothing(features):
    with loaded() as program:
        with killed_later(lambda: attach_tracepoint(program, *EVENT, features=features)):
            assert len(events_of(program)) == 1
        assert eventually(lambda: events_of(program) == links_of(program) == [])


# --- refusals: what is said, and that nothing stays open ---


def test_no_such_tracepoint(features):
    with loaded() as program:
        wanted = "syscalls/sys_enter_sched_get_priority_maximum"
        with refused(AttachError, rf"no tracepoint {wanted}; did you mean syscalls/sys_enter_sched_get_priority_max"):
            attach_tracepoint(program, *wanted.split("/"), features=features)


def test_a_program_of_another_type(features):
    with loaded(prog_type=bpf_prog_type.BPF_PROG_TYPE_SOCKET_FILTER) as program:
        with refused(KernelError, r"^attaching to tracepoint syscalls/.*EINVAL.*BPF_PROG_TYPE_TRACEPOINT") as caught:
            attach_tracepoint(program, *EVENT, features=features)
        assert caught.value.errno == errno.EINVAL


def test_a_program_for_a_longer_record(features):
    with loaded(READ_FAR) as program, refused(KernelError, r"EACCES.*reads beyond the end"):
        attach_tracepoint(program, *EVENT, features=features)


def test_attached_twice(features):
    with enable_stats(), loaded() as program, attach_tracepoint(program, *EVENT, features=features):
        with refused(KernelError, r"EEXIST.*attached to this tracepoint already"):
            attach_tracepoint(program, *EVENT, features=features)
        hit()
        assert runs(program) == 1


def test_more_programs_than_a_tracepoint_takes(features):
    with refused(KernelError, r"E2BIG.*\(64\)"), ExitStack() as stack:
        for _ in range(65):
            program = stack.enter_context(loaded())
            stack.enter_context(attach_tracepoint(program, *EVENT, features=features))


def test_not_a_program(features):
    with open("/dev/null") as file, refused(KernelError, "attaching to tracepoint"):
        attach_tracepoint(file.fileno(), *EVENT, features=features)
