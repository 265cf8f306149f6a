"""Read BTF, the kernel's description of C types, without decoding more of it than is asked for.

The format (<linux/btf.h>, Documentation/bpf/btf.rst) is a header, a section of type records and a section of
NUL-terminated strings.  Type records have no index: a type's id is its position in the sequence, and a
record's length follows from its kind and its number of elements.  The BTF of a kernel has 130,000 records,
and a program needs a few dozen of them, so opening one does a single thing: it walks the records from length
to length and notes where each begins.  That walk also proves that the records fill their section exactly.

Everything else comes later:

- ``type(id)`` decodes one record, checks its references and names, and keeps the object;
- ``find(name)`` looks for the name's bytes in the string section (one scan in C), and for the types with that
  name offset in a list of ids sorted by name offset, which the first search builds.

Split BTF (a kernel module's, or any BTF with ``base=``) continues the ids and the string offsets of its base.

Bytes that break the format raise ObjectFormatError, on opening or when a lazy step comes upon them;
``validate()`` makes every lazy step at once.  Names that are not UTF-8 are shown with backslash escapes.
"""

from __future__ import annotations

import functools
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Literal, TypeAlias

from purebpf.btf.types import (
    Array,
    BtfKind,
    BtfType,
    Composite,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Enumeration,
    EnumValue,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Unknown,
    Var,
    VarSecinfo,
    Void,
    Volatile,
)
from purebpf.errors import ObjectFormatError

ByteOrder: TypeAlias = Literal["little", "big"]

_VERSION = 1
# BTF_MAGIC, the u16 0xeB9F, as it lies in memory.
MAGIC_BYTE_ORDERS: dict[bytes, ByteOrder] = {b"\x9f\xeb": "little", b"\xeb\x9f": "big"}

# 32-bit words of each record, by kind: those after struct btf_type, and those of each of its vlen elements.
_TYPE_WORDS = 3
_EXTRA_WORDS = [0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0]
_ELEMENT_WORDS = [0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3]

_MAX_NAME = 4096  # bytes; the kernel takes names below KSYM_NAME_LEN, 512
_MAX_DEPTH = 64  # of structs and arrays inside one another; the kernel stops at 32 (MAX_RESOLVE_DEPTH)
_MAX_CHAIN = 128  # typedefs, qualifiers and array dimensions in a row
_MAX_SIZE = 0xFFFF_FFFF  # of any type, in bytes

_PLAIN_REFERENCES: dict[int, type[Ptr | Typedef | Volatile | Const | Restrict]] = {
    cls.kind: cls for cls in (Ptr, Typedef, Volatile, Const, Restrict)
}
_LONG_NAMES = (
    "long",
    "long int",
    "int long",
    "unsigned long",
    "long unsigned",
    "unsigned long int",
    "unsigned int long",
    "long unsigned int",
    "long int unsigned",
    "int unsigned long",
    "int long unsigned",
)

KindClass: TypeAlias = type[BtfType]  # here, because inside class Btf ``type`` is a method


def essential_name(name: str) -> str:
    """The name without its CO-RE flavour: ``task_struct`` for ``task_struct___v5``.

    The flavour begins at the last triple underscore that has a character other than an underscore on either
    side.
    """
    for i in range(len(name) - 5, -1, -1):
        if name[i + 1 : i + 4] == "___" and name[i] != "_" and name[i + 4] != "_":
            return name[: i + 1]
    return name


