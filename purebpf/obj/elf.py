"""ELF files as plain data.  The only module that knows pyelftools.

A BPF object is a relocatable ELF-64 file for machine 247 (``EM_BPF``).  pyelftools knows the structures; `read` puts
them together, and checks every offset and size against the file *before* it is used, so that what comes out can be
trusted: a section's ``data`` is really there, a symbol's name can be shown, a relocation points at an existing symbol.
Sections may not overlap in the file, as the ABI demands, so all of them together need no more memory than the file.
Formats: the System V ABI, chapters 4 and 5, and https://docs.kernel.org/bpf/llvm_reloc.html for BPF's relocation types.
"""

from __future__ import annotations

import functools
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from purebpf.errors import KernelError, ObjectFormatError

EM_NONE = 0
EM_BPF = 247
_HEADER_SIZE = 64
_SECTION_HEADER_SIZE = 64
_SYMBOL_SIZE = 24
_RELOCATION_SIZES = {"SHT_REL": 16, "SHT_RELA": 24}
_FILE_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
_MAX_NAME = 4096
_INITIALISED = (".maps", ".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")
MAX_FILE_SIZE = 64 << 20
"""Larger files are refused, in bytes; clang-built BPF objects stay far below."""
MAX_NOBITS_SIZE = 64 << 20
"""More zero-initialised variables (``.bss``) than this are refused, in bytes: they take no room in the file."""


class Section(NamedTuple):
    """One ELF section.  ``data`` is empty for a section that occupies no file space; ``size`` still counts."""

    number: int
    name: str
    type: str
    executable: bool
    size: int
    data: bytes
    link: int
    info: int


class Symbol(NamedTuple):
    """One entry of the symbol table.  ``section`` is a section's number, or None for undefined, absolute and common."""

    number: int
    name: str
    type: str
    binding: str
    visibility: str
    section: int | None
    undefined: bool
    value: int
    size: int


class ElfRelocation(NamedTuple):
    """One relocation: ``offset`` in bytes within the section it applies to."""

    offset: int
    type: int
    symbol: Symbol


