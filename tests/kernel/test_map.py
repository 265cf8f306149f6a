"""Live maps: what Python puts in the program and bpftool see, and the other way round."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
from kernel_state import RELEASE

import purebpf
from purebpf.abi.attr import bpf_map_info
from purebpf.abi.bpf import bpf_elem_flags, bpf_map_flags
from purebpf.errors import KernelError
from purebpf.kernel import cpu
from purebpf.kernel.bpf import obj_get_info_by_fd

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("bpftool")]

OBJECT = Path(__file__).resolve().parents[1] / "objects/load_maps.bpf.o"
ENTRIES = 8
CPUS = len(cpu.possible())


@pytest.fixture
def bpf():
    spec = purebpf.parse(OBJECT)
    spec.variables["target_pid"] = os.getpid()
    with spec.load() as loaded:
        yield loaded


@pytest.fixture
def counts(bpf):
    return bpf.maps["counts"]


def hit(times=1):
    """Run the program, on one CPU; returns the CPU's number."""
    before = os.sched_getaffinity(0)
    this = min(before)
    os.sched_setaffinity(0, {this})
    try:
        for _ in range(times):
            os.sched_rr_get_interval(0)
    finally:
        os.sched_setaffinity(0, before)
    return this


def dump(live):
    """The elements as bpftool shows them by the map's BTF: [(key, value)]."""
    number = str(obj_get_info_by_fd(live.fileno(), bpf_map_info).id)
    entries = json.loads(subprocess.check_output(["bpftool", "-j", "map", "dump", "id", number]))
    return [(entry["formatted"]["key"], entry["formatted"]["value"]) for entry in entries]


# --- hash maps ---


def test_like_a_dict(counts):
    assert len(counts) == 0 and list(counts) == [] and 5 not in counts
    counts[5] = 50
    counts[6] = 60
    assert counts[5] == 50 and 5 in counts and len(counts) == 2
    assert dict(counts) == {5: 50, 6: 60} == dict(dump(counts))
    assert sorted(counts.keys()) == [5, 6] and sorted(counts.values()) == [50, 60]
    assert sorted(counts.items()) == [(5, 50), (6, 60)]
    assert (6, 60) in counts.items() and 60 in counts.values() and len(counts.items()) == 2
    del counts[5]
    assert list(counts) == [6] and counts.get(5) is None and counts.get(5, 7) == 7
    assert counts.pop(6) == 60 and counts.pop(6, 9) == 9
    assert counts.setdefault(1, 11) == counts.setdefault(1, 12) == 11
    counts.update({2: 22, 3: 33})
    assert dict(dump(counts)) == {1: 11, 2: 22, 3: 33}
    counts.clear()
    assert dump(counts) == []


def test_missing_keys(counts):
    for access in (counts.__getitem__, counts.__delitem__, counts.pop):
        with pytest.raises(KeyError, match=r"^77$"):
            access(77)
    with pytest.raises(KeyError):
        counts[77] += 1


def test_a_map_is_itself_only(counts, bpf):
    counts[1] = 1
    assert counts == bpf.maps["counts"] != dict(counts)
    assert {counts: 1}[bpf.maps["counts"]] == 1


def test_written_by_the_program(bpf, counts):
    pid = os.getpid()
    bpf.attach()
    hit(3)
    assert counts[pid] == 3
    counts[pid] += 1
    hit()
    assert counts[pid] == 5 == dict(dump(counts))[pid]
    (place,) = bpf.maps["places"]
    assert (place.pid, place.comm) == (pid, Path("/proc/self/comm").read_text().strip())
    seen = bpf.maps["places"][place]
    assert (seen.times, seen.nice, seen.range.low, seen.range.high) == (4, -5, 3, 4)
    assert bpf.maps["slots"][1] == -4
    assert dict(bpf.maps["recent"]) == {pid: 4}


