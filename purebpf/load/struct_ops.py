"""struct_ops maps for one kernel: its types, and the object's values in the order of its members.

An object brings its own declaration of, say, ``struct tcp_congestion_ops``, often with a few members only, and with a
flavour in its name (``tcp_congestion_ops___v2``).  The kernel has a struct of that name without the flavour, and around
it ``struct bpf_struct_ops_tcp_congestion_ops``, which is the map's value.  Members are matched by name and copied to
where the kernel has them.  A program that stands in a member is loaded for just that member: its attach type is the
member's index in the kernel's struct.  The rules are libbpf's (bpf_map__init_kern_struct_ops).
"""

from __future__ import annotations

from typing import NamedTuple

from purebpf.abi.bpf import bpf_prog_type
from purebpf.btf.reader import Btf, essential_name
from purebpf.btf.types import FuncProto, Member, Ptr, Struct
from purebpf.errors import ObjectFormatError, PlanError, PureBpfError
from purebpf.load.facts import Facts
from purebpf.load.targets import Found, find_struct
from purebpf.obj.spec import MapSpec, ObjectSpec

_VALUE_PREFIX = "bpf_struct_ops_"


class Callback(NamedTuple):
    """What a program is to the kernel: the function in a member of a struct, by its number."""

    struct: Found
    member: int


class KernelValue(NamedTuple):
    """A map's value as the kernel lays it out.

    ``data`` are its bytes, with zeros where programs belong; ``functions`` are the programs' names by byte offset.
    ``type`` is the type of the whole value.
    """

    type: Found
    data: bytes
    functions: dict[int, str]


class StructOps(NamedTuple):
    """All struct_ops maps that are created, by name, and what the programs in them are bound to, by name."""

    values: dict[str, KernelValue]
    callbacks: dict[str, Callback]
    unused: frozenset[str]
    """Programs that stand only in maps which are not created."""


def resolve(spec: ObjectSpec, facts: Facts) -> StructOps:
    """Lay out all struct_ops maps of an object for a kernel.  Raises PlanError where that cannot be."""
    values: dict[str, KernelValue] = {}
    callbacks: dict[str, Callback] = {}
    maps = {key: definition for key, definition in spec.maps.items() if definition.kind == "struct_ops"}
    for key, definition in maps.items():
        if definition.autocreate:
            try:
                values[key] = _Layout(key, definition, spec, facts).value(callbacks)
            except (PlanError, ObjectFormatError):
                raise
            except PureBpfError as error:
                raise PlanError(
                    f"struct_ops map {key!r} is laid out by the kernel's types, and they cannot be had: {error}"
                ) from error
    named = {name for definition in maps.values() for name in definition.functions.values()}
    return StructOps(values, callbacks, frozenset(named - callbacks.keys()))


class _Layout:
    """Copies the members of one map to their places in the kernel's struct."""

    def __init__(self, key: str, definition: MapSpec, spec: ObjectSpec, facts: Facts) -> None:
        self.key, self.definition, self.spec = key, definition, spec
        assert spec.btf is not None
        self.local: Btf = spec.btf
        struct = self.local.type(definition.value_type_id)
        assert isinstance(struct, Struct)
        self.struct = struct
        name = essential_name(struct.name)
        outer = find_struct(_VALUE_PREFIX + name, facts)
        if outer is None:
            raise self.error(f"Linux {facts.release} takes no struct_ops of struct {name!r}")
        self.outer, self.kernel = outer, outer.btf
        ids = self.kernel.find(name, Struct)
        whole = self.kernel.type(outer.type_id)
        assert isinstance(whole, Struct)
        data = next((member for member in whole.members if ids and member.type_id == ids[0]), None)
        if data is None:
            raise self.error(f"struct {_VALUE_PREFIX}{name} of Linux {facts.release} has no member of struct {name!r}")
        inner = self.kernel.type(ids[0])
        assert isinstance(inner, Struct)
        self.kernel_struct = inner
        self.data_offset = data.bit_offset // 8
        self.value_size = whole.size

    def value(self, callbacks: dict[str, Callback]) -> KernelValue:
        """The value; notes in ``callbacks`` what its programs are."""
        contents = bytes(self.definition.contents or b"").ljust(self.struct.size, b"\0")
        data = bytearray(self.value_size)
        functions: dict[int, str] = {}
        for name in self.definition.functions:
            if all(member.name != name for member in self.struct.members):
                raise self.error(f"struct {self.struct.name!r} has no member {name!r} to put a program in")
        for member in self.struct.members:
            start, size = member.bit_offset // 8, self.local.size_of(member.type_id)
            raw = contents[start : start + size]
            program = self.definition.functions.get(member.name)
            index, kernel_member = self._kernel_member(member.name)
            if kernel_member is None:
                if program is not None or any(raw):
                    raise self.error(
                        f"{member.name!r} is set, and the kernel's {self.kernel_struct.name!r} has no such"
                    )
                continue
            self._check_kinds(member, kernel_member)
            offset = self.data_offset + kernel_member.bit_offset // 8
            if isinstance(self.local.resolve(member.type_id), Ptr):
                if program is not None:
                    self._bind(program, member, kernel_member, index, callbacks)
                    functions[offset] = program
                elif any(raw):
                    raise self.error(f"{member.name!r} is a pointer, but to no struct_ops program")
                continue
            kernel_size = self.kernel.size_of(kernel_member.type_id)
            if size != kernel_size:
                raise self.error(f"{member.name!r} has {size} bytes, {kernel_size} in the kernel")
            data[offset : offset + size] = raw
        return KernelValue(self.outer, bytes(data), functions)

    def _kernel_member(self, name: str) -> tuple[int, Member | None]:
        pairs = enumerate(self.kernel_struct.members)
        return next(((index, member) for index, member in pairs if member.name == name), (0, None))

    def _check_kinds(self, member: Member, kernel_member: Member) -> None:
        if member.bitfield_size or kernel_member.bitfield_size:
            raise self.error(f"{member.name!r} is a bit field, which cannot be set")
        ours, theirs = self.local.resolve(member.type_id), self.kernel.resolve(kernel_member.type_id)
        if ours.kind != theirs.kind:
            kinds = [kind.kind.name.removeprefix("BTF_KIND_") for kind in (ours, theirs)]
            raise self.error(f"{member.name!r} is of kind {kinds[0]}, and of kind {kinds[1]} in the kernel")

    def _bind(
        self, name: str, member: Member, kernel_member: Member, index: int, callbacks: dict[str, Callback]
    ) -> None:
        program = self.spec.programs.get(name)
        if program is None or program.type != bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS:
            raise self.error(f"{member.name!r} is set to {name!r}, which is no struct_ops program")
        pointer = self.kernel.resolve(kernel_member.type_id)
        if not isinstance(pointer, Ptr) or not isinstance(self.kernel.resolve(pointer.type_id), FuncProto):
            raise self.error(f"{member.name!r} is no pointer to a function in the kernel")
        callback = Callback(Found(self.kernel_struct.id, self.kernel, self.outer.module), index)
        if callbacks.setdefault(name, callback) != callback:
            raise self.error(f"program {name!r} stands in {member.name!r} and in another member, with other arguments")

    def error(self, message: str) -> PlanError:
        return PlanError(f"struct_ops map {self.key!r}: {message}")
