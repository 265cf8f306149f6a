"""Change BTF without renumbering it.

Types are known by their position, and .BTF.ext, maps and relocations refer to them by it.  So a loader that has to
change an object's BTF rewrites records in place, word by word, and adds types and strings at the end.  The format is
described in <linux/btf.h>: a record is struct btf_type (name, info, size or type) and the words that its kind adds.
"""

from __future__ import annotations

import struct
import sys
from array import array

from purebpf.btf.reader import Btf
from purebpf.btf.types import BtfKind

_INFO_KIND_SHIFT = 24
_VLEN_MASK = 0xFFFFFF
_HEADER_WITH_LAYOUT = 32


class BtfEditor:
    """A copy of ``btf`` that can be changed; of split BTF, a copy without its base.

    ``words`` are its type records, in the machine's byte order; ``strings`` its strings.  ``len(editor)`` is the id
    that the next added type gets.  To split BTF, no string can be added.
    """

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._first_id = len(btf.base) if btf.base else 1
        self._prefix = "<" if btf.byteorder == "little" else ">"
        header = struct.Struct(self._prefix + "2xBBIIIII")  # struct btf_header
        _, _, self._header_len, type_off, type_len, str_off, str_len = header.unpack_from(btf.data)
        types, strings = self._header_len + type_off, self._header_len + str_off
        self.words: array[int] = array("I")
        self.words.frombytes(btf.data[types : types + type_len])
        if btf.byteorder != sys.byteorder:
            self.words.byteswap()
        self.strings = bytearray(btf.data[strings : strings + str_len])
        ids = range(self._first_id, len(btf))
        self._positions: list[int] = [(btf.record_offset(id) - types) // 4 for id in ids]
        self._layout = b""
        if self._header_len >= _HEADER_WITH_LAYOUT:
            layout_off, layout_len = struct.unpack_from(self._prefix + "II", btf.data, header.size)
            self._layout = btf.data[self._header_len + layout_off : self._header_len + layout_off + layout_len]
        self._unchanged = self._content()

    def __len__(self) -> int:
        return self._first_id + len(self._positions)

    @property
    def has_layout(self) -> bool:
        """Whether there is a layout section, which says how long records of each kind are.  Linux 7.1."""
        return bool(self._layout)

    def drop_layout(self) -> None:
        """Leave the layout section out."""
        self._layout = b""

    def position(self, type_id: int) -> int:
        """The index in ``words`` at which the record of a type begins."""
        return self._positions[type_id - self._first_id]

    def kind(self, type_id: int) -> int:
        """The BTF_KIND_... of a type."""
        return self.words[self.position(type_id) + 1] >> _INFO_KIND_SHIFT & 0x7F

    def vlen(self, type_id: int) -> int:
        """How many members, parameters, values or variables a type has; of a function, its linkage."""
        return self.words[self.position(type_id) + 1] & _VLEN_MASK

    def set_kind(self, type_id: int, kind: BtfKind, vlen: int = 0) -> None:
        """Give a record another kind, whose records must be as long."""
        self.words[self.position(type_id) + 1] = kind << _INFO_KIND_SHIFT | vlen

    def add_string(self, text: str) -> int:
        """The offset of a string, which is added if it is not there yet."""
        assert not self._btf.base
        raw = text.encode() + b"\0"
        if self.strings.startswith(raw):
            return 0
        found = self.strings.find(b"\0" + raw)
        if found >= 0:
            return found + 1
        self.strings += raw
        return len(self.strings) - len(raw)

    def add_type(self, kind: BtfKind, name_off: int, size_or_type: int, *rest: int, vlen: int = 0) -> int:
        """Add a record, ``rest`` being the words after struct btf_type; returns the type's id."""
        type_id = len(self)
        self._positions.append(len(self.words))
        self.words.extend((name_off, kind << _INFO_KIND_SHIFT | vlen, size_or_type, *rest))
        return type_id

    def _content(self) -> tuple[bytes, bytes, bytes]:
        words = self.words
        if self._btf.byteorder != sys.byteorder:
            words = words[:]
            words.byteswap()
        return words.tobytes(), self._layout, bytes(self.strings)

    def to_bytes(self) -> bytes:
        """The BTF as it now is; what has not been changed is the original, byte for byte."""
        content = self._content()
        if content == self._unchanged:
            return self._btf.data
        types, layout, strings = content
        fields = [self._header_len, 0, len(types), len(types) + len(layout), len(strings)]
        if layout:
            fields += [len(types), len(layout)]
        header = self._btf.data[:4] + struct.pack(f"{self._prefix}{len(fields)}I", *fields)
        return header.ljust(self._header_len, b"\0") + types + layout + strings

    def to_btf(self, base: Btf | None = None) -> Btf:
        """The same, opened; ``base`` is the one that split BTF is for now."""
        return Btf.from_bytes(self.to_bytes(), base=base, where=self._btf.where)
