"""Perf rings: what a BPF program hands to ``bpf_perf_event_output()``, read in Python.

A BPF_MAP_TYPE_PERF_EVENT_ARRAY has a slot for each CPU.  User space puts a perf event of the kind
PERF_COUNT_SW_BPF_OUTPUT into the slot, and maps that event's ring into memory: one control page, then 2**n
data pages.  A program that runs on the CPU appends records to its ring; no other CPU writes there, so the
kernel needs no lock.  The formats are those of include/uapi/linux/perf_event.h.

Each layer here can be understood, and tested, without the one above it:

- :class:`PerfRing` is the memory of one ring.  The kernel moves ``data_head`` on when it has written, we move
  ``data_tail`` on when we have read.  All unread bytes are copied out at once and their room is given back
  before anything is decoded, because a full ring loses events.
- :func:`split` cuts such a copy into the programs' payloads and the count of lost records.
- :class:`PerfReader` makes passes over a set of rings.  A pass takes from each ring what is in it, and no
  more, so that a busy CPU cannot starve the others.
- :class:`PerfBuffer` opens the rings of a live map and sleeps until one of them has something.

**Order.**  Events of one CPU come in the order in which they were sent.  Between CPUs there is no order;
programs that need one send a time stamp.

**Losses.**  A record that finds no room is dropped and counted by the kernel, which writes the count as a
PERF_RECORD_LOST once there is room again, together with the next event.  After the last event that never
happens, so the losses at the end are in no record.  Since Linux 6.0 the event's own counter has them too
(PERF_FORMAT_LOST); ``drain()`` asks for it.  On older kernels the last losses of each CPU stay unknown.

**Interruption.**  A signal handler may raise (Ctrl-C does) between any two steps.  Whatever an interrupted
call had taken from the rings is still there for the next call, once.  That is why all progress of a reader
is one attribute, replaced in one step, and why events are handed out by iterators that run in C.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from copy import copy
from functools import partial
from itertools import chain, repeat
from operator import length_hint
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from purebpf.abi.perf import (
    DATA_HEAD,
    DATA_OFFSET,
    DATA_SIZE,
    DATA_TAIL,
    PERF_EVENT_IOC_ENABLE,
    perf_event_attr,
    perf_event_read_format,
    perf_event_sample_format,
    perf_event_type,
    perf_sw_ids,
    perf_type_id,
)
from purebpf.errors import KernelError, RingError
from purebpf.kernel import cpu as cpus
from purebpf.kernel.bpf import map_delete_elem, map_update_elem
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.perf import ioctl, perf_event_open

DEFAULT_PAGES = 64
"""Data pages of each ring, as in most tools built on libbpf: 256 KiB for a CPU where a page is 4 KiB."""

_SAMPLE = struct.Struct("=IHHI")  # perf_event_header (type, misc, size), then the size of a sample's raw data
_LOST = struct.Struct("=8xQQ")  # past the header: id of the event, number of lost records
_COUNTER = struct.Struct("=QQ")  # what read(2) returns with PERF_FORMAT_LOST: value, number of lost records


class Codec(Protocol):
    """Turns the bytes of an event into a Python value; :mod:`purebpf.btf.value` makes one for a BTF type."""

    @property
    def size(self) -> int: ...

    def decode(self, buffer: bytes, offset: int = 0, /) -> Any: ...


class Sample(NamedTuple):
    """An event whose type is not known: the CPU it was sent on, and its bytes, at most 65,516.

    The kernel makes ``data`` longer, so that 4 + its length is a multiple of 8, and does not say by how much.
    The up to 7 extra bytes are whatever stood in the ring before; a program that sends events of different
    lengths has to say the length itself.
    """

    cpu: int
    data: bytes


_new_sample = partial(tuple.__new__, Sample)  # as Sample(...), without calling a Python function


class PerfRing:
    """The memory of one perf ring: a ``struct perf_event_mmap_page`` and its data area.

    ``memory`` is the mapping of a perf event, or any writable buffer that is laid out alike.  ``what`` names
    it in messages.
    """

    def __init__(self, memory: mmap.mmap | bytearray, what: str = "perf ring") -> None:
        self._what = what
        if len(memory) < DATA_SIZE + 8:
            raise RingError(f"{what}: {len(memory)} bytes are too short for its control page")
        with memoryview(memory) as view:
            self._words = view[: DATA_SIZE + 8].cast("Q")  # each access is one aligned native load or store
            start, size = self._words[DATA_OFFSET // 8], self._words[DATA_SIZE // 8]
            self._data = view[start : start + size]
        if not size or len(self._data) != size:
            self.close()
            raise RingError(f"{what}: no data area of {size} bytes at byte {start}")

    def close(self) -> None:
        """Let go of the memory, so that it can be unmapped."""
        self._words.release()
        self._data.release()

    def has_unread(self) -> bool:
        return self._words[DATA_HEAD // 8] != self._words[DATA_TAIL // 8]

    def copy(self) -> tuple[bytes, int]:
        """All unread bytes, and the value of ``data_head`` up to which they go.  Keeps their room."""
        head, tail = self._words[DATA_HEAD // 8], self._words[DATA_TAIL // 8]
        _barrier()  # the records are read after the head that covers them
        size = len(self._data)
        unread = (head - tail) % 2**32  # on a 32-bit kernel the head is a 32-bit number, and wraps
        if unread > size:
            raise RingError(f"{self._what}: head {head} and tail {tail} cannot be, in a ring of {size} bytes")
        start = tail % size
        stop = start + unread
        if stop <= size:
            return self._data[start:stop].tobytes(), head
        return b"".join((self._data[start:], self._data[: stop - size])), head

    def free(self, head: int) -> None:
        """Give the room of all that was written before ``head`` back to the kernel."""
        _barrier()  # the room is given back after the records in it were read
        self._words[DATA_TAIL // 8] = head


def _barrier() -> None:
    """Keep memory accesses before this call before those after it, on weakly ordered machines (arm64, ppc64).

    Releasing a lock completes what comes before, acquiring it again holds back what comes after.  The lock is
    a fresh one each time, so that threads do not meet here and an interruption leaves nothing half done.
    """
    lock = threading.Lock()
    lock.acquire()
    lock.release()
    lock.acquire()


def split(chunk: bytes, what: str = "perf ring") -> tuple[list[bytes], int]:
    """The payloads of the samples in a copy of a ring's unread bytes, and how many more were lost on the way.

    Records of other kinds are passed over.  Raises :class:`RingError` where a record's size cannot be, as when
    a program has sent more than 65,516 bytes at once: a record's size is a 16-bit number, and the kernel does
    not check.
    """
    payloads: list[bytes] = []
    lost = position = 0
    end = len(chunk)
    unpack, keep = _SAMPLE.unpack_from, payloads.append
    sample = int(perf_event_type.PERF_RECORD_SAMPLE)
    try:
        while position < end:
            kind, _, size, raw_size = unpack(chunk, position)
            following = position + size
            start = position + 12
            if following > end or size < 8 or (kind == sample and raw_size > size - 12):
                raise struct.error
            if kind == sample:
                keep(chunk[start : start + raw_size])
            elif kind == perf_event_type.PERF_RECORD_LOST:
                lost += _LOST.unpack_from(chunk, position)[1]
            position = following
    except struct.error:
        start_of_it = chunk[position : position + 12].hex(" ")
        raise RingError(
            f"{what}: no record can start with the bytes {start_of_it}, {end - position} before data_head. "
            "Does a program send events of more than 65516 bytes?"
        ) from None
    return payloads, lost


class _Copy(NamedTuple):
    cpu: int
    ring: PerfRing
    chunk: bytes
    head: int


class _Progress(NamedTuple):
    """What has left the rings and not reached the user: bytes not yet decoded, events not yet handed out.

    ``lost`` has the sum of each CPU's PERF_RECORD_LOST.
    """

    copies: list[_Copy]
    ready: Iterator[Any]
    lost: dict[int, int]


class PerfReader:
    """Takes events out of a set of rings, ``{cpu: ring}``.  It makes no system call and never waits.

    Events are what ``codec`` makes of them, or a :class:`Sample` each without one.  An event shorter than the
    codec's type is filled up with zeros: programs often send only the used front of a struct.

    ``on_lost(cpu, count)`` is called when ``count`` more events turn out to be lost on a CPU.
    """

    def __init__(
        self,
        rings: Mapping[int, PerfRing],
        *,
        codec: Codec | None = None,
        on_lost: Callable[[int, int], object] | None = None,
    ) -> None:
        self._rings = rings
        self._codec = codec
        self._on_lost = on_lost
        self._progress = _Progress([], iter(()), dict.fromkeys(rings, 0))
        self._counted = dict.fromkeys(rings, 0)
        self._reported = dict.fromkeys(rings, 0)

    @property
    def events(self) -> Iterator[Any]:
        """What was taken and not handed out yet.  Taking an event from this iterator hands it out."""
        return self._progress.ready

    def has_events(self) -> bool:
        return length_hint(self._progress.ready) > 0

    def lost(self) -> dict[int, int]:
        """How many events were lost on each CPU, as far as it is known."""
        return {cpu: max(lost, self._counted[cpu]) for cpu, lost in self._progress.lost.items()}

    def take(self) -> None:
        """Make one pass over all rings, and add what they hold to ``events``."""
        copies, ready, lost = self._progress
        for copied in copies:  # an interrupted pass may not have come so far
            copied.ring.free(copied.head)
        for cpu, ring in self._rings.items():
            if ring.has_unread():
                chunk, head = ring.copy()
                copies.append(_Copy(cpu, ring, chunk, head))
                ring.free(head)
        if not copies:
            return
        events = list(copy(ready))
        lost = dict(lost)
        for copied in list(copies):
            try:
                payloads, lost_here = split(copied.chunk, f"perf ring of CPU {copied.cpu}")
            except RingError:
                copies.remove(copied)  # say it once; the next pass goes on with what was written later
                raise
            events += self._decode(copied.cpu, payloads)
            lost[copied.cpu] += lost_here
        self._progress = _Progress([], iter(events), lost)
        self._report()

    def count_lost(self, counters: Mapping[int, int]) -> None:
        """Take note of what the kernel's own counters say was lost on each CPU, from the start on.

        They are ahead of the PERF_RECORD_LOSTs, never behind: the same losses come again in a record later.
        """
        self._counted.update(counters)
        self._report()

    def _decode(self, cpu: int, payloads: list[bytes]) -> list[Any]:
        if self._codec is None:
            return list(map(_new_sample, zip(repeat(cpu), payloads)))
        decode, size = self._codec.decode, self._codec.size
        return [decode(data if len(data) >= size else data.ljust(size, b"\0")) for data in payloads]

    def _report(self) -> None:
        if self._on_lost is None:
            return
        for cpu, lost in self.lost().items():
            more = lost - self._reported[cpu]
            if more:
                self._reported[cpu] = lost
                self._on_lost(cpu, more)


class PerfBuffer:
    """Reads the events that BPF programs send to a live BPF_MAP_TYPE_PERF_EVENT_ARRAY.

        with PerfBuffer(map_fd, max_entries) as buffer:
            for sample in buffer:  # waits for events, forever
                print(sample.cpu, sample.data)

    Opens a ring of ``pages`` data pages (a power of two) for each CPU that is online now and puts it into the
    CPU's slot of the map.  A CPU that comes online later has none.  A CPU whose number is beyond the map's
    ``max_entries`` has no slot: its events are dropped and the kernel does not count them, so that a
    RuntimeWarning names it.  The map can have one reader at a time: a second one takes the slots over.

    Events are what ``codec`` makes of them, or a :class:`Sample` each without one.  An event shorter than the
    codec's type is filled up with zeros.  ``on_lost(cpu, count)`` is called when ``count`` more events turn
    out to be lost on a CPU because its ring was full.  ``what`` names the map in messages.

    To end a run and know that each event was either received or counted as lost: detach the programs, use up
    ``drain()``, look at ``lost``.  Not for use by several threads at the same time.

    Raises ValueError for ``pages``, :class:`KernelError` when the kernel refuses the rings.
    """

    _closed = True  # until all is open

    def __init__(
        self,
        map_fd: Fd | int,
        max_entries: int,
        *,
        codec: Codec | None = None,
        pages: int = DEFAULT_PAGES,
        on_lost: Callable[[int, int], object] | None = None,
        what: str = "a perf event array",
    ) -> None:
        if pages < 1 or pages & (pages - 1):
            raise ValueError(f"a perf ring has a power of two data pages (1, 2, 4, ...), not {pages}")
        self._what = what
        rings: dict[int, PerfRing] = {}
        self._counters: dict[int, Fd] = {}
        online = cpus.online()
        without_slot = [cpu for cpu in online if cpu >= max_entries]
        if without_slot:
            warnings.warn(
                f"{what} has {max_entries} slots: events sent on CPU {', '.join(map(str, without_slot))} are "
                "dropped uncounted. Give the map as many entries as there are CPUs",
                RuntimeWarning,
                stacklevel=2,
            )
        with ExitStack() as opened:
            # A descriptor of our own: close() empties the slots, whatever the caller has done to his by then.
            slots = opened.enter_context(Fd(os.dup(number_of(map_fd)), f"{what}, for its reader"))
            self._epoll = opened.enter_context(select.epoll())
            for cpu in online:
                if cpu >= max_entries:
                    continue
                try:
                    event, counts_lost = _open_event(cpu, what)
                except KernelError as error:
                    if error.errno == errno.ENODEV:  # it went offline since it was listed
                        continue
                    raise
                opened.enter_context(event)
                rings[cpu] = _map_ring(event, cpu, pages, what, opened)
                if counts_lost:
                    self._counters[cpu] = event
                key = struct.pack("=I", cpu)
                opened.callback(map_delete_elem, slots, key)
                map_update_elem(slots, key, struct.pack("=I", event.fileno()))
                ioctl(event, PERF_EVENT_IOC_ENABLE, action=f"enabling the perf ring of CPU {cpu} for {what}")
                self._epoll.register(event, select.EPOLLIN)
            if not rings:
                raise KernelError(errno.ENODEV, f"opening a perf ring on one of the CPUs {online} for {what}")
            self._rings = rings
            self._reader = PerfReader(rings, codec=codec, on_lost=on_lost)
            self._opened = opened.pop_all()
        self._closed = False

    @property
    def cpus(self) -> list[int]:
        """The CPUs whose rings are read."""
        return list(self._rings)

    @property
    def lost(self) -> int:
        """How many events were lost because a ring was full, as far as it is known: see ``drain()``."""
        return sum(self.lost_by_cpu.values())

    @property
    def lost_by_cpu(self) -> dict[int, int]:
        """The same for each CPU."""
        return self._reader.lost()

    def __iter__(self) -> Iterator[Any]:
        """All events from now on, as they come.  Ends when the loop's body closes the buffer."""
        return chain.from_iterable(iter(self._next, None))

    def poll(self, timeout: float | None = None) -> Iterator[Any]:
        """Wait until there are events, for at most ``timeout`` seconds, or however long it takes with None.

        Returns an iterator over them, which is empty after the timeout.  Events that are not taken from it
        come again from the next call.
        """
        self._check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._reader.has_events():
            self._look(0)
        while not self._reader.has_events():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self._look(left)
        return self._reader.events

    def drain(self) -> Iterator[Any]:
        """All events that are in the rings now, without waiting; afterwards ``lost`` is exact.

        Exact means: each event sent before this call was handed out, is in the iterator returned, or is in
        ``lost``.  Before Linux 6.0, losses after a CPU's last received event are missing.
        """
        self._check_open()
        self._reader.take()
        self._reader.count_lost({cpu: _lost_counter(event) for cpu, event in self._counters.items()})
        return self._reader.events

    def fileno(self) -> int:
        """A descriptor that becomes readable when there are events, for select(), poll() and event loops.

        It says so once: call ``poll(0)`` then, and use up what that returns.
        """
        self._check_open()
        return self._epoll.fileno()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Empty the map's slots and free the rings, unread events and all.  Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._opened.close()

    def __enter__(self) -> PerfBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<PerfBuffer{' (closed)' if self._closed else ''} of {self._what}>"

    def _next(self) -> Iterator[Any] | None:
        return None if self._closed else self.poll()

    def _look(self, timeout: float | None) -> None:
        """Sleep until a ring has something, for at most ``timeout`` seconds, and take what all of them have.

        What epoll says is only a reason to wake up.  Perf says just once that there is something to read, and
        may have said it to whoever watches fileno(), or to a call that was interrupted.
        """
        for number, mask in self._epoll.poll(timeout, len(self._rings)):
            if mask & (select.EPOLLHUP | select.EPOLLERR):
                self._epoll.unregister(number)  # nothing more will come, and epoll would say so forever
        self._reader.take()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the reader of {self._what} is closed")