def test_a_full_map(counts):
    for number in range(ENTRIES):
        counts[number] = number
    counts[0] = 100  # replacing takes no room
    with pytest.raises(KernelError, match=r"^writing to map 'counts': .*E2BIG.*full") as caught:
        counts[ENTRIES] = 1
    assert caught.value.errno == errno.E2BIG
    assert len(counts) == ENTRIES


def test_update_flags(counts):
    counts.update_element(1, 10, bpf_elem_flags.BPF_NOEXIST)
    with pytest.raises(KernelError) as caught:
        counts.update_element(1, 20, bpf_elem_flags.BPF_NOEXIST)
    assert caught.value.errno == errno.EEXIST
    counts.update_element(1, 20, bpf_elem_flags.BPF_EXIST)
    with pytest.raises(KernelError) as caught:
        counts.update_element(2, 20, bpf_elem_flags.BPF_EXIST)
    assert caught.value.errno == errno.ENOENT
    assert dict(counts) == {1: 20}


def test_deleting_while_walking(counts):
    for number in range(ENTRIES):
        counts[number] = number
    seen = []
    for number in counts:
        seen.append(number)
        del counts[number]
    assert sorted(seen) == list(range(ENTRIES))
    assert len(counts) == 0


def test_keys_that_go_away_while_walking(counts):
    """As when the program deletes them: what is gone is left out, and the walk comes to an end."""
    for number in range(ENTRIES):
        counts[number] = number
    rest = set(range(ENTRIES))
    for number, _ in counts.items():
        rest -= {number, *list(rest)[:2]}
        for gone in set(counts) - rest - {number}:
            del counts[gone]
    assert len(counts) <= 1
    counts.update({1: 1, 2: 2})
    values = iter(counts.values())
    next(values)
    counts.clear()
    assert list(values) == []


@pytest.mark.parametrize(
    "key, value, error",
    [
        (1 << 32, 0, ValueError),
        (-1, 0, ValueError),
        (0, 1 << 64, ValueError),
        ("one", 0, TypeError),
        (0, None, TypeError),
        (b"123", 0, ValueError),
    ],
)
def test_keys_and_values_that_do_not_fit(counts, key, value, error):
    with pytest.raises(error):
        counts[key] = value
    assert len(counts) == 0


def test_structs(bpf):
    places = bpf.maps["places"]
    places[{"pid": 1, "comm": "init"}] = {"times": 2, "nice": -3, "range": {"low": 4}}
    ((key, value),) = dump(places)
    assert key == {"pid": 1, "comm": "init"}
    assert value == {"times": 2, "nice": -3, "range": {"low": 4, "high": 0}}
    assert places[1, "init"].range.low == 4
    ((key, value),) = places.items()
    places[key] = value._replace(nice=-6)
    assert places[key].nice == -6
    raw = bytes([2, 0, 0, 0]) + b"two".ljust(16, b"\0")
    places[raw] = value
    assert {place.pid: place.comm for place in places} == {1: "init", 2: "two"}


def test_without_types(bpf):
    """Sizes are all that is known: an integer of 2 bytes, a value of 5."""
    untyped = bpf.maps["untyped"]
    untyped[0xFFFF] = b"12345"
    assert dict(untyped) == {0xFFFF: b"12345"}
    with pytest.raises(ValueError):
        untyped[1] = b"1234"


# --- arrays ---


def test_array(bpf):
    slots = bpf.maps["slots"]
    assert list(slots.items()) == [(number, 0) for number in range(ENTRIES)]
    slots[3] = -7
    assert dict(dump(slots))[3] == slots[3] == -7
    with pytest.raises(KeyError):
        slots[ENTRIES]
    with pytest.raises(KernelError, match=r"writing to map 'slots': .*E2BIG.*beyond its max_entries"):
        slots[ENTRIES] = 0
    with pytest.raises(KernelError, match=r"deleting from map 'slots'") as caught:
        del slots[3]
    assert caught.value.errno == errno.EINVAL


