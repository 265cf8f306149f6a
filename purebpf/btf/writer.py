"""Write types as BTF: the reverse of the reader.

``write`` takes the objects of ``btf.types``, as the reader gives them or made by hand, and lays down the header, the
type records and the strings of <linux/btf.h>.  A string is written once; one that the base has already is taken from
there.  What the reader reads from the result are equal types with equal ids.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable

from purebpf.btf.reader import MAGIC_BYTE_ORDERS, Btf, ByteOrder
from purebpf.btf.types import (
    Array,
    BtfType,
    Composite,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Enumeration,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Reference,
    TypeTag,
    Unknown,
    Var,
    Void,
)
from purebpf.errors import ObjectFormatError

_MAGICS = {order: magic for magic, order in MAGIC_BYTE_ORDERS.items()}


def write(types: Iterable[BtfType], *, byteorder: ByteOrder, base: Btf | None = None) -> bytes:
    """The BTF that holds these types.

    ``types`` come in the order of their ids, which go on from those of the base, or from void; void itself may be
    among them and is left out.  Raises ObjectFormatError for what has no place in the format: a hole in the ids, a
    number that is too large, a kind that is not known.
    """
    writer = _Writer(base)
    next_id = len(base) if base else 1
    for found in types:
        if isinstance(found, Void):
            continue
        where = f"type {found.id}"
        if found.id != next_id:
            raise ObjectFormatError(f"its id is {found.id}, and by its position {next_id}", where=where)
        if isinstance(found, Unknown):
            raise ObjectFormatError(f"kind {found.kind_number} is not known", where=where)
        try:
            writer.add(found)
        except OverflowError:
            raise ObjectFormatError("one of its numbers is too large for BTF", where=where) from None
        except ValueError as error:
            raise ObjectFormatError(str(error), where=where) from None
        next_id += 1
    words, strings = writer.words, bytes(writer.strings)
    if byteorder != sys.byteorder:
        words.byteswap()
    types_size = 4 * len(words)
    prefix = "<" if byteorder == "little" else ">"
    header = _MAGICS[byteorder] + struct.pack(prefix + "BBIIIII", 1, 0, 24, 0, types_size, types_size, len(strings))
    return header + words.tobytes() + strings


class _Writer:
    def __init__(self, base: Btf | None) -> None:
        self.words = array("I")
        self.offsets, self.next_offset = _strings_of(base)
        self.strings = bytearray()
        if not base:
            self.string(b"")

    def string(self, raw: bytes) -> int:
        """The offset of a string, which is added if it is new."""
        offset = self.offsets.get(raw)
        if offset is None:
            offset = self.offsets[raw] = self.next_offset + len(self.strings)
            self.strings += raw + b"\0"
        return offset

    def name(self, text: str) -> int:
        raw = text.encode("utf-8", "backslashreplace")
        if 0 in raw:
            raise ValueError(f"the name {text!r} has a NUL")
        return self.string(raw)

    def add(self, found: BtfType) -> None:
        name = self.name(found.name)
        kind_flag, vlen, third, rest = self._content(found)
        info = kind_flag << 31 | found.kind << 24 | _check(vlen, 24)
        self.words.extend([name, info, third, *rest])

    def _content(self, found: BtfType) -> tuple[bool, int, int, list[int]]:
        """What the record says beside name and kind: kind_flag, vlen, the size or type, and the words that follow."""
        match found:
            case Int():
                flags = found.is_signed | found.is_char << 1 | found.is_bool << 2
                encoding = flags << 24 | _check(found.bit_offset, 8) << 16 | _check(found.bits, 8)
                return False, 0, found.size, [encoding]
            case Array():
                return False, 0, 0, [found.type_id, found.index_type_id, found.nelems]
            case Composite():
                return self._composite(found)
            case Enumeration():
                return self._enumeration(found)
            case Fwd():
                return found.is_union, 0, 0, []
            case Func():
                return False, found.linkage, found.type_id, []
            case FuncProto():
                params = [word for param in found.params for word in (self.name(param.name), param.type_id)]
                return False, len(found.params), found.type_id, params
            case Var():
                return False, 0, found.type_id, [found.linkage]
            case Datasec():
                variables = [word for var in found.variables for word in (var.type_id, var.offset, var.size)]
                return False, len(found.variables), found.size, variables
            case Float():
                return False, 0, found.size, []
            case DeclTag():
                return found.attribute, 0, found.type_id, [_check(found.component_idx, 32, signed=True)]
            case TypeTag():
                return found.attribute, 0, found.type_id, []
        assert isinstance(found, Reference)
        return False, 0, found.type_id, []

    def _composite(self, found: Composite) -> tuple[bool, int, int, list[int]]:
        has_bit_fields = any(member.bitfield_size for member in found.members)
        words = []
        for member in found.members:
            offset = member.bit_offset
            if has_bit_fields:
                offset = _check(member.bitfield_size, 8) << 24 | _check(offset, 24)
            words += [self.name(member.name), member.type_id, offset]
        return has_bit_fields, len(found.members), found.size, words

    def _enumeration(self, found: Enumeration) -> tuple[bool, int, int, list[int]]:
        words = []
        for value in found.values:
            number = _check(value.value, 32 if isinstance(found, Enum) else 64, signed=found.is_signed)
            words += [self.name(value.name), number & 0xFFFFFFFF]
            if isinstance(found, Enum64):
                words.append(number >> 32)
        return found.is_signed, len(found.values), found.size, words


def _strings_of(base: Btf | None) -> tuple[dict[bytes, int], int]:
    """All strings of a base and its bases with their offsets, and the offset after the last one."""
    if base is None:
        return {}, 0
    offsets, end = _strings_of(base.base)
    for raw in base.strings.split(b"\0")[:-1]:
        offsets.setdefault(raw, end)
        end += len(raw) + 1
    return offsets, end


def _check(number: int, bits: int, *, signed: bool = False) -> int:
    """The number as an unsigned one of so many bits; OverflowError if it does not fit."""
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    if not low <= number < high:
        raise OverflowError
    return number & (1 << bits) - 1
