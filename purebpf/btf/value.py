"""Values of C types in Python, as BTF describes the types.

``codec(btf, type_id)`` compiles a type once; its ``decode`` then turns bytes into values at the rate at which
events come out of a ring, and ``encode`` turns a value into bytes.  Each C type becomes a Python type that
behaves like one of Python's own and keeps what C knows:

int, char, pointer      int _Bool, float, double    bool, float (a long double stays bytes) enum
EnumConstant: an int that prints its name char[N]                 CharArray: a str, up to the first NUL;
``.raw`` has all N bytes unsigned char[N]        bytes T[N]                    tuple struct
StructValue: a tuple whose items are also attributes, named as the members union                   UnionValue:
the bytes, with the members as attributes

Members of an anonymous struct or union are attributes of the enclosing value, as in C.  A flexible array
member at the end of a struct (``char args[]``) takes the rest of the buffer.  ``to_plain(value)`` is what
``json`` can write, and ``encode`` takes that back.

How it works: a codec has a format of the ``struct`` module that unpacks exactly one item, and a function that
turns the item into the value (None where the item is the value).  A struct strings together the formats of
its members, with pad bytes between them, and so reads all of them in one call that runs in C.  Where members
overlap (in anonymous unions, and bit fields that share a byte), a second layer of formats reads the same
bytes again.
"""

from __future__ import annotations

import functools
import heapq
import operator
import struct
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from purebpf.btf.reader import Btf, ByteOrder
from purebpf.btf.types import (
    Array,
    BtfType,
    Composite,
    Const,
    Datasec,
    Enumeration,
    Float,
    Int,
    Member,
    Ptr,
    Restrict,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)

_MAX_DEPTH = 64  # of structs and arrays inside one another; the kernel stops at 32 (MAX_RESOLVE_DEPTH)
_MAX_FIELDS = 65_535  # of one struct, those of its anonymous members included
_MAX_OVERLAP = 64  # values for each byte of a struct, when they are many
_INTEGER_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_FLOAT_FORMATS = {2: "e", 4: "f", 8: "d", 12: "12s", 16: "16s"}  # Python has no long double

Buffer: TypeAlias = bytes | bytearray | memoryview
_Unpack: TypeAlias = Callable[[Buffer, int], tuple[Any, ...]]
_Pick: TypeAlias = Callable[[tuple[Any, ...]], Any]


# -- values --------------------------------------------------------------------------------------------------


class CharArray(str):
    """The text of a ``char[N]`` up to its first NUL; ``raw`` is the N bytes.

    Bytes that are not UTF-8 appear as backslash escapes (``\\xff``), so that printing cannot fail.
    """

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: bytes) -> CharArray:
        self = str.__new__(cls, raw.partition(b"\0")[0], "utf-8", "backslashreplace")
        self.raw = raw
        return self

    def __getnewargs__(self) -> tuple[bytes]:  # type: ignore[override]  # what copy and pickle hand to __new__
        return (self.raw,)


