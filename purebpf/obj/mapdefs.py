"""Map definitions, in the two notations that objects use.

BTF-defined: variables in section ``.maps`` whose *type* is the definition.  ``__uint(max_entries, 64)`` declares a
member ``int (*max_entries)[64]``: the number is an array's length, so it survives in the BTF and nothing is stored.

Legacy: ``struct bpf_map_def`` values in section ``maps``, plain numbers: type, key_size, value_size, max_entries,
map_flags.  Loaders have had longer and shorter versions of the struct, so each definition counts with its own size.
No BTF is needed; where there is some, a struct ``____btf_map_NAME`` (made by ``BPF_ANNOTATE_KV_PAIR``) gives the types.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from purebpf.abi.bpf import bpf_map_type
from purebpf.btf.reader import Btf
from purebpf.btf.types import Array, Datasec, Enum, Enum64, FuncProto, Member, Ptr, Struct, Var
from purebpf.errors import ObjectFormatError
from purebpf.obj.elf import ElfObject, ElfRelocation, Section
from purebpf.obj.spec import MapSpec, ProgramSpec

_MAP_IN_MAP = (bpf_map_type.BPF_MAP_TYPE_ARRAY_OF_MAPS, bpf_map_type.BPF_MAP_TYPE_HASH_OF_MAPS)
_INTEGERS = ("type", "max_entries", "map_flags", "numa_node", "key_size", "value_size", "pinning")
_PINNING = (0, 1)  # LIBBPF_PIN_NONE, LIBBPF_PIN_BY_NAME
_VAR_GLOBAL_ALLOCATED = 1
_ANNOTATION = "____btf_map_"
_LEGACY_FIELDS = ("type", "key_size", "value_size", "max_entries", "map_flags")


_SLOT_SIZE = 8
"""In bytes: of a pointer in ``.values = {...}``; the object is compiled for BPF, where pointers have 64 bits."""


class Defined(NamedTuple):
    """A map of section ``.maps``, and the byte offsets of its start and end there, and of its member ``values``."""

    start: int
    end: int
    values: int | None
    spec: MapSpec


def btf_defined(section: Section, btf: Btf) -> Iterator[Defined]:
    """The maps of section ``.maps``, in the order of its BTF."""
    found = [btf.type(id) for id in btf.find(".maps", Datasec)]
    if not found:
        raise ObjectFormatError("section '.maps' has no BTF; compile with -g", where="section '.maps'")
    datasec = found[0]
    assert isinstance(datasec, Datasec)
    for place in datasec.variables:
        var = btf.type(place.type_id)
        if not isinstance(var, Var) or not var.name:
            raise ObjectFormatError(f"type {place.type_id} is not a named variable", where=f"BTF type {datasec.id}")
        where = f"map {var.name!r}"
        if place.offset + place.size > section.size:
            raise ObjectFormatError(
                f"lies at {place.offset} to {place.offset + place.size}, beyond the section", where=where
            )
        if var.linkage != _VAR_GLOBAL_ALLOCATED:
            raise ObjectFormatError("is static; a map must be a global variable", where=where)
        definition = btf.resolve(var.type_id)
        if not isinstance(definition, Struct):
            raise ObjectFormatError(f"is defined by a {type(definition).__name__}, not by a struct", where=where)
        if definition.size > place.size:
            raise ObjectFormatError(f"has {place.size} bytes for a definition of {definition.size}", where=where)
        last = definition.members[-1] if definition.members else None
        values = place.offset + last.bit_offset // 8 if last is not None and last.name == "values" else None
        spec = _from_struct(var.name, btf, definition, section.name)
        yield Defined(place.offset, place.offset + place.size, values, spec)


def fill_slots(
    maps: Sequence[Defined],
    relocations: Iterable[ElfRelocation],
    programs: dict[str, ProgramSpec],
    elf: ElfObject,
) -> None:
    """Note which maps and programs are to be in a map from the start, as the relocations of ``.maps`` say."""
    maps = sorted(maps, key=lambda entry: entry.start)
    starts = [entry.start for entry in maps]
    by_name = {entry.spec.name for entry in maps}
    for relocation in relocations:
        offset, symbol = relocation.offset, relocation.symbol
        index = bisect_right(starts, offset) - 1
        if index < 0 or offset + _SLOT_SIZE > maps[index].end:
            raise ObjectFormatError("lies in no map", where=f"section '.maps', relocation at byte {offset}")
        target, spec = maps[index], maps[index].spec
        where = f"map {spec.name!r}, initial value {symbol.name!r}"
        if target.values is None or offset < target.values or (offset - target.values) % _SLOT_SIZE:
            raise ObjectFormatError("does not stand in 'values'", where=where)
        in_section = elf.sections[symbol.section].name if symbol.section is not None else ""
        if spec.type in _MAP_IN_MAP:
            if in_section != ".maps" or symbol.name not in by_name:
                raise ObjectFormatError("is no map of section '.maps'", where=where)
            if spec.type == bpf_map_type.BPF_MAP_TYPE_HASH_OF_MAPS and spec.key_size != 4:
                raise ObjectFormatError("a hash of maps can have initial values only with keys of 4 bytes", where=where)
        else:
            program = programs.get(symbol.name)
            place = (program.section, program.section_offset) if program is not None else None
            if place != (in_section, symbol.value) or in_section == ".text":
                raise ObjectFormatError("is no program", where=where)
        spec.slots[(offset - target.values) // _SLOT_SIZE] = symbol.name


def _from_struct(name: str, btf: Btf, definition: Struct, section: str, inner: bool = False) -> MapSpec:
    """One BTF definition: each member is an attribute of the map."""
    spec = MapSpec(name, section=section)
    where = f"map {name!r}"
    seen: set[str] = set()
    for position, member in enumerate(definition.members):
        attribute = member.name
        if attribute in seen:  # C does not allow that
            raise ObjectFormatError(f"has two members {attribute!r}", where=where)
        seen.add(attribute)
        if attribute in _INTEGERS:
            if attribute == "pinning" and inner:
                raise ObjectFormatError("an inner map cannot be pinned", where=where)
            number = _array_length(btf, member, where)
            if attribute == "pinning" and number not in _PINNING:
                raise ObjectFormatError(
                    f"pinning {number} is neither LIBBPF_PIN_NONE (0) nor LIBBPF_PIN_BY_NAME (1)", where=where
                )
            if attribute in ("key_size", "value_size"):
                _set_size(spec, attribute, number, where)
            else:
                setattr(spec, attribute, number)
        elif attribute in ("key", "value"):
            pointer = btf.type(member.type_id)
            if not isinstance(pointer, Ptr):
                raise ObjectFormatError(
                    f"{attribute} is no pointer to a type; use __type({attribute}, ...)", where=where
                )
            _set_size(spec, attribute + "_size", btf.size_of(pointer.type_id), where)
            setattr(spec, attribute + "_type_id", pointer.type_id)
        elif attribute == "map_extra":
            spec.map_extra = _long(btf, member, where)
        elif attribute == "values":
            if inner:
                raise ObjectFormatError("maps nest only one level deep", where=where)
            if position != len(definition.members) - 1:
                raise ObjectFormatError("'values' must be the last member", where=where)
            _set_size(spec, "value_size", 4, where)
            spec.inner = _inner(spec, btf, member, where)
        else:
            raise ObjectFormatError(f"unknown attribute {attribute!r}", where=where)
    if spec.type == bpf_map_type.BPF_MAP_TYPE_UNSPEC:
        raise ObjectFormatError("has no type; add __uint(type, BPF_MAP_TYPE_...)", where=where)
    return spec


def _set_size(spec: MapSpec, attribute: str, size: int, where: str) -> None:
    before = getattr(spec, attribute)
    if before and before != size:
        raise ObjectFormatError(f"{attribute} is given twice, as {before} and as {size}", where=where)
    setattr(spec, attribute, size)


def _array_length(btf: Btf, member: Member, where: str) -> int:
    """The number in ``int (*NAME)[number]``."""
    pointer = btf.resolve(member.type_id)
    array = btf.type(pointer.type_id) if isinstance(pointer, Ptr) else None
    if not isinstance(array, Array):
        raise ObjectFormatError(f"{member.name} is not written as __uint({member.name}, number)", where=where)
    return array.nelems


def _long(btf: Btf, member: Member, where: str) -> int:
    """The number of a ``__uint`` or ``__ulong``; the latter is the one value of an enum."""
    kind = btf.resolve(member.type_id)
    if not isinstance(kind, (Enum, Enum64)):
        return _array_length(btf, member, where)
    if len(kind.values) != 1:
        raise ObjectFormatError(f"{member.name} is not written as __ulong({member.name}, number)", where=where)
    return kind.values[0].value & 0xFFFFFFFFFFFFFFFF


def _inner(outer: MapSpec, btf: Btf, member: Member, where: str) -> MapSpec | None:
    """The definition behind ``__array(values, ...)``: of the inner map, or for a prog array just a function type."""
    if outer.type not in (*_MAP_IN_MAP, bpf_map_type.BPF_MAP_TYPE_PROG_ARRAY):
        raise ObjectFormatError("only a map of maps or a prog array can have 'values'", where=where)
    array = btf.type(member.type_id)
    if not isinstance(array, Array) or array.nelems:
        raise ObjectFormatError("'values' is not written as __array(values, ...)", where=where)
    pointer = btf.resolve(array.type_id)
    element = btf.resolve(pointer.type_id) if isinstance(pointer, Ptr) else None
    if outer.type == bpf_map_type.BPF_MAP_TYPE_PROG_ARRAY:
        if not isinstance(element, FuncProto):
            raise ObjectFormatError("'values' of a prog array must be a function type", where=where)
        return None
    if not isinstance(element, Struct):
        raise ObjectFormatError("'values' of a map of maps must be a map definition", where=where)
    return _from_struct(f"{outer.name}.inner", btf, element, outer.section, inner=True)


def legacy(elf: ElfObject, section: Section, btf: Btf | None) -> Iterator[tuple[int, MapSpec]]:
    """The maps of section ``maps``, each with its byte offset, in the order of their place."""
    symbols = [symbol for symbol in elf.symbols_in(section) if symbol.type != "STT_SECTION"]
    symbols.sort(key=lambda symbol: symbol.value)
    types = _annotations(btf) if btf is not None else {}
    ends = [symbol.value for symbol in symbols[1:]] + [section.size]
    for symbol, end in zip(symbols, ends, strict=False):  # without a symbol, there is one end too many
        where = f"map {symbol.name!r}"
        size = symbol.size or end - symbol.value
        if not symbol.name or size < 4 or symbol.value + size > section.size:
            raise ObjectFormatError(f"a definition of {size} bytes at {symbol.value} of {section.size}", where=where)
        raw = section.data[symbol.value : symbol.value + size]
        known = raw[: 4 * len(_LEGACY_FIELDS)].ljust(4 * len(_LEGACY_FIELDS), b"\0")
        if any(raw[len(known) :]):
            raise ObjectFormatError(
                f"bytes {len(known)} to {size} are not zero; known are only {', '.join(_LEGACY_FIELDS)}",
                where=where,
            )
        numbers = struct.unpack(("<" if elf.byteorder == "little" else ">") + "5I", known)
        spec = MapSpec(symbol.name, section=section.name, **dict(zip(_LEGACY_FIELDS, numbers, strict=True)))
        if btf is not None and symbol.name in types:
            _annotate(spec, btf, types[symbol.name])
        yield symbol.value, spec


def _annotations(btf: Btf) -> dict[str, Struct]:
    """The ``struct ____btf_map_NAME { K key; V value; }`` of each map that has one, by the map's name."""
    structs = (kind for kind in map(btf.type, range(1, len(btf))) if isinstance(kind, Struct))
    return {kind.name.removeprefix(_ANNOTATION): kind for kind in structs if kind.name.startswith(_ANNOTATION)}


def _annotate(spec: MapSpec, btf: Btf, annotation: Struct) -> None:
    """Take key and value types from the annotation, if their sizes fit."""
    types = {member.name: member.type_id for member in annotation.members}
    if types.keys() >= {"key", "value"} and (btf.size_of(types["key"]), btf.size_of(types["value"])) == (
        spec.key_size,
        spec.value_size,
    ):
        spec.key_type_id, spec.value_type_id = types["key"], types["value"]
