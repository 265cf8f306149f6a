"""BTF in files: bare, as in /sys/kernel/btf, or as a section of an ELF file for any machine.

Kernels (``vmlinux``), their modules (``.ko``) and BPF objects carry their types in a section ``.BTF``.  A kernel with
its debug information has hundreds of megabytes, so nothing is read of a file but the table of sections and the
sections asked for.  Formats: the System V ABI, chapter 4, for both word sizes and byte orders.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

from purebpf.btf.reader import MAGIC_BYTE_ORDERS, Btf
from purebpf.errors import KernelError, ObjectFormatError

_SHT_NOBITS = 8
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
# By ELF class: e_shoff and its place in the header, the place of e_shentsize, e_shnum and e_shstrndx, and of a section
# header sh_name, sh_type, sh_offset and sh_size.
_LAYOUTS = {1: ("I", 32, 46, "II8xII16x"), 2: ("Q", 40, 58, "II16xQQ24x")}


def read_btf(source: str | os.PathLike[str] | bytes, *, base: Btf | None = None, where: str = "") -> Btf:
    """The types in a file, given by its path or its bytes: bare BTF, or an ELF file with a section ``.BTF``.

    ``base``: the kernel's types, for those of a module.  A module with a section ``.BTF.base`` is relocated to it.
    ``where`` names the file in errors.  Raises KernelError if the file cannot be read, ObjectFormatError if it has no
    well-formed BTF, PlanError if the module needs types that the base does not have.
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), len(source), base, where or "BTF")
    where = where or os.fspath(source)
    try:
        status = Path(source).stat()
        if not stat.S_ISREG(status.st_mode):  # a FIFO would wait for a writer, and a device need not end
            raise ObjectFormatError("this is no regular file", where=where)
        with Path(source).open("rb") as file:
            return _read(file, status.st_size, base, where)
    except OSError as error:
        raise KernelError(error.errno or 0, f"reading types from {where}") from error


def _read(file: BinaryIO, size: int, base: Btf | None, where: str) -> Btf:
    magic = file.read(4)
    if magic[:2] in MAGIC_BYTE_ORDERS:
        file.seek(0)
        return Btf.from_bytes(file.read(size), base=base, where=where)
    if magic != b"\x7fELF":
        raise ObjectFormatError("neither BTF nor an ELF file" + _what_else(magic + file.read(0x300)), where=where)
    sections = _sections(file, size, where)
    if ".BTF" not in sections:
        raise ObjectFormatError(
            "this ELF file has no section .BTF. clang writes it with -target bpf -g, a kernel's build with "
            "CONFIG_DEBUG_INFO_BTF",
            where=where,
        )
    if ".BTF.base" not in sections:
        return Btf.from_bytes(sections[".BTF"], base=base, where=where)
    from purebpf.btf.relocate import relocate  # few modules need it

    distilled = Btf.from_bytes(sections[".BTF.base"], where=f"{where} .BTF.base")
    btf = Btf.from_bytes(sections[".BTF"], base=distilled, where=where)
    return relocate(btf, base) if base else btf


def _what_else(beginning: bytes) -> str:
    """For a message: the kinds of files that are taken for types by mistake."""
    for magic, compression in _COMPRESSED.items():
        if beginning.startswith(magic):
            return f": it is compressed with {compression}, and must be unpacked first"
    if beginning[0x202:0x206] == b"HdrS":  # the kernel's Documentation/arch/x86/boot.rst
        return (
            ": it is a boot image with a compressed kernel in it, which scripts/extract-vmlinux of the kernel's source "
            "unpacks"
        )
    return "" if beginning else ": it is empty"


def _sections(file: BinaryIO, size: int, where: str) -> dict[str, bytes]:
    """The contents of the sections ``.BTF`` and ``.BTF.base``, as far as the file has them."""

    def read(offset: int, length: int, what: str) -> bytes:
        if offset + length > size:
            raise ObjectFormatError(f"{what} ends beyond the file's {size} bytes", where=where)
        file.seek(offset)
        return file.read(length)

    header = read(0, 52, "the ELF header")
    prefix = {1: "<", 2: ">"}.get(header[5])
    if header[4] not in _LAYOUTS or prefix is None:
        raise ObjectFormatError(f"unknown ELF class {header[4]} or byte order {header[5]}", where=where)
    word, table_at, counts_at, section_format = _LAYOUTS[header[4]]
    header = read(0, counts_at + 6, "the ELF header")
    (table_offset,) = struct.unpack_from(prefix + word, header, table_at)
    entry_size, count, names_index = struct.unpack_from(prefix + "HHH", header, counts_at)
    entry = struct.Struct(prefix + section_format)
    if entry_size != entry.size or names_index >= count:
        raise ObjectFormatError(
            f"{count} section headers of {entry_size} bytes, expected {entry.size}; their names in section "
            f"{names_index}",
            where=where,
        )
    table = list(entry.iter_unpack(read(table_offset, entry_size * count, "the section header table")))
    _, _, offset, length = table[names_index]
    names = read(offset, length, "the table of section names") + b"\0"
    found: dict[str, bytes] = {}
    for name_offset, kind, offset, length in table:
        name = names[name_offset : names.find(b"\0", name_offset)].decode("ascii", "replace")
        if name in (".BTF", ".BTF.base") and kind != _SHT_NOBITS:
            found.setdefault(name, read(offset, length, f"section {name}"))
    return found