class EnumConstant(int):
    """A value of an enum: an int that prints its name.  ``name`` is None for a number without a name."""

    name: str | None

    def __new__(cls, value: int, name: str | None = None) -> EnumConstant:
        self = int.__new__(cls, value)
        self.name = name
        return self

    def __repr__(self) -> str:
        return self.name or int.__repr__(self)

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Format the number where the spec asks for one (``x``, ``d``, ...), else the name."""
        return format(int(self) if spec[-1:] in tuple("bcdoxXneEfFgG%") else str(self), spec)


class StructValue(tuple[Any, ...]):
    """A struct: a tuple of the members' values, which are attributes too.

    A member whose name begins and ends with two underscores is an item only: Python uses such attributes
    itself.
    """

    __slots__ = ()
    __codec__: ClassVar[StructCodec]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __repr__(self) -> str:
        return _spell(self, zip(self.__codec__.names, self, strict=True))

    def _replace(self, **changes: Any) -> Any:
        """A copy in which these members have other values."""
        return self.__codec__.replace(self, changes)


class UnionValue(bytes):
    """A union: its bytes, each member an attribute that reads them."""

    __codec__: ClassVar[UnionCodec]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __repr__(self) -> str:
        return _spell(self, self.__codec__.items(self))


def _spell(value: object, items: Iterable[tuple[str, Any]]) -> str:
    return f"{type(value).__name__}({', '.join(f'{name}={item!r}' for name, item in items)})"


def to_plain(value: Any) -> Any:
    """The value as dicts, lists, strings, numbers and booleans, which ``json`` can write.

    Structs and unions become dicts, arrays and bytes lists, enums the name (the number, where it has none).
    """
    if isinstance(value, StructValue):
        return {name: to_plain(item) for name, item in zip(value.__codec__.names, value, strict=True)}
    if isinstance(value, UnionValue):
        return {name: to_plain(item) for name, item in value.__codec__.items(value)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, EnumConstant):
        return value.name or int(value)
    return value


# -- codecs --------------------------------------------------------------------------------------------------


class Codec:
    """One C type: ``decode`` bytes into a value, ``encode`` a value as bytes.

    ``name`` is the type's name, for messages; ``size`` its size in bytes.
    """

    values = 1  # how many plain values to_plain gives
    exact = True  # whether all bits survive decode and encode; those of bool and float need not

    def __init__(
        self, name: str, size: int, byteorder: ByteOrder, item_format: str, wrap: Callable[[Any], Any] | None = None
    ) -> None:
        self.name = name
        self.size = self._least_size = size
        self.item_format = item_format
        self.wrap = wrap
        self.byteorder = byteorder
        self._prefix = "<" if byteorder == "little" else ">"
        self._unpack_from = struct.Struct(self._prefix + item_format).unpack_from

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}, {self.size} bytes>"

    def decode(self, buffer: Buffer, offset: int = 0) -> Any:
        """The value that begins at this byte of the buffer; ValueError if the buffer is too short for it."""
        try:
            (item,) = self._unpack_from(buffer, offset)
        except struct.error:
            raise self._too_short(buffer, offset) from None
        return self.wrap(item) if self.wrap else item

    def encode(self, value: Any) -> bytes:
        """The bytes of a value: what ``decode`` or ``to_plain`` gave, or Python's natural equivalent.

        A struct or union also takes a dict (what it leaves out is zero), a struct a sequence of all members,
        an enum a name, ``char[N]`` a shorter str or bytes, and any type its very bytes.  Raises ValueError
        for a number that does not fit and for unknown members, TypeError for a value of the wrong type; both
        name the member.
        """
        buffer = bytearray(self.size)
        self._write(buffer, 0, value, self.name)
        return bytes(buffer)

    def _write(self, buffer: bytearray, start: int, value: Any, path: str) -> None:
        """Put the value's bytes, but no padding, at this place; ``path`` names the member in errors."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            if len(value) != self.size:
                raise ValueError(f"{path}: {len(value)} bytes, and {self.name} has {self.size}")
            data = bytes(value)
        else:
            data = self._encode_value(value, path)
        buffer[start : start + self.size] = data

    def _encode_value(self, value: Any, path: str) -> bytes:
        raise TypeError(f"{path}: {value!r} cannot be a {self.name}; it takes {self.size} bytes")

    def _too_short(self, buffer: Buffer, offset: int) -> ValueError:
        rest = max(0, len(buffer) - offset)
        return ValueError(f"{self.name}: {rest} bytes are too few for its {self._least_size}")


class IntCodec(Codec):
    """An integer of 1 to 16 bytes, or a pointer."""

    def __init__(self, name: str, size: int, byteorder: ByteOrder, *, signed: bool, char: bool = False) -> None:
        letter = _INTEGER_FORMATS.get(size)
        if letter:
            super().__init__(name, size, byteorder, letter.lower() if signed else letter)
        else:
            wrap = functools.partial(int.from_bytes, byteorder=byteorder, signed=signed)
            super().__init__(name, size, byteorder, f"{size}s", wrap)
        self.signed = signed
        self.char = char

    def from_number(self, number: int) -> Any:
        """The value that the number stands for."""
        return number

    def to_number(self, value: Any, path: str) -> int:
        """The number of a value."""
        if self.char and isinstance(value, str) and len(value.encode()) == 1:
            return ord(value)
        try:
            return operator.index(value)
        except TypeError:
            raise TypeError(f"{path}: {value!r} is no integer, and the type is {self.name}") from None

    def _encode_value(self, value: Any, path: str) -> bytes:
        number = self.to_number(value, path)
        try:
            return number.to_bytes(self.size, self.byteorder, signed=self.signed)
        except OverflowError:
            raise ValueError(f"{path}: {number} does not fit in {self.name}") from None


