"""Put split BTF on another base than the one that it was made for.

The BTF of a kernel module continues the ids of the kernel's BTF, and is worthless on a kernel that was built anew.  A
module built apart from its kernel therefore carries a second section, ``.BTF.base``: a *distilled* base, which has
nothing but the types that the module mentions, structs without their members.  ``relocate`` looks up each of these by
name in the BTF of the kernel at hand, and exchanges type ids and string offsets in the module's records.

The rules of what may stand for what are those of libbpf's ``btf__relocate()``, which the kernel shares
(tools/lib/bpf/btf_relocate.c, kernel 6.11), and so are the bytes that come out.
"""

from __future__ import annotations

import struct

from purebpf.btf.edit import BtfEditor
from purebpf.btf.reader import Btf
from purebpf.btf.types import BtfKind, BtfType, Composite, Enum, Enumeration, Float, Fwd, Int, Struct, Union
from purebpf.errors import PlanError

_REFERENCES = (
    BtfKind.BTF_KIND_PTR,
    BtfKind.BTF_KIND_TYPEDEF,
    BtfKind.BTF_KIND_VOLATILE,
    BtfKind.BTF_KIND_CONST,
    BtfKind.BTF_KIND_RESTRICT,
    BtfKind.BTF_KIND_FUNC,
    BtfKind.BTF_KIND_FUNC_PROTO,
    BtfKind.BTF_KIND_VAR,
    BtfKind.BTF_KIND_DECL_TAG,
    BtfKind.BTF_KIND_TYPE_TAG,
)

_IDS: dict[int, tuple[int, ...]] = {**dict.fromkeys(_REFERENCES, (2,)), BtfKind.BTF_KIND_ARRAY: (3, 4)}
"""By kind, the words of a record that are type ids, those of its elements aside."""

_ELEMENTS: dict[int, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    BtfKind.BTF_KIND_STRUCT: (3, (0,), (1,)),
    BtfKind.BTF_KIND_UNION: (3, (0,), (1,)),
    BtfKind.BTF_KIND_ENUM: (2, (0,), ()),
    BtfKind.BTF_KIND_ENUM64: (3, (0,), ()),
    BtfKind.BTF_KIND_FUNC_PROTO: (2, (0,), (1,)),
    BtfKind.BTF_KIND_DATASEC: (3, (), (0,)),
}
"""By kind, how many words each element has, and which of them are string offsets and type ids."""


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
    if base.base is not None:
        raise base.error("these types are split BTF, and cannot be the base of others")
    btf.validate()
    embedded = _embedded(btf)
    ids, names = [0], {0: 0}
    for type_id in range(1, len(distilled)):
        found = distilled.type(type_id)
        if not found.name or not isinstance(found, (Int, Float, Enum, Composite, Fwd)):
            raise distilled.error(f"{found.kind.name} {found.name!r} has no place in a distilled base", type_id=type_id)
        ids.append(_match(btf, found, base, is_embedded=type_id in embedded))
        names[_name_offset(distilled, type_id)] = _name_offset(base, ids[-1])
    ids += range(len(base), len(base) + len(btf) - len(distilled))

    edit = BtfEditor(btf)
    distilled_strings, more_strings = len(distilled.strings), len(base.strings) - len(distilled.strings)
    for type_id in range(len(distilled), len(btf)):
        strings, references = _places(edit, type_id)
        for at in strings:
            offset = edit.words[at]
            if offset >= distilled_strings:
                edit.words[at] = offset + more_strings
            elif offset in names:
                edit.words[at] = names[offset]
            else:
                raise btf.error(f"string {offset} of the distilled base is no type's name there", type_id=type_id)
        for at in references:
            edit.words[at] = ids[edit.words[at]]
    return edit.to_btf(base)


