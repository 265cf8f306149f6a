"""Names for addresses: which function of the kernel, or of a process, lies there.

A stack is a list of addresses: where the processor is, and then, outwards, where each call will return to.  Who wants
to read it looks them up, the kernel's in /proc/kallsyms.  A process has parts of files mapped into its memory, its
program and libraries, and /proc/PID/maps says which part of which file is where.  So an address of a process becomes an
offset in a file, and the file's symbol tables say which function that belongs to.

What a just-in-time compiler makes lies in no file.  Many of them, and Python with ``-X perf``, write the names into
/tmp/perf-PID.map, for tools like this one: lines ``START SIZE NAME``, the numbers in hexadecimal.

A return address comes after the call, and may already be in the next function.  So it is the byte before that is looked
up.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import purebpf
from purebpf.kernel.kallsyms import read_kallsyms
from purebpf.obj.binary import SHT_DYNSYM, SHT_SYMTAB, Binary
from purebpf.obj.symbols import functions
from purebpf.tools.tool import decode

_LARGEST_PERF_MAP = 64 << 20  # bytes; anybody may write such a file


class Frame(NamedTuple):
    """One entry of a stack.  ``function`` is None where it is not known; ``object`` is the file's name, or "kernel"."""

    function: str | None
    object: str

    def __str__(self) -> str:
        return self.function or f"[{self.object or 'unknown'}]"


class Functions:
    """Functions by their place: (start, size, name) each.  A size of 0 means that it goes on up to the next one.

    A function may have several names; the last one counts.
    """

    def __init__(self, found: Iterable[tuple[int, int, str]]) -> None:
        self._functions = sorted(found, key=itemgetter(0, 1))
        self._starts = [start for start, _, _ in self._functions]

    def __len__(self) -> int:
        return len(self._functions)

    def at(self, place: int) -> str | None:
        """The name of the function that this place belongs to."""
        index = bisect_right(self._starts, place) - 1
        if index < 0:
            return None
        start, size, name = self._functions[index]
        return name if not size or place < start + size else None


class KernelSymbols:
    """The functions of the kernel.  ``hidden``: their addresses are not for this process to know."""

    def __init__(self) -> None:
        self._functions = Functions((address, 0, name) for address, name in read_kallsyms().functions() if address)
        self.hidden = not len(self._functions)

    def frames(self, stack: Sequence[int]) -> list[Frame]:
        """The innermost first, as in the stack."""
        return [Frame(self._functions.at(place), "kernel") for place in _places(stack)]


class ProcessSymbols:
    """The functions of processes, which are looked at when they are first asked for.

    ``ended`` are those that were not there any more.
    """

    def __init__(self) -> None:
        self.ended: set[int] = set()
        self._processes: dict[int, _Process | None] = {}
        self._files: dict[tuple[int, int], Functions] = {}

    def frames(self, pid: int, stack: Sequence[int]) -> list[Frame]:
        """The innermost first, as in the stack."""
        if pid not in self._processes:
            self._processes[pid] = self._look_at(pid)
        process = self._processes[pid]
        return [Frame(None, "") if process is None else self._frame(process, place) for place in _places(stack)]

    def _look_at(self, pid: int) -> _Process | None:
        try:
            return _Process(pid)
        except OSError:
            self.ended.add(pid)
            return None

    def _frame(self, process: _Process, place: int) -> Frame:
        mapping = process.mapping(place)
        if name := process.compiled.at(place):
            return Frame(name, mapping.name if mapping else "")
        if mapping is None:
            return Frame(None, "")
        if mapping.inode == 0:  # [vdso], or memory that is in no file
            return Frame(None, mapping.name)
        if mapping.file not in self._files:
            self._files[mapping.file] = Functions(_of_file(process.pid, mapping))
        return Frame(self._files[mapping.file].at(place - mapping.start + mapping.offset), mapping.name)


def _places(stack: Sequence[int]) -> Iterator[int]:
    return (address - 1 if index else address for index, address in enumerate(stack))


class _Mapping(NamedTuple):
    """A line of /proc/PID/maps: the bytes of the file from ``offset`` on are at ``start`` to ``end`` in memory."""

    start: int
    end: int
    offset: int
    device: int
    inode: int
    path: bytes

    @property
    def file(self) -> tuple[int, int]:
        return self.device, self.inode

    @property
    def name(self) -> str:
        return decode(self.path.rpartition(b"/")[2].removesuffix(b" (deleted)")).strip("[]")


class _Process:
    """What is executable in the memory of a process.  Raises OSError if it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        lines = (line.split(maxsplit=5) for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines())
        self._mappings = [_mapping(*line) for line in lines if b"x" in line[1]]
        self._starts = [mapping.start for mapping in self._mappings]
        self.compiled = Functions(_perf_map(pid))

    def mapping(self, place: int) -> _Mapping | None:
        index = bisect_right(self._starts, place) - 1
        return self._mappings[index] if index >= 0 and place < self._mappings[index].end else None


def _mapping(addresses: bytes, mode: bytes, offset: bytes, device: bytes, inode: bytes, path: bytes = b"") -> _Mapping:
    start, _, end = addresses.partition(b"-")
    return _Mapping(int(start, 16), int(end, 16), int(offset, 16), int(device.replace(b":", b""), 16), int(inode), path)


def _of_file(pid: int, mapping: _Mapping) -> Iterator[tuple[int, int, str]]:
    """The functions of a mapped file, by their offset in it; none if it cannot be read, or is not well-formed."""
    for path in (f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}", _inside(pid, mapping.path)):
        with suppress(OSError, purebpf.ObjectFormatError):
            if not Path(path).is_file():  # to open a device may have effects
                continue
            with Binary.open(path) as binary:
                found = functions(binary, SHT_SYMTAB) + functions(binary, SHT_DYNSYM)
            # The name that people know comes last: mktime is strong and timelocal weak, and then there is __mktime.
            for each in sorted(found, key=lambda each: (not each.weak, not each.name.startswith("_"), each.name)):
                if each.offset is not None:
                    yield each.offset, each.size, each.name.partition("@")[0]
            return


def _inside(pid: int, path: bytes) -> str:
    """A path as the process sees it, which may be in a container."""
    return f"/proc/{pid}/root{decode(path)}"


def _perf_map(pid: int) -> Iterator[tuple[int, int, str]]:
    """What the process has written about functions that it has compiled itself, if it has."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    inner_pid = status.get("NSpid", str(pid)).split()[-1]
    path = _inside(pid, f"/tmp/perf-{inner_pid}.map".encode())
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        about = os.fstat(descriptor)
        ours = about.st_uid in (0, int(status["Uid"].split()[1]))  # anybody can put a file into /tmp
        if not (stat.S_ISREG(about.st_mode) and ours):
            return
        for line in file.read(_LARGEST_PERF_MAP).splitlines():
            with suppress(ValueError):
                start, size, name = line.split(maxsplit=2)
                yield int(start, 16), int(size, 16), decode(name)