class BoolCodec(IntCodec):
    exact = False

    def __init__(self, name: str, size: int, byteorder: ByteOrder) -> None:
        super().__init__(name, size, byteorder, signed=False)
        self.wrap = bool

    def from_number(self, number: int) -> bool:
        return bool(number)

    def to_number(self, value: Any, path: str) -> int:
        number = super().to_number(value, path)
        if number not in (0, 1):
            raise ValueError(f"{path}: {number} is neither 0 nor 1, and the type is {self.name}")
        return number


class _EnumTable(dict[int, EnumConstant]):
    """number -> EnumConstant; those of unnamed numbers are not kept."""

    def __missing__(self, number: int) -> EnumConstant:
        return EnumConstant(number)


class EnumCodec(IntCodec):
    def __init__(self, name: str, byteorder: ByteOrder, enum: Enumeration) -> None:
        super().__init__(name, enum.size, byteorder, signed=enum.is_signed)
        self._by_name = {constant.name: constant.value for constant in enum.values}
        self._by_number = _EnumTable()
        for constant in enum.values:
            self._by_number.setdefault(constant.value, EnumConstant(constant.value, constant.name))
        self.wrap = self._by_number.__getitem__

    def from_number(self, number: int) -> EnumConstant:
        return self._by_number[number]

    def to_number(self, value: Any, path: str) -> int:
        if isinstance(value, str):
            if value not in self._by_name:
                raise ValueError(f"{path}: {self.name} has no {value!r}{_near(value, self._by_name)}")
            return self._by_name[value]
        return super().to_number(value, path)


class FloatCodec(Codec):
    exact = False

    def __init__(self, name: str, size: int, byteorder: ByteOrder) -> None:
        super().__init__(name, size, byteorder, _FLOAT_FORMATS[size])

    def _encode_value(self, value: Any, path: str) -> bytes:
        if self.item_format.endswith("s"):
            return super()._encode_value(value, path)
        try:
            return struct.pack(self._prefix + self.item_format, value)
        except OverflowError:
            raise ValueError(f"{path}: {value} does not fit in {self.name}") from None
        except struct.error:
            raise TypeError(f"{path}: {value!r} is no number, and the type is {self.name}") from None


class ArrayCodec(Codec):
    """An array; ``count`` is None for a flexible array member, which takes all the bytes that there are."""

    def __init__(self, byteorder: ByteOrder, element: Codec, count: int | None) -> None:
        size = (count or 0) * element.size
        inner, bracket, dimensions = element.name.partition("[")
        name = f"{inner}[{'' if count is None else count}]{bracket}{dimensions}"
        super().__init__(name, size, byteorder, f"{size}s")
        self.element = element
        self.count = count
        self.exact = element.exact
        self.values = (count or 0) * element.values if element.size else 0
        self._text = type(element) is IntCodec and element.size == 1 and element.char
        octets = type(element) is IntCodec and element.size == 1 and not element.signed
        if self._text or octets:
            self.values = 1
        if self._text:
            self.wrap = CharArray
        elif not octets:
            self.wrap = self._items

    def _items(self, raw: bytes) -> tuple[Any, ...]:
        element = self.element
        if element.size == 0:
            return ()
        count = len(raw) // element.size
        if element.wrap is None and len(element.item_format) == 1:
            return struct.unpack_from(f"{self._prefix}{count}{element.item_format}", raw)
        items = struct.iter_unpack(self._prefix + element.item_format, raw[: count * element.size])
        return tuple(element.wrap(item) if element.wrap else item for (item,) in items)

    def _write(self, buffer: bytearray, start: int, value: Any, path: str) -> None:
        if isinstance(value, CharArray):
            value = value.raw
        if self._text and isinstance(value, str):
            value = value.encode("utf-8", "surrogateescape")
        size = self.element.size
        if isinstance(value, (bytes, bytearray, memoryview)):
            if self.count is None and len(value) % size:
                raise ValueError(f"{path}: {len(value)} bytes are no whole number of {self.element.name}")
            if self.count is None or (self._text and len(value) < self.size):
                padding = bytes(max(0, self.size - len(value)))
                buffer[start : start + max(self.size, len(value))] = bytes(value) + padding
                return
            super()._write(buffer, start, value, path)
            return
        if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
            raise TypeError(f"{path}: {value!r} is no sequence, and the type is {self.name}")
        items = list(value)
        if self.count is None:
            buffer.extend(bytes(max(0, start + len(items) * size - len(buffer))))
        elif len(items) != self.count and size:
            raise ValueError(f"{path}: {len(items)} elements, and the type is {self.name}")
        for i, item in enumerate(items):
            self.element._write(buffer, start + i * size, item, f"{path}[{i}]")


