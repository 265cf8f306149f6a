"""CO-RE: fit a program's instructions to the types of the kernel that it is going to run on.

A program that reads ``task->real_parent`` was compiled against some declaration of ``struct task_struct``,
and the kernel it meets has another.  For every instruction whose value comes from such a declaration, clang
leaves a CO-RE relocation (``struct bpf_core_relo`` of <linux/bpf.h>): a type of the object's own BTF, the
*local* type; an access path from it; and the kind of fact wanted, such as a member's offset, its size, or
whether it exists.  Relocating finds the same thing in the kernel's BTF, the *target*, and writes the answer
into the instruction:

1. **Parse** the access path: ``0:2:1`` are the indices that the compiler walked through (pointer or array
   element, then member numbers).  Anonymous structs and unions drop out; named members and
   array indices stay.
2. **Find candidates**: the target's types of the same kind and the same name.  A *flavour*, ``___`` and what
   follows, is not part of the name, so that a program can declare several layouts of one kernel type.
3. **Match** the access against each candidate, by member names, through anonymous members wherever they are.
4. **Calculate** the wanted fact, once for the local type and once for each matching candidate.  Candidates
   must agree on the answer.
5. **Patch** the instruction, if it holds what the local type predicts.

A fact that the target does not have is no error: programs ask first whether a member exists, and the verifier
never sees the branch not taken.  So the instruction becomes an invalid one, *poison*, a call of the helper
function 195896080 (0xbad2310), which fails the program only if it can be reached.

The rules have grown with libbpf and are written down only in its code (relo_core.c).  They are followed here
to the byte; numbers are cut to 32 and 64 bits where C cuts them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from purebpf.abi.bpf import bpf_core_relo_kind
from purebpf.asm.instruction import (
    BPF_ALU,
    BPF_ALU64,
    BPF_B,
    BPF_CALL,
    BPF_CLASS_MASK,
    BPF_DW,
    BPF_H,
    BPF_JMP,
    BPF_K,
    BPF_LDX,
    BPF_MODE_MASK,
    BPF_SIZE_MASK,
    BPF_SRC_MASK,
    BPF_ST,
    BPF_STX,
    BPF_W,
    Instruction,
    decode,
    encode,
    imm64,
)
from purebpf.btf.ext import CoreRelo
from purebpf.btf.reader import Btf, essential_name
from purebpf.btf.types import (
    Array,
    BtfType,
    Composite,
    Enum,
    Enum64,
    Enumeration,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Ptr,
    Struct,
    Union,
    Var,
    Void,
)
from purebpf.errors import ObjectFormatError, PlanError
from purebpf.load.nearest import nearest, suggestion

POISON_FUNCTION = 195896080  # 0xbad2310, "bad relo"; the verifier says "invalid func unknown#195896080"

DECLARED_ONLY = "(declared only)"
"""What ``type_text`` says of a struct or union without a body."""

_INSN_SIZE = 8
_MAX_PATH = 64  # indices in one access path, the local one or the target's
_MAX_NESTING = 32  # pointers, arrays and functions followed when types are compared
_MAX_TEXT_DEPTH = 16  # of types that are shown in messages
_MAX_SHOWN = 12  # members that are shown there
_S16_MAX = 0x7FFF
_U32 = 0xFFFF_FFFF
_U64 = 0xFFFF_FFFF_FFFF_FFFF
_ACCESS_STR = re.compile(r"\d+(:\d+)*", re.ASCII)
_MEMORY_SIZES = {BPF_B: 1, BPF_H: 2, BPF_W: 4, BPF_DW: 8}


_Kind = bpf_core_relo_kind

_FACTS = {
    _Kind.BPF_CORE_FIELD_BYTE_OFFSET: "the offset of",
    _Kind.BPF_CORE_FIELD_BYTE_SIZE: "the size of",
    _Kind.BPF_CORE_FIELD_EXISTS: "the existence of",
    _Kind.BPF_CORE_FIELD_SIGNED: "the signedness of",
    _Kind.BPF_CORE_FIELD_LSHIFT_U64: "the left shift for",
    _Kind.BPF_CORE_FIELD_RSHIFT_U64: "the right shift for",
    _Kind.BPF_CORE_TYPE_ID_LOCAL: "the local type id of",
    _Kind.BPF_CORE_TYPE_ID_TARGET: "the type id of",
    _Kind.BPF_CORE_TYPE_EXISTS: "the existence of",
    _Kind.BPF_CORE_TYPE_SIZE: "the size of",
    _Kind.BPF_CORE_ENUMVAL_EXISTS: "the existence of",
    _Kind.BPF_CORE_ENUMVAL_VALUE: "the value of",
    _Kind.BPF_CORE_TYPE_MATCHES: "a match for",
}


def _is_field(kind: bpf_core_relo_kind) -> bool:
    return kind <= _Kind.BPF_CORE_FIELD_RSHIFT_U64


def _is_enumval(kind: bpf_core_relo_kind) -> bool:
    return kind in (_Kind.BPF_CORE_ENUMVAL_EXISTS, _Kind.BPF_CORE_ENUMVAL_VALUE)


class Candidate(NamedTuple):
    """A target type that a local type may stand for."""

    btf: Btf
    type_id: int


_Why = Callable[[], str]
"""A reason in words.  They take searches in the target's types, so they are made only for who reads them."""


