"""The kinds of BTF types as immutable Python objects.

BTF is defined in <linux/btf.h> and in the kernel's Documentation/bpf/btf.rst.  A type is a record of a name,
a kind, and either a size or a reference to another type; some kinds append members, values, parameters or
variables.  There is one class for each kind here.  Its fields are what the record says, with numbers already
split out of their bit fields; what follows from several types together (sizes of arrays, resolved typedefs)
is the reader's business.

References stay type ids: a type graph has loops (``struct list_head`` points to itself), and following an id
through ``Btf.type(id)`` decodes only what is asked for.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar


class BtfKind(enum.IntEnum):
    """The anonymous enum of BTF_KIND_* in <linux/btf.h>, and the kernels that brought the later ones."""

    BTF_KIND_UNKN = 0
    BTF_KIND_INT = 1
    BTF_KIND_PTR = 2
    BTF_KIND_ARRAY = 3
    BTF_KIND_STRUCT = 4
    BTF_KIND_UNION = 5
    BTF_KIND_ENUM = 6
    BTF_KIND_FWD = 7
    BTF_KIND_TYPEDEF = 8
    BTF_KIND_VOLATILE = 9
    BTF_KIND_CONST = 10
    BTF_KIND_RESTRICT = 11
    BTF_KIND_FUNC = 12  # 5.0
    BTF_KIND_FUNC_PROTO = 13  # 5.0
    BTF_KIND_VAR = 14  # 5.2
    BTF_KIND_DATASEC = 15  # 5.2
    BTF_KIND_FLOAT = 16  # 5.13
    BTF_KIND_DECL_TAG = 17  # 5.16
    BTF_KIND_TYPE_TAG = 18  # 5.17
    BTF_KIND_ENUM64 = 19  # 6.0


@dataclass(frozen=True, slots=True)
class BtfType:
    """What every type has: its id in its ``Btf``, and its name, empty for an anonymous type."""

    kind: ClassVar[BtfKind]

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Void(BtfType):
    """Type id 0, which has no record."""

    kind = BtfKind.BTF_KIND_UNKN


@dataclass(frozen=True, slots=True)
class Int(BtfType):
    """An integer of ``size`` bytes, of which ``bits`` bits from bit ``bit_offset`` on count.

    In today's BTF ``bits`` is ``size * 8``; BTF from before ``kind_flag`` (pahole < 1.13) describes bit
    fields by narrower ones.
    """

    kind = BtfKind.BTF_KIND_INT

    size: int
    is_signed: bool
    is_char: bool
    is_bool: bool
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Reference(BtfType):
    """A kind that stands for, or points at, another type: ``type_id``."""

    type_id: int


@dataclass(frozen=True, slots=True)
class Ptr(Reference):
    kind = BtfKind.BTF_KIND_PTR


@dataclass(frozen=True, slots=True)
class Typedef(Reference):
    kind = BtfKind.BTF_KIND_TYPEDEF


@dataclass(frozen=True, slots=True)
class Volatile(Reference):
    kind = BtfKind.BTF_KIND_VOLATILE


@dataclass(frozen=True, slots=True)
class Const(Reference):
    kind = BtfKind.BTF_KIND_CONST


@dataclass(frozen=True, slots=True)
class Restrict(Reference):
    kind = BtfKind.BTF_KIND_RESTRICT


@dataclass(frozen=True, slots=True)
class TypeTag(Reference):
    """``__attribute__((btf_type_tag("name")))`` on a type.

    ``attribute`` (the record's kind_flag): the name is that of a plain attribute, not of a BTF tag.
    """

    kind = BtfKind.BTF_KIND_TYPE_TAG

    attribute: bool


@dataclass(frozen=True, slots=True)
class DeclTag(Reference):
    """``__attribute__((btf_decl_tag("name")))`` on ``type_id``, or on one of its members or parameters.

    ``component_idx`` is the index of the member or parameter, -1 for the whole type.  ``attribute`` as in
    TypeTag.
    """

    kind = BtfKind.BTF_KIND_DECL_TAG

    component_idx: int
    attribute: bool


@dataclass(frozen=True, slots=True)
class Array(BtfType):
    """``nelems`` elements of type ``type_id``; ``nelems`` is 0 for a flexible array member."""

    kind = BtfKind.BTF_KIND_ARRAY

    type_id: int
    index_type_id: int
    nelems: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union; ``bitfield_size`` is in bits and 0 for a member that is no bit field."""

    name: str
    type_id: int
    bit_offset: int
    bitfield_size: int


@dataclass(frozen=True, slots=True)
class Composite(BtfType):
    """What struct and union share: ``size`` in bytes, and the members in declaration order."""

    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Struct(Composite):
    kind = BtfKind.BTF_KIND_STRUCT


@dataclass(frozen=True, slots=True)
class Union(Composite):
    kind = BtfKind.BTF_KIND_UNION


@dataclass(frozen=True, slots=True)
class EnumValue:
    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Enumeration(BtfType):
    """What both enum kinds share: ``size`` in bytes, and the values, already with the sign that they have."""

    size: int
    is_signed: bool
    values: tuple[EnumValue, ...]


@dataclass(frozen=True, slots=True)
class Enum(Enumeration):
    """An enum whose values fit in 32 bits."""

    kind = BtfKind.BTF_KIND_ENUM


@dataclass(frozen=True, slots=True)
class Enum64(Enumeration):
    """An enum with values of up to 64 bits."""

    kind = BtfKind.BTF_KIND_ENUM64


@dataclass(frozen=True, slots=True)
class Fwd(BtfType):
    """A struct or union that is declared and not defined."""

    kind = BtfKind.BTF_KIND_FWD

    is_union: bool


@dataclass(frozen=True, slots=True)
class Func(Reference):
    """A function; ``type_id`` is its FuncProto, ``linkage`` an enum btf_func_linkage (0 static, 1 global, 2
    extern).
    """

    kind = BtfKind.BTF_KIND_FUNC

    linkage: int


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter; an empty name with type 0 at the end of the list stands for ``...``."""

    name: str
    type_id: int


@dataclass(frozen=True, slots=True)
class FuncProto(Reference):
    """A function's signature; ``type_id`` is the type that it returns."""

    kind = BtfKind.BTF_KIND_FUNC_PROTO

    params: tuple[Param, ...]


@dataclass(frozen=True, slots=True)
class Var(Reference):
    """A global variable.

    ``linkage``: 0 BTF_VAR_STATIC, 1 BTF_VAR_GLOBAL_ALLOCATED, 2 BTF_VAR_GLOBAL_EXTERN.
    """

    kind = BtfKind.BTF_KIND_VAR

    linkage: int


@dataclass(frozen=True, slots=True)
class VarSecinfo:
    """Where a variable lies in its section, in bytes; ``type_id`` is a Var (or an extern Func).

    The compiler does not know the offsets, nor the sizes of extern variables: they may be 0 in an object
    file.
    """

    type_id: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Datasec(BtfType):
    """An ELF section that holds variables; the compiler leaves ``size`` 0."""

    kind = BtfKind.BTF_KIND_DATASEC

    size: int
    variables: tuple[VarSecinfo, ...]


@dataclass(frozen=True, slots=True)
class Float(BtfType):
    """A floating point number of ``size`` bytes: 2, 4, 8, 12 or 16."""

    kind = BtfKind.BTF_KIND_FLOAT

    size: int


@dataclass(frozen=True, slots=True)
class Unknown(BtfType):
    """A kind newer than this package, whose record length the BTF's layout section gives (kernel 7.1)."""

    kind = BtfKind.BTF_KIND_UNKN

    kind_number: int
