"""Performance counters: the program runs on each CPU, as often as asked for, and only where it should."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import subprocess
import sys

import pytest
from kernel_state import RELEASE, descriptors, events_of, eventually, id_of, refused
from probing import loaded, needs_cookies, x86_64_only
from running import OUTER_PIDS
from triggers import busy

from purebpf.abi.perf import (
    PERF_EVENT_IOC_ENABLE,
    perf_event_attr,
    perf_hw_id,
    perf_sw_ids,
    perf_type_id,
)
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.features import Feature, Features
from purebpf.kernel.perf import ioctl, perf_event_open
from purebpf.links.perf_event import attach_perf_event, attach_perf_event_fd

pytestmark = [pytest.mark.needs_root, x86_64_only]

PERF_EVENT = 9
CLOCK = (perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_CPU_CLOCK)
FAULTS = (perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_PAGE_FAULTS)


@pytest.fixture(params=["link", "ioctl"])
def features(request):
    if request.param == "link" and RELEASE < (5, 15):
        pytest.skip("needs a kernel with links to perf events (Linux 5.15)")
    return Features({Feature.PERF_LINK: request.param == "link"})


@contextlib.contextmanager
def counting():
    """The program, and how often it has run for this process; for all, where their numbers are not known."""
    with loaded("link_probes", "on_perf_event", wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        yield bpf.programs["on_perf_event"], lambda: bpf.maps["seen"][PERF_EVENT].count


def touch(pages):
    """Cause so many page faults."""
    with mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1


@pytest.mark.needs_tool("bpftool")
def test_so_many_times_a_second_on_every_cpu(features):
    with counting() as (program, count):
        link = attach_perf_event(program.fileno(), *CLOCK, frequency=500, features=features)
        cpus = os.sched_getaffinity(0)
        for cpu in cpus:
            os.sched_setaffinity(0, [cpu])
            before = count()
            busy(0.5)
            assert 50 < count() - before < 1000
        os.sched_setaffinity(0, cpus)
        link.close()
        before = count()
        busy(0.1)
        assert count() == before
        assert eventually(lambda: not events_of(id_of(program)))


def test_every_so_many_events(features):
    with counting() as (program, count):
        with attach_perf_event(program.fileno(), *FAULTS, period=10, pid=0, features=features):
            before = count()
            touch(1000)
            assert 100 <= count() - before <= 150


def test_on_some_cpus(features):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    with counting() as (program, count):
        before, threads = len(descriptors()), len(os.listdir("/proc/self/task"))
        with attach_perf_event(program.fileno(), *FAULTS, period=1, pid=0, cpus=cpus[:1], features=features):
            assert len(descriptors()) - before == threads * (2 if features.has(Feature.PERF_LINK) else 1)
            for cpu, at_least, below in ((cpus[0], 100, 200), (cpus[1], 0, 20)):
                os.sched_setaffinity(0, [cpu])
                start = count()
                touch(100)
                assert at_least <= count() - start < below
        os.sched_setaffinity(0, cpus)


def test_one_process_with_its_threads_and_children(features):
    script = """if 1:
        import mmap, os, sys, threading
        def touch():
            with mmap.mmap(-1, 100 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
                memory.madvise(mmap.MADV_NOHUGEPAGE)
                for page in range(100):
                    memory[page * mmap.PAGESIZE] = 1
        ready = threading.Event()
        old = threading.Thread(target=lambda: (ready.wait(), touch()))
        old.start()
        print(flush=True)
        input()
        ready.set()
        new = threading.Thread(target=touch)
        new.start()
        old.join(), new.join(), touch()
        if not os.fork():
            touch()
            os._exit(0)
        os.wait()
        print(flush=True)
        input()
    """
    with loaded("link_probes", "on_perf_event") as bpf:
        program = bpf.programs["on_perf_event"].fileno()
        processes = [
            subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for process in processes:
            process.stdout.readline()

        def count():
            return bpf.maps["seen"][PERF_EVENT].count

        def work(process):
            before = count()
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()
            return count() - before

        with attach_perf_event(program, *FAULTS, period=1, pid=processes[1].pid, features=features):
            assert work(processes[0]) == 0
            assert work(processes[1]) > 400
            seen = bpf.maps["seen"][PERF_EVENT]
            assert seen.pid
        for process in processes:
            process.communicate(b"\n")


def test_an_event_that_is_open_already(features):
    attr = perf_event_attr(type=FAULTS[0], config=FAULTS[1], sample_period=1)
    with counting() as (program, count), perf_event_open(attr, 0, -1) as event:
        link = attach_perf_event_fd(program.fileno(), event.fileno(), features=features)
        before = count()
        touch(100)
        assert count() - before >= 100
        link.close()
        before = count()
        touch(100)
        assert count() == before
        ioctl(event, PERF_EVENT_IOC_ENABLE)  # it is still there, and its own
        touch(100)
        assert (count() == before) == features.has(Feature.PERF_LINK)


@needs_cookies
def test_cookies_of_counters():
    with loaded("link_probes", "on_perf_event", wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        with bpf.programs["on_perf_event"].attach_perf_event(*FAULTS, period=1, pid=0, cookie=11):
            touch(10)
        assert bpf.maps["seen"][PERF_EVENT].cookie == 11


def hardware_counters():
    """Whether the machine has them, asked of the kernel by perf_event_open(2) alone."""
    attr = perf_event_attr(
        type=perf_type_id.PERF_TYPE_HARDWARE,
        config=perf_hw_id.PERF_COUNT_HW_CPU_CYCLES,
        size=ctypes.sizeof(perf_event_attr),
    )
    number = ctypes.CDLL(None, use_errno=True).syscall(298, ctypes.byref(attr), 0, -1, -1, 8)
    if number >= 0:
        os.close(number)
    return number >= 0


CYCLES = (perf_type_id.PERF_TYPE_HARDWARE, perf_hw_id.PERF_COUNT_HW_CPU_CYCLES)


@pytest.mark.needs_kernel("hardware counters (of this machine)", hardware_counters)
def test_a_hardware_counter(features):
    with counting() as (program, count):
        with attach_perf_event(program.fileno(), *CYCLES, period=1_000_000, features=features):
            busy(0.2)
        assert count() > 20


@pytest.mark.needs_kernel("no hardware counters (of this machine)", lambda: not hardware_counters())
def test_no_hardware_counter():
    with counting() as (program, _), refused(KernelError, "ENOENT.*virtual machines.*PERF_COUNT_SW_CPU_CLOCK"):
        program.attach_perf_event(*CYCLES, frequency=100)


def test_refusals():
    with counting() as (program, _):
        with refused(KernelError, "EINVAL.*perf_event_max_sample_rate") as caught:
            program.attach_perf_event(*CLOCK, frequency=1 << 40)
        assert caught.value.errno == errno.EINVAL
        with refused(KernelError, "ENOENT|EINVAL|EOPNOTSUPP"):
            program.attach_perf_event(perf_type_id.PERF_TYPE_SOFTWARE, 9999, period=1)
        with refused(AttachError, "of process 1073741823: there is no such process"):
            program.attach_perf_event(*CLOCK, frequency=100, pid=0x3FFFFFFF)
        with refused(KernelError, "ENODEV|EINVAL"):
            program.attach_perf_event(*CLOCK, frequency=100, cpus=[100_000])
        for both in ({}, {"frequency": 1, "period": 1}):
            with pytest.raises(ValueError, match="one of the two"):
                program.attach_perf_event(*CLOCK, **both)
        with refused(AttachError, r"section 'perf_event' does not say .* program.attach_perf_event\("):
            program.attach()
        with refused(KernelError, "perf event 1000: .*EBADF"):
            program.attach_perf_event_fd(1000)
        with open("/dev/null") as file, refused(KernelError, "attaching to perf event"):
            program.attach_perf_event_fd(file.fileno())
    with loaded("link_probes", "on_uprobe") as bpf, refused(KernelError, "EINVAL.*BPF_PROG_TYPE_PERF_EVENT"):
        bpf.programs["on_uprobe"].attach_perf_event(*CLOCK, frequency=100)
