"""Print the types of a BTF as a C header, so that clang gives each the layout that it had in its source.

``c_header`` makes the ``vmlinux.h`` that BPF programs include instead of the kernel's own headers.  Three things have
to be found out, because BTF does not say them:

**The order.**  C wants a type declared before it is mentioned, and complete before it is embedded.  So each definition
(struct, union, enum, typedef) is printed after those that it needs: the typedefs and enums in its text, and the structs
that it embeds.  A struct that is only pointed at needs no more than a forward declaration, which is why linked lists
and other loops can be printed at all.  What has no name is printed inside the type that mentions it.

**The layout.**  BTF has offsets and sizes, but neither ``packed`` nor ``aligned`` nor unnamed bit fields.  `_arrange`
places the members as the compiler would.  Where that falls short of an offset, unnamed bit fields fill the gap; where
it goes beyond an offset, the struct has been packed, and is printed so.

**The names.**  Types that come from several source files may share a name.  The first one keeps it, the next gets
``___2`` and so on, which CO-RE takes for a flavour of the same name.

Sizes and alignments are those of ``clang -target bpf``.  A basic type that this target does not have, or has with
another size (``long double``), becomes one of equal size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from purebpf.btf.reader import Btf
from purebpf.btf.types import (
    Array,
    BtfType,
    Composite,
    Const,
    Enum,
    Enum64,
    Enumeration,
    Float,
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
    Void,
    Volatile,
)
from purebpf.errors import ObjectFormatError

_BEGIN = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif
"""
_END = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""

