"""An object file's bytes -> ObjectSpec.

The order of things is libbpf's, because it shows in the kernel: maps as the BTF lists them, then one array map for each
data section by section number; programs by section number, then by place.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

from purebpf.abi.bpf import BPF_OBJ_NAME_LEN, bpf_map_flags, bpf_map_type
from purebpf.btf.ext import BtfExt
from purebpf.btf.reader import Btf
from purebpf.btf.types import Datasec, Var, VarSecinfo
from purebpf.errors import ObjectFormatError
from purebpf.obj import elf, externs, mapdefs, sections, struct_ops
from purebpf.obj.datasec import complete
from purebpf.obj.elf import ElfObject, ElfRelocation, Section, Symbol
from purebpf.obj.spec import MapSpec, ObjectSpec, ProgramSpec, Relocation, Variable, Variables

Source = str | os.PathLike[str] | bytes | bytearray | memoryview
Spec = TypeVar("Spec", bound=ObjectSpec)
DataKind = Literal["data", "rodata", "bss"]

TEXT = ".text"
ARENA = ".addr_space.1"
"""Where clang puts variables with ``__attribute__((address_space(1)))``: they are to be in the object's arena."""
_CALL, _LD_IMM64 = 0x85, 0x18
_PSEUDO_CALL = 1
_LICENSE_MAX = 63
_SLOT = 8


