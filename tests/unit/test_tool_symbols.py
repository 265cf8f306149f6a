"""Names for addresses: of the kernel, of this very process, and of what it says that it has compiled itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from purebpf.kernel.kallsyms import Kallsyms
from purebpf.tools import symbols
from purebpf.tools.symbols import Frame, Functions, KernelSymbols, ProcessSymbols

libc = ctypes.CDLL(None)


def address_of(name):
    return ctypes.cast(getattr(libc, name), ctypes.c_void_p).value


def test_a_function_begins_and_ends():
    found = Functions([(0x100, 0x10, "sized"), (0x200, 0, "unsized"), (0x300, 8, "_alias"), (0x300, 8, "alias")])
    assert len(found) == 4
    places = (0xFF, 0x100, 0x10F, 0x110, 0x200, 0x2FF, 0x300, 0x307, 0x308)
    names = (None, "sized", "sized", None, "unsized", "unsized", "alias", "alias", None)
    assert tuple(found.at(place) for place in places) == names
    assert Functions([]).at(0x100) is None


KALLSYMS = b"""\
ffffffff81000000 T _stext
ffffffff81001000 t vfs_read
ffffffff81002000 D some_data
ffffffff81003000 W read_zero
ffffffffc0001000 t in_a_module\t[veth]
"""


def test_functions_of_the_kernel(monkeypatch):
    monkeypatch.setattr(symbols, "read_kallsyms", lambda: Kallsyms(KALLSYMS, "test"))
    kernel = KernelSymbols()
    assert not kernel.hidden
    stack = [0xFFFFFFFF81003010, 0xFFFFFFFF81001000, 0xFFFFFFFF81002FFF, 0xFFFFFFFFC0001001]
    # A return address that is where the next function begins belongs to the one before.
    assert [frame.function for frame in kernel.frames(stack)] == ["read_zero", "_stext", "vfs_read", "in_a_module"]
    assert {frame.object for frame in kernel.frames(stack)} == {"kernel"}


def test_the_kernel_hides_its_addresses(monkeypatch):
    monkeypatch.setattr(symbols, "read_kallsyms", lambda: Kallsyms(b"0000000000000000 T _stext\n", "test"))
    kernel = KernelSymbols()
    assert kernel.hidden
    assert list(map(str, kernel.frames([0xFFFFFFFF81003010]))) == ["[kernel]"]


def test_functions_of_a_process():
    """This one: its C library offers functions whose addresses it knows."""
    processes = ProcessSymbols()
    names = ["qsort", "mktime", "getenv"]
    stack = [address_of(names[0])] + [address_of(name) + 1 for name in names[1:]]
    frames = processes.frames(os.getpid(), stack)
    assert [frame.function for frame in frames] == names
    assert {frame.object.partition(".so")[0].rstrip("-.0123456789") for frame in frames} <= {"libc", "ld-musl-x86_64"}
    assert processes.ended == set()


def test_places_that_belong_to_no_function():
    value = ctypes.c_int(1)
    processes = ProcessSymbols()
    assert processes.frames(os.getpid(), [ctypes.addressof(value), 0, 1]) == [Frame(None, "")] * 3
    assert str(Frame(None, "")) == "[unknown]"
    assert str(Frame(None, "libc.so.6")) == "[libc.so.6]"


def test_a_process_that_has_ended():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    processes = ProcessSymbols()
    assert processes.frames(child.pid, [0x1000, 0x2000]) == [Frame(None, "")] * 2
    assert processes.ended == {child.pid}


@pytest.fixture
def perf_map():
    """The file in which this process says which functions it has compiled."""
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def test_functions_that_a_process_has_compiled(perf_map):
    perf_map.write_bytes(b"1000 10 py::f:<string>\nno numbers here\n2000 20 g with spaces\n\n3000\n2020 8 \xff\n")
    frames = ProcessSymbols().frames(os.getpid(), [0x1008, 0x2001, 0x2028, 0x2030])
    assert [frame.function for frame in frames] == ["py::f:<string>", "g with spaces", "\udcff", None]


def test_a_fifo_does_not_stop_us(perf_map):
    os.mkfifo(perf_map)
    assert ProcessSymbols().frames(os.getpid(), [0x1008]) == [Frame(None, "")]


def test_a_link_is_not_followed(perf_map, tmp_path):
    (tmp_path / "names").write_text("1000 10 secret\n")
    perf_map.symlink_to(tmp_path / "names")
    assert ProcessSymbols().frames(os.getpid(), [0x1008]) == [Frame(None, "")]


@pytest.mark.needs_root
def test_names_by_another_user_are_not_believed(perf_map):
    perf_map.write_text("1000 10 f\n")
    os.chown(perf_map, 65534, 65534)
    assert ProcessSymbols().frames(os.getpid(), [0x1008]) == [Frame(None, "")]


def test_a_file_that_is_no_elf_file(tmp_path):
    """Mapped as if it were a program."""
    path = tmp_path / "not-elf"
    path.write_bytes(b"\xcc" * 4096)
    code = """if True:
        import mmap, sys, time
        with open(sys.argv[1], "rb") as file:
            mapped = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)
        print(flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        maps = Path(f"/proc/{child.pid}/maps").read_text()
        line = next(line for line in maps.splitlines() if line.endswith("not-elf"))
        frames = ProcessSymbols().frames(child.pid, [int(line.partition("-")[0], 16) + 16])
        child.communicate()
    assert frames == [Frame(None, "not-elf")]
