"""Externs: variables and functions that an object declares, and leaves to the loader and the kernel.

There are two kinds, told apart by the section that the declaration names:

- ``extern int CONFIG_HZ __kconfig;`` in ``.kconfig`` is a line of the kernel's configuration.  The loader reads it and
  puts the value into an array map of its own.  Where in the map's value each variable stands is for the loader to
  decide: by falling alignment, then by size and name.
- ``extern const int bpf_prog_active __ksym;`` in ``.ksyms`` is a variable or a function of the kernel.  One that is
  declared as ``void`` is known by its address only, others by their type in the kernel's BTF.

In ELF they are undefined symbols; what they are stands in the BTF, where clang leaves sizes and offsets 0 and marks
them as extern.  The kernel takes no BTF with extern variables in a section.  So it is rewritten, as libbpf does it: a
variable in ``.kconfig`` becomes an ordinary one, and one in ``.ksyms`` an ``int``, one after the other; a function,
which cannot stand in a section, has its place taken by a variable ``dummy_ksym``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from purebpf.btf.edit import BtfEditor
from purebpf.btf.reader import Btf
from purebpf.btf.types import Array, BtfKind, Datasec, Enum, Enum64, Func, FuncProto, Int, Var
from purebpf.errors import ObjectFormatError
from purebpf.obj.elf import MAX_NOBITS_SIZE, ElfObject, Symbol

KCONFIG, KSYMS = ".kconfig", ".ksyms"

_TYPE_WORDS = 3  # struct btf_type; what a kind adds comes after
_GLOBAL_ALLOCATED = 1  # BTF_VAR_GLOBAL_ALLOCATED; for functions, 1 is BTF_FUNC_GLOBAL
_EXTERN = 2  # BTF_VAR_GLOBAL_EXTERN, BTF_FUNC_EXTERN
_LINKAGE_OF_FUNCTION = 0xFFFF  # where in the info word
_DUMMY = "dummy_ksym"
_INT_SIZE = 4

ValueKind = Literal["bool", "char", "int", "tristate", "string"]


class KconfigExtern(NamedTuple):
    """A value of the kernel's configuration: ``size`` bytes at ``offset`` of the map ``.kconfig``.

    ``type_id`` is its type in the object's BTF.  ``kind`` says what values it takes; a "char" takes y, n and m, and
    also numbers.
    """

    name: str
    is_weak: bool
    type_id: int
    kind: ValueKind
    is_signed: bool
    size: int
    offset: int = 0


class KernelSymbol(NamedTuple):
    """A variable or a function of the kernel.

    ``type_id`` is the type that it is declared with, behind typedefs and qualifiers; 0, void, if only the address of
    the symbol is of interest.
    """

    name: str
    is_weak: bool
    type_id: int
    is_function: bool


Extern: TypeAlias = KconfigExtern | KernelSymbol
"""What the object leaves open.  One that ``is_weak`` may be missing: it is then zero, or a null pointer."""


def is_extern(symbol: Symbol) -> bool:
    """Whether the symbol is declared and not defined."""
    return symbol.undefined and symbol.type == "STT_NOTYPE" and symbol.binding in ("STB_GLOBAL", "STB_WEAK")


def collect(elf: ElfObject, btf: Btf | None) -> tuple[dict[str, Extern], Btf | None]:
    """The externs of an object by name, in libbpf's order, and the BTF as the kernel takes it."""
    symbols = [symbol for symbol in elf.symbols if is_extern(symbol) and symbol.name]
    if btf is None:
        if symbols:
            raise ObjectFormatError(
                "is declared and not defined, and there is no .BTF to say what it is; compile with -g",
                where=_at(symbols[0]),
            )
        return {}, None
    if not symbols and not btf.find(KSYMS, Datasec):
        return {}, btf
    types = [btf.type(id) for id in range(1, len(btf))]
    declared: dict[str, Var | Func] = {}
    sections: dict[str, Datasec] = {}
    section_of: dict[int, Datasec] = {}
    for kind in types:
        if isinstance(kind, (Var, Func)):
            declared.setdefault(kind.name, kind)
        elif isinstance(kind, Datasec):
            sections.setdefault(kind.name, kind)
            for place in kind.variables:
                section_of.setdefault(place.type_id, kind)
    found: list[Extern] = []
    for symbol in symbols:
        declaration, section = _declaration(symbol, declared, section_of)
        if sections[section.name] is not section:
            raise ObjectFormatError(f"stands in the second section {section.name!r} of .BTF", where=_at(symbol))
        found.append(_extern(symbol, declaration, section, btf))
    externs = _in_order(found, btf)
    if len(externs) < len(symbols):
        raise ObjectFormatError("there are two externs of the same name", where="symbol table")

    edit = BtfEditor(btf)
    integer = next((kind.id for kind in types if isinstance(kind, Int) and kind.bits == 32), 0)
    dummy = 0
    if KSYMS in sections and any(isinstance(btf.type(place.type_id), Func) for place in sections[KSYMS].variables):
        dummy = edit.add_type(BtfKind.BTF_KIND_VAR, edit.add_string(_DUMMY), integer, _GLOBAL_ALLOCATED)
    if any(isinstance(extern, KernelSymbol) for extern in found):
        _rewrite_ksyms(edit, btf, sections[KSYMS], externs, dummy, integer)
    if any(isinstance(extern, KconfigExtern) for extern in found):
        _rewrite_kconfig(edit, btf, sections[KCONFIG], externs)
    return externs, edit.to_btf()