def parse_object(source: Source, kind: type[Spec], name: str | None = None) -> Spec:
    """Parse an object into a spec of class ``kind``.

    ``source`` is a path or the file's bytes, of either byte order.  ``name`` is the object's name, which shows in the
    names of its data maps; by default the file name up to its first dot, as with libbpf.  Raises ObjectFormatError for
    a malformed file, and KernelError if it cannot be read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _parse(bytes(source), kind, "object" if name is None else name)
    path = os.fspath(source)
    try:
        return _parse(elf.read_file(path), kind, Path(path).name.partition(".")[0] if name is None else name)
    except ObjectFormatError as error:
        error.args = (f"{path}: {error}",)
        raise


def _parse(data: bytes, kind: type[Spec], name: str) -> Spec:
    file = elf.read(data)
    spec = kind(name=name, byteorder=file.byteorder)
    _Parser(file, spec).run()
    return spec


class _Parser:
    """Fills one spec from one ELF file, section by section."""

    def __init__(self, file: ElfObject, spec: ObjectSpec) -> None:
        self.elf = file
        self.spec = spec
        self.text = file.section(TEXT)
        # Section names were looser in the time of legacy map definitions.
        self.find_section = sections.find_legacy if file.section("maps") else sections.find
        self.maps_by_place: dict[tuple[int, int], str] = {}
        self.btf_defined: list[mapdefs.Defined] = []
        self.struct_ops: dict[int, list[tuple[int, MapSpec]]] = {}
        self.data_maps: dict[int, str] = {}
        self.datasecs: dict[str, int] = {}
        self.code: dict[tuple[int, int, int], tuple[bytes, tuple[Relocation, ...]]] = {}

    def run(self) -> None:
        self._license_and_version()
        self._btf()
        self._maps()
        self._struct_ops()
        self._programs()
        self._initial_values()

    def _license_and_version(self) -> None:
        section = self.elf.section("license")
        if section is not None:
            text = section.data.partition(b"\0")[0][:_LICENSE_MAX]
            self.spec.license = text.decode("utf-8", "backslashreplace")
        section = self.elf.section("version")
        if section is not None:
            if section.size != 4:
                raise ObjectFormatError(
                    f"{section.size} bytes, expected the 4 of a version code", where="section 'version'"
                )
            self.spec.kern_version = int.from_bytes(section.data, self.elf.byteorder)

    def _btf(self) -> None:
        section = self.elf.section(".BTF")
        btf = None if section is None else Btf.from_bytes(section.data)
        if btf is not None and btf.byteorder != self.elf.byteorder:
            raise ObjectFormatError(
                f"{btf.byteorder}-endian BTF in a {self.elf.byteorder}-endian file", where="section '.BTF'"
            )
        self.spec.externs, btf = externs.collect(self.elf, btf)
        if btf is None:
            return
        self.spec.btf, self.datasecs = complete(btf, self.elf)
        section = self.elf.section(".BTF.ext")
        if section is not None:
            self.spec.btf_ext = BtfExt.from_bytes(section.data, self.spec.btf)

    # Maps and global variables

    def _maps(self) -> None:
        section = self.elf.section("maps")
        if section is not None and section.type == "SHT_PROGBITS":
            for offset, definition in mapdefs.legacy(self.elf, section, self.spec.btf):
                self._add_map(definition.name, definition, section, offset)
        found: list[Variable] = []
        section = self.elf.section(".maps")
        if section is not None:
            if self.spec.btf is None:
                raise ObjectFormatError(
                    "its definitions are BTF, and there is no .BTF; compile with -g", where="section '.maps'"
                )
            self.btf_defined = list(mapdefs.btf_defined(section, self.spec.btf))
            for defined in self.btf_defined:
                self._add_map(defined.spec.name, defined.spec, section, defined.start)
            found += self._arena_variables()
        for section in self.elf.sections:
            kind = _data_kind(section)
            if kind is not None and section.size:
                definition = self._data_map(section, kind)
                self._add_map(section.name, definition, section, 0)
                self.data_maps[section.number] = section.name
                found += self._variables(section, section.name, definition)
        places: dict[str, Variable] = {}
        for variable in found:
            places.setdefault(variable.name, variable)
        self.spec.variables = Variables(self.spec, places)
        self._kconfig_map()

    def _arena_variables(self) -> list[Variable]:
        """The variables of the object's arena; they become the arena's ``contents``."""
        arenas = [key for key, entry in self.spec.maps.items() if entry.type == bpf_map_type.BPF_MAP_TYPE_ARENA]
        if len(arenas) > 1:
            raise ObjectFormatError("an object can have only one arena", where=f"maps {', '.join(map(repr, arenas))}")
        section = self.elf.section(ARENA)
        if section is None or section.type != "SHT_PROGBITS" or not section.size:
            return []
        if not arenas:
            raise ObjectFormatError(
                "its variables are to be in an arena, and section '.maps' defines none", where=f"section {ARENA!r}"
            )
        (key,) = arenas
        definition = self.spec.maps[key]
        definition.contents = bytearray(section.data)
        definition.value_type_id = self.datasecs.get(ARENA, 0)
        self.data_maps[section.number] = key
        return self._variables(section, key, definition)

    def _kconfig_map(self) -> None:
        """The array for values of the kernel's configuration; the plan fills it for one kernel."""
        size = externs.kconfig_size(self.spec.externs.values())
        if size == 0:
            return
        if externs.KCONFIG in self.spec.maps:
            raise ObjectFormatError(f"there are two maps {externs.KCONFIG!r}", where=f"section {externs.KCONFIG!r}")
        self.spec.maps[externs.KCONFIG] = MapSpec(
            name=_data_map_name(self.spec.name, externs.KCONFIG),
            type=bpf_map_type.BPF_MAP_TYPE_ARRAY,
            key_size=4,
            value_size=size,
            max_entries=1,
            map_flags=bpf_map_flags.BPF_F_RDONLY_PROG | bpf_map_flags.BPF_F_MMAPABLE,
            value_type_id=self.datasecs[externs.KCONFIG],
            kind="kconfig",
            section=externs.KCONFIG,
        )

    def _struct_ops(self) -> None:
        for section in self.elf.sections:
            if section.name in struct_ops.SECTIONS and section.type == "SHT_PROGBITS" and section.size:
                self.struct_ops[section.number] = list(struct_ops.definitions(section, self.spec.btf))
                for _, definition in self.struct_ops[section.number]:
                    self._add_map(definition.name, definition, section, None)

    def _initial_values(self) -> None:
        """What map definitions hold of other maps and of programs, which are known by now."""
        section = self.elf.section(".maps")
        if section is not None:
            relocations = self.elf.relocations.get(section.number, ())
            mapdefs.fill_slots(self.btf_defined, relocations, self.spec.programs, self.elf)
        for index, maps in self.struct_ops.items():
            assert self.spec.btf is not None
            relocations = self.elf.relocations.get(index, ())
            struct_ops.fill_functions(maps, relocations, self.spec.programs.values(), self.elf, self.spec.btf)

    def _add_map(self, key: str, definition: MapSpec, section: Section, offset: int | None) -> None:
        if key in self.spec.maps:
            raise ObjectFormatError(f"there are two maps {key!r}", where=f"section {section.name!r}")
        self.spec.maps[key] = definition
        if offset is not None:  # else no program can refer to it
            self.maps_by_place[section.number, offset] = key

    def _data_map(self, section: Section, kind: DataKind) -> MapSpec:
        """The one-element array that holds a data section; a program addresses the bytes of its value directly."""
        datasec = self.datasecs.get(section.name, 0)
        flags = bpf_map_flags.BPF_F_RDONLY_PROG if kind == "rodata" else bpf_map_flags(0)
        if datasec and self._has_global_variable(datasec):
            flags |= bpf_map_flags.BPF_F_MMAPABLE
        return MapSpec(
            name=_data_map_name(self.spec.name, section.name),
            type=bpf_map_type.BPF_MAP_TYPE_ARRAY,
            key_size=4,
            value_size=section.size,
            max_entries=1,
            map_flags=flags,
            value_type_id=datasec,
            kind=kind,
            section=section.name,
            contents=bytearray(section.data) if kind != "bss" else bytearray(section.size),
        )

    def _has_global_variable(self, datasec: int) -> bool:
        return any(variable.linkage != 0 for variable, _ in self._btf_variables(datasec))

    def _btf_variables(self, datasec: int) -> list[tuple[Var, VarSecinfo]]:
        btf = self.spec.btf
        assert btf is not None
        section = btf.type(datasec)
        assert isinstance(section, Datasec)
        pairs = [(btf.type(place.type_id), place) for place in section.variables]
        return [(var, place) for var, place in pairs if isinstance(var, Var)]

    def _variables(self, section: Section, key: str, definition: MapSpec) -> list[Variable]:
        """Variables by BTF; what BTF does not tell (an object without it), by the symbols of the section."""
        if definition.value_type_id:
            described = self._btf_variables(definition.value_type_id)
            found = [Variable(var.name, key, place.offset, place.size, var.type_id) for var, place in described]
        else:
            found = [
                Variable(symbol.name, key, symbol.value, symbol.size)
                for symbol in self.elf.symbols_in(section)
                if symbol.type == "STT_OBJECT" and symbol.name
            ]
        for variable in found:
            where = f"section {section.name!r}, variable {variable.name!r}"
            if variable.offset + variable.size > section.size:
                raise ObjectFormatError(
                    f"lies at {variable.offset} to {variable.offset + variable.size} of {section.size}", where=where
                )
            # A struct with a flexible array at its end may take more room than its type says, but not less.
            if (
                self.spec.btf is not None
                and variable.type_id
                and self.spec.btf.size_of(variable.type_id) > variable.size
            ):
                raise ObjectFormatError(f"has {variable.size} bytes, less than its type", where=where)
        return found

    # Programs

    def _programs(self) -> None:
        code = {s.number: s for s in self.elf.sections if s.executable and s.type == "SHT_PROGBITS" and s.size}
        functions = [
            (code[symbol.section], symbol)
            for symbol in self.elf.symbols
            if symbol.section in code and symbol.type == "STT_FUNC"
        ]
        functions.sort(key=lambda pair: (pair[0].number, pair[1].value))
        _check_overlaps(functions)
        for section, symbol in functions:
            function = self._function(section, symbol)
            if section.name == TEXT:
                self.spec.subprograms[function.section_offset] = function
            elif function.name in self.spec.programs:
                raise ObjectFormatError(f"there are two programs {function.name!r}", where=f"section {section.name!r}")
            else:
                self.spec.programs[function.name] = function

    def _function(self, section: Section, symbol: Symbol) -> ProgramSpec:
        start, end = symbol.value, symbol.value + symbol.size
        where = f"section {section.name!r}, function {symbol.name!r}"
        if end > section.size:
            raise ObjectFormatError(f"its bytes {start} to {end} end beyond the section's {section.size}", where=where)
        if symbol.size == 0 or symbol.size % _SLOT or start % _SLOT:
            raise ObjectFormatError(
                f"{symbol.size} bytes at {start} are no whole instructions of {_SLOT} bytes", where=where
            )
        if section.name != TEXT and symbol.binding == "STB_LOCAL":
            raise ObjectFormatError("is static; a program must be a global function", where=where)
        insns, relocations = self._code(section, start, end, where)
        name = section.name.removeprefix("?")
        definition = self.find_section(name) if section.name != TEXT else None
        function = ProgramSpec(
            name=symbol.name,
            section=section.name,
            section_offset=start,
            insns=insns,
            relocations=relocations,
            definition=definition,
            autoload=not section.name.startswith("?"),
        )
        if definition is not None:
            function.type = definition.type
            function.expected_attach_type = definition.attach_type
            function.prog_flags = definition.prog_flags
            function.attach_to = name.partition("/")[2] if definition.takes_target else ""
        return function

    def _code(self, section: Section, start: int, end: int, where: str) -> tuple[bytes, tuple[Relocation, ...]]:
        """The instructions between two bytes of a section and their relocations; functions of one place share them."""
        place = section.number, start, end
        if place not in self.code:
            insns = section.data[start:end]
            entries = self.elf.relocations.get(section.number, ())
            first, last = (bisect_left(entries, offset, key=lambda entry: entry.offset) for offset in (start, end))
            relocations = tuple(self._relocation(insns, start, entry, where) for entry in entries[first:last])
            self.code[place] = insns, relocations
        return self.code[place]

    def _relocation(self, insns: bytes, start: int, entry: ElfRelocation, where: str) -> Relocation:
        """What the symbol of an ELF relocation means for the instruction it applies to."""
        place, misaligned = divmod(entry.offset - start, _SLOT)
        symbol = entry.symbol
        label = symbol.name or f"section {symbol.section}"
        where = f"{where}, relocation of instruction {place} against {label!r}"
        opcode, registers = insns[place * _SLOT], insns[place * _SLOT + 1]
        if misaligned or opcode not in (_CALL, _LD_IMM64):
            raise ObjectFormatError(f"opcode {opcode:#x} at byte {entry.offset} cannot be relocated", where=where)
        if externs.is_extern(symbol):
            return self._extern_relocation(place, symbol.name, opcode, where)
        in_text = self.text is not None and symbol.section == self.text.number
        if opcode == _CALL:
            source = registers >> 4 if self.elf.byteorder == "little" else registers & 0xF
            if source != _PSEUDO_CALL or not in_text:
                raise ObjectFormatError("a call can only be to a function in section .text", where=where)
            return Relocation(place, "call", symbol.name, symbol.value)
        if in_text and symbol.type in ("STT_SECTION", "STT_FUNC"):
            return Relocation(place, "function", symbol.name, symbol.value)
        if symbol.section in self.data_maps:
            return Relocation(place, "data", self.data_maps[symbol.section], symbol.value)
        key = self.maps_by_place.get((symbol.section if symbol.section is not None else -1, symbol.value))
        if key is None:
            raise ObjectFormatError("the symbol is neither a map, a global variable nor a function", where=where)
        return Relocation(place, "map", key)

    def _extern_relocation(self, place: int, name: str, opcode: int, where: str) -> Relocation:
        extern = self.spec.externs.get(name)
        if extern is None:
            raise ObjectFormatError("the symbol has no name", where=where)
        if isinstance(extern, externs.KernelSymbol):
            return Relocation(place, "extern", name)
        assert isinstance(extern, externs.KconfigExtern)
        if opcode == _CALL:
            raise ObjectFormatError("a value of the kernel's configuration cannot be called", where=where)
        return Relocation(place, "data", externs.KCONFIG, extern.offset)


