"""Maps that come filled with maps and programs: what is really in them, and that programs reach it."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

import purebpf
from purebpf.abi.attr import bpf_attr_prog_test_run, bpf_map_info, bpf_prog_info
from purebpf.abi.bpf import bpf_cmd
from purebpf.errors import VerifierError
from purebpf.kernel.bpf import bpf, map_lookup_elem, obj_get_info_by_fd

pytestmark = pytest.mark.needs_root

OBJECTS = Path(__file__).resolve().parents[1] / "objects"


def run(program):
    packet = ctypes.create_string_buffer(64)
    attr = bpf_attr_prog_test_run(prog_fd=program.fileno(), data_in=ctypes.addressof(packet), data_size_in=64)
    bpf(bpf_cmd.BPF_PROG_TEST_RUN, attr)
    return attr.retval


def slots(map, size):
    """The ids that the kernel shows as values."""
    found = {}
    for index in range(size):
        value = map_lookup_elem(map.fileno(), index.to_bytes(4, sys.byteorder), 4)
        if value is not None:
            found[index] = int.from_bytes(value, sys.byteorder)
    return found


def test_what_is_in_them():
    with purebpf.load(OBJECTS / "mapinit_slots.bpf.o") as loaded:
        maps = {name: obj_get_info_by_fd(loaded.maps[name].fileno(), bpf_map_info).id for name in ("first", "second")}
        programs = {name: obj_get_info_by_fd(p.fileno(), bpf_prog_info).id for name, p in loaded.programs.items()}
        assert slots(loaded.maps["array_of_maps"], 5) == {1: maps["first"], 3: maps["second"], 4: maps["first"]}
        assert slots(loaded.maps["hash_of_maps"], 5) == {0: maps["second"], 2: maps["first"]}
        assert slots(loaded.maps["programs"], 4) == {0: programs["plus_two"], 3: programs["plus_one"]}
        assert slots(loaded.maps["no_programs"], 1) == {}


def test_programs_reach_them():
    with purebpf.load(OBJECTS / "mapinit_slots.bpf.o") as loaded:
        loaded.maps["first"][0] = 100
        loaded.maps["second"][0] = 200
        assert run(loaded.programs["jump_to_plus_one"]) == 101
        assert run(loaded.programs["jump_to_plus_two"]) == 202
        assert run(loaded.programs["jump_nowhere"]) == 1000


def test_a_map_that_is_not_created():
    """Who uses it is refused, and told why; who does not is loaded."""
    spec = purebpf.parse(OBJECTS / "mapinit_slots.bpf.o")
    spec.maps["no_programs"].autocreate = False
    with pytest.raises(VerifierError) as error:
        spec.load()
    assert "jump_nowhere" in str(error.value)
    assert "Map 'no_programs', which it uses, is not created" in str(error.value)
    spec.programs["jump_nowhere"].autoload = False
    with spec.load() as loaded:
        assert "no_programs" not in loaded.maps
        assert run(loaded.programs["jump_to_plus_one"]) == 1
