"""Perf rings of this kernel.  A BPF program sends an event each time it is run, and says if it got through."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import os
import resource
import select
import signal
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
from kernel_state import RELEASE

from purebpf.abi.attr import bpf_attr_map_create, bpf_attr_prog_load, bpf_attr_prog_test_run
from purebpf.abi.bpf import bpf_cmd, bpf_map_type, bpf_prog_type
from purebpf.errors import KernelError
from purebpf.events import perf
from purebpf.events.perf import PerfBuffer, RingError, Sample
from purebpf.kernel import cpu as cpus
from purebpf.kernel.bpf import address, bpf
from purebpf.kernel.fd import Fd

pytestmark = pytest.mark.needs_root

BPF_F_CURRENT_CPU = 0xFFFFFFFF
BPF_F_TEST_RUN_ON_CPU = 1
SLOTS = 128

counts_last_losses = pytest.mark.needs_kernel("PERF_FORMAT_LOST (Linux 6.0)", RELEASE >= (6, 0))


def perf_event_array(max_entries=SLOTS):
    attr = bpf_attr_map_create(
        map_type=bpf_map_type.BPF_MAP_TYPE_PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=max_entries
    )
    return Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "perf event array")


def instruction(code, dst=0, src=0, off=0, imm=0):
    registers = dst | src << 4 if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", code, registers, off, imm)


class Sender:
    """A program that sends events of ``size`` bytes: a u64 number again and again, or an array map's memory."""

    def __init__(self, map_fd, size=8, slot=BPF_F_CURRENT_CPU, memory=None):
        room = 8 if memory else max(8, -(-size // 8) * 8)
        code = instruction(0xBF, 6, 1)  # r6 = r1, the context
        code += instruction(0x79, 7, 1)  # r7 = *(u64 *)(r1 + 0), the number
        for place in range(0, room, 8):
            code += instruction(0x7B, 10, 7, place - room)  # *(u64 *)(r10 + place - room) = r7
        code += instruction(0xBF, 1, 6)
        code += instruction(0x18, 2, 1, imm=map_fd.fileno()) + instruction(0)  # r2 = the map
        code += instruction(0xB4, 3, imm=ctypes.c_int32(slot).value)  # w3 = slot
        if memory:
            code += instruction(0x18, 4, 2, imm=memory.fileno()) + instruction(0)  # r4 = its first value's address
        else:
            code += instruction(0xBF, 4, 10) + instruction(0x07, 4, imm=-room)  # r4 = r10 - room
        code += instruction(0xB7, 5, imm=size)
        code += instruction(0x85, imm=25) + instruction(0x95)  # return bpf_perf_event_output(...)
        license = b"GPL"
        attr = bpf_attr_prog_load(
            prog_type=bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT,
            insns=address(code),
            insn_cnt=len(code) // 8,
            license=address(license),
        )
        self._program = Fd(bpf(bpf_cmd.BPF_PROG_LOAD, attr), "sender")

    def send(self, number=0, cpu=0):
        """Run the program on a CPU and return what the kernel answered to it: 0 or an errno."""
        context = struct.pack("=Q", number)
        attr = bpf_attr_prog_test_run(
            prog_fd=self._program.fileno(),
            ctx_in=address(context),
            ctx_size_in=len(context),
            flags=BPF_F_TEST_RUN_ON_CPU,
            cpu=cpu,
        )
        bpf(bpf_cmd.BPF_PROG_TEST_RUN, attr)
        return -ctypes.c_int32(attr.retval).value

    def flood(self, count, cpu=0):
        """Send events 0, 1, ..., count - 1; how many found no room."""
        answers = [self.send(number, cpu) for number in range(count)]
        assert set(answers) <= {0, errno.ENOSPC}
        return answers.count(errno.ENOSPC)

    def close(self):
        self._program.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def array():
    with perf_event_array() as map_fd:
        yield map_fd


@pytest.fixture
def senders():
    """Makes Senders, and closes them."""
    made = []

    def make(*args, **kwargs):
        made.append(Sender(*args, **kwargs))
        return made[-1]

    yield make
    for sender in made:
        sender.close()


@pytest.fixture
def sender(array, senders):
    return senders(array)


def number(event):
    return struct.unpack_from("=Q", event.data)[0]


def left_behind():
    gc.collect()
    with open("/proc/self/maps") as maps:
        mappings = maps.read().count("perf_event")
    return sorted(os.listdir("/proc/self/fd")), mappings


# --- receiving ---


def test_each_cpu_has_its_ring(array, sender):
    with PerfBuffer(array, SLOTS) as buffer:
        assert buffer.cpus == cpus.online()
        for cpu in cpus.online():
            assert sender.send(1000 + cpu, cpu) == 0
            assert [(event.cpu, number(event)) for event in buffer.poll(5)] == [(cpu, 1000 + cpu)]
        assert buffer.lost == 0


@pytest.mark.parametrize("size", [0, 1, 4, 5, 8, 12, 13, 100, 512])
def test_every_size(array, senders, size):
    sender = senders(array, size)
    with PerfBuffer(array, SLOTS) as buffer:
        sender.send(0x0123456789ABCDEF)
        (event,) = buffer.poll(5)
    sent = struct.pack("=Q", 0x0123456789ABCDEF) * 64
    assert event.data[:size] == sent[:size]
    assert size <= len(event.data) < size + 8
    assert (4 + len(event.data)) % 8 == 0


def test_an_event_larger_than_a_record_can_be(array):
    """The kernel takes it (answer 0) and writes a record whose 16-bit size has wrapped around."""
    room = 65_528
    attr = bpf_attr_map_create(map_type=bpf_map_type.BPF_MAP_TYPE_ARRAY, key_size=4, value_size=room, max_entries=1)
    with Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "memory") as memory, PerfBuffer(array, SLOTS) as buffer:
        with Sender(array, 65_516, memory=memory) as sender:
            assert sender.send() == 0
            assert [len(event.data) for event in buffer.drain()] == [65_516]
        with Sender(array, room, memory=memory) as sender:
            if sender.send() == 0:  # as up to now; a kernel that refuses would be right
                with pytest.raises(RingError, match="more than 65516 bytes"):
                    buffer.drain()
        assert list(buffer.drain()) == []


@pytest.mark.parametrize("size", [8, 20, 44])
def test_records_that_wrap(array, senders, size):
    """A ring of one page is read often while ten times as much runs through: nothing is lost or mixed up."""
    sender = senders(array, size)
    received = []
    with PerfBuffer(array, SLOTS, pages=1) as buffer:
        for sent in range(10 * cpus.page_size() // size):
            assert sender.send(sent) == 0
            if sent % 17 == 0:
                received += buffer.poll(0)
        received += buffer.drain()
        assert buffer.lost == 0
    assert [number(event) for event in received] == list(range(10 * cpus.page_size() // size))
    assert all(event.data[:size] == (event.data[:8] * 64)[:size] for event in received)


def test_a_codec_makes_the_events(array, sender):
    class U64:
        size = 8

        def decode(self, buffer, offset=0):
            return struct.unpack_from("=Q", buffer, offset)[0]

    with PerfBuffer(array, SLOTS, codec=U64()) as buffer:
        for sent in range(3):
            sender.send(sent)
        assert list(buffer.drain()) == [0, 1, 2]


def test_iteration_waits_for_events_and_ends_when_closed(array, sender):
    def send_slowly():
        for sent in range(3):
            time.sleep(0.05)
            sender.send(sent)

    thread = threading.Thread(target=send_slowly)
    with PerfBuffer(array, SLOTS) as buffer:
        thread.start()
        received = []
        for event in buffer:
            received.append(number(event))
            if len(received) == 3:
                buffer.close()
        thread.join()
    assert received == [0, 1, 2]
    assert list(buffer) == []


def test_what_a_loop_leaves_is_there_for_the_next(array, sender):
    with PerfBuffer(array, SLOTS) as buffer:
        for sent in range(4):
            sender.send(sent)
        for event in buffer:
            assert number(event) == 0
            break
        assert number(next(buffer.poll(0))) == 1
        sender.send(4)
        assert [number(event) for event in buffer.drain()] == [2, 3, 4]
        assert list(buffer.drain()) == []


@pytest.mark.parametrize("cpu", cpus.online())
def test_a_busy_cpu_does_not_starve_the_others(array, sender, cpu):
    with PerfBuffer(array, SLOTS, pages=1) as buffer:
        for busy in cpus.online():
            if busy != cpu:
                sender.flood(300, busy)
        sender.send(7, cpu)
        assert Sample(cpu, struct.pack("=Q", 7)) in [Sample(e.cpu, e.data[:8]) for e in buffer.poll(5)]


# --- waiting ---


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_poll_returns_nothing_after_the_timeout(array, timeout):
    with PerfBuffer(array, SLOTS) as buffer:
        start = time.monotonic()
        assert list(buffer.poll(timeout)) == []
        assert timeout <= time.monotonic() - start < timeout + 1


def test_an_event_ends_the_wait(array, sender):
    with PerfBuffer(array, SLOTS) as buffer:
        list(buffer.poll(0))
        timer = threading.Timer(0.1, sender.send)
        timer.start()
        start = time.monotonic()
        assert len(list(buffer.poll(30))) == 1
        assert time.monotonic() - start < 10
        timer.join()


def test_the_descriptor_is_readable_when_there_are_events(array, sender):
    with PerfBuffer(array, SLOTS) as buffer:
        for turn in range(3):
            while select.select([buffer], [], [], 0)[0]:  # it may say so when the events were read already
                assert list(buffer.poll(0)) == []
            for cpu in cpus.online():
                sender.send(turn, cpu)
            assert select.select([buffer], [], [], 5)[0] == [buffer]
            assert [number(event) for event in buffer.poll(0)] == [turn] * len(cpus.online())


def test_in_an_event_loop(array, sender):
    async def receive(buffer):
        received, done = [], asyncio.Event()

        def read():
            received.extend(number(event) for event in buffer.poll(0))
            if len(received) == 20:
                done.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(buffer, read)
        for sent in range(20):
            sender.send(sent, cpus.online()[sent % len(cpus.online())])
            await asyncio.sleep(0.001 * (sent % 3))
        await asyncio.wait_for(done.wait(), 10)
        loop.remove_reader(buffer)
        return received

    with PerfBuffer(array, SLOTS) as buffer:
        assert sorted(asyncio.run(receive(buffer))) == list(range(20))


@pytest.mark.parametrize("raises", [False, True])
def test_a_signal_during_the_wait(array, sender, raises):
    def handler(*_):
        if raises:
            raise KeyboardInterrupt
        sender.send(7)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with PerfBuffer(array, SLOTS) as buffer:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            if raises:
                with pytest.raises(KeyboardInterrupt):
                    next(iter(buffer))
                sender.send(7)
            assert number(next(iter(buffer))) == 7
    finally:
        signal.signal(signal.SIGALRM, before)


# --- losses ---


@counts_last_losses
@pytest.mark.parametrize("pages", [1, *(pytest.param(pages, marks=pytest.mark.any_kernel) for pages in (2, 8))])
@pytest.mark.parametrize("size", [8, 100])
def test_losses_at_the_end_are_counted(array, senders, pages, size):
    """The reader sleeps; all that the kernel refused is in ``lost``, though no record could say so."""
    sender = senders(array, size)
    with PerfBuffer(array, SLOTS, pages=pages) as buffer:
        refused = sender.flood(5000)
        assert refused > 0
        assert buffer.lost == 0
        received = [number(event) for event in buffer.drain()]
        assert buffer.lost == refused
        assert len(received) + buffer.lost == 5000
        assert received == list(range(5000 - refused))


@counts_last_losses
def test_losses_again_and_again_are_counted_once(array, sender):
    calls = []
    with PerfBuffer(array, SLOTS, pages=1, on_lost=lambda cpu, count: calls.append((cpu, count))) as buffer:
        refused = dict.fromkeys(cpus.online(), 0)
        sent = received = 0
        for turn in range(30):
            for cpu in cpus.online():
                refused[cpu] += sender.flood(100 + 37 * turn, cpu)
                sent += 100 + 37 * turn
            received += len(list(buffer.drain() if turn % 5 == 4 else buffer.poll(0)))
        assert buffer.lost_by_cpu == refused
        assert buffer.lost == sum(refused.values()) > 1000
        assert received + buffer.lost == sent
        for cpu in cpus.online():
            assert sum(count for call_cpu, count in calls if call_cpu == cpu) == refused[cpu]


@pytest.fixture
def old_kernel(monkeypatch):
    """A kernel before 6.0, which answers EINVAL to the unknown PERF_FORMAT_LOST."""
    real = perf.perf_event_open

    def perf_event_open(attr, *args, **kwargs):
        if attr.read_format:
            raise KernelError(errno.EINVAL, "perf_event_open")
        return real(attr, *args, **kwargs)

    monkeypatch.setattr(perf, "perf_event_open", perf_event_open)


@pytest.mark.usefixtures("old_kernel")
def test_old_kernels_tell_losses_with_the_next_event(array, sender):
    calls = []
    with PerfBuffer(array, SLOTS, pages=1, on_lost=lambda cpu, count: calls.append((cpu, count))) as buffer:
        refused = sender.flood(1000)
        received = len(list(buffer.drain()))
        assert buffer.lost == 0
        assert sender.send() == 0
        received += len(list(buffer.poll(5)))
        assert calls == [(0, refused)]
        assert received + buffer.lost == 1001
    assert buffer.lost == refused


# --- CPUs and slots ---


def test_cpus_without_a_slot_are_named(senders):
    with perf_event_array(1) as array:
        if len(cpus.online()) > 1:
            with pytest.warns(RuntimeWarning, match="map 'e' has 1 slots: events sent on CPU 1") as caught:
                buffer = PerfBuffer(array, 1, what="map 'e'")
            assert len(caught) == 1
        else:
            buffer = PerfBuffer(array, 1)
        with buffer:
            assert buffer.cpus == [0]
            assert senders(array).send(3, 0) == 0
            assert [number(event) for event in buffer.poll(5)] == [3]


def test_cpus_beyond_64(array, senders, monkeypatch):
    """CPU 70 and 127, played by CPU 0: its programs send to their slots."""
    real = perf.perf_event_open
    monkeypatch.setattr(cpus, "online", lambda: [0, 70, 127])
    monkeypatch.setattr(perf, "perf_event_open", lambda attr, pid, cpu, **more: real(attr, pid, 0, **more))
    with PerfBuffer(array, SLOTS) as buffer:
        for cpu in [127, 0, 70]:
            assert senders(array, slot=cpu).send(cpu, 0) == 0
        received = sorted((event.cpu, number(event)) for event in buffer.poll(5))
        assert received == [(0, 0), (70, 70), (127, 127)]


def test_a_cpu_that_went_offline_is_skipped(array, sender, monkeypatch):
    real = perf.perf_event_open

    def perf_event_open(attr, pid, cpu, **more):
        if cpu == 99:
            raise KernelError(errno.ENODEV, "perf_event_open")
        return real(attr, pid, cpu, **more)

    monkeypatch.setattr(perf, "perf_event_open", perf_event_open)
    monkeypatch.setattr(cpus, "online", lambda: [0, 99])
    with PerfBuffer(array, SLOTS) as buffer:
        assert buffer.cpus == [0]
        assert sender.send() == 0
        assert len(list(buffer.poll(5))) == 1
    monkeypatch.setattr(cpus, "online", lambda: [99])
    with pytest.raises(KernelError, match=r"one of the CPUs \[99\]"):
        PerfBuffer(array, SLOTS)


def test_a_ring_that_hangs_up_does_not_keep_the_reader_awake(array, sender):
    """As epoll may say of a CPU that was unplugged; played by a pipe without a writer."""
    reading, writing = os.pipe()
    os.close(writing)
    with PerfBuffer(array, SLOTS) as buffer:
        buffer._epoll.register(reading)
        assert select.select([buffer], [], [], 0)[0]
        assert list(buffer.poll(0)) == []
        assert not select.select([buffer], [], [], 0)[0]
        sender.send(7)
        assert [number(event) for event in buffer.poll(5)] == [7]
    os.close(reading)


# --- opening and closing ---


@pytest.mark.any_kernel
@pytest.mark.parametrize("pages", [1, 2, 64])
def test_the_page_count_is_the_size_of_the_ring(array, sender, pages):
    with PerfBuffer(array, SLOTS, pages=pages) as buffer:
        room = pages * cpus.page_size() // 24  # a record: header, size, 8 bytes, 4 of padding
        sender.flood(room + 10)
        assert len(list(buffer.drain())) in (room, room - 1)  # the kernel never fills the last byte


@pytest.mark.any_kernel
@pytest.mark.parametrize("pages", [0, 3, -1, -4, 65, 2**62])
def test_page_counts_that_cannot_be(array, pages):
    before = left_behind()
    with pytest.raises(ValueError, match="pages"):
        PerfBuffer(array, SLOTS, pages=pages)
    assert left_behind() == before


def test_closing_leaves_nothing_behind(array, sender):
    before = left_behind()
    buffer = PerfBuffer(array, SLOTS)
    assert left_behind() != before
    for _ in range(2):
        buffer.close()
        assert buffer.closed
        assert left_behind() == before
    assert [sender.send(0, cpu) for cpu in cpus.online()] == [errno.ENOENT] * len(cpus.online())
    for call in buffer.poll, buffer.drain, buffer.fileno:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_the_map_may_be_closed_first():
    with perf_event_array() as array:
        buffer = PerfBuffer(array, SLOTS)
    buffer.close()


def test_one_reader_after_the_other(array, sender):
    for turn in range(3):
        with PerfBuffer(array, SLOTS) as buffer:
            assert sender.send(turn) == 0
            assert [number(event) for event in buffer.drain()] == [turn]


def test_a_forgotten_reader_is_closed_with_a_warning(array):
    before = left_behind()
    with pytest.warns(ResourceWarning, match="unclosed <PerfBuffer of map 'events'>"):
        PerfBuffer(array, SLOTS, what="map 'events'")
        gc.collect()
    assert left_behind() == before


@pytest.mark.any_kernel
@pytest.mark.parametrize("step", ["perf_event_open", "_map_ring", "map_update_elem", "ioctl", "PerfReader"])
def test_a_failed_constructor_leaves_nothing_behind(array, sender, monkeypatch, step):
    """Each step fails, the ones that are made for each CPU on the last of them."""
    real = getattr(perf, step)
    calls = []

    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == (1 if step == "PerfReader" else len(cpus.online())):
            raise KernelError(errno.EACCES, step)
        return real(*args, **kwargs)

    before = left_behind()
    monkeypatch.setattr(perf, step, fails)
    with pytest.raises(KernelError, match=step):
        PerfBuffer(array, SLOTS)
    calls.clear()
    assert left_behind() == before
    assert sender.send() == errno.ENOENT


def test_a_descriptor_that_is_no_perf_event_array():
    before = left_behind()
    attr = bpf_attr_map_create(
        map_type=bpf_map_type.BPF_MAP_TYPE_PROG_ARRAY, key_size=4, value_size=4, max_entries=SLOTS
    )
    with Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "other map") as other, pytest.raises(KernelError):
        PerfBuffer(other, SLOTS)
    with pytest.raises(OSError, match="Bad file descriptor"):
        PerfBuffer(1_000_000, SLOTS)
    assert left_behind() == before


def test_rings_larger_than_the_limit_of_locked_memory(array):
    """Without CAP_IPC_LOCK the limit counts.  Capabilities belong to threads: take it from one made for that."""
    if Path("/proc/sys/kernel/perf_event_paranoid").read_text() == "-1\n":
        pytest.skip("needs a kernel with a limit of locked memory (kernel.perf_event_paranoid is -1)")
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    answers = []

    def without_ipc_lock():
        header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, the calling thread
        libc = ctypes.CDLL(None, use_errno=True)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same of the upper 32
        assert libc.capget(header, sets) == 0
        sets[0] &= ~(1 << 14)
        assert libc.capset(header, sets) == 0
        try:
            PerfBuffer(array, SLOTS, pages=2**15, what="map 'events'").close()
        except KernelError as error:
            answers.append(error)

    before = left_behind()
    thread = threading.Thread(target=without_ipc_lock)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (2**20, hard))
    try:
        thread.start()
        thread.join()
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
    (error,) = answers
    assert error.errno == errno.EPERM
    assert "mapping a perf ring of 32768 pages for CPU 0 of map 'events'" in str(error)
    assert "perf_event_mlock_kb" in str(error)
    answers.clear()
    del error
    assert left_behind() == before