def kconfig_size(externs: Iterable[Extern]) -> int:
    """Bytes of the ``.kconfig`` map's value; 0 if there is nothing for it."""
    return max((extern.offset + extern.size for extern in externs if isinstance(extern, KconfigExtern)), default=0)


def _declaration(
    symbol: Symbol, declared: Mapping[str, Var | Func], section_of: Mapping[int, Datasec]
) -> tuple[Var | Func, Datasec]:
    declaration = declared.get(symbol.name)
    if declaration is None:
        raise ObjectFormatError("is declared and not defined, and .BTF does not say what it is", where=_at(symbol))
    if declaration.linkage != _EXTERN:
        raise ObjectFormatError("is undefined in the symbol table, and defined in .BTF", where=_at(symbol))
    section = section_of.get(declaration.id)
    if section is None or section.name not in (KCONFIG, KSYMS):
        where = f"in section {section.name!r}" if section else "without a section"
        raise ObjectFormatError(
            f"is declared {where}; mark it __ksym if it is the kernel's, __kconfig if its configuration, or define it",
            where=_at(symbol),
        )
    return declaration, section


def _extern(symbol: Symbol, declaration: Var | Func, section: Datasec, btf: Btf) -> Extern:
    is_weak = symbol.binding == "STB_WEAK"
    if section.name == KSYMS:
        type_id = btf.resolve(declaration.type_id).id
        return KernelSymbol(symbol.name, is_weak, type_id, isinstance(declaration, Func))
    if isinstance(declaration, Func):
        raise ObjectFormatError("is a function; only variables can be __kconfig", where=_at(symbol))
    kind, is_signed = _value_kind(btf, declaration.type_id)
    if kind is None:
        raise ObjectFormatError(
            "has a type that no value of a kernel configuration has; take bool, char, an integer of up to 8 bytes, "
            "enum libbpf_tristate, or an array of char",
            where=_at(symbol),
        )
    size = btf.size_of(declaration.type_id)
    return KconfigExtern(symbol.name, is_weak, declaration.type_id, kind, is_signed, size)


def _value_kind(btf: Btf, type_id: int) -> tuple[ValueKind | None, bool]:
    """Which values a type takes, and whether it is a signed integer."""
    match btf.resolve(type_id):
        case Int(is_bool=True, size=size):
            return ("bool" if size == 1 else None), False
        case Int(size=1, is_signed=is_signed):
            return "char", is_signed
        case Int(size=2 | 4 | 8, is_signed=is_signed):
            return "int", is_signed
        case Enum(size=4, name="libbpf_tristate") | Enum64(name="libbpf_tristate"):
            return "tristate", False
        case Array(type_id=element, nelems=count) if count and not isinstance(btf.resolve(element), Array):
            return ("string" if _value_kind(btf, element)[0] == "char" else None), False
    return None, False