# How compilers spell the integer types in their debug information, and the size of each; 0 is that of a pointer.
_INTEGERS = {
    "_Bool": 1,
    "char": 1,
    "signed char": 1,
    "unsigned char": 1,
    "short": 2,
    "short int": 2,
    "unsigned short": 2,
    "short unsigned int": 2,
    "int": 4,
    "unsigned int": 4,
    "long": 0,
    "long int": 0,
    "unsigned long": 0,
    "long unsigned int": 0,
    "long long": 8,
    "long long int": 8,
    "unsigned long long": 8,
    "long long unsigned int": 8,
    "__int128": 16,
    "unsigned __int128": 16,
    "__int128 unsigned": 16,
}
_INTEGER_OF_SIZE = {1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128"}
_FLOAT_OF_SIZE = {4: "float", 8: "double"}
_ENUM_MODES = {1: "QI", 2: "HI", 4: "SI", 8: "DI"}
_KEYWORD = re.compile(
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|"
    "restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while|_Alignas|"
    "_Alignof|_Atomic|_Bool|_Complex|_Generic|_Imaginary|_Noreturn|_Static_assert|_Thread_local|asm|typeof"
)
_ATTRIBUTE = re.compile(r"\w+(\([\w ,]*\))?")

_MAX_DEPTH = 64  # of pointers, arrays, functions and unnamed structs inside one another
_MAX_TEXT = 1 << 27  # characters; the header of a kernel has 3 million
_MAX_PADDING = 16 * 64  # bits; a wider gap is filled by an array


def c_header(btf: Btf) -> str:
    """All types of the BTF, its base's included, as a C header for ``clang -target bpf``.

    Variables and functions are left out.  Raises ObjectFormatError for what C cannot express: a struct that contains
    itself, members that overlap, arrays of functions.
    """
    return _Printer(btf).header()


class _Declarator(NamedTuple):
    """A type as C declares it: the text before the name and the text after it, as ``int (*`` and ``)[3]``.

    ``kind`` is what C's grammar has to know of it: Array, FuncProto or Ptr; BtfType is all else.
    """

    before: str
    after: str = ""
    kind: type[BtfType] = BtfType

    def declare(self, name: str) -> str:
        return (_append(self.before, name) if name else self.before) + self.after

    def pointer(self) -> _Declarator:
        if self.kind in (Array, FuncProto):
            return _Declarator(_append(self.before, "(*"), ")" + self.after, Ptr)
        return _Declarator(_append(self.before, "*"), self.after, Ptr)

    def qualified(self, qualifier: str) -> _Declarator:
        """Qualifiers stand behind the asterisk of a pointer, else in front; arrays and functions have none.

        GCC describes functions that do not return as volatile, and an array of constants as a constant array of them.
        """
        if self.kind in (Array, FuncProto):
            return self
        before = _append(self.before, qualifier) if self.kind is Ptr else f"{qualifier} {self.before}"
        return self._replace(before=before)


def _append(text: str, word: str) -> str:
    return text + word if text.endswith("*") else f"{text} {word}"


class _Field(NamedTuple):
    """A member in its struct's layout; all numbers are bits.  ``unit`` is the size of a bit field's type, else 0."""

    start: int
    width: int
    align: int
    unit: int

    def natural_start(self, end: int, packed: bool) -> int:
        """Where the compiler places this member if the one before it ends here (System V ABI, "Bit-Fields")."""
        if self.unit and (packed or end % self.align + self.width <= self.unit):
            return end
        return _round_up(end, 8 if packed else self.align)


class _Layout(NamedTuple):
    """How a struct or union is written so that the compiler arrives at the layout that it has.

    ``padding``: bits to be filled before each field, and after the last one.  ``align``: bits.
    """

    fields: list[_Field]
    packed: bool
    align: int
    padding: list[int]


class _Printer:
    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.out: list[str] = []
        self.characters = 0  # made so far
        self.begun: set[int] = set()  # definitions that are to be printed as soon as those that they need are
        self.done: set[int] = set()  # definitions that are printed
        self.declared: set[int] = set()  # structs and unions that can be mentioned
        self.declarators: dict[int, _Declarator] = {}
        self.layouts: dict[int, _Layout] = {}
        self.member_names: dict[int, list[str]] = {}
        self.extents: dict[int, tuple[int, int]] = {}
        self.unnamed_enums: set[int] = set()  # that are printed, once or several times
        self.unnamed_enum_count = 0
        self.names: dict[int, str] = {}  # of structs, unions, enums and typedefs, as printed
        # Names in use, and how many have wanted each.  Typedefs and enumerators share a name space.
        self.tags: dict[str, int] = {}
        self.identifiers: dict[str, int] = {}
        self.first_tags: dict[tuple[str, str], str] = {}
        self.owned_tags: set[str] = set()
        self.fillers = 0

    def header(self) -> str:
        for type_id in self.btf.ids(Struct, Union, Enum, Enum64, Fwd, Typedef):
            found = self.btf.type(type_id)
            if isinstance(found, Fwd):
                self._declarator(type_id, 0)
            elif found.name and not _is_builtin(found) and not _is_empty_enum(found):
                self._define(type_id)
        for type_id in self.btf.ids(Enum, Enum64):
            if type_id not in self.unnamed_enums:
                found = self.btf.type(type_id)
                if isinstance(found, Enumeration) and found.values and not found.name:  # it declares constants
                    self._put(self._enum(found))
        return "\n".join([_BEGIN, *self.out, _END])

    def _put(self, text: str) -> None:
        self._count(text)
        self.out.append(text + ";\n")

    # -- the order -------------------------------------------------------------------------------------------

    def _define(self, root: int) -> None:
        """Print a definition after all those that it needs.  Such chains are long: they are kept on a list."""
        waiting = [root]
        while waiting:
            type_id = waiting[-1]
            if type_id not in self.begun:
                self.begun.add(type_id)
                needed = [id for id in self._needs(type_id) if id not in self.done]
                if not self.begun.isdisjoint(needed):
                    raise self.btf.error("a type that contains itself, or is defined by itself", type_id=type_id)
                waiting.extend(reversed(needed))
                continue
            waiting.pop()
            if type_id not in self.done:
                self._put(self._definition(self.btf.type(type_id)))
                self.done.add(type_id)

    def _needs(self, type_id: int) -> list[int]:
        """The definitions that have to stand before this one."""
        needs: dict[int, None] = {}  # an ordered set
        found = self.btf.type(type_id)
        if isinstance(found, Composite):
            mentions = [(member.type_id, True) for member in reversed(found.members)]
        else:
            mentions = [(found.type_id, False)] if isinstance(found, Typedef) else []
        # What the text mentions, and whether it has to be complete there.
        seen: set[tuple[int, bool]] = set()
        while mentions:
            mention = mentions.pop()
            if mention in seen:
                continue
            seen.add(mention)
            type_id, complete = mention
            found = self.btf.type(type_id)
            match found:
                case Ptr():
                    mentions.append((found.type_id, False))
                case Typedef() if not _is_builtin(found):
                    needs[type_id] = None
                    if complete:
                        inner = self.btf.innermost(type_id)
                        if isinstance(inner, Composite) and inner.name:
                            needs[inner.id] = None
                case Composite() if not found.name:
                    mentions += [(member.type_id, True) for member in reversed(found.members)]
                case Composite() if complete:
                    needs[type_id] = None
                case Enumeration() if found.name and found.values:
                    needs[type_id] = None
                case Array():  # C wants complete elements even in a pointer to an array
                    mentions.append((found.type_id, True))
                case FuncProto():
                    mentions += [(param.type_id, False) for param in reversed(found.params)]
                    mentions.append((found.type_id, False))
                case Typedef() | Const() | Volatile() | Restrict() | TypeTag():
                    mentions.append((found.type_id, complete))
        return list(needs)

    # -- names -----------------------------------------------------------------------------------------------

    def _tag(self, found: BtfType) -> str:
        """``struct NAME``.  A struct that is only declared (Fwd) is the first struct of that name, if there is one."""
        keyword = _keyword(found)
        if found.id not in self.names:
            name = _c_name(found.name)
            first = self.first_tags.get((keyword, name))
            if first is not None and (isinstance(found, Fwd) or first not in self.owned_tags):
                tag = first
            else:
                tag = _new_name(name, self.tags)
                self.first_tags.setdefault((keyword, name), tag)
            if not isinstance(found, Fwd):
                self.owned_tags.add(tag)
            self.names[found.id] = tag
        return f"{keyword} {self.names[found.id]}"

    def _filler_name(self) -> str:
        self.fillers += 1
        return f"__padding{self.fillers}"

    # -- definitions and declarations ------------------------------------------------------------------------

    def _definition(self, found: BtfType) -> str:
        if isinstance(found, Composite):
            self.declared.add(found.id)
            return f"{self._tag(found)} {self._body(found, 0)}"
        if isinstance(found, Enumeration):
            return self._enum(found)
        assert isinstance(found, Typedef)
        target = self._declarator(found.type_id, 0)
        if found.type_id == 0 and found.name == "__gnuc_va_list":  # an error of old GCC
            target = _Declarator("__builtin_va_list")
        name = self.names[found.id] = _new_name(_c_name(found.name), self.identifiers)
        return f"typedef {target.declare(name)}"

    def _declarator(self, type_id: int, depth: int) -> _Declarator:
        known = self.declarators.get(type_id)
        if known is not None:
            return known
        if depth > _MAX_DEPTH:
            raise self._too_deep(type_id)
        before = self.unnamed_enum_count
        made = self._make_declarator(self.btf.type(type_id), depth + 1)
        self._count(made.before + made.after)
        if self.unnamed_enum_count == before:  # else it declares constants, which has to be done anew each time
            self.declarators[type_id] = made
        return made

    def _make_declarator(self, found: BtfType, depth: int) -> _Declarator:
        match found:
            case Ptr():
                return self._declarator(found.type_id, depth).pointer()
            case Typedef():
                if _is_builtin(found):
                    return self._declarator(found.type_id, depth)
                return _Declarator(self.names[found.id])
            case Fwd() | Composite() if found.name:
                if found.id not in self.declared:
                    self.declared.add(found.id)
                    self._put(self._tag(found))
                return _Declarator(self._tag(found))
            case Composite():
                return _Declarator(f"{_keyword(found)} {self._body(found, depth)}")
            case Const():
                return self._declarator(found.type_id, depth).qualified("const")
            case Volatile():
                return self._declarator(found.type_id, depth).qualified("volatile")
            case Restrict():
                target = self._declarator(found.type_id, depth)
                return target.qualified("restrict") if target.kind is Ptr and not target.after else target
            case Array():
                self._extent(found.type_id, depth)  # raises for what cannot be in an array
                element = self._declarator(found.type_id, depth)
                return _Declarator(element.before, f"[{found.nelems}]{element.after}", Array)
            case FuncProto():
                result = self._declarator(found.type_id, depth)
                if result.kind in (Array, FuncProto):
                    raise self.btf.error("a function that returns an array or a function", type_id=found.id)
                return _Declarator(result.before, f"({self._parameters(found, depth)}){result.after}", FuncProto)
            case Int() | Float():
                return _Declarator(self._basic(found))
            case Enumeration():
                if not found.values:
                    return _Declarator(_integer_of(found.size, found.is_signed) or _bytes_of(found.size))
                return _Declarator(self._tag(found) if found.name else self._enum(found))
            case TypeTag():
                return _tagged(self._declarator(found.type_id, depth), found)
            case Void():
                return _Declarator("void")
        raise self.btf.error(f"{found.kind.name} {found.name} is used as the type of something", type_id=found.id)

    def _parameters(self, found: FuncProto, depth: int) -> str:
        params = found.params
        if len(params) == 0 or (len(params) == 1 and params[0].type_id == 0):
            return "void"
        variadic = params[-1] == Param("", 0)
        texts = []
        for param in params[:-1] if variadic else params:
            if param.type_id == 0:
                raise self.btf.error("a function with a void parameter among others", type_id=found.id)
            name = _c_name(param.name) if param.name else ""
            texts.append(self._declarator(param.type_id, depth).declare(name))
        return ", ".join([*texts, "..."] if variadic else texts)

    def _basic(self, found: Int | Float) -> str:
        """The type's own name, if clang knows it and means the same by it; else a type of equal size."""
        if isinstance(found, Float):
            return _FLOAT_OF_SIZE.get(found.size) or _bytes_of(found.size)
        size = _INTEGERS.get(found.name)
        if size is not None and found.size == (size or self.btf.pointer_size):
            return found.name
        if found.is_bool and found.size == 1:
            return "_Bool"
        return _integer_of(found.size, found.is_signed) or _bytes_of(found.size)

    def _enum(self, found: Enumeration) -> str:
        if not found.name:
            self.unnamed_enums.add(found.id)
            self.unnamed_enum_count += 1
        if found.size not in _ENUM_MODES:
            raise self.btf.error(f"an enum of {found.size} bytes", type_id=found.id)
        values = [value.value for value in found.values]
        if found.size < 4:  # before 6.0 BTF did not tell the sign: -1 stands there as 0xffffffff
            values = [value - (1 << 32) if value >> 8 * found.size > 0 else value for value in values]
        lines = [
            f"{_new_name(_c_name(constant.name), self.identifiers)} = {_literal(value)},"
            for constant, value in zip(found.values, values, strict=True)
        ]
        attribute = _enum_attribute(found.size, min(values), max(values))
        text = f"{self._tag(found) if found.name else 'enum'} {_block(lines)}{attribute}"
        self._count(text)
        return text

    # -- structs and unions ----------------------------------------------------------------------------------

    def _body(self, found: Composite, depth: int) -> str:
        """From brace to brace, and the attribute after them."""
        if depth > _MAX_DEPTH:
            raise self._too_deep(found.id)
        layout = self._layout(found, depth)
        lines: list[str] = []
        end = 0
        for member, field, padding in zip(found.members, layout.fields, layout.padding, strict=False):
            if padding:
                lines += self._filling(end, field.start)
            lines.append(self._member(member, field, depth))
            end = field.start + field.width
        if layout.padding[-1] and isinstance(found, Struct):
            lines += self._filling(end, 8 * found.size)
        elif layout.padding[-1]:
            lines.append(f"struct {_block(self._filling(0, 8 * found.size))};")
        text = _block(lines) + (" __attribute__((packed))" if layout.packed else "")
        self._count(text)
        return text

    def _member(self, member: Member, field: _Field, depth: int) -> str:
        name = _c_name(member.name) if member.name else ""
        if field.unit:
            return f"{self._declarator(member.type_id, depth).declare(name)}: {field.width};"
        if not name:
            found = self.btf.resolve(member.type_id)
            if isinstance(found, Composite):  # one with a name is written out too: else it needs -fms-extensions
                return f"{_keyword(found)} {self._body(found, depth + 1)};"
            name = self._filler_name()
        return f"{self._declarator(member.type_id, depth).declare(name)};"

    def _filling(self, start: int, end: int) -> Iterator[str]:
        """Members without a name for these bits.  None crosses a boundary of its type: each stays where it is put."""
        sizes = {8: "char", 16: "short", 32: "int"}
        if self.btf.pointer_size == 8:
            sizes[64] = "long"
        while start < end:
            if end - start > _MAX_PADDING and start % 8 == 0:
                count = (end - start) // 8
                yield f"unsigned char {self._filler_name()}[{count}];"
                start += 8 * count
                continue
            width = min(end - start, max(sizes) - start % max(sizes))
            yield next(f"{name}: {width};" for size, name in sizes.items() if start % size + width <= size)
            start += width

    def _layout(self, found: Composite, depth: int) -> _Layout:
        known = self.layouts.get(found.id)
        if known is None:
            if depth > _MAX_DEPTH:
                raise self._too_deep(found.id)
            fields = [self._field(member, found, depth + 1) for member in found.members]
            arrange = _arrange if isinstance(found, Struct) else _arrange_union
            known = arrange(fields, 8 * found.size, packed=False) or arrange(fields, 8 * found.size, packed=True)
            if known is None:
                message = f"{_keyword(found)} {found.name}: C cannot place its members there, in {found.size} bytes"
                raise self.btf.error(message, type_id=found.id)
            self.layouts[found.id] = known
            names = self.member_names[found.id] = self._member_names(found)
            if len(set(names)) < len(names):
                twice = next(name for name, count in Counter(names).items() if count > 1)
                raise self.btf.error(f"{_keyword(found)} {found.name} has two members {twice!r}", type_id=found.id)
        return known

    def _member_names(self, found: Composite) -> list[str]:
        """Among them are those of the members of structs without a name, as in C."""
        names = []
        for member in found.members:
            if member.name:
                names.append(_c_name(member.name))
            else:
                names += self.member_names.get(self.btf.resolve(member.type_id).id, [])
        return names

    def _field(self, member: Member, parent: Composite, depth: int) -> _Field:
        width, align = self._extent(member.type_id, depth)
        start, bits = member.bit_offset, member.bitfield_size
        found = self.btf.resolve(member.type_id)
        if not bits and isinstance(found, Int) and (found.bits, found.bit_offset) != (width, 0):
            start, bits = start + found.bit_offset, found.bits  # how BTF described bit fields before 5.0
        if not bits:
            return _Field(start, width, align, 0)
        is_integer = isinstance(found, (Int, Enumeration)) and found.size in _INTEGER_OF_SIZE
        if not is_integer or bits > (1 if isinstance(found, Int) and self._basic(found) == "_Bool" else width):
            raise self.btf.error(f"member {member.name!r}: its type has no bit field of {bits} bits", type_id=parent.id)
        return _Field(start, bits, align, width)

    def _extent(self, type_id: int, depth: int) -> tuple[int, int]:
        """Size and alignment, in bits, of a type as it is printed."""
        known = self.extents.get(type_id)
        if known is None:
            found = self.btf.innermost(type_id)
            if isinstance(found, Composite):
                align = self._layout(found, depth).align
            elif isinstance(found, Ptr):
                align = 8 * self.btf.pointer_size
            else:
                sizes = _FLOAT_OF_SIZE if isinstance(found, Float) else _INTEGER_OF_SIZE
                size = self.btf.size_of(found.id)
                align = 8 * min(size, 16 if self.btf.pointer_size == 8 else 4) if size in sizes else 8
            known = self.extents[type_id] = 8 * self.btf.size_of(type_id), align
        return known

    # -- bounds ----------------------------------------------------------------------------------------------

    def _count(self, text: str) -> None:
        """Types without a name are printed wherever they are mentioned, which can make the text grow without bounds."""
        self.characters += len(text)
        if self.characters > _MAX_TEXT:
            raise self.btf.error(f"these types need more than {_MAX_TEXT >> 20} MiB of C")

    def _too_deep(self, type_id: int) -> ObjectFormatError:
        return self.btf.error("nested too deeply, or in a circle, to be written in C", type_id=type_id)


def _arrange(fields: list[_Field], size: int, *, packed: bool) -> _Layout | None:
    """How to write a struct with these fields; None if the compiler would not place them there."""
    end, align = 0, 8
    padding = []
    for field in fields:
        if field.natural_start(end, packed) == field.start:
            padding.append(0)
        elif end < field.start == field.natural_start(field.start, packed):
            padding.append(field.start - end)
        else:
            return None
        end = field.start + field.width
        align = align if packed else max(align, field.align)
    if end > size or size % align:
        return None
    padding.append(0 if _round_up(end, align) == size else size - end)
    return _Layout(fields, packed, align, padding)


def _arrange_union(fields: list[_Field], size: int, *, packed: bool) -> _Layout | None:
    align = 8 if packed else max([8, *(field.align for field in fields)])
    end = max((field.width for field in fields), default=0)
    if any(field.start for field in fields) or end > size or size % align:
        return None
    return _Layout(fields, packed, align, [0] * len(fields) + [0 if _round_up(end, align) == size else size])


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _is_builtin(found: BtfType) -> bool:
    """Every compiler has a ``va_list`` of its own; what this one was made of is written out instead."""
    return isinstance(found, Typedef) and found.name == "__builtin_va_list"


def _is_empty_enum(found: BtfType) -> bool:
    """Declared, but not defined.  C does not know such enums, and an integer takes the place of one."""
    return isinstance(found, Enumeration) and not found.values


def _keyword(found: BtfType) -> str:
    if isinstance(found, Enumeration):
        return "enum"
    return "union" if isinstance(found, Union) or (isinstance(found, Fwd) and found.is_union) else "struct"


def _integer_of(size: int, is_signed: bool) -> str:
    name = _INTEGER_OF_SIZE.get(size, "")
    return name and f"{'signed' if is_signed else 'unsigned'} {name}"


def _bytes_of(size: int) -> str:
    return f"struct {{ unsigned char bytes[{size}]; }}"


def _enum_attribute(size: int, low: int, high: int) -> str:
    """What gives an enum this size; clang takes int, or what is larger if a value needs it."""
    bits = max(1, high.bit_length() if low >= 0 else max((~low).bit_length(), high.bit_length()) + 1)
    if size == (4 if bits <= 32 else 8):
        return ""
    if size // 2 * 8 < bits <= size * 8:
        return " __attribute__((packed))"
    return f" __attribute__((mode({_ENUM_MODES[size]})))"


def _tagged(target: _Declarator, tag: TypeTag) -> _Declarator:
    if tag.attribute:
        attribute = tag.name if _ATTRIBUTE.fullmatch(tag.name) else ""
    else:
        text = tag.name.replace("\\", "\\\\").replace('"', '\\"')
        attribute = f'btf_type_tag("{text}")' if text.isprintable() else ""
    if not attribute or target.kind in (Array, FuncProto):
        return target
    return target._replace(before=_append(target.before, f"__attribute__(({attribute}))"))


def _c_name(name: str) -> str:
    """The name, or one like it that is valid in C; other languages have names that are not."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", name)
    return f"_{name}" if not name or name[0].isdigit() or _KEYWORD.fullmatch(name) else name


def _new_name(name: str, used: dict[str, int]) -> str:
    """The name if it is not in use, else with a number; notes that it is used now."""
    candidate = name
    while candidate in used:
        used[name] += 1
        candidate = f"{name}___{used[name]}"
    used[candidate] = 1
    return candidate


def _literal(value: int) -> str:
    if value >= 1 << 63:
        return f"{value}ULL"
    return f"{value}" if value > -(1 << 63) else f"{value + 1} - 1"


def _block(lines: Iterable[str]) -> str:
    text = "".join("\t" + line.replace("\n", "\n\t") + "\n" for line in lines)
    return f"{{\n{text}}}" if text else "{}"
