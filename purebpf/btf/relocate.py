"""Put split BTF on another base than the one that it was made for.

The BTF of a kernel module continues the ids of the kernel's BTF, and is worthless on a kernel that was built anew.  A
module built apart from its kernel therefore carries a second section, ``.BTF.base``: a *distilled* base, which has
nothing but the types that the module mentions, structs without their members.  ``relocate`` looks up each of these by
name in the BTF of the kernel at hand, and writes the module's types anew with the ids found.

The rules of what may stand for what are those of libbpf's ``btf__relocate()``, which the kernel shares
(tools/lib/bpf/btf_relocate.c, kernel 6.11).
"""

from __future__ import annotations

from dataclasses import replace

from purebpf.btf.reader import Btf
from purebpf.btf.types import (
    Array,
    BtfType,
    Composite,
    Datasec,
    Enum,
    Enumeration,
    Float,
    FuncProto,
    Fwd,
    Int,
    Reference,
    Struct,
    Union,
)
from purebpf.btf.writer import write
from purebpf.errors import PlanError


def relocate(btf: Btf, base: Btf) -> Btf:
    """The types of ``btf``, whose base is a distilled one, on ``base``.

    Raises ObjectFormatError if its base is none that has been distilled, and PlanError if ``base`` lacks a type, or
    has several that fit.
    """
    distilled = btf.base
    if distilled is None:
        raise btf.error("there is no base that could be exchanged: this is no split BTF")
    if base.byteorder != btf.byteorder:
        raise btf.error(f"{btf.byteorder}-endian BTF, to be put on a {base.byteorder}-endian base")
    embedded = _embedded(btf)
    new_ids = [0]
    for type_id in range(1, len(distilled)):
        found = distilled.type(type_id)
        if not found.name or not isinstance(found, (Int, Float, Enum, Composite, Fwd)):
            raise distilled.error(f"{found.kind.name} {found.name!r} has no place in a distilled base", type_id=type_id)
        new_ids.append(_match(found, base, exact_size=type_id in embedded))
    own = range(len(distilled), len(btf))
    new_ids += range(len(base), len(base) + len(own))
    moved = (_moved(btf.type(type_id), new_ids) for type_id in own)
    return Btf.from_bytes(write(moved, byteorder=btf.byteorder, base=base), base=base, where=btf.where)


def _embedded(btf: Btf) -> set[int]:
    """The structs and unions of the base that are part of one in ``btf``, whose layout rests on their size."""
    assert btf.base
    found = set()
    for type_id in range(len(btf.base), len(btf)):
        composite = btf.type(type_id)
        if isinstance(composite, Composite):
            found |= {btf.innermost(member.type_id).id for member in composite.members}
    return found


def _match(wanted: Int | Float | Enum | Composite | Fwd, base: Btf, *, exact_size: bool) -> int:
    candidates = [base.type(id) for id in base.find(wanted.name)]
    is_ambiguous = sum(isinstance(candidate, Composite) for candidate in candidates) > 1
    fitting = [
        candidate.id
        for candidate in candidates
        if _fits(wanted, candidate, exact_size or (is_ambiguous and isinstance(candidate, Composite)))
    ]
    if len(fitting) == 1:
        return fitting[0]
    what = f"{wanted.kind.name.removeprefix('BTF_KIND_').lower()} {wanted.name}"
    if not isinstance(wanted, Fwd):
        what += f" of {wanted.size} bytes"
    number = f"{len(fitting)} that fit, types {fitting}" if fitting else "none that fits"
    raise PlanError(f"these types build on {what}, and {base.where} has {number}")


def _fits(wanted: Int | Float | Enum | Composite | Fwd, candidate: BtfType, exact_size: bool) -> bool:
    """Whether a type of that name may stand for the distilled one.

    libbpf 1.7 tests whether a struct has bit fields where a declaration (Fwd) meets it; what it is a declaration of
    is what matters here.
    """
    match wanted:
        case Int():
            return isinstance(candidate, Int) and _encoding(candidate) == _encoding(wanted)
        case Float():
            return isinstance(candidate, Float) and candidate.size == wanted.size
        case Enum():  # distilled without its values, it stands for an Enum64 too
            return isinstance(candidate, Enumeration) and candidate.size == wanted.size
        case Fwd() if isinstance(candidate, Fwd):
            return candidate.is_union == wanted.is_union
        case Fwd():
            return isinstance(candidate, Union if wanted.is_union else Struct) and not exact_size
        case Composite() if isinstance(candidate, Fwd):
            return not exact_size
        case Composite():
            return isinstance(candidate, Composite) and (not exact_size or candidate.size == wanted.size)


def _encoding(found: Int) -> tuple[int, bool, bool, bool]:
    return found.size, found.is_signed, found.is_char, found.is_bool


def _moved(found: BtfType, new_ids: list[int]) -> BtfType:
    """The type with its own id and all that it refers to exchanged."""
    new_id = new_ids[found.id]
    match found:
        case Composite():
            members = tuple(replace(member, type_id=new_ids[member.type_id]) for member in found.members)
            return replace(found, id=new_id, members=members)
        case FuncProto():
            params = tuple(replace(param, type_id=new_ids[param.type_id]) for param in found.params)
            return replace(found, id=new_id, type_id=new_ids[found.type_id], params=params)
        case Array():
            return replace(found, id=new_id, type_id=new_ids[found.type_id], index_type_id=new_ids[found.index_type_id])
        case Datasec():
            variables = tuple(replace(variable, type_id=new_ids[variable.type_id]) for variable in found.variables)
            return replace(found, id=new_id, variables=variables)
        case Reference():
            return replace(found, id=new_id, type_id=new_ids[found.type_id])
    return replace(found, id=new_id)