def _in_order(found: Iterable[Extern], btf: Btf) -> dict[str, Extern]:
    """By name: values of the configuration, which get their offsets here, then the kernel's symbols."""
    values = [extern for extern in found if isinstance(extern, KconfigExtern)]
    symbols = [extern for extern in found if not isinstance(extern, KconfigExtern)]
    aligns = {value.name: btf.align_of(value.type_id) for value in values}
    values.sort(key=lambda value: (-aligns[value.name], value.size, value.name.encode()))
    symbols.sort(key=lambda symbol: symbol.name.encode())
    end = 0
    for index, value in enumerate(values):
        align = aligns[value.name]
        values[index] = value._replace(offset=-(-end // align) * align)
        end = values[index].offset + value.size
        if end > MAX_NOBITS_SIZE:
            raise ObjectFormatError(
                f"{end} bytes; objects with more than {MAX_NOBITS_SIZE >> 20} MiB of such are refused",
                where=f"section {KCONFIG!r}, extern {value.name!r}",
            )
    in_order: list[Extern] = [*values, *symbols]
    return {extern.name: extern for extern in in_order}


def _rewrite_ksyms(
    edit: BtfEditor, btf: Btf, section: Datasec, externs: Mapping[str, Extern], dummy: int, integer: int
) -> None:
    words = edit.words
    place = edit.position(section.id) + _TYPE_WORDS
    for index, variable in enumerate(section.variables):
        declaration = _declared_extern(btf, section, variable.type_id, externs)
        at = edit.position(declaration.id)
        if isinstance(declaration, Func):
            _name_parameters(edit, btf, declaration, dummy)
            words[at + 1] = words[at + 1] & ~_LINKAGE_OF_FUNCTION | _GLOBAL_ALLOCATED
            words[place] = dummy
        else:
            words[at + 2] = integer
            words[at + _TYPE_WORDS] = _GLOBAL_ALLOCATED
        words[place + 1] = _INT_SIZE * index
        words[place + 2] = _INT_SIZE
        place += 3
    words[edit.position(section.id) + 2] = _INT_SIZE * len(section.variables)


def _name_parameters(edit: BtfEditor, btf: Btf, function: Func, dummy: int) -> None:
    """The kernel wants the parameters of functions to have names, and declarations may leave them out."""
    prototype = btf.type(function.type_id)
    assert isinstance(prototype, FuncProto)
    first = edit.position(prototype.id) + _TYPE_WORDS
    for index, parameter in enumerate(prototype.params):
        if parameter.type_id and not edit.words[first + 2 * index]:
            edit.words[first + 2 * index] = edit.words[edit.position(dummy)]


def _rewrite_kconfig(edit: BtfEditor, btf: Btf, section: Datasec, externs: Mapping[str, Extern]) -> None:
    words = edit.words
    place = edit.position(section.id) + _TYPE_WORDS
    for variable in section.variables:
        declaration = _declared_extern(btf, section, variable.type_id, externs)
        extern = externs[declaration.name]
        assert isinstance(extern, KconfigExtern) and isinstance(declaration, Var)
        words[edit.position(declaration.id) + _TYPE_WORDS] = _GLOBAL_ALLOCATED
        words[place + 1] = extern.offset
        place += 3
    words[edit.position(section.id) + 2] = kconfig_size(externs.values())


def _declared_extern(btf: Btf, section: Datasec, type_id: int, externs: Mapping[str, Extern]) -> Var | Func:
    """What stands in a section of externs, which must have a symbol of its name."""
    declaration = btf.type(type_id)
    extern = externs.get(declaration.name)
    if section.name == KSYMS and isinstance(extern, KernelSymbol) and isinstance(declaration, (Var, Func)):
        return declaration
    if section.name == KCONFIG and isinstance(extern, KconfigExtern) and isinstance(declaration, Var):
        return declaration
    raise ObjectFormatError(
        f"lists type {type_id}, {declaration.name!r}, for which there is no undefined symbol",
        where=f".BTF type {section.id} (DATASEC {section.name!r})",
    )


def _at(symbol: Symbol) -> str:
    return f"symbol {symbol.number}, extern {symbol.name!r}"