class Poisoned:
    """An instruction that was made invalid, counted from the start of the program.

    ``str()`` says why: what CO-RE was to find there, and what the target has instead.
    """

    def __init__(self, insn_index: int, why: _Why) -> None:
        self.insn_index = insn_index
        self._why = why

    def __str__(self) -> str:
        try:
            return self._why()
        except ObjectFormatError as error:
            return str(error)


class CoreTarget:
    """The types that programs are fitted to: the kernel's, and its modules' where it has none of a name.

    ``modules`` are split BTFs on ``kernel``.  They are looked at only for a type that the kernel itself does
    not have, so one that reads them when it is iterated over costs nothing before.  Where a BTF file stands in for
    the running kernel's there are none.
    """

    def __init__(self, kernel: Btf, modules: Iterable[Btf] = ()) -> None:
        self.kernel = kernel
        self.modules = modules
        self._found: dict[tuple[str, type[BtfType]], list[Candidate]] = {}

    def candidates(self, local: BtfType) -> list[Candidate]:
        """The target types of the local type's kind and, flavours aside, name, in the order of their ids."""
        name = essential_name(local.name)
        kind = Enumeration if isinstance(local, Enumeration) else type(local)  # enum and enum64 are one kind
        if (name, kind) not in self._found:
            found = _named(self.kernel, name, kind)
            if not found:
                found = [candidate for module in self.modules for candidate in _named(module, name, kind)]
            self._found[name, kind] = found
        return self._found[name, kind]


def _named(btf: Btf, name: str, kind: type[BtfType]) -> list[Candidate]:
    return [Candidate(btf, id) for id in btf.find_flavors(name) if isinstance(btf.type(id), kind)]


class _Refused(Exception):  # noqa: N818 - an answer on its way to relocate(), which makes the error of it
    """This relocation cannot be applied, and libbpf would not load the object."""


