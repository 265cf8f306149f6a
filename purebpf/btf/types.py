"""The kinds of BTF types as immutable Python objects.

BTF is defined in <linux/btf.h> and in the kernel's Documentation/bpf/btf.rst.  A type is a record of a name,
a kind, and either a size or a reference to another type; some kinds append members, values, parameters or
variables.  There is one class for each kind here.  Its fields are what the record says, with numbers already
split out of their bit fields; what follows from several types together (sizes of arrays, resolved typedefs)
is the reader's business.

References stay type ids: a type graph has loops (``struct list_head`` points to itself), and following an id
through ``Btf.type(id)`` decodes only what is asked for.

The classes are written out by hand, since a dataclass compiles its methods when it is defined: for all these kinds
together that would be a fourth of the time in which a program that imports purebpf starts.  Nothing but the type
checker keeps fields from being assigned to; do not, for a ``Btf`` hands out the same object every time.
"""

from __future__ import annotations

import enum
from typing import ClassVar, Final, NamedTuple


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


class BtfType:
    """What every type has: its id in its ``Btf``, and its name, empty for an anonymous type."""

    kind: ClassVar[BtfKind]
    __slots__: ClassVar[tuple[str, ...]] = ("id", "name")

    def __init__(self, id: int, name: str) -> None:
        self.id: Final = id
        self.name: Final = name

    def _fields(self) -> dict[str, object]:
        """The fields by name."""
        classes = (cls for cls in reversed(type(self).__mro__) if issubclass(cls, BtfType))
        return {name: getattr(self, name) for cls in classes for name in cls.__slots__}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, BtfType) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), *self._fields().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._fields().items())})"


class Void(BtfType):
    """Type id 0, which has no record."""

    kind = BtfKind.BTF_KIND_UNKN
    __slots__ = ()


class Int(BtfType):
    """An integer of ``size`` bytes, of which ``bits`` bits from bit ``bit_offset`` on count.

    In today's BTF ``bits`` is ``size * 8``; BTF from before ``kind_flag`` (pahole < 1.13) describes bit
    fields by narrower ones.
    """

    kind = BtfKind.BTF_KIND_INT
    __slots__ = ("bit_offset", "bits", "is_bool", "is_char", "is_signed", "size")

    def __init__(
        self, id: int, name: str, size: int, is_signed: bool, is_char: bool, is_bool: bool, bit_offset: int, bits: int
    ) -> None:
        super().__init__(id, name)
        self.size: Final = size
        self.is_signed: Final = is_signed
        self.is_char: Final = is_char
        self.is_bool: Final = is_bool
        self.bit_offset: Final = bit_offset
        self.bits: Final = bits


class Reference(BtfType):
    """A kind that stands for, or points at, another type: ``type_id``."""

    __slots__ = ("type_id",)

    def __init__(self, id: int, name: str, type_id: int) -> None:
        super().__init__(id, name)
        self.type_id: Final = type_id


class Ptr(Reference):
    kind = BtfKind.BTF_KIND_PTR
    __slots__ = ()


class Typedef(Reference):
    kind = BtfKind.BTF_KIND_TYPEDEF
    __slots__ = ()


class Volatile(Reference):
    kind = BtfKind.BTF_KIND_VOLATILE
    __slots__ = ()


class Const(Reference):
    kind = BtfKind.BTF_KIND_CONST
    __slots__ = ()


class Restrict(Reference):
    kind = BtfKind.BTF_KIND_RESTRICT
    __slots__ = ()


class TypeTag(Reference):
    """``__attribute__((btf_type_tag("name")))`` on a type.

    ``attribute`` (the record's kind_flag): the name is that of a plain attribute, not of a BTF tag.
    """

    kind = BtfKind.BTF_KIND_TYPE_TAG
    __slots__ = ("attribute",)

    def __init__(self, id: int, name: str, type_id: int, attribute: bool) -> None:
        super().__init__(id, name, type_id)
        self.attribute: Final = attribute


class DeclTag(Reference):
    """``__attribute__((btf_decl_tag("name")))`` on ``type_id``, or on one of its members or parameters.

    ``component_idx`` is the index of the member or parameter, -1 for the whole type.  ``attribute`` as in
    TypeTag.
    """

    kind = BtfKind.BTF_KIND_DECL_TAG
    __slots__ = ("attribute", "component_idx")

    def __init__(self, id: int, name: str, type_id: int, component_idx: int, attribute: bool) -> None:
        super().__init__(id, name, type_id)
        self.component_idx: Final = component_idx
        self.attribute: Final = attribute


class Array(BtfType):
    """``nelems`` elements of type ``type_id``; ``nelems`` is 0 for a flexible array member."""

    kind = BtfKind.BTF_KIND_ARRAY
    __slots__ = ("index_type_id", "nelems", "type_id")

    def __init__(self, id: int, name: str, type_id: int, index_type_id: int, nelems: int) -> None:
        super().__init__(id, name)
        self.type_id: Final = type_id
        self.index_type_id: Final = index_type_id
        self.nelems: Final = nelems


