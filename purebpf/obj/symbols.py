"""The functions of a program or shared library, by name, and where in the file they are.

A uprobe is set on an offset in a file, and a person knows a name.  Between them are two symbol tables.  ``.dynsym`` has
what a library offers to others, or a program wants of them, and survives stripping.  ``.symtab`` has all functions,
static ones too, until the file is stripped.  libbpf looks into ``.dynsym`` first for one function, and into ``.symtab``
first for all that fit a pattern; so do we.

A library may offer several versions of a function under one name.  ``.dynsym`` keeps the version apart, as a number
that the section ``.gnu.version_d`` explains; in ``.symtab`` it is part of the name, ``name@VERSION`` or, of the version
that is used by default, ``name@@VERSION``.  Format: the Linux Standard Base Core, chapter "Symbol Versioning".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from purebpf.obj.binary import SHT_DYNSYM, SHT_GNU_VERDEF, SHT_GNU_VERSYM, SHT_SYMTAB, Binary, string

STT_FUNC, STT_GNU_IFUNC = 2, 10
_STB_WEAK = 2
_SYMBOLS: Final = {32: "IIIBBH", 64: "IBBHQQ"}
_VERSION_MASK = 0x7FFF  # the highest bit says that the version is not the one used by default


class Function(NamedTuple):
    """A symbol of a function.  ``offset`` is where it begins in the file, or None if it is in another file, a library.

    ``name`` is as in the table.  ``version`` is "" where the table does not have it, as in ``.symtab``.  ``indirect``
    means that this is not the function, but one that chooses among several when the program starts (STT_GNU_IFUNC).
    ``size`` is in bytes, 0 where nobody has said it, as with many functions in assembler.
    """

    name: str
    version: str
    offset: int | None
    weak: bool
    indirect: bool
    size: int


def functions(binary: Binary, table: int) -> list[Function]:
    """The functions in a symbol table, SHT_DYNSYM or SHT_SYMTAB, in its order; none if there is no such table.

    Raises ObjectFormatError for a malformed file.
    """
    section = binary.section(table)
    if section is None or section.link >= len(binary.sections):
        return []
    names = binary.content(binary.sections[section.link])
    versions = _versions(binary) if table == SHT_DYNSYM else {}
    found = []
    for index, record in enumerate(binary.records(section, _SYMBOLS[binary.bits])):
        if binary.bits == 64:
            name, info, _, place, value, size = record
        else:
            name, value, size, info, _, place = record
        kind = info & 15
        if kind not in (STT_FUNC, STT_GNU_IFUNC):
            continue
        offset = None
        if 0 < place < len(binary.sections) and value >= binary.sections[place].address:
            offset = value - binary.sections[place].address + binary.sections[place].offset
        found.append(
            Function(
                string(names, name),
                versions.get(index, ""),
                offset,
                info >> 4 == _STB_WEAK,
                kind == STT_GNU_IFUNC,
                size,
            )
        )
    return found


def find(binary: Binary, name: str) -> list[Function]:
    """The function that is meant by ``name`` or ``name@VERSION``: none, one, or several in different places.

    A function that is not weak goes before one that is.
    """
    for table in (SHT_DYNSYM, SHT_SYMTAB):
        fitting = [each for each in functions(binary, table) if each.offset and not each.indirect and _is(each, name)]
        strong = [each for each in fitting if not each.weak] or fitting[:1]
        if strong:
            return list({each.offset: each for each in strong}.values())
    return []


def _is(function: Function, wanted: str) -> bool:
    """Whether the function has this name, and, if the name has one, this version."""
    name, _, version = wanted.partition("@")
    if function.name.partition("@")[0] != name:
        return False
    if not version:
        return True
    return function.name == wanted or function.version == version.removeprefix("@")


def _versions(binary: Binary) -> dict[int, str]:
    """The versions of the symbols in ``.dynsym``, by index."""
    numbers, definitions = binary.section(SHT_GNU_VERSYM), binary.section(SHT_GNU_VERDEF)
    if numbers is None or definitions is None or definitions.link >= len(binary.sections):
        return {}
    names = binary.content(binary.sections[definitions.link])
    known = dict(_definitions(binary.content(definitions), names, binary.prefix))
    return {
        index: known.get(number & _VERSION_MASK, "") for index, (number,) in enumerate(binary.records(numbers, "H"))
    }


def _definitions(data: bytes, names: bytes, prefix: str) -> Iterator[tuple[int, str]]:
    """The versions that a file defines: a chain of records, each with its number and the place of its name."""
    record, name = struct.Struct(prefix + "HHHHIII"), struct.Struct(prefix + "I")
    at = following = 0
    while at + record.size <= len(data):
        _, _, number, _, _, auxiliary, following = record.unpack_from(data, at)
        if at + auxiliary + name.size <= len(data):
            yield number, string(names, *name.unpack_from(data, at + auxiliary))
        if not following:
            return
        at += following
