"""Arenas: that a program sees what Python writes to memory that they share, and Python what the program writes."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pytest
from kernel_state import RELEASE

import purebpf
from purebpf.abi.attr import bpf_attr_prog_test_run, bpf_map_info
from purebpf.abi.bpf import bpf_cmd
from purebpf.errors import KernelError, PureBpfError
from purebpf.kernel.bpf import bpf, obj_get_info_by_fd
from purebpf.maps.arena import Arena

OBJECTS = Path(__file__).resolve().parents[1] / "objects"

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_kernel("arenas (Linux 6.9)", RELEASE >= (6, 9))]


def run(program):
    attr = bpf_attr_prog_test_run(prog_fd=program.fileno())
    bpf(bpf_cmd.BPF_PROG_TEST_RUN, attr)
    return attr.retval


def mappings():
    return Path("/proc/self/maps").read_text().count("bpf-map")


@pytest.fixture
def spec():
    return purebpf.parse(OBJECTS / "conf_arena_variables.bpf.o")


def test_variables_as_the_object_has_them(spec):
    with spec.load() as loaded:
        variables = loaded.maps["arena"].variables
        assert set(variables) == {"number", "hidden_number", "counts", "history"}
        assert (variables["number"], variables["hidden_number"]) == (7, 5)
        assert (variables["counts"].calls, variables["counts"].sum) == (1, 2)
        assert not any(entry.calls or entry.sum for entry in variables["history"])


def test_the_program_and_python_see_what_the_other_writes(spec):
    spec.variables["hidden_number"] = -100
    with spec.load() as loaded:
        variables = loaded.maps["arena"].variables
        assert run(loaded.programs["use"]) == 8
        assert (variables["number"], variables["hidden_number"]) == (8, -92)
        assert (variables["counts"].calls, variables["counts"].sum) == (2, (2 - 92) % 2**64)
        assert [index for index, entry in enumerate(variables["history"]) if entry.calls] == [299]
        variables["number"] = 1000
        variables["counts"] = {"calls": 70, "sum": 0}
        assert run(loaded.programs["use"]) == 1001
        assert variables["hidden_number"] == -92 + 1001
        assert (variables["counts"].calls, variables["counts"].sum) == (71, -92 + 1001)
        assert variables["history"][299].calls == 2
        with pytest.raises(KeyError):
            variables["ordinary"]
        with pytest.raises(TypeError):
            del variables["number"]
        assert loaded.maps[".data"][0].ordinary == 3


def test_pointers_of_the_program_point_into_the_memory(spec):
    with spec.load() as loaded:
        arena = loaded.maps["arena"]
        run(loaded.programs["address"])
        pointer = arena.variables["counts"].sum
        assert 0 < pointer - arena.memory.address < arena.memory.size == 10 * mmap.PAGESIZE
        assert ctypes.c_uint64.from_address(pointer).value == 0
        arena.variables["history"] = [{"calls": 0, "sum": index} for index in range(300)]
        assert ctypes.c_uint64.from_address(pointer).value == 299
        assert arena.memory.read(pointer - arena.memory.address, 8) == (299).to_bytes(8, "little")


def test_where_the_variables_are(spec):
    """In the arena's last pages, if the kernel can address those; it can since 7.0."""
    with spec.load() as loaded:
        memory, plan = loaded.maps["arena"].memory, loaded.plan
        (mapped,) = (command.mapped for command in plan if command.mapped)
        assert mapped.offset == (8 * mmap.PAGESIZE if RELEASE >= (7, 0) else 0)
        assert memory.read(mapped.offset, 4) == (7).to_bytes(4, "little")


def test_at_the_address_that_the_object_asks_for():
    """And pages that the program allocates there; twice at a time there is no room for it in one process."""
    spec = purebpf.parse(OBJECTS / "conf_arena.bpf.o")
    with spec.load() as loaded:
        arena = loaded.maps["arena"]
        info = obj_get_info_by_fd(arena.fileno(), bpf_map_info)
        assert arena.memory.address == info.map_extra == 1 << 44
        assert dict(arena.variables) == {}
        run(loaded.programs["use"])
        page = loaded.maps[".bss"][0].page
        offset = page - arena.memory.address
        assert 0 <= offset < arena.memory.size
        assert offset % mmap.PAGESIZE == 0
        assert arena.memory.read(offset, 4) == (3).to_bytes(4, "little")
        before = mappings()
        with pytest.raises(KernelError, match=r"mapping map 'arena': .*this process has something else already"):
            spec.load()
        assert mappings() == before
    with spec.load() as loaded:
        assert run(loaded.programs["use"]) == 0


def test_nothing_stays_mapped(spec):
    before = mappings()
    loaded = spec.load()
    arena = loaded.maps["arena"]
    assert mappings() == before + 1
    loaded.close()
    assert mappings() == before
    with pytest.raises(ValueError, match="map 'arena' is closed"):
        arena.variables["number"]
    spec.programs["use"].insns = bytes(8) * 3
    spec.programs["use"].relocations = ()
    with pytest.raises(PureBpfError):
        spec.load()
    assert mappings() == before


def test_it_has_no_keys(spec):
    with spec.load() as loaded:
        arena = loaded.maps["arena"]
        assert isinstance(arena, Arena)
        with pytest.raises(KernelError, match="walking map 'arena'"):
            list(arena)
        with pytest.raises(KernelError, match="reading from map 'arena'"):
            arena[b""]
        with pytest.raises(KernelError, match="writing to map 'arena'"):
            arena[b""] = b""