class ElfObject:
    """A BPF object file, read whole.

    ``relocations`` is keyed by the number of the section they apply to; those of a section are sorted by offset.
    """

    def __init__(
        self,
        byteorder: Literal["little", "big"],
        sections: tuple[Section, ...],
        symbols: tuple[Symbol, ...],
        relocations: dict[int, tuple[ElfRelocation, ...]],
    ) -> None:
        self.byteorder = byteorder
        self.sections = sections
        self.symbols = symbols
        self.relocations = relocations

    @functools.cached_property
    def _by_name(self) -> dict[str, Section]:
        return {section.name: section for section in reversed(self.sections)}

    @functools.cached_property
    def _symbols_in(self) -> dict[int | None, list[Symbol]]:
        found: dict[int | None, list[Symbol]] = {}
        for symbol in self.symbols:
            found.setdefault(symbol.section, []).append(symbol)
        return found

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return self._by_name.get(name)

    def symbols_in(self, section: Section) -> list[Symbol]:
        """The symbols of a section, in the order of the symbol table."""
        return self._symbols_in.get(section.number, [])


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that begins like a BPF object; raises before a large foreign file is read.

    Only regular files are read: a FIFO would wait for a writer, and a device need not end.
    """
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = _FILE_KINDS.get(stat.S_IFMT(mode), "a device")
            raise ObjectFormatError(f"this is {kind}, not a file that holds a BPF object")
        with Path(path).open("rb") as file:
            _check_header(file.read(_HEADER_SIZE))
            file.seek(0)
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise KernelError(error.errno or 0, f"reading object file {os.fspath(path)!r}") from error
    if len(data) > MAX_FILE_SIZE:
        raise ObjectFormatError(f"the file is larger than {MAX_FILE_SIZE >> 20} MiB")
    return data


def _check_header(head: bytes) -> None:
    """Refuse what is no BPF object with a reason, from the 64 bytes of its ELF header."""
    if head[:4] != b"\x7fELF":
        raise ObjectFormatError("not an ELF file: it does not begin with \\x7fELF", where="offset 0")
    if len(head) < _HEADER_SIZE:
        raise ObjectFormatError(
            f"truncated: an ELF header has {_HEADER_SIZE} bytes, the file {len(head)}", where="offset 0"
        )
    elf_class, encoding = head[4], head[5]
    if elf_class != 2:
        raise ObjectFormatError(f"not a 64-bit ELF file (class {elf_class}); BPF objects are", where="offset 4")
    if encoding not in (1, 2):
        raise ObjectFormatError(f"unknown byte order {encoding}", where="offset 5")
    file_type, machine = struct.unpack_from("<HH" if encoding == 1 else ">HH", head, 16)
    if machine not in (EM_BPF, EM_NONE):  # LLVM wrote EM_NONE before BPF had a number, and libbpf takes it
        raise ObjectFormatError(
            f"built for ELF machine {machine}, not for BPF ({EM_BPF}); compile with clang -target bpf -c",
            where="offset 18",
        )
    if file_type != 1:
        raise ObjectFormatError(
            f"ELF type {file_type} is not a relocatable object (1); compile with clang -c and do not link",
            where="offset 16",
        )


def read(data: bytes) -> ElfObject:
    """Read a BPF object from its bytes.  Raises ObjectFormatError with the place for anything malformed."""
    _check_header(data[:_HEADER_SIZE])
    return _Reader(data).read()


class _Reader:
    """Reads one file, table by table."""

    def __init__(self, data: bytes) -> None:
        # Its ELFFile would do the same, but imports all that pyelftools knows of DWARF.
        from elftools.elf.structs import ELFStructs

        self.data = data
        self.structs = ELFStructs(little_endian=data[5] == 1, elfclass=64)
        self.structs.create_basic_structs()
        self.header = self.structs.Elf_Ehdr.parse(data[:_HEADER_SIZE])
        kind, machine, abi = self.header["e_type"], self.header["e_machine"], self.header["e_ident"]["EI_OSABI"]
        self.structs.create_advanced_structs(kind, machine, abi)

    def read(self) -> ElfObject:
        headers = self._section_headers()
        sections = self._sections(headers)
        symbols = self._symbols(headers, sections)
        return ElfObject(
            byteorder="little" if self.structs.little_endian else "big",
            sections=sections,
            symbols=symbols,
            relocations=self._relocations(headers, sections, symbols),
        )

    def _section_headers(self) -> list[Any]:
        offset, entry_size, count = (self.header[field] for field in ("e_shoff", "e_shentsize", "e_shnum"))
        if offset == 0 or count == 0:
            raise ObjectFormatError("the file has no sections", where="ELF header")
        if entry_size != _SECTION_HEADER_SIZE:
            raise ObjectFormatError(
                f"section headers of {entry_size} bytes, expected {_SECTION_HEADER_SIZE}", where="ELF header"
            )
        if offset + count * entry_size > len(self.data):
            raise ObjectFormatError(
                f"truncated: the section header table ({count} entries at offset {offset}) ends beyond the file's "
                f"{len(self.data)} bytes",
                where="ELF header",
            )
        table = self.data[offset : offset + count * entry_size]
        return list(_entries(self.structs.Elf_Shdr, table))

    def _sections(self, headers: list[Any]) -> tuple[Section, ...]:
        names_index = self.header["e_shstrndx"]
        if names_index >= len(headers):
            raise ObjectFormatError(
                f"the names of sections are said to be in section {names_index} of {len(headers)}", where="ELF header"
            )
        names = self._content(headers[names_index], f"section {names_index}")
        sections = []
        in_file = zeros = 0
        for index, header in enumerate(headers):
            name, kind = _string(names, header["sh_name"], f"name of section {index}"), str(header["sh_type"])
            where = f"section {name!r}"
            content = self._content(header, where)
            in_file += len(content)
            if in_file > len(self.data):
                raise ObjectFormatError(
                    f"overlaps others: the sections up to it have {in_file} bytes, the file {len(self.data)}",
                    where=where,
                )
            size = header["sh_size"] if kind == "SHT_NOBITS" else len(content)
            zeros += size - len(content)
            if zeros > MAX_NOBITS_SIZE:
                raise ObjectFormatError(
                    f"{size} zero bytes; objects with more than {MAX_NOBITS_SIZE >> 20} MiB of such are refused",
                    where=where,
                )
            executable = bool(header["sh_flags"] & 0x4)  # SHF_EXECINSTR
            sections.append(Section(index, name, kind, executable, size, content, header["sh_link"], header["sh_info"]))
        return tuple(sections)

    def _content(self, header: Any, where: str) -> bytes:
        """The bytes of a section, none if it occupies no file space."""
        if header["sh_type"] in ("SHT_NULL", "SHT_NOBITS"):
            return b""
        offset, size = header["sh_offset"], header["sh_size"]
        if offset + size > len(self.data):
            raise ObjectFormatError(
                f"its {size} bytes at offset {offset} end beyond the file's {len(self.data)} bytes", where=where
            )
        return self.data[offset : offset + size]

    def _symbols(self, headers: list[Any], sections: tuple[Section, ...]) -> tuple[Symbol, ...]:
        tables = [section for section in sections if section.type == "SHT_SYMTAB"]
        if len(tables) != 1:
            raise ObjectFormatError(
                "more than one symbol table" if tables else "no symbol table; was the object stripped?",
                where="section headers",
            )
        table = tables[0]
        where = f"section {table.name!r}"
        _check_entry_size(headers[table.number], table, _SYMBOL_SIZE)
        if table.link >= len(sections) or sections[table.link].type != "SHT_STRTAB":
            raise ObjectFormatError(
                f"the names of symbols are said to be in section {table.link}, no string table", where=where
            )
        names = sections[table.link].data
        symbols = []
        for number, entry in enumerate(_entries(self.structs.Elf_Sym, table.data)):
            place = entry["st_shndx"]
            symbols.append(
                Symbol(
                    number=number,
                    name=_string(names, entry["st_name"], f"{where}, name of symbol {number}"),
                    type=str(entry["st_info"]["type"]),
                    binding=str(entry["st_info"]["bind"]),
                    visibility=str(entry["st_other"]["visibility"]),
                    section=place if isinstance(place, int) and place < len(sections) else None,
                    undefined=place == "SHN_UNDEF",
                    value=entry["st_value"],
                    size=entry["st_size"],
                )
            )
        return tuple(symbols)

    def _relocations(
        self, headers: list[Any], sections: tuple[Section, ...], symbols: tuple[Symbol, ...]
    ) -> dict[int, tuple[ElfRelocation, ...]]:
        """Those of code and of maps' values; clang writes others (for BTF, DWARF) that a loader has no use for."""
        found: dict[int, list[ElfRelocation]] = {}
        for section in sections:
            if section.type not in _RELOCATION_SIZES:
                continue
            where = f"section {section.name!r}"
            if section.info >= len(sections):
                raise ObjectFormatError(f"applies to section {section.info}, which does not exist", where=where)
            target = sections[section.info]
            if not target.executable and target.name not in _INITIALISED:
                continue
            _check_entry_size(headers[section.number], section, _RELOCATION_SIZES[section.type])
            entries = found.setdefault(target.number, [])
            layout = self.structs.Elf_Rel if section.type == "SHT_REL" else self.structs.Elf_Rela
            for index, entry in enumerate(_entries(layout, section.data)):
                offset, number = entry["r_offset"], entry["r_info_sym"]
                if number >= len(symbols):
                    raise ObjectFormatError(f"names symbol {number} of {len(symbols)}", where=f"{where}, entry {index}")
                if offset >= target.size:
                    raise ObjectFormatError(
                        f"is for byte {offset} of section {target.name!r}, which has {target.size}",
                        where=f"{where}, entry {index}",
                    )
                entries.append(ElfRelocation(offset, entry["r_info_type"], symbols[number]))
        return {index: tuple(sorted(entries, key=lambda entry: entry.offset)) for index, entries in found.items()}


def _entries(layout: Any, table: bytes) -> Iterator[Any]:
    """The records of a table, each by one of pyelftools' structures, which are of fixed size."""
    size = layout.sizeof()
    return (layout.parse(table[start : start + size]) for start in range(0, len(table), size))


def _check_entry_size(header: Any, table: Section, expected: int) -> None:
    size = header["sh_entsize"]
    if size != expected or table.size % expected:
        raise ObjectFormatError(
            f"entries of {size} bytes in {table.size}, expected entries of {expected}", where=f"section {table.name!r}"
        )


def _string(table: bytes, offset: int, where: str) -> str:
    """The string at this offset of a string table, which ends with NUL.  What is not UTF-8 is escaped."""
    end = table.find(b"\0", offset, offset + _MAX_NAME)
    if end < 0:
        what = "lies beyond" if offset >= len(table) else f"is longer than {_MAX_NAME} bytes, or cut off by the end of"
        raise ObjectFormatError(
            f"the string at offset {offset} {what} the string table of {len(table)} bytes", where=where
        )
    return table[offset:end].decode("utf-8", "backslashreplace")
