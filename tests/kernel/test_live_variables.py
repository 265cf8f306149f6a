"""Global variables: what is set before the load is what the program sees; and events, decoded by the object's types."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import purebpf
from purebpf.abi.attr import bpf_map_info
from purebpf.errors import KernelError
from purebpf.kernel.bpf import obj_get_info_by_fd

pytestmark = pytest.mark.needs_root

OBJECT = Path(__file__).resolve().parents[1] / "objects/load_variables.bpf.o"


@pytest.fixture
def spec():
    spec = purebpf.parse(OBJECT)
    spec.variables["target_pid"] = os.getpid()
    return spec


def events(bpf, times=1, type_name="event"):
    """What the program sends, each time that it runs."""
    with bpf.maps["events"].read(type_name, pages=1) as ring:
        links = bpf.attach()
        for _ in range(times):
            os.sched_rr_get_interval(0)
        assert len(links) == 1
        bpf.detach()
        found = []
        while len(found) < times:
            batch = list(ring.poll(10))
            assert batch, "no event came"
            found += batch
        return found


def test_as_the_object_has_them(spec):
    with spec.load() as bpf:
        (event,) = events(bpf)
    assert (event.number, event.limits.low, event.limits.high) == (5, 1, -2)
    assert (event.mode.name, event.small, event.label, event.flag) == ("MODE_OFF", -3, "label", 0)
    assert (event.data, event.bss, event.custom, event.custom_constant) == (11, 0, 13, 17)


def test_as_they_were_set(spec):
    spec.variables.update(
        number=0xFEDCBA9876543210,
        limits={"low": 7, "high": -(1 << 62)},
        mode="MODE_ON",
        small=-128,
        label="Grüße",
        flag=True,
        data=0xFFFFFFFF,
        bss=3,
        custom=0xABCD,
        custom_constant=1,
    )
    with spec.load() as bpf:
        first, second = events(bpf, 2)
    assert first.number == 0xFEDCBA9876543210
    assert (first.limits.low, first.limits.high) == (7, -(1 << 62))
    assert (first.mode, first.mode.name, first.small, first.label, first.flag) == (7, "MODE_ON", -128, "Grüße", 1)
    assert (first.data, first.bss, first.custom, first.custom_constant) == (0xFFFFFFFF, 3, 0xABCD, 1)
    assert (second.data, second.bss) == (0, 2)


def test_what_the_program_writes(spec):
    """The map of a data section has one value, in which the variables have their names."""
    with spec.load() as bpf:
        events(bpf, 3)
        assert bpf.maps[".data"][0].data == 14
        assert bpf.maps[".bss"][0].bss == 0xFFFFFFFD
        assert bpf.maps[".bss"][0].runs == 3
        assert bpf.maps[".bss"][0].hidden_runs == 27
        assert bpf.maps[".data.custom"][0].custom == 13


def test_written_from_python_while_it_runs(spec):
    with spec.load() as bpf:
        (event,) = events(bpf)
        data = bpf.maps[".data"]
        data[0] = data[0]._replace(data=1000)
        (event,) = events(bpf)
        assert event.data == 1000
        with pytest.raises(KernelError, match=r"writing to map '\.rodata'"):
            bpf.maps[".rodata"][0] = bpf.maps[".rodata"][0]._replace(number=6)


@pytest.mark.needs_tool("bpftool")
def test_bpftool_sees_the_same(spec):
    spec.variables["number"] = 77
    with spec.load() as bpf:
        number = str(obj_get_info_by_fd(bpf.maps[".rodata"].fileno(), bpf_map_info).id)
        (shown,) = json.loads(subprocess.check_output(["bpftool", "-j", "map", "dump", "id", number]))
        (variables,) = shown["formatted"]["value"].values()
        values = {name: value for variable in variables for name, value in variable.items()}
        assert values["number"] == 77 and values["target_pid"] == os.getpid()
        assert values["hidden_constant"] == 9 == spec.variables["hidden_constant"]


def test_the_spec_is_not_used_up(spec):
    """It can be changed and loaded again; what was loaded stays as it was."""
    spec.variables["number"] = 1
    with spec.load() as first:
        spec.variables["number"] = 2
        with spec.load() as second:
            assert [events(bpf)[0].number for bpf in (first, second)] == [1, 2]


def test_events_as_bytes(spec):
    with spec.load() as bpf:
        (sample,) = events(bpf, type_name=None)
        (number,) = memoryview(sample.data)[:8].cast("Q")
        assert number == 5


def test_no_such_type(spec):
    with spec.load() as bpf:
        ring = bpf.maps["events"]
        assert ring.has_struct("event") and not ring.has_struct("evnt")
        with pytest.raises(KeyError, match="no struct 'evnt'"):
            ring.read("evnt")
        for pages in (0, 3, -1):
            with pytest.raises(ValueError, match="power of two"):
                ring.read("event", pages=pages)


def test_no_types_at_all(spec):
    spec.btf = spec.btf_ext = None
    for definition in spec.maps.values():
        definition.key_type_id = definition.value_type_id = 0
    with spec.load() as bpf:
        with pytest.raises(KeyError, match="no struct 'event'"):
            bpf.maps["events"].read("event")
        assert not bpf.maps["events"].has_struct("event")
        assert bpf.maps[".data"][0] == 11