# --- per-CPU maps ---


def test_per_cpu_array(bpf):
    """Values of 12 bytes, 16 for each CPU."""
    by_cpu = bpf.maps["by_cpu"]
    assert [tuple(value) for value in by_cpu[0]] == [(0, 0, 0)] * CPUS
    by_cpu[0] = [(number, 0, 0) for number in range(CPUS)]
    bpf.attach()
    this = hit(2)
    assert [tuple(value) for value in by_cpu[0]] == [
        (number + 2, 4, this) if number == this else (number, 0, 0) for number in range(CPUS)
    ]
    assert len(by_cpu) == 2 and [value.a for value in by_cpu[1]] == [0] * CPUS
    with pytest.raises(KeyError):
        by_cpu[2]


@pytest.mark.parametrize("name", ["hash_by_cpu", "recent_by_cpu"])
def test_per_cpu_hash(bpf, name):
    live, pid = bpf.maps[name], os.getpid()
    live[1] = [1 << 63] * CPUS
    bpf.attach()
    this = hit(3)
    assert dict(live) == {1: [1 << 63] * CPUS, pid: [3 if number == this else 0 for number in range(CPUS)]}
    del live[1]
    assert list(live) == [pid]
    for wrong in ([1] * (CPUS + 1), []):
        with pytest.raises(
            ValueError, match=f"'{name}' takes {CPUS} values, one for each possible CPU, not {len(wrong)}"
        ):
            live[1] = wrong


# --- LRU ---


def test_lru(bpf):
    """It never fills up: the kernel drops what was not used for long."""
    recent = bpf.maps["recent"]
    for number in range(100):
        recent[number] = number
    assert len(recent) <= recent.max_entries
    assert recent[99] == 99
    assert all(key == value for key, value in recent.items())


# --- other types ---


def test_a_type_that_is_not_known_by_name(bpf, counts):
    """A kernel newer than this library has map types without a name here; they are used by the same calls."""
    live = purebpf.Map(bpf.maps["counts"]._fd, "newest", 9999, ENTRIES, counts._key, counts._value)
    live[1] = 2
    assert dict(live) == {1: 2}
    assert repr(live) == "<Map 'newest' type 9999>"


def test_what_is_no_ring(counts):
    with pytest.raises(TypeError, match="'counts' BPF_MAP_TYPE_HASH> is no ring of events"):
        counts.read("event")


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("stacks", lambda live: live.update({0: bytes(8 * 127)})),
        ("cgroups", lambda live: live.update({0: 0})),
        pytest.param("bloom", list, marks=pytest.mark.needs_kernel("bloom filters (Linux 5.16)", RELEASE >= (5, 16))),
    ],
)
def test_what_a_map_cannot(name, action):
    """The kernel's answer, with the name of the map."""
    spec = purebpf.parse(OBJECT.with_name("load_map_types.bpf.o"))
    spec.programs.clear()
    for other in spec.maps.keys() - {name}:
        del spec.maps[other]
    with spec.load() as bpf:
        with pytest.raises(KernelError, match=f"^(writing to|walking) map '{name}': "):
            action(bpf.maps[name])


def test_a_map_that_may_only_be_written():
    """BPF_F_WRONLY is about descriptors: the program still reads it."""
    spec = purebpf.parse(OBJECT)
    spec.maps["counts"].map_flags = bpf_map_flags.BPF_F_WRONLY
    with spec.load() as other:
        other.maps["counts"][1] = 1
        with pytest.raises(KernelError, match=r"^reading from map 'counts': ") as caught:
            other.maps["counts"][1]
        assert caught.value.errno == errno.EPERM


def test_nobody_elses(bpf):
    """Descriptors that were closed are not used any more, even where their number is somebody else's now."""
    bpf.close()
    with pytest.raises(ValueError, match="map 'counts' is closed"):
        len(bpf.maps["counts"])