class Member(NamedTuple):
    """A member of a struct or union; ``bitfield_size`` is in bits and 0 for a member that is no bit field."""

    name: str
    type_id: int
    bit_offset: int
    bitfield_size: int


class Composite(BtfType):
    """What struct and union share: ``size`` in bytes, and the members in declaration order."""

    __slots__ = ("members", "size")

    def __init__(self, id: int, name: str, size: int, members: tuple[Member, ...]) -> None:
        super().__init__(id, name)
        self.size: Final = size
        self.members: Final = members


class Struct(Composite):
    kind = BtfKind.BTF_KIND_STRUCT
    __slots__ = ()


class Union(Composite):
    kind = BtfKind.BTF_KIND_UNION
    __slots__ = ()


class EnumValue(NamedTuple):
    name: str
    value: int


class Enumeration(BtfType):
    """What both enum kinds share: ``size`` in bytes, and the values, already with the sign that they have."""

    __slots__ = ("is_signed", "size", "values")

    def __init__(self, id: int, name: str, size: int, is_signed: bool, values: tuple[EnumValue, ...]) -> None:
        super().__init__(id, name)
        self.size: Final = size
        self.is_signed: Final = is_signed
        self.values: Final = values


class Enum(Enumeration):
    """An enum whose values fit in 32 bits."""

    kind = BtfKind.BTF_KIND_ENUM
    __slots__ = ()


class Enum64(Enumeration):
    """An enum with values of up to 64 bits."""

    kind = BtfKind.BTF_KIND_ENUM64
    __slots__ = ()


class Fwd(BtfType):
    """A struct or union that is declared and not defined."""

    kind = BtfKind.BTF_KIND_FWD
    __slots__ = ("is_union",)

    def __init__(self, id: int, name: str, is_union: bool) -> None:
        super().__init__(id, name)
        self.is_union: Final = is_union


class Func(Reference):
    """A function; ``type_id`` is its FuncProto, ``linkage`` an enum btf_func_linkage (0 static, 1 global, 2
    extern).
    """

    kind = BtfKind.BTF_KIND_FUNC
    __slots__ = ("linkage",)

    def __init__(self, id: int, name: str, type_id: int, linkage: int) -> None:
        super().__init__(id, name, type_id)
        self.linkage: Final = linkage


class Param(NamedTuple):
    """One parameter; an empty name with type 0 at the end of the list stands for ``...``."""

    name: str
    type_id: int


class FuncProto(Reference):
    """A function's signature; ``type_id`` is the type that it returns."""

    kind = BtfKind.BTF_KIND_FUNC_PROTO
    __slots__ = ("params",)

    def __init__(self, id: int, name: str, type_id: int, params: tuple[Param, ...]) -> None:
        super().__init__(id, name, type_id)
        self.params: Final = params


class Var(Reference):
    """A global variable.

    ``linkage``: 0 BTF_VAR_STATIC, 1 BTF_VAR_GLOBAL_ALLOCATED, 2 BTF_VAR_GLOBAL_EXTERN.
    """

    kind = BtfKind.BTF_KIND_VAR
    __slots__ = ("linkage",)

    def __init__(self, id: int, name: str, type_id: int, linkage: int) -> None:
        super().__init__(id, name, type_id)
        self.linkage: Final = linkage


class VarSecinfo(NamedTuple):
    """Where a variable lies in its section, in bytes; ``type_id`` is a Var (or an extern Func).

    The compiler does not know the offsets, nor the sizes of extern variables: they may be 0 in an object
    file.
    """

    type_id: int
    offset: int
    size: int


class Datasec(BtfType):
    """An ELF section that holds variables; the compiler leaves ``size`` 0."""

    kind = BtfKind.BTF_KIND_DATASEC
    __slots__ = ("size", "variables")

    def __init__(self, id: int, name: str, size: int, variables: tuple[VarSecinfo, ...]) -> None:
        super().__init__(id, name)
        self.size: Final = size
        self.variables: Final = variables


class Float(BtfType):
    """A floating point number of ``size`` bytes: 2, 4, 8, 12 or 16."""

    kind = BtfKind.BTF_KIND_FLOAT
    __slots__ = ("size",)

    def __init__(self, id: int, name: str, size: int) -> None:
        super().__init__(id, name)
        self.size: Final = size


class Unknown(BtfType):
    """A kind newer than this package, whose record length the BTF's layout section gives (kernel 7.1)."""

    kind = BtfKind.BTF_KIND_UNKN
    __slots__ = ("kind_number",)

    def __init__(self, id: int, name: str, kind_number: int) -> None:
        super().__init__(id, name)
        self.kind_number: Final = kind_number