class _Field(NamedTuple):
    """A member: the ``size`` bytes from byte ``start`` on, or ``bits`` bits of them, ``shift`` from the lowest."""

    name: str
    codec: Codec
    start: int
    size: int
    bits: int = 0
    shift: int = 0

    @property
    def item_format(self) -> str:
        if self.bits:
            return _INTEGER_FORMATS.get(self.size, f"{self.size}s")
        return self.codec.item_format

    @property
    def wrap(self) -> Callable[[Any], Any] | None:
        return self._wrap_bits if self.bits else self.codec.wrap

    def _wrap_bits(self, item: int | bytes) -> Any:
        codec = self.codec
        assert isinstance(codec, IntCodec)
        if isinstance(item, bytes):
            item = int.from_bytes(item, codec.byteorder)
        number = item >> self.shift & (1 << self.bits) - 1
        if codec.signed:
            sign = 1 << (self.bits - 1)
            number = (number ^ sign) - sign
        return codec.from_number(number)

    def write(self, buffer: bytearray, start: int, value: Any, path: str) -> None:
        """Put the value into a struct that begins at ``start``; a flexible array makes the buffer longer."""
        if not self.bits:
            self.codec._write(buffer, start + self.start, value, path)
            return
        codec = self.codec
        assert isinstance(codec, IntCodec)
        number = codec.to_number(value, path)
        mask = (1 << self.bits) - 1
        lowest = -(1 << (self.bits - 1)) if codec.signed else 0
        if not lowest <= number <= lowest + mask:
            raise ValueError(f"{path}: {number} does not fit in {self.bits} bits of {codec.name}")
        touched = slice(start + self.start, start + self.start + self.size)
        others = int.from_bytes(buffer[touched], codec.byteorder) & ~(mask << self.shift)
        buffer[touched] = ((number & mask) << self.shift | others).to_bytes(self.size, codec.byteorder)


