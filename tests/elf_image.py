"""ELF-64 files as bytes that a test can damage field by field, or put together by hand.

Written after the System V ABI (chapter 4), and without purebpf or pyelftools, for it makes what they have to refuse.
"""

from __future__ import annotations

import struct

SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 0, 1, 2, 3, 4, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = range(4)
STB_LOCAL, STB_GLOBAL, STB_WEAK = range(3)
STV_DEFAULT, STV_INTERNAL, STV_HIDDEN = range(3)

# field -> (offset, struct format)
EHDR = {
    "type": (16, "H"),
    "machine": (18, "H"),
    "shoff": (40, "Q"),
    "shentsize": (58, "H"),
    "shnum": (60, "H"),
    "shstrndx": (62, "H"),
}
SHDR = {
    "name": (0, "I"),
    "type": (4, "I"),
    "flags": (8, "Q"),
    "addr": (16, "Q"),
    "offset": (24, "Q"),
    "size": (32, "Q"),
    "link": (40, "I"),
    "info": (44, "I"),
    "addralign": (48, "Q"),
    "entsize": (56, "Q"),
}
SYM = {
    "name": (0, "I"),
    "info": (4, "B"),
    "other": (5, "B"),
    "shndx": (6, "H"),
    "value": (8, "Q"),
    "size": (16, "Q"),
}
REL = {"offset": (0, "Q"), "type": (8, "I"), "symbol": (12, "I")}  # as a little-endian file has them


class ElfImage:
    """The bytes of an ELF file, and where its records are."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.order = "<" if self.data[5] == 1 else ">"

    def __bytes__(self):
        return bytes(self.data)

    def get(self, position, fields, name):
        offset, kind = fields[name]
        return struct.unpack_from(self.order + kind, self.data, position + offset)[0]

    def put(self, position, fields, **values):
        """Overwrite fields of the record at ``position``; returns the image, for the next change."""
        for name, value in values.items():
            offset, kind = fields[name]
            struct.pack_into(self.order + kind, self.data, position + offset, value)
        return self

    def header(self, **values):
        return self.put(0, EHDR, **values)

    def section(self, name, /, **values):
        return self.put(self.section_at(name), SHDR, **values)

    def symbol(self, name, /, **values):
        return self.put(self.symbol_at(name), SYM, **values)

    def relocation(self, section, index, /, **values):
        return self.put(self.content_at(f".rel{section}")[0] + 16 * index, REL, **values)

    def sections(self):
        """The positions of all section headers."""
        start, count = self.get(0, EHDR, "shoff"), self.get(0, EHDR, "shnum")
        return range(start, start + 64 * count, 64)

    def section_name(self, position):
        names = self.sections()[self.get(0, EHDR, "shstrndx")]
        return self._string(self.get(names, SHDR, "offset") + self.get(position, SHDR, "name"))

    def section_at(self, name):
        return next(position for position in self.sections() if self.section_name(position) == name)

    def section_index(self, name):
        return self.sections().index(self.section_at(name))

    def content_at(self, name):
        """Where a section's bytes begin and end in the file."""
        position = self.section_at(name)
        start = self.get(position, SHDR, "offset")
        return start, start + self.get(position, SHDR, "size")

    def content(self, name):
        start, end = self.content_at(name)
        return bytes(self.data[start:end])

    def symbols(self):
        """The positions of all symbols."""
        start, end = self.content_at(".symtab")
        return range(start, end, 24)

    def symbol_name(self, position):
        names = self.sections()[self.get(self.section_at(".symtab"), SHDR, "link")]
        return self._string(self.get(names, SHDR, "offset") + self.get(position, SYM, "name"))

    def symbol_at(self, name):
        return next(position for position in self.symbols() if self.symbol_name(position) == name)

    def without(self, *names):
        """The sections lose their names, so that nobody finds them; no other byte moves."""
        for name in names:
            self.section(name, name=0, type=SHT_PROGBITS)
        return self

    def _string(self, start):
        return self.data[start : self.data.index(0, start)].decode()


def build(sections, symbols=(), *, order="<"):
    """An object file of the given sections and symbols.

    ``sections``: (name, content, {header field: value}) each, numbered from 1; the type is SHT_PROGBITS unless given.
    ``symbols``: (name, section number, value, size, type, binding) each, numbered from 1.  The string table and the
    symbol table come last.
    """
    strings, offsets = bytearray(b"\0"), {"": 0}

    def string(text):
        if text not in offsets:
            offsets[text] = len(strings)
            strings.extend(text.encode() + b"\0")
        return offsets[text]

    table = bytearray(24)
    for name, section, value, size, kind, binding in symbols:
        table += struct.pack(order + "IBBHQQ", string(name), binding << 4 | kind, 0, section, value, size)
    strtab, symtab = len(sections) + 1, len(sections) + 2
    for name in (".strtab", ".symtab", *(name for name, _, _ in sections)):
        string(name)
    everything = [
        *sections,
        (".strtab", bytes(strings), {"type": SHT_STRTAB}),
        (".symtab", bytes(table), {"type": SHT_SYMTAB, "link": strtab, "entsize": 24}),
    ]
    body, headers = bytearray(64), bytearray(64)
    for name, content, fields in everything:
        values = {"name": string(name), "type": SHT_PROGBITS, "offset": len(body), "size": len(content), **fields}
        header = bytearray(64)
        for field, value in values.items():
            offset, kind = SHDR[field]
            struct.pack_into(order + kind, header, offset, value)
        headers += header
        body += content
    body[:8] = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1, 0])
    struct.pack_into(order + "HHI", body, 16, 1, 247, 1)
    struct.pack_into(order + "Q", body, 40, len(body))
    struct.pack_into(order + "HHHHHH", body, 52, 64, 0, 0, 64, symtab + 1, strtab)
    return bytes(body + headers)
