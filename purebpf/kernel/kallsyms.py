"""The addresses of the kernel's symbols, as /proc/kallsyms lists them.

A line is ``ffffffff81000000 T _stext``: address, type (as nm(1) prints it), name, and for a symbol of a module a tab
and the module's name in brackets.  Who may not know the addresses reads zeros (kernel.kptr_restrict, CAP_SYSLOG).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from purebpf.errors import KernelError, PlanError
from purebpf.load.nearest import nearest

KALLSYMS = "/proc/kallsyms"
PathOrSymbols = str | os.PathLike[str] | bytes | Mapping[str, int]

_LINE = re.compile(rb"([0-9a-f]{1,16}) (\S) (\S+)(?:\s.*)?")
_FUNCTION = r"^(\S+) [tTwW] (\S+)"
_CLONE = b".llvm."
"""LLVM appends this and a number to the names of what is static, if it links the kernel as a whole."""


class Kallsyms:
    """A list of symbols in the form of /proc/kallsyms.  ``where`` names it in messages."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self.where = where

    def addresses(self, name: str) -> set[int]:
        """All addresses that symbols of this name have; none if there is no such symbol.

        Raises PlanError for a line that is not well-formed.
        """
        raw = name.encode("utf-8", "surrogateescape")
        found = set()
        at = self._data.find(b" " + raw)
        while at >= 0:
            start, end = self._data.rfind(b"\n", 0, at) + 1, self._data.find(b"\n", at)
            line = self._data[start : end if end >= 0 else len(self._data)]
            fields = _LINE.fullmatch(line)
            if fields is None:
                raise PlanError(f"{self.where}: {line!r} should read ADDRESS TYPE NAME")
            address, kind, symbol = fields.groups()
            if symbol == raw or (kind == b"d" and symbol.partition(_CLONE)[0] == raw):
                found.add(int(address, 16))
            at = self._data.find(b" " + raw, start + len(line))
        return found

    def near(self, name: str) -> list[str]:
        """The names that look most like this one."""
        return nearest(name, self._find(r"^\S+ \S (\S+)"))

    def near_function(self, name: str) -> list[str]:
        """The names of functions that look most like this one."""
        return nearest(name, self.function_names())

    def addresses_of_functions(self, names: Set[str]) -> list[int]:
        """The addresses of all functions of these names, in the order of the list."""
        clone = _CLONE.decode()
        return [
            int(address, 16)
            for address, symbol in self._find(_FUNCTION)
            if symbol in names or symbol.partition(clone)[0] in names
        ]

    def functions(self) -> list[tuple[int, str]]:
        """The address and the name of each function, modules' ones too.  Hidden addresses are 0."""
        return [(int(address, 16), symbol) for address, symbol in self._find(_FUNCTION)]

    def function_names(self) -> list[str]:
        """The names of all functions."""
        return self._find(r"^\S+ [tTwW] (\S+)")

    def _find(self, line: str) -> list[Any]:
        """What the groups of this pattern are in the lines that fit it."""
        return re.findall(line, self._data.decode("utf-8", "backslashreplace"), re.MULTILINE | re.ASCII)


def read_kallsyms(source: PathOrSymbols = KALLSYMS) -> Kallsyms:
    """The symbols in a file like /proc/kallsyms, in such a file's bytes, or of these names and addresses.

    Raises KernelError if the file cannot be read.
    """
    if isinstance(source, bytes):
        return Kallsyms(source, "the given symbols")
    if isinstance(source, Mapping):
        lines = (f"{address:x} ? {name}\n" for name, address in source.items())
        return Kallsyms("".join(lines).encode("utf-8", "surrogateescape"), "the given symbols")
    try:
        return Kallsyms(Path(source).read_bytes(), os.fspath(source))
    except OSError as error:
        raise KernelError(error.errno or 0, f"reading the kernel's symbols from {os.fspath(source)!r}") from error