def _check_overlaps(functions: list[tuple[Section, Symbol]]) -> None:
    """Functions, sorted by place, may be the same code by two names, but not share a part of it."""
    for (section, first), (next_section, second) in pairwise(functions):
        same = (first.value, first.size) == (second.value, second.size)
        if section is next_section and not same and first.value + first.size > second.value:
            raise ObjectFormatError(
                f"begins at byte {second.value}, inside of {first.name!r}",
                where=f"section {section.name!r}, function {second.name!r}",
            )


def _data_kind(section: Section) -> DataKind | None:
    """Which kind of data map a section becomes, if any: by its name, as in libbpf."""
    if section.executable:
        return None
    prefixes: dict[DataKind, str] = {"data": "SHT_PROGBITS", "rodata": "SHT_PROGBITS", "bss": "SHT_NOBITS"}
    for kind, elf_type in prefixes.items():
        stem = f".{kind}"
        if section.type == elf_type and (section.name == stem or section.name.startswith(stem + ".")):
            return kind
    return None


def _data_map_name(object_name: str, section: str) -> str:
    """The name that the kernel shows: ``execsnoo.rodata``, by libbpf's rule.

    At least 7 of the 15 characters are kept for the section's name, the rest go to the object's; a section with a
    second dot (``.data.cold``) stands alone.  What the kernel does not allow in a name becomes ``_``.
    """
    room = BPF_OBJ_NAME_LEN - 1
    suffix = min(max(7, len(section)), room)
    prefix = "" if "." in section[1:] else object_name[: room - suffix]
    name = prefix + section[:suffix]
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.") else "_" for letter in name)
