"""Read .BTF.ext: what the compiler noted about single instructions.

The section (struct btf_ext_header; the kernel's Documentation/bpf/btf.rst) has up to three tables: which
function begins at an instruction, which source line an instruction comes from, and which CO-RE relocation it
needs.  A table begins with the size of its records, which may grow in later versions, and then holds runs of
records: the name of an ELF section, a count, and that many records for that section.  Names and source lines
are offsets into the strings of the object's .BTF section.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from purebpf.btf.reader import MAGIC_BYTE_ORDERS, Btf
from purebpf.errors import ObjectFormatError

_INSTRUCTION_SIZE = 8
_MAX_ACCESS_STR = 1024  # characters; libbpf takes 64 indices


class FuncInfo(NamedTuple):
    """A function begins at ``insn_off`` (bytes from the start of the section); ``type_id`` is its Func.

    struct bpf_func_info of <linux/bpf.h>, which counts ``insn_off`` in instructions when handed to the
    kernel.
    """

    insn_off: int
    type_id: int


class LineInfo:
    """The instruction at ``insn_off`` (bytes from the start of the section) comes from this source line.

    The four integers are those of struct bpf_line_info of <linux/bpf.h>; strings are looked up when asked
    for.
    """

    __slots__ = ("_btf", "file_name_off", "insn_off", "line_col", "line_off")

    def __init__(self, insn_off: int, file_name_off: int, line_off: int, line_col: int, btf: Btf) -> None:
        self.insn_off: Final = insn_off
        self.file_name_off: Final = file_name_off
        self.line_off: Final = line_off
        self.line_col: Final = line_col
        self._btf = btf

    @property
    def file_name(self) -> str:
        return self._btf.string(self.file_name_off)

    @property
    def line(self) -> str:
        """The text of the line, with its indentation; empty where the compiler did not find the source."""
        return self._btf.string(self.line_off)

    @property
    def line_num(self) -> int:
        """Counts from 1."""
        return self.line_col >> 10

    @property
    def column(self) -> int:
        """Counts from 1; 0 where it is not known."""
        return self.line_col & 0x3FF


class CoreRelo(NamedTuple):
    """The instruction at ``insn_off`` (bytes from the start of the section) depends on the layout of a kernel
    type.

    struct bpf_core_relo of <linux/bpf.h>: ``type_id`` is the local root type, ``access_str`` the path from
    it, such as ``0:1:2``, and ``kind`` an enum bpf_core_relo_kind.
    """

    insn_off: int
    type_id: int
    access_str: str
    kind: int


class BtfExt:
    """The tables of one .BTF.ext section, each as ELF section name -> records, sorted by instruction.

    Compilers write them in that order, and the kernel asks for it.
    """

    def __init__(self, data: bytes | memoryview, btf: Btf, where: str = ".BTF.ext") -> None:
        self._data = bytes(data)
        self._btf = btf
        self._where = where
        func_info, line_info, core_relo = self._parse_header()

        self.func_info: dict[str, list[FuncInfo]] = {}
        for section, offset, (insn_off, type_id) in self._records("func_info", *func_info, words=2):
            self._check_type(type_id, "func_info", offset)
            self.func_info.setdefault(section, []).append(FuncInfo(insn_off, type_id))

        self.line_info: dict[str, list[LineInfo]] = {}
        for section, _, fields in self._records("line_info", *line_info, words=4):
            insn_off, file_name_off, line_off, line_col = fields
            line = LineInfo(insn_off, file_name_off, line_off, line_col, btf)
            self.line_info.setdefault(section, []).append(line)

        self.core_relos: dict[str, list[CoreRelo]] = {}
        for section, offset, fields in self._records("core_relo", *core_relo, words=4):
            insn_off, type_id, access_str_off, kind = fields
            self._check_type(type_id, "core_relo", offset)
            access_str = self._string(access_str_off, "core_relo", offset)
            if len(access_str) > _MAX_ACCESS_STR:
                raise self._error(f"an access string of {len(access_str)} characters", "core_relo", offset)
            self.core_relos.setdefault(section, []).append(CoreRelo(insn_off, type_id, access_str, kind))

        tables: tuple[dict[str, Any], ...] = self.func_info, self.line_info, self.core_relos
        for records in (records for table in tables for records in table.values()):
            records.sort(key=operator.attrgetter("insn_off"))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, btf: Btf, where: str = ".BTF.ext") -> BtfExt:
        """Parse the section that belongs to ``btf``; ``where`` names it in errors.

        Raises ObjectFormatError.
        """
        return cls(data, btf, where)

    def _error(self, message: str, table: str = "", offset: int = 0) -> ObjectFormatError:
        place = f"{self._where} {table} at offset {offset:#x}" if table else self._where
        return ObjectFormatError(message, where=place)

    def _check_type(self, type_id: int, table: str, offset: int) -> None:
        if type_id >= len(self._btf):
            raise self._error(f"refers to type {type_id}, and there are {len(self._btf)}", table, offset)

    def _string(self, string_offset: int, table: str, offset: int) -> str:
        try:
            return self._btf.string(string_offset)
        except ObjectFormatError as error:
            raise self._error(str(error), table, offset) from None

    def _parse_header(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """struct btf_ext_header: start and size, in bytes, of the three tables."""
        data, order = self._data, MAGIC_BYTE_ORDERS.get(self._data[:2])
        if order is None:
            raise self._error(f"begins with {data[:2].hex() or 'nothing'}, not with the magic eb9f of BTF")
        if order != self._btf.byteorder:
            raise self._error(f"{order}-endian, and its .BTF is {self._btf.byteorder}-endian")
        self._prefix = "<" if order == "little" else ">"
        header = struct.Struct(self._prefix + "2xBBI4I")
        if len(data) < header.size:
            raise self._error(f"cut off in its header: {len(data)} bytes of {header.size}")
        version, flags, end, func_off, func_len, line_off, line_len = header.unpack_from(data)
        if version != 1 or flags:
            raise self._error(f"version {version}, flags {flags:#x}; known is version 1 without flags")
        if not header.size <= end <= len(data):
            raise self._error(f"header length {end}: not in {header.size}..{len(data)}")
        core_off = core_len = 0
        if end >= header.size + 8:  # the table of CO-RE relocations was added later, in clang 10
            core_off, core_len = struct.unpack_from(self._prefix + "II", data, header.size)
        return (end + func_off, func_len), (end + line_off, line_len), (end + core_off, core_len)

    def _records(self, table: str, start: int, size: int, *, words: int) -> Iterator[tuple[str, int, tuple[int, ...]]]:
        """Walk one table: (ELF section name, offset of the record, its first ``words`` words)."""
        if size == 0:
            return
        data, end = self._data, start + size
        if start % 4 or end > len(data):
            raise self._error(f"{size} bytes: unaligned, or past the end at {len(data):#x}", table, start)
        if size <= 4:
            raise self._error(f"no records in {size} bytes", table, start)
        (record_size,) = struct.unpack_from(self._prefix + "I", data, start)
        if record_size < 4 * words or record_size % 4:
            raise self._error(f"records of {record_size} bytes; they have {4 * words} or more", table, start)
        run_header = struct.Struct(self._prefix + "II")  # struct btf_ext_info_sec
        position = start + 4
        while position < end:
            if end - position < run_header.size:
                raise self._error("cut off before the records of a section", table, position)
            section_off, count = run_header.unpack_from(data, position)
            first = position + run_header.size
            position = first + count * record_size
            if count == 0 or position > end:
                raise self._error(f"{count} records of {record_size} bytes, in {end - first} bytes", table, first)
            section = self._string(section_off, table, first - run_header.size)
            record = struct.Struct(f"{self._prefix}{words}I{record_size - 4 * words}x")
            offsets = range(first, position, record_size)
            for offset, fields in zip(offsets, record.iter_unpack(memoryview(data)[first:position]), strict=True):
                if fields[0] % _INSTRUCTION_SIZE:
                    raise self._error(f"instruction offset {fields[0]}: no multiple of 8", table, offset)
                yield section, offset, fields
