"""What an object file says, as data that can be looked at and changed before anything is loaded.

An `ObjectSpec` holds maps, programs, subprograms, global variables, licence and types.  The same bytes give the same
spec on every machine.  Everything in it may be edited: ``spec.maps["execs"].max_entries = 65536``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from purebpf.abi.bpf import bpf_attach_type, bpf_map_type, bpf_prog_type
from purebpf.btf.ext import BtfExt
from purebpf.btf.reader import Btf
from purebpf.btf.value import codec
from purebpf.obj.externs import Extern
from purebpf.obj.sections import SectionDefinition


@dataclass(slots=True)
class MapSpec:
    """A map that is not in the kernel yet: the arguments of its creation, and for a data section its initial content.

    Sizes are in bytes.  ``kind`` is "user" for a map the program declares, and for the arrays that hold global
    variables "data", "bss" or "rodata" (frozen, read-only for the program).  "kconfig" is like "rodata", but what is in
    it comes from the kernel's configuration, when the load is planned.  ``slots`` are the maps, or for a prog array
    the programs, that are to be in it from the start (``.values = {...}``): their names by index.

    The ``contents`` of an arena are the variables that are to be in it; without any it has none.  ``value_type_id`` is
    the BTF type of their section.

    A map of kind "struct_ops" holds functions for the kernel to call.  ``contents`` is then the struct as the object
    lays it out, and ``functions`` says by the names of its members which program stands where.

    With an ``ifindex`` the map is made in that network interface's card, for programs that run there (offload).

    With ``autocreate`` False the map is not created; a program that uses it loads only if it cannot get there.  With
    ``autoattach`` False a struct_ops map is left out when the object is attached.
    """

    name: str
    type: int = bpf_map_type.BPF_MAP_TYPE_UNSPEC
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    map_flags: int = 0
    numa_node: int = 0
    map_extra: int = 0
    ifindex: int = 0
    key_type_id: int = 0
    value_type_id: int = 0
    inner: MapSpec | None = None
    slots: dict[int, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    autocreate: bool = True
    autoattach: bool = True
    pinning: int = 0
    kind: Literal["user", "data", "bss", "rodata", "kconfig", "struct_ops"] = "user"
    section: str = ""
    contents: bytearray | None = None


class Relocation(NamedTuple):
    """An instruction whose immediate the loader fills in.

    ``insn`` counts 8-byte slots from the start of the function.  Kinds: "map" puts in the address of the map
    ``target``; "data" the address of a byte in the map ``target`` of a data section or arena; "call" and "function"
    refer to code at byte ``offset`` of section ``.text``; "extern" to the symbol ``target``, which the kernel is to
    provide.
    """

    insn: int
    kind: Literal["map", "data", "call", "function", "extern"]
    target: str
    offset: int = 0


@dataclass(slots=True)
class ProgramSpec:
    """A function of the object: a program with a section that says what it is for, or a subprogram in ``.text``.

    ``section_offset`` and the length of ``insns`` are in bytes.  ``attach_to`` is what follows the first slash of the
    section name.  A program whose section is not known has ``type`` BPF_PROG_TYPE_UNSPEC until it is set.
    ``attach_prog_fd`` is the descriptor of a loaded program, if the function ``attach_to`` is one of that program's and
    not of the kernel: what ``freplace`` replaces, or ``fentry`` and ``fexit`` trace.  With ``autoattach`` False the
    program is left out when the object is attached.

    ``ifindex`` is the number of the one network interface that the program is for: to run in that card (offload), or,
    with BPF_F_XDP_DEV_BOUND_ONLY among the ``prog_flags``, to call functions of its driver, such as
    ``bpf_xdp_metadata_rx_timestamp()`` (Linux 6.3).
    """

    name: str
    section: str
    section_offset: int
    insns: bytes
    relocations: tuple[Relocation, ...] = ()
    definition: SectionDefinition | None = None
    type: int = bpf_prog_type.BPF_PROG_TYPE_UNSPEC
    expected_attach_type: int = bpf_attach_type(0)
    attach_to: str = ""
    attach_prog_fd: int = 0
    prog_flags: int = 0
    ifindex: int = 0
    autoload: bool = True
    autoattach: bool = True

    def __repr__(self) -> str:
        return f"<ProgramSpec {self.name} in section {self.section!r}, {len(self.insns) // 8} instruction slots>"


class Variable(NamedTuple):
    """Where a global variable stands: ``size`` bytes at ``offset`` of a map's contents, and its BTF type id."""

    name: str
    map: str
    offset: int
    size: int
    type_id: int = 0


class Variables(MutableMapping[str, Any]):
    """The object's global variables by name, as Python values of their BTF types; they can be set until load.

    A variable without BTF is an unsigned integer if it has 1, 2, 4 or 8 bytes, else bytes of its exact size.
    """

    def __init__(self, spec: ObjectSpec, places: Mapping[str, Variable]) -> None:
        self._spec = spec
        self.places = dict(places)

    def _contents(self, name: str) -> tuple[Variable, bytearray]:
        place = self.places[name]
        contents = self._spec.maps[place.map].contents
        if contents is None:
            raise KeyError(name)
        return place, contents

    def __getitem__(self, name: str) -> Any:
        place, contents = self._contents(name)
        raw = bytes(contents[place.offset : place.offset + place.size])
        if place.type_id and self._spec.btf is not None:
            return codec(self._spec.btf, place.type_id).decode(raw)
        return int.from_bytes(raw, self._spec.byteorder) if place.size in (1, 2, 4, 8) else raw

    def __setitem__(self, name: str, value: Any) -> None:
        place, contents = self._contents(name)
        if place.type_id and self._spec.btf is not None:
            raw = codec(self._spec.btf, place.type_id).encode(value)
        elif isinstance(value, int):
            try:
                raw = value.to_bytes(place.size, self._spec.byteorder, signed=value < 0)
            except OverflowError:
                raise ValueError(f"{name}: {value} does not fit in {place.size} bytes") from None
        else:
            raw = bytes(value)
        if len(raw) != place.size:
            raise ValueError(f"{name}: {len(raw)} bytes given, the variable has {place.size}")
        contents[place.offset : place.offset + place.size] = raw

    def __delitem__(self, name: str) -> None:
        raise TypeError("a variable of an object cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return f"<Variables {', '.join(self.places) or 'none'}>"


@dataclass
class ObjectSpec:
    """A parsed object file.  ``maps``, ``programs`` and ``variables`` are in libbpf's order.

    ``license`` is what the object declares in section ``license``, "" if it declares none.  ``kern_version`` is the
    content of section ``version``, if there is one.  ``externs`` are what the object leaves to the kernel, by
    name.  ``btf`` is the object's own type information, already completed with the sizes and offsets that clang leaves
    to the loader.
    """

    name: str
    byteorder: Literal["little", "big"]
    license: str = ""
    kern_version: int | None = None
    maps: dict[str, MapSpec] = field(default_factory=dict)
    programs: dict[str, ProgramSpec] = field(default_factory=dict)
    subprograms: dict[int, ProgramSpec] = field(default_factory=dict)
    externs: dict[str, Extern] = field(default_factory=dict)
    btf: Btf | None = None
    btf_ext: BtfExt | None = None
    variables: Variables = field(init=False)

    def __post_init__(self) -> None:
        self.variables = Variables(self, {})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {len(self.maps)} maps, {len(self.programs)} programs>"
