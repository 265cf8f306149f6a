"""Complete the BTF of an object with what only the linker view of the file knows.

clang writes a DATASEC record for each section of global variables, but leaves its size and the offsets of global
variables 0; the kernel refuses that.  A loader fills them in from the section headers and the symbol table, and sorts
the variables by offset.  It also makes static what has hidden visibility: a variable, and a subprogram, which the
verifier then checks together with its callers.  The records are those of ``struct btf_type`` and ``struct
btf_var_secinfo`` in include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from purebpf.btf.reader import Btf
from purebpf.btf.types import Datasec, Func, Var, VarSecinfo
from purebpf.errors import ObjectFormatError
from purebpf.obj.elf import ElfObject, Symbol

_EXTERN_SECTIONS = (".kconfig", ".ksyms")  # filled in when externs are resolved
_STATIC, _GLOBAL = 0, 1  # BTF_VAR_STATIC and BTF_VAR_GLOBAL_ALLOCATED, BTF_FUNC_STATIC and BTF_FUNC_GLOBAL
_TYPE_SIZE = 12  # struct btf_type: name, info and, as its last word, the size of a section
_VLEN_MASK = 0xFFFFFF  # of the info word; a function keeps its linkage there
_HIDDEN = ("STV_HIDDEN", "STV_INTERNAL")


def complete(btf: Btf, elf: ElfObject) -> tuple[Btf, dict[str, int]]:
    """The same BTF with the sizes and offsets of every DATASEC filled in, and the type id of each DATASEC by name."""
    types = [btf.type(id) for id in range(1, len(btf))]
    sections = [kind for kind in types if isinstance(kind, Datasec)]
    functions = [kind for kind in types if isinstance(kind, Func)]
    data = bytearray(btf.data)
    symbols = _global_symbols(elf.symbols, "STT_OBJECT")
    for section in sections:
        _complete_section(section, btf, elf, symbols, data)
    text = elf.section(".text")
    if text is not None:
        _hide_functions(functions, btf, _global_symbols(elf.symbols_in(text), "STT_FUNC"), data)
    completed = Btf.from_bytes(bytes(data)) if data != btf.data else btf
    return completed, {section.name: section.id for section in reversed(sections)}


def _global_symbols(symbols: Iterable[Symbol], kind: str) -> dict[str, Symbol]:
    """By name; the first of a name counts."""
    found: dict[str, Symbol] = {}
    for symbol in symbols:
        if symbol.type == kind and symbol.binding in ("STB_GLOBAL", "STB_WEAK"):
            found.setdefault(symbol.name, symbol)
    return found


def _complete_section(section: Datasec, btf: Btf, elf: ElfObject, symbols: dict[str, Symbol], data: bytearray) -> None:
    order = "<" if btf.byteorder == "little" else ">"
    record = btf.record_offset(section.id)
    variables = list(section.variables)
    if section.name not in _EXTERN_SECTIONS:
        place_variables = section.size == 0
        if place_variables:
            in_file = elf.section(section.name)
            if in_file is None or not in_file.size:
                raise ObjectFormatError(
                    f"describes section {section.name!r}, which is missing or empty", where=_at(section)
                )
            struct.pack_into(order + "I", data, record + 8, in_file.size)
        for index, place in enumerate(variables):
            var = btf.type(place.type_id)
            if not isinstance(var, Var):
                raise ObjectFormatError(f"lists type {place.type_id}, which is no variable", where=_at(section))
            if var.linkage != _GLOBAL:
                continue
            symbol = symbols.get(var.name)
            if symbol is None:
                raise ObjectFormatError(f"variable {var.name!r} has no symbol", where=_at(section))
            if place_variables:
                variables[index] = VarSecinfo(place.type_id, symbol.value & 0xFFFFFFFF, place.size)
            if symbol.visibility in _HIDDEN:
                struct.pack_into(order + "I", data, btf.record_offset(var.id) + _TYPE_SIZE, _STATIC)
    variables.sort(key=lambda place: place.offset)
    for index, place in enumerate(variables):
        position = record + _TYPE_SIZE + 12 * index
        struct.pack_into(order + "III", data, position, place.type_id, place.offset, place.size)


def _hide_functions(functions: Iterable[Func], btf: Btf, symbols: dict[str, Symbol], data: bytearray) -> None:
    order = "<" if btf.byteorder == "little" else ">"
    for function in functions:
        symbol = symbols.get(function.name)
        if function.linkage == _GLOBAL and symbol is not None and symbol.visibility in _HIDDEN:
            position = btf.record_offset(function.id) + 4
            (info,) = struct.unpack_from(order + "I", data, position)
            struct.pack_into(order + "I", data, position, info & ~_VLEN_MASK | _STATIC)


def _at(section: Datasec) -> str:
    return f".BTF type {section.id} (DATASEC {section.name!r})"
