"""The comparison itself: that it sees what differs, and nothing else.  The recordings here are written by hand."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

# The suite is a package of its own, run from the root of the tree.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance import comparison, recording
from tests.conformance.debian import embedded_objects

MAP_CREATE, MAP_UPDATE, PROG_LOAD, BTF_LOAD = 0, 2, 5, 18
LOAD_MAP = b"\x18\x11" + bytes(2)
"""The beginning of a 16-byte load of a map, given by its descriptor."""


def map_create(name, fd_id, *, entries=1, errno=0):
    attributes = struct.pack("=7I16s", 1, 4, 8, entries, 0, 0, 0, name)
    return f"{MAP_CREATE} {errno} {attributes.hex()} new:map:{fd_id}"


def btf_load(content, btf_id):
    attributes = struct.pack("=QQIIII", 0x1000, 0, len(content), 0, 0, 0)
    return f"{BTF_LOAD} 0 {attributes.hex()} 0={content.hex()} new:btf:{btf_id}"


def prog_load(name, insns, prog_id, *objects, address=0x1000, btf_fd=0):
    attributes = struct.pack("=IIQQIIQII16sII", 1, len(insns) // 8, address, address, 0, 0, 0, 0, 0, name, 0, 0)
    attributes += struct.pack("=I", btf_fd)
    words = [f"8={insns.hex()}", f"16={b'GPL'.hex()}00", *objects, f"new:prog:{prog_id}"]
    return f"{PROG_LOAD} 0 {attributes.hex()} {' '.join(words)}"


def load(tmp_path, *lines, outcome="loaded", complaint=""):
    file = tmp_path / "recording"
    file.write_text("\n".join(["mark begin /x.bpf.o all", *lines, f"mark {outcome}", f"mark  p ?q\\n{complaint}\n"]))
    (found,) = recording.read(file)
    return found


def insns(fd, immediate=0):
    return LOAD_MAP + struct.pack("=iQ", fd, 0) + b"\xb7\0\0\0" + struct.pack("=i", immediate)


def loaded(tmp_path, fd=7, number=100, address=0x1000, immediate=0, entries=1):
    return load(
        tmp_path,
        map_create(b"a", number, entries=entries),
        map_create(b"b", number + 1),
        prog_load(b"p", insns(fd, immediate), number, f"{fd}:map:{number + 1}", address=address),
    )


def test_the_same_calls_are_equal_whatever_descriptors_ids_and_addresses_are(tmp_path):
    one, other = loaded(tmp_path), loaded(tmp_path, fd=9, number=500, address=0x2000)
    assert comparison.differences(one, other) == []
    assert one.programs == ["p", "?q"]
    assert one.code()[0].fields["descriptors in insns"] == ((0, "map b"),)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"immediate": 1}, "BPF_PROG_LOAD p: insns: 1 slots, first"),
        ({"entries": 2}, "BPF_MAP_CREATE a: max_entries: 1 by libbpf, 2 by purebpf"),
    ],
)
def test_one_byte_that_differs_is_seen(tmp_path, change, what):
    (found,) = comparison.differences(loaded(tmp_path), loaded(tmp_path, **change))
    assert f"{found.what}: {found.how}".startswith(what)


def test_another_map_in_an_instruction_is_seen(tmp_path):
    lines = [map_create(b"a", 1), map_create(b"b", 2)]
    one = load(tmp_path, *lines, prog_load(b"p", insns(5), 1, "5:map:1"))
    other = load(tmp_path, *lines, prog_load(b"p", insns(5), 1, "5:map:2"))
    (found,) = comparison.differences(one, other)
    assert found.how == "descriptors in insns: ((0, 'map a'),) by libbpf, ((0, 'map b'),) by purebpf"


def test_a_call_that_one_makes_and_the_order_of_calls_are_seen(tmp_path):
    first, second = map_create(b"a", 1), map_create(b"b", 2)
    both = load(tmp_path, first, second)
    (missing,) = comparison.differences(both, load(tmp_path, first))
    assert missing == comparison.Difference("BPF_MAP_CREATE b", "only libbpf makes this call")
    (order,) = comparison.differences(both, load(tmp_path, second, first))
    assert order.what == "order of calls"


def test_a_refusal_is_seen_unless_both_refuse(tmp_path):
    fine, refused = load(tmp_path), load(tmp_path, outcome="refused", complaint="why\\nmore")
    (found,) = comparison.differences(fine, refused)
    assert found == comparison.Difference("refused by purebpf", "why")
    assert comparison.differences(refused, refused) == []


def test_what_the_kernel_answers_is_compared(tmp_path):
    one, other = load(tmp_path, map_create(b"a", 1)), load(tmp_path, map_create(b"a", 1, errno=22))
    (found,) = comparison.differences(one, other)
    assert found.how == "errno: 0 by libbpf, 22 by purebpf"


def test_what_the_kernel_answers_to_something_else_is_not_compared(tmp_path):
    one, other = load(tmp_path, map_create(b"a", 1)), load(tmp_path, map_create(b"a", 1, entries=2, errno=22))
    (found,) = comparison.differences(one, other)
    assert found.how == "max_entries: 1 by libbpf, 2 by purebpf"


def test_probes_are_set_apart(tmp_path):
    probes = [
        btf_load(b"probe", 1),
        map_create(b"libbpf_global", 1),
        prog_load(b"", insns(5), 1, "5:map:1"),
        f"{MAP_UPDATE} 0 {struct.pack('=IIQQQ', 5, 0, 1, 1, 0).hex()} 5:map:1 8=00000000 16=00",
    ]
    own = [btf_load(b"own", 2), prog_load(b"p", insns(5)[16:], 2, "6:btf:2", btf_fd=6)]
    assert [call.title for call in load(tmp_path, *probes, *own).calls] == ["BPF_BTF_LOAD ", "BPF_PROG_LOAD p"]


def arena(tmp_path, number=1, address=0, size=8192, contents="07000000"):
    lines = [f"mmap 0 {address} {size} map:map:{number}", f"memory {contents} map:map:{number}"]
    return load(tmp_path, map_create(b"arena", number), *lines)


def test_how_an_arena_is_mapped_and_what_is_in_it_are_compared(tmp_path):
    one = arena(tmp_path)
    assert [call.title for call in one.calls] == ["BPF_MAP_CREATE arena", "mmap map arena", "memory map arena"]
    assert comparison.differences(one, arena(tmp_path, number=7)) == []
    for change, how in (
        ({"address": 4096}, "address: 0 by libbpf, 4096 by purebpf"),
        ({"size": 4096}, "size: 8192 by libbpf, 4096 by purebpf"),
        ({"contents": "07000001"}, "contents: at byte 3 00 by libbpf, 01 by purebpf"),
    ):
        (found,) = comparison.differences(one, arena(tmp_path, **change))
        assert found.how == how


def test_a_loader_that_comes_to_no_end_is_no_shared_refusal(tmp_path):
    refused = load(tmp_path, outcome="refused")
    file = tmp_path / "recording"
    file.write_text("mark begin /x.bpf.o all\nmark  p\\nKeyError: 7\n")
    (crashed,) = recording.read(file)
    assert comparison.differences(refused, crashed) == [comparison.Difference("purebpf crashed", "KeyError: 7")]


def test_an_explanation_is_for_the_versions_that_differ():
    difference = comparison.Difference("BPF_MAP_CREATE a", "max_entries: 1 by libbpf, 2 by purebpf")
    explanation = comparison.Explanation(r"^x BPF_MAP_CREATE a: max_entries: ", "smaller at first", "1.4")
    assert explanation.covers("libbpf 1.1", "x", difference)
    assert explanation.covers("libbpf 1.3.4", "x", difference)
    assert not explanation.covers("libbpf 1.4", "x", difference)
    assert not explanation.covers("libbpf 1.10", "x", difference)
    assert not explanation.covers("libbpf 1.1", "y", difference)
    assert str(explanation) == "smaller at first [libbpf before 1.4]"


def test_objects_are_cut_out_of_programs():
    source = Path(__file__).parents[2] / "prebuilt" / "hello.bpf.o"
    content = source.read_bytes()
    program = b"\x7fELF" + bytes(100) + content + b"more" + b"\x7fELF"
    assert list(embedded_objects(program)) == [content]
