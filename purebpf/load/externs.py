"""Externs, resolved: what one kernel has for the variables and functions that an object leaves to it.

- **Values of the configuration** are read from its text, and laid out as the content of the map ``.kconfig``.  Three
  more are found out by other means: LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE and LINUX_HAS_SYSCALL_WRAPPER.
- **Symbols declared as void** are looked up in the kernel's symbol table; their address goes into the instruction.
- **Symbols with a type** are looked up in the kernel's BTF, and then in its modules'; their id there goes into the
  instruction, and the verifier knows the rest.  The type must be compatible with the declared one.

What is missing is an error, unless it is declared weak.  Then a value is zero, a symbol's address a null pointer, which
``bpf_ksym_exists()`` tests, and a call of a function becomes an invalid one that the verifier must not reach.  libbpf
has the same rules; so has the text of a value, whose first letter tells what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from purebpf.btf.reader import essential_name
from purebpf.btf.types import Func, Var
from purebpf.errors import PlanError, PureBpfError
from purebpf.load.core import DECLARED_ONLY, type_text, types_compatible
from purebpf.load.facts import Config, Facts, ModuleBtf
from purebpf.load.features import Feature
from purebpf.load.nearest import nearest, suggestion
from purebpf.load.targets import Found
from purebpf.obj.externs import Extern, KconfigExtern, KernelSymbol, kconfig_size
from purebpf.obj.spec import ObjectSpec

POISON_CALL = 2002000000
"""With the extern's index added, the helper that code calls in place of a function that is missing; libbpf's number."""

_VIRTUAL = ("LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER")
_KINDS = {
    "bool": "bool",
    "char": "a character",
    "int": "an integer",
    "tristate": "enum libbpf_tristate",
    "string": "an array of characters",
}
_TRISTATE = {"n": 0, "y": 1, "m": 2}  # enum libbpf_tristate of <bpf/bpf_helpers.h>
_TRISTATE_SIZE = 4
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")  # as strtoull() reads it


class Address(NamedTuple):
    """Where a symbol is in the kernel's memory."""

    address: int


class Resolved(NamedTuple):
    """What the externs of an object are in one kernel.

    ``kconfig`` is the content of the map ``.kconfig``; ``symbols`` are those found, by name.  ``kfunc_modules`` are the
    modules that have a function among them: a call names its module by the place in this list, counted from 1.
    """

    kconfig: bytes
    symbols: Mapping[str, Address | Found]
    kfunc_modules: tuple[ModuleBtf, ...]


def resolve_externs(spec: ObjectSpec, facts: Facts) -> Resolved:
    """Find all externs of an object.  Raises PlanError for what is missing and not weak, or is not as declared."""
    externs = spec.externs.values()
    kconfig = _kconfig(spec, [extern for extern in externs if isinstance(extern, KconfigExtern)], facts)
    symbols: dict[str, Address | Found] = {}
    kfunc_modules: list[ModuleBtf] = []
    for extern in externs:
        if not isinstance(extern, KernelSymbol):
            continue
        found = _typed(spec, extern, facts) if extern.type_id else _address(extern, facts)
        if found is None:
            continue
        symbols[extern.name] = found
        if extern.is_function and isinstance(found, Found) and found.module and found.module not in kfunc_modules:
            kfunc_modules.append(found.module)
    return Resolved(kconfig, symbols, tuple(kfunc_modules))


# Values of the configuration


def _kconfig(spec: ObjectSpec, externs: Sequence[KconfigExtern], facts: Facts) -> bytes:
    content = bytearray(kconfig_size(externs))
    values = {extern: _virtual(extern, facts) for extern in externs if not _is_line(extern)}
    values |= _lines([extern for extern in externs if _is_line(extern)], facts)
    for extern, (text, where) in values.items():
        value = _encode(extern, text, where, spec.byteorder)
        content[extern.offset : extern.offset + len(value)] = value
    return bytes(content)


def _is_line(extern: Extern) -> bool:
    return extern.name.startswith("CONFIG_")


