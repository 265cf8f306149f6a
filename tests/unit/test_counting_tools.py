"""Tools that count in the kernel and print at the end: what they make of the counts."""

from __future__ import annotations

import errno
import struct
from types import SimpleNamespace

import pytest

import purebpf
from purebpf.btf.value import CharArray
from purebpf.tools import profile, runqlat, xdpcount
from purebpf.tools.hello_kprobe import Front as HelloKprobe
from purebpf.tools.symbols import Frame

OVER = SimpleNamespace(wait=lambda *sources: False, over=True)


class Map(dict):
    max_entries = 1024


def loaded(**maps):
    return SimpleNamespace(maps={name: Map(values) for name, values in maps.items()}, detach=lambda: None)


# runqlat


def histogram(slots, not_measured=0):
    counts = {slot: [0, 0] for slot in range(33)}
    counts |= {slot: list(of_each_cpu) for slot, of_each_cpu in slots.items()}
    return loaded(histogram=counts | {32: [not_measured, 0]})


def test_a_histogram():
    front = runqlat.Front()
    rows = list(front.rows(histogram({0: (1, 2), 2: (0, 40), 3: (1, 0)}), None, OVER))
    assert rows == [
        {"from_us": 0, "to_us": 1, "waits": 3},
        {"from_us": 2, "to_us": 3, "waits": 0},
        {"from_us": 4, "to_us": 7, "waits": 40},
        {"from_us": 8, "to_us": 15, "waits": 1},
    ]
    lines = [front.line(row) for row in rows]
    assert [line.count("*") for line in lines] == [3, 0, 40, 1]
    assert lines[2].split() == ["4", "->", "7", ":", "40", f"|{'*' * 40}|"]
    assert len({len(line) for line in lines}) == 1
    assert front.remark() == ""


def test_the_longest_and_no_waits():
    front = runqlat.Front()
    assert list(front.rows(histogram({}), None, OVER)) == []
    rows = list(front.rows(histogram({31: (1, 0)}, not_measured=2), None, OVER))
    assert rows[-1] == {"from_us": 1 << 31, "to_us": (1 << 32) - 1, "waits": 1}
    assert front.remark() == "2 waits not measured because too many tasks were waiting"


# xdpcount


def key(ethertype, protocol=0, truncated=0):
    return SimpleNamespace(ethertype=ethertype, protocol=protocol, truncated=truncated)


def counter(packets, size):
    return SimpleNamespace(packets=packets, bytes=size)


class Pairs(Map):
    """A map whose keys need not be hashable."""

    def __init__(self, pairs):
        super().__init__()
        self.pairs = pairs

    def items(self):
        return self.pairs

    def __len__(self):
        return len(self.pairs)


@pytest.mark.parametrize(
    ("packet", "title"),
    [
        (key(0x800, 6), "IPv4 TCP"),
        (key(0x86DD, 58), "IPv6 ICMPv6"),
        (key(0x800, 200), "IPv4 protocol 200"),
        (key(0x800, 0, 1), "IPv4, truncated"),
        (key(0x806), "ARP"),
        (key(0x1234), "ethertype 0x1234"),
        (key(0), "IEEE 802.3"),
        (key(0, 0, 1), "truncated"),
    ],
)
def test_titles_of_packets(packet, title):
    assert xdpcount._title(packet) == title


def test_packets_of_all_cpus():
    bpf = loaded()
    bpf.maps["counters"] = Pairs(
        [(key(0x806), [counter(1, 42), counter(0, 0)]), (key(0x800, 17), [counter(5, 500), counter(6, 60)])]
    )
    front = xdpcount.Front()
    rows = list(front.rows(bpf, None, OVER))
    assert rows == [
        {"protocol": "IPv4 UDP", "ethertype": 0x800, "ip_protocol": 17, "packets": 11, "bytes": 560},
        {"protocol": "ARP", "ethertype": 0x806, "ip_protocol": None, "packets": 1, "bytes": 42},
    ]
    assert front.line(rows[0]).split() == ["IPv4", "UDP", "11", "560"]
    assert front.remark() == ""
    bpf.maps["counters"].max_entries = 2
    list(front.rows(bpf, None, OVER))
    assert "full" in front.remark()


class Driver:
    """A program for an interface whose driver answers ``code``."""

    def __init__(self, code):
        self.code, self.modes = code, []

    def attach_xdp(self, interface, mode="auto"):
        self.modes.append(mode)
        if mode == "auto":
            raise purebpf.KernelError(self.code, "attaching")
        return f"{interface} {mode}"


def test_generic_mode_where_the_driver_cannot():
    front = xdpcount.Front()
    front.configure(SimpleNamespace(pages=None, interface="eth0"))
    bpf = SimpleNamespace(programs={"count_packet": Driver(errno.ERANGE)}, links=[])
    front.attach(bpf)
    assert bpf.links == ["eth0 generic"]
    bpf = SimpleNamespace(programs={"count_packet": Driver(errno.EBUSY)}, links=[])
    with pytest.raises(purebpf.KernelError):
        front.attach(bpf)
    assert bpf.programs["count_packet"].modes == ["auto"]


