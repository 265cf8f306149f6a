"""Programs and shared libraries of user space, which uprobes are set on: ELF files in which a loader looks things up.

They differ from BPF objects in all that shapes `purebpf.obj.elf`.  They are of either word size, for any machine, and
may be very large, hundreds of MiB, of which only two or three tables matter.  So this module reads just those pieces of
the file that are asked for, and takes records apart with `struct`, a whole table in one go.  A table's place is checked
against the file before it is read.  Formats: the System V ABI, chapters 4 and 5.

A program that is given without a slash in its name is looked for as libbpf does it, see `search_path`.
"""

from __future__ import annotations

import functools
import glob
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, NamedTuple

from purebpf.abi.syscalls import machine
from purebpf.errors import ObjectFormatError

ET_EXEC, ET_DYN = 2, 3
SHT_SYMTAB, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM = 2, 7, 8, 11
SHT_GNU_VERDEF, SHT_GNU_VERSYM = 0x6FFFFFFD, 0x6FFFFFFF
PT_LOAD, PF_X = 1, 1
_SHN_XINDEX = 0xFFFF

_IDENT_SIZE = 16
_HEADERS: Final = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_SECTIONS: Final = {32: "IIIIIIIIII", 64: "IIQQQQIIQQ"}
_SEGMENTS: Final = {32: "IIIIIIII", 64: "IIQQQQQQ"}


class SectionHeader(NamedTuple):
    """Where a section is: ``address`` in memory, ``offset`` and ``size`` in the file, in bytes."""

    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int


class Segment(NamedTuple):
    """A part of the file that is loaded: ``size`` bytes at ``address`` in memory, from ``offset`` on in the file."""

    address: int
    size: int
    offset: int
    executable: bool

    def holds(self, address: int) -> bool:
        return self.address <= address < self.address + self.size