class _CompositeCodec(Codec):
    """What structs and unions share: fields by name, and encoding."""

    def __init__(self, name: str, size: int, byteorder: ByteOrder, fields: list[_Field]) -> None:
        super().__init__(name, size, byteorder, f"{size}s")
        self.fields = fields
        self._by_name = {field.name: field for field in fields}
        self.names = tuple(self._by_name)
        self.values = sum(field.codec.values for field in fields)

    def _write(self, buffer: bytearray, start: int, value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            self.write_members(buffer, start, value, path)
        else:
            super()._write(buffer, start, value, path)

    def _encode_value(self, value: Any, path: str) -> bytes:
        raise TypeError(f"{path}: {value!r} is no dict, and the type is {self.name}")

    def write_members(self, buffer: bytearray, start: int, members: Mapping[str, Any], path: str) -> None:
        """Put these members' values into a struct that begins at ``start``."""
        for name in members:
            if name not in self._by_name:
                raise ValueError(f"{path}: {self.name} has no member {name!r}{_near(name, self.names)}")
        # Of members that share bytes, those that keep all of the bits are written last.
        for name in sorted(members, key=lambda name: self._by_name[name].codec.exact):
            self._by_name[name].write(buffer, start, members[name], f"{path}.{name}")


class StructCodec(_CompositeCodec):
    def __init__(self, name: str, size: int, byteorder: ByteOrder, fields: list[_Field]) -> None:
        super().__init__(name, size, byteorder, fields)
        self.exact = all(field.codec.exact for field in fields)
        self._tails = [
            (i, field.start, field.codec.wrap or bytes) for i, field in enumerate(fields) if _is_flexible(field.codec)
        ]
        self._least_size = min((start for _, start, _ in self._tails), default=size)
        self._unpack, self._unpack_more, self._pick = _layers(self._prefix, fields, self._least_size)
        self._wraps = [(i, field.wrap) for i, field in enumerate(fields) if field.wrap]
        self.wrap = self.decode
        self.value_class = _value_class(
            StructValue, self, {field.name: operator.itemgetter(i) for i, field in enumerate(fields)}
        )

    def decode(self, buffer: Buffer, offset: int = 0) -> Any:
        try:
            items = self._unpack(buffer, offset)
        except struct.error:
            raise self._too_short(buffer, offset) from None
        for unpack in self._unpack_more:
            items += unpack(buffer, offset)
        if self._pick:
            items = self._pick(items)
        if self._wraps or self._tails:
            values = list(items)
            for index, wrap in self._wraps:
                values[index] = wrap(values[index])
            for index, start, wrap in self._tails:
                values[index] = wrap(bytes(buffer[offset + start :]))
            return tuple.__new__(self.value_class, values)
        return tuple.__new__(self.value_class, items)

    def _write(self, buffer: bytearray, start: int, value: Any, path: str) -> None:
        if isinstance(value, StructValue):
            value = dict(zip(value.__codec__.names, value, strict=True))
        elif isinstance(value, (list, tuple)):
            if len(value) != len(self.names):
                raise ValueError(f"{path}: {len(value)} members, and {self.name} has {len(self.names)}")
            value = dict(zip(self.names, value, strict=True))
        elif self._tails and isinstance(value, (bytes, bytearray, memoryview)) and len(value) > self.size:
            buffer[start:] = bytes(value)
            return
        super()._write(buffer, start, value, path)

    @functools.cached_property
    def outermost(self) -> StructCodec:
        """This struct where it is not inside another type: an array at its end takes the rest of the buffer."""
        end = max((field.start + field.size for field in self.fields), default=0)
        fields = []
        for field in self.fields:
            array = field.codec
            if isinstance(array, ArrayCodec) and array.count == 0 and array.element.size and field.start >= end:
                field = field._replace(codec=ArrayCodec(self.byteorder, array.element, None))
            fields.append(field)
        return self if fields == self.fields else StructCodec(self.name, self.size, self.byteorder, fields)

    def replace(self, value: StructValue, changes: Mapping[str, Any]) -> Any:
        """A copy of the value with these members changed."""
        buffer = bytearray(self.encode(value))
        self.write_members(buffer, 0, changes, self.name)
        return self.decode(buffer)


class UnionCodec(_CompositeCodec):
    def __init__(self, name: str, size: int, byteorder: ByteOrder, fields: list[_Field]) -> None:
        super().__init__(name, size, byteorder, fields)
        self._readers = {field.name: _reader(self._prefix, field) for field in fields}
        self.wrap = self.value_class = _value_class(UnionValue, self, self._readers)

    def items(self, value: bytes) -> list[tuple[str, Any]]:
        """Every member with its value."""
        return [(name, read(value)) for name, read in self._readers.items()]


def _value_class(base: type[Any], codec: Codec, readers: Mapping[str, Callable[[Any], Any]]) -> type[Any]:
    """The class of a type's values: an attribute for each member whose name Python has no use for itself."""
    attributes: dict[str, Any] = {
        name: property(read) for name, read in readers.items() if not (name.startswith("__") and name.endswith("__"))
    }
    slots = {"__slots__": ()} if base is StructValue else {}
    return type(codec.name, (base,), {**attributes, **slots, "__codec__": codec})


def _reader(prefix: str, field: _Field) -> Callable[[bytes], Any]:
    """A function that reads this one field of a union."""
    unpack_from = struct.Struct(f"{prefix}{field.start}x{field.item_format}").unpack_from
    wrap = field.wrap

    def read(raw: bytes) -> Any:
        (item,) = unpack_from(raw)
        return wrap(item) if wrap else item

    return read


def _layers(prefix: str, fields: list[_Field], size: int) -> tuple[_Unpack, list[_Unpack], _Pick | None]:
    """How to read all fields: the first layer, those over it, and what puts the items into the fields' order.

    Bit fields that touch the same bytes share an item.  The first layer is as long as the struct, so that no
    other can fail on a short buffer.
    """
    sizes = {(field.start, field.item_format): field.size for field in fields}
    layers: list[list[tuple[int, str]]] = [[]]
    ends = [(0, 0)]  # a heap of (the byte where a layer ends, the layer's number)
    for item in sorted(sizes):
        if item[0] >= ends[0][0]:
            _, number = heapq.heappop(ends)
        else:
            number = len(layers)
            layers.append([])
        layers[number].append(item)
        heapq.heappush(ends, (item[0] + sizes[item], number))

    unpacks: list[_Unpack] = []
    for layer in layers:
        parts, position = [prefix], 0
        for start, item_format in layer:
            parts.append(f"{start - position}x{item_format}")
            position = start + sizes[start, item_format]
        parts.append(f"{max(0, size - position)}x")
        unpacks.append(struct.Struct("".join(parts)).unpack_from)

    order = {item: i for i, item in enumerate(item for layer in layers for item in layer)}
    indices = [order[field.start, field.item_format] for field in fields]
    pick: _Pick | None = None if indices == list(range(len(order))) else operator.itemgetter(*indices)
    return unpacks[0], unpacks[1:], pick


def _is_flexible(codec: Codec) -> bool:
    return isinstance(codec, ArrayCodec) and codec.count is None


def _near(name: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 3)
    return f"; near names: {', '.join(close)}" if close else ""


# -- from BTF to codecs --------------------------------------------------------------------------------------

_codecs: weakref.WeakKeyDictionary[Btf, dict[int, Codec]] = weakref.WeakKeyDictionary()


def codec(btf: Btf, type_id: int) -> Codec:
    """The codec of a type, made once for each: a variable's is that of its type, a DATASEC's that of a struct.

    Raises ObjectFormatError for a type that has no values (void, functions) or is malformed.
    """
    found = _codec(btf, type_id, 0)
    return found.outermost if isinstance(found, StructCodec) else found


def _codec(btf: Btf, type_id: int, depth: int) -> Codec:
    made = _codecs.setdefault(btf, {})
    found = made.get(type_id)
    if found is None:
        if depth > _MAX_DEPTH:
            raise btf.error("structs and arrays nested too deeply, or containing themselves", type_id=type_id)
        declared = btf.type(type_id)
        if isinstance(declared, Var):
            found = _codec(btf, declared.type_id, depth + 1)
        else:
            resolved = btf.resolve(type_id)
            # The same class for all typedefs of a struct.
            composite = isinstance(resolved, Composite)
            found = made.get(resolved.id) if composite else None
            if found is None:
                found = _compile(btf, resolved, _typedef_name(btf, type_id), depth)
                if composite:
                    made[resolved.id] = found
        made[type_id] = found
    return found


def _typedef_name(btf: Btf, type_id: int) -> str:
    """The name of the outermost typedef, or nothing."""
    found = btf.type(type_id)
    while isinstance(found, (Const, Volatile, Restrict, TypeTag)):
        found = btf.type(found.type_id)
    return found.name if isinstance(found, Typedef) else ""


def _compile(btf: Btf, found: BtfType, typedef: str, depth: int) -> Codec:
    order = btf.byteorder
    name = typedef or found.name
    match found:
        case Int() if found.is_bool and found.size in _INTEGER_FORMATS:
            return BoolCodec(name, found.size, order)
        case Int() if 1 <= found.size <= 16 and not found.is_bool:
            char = found.is_char or found.name == "char"
            return IntCodec(name, found.size, order, signed=found.is_signed, char=char)
        case Ptr():
            return IntCodec(name or "pointer", btf.pointer_size, order, signed=False)
        case Enumeration() if found.size in _INTEGER_FORMATS:
            return EnumCodec(name or "enum", order, found)
        case Float() if found.size in _FLOAT_FORMATS:
            return FloatCodec(name, found.size, order)
        case Array():
            btf.size_of(found.id)  # raises for more than 4 GiB
            return ArrayCodec(order, _codec(btf, found.type_id, depth + 1), found.nelems)
        case Composite() | Datasec():
            fields = _fields(btf, found, depth)
            if isinstance(found, Union):
                return UnionCodec(found.name or typedef or "union", found.size, order, fields)
            return StructCodec(found.name or typedef or "struct", found.size, order, fields)
        case Int() | Enumeration() | Float():
            raise btf.error(f"{name}: a number of {found.size} bytes", type_id=found.id)
        case _:
            kind = found.kind.name.removeprefix("BTF_KIND_") if found.id else "void"
            raise btf.error(f"{name or kind}: {kind} has no values", type_id=found.id)


def _fields(btf: Btf, composite: Composite | Datasec, depth: int) -> list[_Field]:
    fields: dict[str, _Field] = {}
    same: dict[str, int] = {}
    for member, bit_offset in _named_members(btf, composite):
        if member.name in fields:
            if not isinstance(composite, Datasec):
                raise btf.error(f"two members {member.name!r}", type_id=composite.id)
            # Static variables of several source files, linked into one object: the first keeps the name.
            stem = member.name
            while member.name in fields:
                same[stem] = same.get(stem, 1) + 1
                member = member._replace(name=f"{stem}_{same[stem]}")
        fields[member.name] = _field(btf, composite, member, bit_offset, depth)
    values = sum(field.codec.values for field in fields.values())
    if values > _MAX_FIELDS and values > _MAX_OVERLAP * composite.size:
        problem = f"its {composite.size} bytes, read as members that overlap, are {values} values"
        raise btf.error(problem, type_id=composite.id)
    return list(fields.values())


def _named_members(btf: Btf, composite: Composite | Datasec) -> Iterator[tuple[Member, int]]:
    """The members and their bit offsets, with those of anonymous members in the place of these."""
    if isinstance(composite, Datasec):
        for variable in composite.variables:
            found = btf.type(variable.type_id)
            if isinstance(found, Var):  # not an extern function
                yield Member(found.name, found.type_id, 0, 0), 8 * variable.offset
        return
    pending = [(member, 0, 0) for member in reversed(composite.members)]
    seen = len(pending)
    while pending:
        member, base, depth = pending.pop()
        if member.name:
            yield member, base + member.bit_offset
            continue
        inner = btf.resolve(member.type_id)
        if isinstance(inner, Composite):  # else an unnamed bit field: padding
            seen += len(inner.members)
            if seen > _MAX_FIELDS or depth > _MAX_DEPTH:
                raise btf.error("too many anonymous members, or containing themselves", type_id=composite.id)
            base += member.bit_offset
            pending += [(member, base, depth + 1) for member in reversed(inner.members)]


def _field(btf: Btf, composite: Composite | Datasec, member: Member, bit_offset: int, depth: int) -> _Field:
    codec = _codec(btf, member.type_id, depth + 1)
    found = btf.resolve(member.type_id)
    bits = member.bitfield_size
    if not bits and isinstance(found, Int) and (bit_offset % 8 or found.bits != 8 * found.size):
        bit_offset += found.bit_offset  # BTF without kind_flag
        bits = found.bits
    start, shift = divmod(bit_offset, 8)
    size = (shift + bits + 7) // 8 if bits else codec.size
    if bits > 8 * codec.size or (bits and not isinstance(codec, IntCodec)) or (shift and not bits):
        raise btf.error(f"{member.name}: {bits} bits at bit {bit_offset} of type {codec.name}", type_id=composite.id)
    if start + size > composite.size:
        raise btf.error(f"{member.name} ends at byte {start + size} of {composite.size}", type_id=composite.id)
    if bits and btf.byteorder == "big":  # where the first bit is the highest
        shift = 8 * size - shift - bits
    return _Field(member.name, codec, start, size, bits, shift)
