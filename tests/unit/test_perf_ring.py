"""Perf rings laid out by hand, as include/uapi/linux/perf_event.h defines them: no kernel, no root."""

from __future__ import annotations

import itertools
import struct
import sys

import pytest

from purebpf.events.perf import PerfReader, PerfRing, RingError, Sample, split

PAGE = 4096
PERF_RECORD_LOST = 2
PERF_RECORD_THROTTLE = 5
PERF_RECORD_SAMPLE = 9


def record(kind, body):
    assert len(body) % 8 == 0  # the kernel makes every record a multiple of 8 bytes
    return struct.pack("=IHH", kind, 0, 8 + len(body)) + body


def sample(payload):
    """A sample as the kernel writes it: a u32 size that counts the padding, the payload, the padding."""
    raw = payload + b"\xee" * (-(4 + len(payload)) % 8)
    return record(PERF_RECORD_SAMPLE, struct.pack("=I", len(raw)) + raw)


def lost(count):
    return record(PERF_RECORD_LOST, struct.pack("=QQ", 77, count))


class KernelSide:
    """Writes records into a ring as the kernel does: drops them and counts when there is no room."""

    def __init__(self, data_size=PAGE, start=0):
        self.memory = bytearray(PAGE + data_size)
        self.data_size = data_size
        self.lost = 0
        self.total_lost = 0
        self._words = memoryview(self.memory).cast("Q")
        self._words[1024 // 8] = self._words[1032 // 8] = start
        self._words[1040 // 8], self._words[1048 // 8] = PAGE, data_size

    @property
    def head(self):
        return self._words[1024 // 8]

    @property
    def tail(self):
        return self._words[1032 // 8]

    def write(self, *records):
        for data in records:
            if self.lost:
                data = lost(self.lost) + data
            if self.data_size - (self.head - self.tail) < len(data):
                self.lost += 1
                self.total_lost += 1
                continue
            self.lost = 0
            for place, byte in enumerate(data, self.head):
                self.memory[PAGE + place % self.data_size] = byte
            self._words[1024 // 8] = (self.head + len(data)) % 2**64


class TestRing:
    @pytest.mark.parametrize("start", range(0, 64, 8))
    def test_a_record_may_wrap_at_every_8_bytes(self, start):
        side = KernelSide(64, start=start)
        ring = PerfRing(side.memory)
        for number in range(50):
            side.write(sample(f"event {number:04}, 28 bytes in all.".encode()))  # a record of 40 bytes
            chunk, head = ring.copy()
            assert split(chunk) == ([f"event {number:04}, 28 bytes in all.".encode()], 0)
            ring.free(head)
            assert side.tail == side.head

    def test_a_full_ring_is_one_copy(self):
        side = KernelSide(96, start=40)
        side.write(*[sample(bytes([n]) * 12) for n in range(4)])
        assert side.lost == 0
        assert side.head - side.tail == 96
        chunk, _ = PerfRing(side.memory).copy()
        assert split(chunk) == ([bytes([n]) * 12 for n in range(4)], 0)

    def test_copying_gives_back_no_room_until_it_is_freed(self):
        side = KernelSide()
        ring = PerfRing(side.memory)
        side.write(sample(b"once"))
        assert ring.copy() == ring.copy()
        assert side.tail == 0
        assert ring.has_unread()
        ring.free(ring.copy()[1])
        assert side.tail == side.head
        assert not ring.has_unread()
        assert ring.copy()[0] == b""

    def test_positions_beyond_4_gib(self):
        side = KernelSide(PAGE, start=2**32 - 8)
        ring = PerfRing(side.memory)
        side.write(sample(b"abcd"))
        chunk, head = ring.copy()
        assert split(chunk) == ([b"abcd"], 0)
        assert head == 2**32 + 8

    def test_positions_of_a_32_bit_kernel_wrap(self):
        side = KernelSide(PAGE, start=2**32 - 8)
        side.write(sample(b"abcd"))
        side._words[1024 // 8] = 8
        ring = PerfRing(side.memory)
        chunk, head = ring.copy()
        assert split(chunk) == ([b"abcd"], 0)
        ring.free(head)
        assert side.tail == 8

    @pytest.mark.parametrize("head", [PAGE + 8, 2**31, 2**64 - 8])
    def test_more_unread_bytes_than_the_ring_has_room_for(self, head):
        side = KernelSide()
        side._words[1024 // 8] = head
        with pytest.raises(RingError, match=f"ring of CPU 3: head {head} and tail 0 cannot be"):
            PerfRing(side.memory, "ring of CPU 3").copy()

    @pytest.mark.parametrize("offset, size", [(PAGE, 0), (PAGE, PAGE + 8), (0, 3 * PAGE), (2**63, PAGE)])
    def test_a_data_area_outside_of_the_memory(self, offset, size):
        memory = bytearray(2 * PAGE)
        struct.pack_into("=QQ", memory, 1040, offset, size)
        with pytest.raises(RingError, match="no data area"):
            PerfRing(memory)

    def test_memory_too_short_for_the_control_page(self):
        with pytest.raises(RingError, match="1055 bytes are too short"):
            PerfRing(bytearray(1055))

    def test_a_closed_ring_lets_go_of_its_memory(self):
        side = KernelSide()
        ring = PerfRing(side.memory)
        ring.close()
        side._words.release()
        side.memory.append(0)  # a bytearray that is looked into cannot be resized


class TestSplit:
    def test_payload_sizes_are_those_that_the_kernel_says(self):
        for size in range(40):
            payloads, _ = split(sample(bytes(size)))
            assert payloads == [bytes(size) + b"\xee" * (len(payloads[0]) - size)]
            assert (4 + len(payloads[0])) % 8 == 0

    def test_lost_records_are_added_up(self):
        chunk = sample(b"1") + lost(3) + sample(b"2") + lost(2**40) + sample(b"3")
        payloads, count = split(chunk)
        assert [payload[:1] for payload in payloads] == [b"1", b"2", b"3"]
        assert count == 3 + 2**40

    def test_other_records_are_passed_over(self):
        chunk = record(PERF_RECORD_THROTTLE, bytes(24)) + sample(b"abcd") + record(99, b"")
        assert split(chunk + sample(b"efgh")) == ([b"abcd", b"efgh"], 0)

    @pytest.mark.parametrize(
        "bad",
        [
            struct.pack("=IHHI", PERF_RECORD_SAMPLE, 0, 0, 4) + bytes(12),  # a size of 0 would never end
            struct.pack("=IHHI", PERF_RECORD_SAMPLE, 0, 7, 4) + bytes(12),  # shorter than its header
            struct.pack("=IHHI", PERF_RECORD_SAMPLE, 0, 32, 4) + bytes(12),  # longer than what there is
            struct.pack("=IHHI", PERF_RECORD_SAMPLE, 0, 24, 13) + bytes(12),  # raw data longer than that
            struct.pack("=IHH", PERF_RECORD_SAMPLE, 0, 8),  # no room for the size of the raw data
            struct.pack("=IHHI", PERF_RECORD_LOST, 0, 16, 0) + bytes(4),  # no room for the count
            b"\x09\0\0\0",  # half a header
        ],
    )
    @pytest.mark.parametrize("before", [b"", sample(b"good")])
    def test_a_malformed_record_is_an_error(self, bad, before):
        with pytest.raises(RingError, match=f"CPU 5: no record can start .*, {len(bad)} before"):
            split(before + bad, "perf ring of CPU 5")


class PointCodec:
    size = 8

    def decode(self, buffer, offset=0):
        return struct.unpack_from("=ii", buffer, offset)


class TestReader:
    def test_events_of_all_rings(self):
        sides = {0: KernelSide(), 7: KernelSide(), 4095: KernelSide()}
        reader = PerfReader({cpu: PerfRing(side.memory) for cpu, side in sides.items()})
        sides[4095].write(sample(b"cccc"))
        sides[0].write(sample(b"aaaa"), sample(b"bbbb"))
        reader.take()
        assert sorted(reader.events) == [Sample(0, b"aaaa"), Sample(0, b"bbbb"), Sample(4095, b"cccc")]
        assert not reader.has_events()
        reader.take()
        assert list(reader.events) == []

    def test_a_codec_decodes_longer_and_shorter_events(self):
        side = KernelSide()
        reader = PerfReader({0: PerfRing(side.memory)}, codec=PointCodec())
        side.write(sample(struct.pack("=iii", 1, -2, 9)), sample(struct.pack("=ii", 3, 4)))
        side.write(sample(struct.pack("=i", 5)))
        reader.take()
        assert list(reader.events) == [(1, -2), (3, 4), (5, 0)]

    def test_what_was_not_taken_comes_first_after_the_next_pass(self):
        side = KernelSide()
        reader = PerfReader({0: PerfRing(side.memory)})
        side.write(*[sample(bytes([n]) * 4) for n in range(3)])
        reader.take()
        assert next(reader.events).data == b"\0\0\0\0"
        side.write(sample(b"\3\3\3\3"))
        reader.take()
        assert [event.data[0] for event in reader.events] == [1, 2, 3]

    def test_the_room_is_free_before_anything_is_decoded(self):
        side = KernelSide()

        class Looks:
            size = 1

            def decode(self, buffer, offset=0):
                return side.head - side.tail

        reader = PerfReader({0: PerfRing(side.memory)}, codec=Looks())
        side.write(sample(b"a"), sample(b"b"))
        reader.take()
        assert list(reader.events) == [0, 0]

    def test_a_busy_cpu_does_not_starve_the_others(self):
        busy, quiet = KernelSide(64), KernelSide(64)

        class BusyRing(PerfRing):
            def free(self, head):
                super().free(head)
                busy.write(sample(b"more"), sample(b"more"))

        reader = PerfReader({0: BusyRing(busy.memory), 1: PerfRing(quiet.memory)})
        busy.write(sample(b"more"))
        quiet.write(sample(b"once"))
        reader.take()
        assert sorted(reader.events) == [Sample(0, b"more"), Sample(1, b"once")]

    def test_a_malformed_record_is_said_once_and_costs_other_rings_nothing(self):
        bad, good = KernelSide(), KernelSide()
        reader = PerfReader({0: PerfRing(bad.memory), 1: PerfRing(good.memory)})
        bad.write(bytes(24))
        good.write(sample(b"fine"))
        with pytest.raises(RingError):
            reader.take()
        bad.write(sample(b"more"))
        reader.take()
        assert sorted(reader.events) == [Sample(0, b"more"), Sample(1, b"fine")]

    def test_losses_are_counted_once_whoever_tells_them(self):
        side, calls = KernelSide(64), []
        reader = PerfReader({2: PerfRing(side.memory)}, on_lost=lambda cpu, count: calls.append((cpu, count)))
        side.write(*[sample(bytes(28))] * 4)  # one fits, three are lost
        reader.take()
        assert reader.lost() == {2: 0}
        reader.count_lost({2: side.total_lost})  # the kernel's counter knows at once
        assert reader.lost() == {2: 3}
        side.write(sample(b"next"))  # the record that comes with the next event says the same
        reader.take()
        assert reader.lost() == {2: 3}
        assert calls == [(2, 3)]
        side.write(*[sample(bytes(28))] * 3)
        reader.take()
        side.write(sample(b"last"))
        reader.take()  # and here the record is first
        assert calls == [(2, 3), (2, side.total_lost - 3)]
        reader.count_lost({2: side.total_lost})
        assert reader.lost() == {2: side.total_lost}
        assert len(calls) == 2

    def test_a_callback_that_raises_loses_no_event(self):
        side = KernelSide(64)

        def on_lost(cpu, count):
            raise ZeroDivisionError

        reader = PerfReader({0: PerfRing(side.memory)}, on_lost=on_lost)
        side.write(*[sample(bytes(28))] * 3)
        reader.take()
        assert len(list(reader.events)) == 1
        side.write(sample(b"next"))
        with pytest.raises(ZeroDivisionError):
            reader.take()
        assert list(reader.events) == [Sample(0, b"next")]

    def test_events_received_and_lost_are_all_events(self):
        """Random traffic: a reader that is too slow still accounts for every event."""
        side = KernelSide(256)
        reader = PerfReader({0: PerfRing(side.memory)})
        received, sent = [], 0
        for turn in range(500):
            for _ in range(turn * 7919 % 13):
                side.write(sample(struct.pack("=I", sent) + bytes(turn * 31 % 40)))
                sent += 1
            reader.take()
            received += [struct.unpack_from("=I", event.data)[0] for event in reader.events]
        reader.count_lost({0: side.total_lost})
        assert side.total_lost > 100
        assert received == sorted(received)
        assert len(received) + reader.lost()[0] == sent


def test_an_interruption_at_any_step_loses_and_repeats_nothing():
    """Raise KeyboardInterrupt at the first, second, third, ... bytecode of a pass, and go on from there."""
    for step in itertools.count():
        sides = {0: KernelSide(128, start=72), 1: KernelSide(128, start=72)}
        reader = PerfReader({cpu: PerfRing(side.memory) for cpu, side in sides.items()}, codec=PointCodec())
        sides[0].write(sample(struct.pack("=ii", 0, -2)), sample(struct.pack("=ii", 0, -1)))
        reader.take()
        received = [next(reader.events)]  # one of two events was taken when the next pass begins
        for cpu, side in sides.items():
            side.write(*[sample(struct.pack("=ii", cpu, number)) for number in range(6)])

        def receive(reader=reader, received=received):
            reader.take()
            received.extend(reader.events)
            reader.count_lost({})

        interrupted = _interrupt_at(step, receive)
        receive()
        for cpu, side in sides.items():
            side.write(sample(struct.pack("=ii", cpu, 100)))
        receive()
        for cpu, side in sides.items():
            numbers = [number for event_cpu, number in received if event_cpu == cpu]
            earlier = [-2, -1] if cpu == 0 else []
            assert numbers == [*earlier, 0, 1, 2, 3, 4, 100], f"interrupted at bytecode {step}"
            assert reader.lost()[cpu] == side.total_lost == 1
        if not interrupted:
            break
    assert step > 300


def _interrupt_at(step, function):
    """Run ``function``, raise KeyboardInterrupt at that bytecode of perf.py; whether it came so far."""
    countdown = itertools.count(step, -1)

    def trace(frame, event, _):
        if not frame.f_code.co_filename.endswith("events/perf.py"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(countdown) == 0:
            raise KeyboardInterrupt
        return trace

    outer = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(outer)
    return False
