"""Maps pinned by name, in a BPF file system that is mounted for the tests and unmounted after them."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path

import pytest

import purebpf
from purebpf.abi.attr import bpf_attr_prog_test_run, bpf_map_info
from purebpf.abi.bpf import bpf_cmd, bpf_map_type
from purebpf.errors import KernelError, PlanError
from purebpf.kernel.bpf import bpf, obj_get_info_by_fd
from purebpf.load import execute as executor

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("mount", "umount")]

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
PINNED = ["pinned_events", "pinned_hash", "pinned_ring", "pinned_with_a_map"]


@pytest.fixture
def root(bpffs):
    """A directory that does not exist yet, and nothing of it does afterwards."""
    path = bpffs / "pins"
    yield path
    for pin in path.iterdir() if path.exists() else ():
        pin.unlink()
    if path.exists():
        path.rmdir()


def parse(name="mapinit_pinned"):
    return purebpf.parse(OBJECTS / f"{name}.bpf.o")


def pins(root):
    return sorted(os.listdir(root)) if root.exists() else []


def ids(bpf):
    return {name: obj_get_info_by_fd(bpf.maps[name].fileno(), bpf_map_info).id for name in PINNED}


def run(program):
    """Run the program once on an empty packet: what it returns."""
    packet = ctypes.create_string_buffer(64)
    attr = bpf_attr_prog_test_run(prog_fd=program.fileno(), data_in=ctypes.addressof(packet), data_size_in=64)
    bpf(bpf_cmd.BPF_PROG_TEST_RUN, attr)
    return attr.retval


def test_pins_outlive_the_object(root):
    with parse().load(pin_root=str(root)) as first:
        assert pins(root) == PINNED
        assert (root.stat().st_mode & 0o777) == 0o700
        known = ids(first)
        assert [run(first.programs["count"]) for _ in range(3)] == [1, 2, 3]
    assert pins(root) == PINNED
    with parse().load(pin_root=str(root)) as second:
        assert ids(second) == known
        assert run(second.programs["count"]) == 4
        assert second.maps["pinned_hash"][7] == 4
        assert second.maps["pinned_events"].max_entries == first.maps["pinned_events"].max_entries
    assert pins(root) == PINNED


def test_two_at_once(root):
    with parse().load(pin_root=str(root)) as first, parse().load(pin_root=str(root)) as second:
        assert run(first.programs["count"]) == 1
        assert run(second.programs["count"]) == 2


def test_some_are_there(root):
    parse().load(pin_root=str(root)).close()
    (root / "pinned_hash").unlink()
    with parse().load(pin_root=str(root)) as loaded:
        assert pins(root) == PINNED
        assert run(loaded.programs["count"]) == 1


@pytest.mark.parametrize(
    "attribute, value, told",
    [("max_entries", 99, "max_entries is 16 there, and 99"), ("value_size", 16, "value_size is 8 ")],
)
def test_another_map_there(root, attribute, value, told):
    parse().load(pin_root=str(root)).close()
    spec = parse()
    setattr(spec.maps["pinned_hash"], attribute, value)
    if attribute == "value_size":
        spec.maps["pinned_hash"].value_type_id = 0
    with pytest.raises(PlanError, match=told) as error:
        spec.load(pin_root=str(root))
    assert str(root / "pinned_hash") in str(error.value)
    assert pins(root) == PINNED


def test_flags_that_the_kernel_adds(root):
    """A devmap is shown read-only for programs, also if it was not created so."""
    for _ in range(2):
        spec = purebpf.ObjectSpec("made", parse().byteorder)
        devmap = purebpf.parse(OBJECTS / "mapinit_pinned.bpf.o").maps["pinned_hash"]
        devmap.type, devmap.map_flags, devmap.value_size = bpf_map_type.BPF_MAP_TYPE_DEVMAP, 0, 4
        devmap.key_type_id = devmap.value_type_id = 0
        spec.maps["pinned_hash"] = devmap
        with spec.load(pin_root=str(root)) as loaded:
            assert obj_get_info_by_fd(loaded.maps["pinned_hash"].fileno(), bpf_map_info).map_flags != 0


def test_a_failed_load_leaves_no_pin(root):
    """Nor does it take away what was there."""
    spec = parse()
    spec.programs["count"].insns, spec.programs["count"].relocations = bytes(8), ()
    with pytest.raises(KernelError):
        spec.load(pin_root=str(root))
    assert pins(root) == []
    parse().load(pin_root=str(root)).close()
    (root / "pinned_ring").unlink()
    with pytest.raises(KernelError):
        spec.load(pin_root=str(root))
    assert pins(root) == [name for name in PINNED if name != "pinned_ring"]


def test_pinned_meanwhile(root, monkeypatch):
    """Another process pins the map after the plan has looked for it, and before it pins its own."""
    other = []
    prepare = executor._perform

    def perform(command, opened, kernel):
        if command.cmd == bpf_cmd.BPF_MAP_CREATE and not other and command.creates.name == "pinned_hash":
            other.append(None)
            other.append(parse().load(pin_root=str(root)))
        return prepare(command, opened, kernel)

    monkeypatch.setattr(executor, "_perform", perform)
    with parse().load(pin_root=str(root)) as loaded, other[1]:
        assert run(loaded.programs["count"]) == 1
        assert run(other[1].programs["count"]) == 2


def test_no_bpf_file_system(tmp_path):
    with pytest.raises(KernelError) as error:
        parse().load(pin_root=str(tmp_path / "pins"))
    assert error.value.errno == errno.EINVAL
    said = f"'{tmp_path / 'pins'}' is in no BPF file system"
    assert re.search(rf"{said}\. (Pins go below /|Mount one:  mount -t bpf bpf /sys/fs/bpf$)", str(error.value))
    with pytest.raises(KernelError, match="cannot be made"):
        parse().load(pin_root=str(tmp_path / "a" / "b"))