# profile

BURN, MAIN, UNNAMED = Frame("burn", "prog"), Frame("main", "prog"), Frame(None, "libc.so.6")
READ, ENTRY = Frame("vfs_read", "kernel"), Frame("entry", "kernel")


class Kernel:
    hidden = False

    def frames(self, stack):
        return [{1: READ, 2: ENTRY}[address] for address in stack]


class Processes:
    def __init__(self, ended=()):
        self.ended = set(ended)

    def frames(self, pid, stack):
        return [{3: BURN, 4: MAIN, 5: UNNAMED, 6: BURN}[address] for address in stack]


@pytest.fixture
def made_profile(monkeypatch):
    """The rows of a profile of these counts: {(pid, kernel stack, user stack): samples}; and its front."""

    def make(counts, *, ended=(), lost=0, **options):
        monkeypatch.setattr(profile, "KernelSymbols", Kernel)
        monkeypatch.setattr(profile, "ProcessSymbols", lambda: Processes(ended))
        stacks = {10: [1, 2], 20: [3, 4], 21: [6, 4], 22: [4, 5], 30: list(range(1, 1)) or [3] * 127}
        bpf = loaded(lost={0: [lost, 0]})
        bpf.maps["stacks"] = {
            number: struct.pack(f"{len(stack)}Q", *stack).ljust(127 * 8, b"\0") for number, stack in stacks.items()
        }
        bpf.maps["counts"] = Pairs(
            [
                (SimpleNamespace(pid=pid, comm=CharArray(b"a;b\0"), kernel_stack=kernel, user_stack=user), samples)
                for (pid, kernel, user), samples in counts.items()
            ]
        )
        front = profile.Front()
        defaults = {"pages": None, "pid": None, "frequency": 99, "folded": False, "json": False}
        front.configure(SimpleNamespace(**defaults | options))
        return front, list(front.rows(bpf, None, OVER))

    return make


NONE, COLLISION = -errno.EFAULT, -errno.EEXIST
COUNTS = {(7, NONE, 20): 5, (7, NONE, 21): 6, (7, 10, 20): 4, (8, NONE, 22): 1}


def test_functions_by_samples(made_profile):
    front, rows = made_profile(COUNTS)
    found = [(row["samples"], row["pid"], row["function"], row["object"]) for row in rows]
    assert found == [(11, 7, "burn", "prog"), (4, 7, "vfs_read", "kernel"), (1, 8, "main", "prog")]
    assert front.line(rows[0]).split() == ["11", "68.8%", "7", "a;b", "burn", "(prog)"]
    assert front.remark() == ""


def test_whole_stacks(made_profile):
    """Stacks of the same functions are one, wherever in them the processor was."""
    _, rows = made_profile(COUNTS, json=True)
    assert [(row["samples"], row["user"], row["kernel"]) for row in rows] == [
        (11, ["main", "burn"], []),
        (4, ["main", "burn"], ["entry", "vfs_read"]),
        (1, ["[libc.so.6]", "main"], []),
    ]


def test_folded_stacks(made_profile):
    """What flamegraph.pl reads: names between semicolons, then the number; _[k] makes the kernel's functions orange."""
    front, rows = made_profile(COUNTS, folded=True)
    assert front.header == ""
    assert [front.line(row) for row in rows] == [
        "a:b;main;burn 11",
        "a:b;main;burn;entry_[k];vfs_read_[k] 4",
        "a:b;[libc.so.6];main 1",
    ]


def test_the_longest_stack(made_profile):
    _, rows = made_profile({(7, NONE, 30): 1}, json=True)
    assert rows[0]["user"] == ["burn"] * 127


def test_what_a_profile_lacks_is_remarked(made_profile):
    front, rows = made_profile({(7, NONE, COLLISION): 3, (9, COLLISION, NONE): 2}, ended={9}, lost=4)
    assert [row["function"] for row in rows] == ["[lost]", "[lost]"]
    remark = front.remark()
    assert "4 samples lost because the map of counts was full" in remark
    assert "5 samples without stack because the map of stacks was too small" in remark
    assert "2 samples without names because the process has ended" in remark
    front, rows = made_profile({})
    assert (rows, front.remark()) == ([], "nothing was running")


# hello-kprobe


def test_two_forms_of_hello():
    for ring, loaded_program in ((False, "hello"), (True, "hello_ring")):
        front = HelloKprobe()
        front.configure(SimpleNamespace(pages=None, ring=ring))
        programs = {name: SimpleNamespace(autoload=True) for name in ("hello", "hello_ring")}
        front.prepare(SimpleNamespace(variables={}, programs=programs))
        assert [name for name, program in programs.items() if program.autoload] == [loaded_program]


def test_names_that_could_not_be_read():
    front = HelloKprobe()
    front.configure(SimpleNamespace(pages=None, ring=True))
    assert front.line({"pid": 1, "comm": "a\n", "file": None}).split(maxsplit=2) == ["1", "a\\n", "(name not readable)"]
    assert front.line({"pid": 1, "comm": "a", "file": "x y"}).endswith("'x y'")
