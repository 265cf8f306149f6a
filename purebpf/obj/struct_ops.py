"""struct_ops maps: structs of function pointers that the kernel calls, such as a TCP congestion control.

Each variable in section ``.struct_ops`` or ``.struct_ops.link`` becomes a map.  Its initialiser is plain C: numbers and
strings stand in the section as they are, and a function stands there as a relocation against a program of type
struct_ops.  A leading ``?`` in the section's name means: do not create unless asked to.  What the kernel lays out in
another way than the object is only known once the kernel is: see purebpf.load.struct_ops.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from purebpf.abi.bpf import bpf_map_flags, bpf_map_type, bpf_prog_type
from purebpf.btf.reader import Btf
from purebpf.btf.types import Datasec, FuncProto, Ptr, Struct, Var
from purebpf.errors import ObjectFormatError
from purebpf.obj.elf import ElfObject, ElfRelocation, Section
from purebpf.obj.spec import MapSpec, ProgramSpec

SECTIONS = (".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")
_POINTER_SIZE = 8


def definitions(section: Section, btf: Btf | None) -> Iterator[tuple[int, MapSpec]]:
    """The maps of a section, each with its byte offset, in the order of the section's BTF."""
    found = btf.find(section.name, Datasec) if btf is not None else []
    where = f"section {section.name!r}"
    if btf is None or not found:
        raise ObjectFormatError("has no BTF; compile with -g", where=where)
    datasec = btf.type(found[0])
    assert isinstance(datasec, Datasec)
    for place in datasec.variables:
        var = btf.type(place.type_id)
        if not isinstance(var, Var):
            raise ObjectFormatError(f"type {place.type_id} is not a variable", where=f"BTF type {datasec.id}")
        kind = btf.resolve(var.type_id)
        if not isinstance(kind, Struct) or not kind.name:
            raise ObjectFormatError("is no struct with a name", where=f"{where}, variable {var.name!r}")
        if place.offset + kind.size > section.size:
            raise ObjectFormatError(
                f"lies at {place.offset} to {place.offset + kind.size} of {section.size}",
                where=f"{where}, variable {var.name!r}",
            )
        yield (
            place.offset,
            MapSpec(
                name=var.name,
                type=bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS,
                key_size=4,
                value_size=kind.size,
                max_entries=1,
                map_flags=bpf_map_flags.BPF_F_LINK if section.name.endswith(".link") else bpf_map_flags(0),
                value_type_id=kind.id,
                autocreate=not section.name.startswith("?"),
                kind="struct_ops",
                section=section.name,
                contents=bytearray(section.data[place.offset : place.offset + kind.size]),
            ),
        )


def fill_functions(
    maps: Sequence[tuple[int, MapSpec]],
    relocations: Iterable[ElfRelocation],
    programs: Iterable[ProgramSpec],
    elf: ElfObject,
    btf: Btf,
) -> None:
    """Note which program stands where in the ``maps`` of one section, which come with their byte offsets."""
    maps = sorted(maps, key=lambda pair: pair[0])
    starts = [offset for offset, _ in maps]
    by_section: dict[str, list[ProgramSpec]] = {}
    for program in programs:
        by_section.setdefault(program.section, []).append(program)
    for entry in relocations:
        index = bisect_right(starts, entry.offset) - 1
        offset, definition = maps[index] if index >= 0 else (0, None)
        if definition is None or entry.offset - offset >= definition.value_size:
            raise ObjectFormatError("lies in no variable", where=f"relocation at byte {entry.offset}")
        where = f"map {definition.name!r}, relocation at byte {entry.offset - offset}"
        member = _function_pointer(btf, definition, entry.offset - offset, where)
        symbol = entry.symbol
        if symbol.section is None:
            raise ObjectFormatError(f"{member!r} is set to {symbol.name!r}, which is no program", where=where)
        name = elf.sections[symbol.section].name
        target = next(
            (p for p in by_section.get(name, ()) if 0 <= symbol.value - p.section_offset < len(p.insns)), None
        )
        if target is None or target.type != bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS:
            raise ObjectFormatError(
                f"{member!r} is set to {symbol.name!r}, which is no program of a section struct_ops", where=where
            )
        definition.functions[member] = target.name
        assert definition.contents is not None
        start = entry.offset - offset
        definition.contents[start : start + _POINTER_SIZE] = bytes(_POINTER_SIZE)


def _function_pointer(btf: Btf, definition: MapSpec, offset: int, where: str) -> str:
    """The name of the member at this byte offset, which must be a pointer to a function."""
    struct = btf.type(definition.value_type_id)
    assert isinstance(struct, Struct)
    member = next((member for member in struct.members if member.bit_offset == 8 * offset), None)
    if member is None or offset + _POINTER_SIZE > struct.size:
        raise ObjectFormatError(f"no member of struct {struct.name!r} begins there", where=where)
    pointer = btf.resolve(member.type_id)
    if not isinstance(pointer, Ptr) or not isinstance(btf.resolve(pointer.type_id), FuncProto):
        raise ObjectFormatError(f"{member.name!r} is no pointer to a function", where=where)
    return member.name