def _virtual(extern: KconfigExtern, facts: Facts) -> tuple[str, str]:
    """A value that is not from the configuration's text, as text and with where it is from."""
    where = f"Linux {facts.release}"
    match extern.name:
        case "LINUX_KERNEL_VERSION":
            return str(facts.version), where
        case "LINUX_HAS_BPF_COOKIE":
            return str(int(facts.has(Feature.BPF_COOKIE))), where
        case "LINUX_HAS_SYSCALL_WRAPPER":
            return str(int(facts.has(Feature.SYSCALL_WRAPPER))), where
        case name if name.startswith("LINUX_") and extern.is_weak:
            return "0", where
    raise PlanError(
        f"extern {extern.name!r} of section '.kconfig' is no value that is known; beside CONFIG_... there are "
        f"{', '.join(_VIRTUAL)}"
    )


def _lines(externs: Sequence[KconfigExtern], facts: Facts) -> dict[KconfigExtern, tuple[str, str]]:
    """The externs' values as text, and with where they are from."""
    found: dict[KconfigExtern, tuple[str, str]] = {}
    read: list[Config] = []
    missing = list(externs)
    configs = facts.configs()
    while missing and (config := _next(configs, missing[0], facts)):
        read.append(config)
        found |= {
            extern: (config.values[extern.name], config.where) for extern in missing if extern.name in config.values
        }
        missing = [extern for extern in missing if extern not in found]
    for extern in missing:
        if not extern.is_weak:
            where = " or ".join(config.where for config in read)
            near = nearest(extern.name, [name for config in read for name in config.values])
            raise PlanError(
                f"extern {extern.name!r} is not in {where}: it is not set, or unknown to Linux {facts.release}"
                f"{suggestion(near) or '.'} Declare it __weak to read 0 then"
            )
    return found


def _next(configs: Iterator[Config], extern: Extern, facts: Facts) -> Config | None:
    try:
        return next(configs, None)
    except PlanError:
        raise
    except PureBpfError as error:
        raise PlanError(
            f"extern {extern.name!r} is a value of the kernel's configuration, and that of Linux {facts.release} "
            f"cannot be had: {error}"
        ) from error


def _encode(extern: KconfigExtern, text: str, where: str, byteorder: Literal["little", "big"]) -> bytes:
    """The bytes of a value.  Its first letter tells whether it is one of y, n, m, a string, or a number."""
    kind, letter = extern.kind, text[0]
    if letter in _TRISTATE:
        if kind == "bool" and letter != "m":
            return bytes([letter == "y"])
        if kind == "tristate":
            return _TRISTATE[letter].to_bytes(_TRISTATE_SIZE, byteorder)
        if kind == "char":
            return letter.encode()
        raise _refused(extern, text, where, "bool" if letter != "m" else "enum libbpf_tristate")
    if letter == '"':
        if len(text) < 2 or text[-1] != letter:
            raise _unfit(extern, text, where, "a string without an end")
        if kind != "string":
            raise _refused(extern, text, where, f"char[{len(text) - 1}]")
        return text[1:-1].encode("utf-8", "surrogateescape")[: extern.size - 1]
    number = _number(text)
    if number is None:
        raise _unfit(extern, text, where, "which is neither y, n or m, a string, nor a number")
    if kind == "bool" and not _is_line(extern) and number <= 1:
        return bytes([number])
    if kind not in ("int", "char"):
        raise _refused(extern, text, where, "unsigned int")
    bits = 8 * extern.size
    signed = number - (1 << 64) if number >> 63 else number
    smallest, end = (-(1 << bits - 1), 1 << bits - 1) if extern.is_signed else (0, 1 << bits)
    if extern.size < 8 and not smallest <= (signed if extern.is_signed else number) < end:
        sign = "signed" if extern.is_signed else "unsigned"
        raise _unfit(extern, text, where, f"which does not fit in {bits} bits, {sign}, as it is declared")
    return (number & (1 << bits) - 1).to_bytes(extern.size, byteorder)