def _places(edit: BtfEditor, type_id: int) -> tuple[list[int], list[int]]:
    """Which words of a record are string offsets, and which are type ids."""
    start, kind = edit.position(type_id), edit.kind(type_id)
    names, ids = [start], [start + word for word in _IDS.get(kind, ())]
    if kind in _ELEMENTS:
        size, name_words, id_words = _ELEMENTS[kind]
        for element in range(start + 3, start + 3 + size * edit.vlen(type_id), size):  # after struct btf_type
            names += (element + word for word in name_words)
            ids += (element + word for word in id_words)
    return names, ids


def _name_offset(btf: Btf, type_id: int) -> int:
    return _word(btf, type_id, 0)


def _word(btf: Btf, type_id: int, index: int) -> int:
    """One word of a type's record."""
    order = "<" if btf.byteorder == "little" else ">"
    (word,) = struct.unpack_from(order + "I", btf.data, btf.record_offset(type_id) + 4 * index)
    return int(word)


def _embedded(btf: Btf) -> set[int]:
    """The structs and unions of the base that are part of one in ``btf``, whose layout rests on their size."""
    assert btf.base
    found = set()
    for type_id in range(len(btf.base), len(btf)):
        composite = btf.type(type_id)
        if isinstance(composite, Composite):
            inside = (btf.innermost(member.type_id) for member in composite.members)
            found |= {part.id for part in inside if isinstance(part, Composite)}
    return found


_Distilled = Int | Float | Enum | Composite | Fwd


def _match(btf: Btf, wanted: _Distilled, base: Btf, *, is_embedded: bool) -> int:
    """The one type of the base that may stand for the distilled one."""
    candidates = [base.type(id) for id in base.find(wanted.name)]
    is_ambiguous = sum(isinstance(candidate, Composite) for candidate in candidates) > 1
    fitting: list[int] = []
    for candidate in candidates:
        same_size = isinstance(candidate, (Int, Float, Enumeration)) or (
            is_ambiguous and isinstance(candidate, Composite)
        )
        same_size = same_size or (is_embedded and not fitting)  # not after the first, in libbpf
        if _kinds_fit(wanted, base, candidate) and (not same_size or _size(candidate) == _size(wanted)):
            fitting.append(candidate.id)
    if len(fitting) == 1:
        return fitting[0]
    others = ", ".join(f"{_describe(candidate)} (type {candidate.id})" for candidate in candidates)
    problem = "several that fit" if fitting else "no such type" + (", only" if others else "")
    raise PlanError(f"{btf.where} builds on {_describe(wanted)}, and {base.where} has {problem} {others}".rstrip())


def _describe(found: BtfType) -> str:
    text = f"{found.kind.name.removeprefix('BTF_KIND_').lower()} {found.name}"
    return f"{text} of {found.size} bytes" if isinstance(found, (Int, Float, Enumeration, Composite)) else text


def _size(found: BtfType) -> int:
    return found.size if isinstance(found, (Int, Float, Enumeration, Composite)) else 0


def _kinds_fit(wanted: _Distilled, base: Btf, candidate: BtfType) -> bool:
    """Whether a type of that kind may stand for the distilled one."""
    match wanted:
        case Int():
            return isinstance(candidate, Int) and _encoding(candidate) == _encoding(wanted)
        case Float():
            return isinstance(candidate, Float)
        case Enum():  # distilled without its values, it stands for an Enum64 too
            return isinstance(candidate, Enumeration)
        case Fwd() if isinstance(candidate, Fwd):
            return candidate.is_union == wanted.is_union
        case Fwd():  # libbpf takes a struct's flag for bit fields to be that of a declaration, which says "union"
            kind_flag = isinstance(candidate, Composite) and bool(_word(base, candidate.id, 1) >> 31)
            return isinstance(candidate, Union if kind_flag else Struct)
        case Composite():  # libbpf does not look at the kind
            return isinstance(candidate, (Int, Float, Enumeration, Composite, Fwd))


def _encoding(found: Int) -> tuple[bool, bool, bool]:
    return found.is_signed, found.is_char, found.is_bool