class Btf:
    """The types of one BTF blob.  ``len(btf)`` counts the type ids from 0 (void) on, a base's included."""

    _types_start: int
    _strings_end: int
    _extra_words: list[int]
    _element_words: list[int]
    _words: array[int]  # of the type section
    _positions: array[int]  # for each type, where it begins in _words

    def __init__(self, data: bytes | memoryview, *, base: Btf | None = None, where: str = ".BTF") -> None:
        self.data = bytes(data)
        self.base = base
        self.where = where
        self._first_id = len(base) if base else 1
        self._first_string = base._strings_end if base else 0
        self._types: dict[int, BtfType] = {}
        self._alignments: dict[int, int] = {}

        order = MAGIC_BYTE_ORDERS.get(self.data[:2])
        if order is None:
            magic = self.data[:2].hex() or "nothing"
            raise self.error(f"no BTF: it begins with {magic}, not with the magic eb9f")
        self.byteorder = order
        if base and base.byteorder != order:
            raise self.error(f"{order}-endian BTF on a {base.byteorder}-endian base")
        self._parse_header()
        self._index_types()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, *, base: Btf | None = None, where: str = ".BTF") -> Btf:
        """Open BTF; ``where`` names it in errors.  Raises ObjectFormatError."""
        return cls(data, base=base, where=where)

    def __len__(self) -> int:
        return self._first_id + len(self._positions)

    def __repr__(self) -> str:
        return f"<Btf {self.where}: {len(self)} types, {self.byteorder}-endian>"

    # -- opening ---------------------------------------------------------------------------------------------

    def error(self, message: str, *, type_id: int | None = None, offset: int | None = None) -> ObjectFormatError:
        """An error to raise about these types, which says where in the BTF the fault lies."""
        if type_id is not None and offset is None and self._first_id <= type_id < len(self):
            offset = self.record_offset(type_id)
        where = self.where
        where += "" if type_id is None else f" type {type_id}"
        where += "" if offset is None else f" at offset {offset:#x}"
        return ObjectFormatError(message, where=where)

    def _parse_header(self) -> None:
        """struct btf_header: note where types and strings are, and the lengths of records of each kind."""
        data = self.data
        prefix = "<" if self.byteorder == "little" else ">"
        header = struct.Struct(prefix + "2xBBIIIII")
        if len(data) < header.size:
            raise self.error(f"cut off in its header: {len(data)} bytes of {header.size}")
        version, flags, header_size, type_off, type_len, str_off, str_len = header.unpack_from(data)
        if version != _VERSION or flags:
            raise self.error(f"version {version}, flags {flags:#x}; known is version 1 without flags", offset=2)
        if not header.size <= header_size <= len(data):
            raise self.error(f"header length {header_size}: not in {header.size}..{len(data)}", offset=4)
        if str_off + str_len > len(data) - header_size:
            raise self.error(f"the string section, {str_off}+{str_len}, runs past the end, {len(data)}")
        if type_off % 4 or type_off + type_len > str_off:
            raise self.error(f"the type section, {type_off}+{type_len}, is unaligned or runs into the strings")
        self._types_start = header_size + type_off
        self._types_size = type_len
        self._strings_start = header_size + str_off
        self._strings_stop = self._strings_start + str_len
        self._strings_end = self._first_string + str_len  # in string offsets, which go on from the base's
        if (str_len == 0 and not self.base) or (str_len and data[self._strings_stop - 1] != 0):
            raise self.error("the string section does not end with NUL", offset=self._strings_stop)
        if not self.base and data[self._strings_start] != 0:
            raise self.error("the strings do not begin with NUL: is it split BTF, opened without its base?")

        self._extra_words = self.base._extra_words if self.base else _EXTRA_WORDS
        self._element_words = self.base._element_words if self.base else _ELEMENT_WORDS
        if header_size >= header.size + 8:
            layout_off, layout_len = struct.unpack_from(prefix + "II", data, header.size)
            if layout_len:
                self._parse_layout(header_size + layout_off, layout_len)

    def _parse_layout(self, start: int, size: int) -> None:
        """struct btf_layout per kind (kernel 7.1): lengths of records of kinds that are not known here."""
        if start % 4 or size % 4 or start + size > self._strings_start:
            raise self.error("the layout section is unaligned or runs into the strings", offset=start)
        layout = self.data[start : start + size]
        extra, element = layout[0::4], layout[1::4]
        if any(length % 4 for length in extra + element):
            raise self.error("the layout section has a length that is no multiple of 4", offset=start)
        known = len(_EXTRA_WORDS)
        self._extra_words = _EXTRA_WORDS + [length // 4 for length in extra[known:]]
        self._element_words = _ELEMENT_WORDS + [length // 4 for length in element[known:]]

    def _index_types(self) -> None:
        """Walk the records and note the word at which each begins."""
        if self._types_size % 4:
            raise self.error(f"the type section's length {self._types_size} is no multiple of 4")
        words = array("I")
        words.frombytes(memoryview(self.data)[self._types_start : self._types_start + self._types_size])
        if self.byteorder != sys.byteorder:
            words.byteswap()
        self._words = words
        self._positions = positions = array("I")
        note = positions.append
        lengths: dict[int, int] = {}  # of records, by their info word: few of these are distinct
        position, end = 0, len(words)
        try:
            while position < end:
                note(position)
                info = words[position + 1]
                try:
                    position += lengths[info]
                except KeyError:
                    lengths[info] = self._record_length(info)
                    position += lengths[info]
        except IndexError:
            position = end + 1
        if position != end:
            raise self.error("the record runs past the end of the type section", type_id=len(self) - 1)

    def _record_length(self, info: int) -> int:
        """Words of the record that has just been noted."""
        kind, vlen = info >> 24 & 0x7F, info & 0xFFFFFF
        if kind == 0 or kind >= len(self._extra_words):
            raise self.error(f"unknown kind {kind}", type_id=len(self) - 1)
        return _TYPE_WORDS + self._extra_words[kind] + vlen * self._element_words[kind]

    # -- strings and types -----------------------------------------------------------------------------------

    @property
    def strings(self) -> bytes:
        """The string section of this BTF; its offsets go on from where those of the base end."""
        return self.data[self._strings_start : self._strings_stop]

    def string(self, offset: int) -> str:
        """The string that begins at this offset, which may lie inside a longer one."""
        return self._string(offset, self._strings_end)

    def _string(self, offset: int, longest: int) -> str:
        if self.base and offset < self._first_string:
            return self.base._string(offset, longest)
        if not self._first_string <= offset < self._strings_end:
            raise self.error(f"string offset {offset}, and the strings end at {self._strings_end}")
        start = self._strings_start + offset - self._first_string
        stop = self.data.find(0, start, start + longest + 1)
        if stop < 0:
            raise self.error(f"a name of more than {longest} bytes", offset=start)
        return self.data[start:stop].decode("utf-8", "backslashreplace")

    def type(self, type_id: int) -> BtfType:
        """The type with this id; raises ObjectFormatError for an id or a record that is not valid."""
        found = self._types.get(type_id)
        if found is None:
            if self.base and 0 <= type_id < self._first_id:
                return self.base.type(type_id)
            found = self._types[type_id] = self._decode(type_id)
        return found

    def validate(self) -> None:
        """Decode every record once, keeping none: all names, references and kinds are proven valid."""
        for type_id in range(self._first_id, len(self)):
            self._decode(type_id)

    def _decode(self, type_id: int) -> BtfType:
        if type_id == 0:
            return Void(0, "void")
        if not 0 < type_id < len(self):
            raise self.error(f"type id {type_id} is out of range: there are {len(self)}")

        def name(offset: int) -> str:
            try:
                return self._string(offset, _MAX_NAME) if offset else ""
            except ObjectFormatError as error:
                raise self.error(f"bad name: {error}", type_id=type_id) from None

        def reference(other: int) -> int:
            if other < len(self):
                return other
            raise self.error(f"refers to type {other}, and there are {len(self)}", type_id=type_id)

        position = self._positions[type_id - self._first_id]
        name_off, info, size_or_type = self._words[position : position + _TYPE_WORDS]
        kind, vlen, kind_flag = info >> 24 & 0x7F, info & 0xFFFFFF, bool(info >> 31)
        own_name = name(name_off)
        if kind in _PLAIN_REFERENCES:
            return _PLAIN_REFERENCES[kind](type_id, own_name, reference(size_or_type))
        if kind >= len(_EXTRA_WORDS):
            return Unknown(type_id, own_name, kind)
        rest_size = _EXTRA_WORDS[kind] + vlen * _ELEMENT_WORDS[kind]
        rest = self._words[position + _TYPE_WORDS : position + _TYPE_WORDS + rest_size].tolist()
        pairs = zip(rest[0::2], rest[1::2], strict=False)
        triples = zip(rest[0::3], rest[1::3], rest[2::3], strict=False)

        match kind:
            case BtfKind.BTF_KIND_INT:
                flags, bit_offset, bits = rest[0] >> 24 & 0xF, rest[0] >> 16 & 0xFF, rest[0] & 0xFF
                signed, char, boolean = bool(flags & 1), bool(flags & 2), bool(flags & 4)
                return Int(type_id, own_name, size_or_type, signed, char, boolean, bit_offset, bits)
            case BtfKind.BTF_KIND_ARRAY:
                return Array(type_id, own_name, reference(rest[0]), reference(rest[1]), rest[2])
            case BtfKind.BTF_KIND_STRUCT | BtfKind.BTF_KIND_UNION:
                # With kind_flag the offset word holds the bit field's size in its top byte.
                mask, shift = (0xFFFFFF, 24) if kind_flag else (0xFFFFFFFF, 32)
                members = tuple(Member(name(n), reference(t), o & mask, o >> shift) for n, t, o in triples)
                composite = Struct if kind == BtfKind.BTF_KIND_STRUCT else Union
                return composite(type_id, own_name, size_or_type, members)
            case BtfKind.BTF_KIND_ENUM:
                sign = 1 << 31 if kind_flag else 0
                values = tuple(EnumValue(name(n), (v ^ sign) - sign) for n, v in pairs)
                return Enum(type_id, own_name, size_or_type, kind_flag, values)
            case BtfKind.BTF_KIND_ENUM64:
                sign = 1 << 63 if kind_flag else 0
                numbers = ((n, low | high << 32) for n, low, high in triples)
                values = tuple(EnumValue(name(n), (v ^ sign) - sign) for n, v in numbers)
                return Enum64(type_id, own_name, size_or_type, kind_flag, values)
            case BtfKind.BTF_KIND_FWD:
                return Fwd(type_id, own_name, kind_flag)
            case BtfKind.BTF_KIND_FUNC:
                if self._kind(reference(size_or_type)) != BtfKind.BTF_KIND_FUNC_PROTO:
                    raise self.error(f"its type {size_or_type} is no FUNC_PROTO", type_id=type_id)
                return Func(type_id, own_name, size_or_type, vlen)
            case BtfKind.BTF_KIND_FUNC_PROTO:
                params = tuple(Param(name(n), reference(t)) for n, t in pairs)
                return FuncProto(type_id, own_name, reference(size_or_type), params)
            case BtfKind.BTF_KIND_VAR:
                return Var(type_id, own_name, reference(size_or_type), rest[0])
            case BtfKind.BTF_KIND_DATASEC:
                variables = tuple(VarSecinfo(reference(t), o, s) for t, o, s in triples)
                return Datasec(type_id, own_name, size_or_type, variables)
            case BtfKind.BTF_KIND_FLOAT:
                return Float(type_id, own_name, size_or_type)
            case BtfKind.BTF_KIND_DECL_TAG:
                component_idx = (rest[0] ^ 1 << 31) - (1 << 31)
                return DeclTag(type_id, own_name, reference(size_or_type), component_idx, kind_flag)
            case _:  # BTF_KIND_TYPE_TAG, the last of them
                return TypeTag(type_id, own_name, reference(size_or_type), kind_flag)

    def record_offset(self, type_id: int) -> int:
        """Where the type's record begins in ``data``, in bytes; for who writes BTF that differs in a few places."""
        return self._types_start + 4 * self._positions[type_id - self._first_id]

    def _kind(self, type_id: int) -> int:
        if type_id < self._first_id:
            return self.base._kind(type_id) if self.base else 0
        position = self._positions[type_id - self._first_id]
        return self._words[position + 1] >> 24 & 0x7F

    # -- searching -------------------------------------------------------------------------------------------

    def ids(self, *kinds: KindClass) -> list[int]:
        """The ids, ascending, of all types of these kinds; no type is decoded."""
        wanted = {kind.kind for kind in kinds}
        words = self._words
        own = (
            type_id
            for type_id, position in enumerate(self._positions, self._first_id)
            if words[position + 1] >> 24 & 0x7F in wanted
        )
        return [*(self.base.ids(*kinds) if self.base else ()), *own]

    def find(self, name: str, kind: KindClass | None = None) -> list[int]:
        """The ids, ascending, of all types (of this kind, if given) that have this name."""
        raw = name.encode("utf-8", "surrogatepass")
        if not raw or 0 in raw:
            return []
        ids = self._ids_named(list(self._string_offsets(raw + b"\0")))
        return ids if kind is None else [id for id in ids if self._kind(id) == kind.kind]

    def names(self, kind: KindClass) -> Iterator[str]:
        """The names of all types of this kind, a base's first, by ascending id."""
        return map(self._name_of, self.ids(kind))

    def find_flavors(self, name: str) -> list[int]:
        """The ids, ascending, of all types whose name without its CO-RE flavour (``___...``) is ``name``."""
        raw = name.encode("utf-8", "surrogatepass")
        if not raw or 0 in raw:
            return []
        offsets = [*self._string_offsets(raw + b"\0"), *self._string_offsets(raw + b"___")]
        return [id for id in self._ids_named(offsets) if essential_name(self._name_of(id)) == name]

    def _string_offsets(self, raw: bytes) -> Iterator[int]:
        """Offsets of all occurrences of these bytes in the string section and the base's."""
        if self.base:
            yield from self.base._string_offsets(raw)
        to_offset = self._first_string - self._strings_start
        found = self.data.find(raw, self._strings_start, self._strings_stop)
        while found >= 0:
            yield found + to_offset
            found = self.data.find(raw, found + 1, self._strings_stop)

    def _ids_named(self, name_offsets: list[int]) -> list[int]:
        """The ids, ascending, of the types whose name is at one of these offsets."""
        ids = []
        names, by_name = self._name_offsets, self._by_name
        for offset in name_offsets:
            i = bisect_left(by_name, offset, key=names.__getitem__)
            while i < len(by_name) and names[by_name[i]] == offset:
                ids.append(self._first_id + by_name[i])
                i += 1
        return (self.base._ids_named(name_offsets) if self.base else []) + sorted(ids)

    @functools.cached_property
    def _name_offsets(self) -> list[int]:
        """The name offset of each type of this BTF, without the base's."""
        words = self._words
        return [words[position] for position in self._positions]

    @functools.cached_property
    def _by_name(self) -> array[int]:
        """Indices into ``_name_offsets``, in the order of the offsets."""
        return array("I", sorted(range(len(self._name_offsets)), key=self._name_offsets.__getitem__))

    def _name_of(self, type_id: int) -> str:
        if self.base and type_id < self._first_id:
            return self.base._name_of(type_id)
        return self._string(self._name_offsets[type_id - self._first_id], _MAX_NAME)

    # -- what follows from several types ---------------------------------------------------------------------

    def resolve(self, type_id: int) -> BtfType:
        """The type behind typedefs, const, volatile, restrict and type tags."""
        found = self.type(type_id)
        for _ in range(_MAX_CHAIN):
            if not isinstance(found, (Typedef, Const, Volatile, Restrict, TypeTag)):
                return found
            found = self.type(found.type_id)
        raise self.error("typedefs and qualifiers that go round in a circle", type_id=type_id)

    def innermost(self, type_id: int) -> BtfType:
        """As ``resolve()``, and the type of the elements where that is an array, or an array of arrays."""
        for _ in range(_MAX_CHAIN):
            found = self.resolve(type_id)
            if not isinstance(found, Array):
                return found
            type_id = found.type_id
        raise self.error("arrays that go round in a circle", type_id=type_id)

    @functools.cached_property
    def pointer_size(self) -> int:
        """Bytes of a pointer: as many as ``long`` has, which is libbpf's rule; 8 if there is no ``long``."""
        if self.base:
            return self.base.pointer_size
        for type_id in range(1, len(self)):
            if self._kind(type_id) == BtfKind.BTF_KIND_INT:
                found = self.type(type_id)
                if isinstance(found, Int) and found.size in (4, 8) and found.name in _LONG_NAMES:
                    return found.size
        return 8

    def size_of(self, type_id: int) -> int:
        """The size in bytes of a type, or of a variable; ObjectFormatError for what has none, as void."""
        count, inner = 1, type_id
        for _ in range(_MAX_CHAIN):
            found = self.type(inner)
            if isinstance(found, Array):
                count *= found.nelems
                inner = found.type_id
            elif isinstance(found, (Typedef, Const, Volatile, Restrict, TypeTag, DeclTag, Var)):
                inner = found.type_id
            else:
                if isinstance(found, (Int, Composite, Enumeration, Float, Datasec)):
                    size = count * found.size
                elif isinstance(found, Ptr):
                    size = count * self.pointer_size
                else:
                    raise self.error(f"{_describe(found)} has no size", type_id=type_id)
                if size > _MAX_SIZE:
                    break
                return size
            if count > _MAX_SIZE:
                break
        else:
            raise self.error("arrays, typedefs or qualifiers that go round in a circle", type_id=type_id)
        raise self.error(f"an array of {count} elements is larger than 4 GiB", type_id=type_id)

    def align_of(self, type_id: int) -> int:
        """The alignment in bytes that the compiler gave a type, 1 for a packed struct; errors as size_of."""
        return self._align_of(type_id, 0)

    def _align_of(self, type_id: int, depth: int) -> int:
        known = self._alignments.get(type_id)
        if known is not None:
            return known
        if depth > _MAX_DEPTH:
            raise self.error("types nested too deeply, or containing themselves", type_id=type_id)
        found = self.resolve(type_id)
        if isinstance(found, Array):
            align = self._align_of(found.type_id, depth + 1)
        elif isinstance(found, (Int, Enumeration, Float)):
            align = max(1, min(found.size, self.pointer_size))
        elif isinstance(found, Ptr):
            align = self.pointer_size
        elif isinstance(found, Composite):
            aligns = [(self._align_of(member.type_id, depth + 1), member) for member in found.members]
            align = max((align for align, _ in aligns), default=1)
            # BTF does not say "packed"; a member or a size out of step with its alignment does.
            if found.size % align or any(
                not member.bitfield_size and member.bit_offset % (8 * align) for align, member in aligns
            ):
                align = 1
        else:
            raise self.error(f"{_describe(found)} has no alignment", type_id=type_id)
        self._alignments[type_id] = align
        return align


def _describe(found: BtfType) -> str:
    if isinstance(found, Void):
        return "void"
    return f"{found.kind.name.removeprefix('BTF_KIND_')} {found.name}".rstrip()