def _number(text: str) -> int | None:
    """The number as 64 bits without a sign, None if the text is none."""
    parts = _NUMBER.fullmatch(text)
    if parts is None:
        return None
    sign, digits = parts.groups()
    is_octal = digits.startswith("0") and digits.isdigit()
    number = int(digits, 8 if is_octal else 0)
    if number >> 64:
        return None
    return -number & (1 << 64) - 1 if sign == "-" else number


def _unfit(extern: KconfigExtern, text: str, where: str, why: str) -> PlanError:
    return PlanError(f"extern {extern.name!r}: {where} has {extern.name}={text}, {why}")


def _refused(extern: KconfigExtern, text: str, where: str, better: str) -> PlanError:
    return PlanError(
        f"extern {extern.name!r} is declared as {_KINDS[extern.kind]}, and {where} has {extern.name}={text}; declare "
        f"it as {better}"
    )


# Symbols


def _address(extern: KernelSymbol, facts: Facts) -> Address | None:
    try:
        symbols = facts.symbols
    except PureBpfError as error:
        raise PlanError(
            f"extern {extern.name!r} is a symbol of the kernel, and those of Linux {facts.release} cannot be had: "
            f"{error}"
        ) from error
    addresses = symbols.addresses(extern.name)
    if len(addresses) > 1:
        found = ", ".join(f"{address:#x}" for address in sorted(addresses))
        raise PlanError(f"extern {extern.name!r} is ambiguous: by {symbols.where}, it is at {found}")
    if addresses:
        return Address(addresses.pop())
    if extern.is_weak:
        return None
    raise PlanError(
        f"extern {extern.name!r} is not in {symbols.where}, which has variables only with CONFIG_KALLSYMS_ALL, and a "
        f"module's symbols only while it is loaded{suggestion(symbols.near(extern.name)) or '.'} Declare it __weak to "
        "have a null pointer then"
    )


def _typed(spec: ObjectSpec, extern: KernelSymbol, facts: Facts) -> Found | None:
    kind: type[Func | Var] = Func if extern.is_function else Var
    name = essential_name(extern.name) if extern.is_function else extern.name
    what = "function" if extern.is_function else "variable"
    try:
        found = _find(name, kind, facts)
    except PureBpfError as error:
        raise PlanError(
            f"extern {extern.name!r} is a {what} of the kernel, and the types of Linux {facts.release} cannot be had: "
            f"{error}"
        ) from error
    if found is None:
        if extern.is_weak:
            return None
        modules = f" or in the BTF of its {len(facts.modules)} modules" if facts.modules else ""
        why = "" if extern.is_function else "; of variables, it describes only those that each CPU has for itself"
        near = suggestion(nearest(name, facts.names(kind))) or "."
        raise PlanError(
            f"extern {extern.name!r}: there is no {what} {name!r} in {facts.btf.where} of Linux "
            f"{facts.release}{modules}{why}{near} Declare it __weak to test for it with bpf_ksym_exists()"
        )
    declared = found.btf.type(found.type_id)
    assert spec.btf is not None and isinstance(declared, kind)
    if types_compatible(spec.btf, extern.type_id, found.btf, found.btf.resolve(declared.type_id).id):
        return found
    if extern.is_weak and extern.is_function:
        return None
    wanted, there = type_text(spec.btf, extern.type_id), type_text(found.btf, declared.type_id)
    hint = ". What is only declared is compatible with nothing: give it a body" if DECLARED_ONLY in wanted else ""
    raise PlanError(f"extern {extern.name!r} is declared as {wanted}, and in {found.btf.where} it is {there}{hint}")


def _find(name: str, kind: type[Func | Var], facts: Facts) -> Found | None:
    """A function or variable of the kernel, or else of a module."""
    ids = facts.btf.find(name, kind)
    if ids:
        return Found(ids[0], facts.btf)
    for module in facts.modules:
        ids = module.btf.find(name, kind)
        if ids:
            return Found(ids[0], module.btf, module)
    return None