class Binary:
    """An ELF file that is open for reading.  ``bits`` is its word size, ``type`` ET_EXEC or ET_DYN or another one.

    Everything that is malformed raises ObjectFormatError with the place.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file = file
        self.path = path
        self._size = file.seek(0, io.SEEK_END)
        ident = self.read(0, _IDENT_SIZE, "the ELF identification") if self._size >= _IDENT_SIZE else b""
        if ident[:4] != b"\x7fELF":
            raise ObjectFormatError("not an ELF file: it does not begin with \\x7fELF", where=path)
        if ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise ObjectFormatError(f"unknown ELF class {ident[4]} or byte order {ident[5]}", where=path)
        self.bits = 32 if ident[4] == 1 else 64
        self.byteorder: Literal["little", "big"] = "little" if ident[5] == 1 else "big"
        self.prefix = "<" if ident[5] == 1 else ">"
        layout = struct.Struct(self.prefix + _HEADERS[self.bits])
        fields = layout.unpack(self.read(_IDENT_SIZE, layout.size, "the ELF header"))
        self.type: int = fields[0]
        self._segment_table, self._section_table = fields[4:6]
        self._segment_size, self._segment_count, self._section_size, self._section_count, self._names = fields[8:]

    @classmethod
    def open(cls, path: str) -> Binary:
        """Open a file.  Raises OSError."""
        file = Path(path).open("rb")  # noqa: SIM115
        try:
            return cls(file, path)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Binary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, offset: int, size: int, what: str) -> bytes:
        """So many bytes of the file; ``what`` names them for the error that the file is too short."""
        if offset + size > self._size:
            raise ObjectFormatError(
                f"{what}, {size} bytes at offset {offset}, would end beyond the file's {self._size} bytes",
                where=self.path,
            )
        self._file.seek(offset)
        return self._file.read(size)

    def content(self, section: SectionHeader) -> bytes:
        """The bytes of a section; none if it occupies no file space."""
        if section.type == SHT_NOBITS:
            return b""
        return self.read(section.offset, section.size, f"section {section.name!r}")

    def records(self, section: SectionHeader, layout: str) -> Iterator[tuple[Any, ...]]:
        """The records of a section that is a table, each of this `struct` format."""
        record = struct.Struct(self.prefix + layout)
        if section.size % record.size:
            raise ObjectFormatError(
                f"{section.size} bytes, which are no whole number of records of {record.size}",
                where=f"{self.path}, section {section.name!r}",
            )
        return record.iter_unpack(self.content(section))

    @functools.cached_property
    def sections(self) -> tuple[SectionHeader, ...]:
        """All of them, in the file's order; the first is none, so that indexes fit."""
        if not self._section_table:
            return ()
        layout = _SECTIONS[self.bits]
        count, names = self._section_count, self._names
        if not count or names == _SHN_XINDEX:  # more than 16 bits can hold: the first header has the numbers
            first = self._table(self._section_table, self._section_size, 1, layout, "the section headers")[0]
            count, names = count or first[5], first[6] if names == _SHN_XINDEX else names
        headers = self._table(self._section_table, self._section_size, count, layout, "the section headers")
        if names >= len(headers):
            raise ObjectFormatError(
                f"the names of sections are said to be in section {names} of {len(headers)}", where=self.path
            )
        text = self.read(headers[names][4], headers[names][5], "the names of sections")
        return tuple(
            SectionHeader(string(text, name), kind, address, offset, size, link)
            for name, kind, _, address, offset, size, link, *_ in headers
        )

    def section(self, wanted: str | int) -> SectionHeader | None:
        """The first section of that name or type."""
        return next((section for section in self.sections if wanted in (section.name, section.type)), None)

    @functools.cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Those that are loaded."""
        headers = self._table(
            self._segment_table, self._segment_size, self._segment_count, _SEGMENTS[self.bits], "the program headers"
        )
        found = []
        for header in headers:
            if self.bits == 64:
                kind, flags, offset, address, _, _, size, _ = header
            else:
                kind, offset, address, _, _, size, flags, _ = header
            if kind == PT_LOAD:
                found.append(Segment(address, size, offset, bool(flags & PF_X)))
        return tuple(found)

    def _table(self, offset: int, entry_size: int, count: int, layout: str, what: str) -> list[tuple[int, ...]]:
        record = struct.Struct(self.prefix + layout)
        if count and entry_size != record.size:
            raise ObjectFormatError(f"{what} have {entry_size} bytes each, expected {record.size}", where=self.path)
        return list(record.iter_unpack(self.read(offset, count * record.size, what)))


def string(table: bytes, offset: int) -> str:
    """The string at this offset of a string table; "" beyond its end.  What is not UTF-8 is escaped."""
    end = table.find(b"\0", offset)
    return table[offset : end if end >= 0 else len(table)].decode("utf-8", "backslashreplace")


_MULTIARCH: Final = {
    "x86_64": "/lib/x86_64-linux-gnu",
    "i386": "/lib/i386-linux-gnu",
    "s390x": "/lib/s390x-linux-gnu",
    "arm": "/lib/arm-linux-gnueabihf",
    "aarch64": "/lib/aarch64-linux-gnu",
    "mips64": "/lib/mips64el-linux-gnuabi64",
    "ppc64le": "/lib/powerpc64le-linux-gnu",
    "riscv64": "/lib/riscv64-linux-gnu",
}
"""Where Debian keeps the libraries of a machine."""


def is_library(name: str) -> bool:
    """Whether a file of this name is a shared library: ``libc.so.6``, ``libfoo.so``."""
    return name.endswith(".so") or ".so." in name


def search_path(library: bool, environment: dict[str, str] | os._Environ[str] = os.environ) -> list[str]:
    """The directories that libbpf looks into for a shared library, or for another program, in its order."""
    if library:
        parts = (environment.get("LD_LIBRARY_PATH", ""), "/usr/lib64:/usr/lib", _MULTIARCH.get(machine(), ""))
    else:
        parts = (environment.get("PATH", ""), "/usr/bin:/usr/sbin", "")
    return [folder for part in parts for folder in part.split(":") if folder]


def find(name: str) -> str | None:
    """The file that is meant by a name without a slash, or None.

    It must be readable, and executable unless it is a library.  A library may also be given without ``.so`` and what
    follows: ``libc`` is the first ``libc.so.NUMBER``, if there is no such program.
    """
    library = is_library(name)
    for folder in search_path(library):
        path = f"{folder}/{name}"
        if os.access(path, os.R_OK if library else os.R_OK | os.X_OK, effective_ids=True) and not Path(path).is_dir():
            return path
    if library:
        return None
    for folder in search_path(library=True):
        numbered = sorted(Path(folder).glob(f"{glob.escape(name)}.so.[0-9]*"))
        if numbered:
            return str(numbered[0])
    return None
