"""Make BTF for tests: by hand, word by word after <linux/btf.h>, or by clang out of C."""

from __future__ import annotations

import json
import struct
import subprocess

from elftools.elf.elffile import ELFFile

from purebpf.btf.reader import Btf

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR = range(1, 15)
DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(15, 20)


class Assembler:
    """Lays down a BTF section; ``order`` is "<" or ">", ``base`` an Assembler that this one continues."""

    def __init__(self, order="<", base=None):
        self.order = order
        self.strings = b"" if base else b"\0"
        self.first_string = base.first_string + len(base.strings) if base else 0
        self.next_id = base.next_id if base else 1
        self.types = b""

    def string(self, text):
        if not text:
            return 0
        raw = text if isinstance(text, bytes) else text.encode()
        offset = self.first_string + len(self.strings)
        self.strings += raw + b"\0"
        return offset

    def words(self, *words):
        return b"".join(struct.pack(self.order + "I", word & 0xFFFFFFFF) for word in words)

    def add(self, kind, name="", third=0, *rest, vlen=0, kind_flag=0):
        """One type record; str and bytes among the words are names.  Returns the type's id."""
        words = [self.string(word) if isinstance(word, (str, bytes)) else word for word in (name, third, *rest)]
        self.types += self.words(words[0], kind_flag << 31 | kind << 24 | vlen, *words[1:])
        self.next_id += 1
        return self.next_id - 1

    def int(self, name="int", size=4, signed=True, bits=None, offset=0, flags=0):
        encoding = (flags | signed) << 24 | offset << 16 | (8 * size if bits is None else bits)
        return self.add(INT, name, size, encoding)

    def struct(self, name, size, *members, kind=STRUCT, kind_flag=0):
        """``members`` are (name, type, offset word)."""
        words = [word for member in members for word in member]
        return self.add(kind, name, size, *words, vlen=len(members), kind_flag=kind_flag)

    def array(self, type_id, nelems, index=1):
        return self.add(ARRAY, "", 0, type_id, index, nelems)

    def bytes(self, layout=None):
        header = 24 if layout is None else 32
        layout = layout or b""
        magic = struct.pack(self.order + "HBB", 0xEB9F, 1, 0)
        types, strings = len(self.types), len(self.strings)
        fields = [header, 0, types, types + len(layout), strings]
        if header == 32:
            fields += [types, len(layout)]
        return magic + self.words(*fields) + self.types + layout + self.strings

    def btf(self, base=None):
        return Btf.from_bytes(self.bytes(), base=base)


class Object:
    """An object file that clang made of C."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            elf = ELFFile(file)
            self.sections = {section.name: section.data() for section in elf.iter_sections()}
            symbols = elf.get_section_by_name(".symtab").iter_symbols()
            names = [section.name for section in elf.iter_sections()]
            self.symbols = {
                symbol.name: (names[symbol["st_shndx"]], symbol["st_value"], symbol["st_size"])
                for symbol in symbols
                if isinstance(symbol["st_shndx"], int)
            }
        self.btf = Btf.from_bytes(self.sections[".BTF"])

    def variable(self, name):
        """The bytes of an initialised global variable."""
        section, offset, size = self.symbols[name]
        return self.sections[section][offset : offset + size]


def compile_c(directory, source, *, target="bpfel", name="object"):
    source_path = directory / f"{name}.c"
    object_path = directory / f"{name}.{target}.o"
    source_path.write_text(source)
    subprocess.run(
        ["clang-19", "-target", target, "-g", "-O2", "-Wall", "-c", source_path, "-o", object_path], check=True
    )
    return Object(object_path)


def bpftool_types(path, *, base=None):
    """What bpftool reads in a file: a list of types, as its JSON has them."""
    options = ["-B", base] if base else []
    command = ["bpftool", *options, "btf", "dump", "-j", "file", path]
    done = subprocess.run(command, check=True, capture_output=True)
    return json.loads(done.stdout)["types"]