def _open_event(cpu: int, what: str) -> tuple[Fd, bool]:
    """The perf event for a CPU's ring, and whether it counts its losses (since Linux 6.0; EINVAL before)."""
    action = f"opening the perf ring of CPU {cpu} for {what}"
    attr = perf_event_attr(
        type=perf_type_id.PERF_TYPE_SOFTWARE,
        config=perf_sw_ids.PERF_COUNT_SW_BPF_OUTPUT,
        sample_type=perf_event_sample_format.PERF_SAMPLE_RAW,
        sample_period=1,
        wakeup_events=1,
        read_format=perf_event_read_format.PERF_FORMAT_LOST,
    )
    try:
        return perf_event_open(attr, -1, cpu, action=action), True
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
    attr.read_format = 0
    return perf_event_open(attr, -1, cpu, action=action), False


def _map_ring(event: Fd, cpu: int, pages: int, what: str, opened: ExitStack) -> PerfRing:
    """Map the ring of a perf event; ``opened`` gets what undoes it."""
    size = (1 + pages) * cpus.page_size()
    if size > sys.maxsize:
        raise ValueError(f"{pages} pages are more than a process can map")
    try:
        memory = opened.enter_context(mmap.mmap(event.fileno(), size, mmap.MAP_SHARED))
    except OSError as error:
        hint = {
            errno.EPERM: "Without CAP_IPC_LOCK, /proc/sys/kernel/perf_event_mlock_kb and the limit of locked "
            "memory (ulimit -l) say how large rings may be: raise one of them, or use fewer pages",
            errno.ENOMEM: "Use fewer pages",
        }.get(error.errno or 0, "")
        action = f"mapping a perf ring of {pages} pages for CPU {cpu} of {what}"
        raise KernelError(error.errno or 0, action, hint) from None
    ring = PerfRing(memory, f"perf ring of CPU {cpu}")
    opened.callback(ring.close)
    return ring


def _lost_counter(event: Fd) -> int:
    """How many records found no room in the event's ring since it was opened."""
    _, lost = _COUNTER.unpack(os.read(event.fileno(), _COUNTER.size))
    return int(lost)