def relocate(
    insns: bytearray,
    relos: Sequence[CoreRelo],
    *,
    local: Btf,
    target: CoreTarget,
    program: str,
    section_offset: int = 0,
    line_of: Callable[[int], str] | None = None,
    candidates: dict[int, list[Candidate]] | None = None,
) -> list[Poisoned]:
    """Apply CO-RE relocations to one program, in place; returns the instructions that became poison.

    ``insns`` are the program's own instructions in the byte order of the object, and ``local`` is its BTF.
    Of ``relos``, those of the program's ELF section, the ones outside of the program are passed over;
    ``section_offset`` is the byte at which the program begins there.  ``program`` and ``line_of``, which
    gives the source line of an instruction by its index in the program, are for messages.

    A candidate that does not match where another one does is not tried again for the same local type, in
    the whole object: ``candidates`` remembers those that are left, by local type id.  Pass the same dict,
    empty at first, for all programs of an object, in the order of its .BTF.ext.

    Raises PlanError where libbpf refuses the object, and then leaves ``insns`` as they were.
    """
    byteorder: Literal["little", "big"] = "little" if local.byteorder == "little" else "big"
    slots = decode(insns, byteorder, where=f"program {program!r}")
    narrowed = {} if candidates is None else candidates
    poisoned = []
    own = [relo for relo in relos if 0 <= relo.insn_off - section_offset < len(insns)]

    def line(relo: CoreRelo) -> str:
        return line_of((relo.insn_off - section_offset) // _INSN_SIZE) if line_of else ""

    def wanted(number: int) -> str:
        first = number
        while first and line(own[first - 1]) == line(own[number]) != "":
            first -= 1
        return _describe_relo(local, own[first:number], own[number])

    def absence(number: int, why: _Why) -> str:
        return f"CO-RE cannot provide {wanted(number)}: {why()}"

    for number, relo in enumerate(own):
        index = (relo.insn_off - section_offset) // _INSN_SIZE
        try:
            why = _patch(slots, index, _resolve(relo, local, target, narrowed))
        except (_Refused, ObjectFormatError) as error:
            place = f"program {program!r}, instruction {index}" + (f" ({line(relo)})" if line(relo) else "")
            raise PlanError(f"{place}: CO-RE cannot relocate {wanted(number)}: {error}") from error
        if why:
            poisoned.append(Poisoned(index, functools.partial(absence, number, why)))
    insns[:] = encode(slots, byteorder)
    return poisoned


# Access paths


class _Step(NamedTuple):
    """One turn of an access: a named member, or an array element, whose name is empty.

    ``type_id`` is the struct or union that has the member, and for an element the type of the element; of an
    enumerator it is the enum.
    """

    type_id: int
    number: int
    name: str


class _Access:
    """An access path in one BTF, and where it leads: ``bit_offset`` from the root and the type ``end_id``.

    Accesses of a whole type have no steps.
    """

    def __init__(self, btf: Btf, root_id: int, end_id: int, steps: list[_Step], bit_offset: int) -> None:
        self.btf = btf
        self.root_id = root_id
        self.end_id = end_id
        self.steps = steps
        self.bit_offset = bit_offset

    def cut(self, length: int) -> _Access:
        """Only the first steps, and still where all of them lead."""
        return _Access(self.btf, self.root_id, self.end_id, self.steps[:length], self.bit_offset)


def _parse(btf: Btf, relo: CoreRelo, kind: bpf_core_relo_kind) -> _Access:
    """Walk a local type along the relocation's access string."""
    text = relo.access_str
    if not _is_field(kind) and not _is_enumval(kind):
        if text != "0":
            raise _Refused(f"the access string of a whole type is '0', not {text!r}")
        return _Access(btf, relo.type_id, relo.type_id, [], 0)

    if not _ACCESS_STR.fullmatch(text):
        raise _Refused(f"{text!r} is no access string such as '0:1:2'")
    path = [int(index) for index in text.split(":")]
    if len(path) > _MAX_PATH:
        raise _Refused(f"the access string has {len(path)} indices; the most is {_MAX_PATH}")
    root = btf.resolve(relo.type_id)
    first = path[0]

    if _is_enumval(kind):
        if not isinstance(root, Enumeration) or len(path) > 1 or first >= len(root.values):
            raise _Refused(f"access string {text!r} names no value of {_describe(btf, relo.type_id)}")
        return _Access(btf, relo.type_id, root.id, [_Step(root.id, first, root.values[first].name)], 0)

    bit_offset = first * btf.size_of(root.id) * 8
    access = _Access(btf, relo.type_id, root.id, [_Step(root.id, first, "")], bit_offset)
    for index in path[1:]:
        inside = btf.resolve(access.end_id)
        if isinstance(inside, Composite) and index < len(inside.members):
            member = inside.members[index]
            access.bit_offset += member.bit_offset
            access.end_id = member.type_id
            if member.name:
                access.steps.append(_Step(inside.id, index, member.name))
        elif isinstance(inside, Array) and _has_element(btf, access.steps[-1], inside, index):
            access.end_id = btf.resolve(inside.type_id).id
            access.bit_offset += index * btf.size_of(access.end_id) * 8
            access.steps.append(_Step(access.end_id, index, ""))
        else:
            raise _Refused(f"index {index} of access string {text!r} is not in {_describe(btf, inside.id)}")
    access.bit_offset &= _U32
    return access


def _has_element(btf: Btf, holder: _Step, array: Array, index: int) -> bool:
    """Whether the array reaches that far; one of length 0 at the end of a struct has no end."""
    if index < array.nelems:
        return True
    composite = btf.type(holder.type_id)
    return (
        array.nelems == 0
        and bool(holder.name)
        and isinstance(composite, Composite)
        and holder.number == len(composite.members) - 1
    )


# Matching


def _match(local: _Access, kind: bpf_core_relo_kind, candidate: Candidate) -> _Access | None:
    """The same access in the target, starting at a candidate; None if it has no such thing."""
    btf, root_id = candidate
    if kind == _Kind.BPF_CORE_TYPE_MATCHES:
        same = _types_match(local.btf, local.root_id, btf, root_id)
        return _Access(btf, root_id, root_id, [], 0) if same else None
    if _is_enumval(kind):
        return _match_enumerator(local, candidate)
    if not _is_field(kind):
        same = _types_compatible(local.btf, local.root_id, btf, root_id)
        return _Access(btf, root_id, root_id, [], 0) if same else None

    target = _Access(btf, root_id, root_id, [], 0)
    depth = 0
    for position, step in enumerate(local.steps):
        if step.name:
            holder = local.btf.type(step.type_id)
            assert isinstance(holder, Composite)
            found = _find_member(local.btf, holder.members[step.number], btf, target.end_id, depth)
            if found is None:
                return None
            target.steps.append(found.step)
            target.end_id = found.member.type_id
            target.bit_offset += found.bit_offset
            depth = found.depth
        else:
            element = btf.resolve(target.end_id)
            if position > 0:  # the first index counts whole roots
                if not isinstance(element, Array):
                    return None
                if not _has_element(btf, target.steps[-1], element, step.number):
                    return None
                element = btf.resolve(element.type_id)
            depth = _deeper(depth)
            target.steps.append(_Step(element.id, step.number, ""))
            target.end_id = element.id
            target.bit_offset += step.number * btf.size_of(element.id) * 8
    target.bit_offset &= _U32
    return target


def _match_enumerator(local: _Access, candidate: Candidate) -> _Access | None:
    btf, root_id = candidate
    found = btf.resolve(root_id)
    name = essential_name(local.steps[0].name)
    if isinstance(found, Enumeration):
        for index, value in enumerate(found.values):
            if essential_name(value.name) == name:
                return _Access(btf, root_id, found.id, [_Step(found.id, index, value.name)], 0)
    return None


class _FoundMember(NamedTuple):
    step: _Step
    member: Member
    bit_offset: int  # from the struct where the search began
    depth: int  # of the path so far, anonymous members included


def _find_member(local: Btf, wanted: Member, btf: Btf, type_id: int, depth: int) -> _FoundMember | None:
    """The member of that name and a compatible type, in a struct or union or in its anonymous members."""
    composite = btf.resolve(type_id)
    if not isinstance(composite, Composite):
        return None
    for index, member in enumerate(composite.members):
        deeper = _deeper(depth)
        if not member.name:
            found = _find_member(local, wanted, btf, member.type_id, deeper)
            if found:
                return found._replace(bit_offset=found.bit_offset + member.bit_offset)
        elif member.name == wanted.name:
            if not _fields_compatible(local, wanted.type_id, btf, member.type_id):
                return None
            return _FoundMember(_Step(composite.id, index, member.name), member, member.bit_offset, deeper)
    return None


def _deeper(depth: int) -> int:
    if depth == _MAX_PATH:
        raise _Refused(f"the target nests more than {_MAX_PATH} structs, unions and arrays there")
    return depth + 1


def _fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether a member may have this type in place of the local one.

    It may be any struct or union for another, any integer, any pointer, an array of compatible elements, an
    enum of the same name or without one.
    """
    for _ in range(_MAX_NESTING):
        match local.resolve(local_id), target.resolve(target_id):
            case (Composite(), Composite()) | (Ptr(), Ptr()) | (Float(), Float()):
                return True
            case (Enumeration(name=a), Enumeration(name=b)) | (Fwd(name=a), Fwd(name=b)):
                return not a or not b or essential_name(a) == essential_name(b)
            case Int(bit_offset=a_offset), Int(bit_offset=b_offset):
                return a_offset == b_offset == 0
            case Array(type_id=local_id), Array(type_id=target_id):
                continue
            case _:
                return False
    raise _Refused(f"arrays nested more than {_MAX_NESTING} deep")


def types_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether two types count as the same one: that of an extern of the object and what the kernel has of its name."""
    try:
        return _types_compatible(local, local_id, target, target_id)
    except _Refused:
        return False


def _types_compatible(local: Btf, local_id: int, target: Btf, target_id: int, level: int = _MAX_NESTING) -> bool:
    """Whether two types count as the same one when a program asks for a type's id, existence or size.

    The names of the roots agree already.  Kinds must; names further inside, sizes and members do not matter.
    """
    for _ in range(_MAX_NESTING):
        match local.resolve(local_id), target.resolve(target_id):
            case (
                (Void(), Void())
                | (Struct(), Struct())
                | (Union(), Union())
                | (Enumeration(), Enumeration())
                | (Fwd(), Fwd())
            ):
                return True
            case Int(bit_offset=a_offset), Int(bit_offset=b_offset):
                return a_offset == b_offset == 0
            case (Ptr(type_id=local_id), Ptr(type_id=target_id)) | (
                Array(type_id=local_id),
                Array(type_id=target_id),
            ):
                continue
            case FuncProto(type_id=local_id, params=a_params), FuncProto(type_id=target_id, params=b_params):
                if len(a_params) != len(b_params):
                    return False
                for a, b in zip(a_params, b_params, strict=True):
                    if level <= 0:
                        raise _Refused(f"functions nested more than {_MAX_NESTING} deep")
                    if not _types_compatible(local, a.type_id, target, b.type_id, level - 1):
                        return False
                continue  # with the types that they return
            case _:
                return False
    raise _Refused(f"types nested more than {_MAX_NESTING} deep")


def _types_match(
    local: Btf,
    local_id: int,
    target: Btf,
    target_id: int,
    behind_pointer: bool = False,
    level: int = _MAX_NESTING,
) -> bool:
    """Whether the target has all that the local type declares: bpf_core_type_matches() of <bpf_core_read.h>.

    Members and enumerators are found by name (flavours aside), parameters by position, and types must match
    in turn.  Behind a pointer a struct's name is enough, and a mere declaration of it stands for the struct.
    """
    if level <= 0:
        raise _Refused(f"types nested more than {_MAX_NESTING} deep")
    for _ in range(_MAX_NESTING):
        a, b = local.resolve(local_id), target.resolve(target_id)
        if essential_name(a.name) != essential_name(b.name):
            return False
        match a, b:
            case Void(), Void():
                return True
            case Fwd(is_union=a_is_union), Fwd(is_union=b_is_union):
                return a_is_union == b_is_union
            case Fwd(is_union=is_union), Composite():
                return behind_pointer and is_union == isinstance(b, Union)
            case Composite(), Fwd(is_union=is_union):
                return behind_pointer and is_union == isinstance(a, Union)
            case (Struct(members=a_members), Struct(members=b_members)) | (
                Union(members=a_members),
                Union(members=b_members),
            ):
                return behind_pointer or _members_match(local, a_members, target, b_members, level - 1)
            case Enumeration(size=a_size, values=a_values), Enumeration(size=b_size, values=b_values):
                names = {essential_name(value.name) for value in b_values}
                return (
                    a_size == b_size
                    and len(a_values) <= len(b_values)
                    and all(essential_name(value.name) in names for value in a_values)
                )
            case Int(size=a_size, is_signed=a_signed), Int(size=b_size, is_signed=b_signed):
                return a_size == b_size and a_signed == b_signed
            case Ptr(type_id=local_id), Ptr(type_id=target_id):
                behind_pointer = True
            case Array(type_id=local_id, nelems=a_count), Array(type_id=target_id, nelems=b_count):
                if a_count != b_count:
                    return False
            case FuncProto(type_id=local_id, params=a_params), FuncProto(type_id=target_id, params=b_params):
                if len(a_params) != len(b_params):
                    return False
                for ours, theirs in zip(a_params, b_params, strict=True):
                    ids = local, ours.type_id, target, theirs.type_id
                    if not _types_match(*ids, behind_pointer, level - 1):
                        return False
            case _:
                return False
    raise _Refused(f"types nested more than {_MAX_NESTING} deep")


def _members_match(local: Btf, ours: Sequence[Member], target: Btf, theirs: Sequence[Member], level: int) -> bool:
    """Whether each local member has a match in the target; an anonymous one may match any other such."""
    if len(ours) > len(theirs):
        return False
    by_name: dict[str, list[Member]] = {}
    for member in theirs:
        by_name.setdefault(essential_name(member.name), []).append(member)
    return all(
        any(
            _types_match(local, member.type_id, target, other.type_id, False, level)
            for other in by_name.get(essential_name(member.name), ())
        )
        for member in ours
    )


# Values


class _Value(NamedTuple):
    """A fact about a type: ``number`` is a u64 as it goes into an instruction.

    ``checked``: the compiler is sure to have computed the same from the local type.  The offset of a member,
    unless that is a bit field, comes with the ``size`` in bytes of what a load or store there moves, and the
    ``type`` that it has.
    """

    number: int
    checked: bool = True
    size: int = 0
    type: BtfType | None = None


def _value(kind: bpf_core_relo_kind, access: _Access | None) -> _Value | None:
    """The fact that a relocation asks for; None where it needs a target and there is none."""
    if kind in (_Kind.BPF_CORE_FIELD_EXISTS, _Kind.BPF_CORE_ENUMVAL_EXISTS):
        return _Value(int(access is not None))
    if _is_field(kind):
        return _field_value(kind, access) if access else None
    if kind == _Kind.BPF_CORE_ENUMVAL_VALUE:
        return _enumval_value(access) if access else None
    if access is None:
        return _Value(0)
    if kind == _Kind.BPF_CORE_TYPE_SIZE:
        return _Value(access.btf.size_of(access.root_id))
    if kind in (_Kind.BPF_CORE_TYPE_EXISTS, _Kind.BPF_CORE_TYPE_MATCHES):
        return _Value(1)
    # Static linking renumbers types without a look at instructions: what they hold says nothing.
    return _Value(access.root_id, checked=False)


def _enumval_value(access: _Access) -> _Value:
    step = access.steps[0]
    found = access.btf.type(step.type_id)
    assert isinstance(found, Enumeration)
    number = found.values[step.number].value
    if isinstance(found, Enum):
        number = _signed32(number)  # also for unsigned enums
    return _Value(number & _U64)


def _field_value(kind: bpf_core_relo_kind, access: _Access) -> _Value:
    btf, last = access.btf, access.steps[-1]
    if not last.name:  # an array element
        if kind == _Kind.BPF_CORE_FIELD_BYTE_OFFSET:
            size = _element_size(btf, last.type_id)
            return _Value(access.bit_offset // 8, size=size, type=btf.type(last.type_id))
        if kind == _Kind.BPF_CORE_FIELD_BYTE_SIZE:
            return _Value(btf.size_of(last.type_id))
        raise _Refused("it is known for members only, not for array elements")

    holder = btf.type(last.type_id)
    assert isinstance(holder, Composite)
    member = holder.members[last.number]
    member_type = btf.resolve(member.type_id)
    is_bitfield = member.bitfield_size > 0
    # Which load a bit field is read with is a choice, and the compiler may have made another one.
    checked = not is_bitfield
    if is_bitfield:
        byte_offset, byte_size = _bitfield_load(access.bit_offset, member.bitfield_size, member_type)
        bits = member.bitfield_size
    else:
        byte_offset, byte_size = access.bit_offset // 8, btf.size_of(member_type.id)
        bits = byte_size * 8

    match kind:
        case _Kind.BPF_CORE_FIELD_BYTE_OFFSET if is_bitfield:
            return _Value(byte_offset, checked)
        case _Kind.BPF_CORE_FIELD_BYTE_OFFSET:
            return _Value(byte_offset, checked, _element_size(btf, member_type.id), member_type)
        case _Kind.BPF_CORE_FIELD_BYTE_SIZE:
            return _Value(byte_size, checked)
        case _Kind.BPF_CORE_FIELD_SIGNED:
            return _Value(int(isinstance(member_type, (Int, Enumeration)) and member_type.is_signed))
        case _Kind.BPF_CORE_FIELD_LSHIFT_U64:
            skipped = access.bit_offset - byte_offset * 8  # bits of the load before the field
            if btf.byteorder == "little":
                return _Value((64 - (skipped + bits)) & _U32, checked)
            return _Value(((8 - byte_size) * 8 + skipped) & _U32, checked)
        case _:
            return _Value((64 - bits) & _U32)  # BPF_CORE_FIELD_RSHIFT_U64


def _bitfield_load(bit_offset: int, bits: int, declared: BtfType) -> tuple[int, int]:
    """Offset and size, in bytes, of the smallest aligned load that holds a bit field, from its type up."""
    if not isinstance(declared, (Int, Enumeration)) or declared.size == 0:
        raise _Refused(f"a bit field of kind {declared.kind.name}")
    size = declared.size
    while True:
        offset = bit_offset // 8 // size * size
        if bit_offset + bits - offset * 8 <= size * 8:
            return offset, size
        if size >= 8:
            raise _Refused("the bit field cannot be read with one load of 8 bytes")
        size *= 2


def _element_size(btf: Btf, type_id: int) -> int:
    """What one load or store moves: a whole scalar, and of an array one element."""
    found = btf.resolve(type_id)
    while isinstance(found, Array):  # an array of itself has no size, and does not come this far
        found = btf.resolve(found.type_id)
    return btf.size_of(found.id)


def _signed32(number: int) -> int:
    return ((number & _U32) ^ 0x8000_0000) - 0x8000_0000


# Resolving


class _Answer(NamedTuple):
    """What to do with an instruction: replace ``old`` by ``new``, or make it poison, for the reason given.

    Where the sizes of the two differ, a load or store changes its size, if it is ``resizable``.
    """

    old: _Value
    new: _Value
    poison: _Why | None = None
    resizable: bool = True


def _resolve(relo: CoreRelo, local: Btf, target: CoreTarget, narrowed: dict[int, list[Candidate]]) -> _Answer:
    """Find the answer to a relocation, the same from every candidate that matches."""
    try:
        kind = bpf_core_relo_kind(relo.kind)
    except ValueError:
        raise _Refused(f"CO-RE relocation kind {relo.kind} is not known") from None
    root = local.type(relo.type_id)
    access = _parse(local, relo, kind)
    if kind == _Kind.BPF_CORE_TYPE_ID_LOCAL:
        number = _Value(relo.type_id, checked=False)
        return _Answer(number, number)
    if isinstance(root, Void) or not root.name:
        raise _Refused("a type without a name cannot be found in the target")
    candidates = narrowed.get(root.id)
    if candidates is None:
        candidates = narrowed[root.id] = target.candidates(root)

    old = _value(kind, access)
    assert old is not None  # there is a local access
    answer: _Answer | None = None
    matching: list[tuple[Candidate, _Access]] = []
    for candidate in candidates:
        match = _match(access, kind, candidate)
        if match is None:
            continue
        new = _value(kind, match)
        assert new is not None
        if answer is None:
            answer = _Answer(old, new, resizable=_is_resizable(old, new))
        elif match.bit_offset != matching[0][1].bit_offset or new.number != answer.new.number:
            first = matching[0][1]
            raise _Refused(
                "the target has several such types, and they do not agree: "
                f"{_describe(first.btf, first.root_id)} gives {answer.new.number} (bit {first.bit_offset}), "
                f"{_describe(match.btf, match.root_id)} gives {new.number} (bit {match.bit_offset})"
            )
        matching.append((candidate, match))
    if answer:
        narrowed[root.id] = [candidate for candidate, _ in matching]
        return answer
    absent = _value(kind, None)
    if absent:
        return _Answer(old, absent)
    return _Answer(old, old, poison=functools.partial(_why_absent, access, kind, candidates, target))


def _is_resizable(old: _Value, new: _Value) -> bool:
    """Whether a load of another size gives the same value: it does for pointers and for unsigned integers."""
    if old.size == new.size:
        return True
    match old.type, new.type:
        case Ptr(), Ptr():
            return True
        case Int() as a, Int() as b:
            return not _plain_signed(a) and not _plain_signed(b)
        case _:
            return False


def _plain_signed(found: Int) -> bool:
    """The encoding is BTF_INT_SIGNED alone, without the bits that say char or bool."""
    return found.is_signed and not found.is_char and not found.is_bool


# Patching


def _patch(slots: list[Instruction], index: int, answer: _Answer) -> _Why | None:
    """Change the instruction; returns the reason if it became poison."""
    if answer.poison:
        _poison(slots, index)
        return answer.poison
    insn, old, new = slots[index], answer.old, answer.new
    kind = insn.opcode & BPF_CLASS_MASK

    if kind in (BPF_ALU, BPF_ALU64) and insn.opcode & BPF_SRC_MASK == BPF_K:
        _expect(insn.imm, old)
        slots[index] = insn._replace(imm=_signed32(new.number))
    elif kind in (BPF_LDX, BPF_ST, BPF_STX):
        _expect(insn.off, old)
        if new.number > _S16_MAX:
            raise _Refused(f"offset {new.number} is too large for a load or store: the most is {_S16_MAX}")
        if not answer.resizable:
            _poison(slots, index)
            return functools.partial(_why_not_resizable, old, new)
        slots[index] = insn._replace(off=new.number, opcode=_resized(insn.opcode, old.size, new.size))
    elif insn.is_ld_imm64 and not (insn.src_reg or insn.off or any(slots[index + 1][:-1])):
        _expect(imm64(insn, slots[index + 1]), old)
        slots[index] = insn._replace(imm=_signed32(new.number))
        slots[index + 1] = slots[index + 1]._replace(imm=_signed32(new.number >> 32))
    else:
        raise _Refused(f"an instruction with opcode {insn.opcode:#04x} holds no number that can change")
    return None


def _expect(found: int, old: _Value) -> None:
    if old.checked and found & _U64 != old.number:
        raise _Refused(f"the instruction holds {found}, and the object's own types give {old.number}")


def _resized(opcode: int, old: int, new: int) -> int:
    """The opcode of a load or store that moves ``new`` bytes instead of ``old``."""
    if old == new:
        return opcode
    moved = _MEMORY_SIZES[opcode & BPF_SIZE_MASK]
    if moved != old:
        raise _Refused(f"the instruction moves {moved} bytes, and the object's own types say {old}")
    for size_bits, size in _MEMORY_SIZES.items():
        if size == new:
            return opcode & (BPF_MODE_MASK | BPF_CLASS_MASK) | size_bits
    raise _Refused(f"no load or store moves the {new} bytes that it has in the target")


def _poison(slots: list[Instruction], index: int) -> None:
    """Make an instruction invalid; of an ld_imm64 both slots, or the verifier names the wrong one."""
    poison = Instruction(BPF_JMP | BPF_CALL, imm=POISON_FUNCTION)
    if slots[index].is_ld_imm64:
        slots[index + 1] = poison
    slots[index] = poison


# Words for errors and explanations


def type_text(btf: Btf, type_id: int, depth: int = 0) -> str:
    """A type as in C, roughly, without typedefs and qualifiers: enough to see where two differ."""
    if depth > _MAX_TEXT_DEPTH:
        return "..."
    found = btf.resolve(type_id)
    match found:
        case Ptr():
            return f"{type_text(btf, found.type_id, depth + 1)} *"
        case Array():
            return f"{type_text(btf, found.type_id, depth + 1)}[{found.nelems}]"
        case FuncProto():
            depth += _MAX_TEXT_DEPTH // 2  # a function in a function is shown, and no more
            parameters = [type_text(btf, parameter.type_id, depth) for parameter in found.params[:_MAX_SHOWN]]
            more = [f"{len(found.params) - _MAX_SHOWN} more"] if len(found.params) > _MAX_SHOWN else []
            return f"{type_text(btf, found.type_id, depth)} ({', '.join(parameters + more)})"
        case Fwd():
            return f"{_named_type(found)} {DECLARED_ONLY}"
        case _:
            return _named_type(found)


def _named_type(found: BtfType) -> str:
    """A type by its name as in C: ``struct task_struct``."""
    name = found.name or "<anonymous>"
    match found:
        case Fwd(is_union=is_union):
            return f"{'union' if is_union else 'struct'} {name}"
        case Struct() | Union():
            return f"{type(found).__name__.lower()} {name}"
        case Enumeration():
            return f"enum {name}"
        case _:
            return name


def _describe(btf: Btf, type_id: int) -> str:
    """A type with its id, which tells types of one name apart."""
    found = btf.type(type_id)
    text = type_text(btf, type_id) if isinstance(found, (Array, Ptr, FuncProto)) else _named_type(found)
    return f"{text} (type {type_id} of {btf.where})"


def _describe_relo(local: Btf, before: Sequence[CoreRelo], relo: CoreRelo) -> str:
    """What a relocation asks for, with the access as it was written: ``the offset of task_struct->real_parent->tgid``.

    Each pointer on the way takes a relocation of its own; those are among ``before``, of the same source line.
    """
    try:
        kind = bpf_core_relo_kind(relo.kind)
        access = _parse(local, relo, kind)
    except (ValueError, _Refused, ObjectFormatError):
        return f"{_named_type(local.type(relo.type_id))}, access string {relo.access_str!r}"
    root = _named_type(local.type(access.root_id))
    if not _is_field(kind):
        return f"{_FACTS[kind]} {root}{''.join(f'::{step.name}' for step in access.steps)}"
    path = _written(access)
    for earlier in reversed(before):
        pointer = _access_to_pointer(local, earlier, access.root_id)
        if pointer is None:
            break
        access = pointer
        path = _written(access) + path
    return f"{_FACTS[kind]} {local.type(access.root_id).name + path if path else root}"


def _written(access: _Access) -> str:
    """The way to a member from a pointer: ``->comm[1]``, ``->thread.sp``."""
    first, *others = access.steps
    text = f"[{first.number}]" if first.number else ""
    for step in others:
        operator = "." if text else "->"
        text += f"{operator}{step.name}" if step.name else f"[{step.number}]"
    return text


def _access_to_pointer(local: Btf, relo: CoreRelo, type_id: int) -> _Access | None:
    """The access of a relocation for the offset of a pointer to that type; None if it is another one."""
    if relo.kind != _Kind.BPF_CORE_FIELD_BYTE_OFFSET:
        return None
    access = _parse(local, relo, _Kind.BPF_CORE_FIELD_BYTE_OFFSET)
    end = local.resolve(access.end_id)
    leads_there = isinstance(end, Ptr) and local.resolve(end.type_id).id == local.resolve(type_id).id
    return access if leads_there else None


def _why_absent(access: _Access, kind: bpf_core_relo_kind, candidates: list[Candidate], target: CoreTarget) -> str:
    """Why no candidate matched, and what the target has instead."""
    if candidates:
        return "; ".join(_why_no_match(access, kind, candidate) for candidate in candidates[:3])
    kernel, local = target.kernel, access.btf.type(access.root_id)
    name = essential_name(local.name)
    others = [other for other in map(kernel.type, kernel.find_flavors(name)) if not isinstance(other, (Func, Var))]
    only = ", ".join(map(_named_type, others))
    kinds = (Enum, Enum64) if isinstance(local, Enumeration) else (type(local),)
    near = nearest(name, (known for each in kinds for known in kernel.names(each))) if not only else []
    modules = sum(1 for _ in target.modules)
    has_not = f"neither {kernel.where} nor its {modules} modules have" if modules else f"{kernel.where} has no"
    return f"{has_not} {essential_name(_named_type(local))}" + (f", only {only}" if only else suggestion(near))


def _why_no_match(access: _Access, kind: bpf_core_relo_kind, candidate: Candidate) -> str:
    """Follow the access to the first step that fails: there the target is different."""
    btf, end_id = candidate
    length = 1
    while match := _match(access.cut(length), kind, candidate):
        end_id = match.end_id
        length += 1
    step = access.steps[length - 1]
    inside = btf.resolve(end_id)
    where = _describe(btf, inside.id)
    if not step.name:
        return f"{where} " + (f"has {inside.nelems} elements" if isinstance(inside, Array) else "is no array")
    members = dict(_members(btf, inside))
    if step.name in members:
        holder = access.btf.type(step.type_id)
        assert isinstance(holder, Composite)
        declared = type_text(access.btf, holder.members[step.number].type_id)
        return f"{where} has {step.name!r} as {type_text(btf, members[step.name])}, which cannot stand for {declared}"
    is_enum = isinstance(inside, Enumeration)
    name = essential_name(step.name) if is_enum else step.name
    near, what = nearest(name, members), "values" if is_enum else "members"
    others = f", only {', '.join(members)}" if len(members) <= _MAX_SHOWN else f" among its {len(members)} {what}"
    return f"{where} has no {name!r}" + (suggestion(near) or others)


def _members(btf: Btf, inside: BtfType) -> Iterator[tuple[str, int]]:
    """The names of members, those in anonymous members included, or of enumerators; and the ids of their types.

    Matching has searched them before, and refused those that nest too deeply.
    """
    if isinstance(inside, Enumeration):
        yield from ((value.name, inside.id) for value in inside.values)
    elif isinstance(inside, Composite):
        for member in inside.members:
            if member.name:
                yield member.name, member.type_id
            else:
                yield from _members(btf, btf.resolve(member.type_id))


def _why_not_resizable(old: _Value, new: _Value) -> str:
    if not (old.size and new.size):
        return "it is a bit field in one and a whole member in the other; BPF_CORE_READ_BITFIELD() reads both"
    return (
        f"the program reads or writes {old.size} bytes, the target has {new.size}, and only pointers and "
        "unsigned integers keep their value in another size; BPF_CORE_READ_BITFIELD() reads any integer"
    )
