"""Print BTF record by record, in the words of ``bpftool btf dump format raw``."""

from __future__ import annotations

from collections.abc import Iterator

from purebpf.btf.reader import Btf
from purebpf.btf.types import (
    Array,
    BtfType,
    Composite,
    Datasec,
    DeclTag,
    Enum64,
    Enumeration,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Reference,
    Unknown,
    Var,
)

_LINKAGE = {0: "static", 1: "global", 2: "extern"}  # of functions and of variables


def listing(btf: Btf) -> Iterator[str]:
    """One line for each type of the BTF, without its base's, and one for each member, value and so on."""
    for type_id in range(len(btf.base) if btf.base else 1, len(btf)):
        found = btf.type(type_id)
        kind = found.kind.name.removeprefix("BTF_KIND_")
        yield f"[{type_id}] {kind} {_quoted(found.name)}{_facts(found)}"
        yield from (f"\t{line}" for line in _parts(found, btf))


def _quoted(name: str) -> str:
    return f"'{name or '(anon)'}'"


def _facts(found: BtfType) -> str:
    match found:
        case Int():
            flags = [found.is_bool and "BOOL", found.is_char and "CHAR", found.is_signed and "SIGNED"]
            encoding = " ".join(flag for flag in flags if flag) or "(none)"
            return f" size={found.size} bits_offset={found.bit_offset} nr_bits={found.bits} encoding={encoding}"
        case Array():
            return f" type_id={found.type_id} index_type_id={found.index_type_id} nr_elems={found.nelems}"
        case Composite():
            return f" size={found.size} vlen={len(found.members)}"
        case Enumeration():
            encoding = "SIGNED" if found.is_signed else "UNSIGNED"
            return f" encoding={encoding} size={found.size} vlen={len(found.values)}"
        case Fwd():
            return f" fwd_kind={'union' if found.is_union else 'struct'}"
        case Func():
            return f" type_id={found.type_id} linkage={_LINKAGE.get(found.linkage, '(unknown)')}"
        case FuncProto():
            return f" ret_type_id={found.type_id} vlen={len(found.params)}"
        case Var():
            return f" type_id={found.type_id}, linkage={_LINKAGE.get(found.linkage, '(unknown)')}"
        case Datasec():
            return f" size={found.size} vlen={len(found.variables)}"
        case Float():
            return f" size={found.size}"
        case DeclTag():
            return f" type_id={found.type_id} component_idx={found.component_idx}"
        case Reference():
            return f" type_id={found.type_id}"
    assert isinstance(found, Unknown)
    return f" kind={found.kind_number}"


def _parts(found: BtfType, btf: Btf) -> Iterator[str]:
    match found:
        case Composite():
            for member in found.members:
                bit_field = f" bitfield_size={member.bitfield_size}" if member.bitfield_size else ""
                yield f"{_quoted(member.name)} type_id={member.type_id} bits_offset={member.bit_offset}{bit_field}"
        case Enumeration():
            suffix = ("LL" if found.is_signed else "ULL") if isinstance(found, Enum64) else ""
            for value in found.values:
                yield f"{_quoted(value.name)} val={value.value}{suffix}"
        case FuncProto():
            for param in found.params:
                yield f"{_quoted(param.name)} type_id={param.type_id}"
        case Datasec():
            for variable in found.variables:
                inner = btf.type(variable.type_id)
                what = f"{inner.kind.name.removeprefix('BTF_KIND_')} {_quoted(inner.name)}"
                yield f"type_id={variable.type_id} offset={variable.offset} size={variable.size} ({what})"
