"""The plan: the exact bpf(2) calls that load an object, in order, made without a kernel at hand.

Each `Command` names its bpf(2) command and every field of its attributes that is not zero.  What does not exist before
the plan is executed, a file descriptor, appears as a `Handle`: ``map_fd=<map execs>``.  So a plan can be printed,
compared and tested anywhere; the executor only swaps handles for descriptors.

The order is libbpf's: the object's BTF; then each map, followed by its content if it holds global variables, and its
freezing if they are constants; then each program.
"""

from __future__ import annotations

import enum
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from purebpf.abi.attr import ATTR_OF_CMD
from purebpf.abi.bpf import (
    BPF_OBJ_NAME_LEN,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
    bpf_cmd,
    bpf_map_type,
    bpf_prog_type,
)
from purebpf.asm.disassemble import disassemble
from purebpf.asm.instruction import decode
from purebpf.btf.ext import CoreRelo, FuncInfo, LineInfo
from purebpf.errors import ObjectFormatError, PlanError, PureBpfError
from purebpf.load import core
from purebpf.load.facts import Facts
from purebpf.load.link import Linked, link, set_source
from purebpf.obj import sections
from purebpf.obj.spec import MapSpec, ObjectSpec, ProgramSpec

_SLOT = 8
_MAX_CODE = 1 << 20
"""Instructions that a program may have with all its subprograms; more than the verifier would ever take."""
_MAX_TOTAL_CODE, _MAX_COMMANDS = 1 << 22, 1 << 16
"""What a plan may have in all.  Without a limit, an object of a few MB could make plans of many GB."""
_FUNC_INFO_SIZE = 8
_LINE_INFO_SIZE = 16

# Map types whose creation takes no BTF for keys and values; libbpf leaves it out.
_NO_BTF = frozenset(
    (
        bpf_map_type.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        bpf_map_type.BPF_MAP_TYPE_CGROUP_ARRAY,
        bpf_map_type.BPF_MAP_TYPE_STACK_TRACE,
        bpf_map_type.BPF_MAP_TYPE_ARRAY_OF_MAPS,
        bpf_map_type.BPF_MAP_TYPE_HASH_OF_MAPS,
        bpf_map_type.BPF_MAP_TYPE_DEVMAP,
        bpf_map_type.BPF_MAP_TYPE_DEVMAP_HASH,
        bpf_map_type.BPF_MAP_TYPE_CPUMAP,
        bpf_map_type.BPF_MAP_TYPE_XSKMAP,
        bpf_map_type.BPF_MAP_TYPE_SOCKMAP,
        bpf_map_type.BPF_MAP_TYPE_SOCKHASH,
        bpf_map_type.BPF_MAP_TYPE_QUEUE,
        bpf_map_type.BPF_MAP_TYPE_STACK,
        bpf_map_type.BPF_MAP_TYPE_ARENA,
    )
)


@dataclass(frozen=True, slots=True)
class Handle:
    """A file descriptor that a command of the plan creates: of a BTF, a map or a program, by the object's name for it.

    The "inner map" of a map of maps is the pattern that all maps in it must be like; it has the outer map's name.
    """

    kind: Literal["btf", "map", "inner map", "prog"]
    name: str

    def __str__(self) -> str:
        return f"<{self.kind} {self.name}>"


@dataclass(frozen=True, slots=True)
class Code:
    """Relocated instructions.  ``handles``: instruction slots whose immediate is the descriptor of a map."""

    insns: bytes
    handles: tuple[tuple[int, Handle], ...]

    byteorder: Literal["little", "big"]

    def __str__(self) -> str:
        return f"<{len(self.insns) // _SLOT} instruction slots>"

    def listing(self) -> list[str]:
        """The instructions as text, the ones that load a map or a variable with its name."""
        names = {slot: f"  ; {handle}" for slot, handle in self.handles}
        lines = disassemble(decode(self.insns, self.byteorder))
        return [f"    {line}{names.get(int(line.partition(':')[0]), '')}" for line in lines]


Record = TypeVar("Record", FuncInfo, LineInfo, CoreRelo)
Value = int | str | bytes | Handle | Code


@dataclass(frozen=True, slots=True)
class SourceLine:
    """The instruction slot at which the code of a source line begins, and the line as ``file:number: text``."""

    slot: int
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One bpf(2) call.

    ``fields`` are the attributes by the kernel's names; those not named are zero.  A str is a name or a C string, bytes
    are passed by pointer.  ``creates`` is what the returned descriptor is known as.  An ``optional`` command may fail.
    ``without_btf`` are the fields to pass if the object's BTF is not in the kernel, because that command failed;
    ``retry_without_btf`` says to try them also after a refusal.  ``lines`` and ``notes`` explain a rejected program.
    """

    cmd: bpf_cmd
    action: str
    fields: Mapping[str, Value]
    creates: Handle | None = None
    optional: bool = False
    without_btf: Mapping[str, Value] | None = None
    retry_without_btf: bool = False
    lines: Sequence[SourceLine] = field(default=(), repr=False)
    notes: Mapping[int, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        head = f"bpf({self.cmd.name})  {self.action}"
        if self.optional:
            head += "  (may fail)"
        if self.retry_without_btf:
            head += "  (if refused, once more without the BTF fields)"
        if self.creates:
            head += f"  -> {self.creates}"
        lines = [head, *(f"    {name} = {show(value)}" for name, value in self.fields.items())]
        code = self.fields.get("insns")
        return "\n".join(lines + code.listing() if isinstance(code, Code) else lines)


def show(value: Value) -> str:
    """One field's value for people: names in quotes, enums by name, long bytes shortened."""
    if isinstance(value, enum.Enum):
        return value.name or str(value.value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bytes):
        return f"<{len(value)} bytes {value[:16].hex(' ')}{' ...' if len(value) > 16 else ''}>"
    return str(value)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Everything that loading an object does: iterate over it for the commands, print it to read them."""

    name: str
    kernel: str
    commands: tuple[Command, ...]

    def __iter__(self) -> Iterator[Command]:
        return iter(self.commands)

    def __len__(self) -> int:
        return len(self.commands)

    def max_entries(self, handle: Handle) -> int:
        """The size that a map is created with; the object's own may have been 0, or no whole number of pages."""
        sizes = (command.fields.get("max_entries", 0) for command in self.commands if command.creates == handle)
        return next((size for size in sizes if isinstance(size, int)), 0)

    def __str__(self) -> str:
        head = f"Loading object {self.name!r} into Linux {self.kernel} takes {len(self.commands)} bpf(2) calls:"
        steps = (f"{number}. {command}" for number, command in enumerate(self.commands, 1))
        return "\n\n".join([head, *steps])


def make_plan(spec: ObjectSpec, facts: Facts) -> LoadPlan:
    """Plan the loading of ``spec`` into the kernel that ``facts`` describe.

    Raises PlanError if it cannot be loaded there, and ObjectFormatError for what only shows when code is relocated.
    """
    if spec.byteorder != facts.byteorder:
        raise PlanError(
            f"object {spec.name!r} is {spec.byteorder}-endian, the kernel {facts.byteorder}-endian; compile it with "
            f"clang -target {'bpfel' if facts.byteorder == 'little' else 'bpfeb'}"
        )
    programs = {key: program for key, program in spec.programs.items() if program.autoload}
    for program in programs.values():
        _check_type(program)
    patched, notes = _relocate_types(spec, facts)
    commands: list[Command] = []
    btf = None
    if spec.btf is not None:
        btf = Handle("btf", spec.name)
        fields: dict[str, Value] = {"btf": spec.btf.data, "btf_size": len(spec.btf.data)}
        commands.append(Command(bpf_cmd.BPF_BTF_LOAD, "loading the object's BTF", fields, btf, optional=True))
    for key, definition in spec.maps.items():
        commands += _create_map(key, definition, facts, btf)
    total = 0
    for key, program in programs.items():
        load, *others = _load_program(key, spec, program, facts, btf, patched, notes)
        commands += [load, *others]
        total += _code_size(load)
        if total > _MAX_TOTAL_CODE or len(commands) > _MAX_COMMANDS:
            raise PlanError(
                f"the plan becomes too large at program {key!r}: {len(commands)} commands load {total} instructions, "
                "counting subprograms once for each program that has them"
            )
    for command in commands:
        _check_ranges(command)
    return LoadPlan(spec.name, facts.release, tuple(commands))


def _code_size(command: Command) -> int:
    code = command.fields.get("insns")
    return len(code.insns) // _SLOT if isinstance(code, Code) else 0


def _check_ranges(command: Command) -> None:
    """Refuse numbers that do not fit the kernel's fields: those of a spec can be set to anything."""
    structure = ATTR_OF_CMD[command.cmd]
    for name, value in command.fields.items():
        bits = 8 * getattr(structure, name).size
        if isinstance(value, int) and not 0 <= value < 1 << bits:
            raise PlanError(f"{command.action}: {name} = {value} is no number of {bits} bits")


def _check_type(program: ProgramSpec) -> None:
    if program.definition is not None and program.definition.needs_btf_target:
        raise PlanError(
            f"program {program.name!r}: section {program.section!r} binds it to a kernel function by BTF, which this "
            "version of purebpf cannot do; set autoload = False to load the object without it"
        )
    if program.type == bpf_prog_type.BPF_PROG_TYPE_UNSPEC:
        known = sections.nearest(program.section.removeprefix("?"))
        raise PlanError(
            f"program {program.name!r}: no program type is known by the section name {program.section!r}; the nearest "
            f"is {known!r}. Rename the section, or set the program's type before loading"
        )


# Maps


def _create_map(key: str, definition: MapSpec, facts: Facts, btf: Handle | None) -> Iterator[Command]:
    """The commands for one map: its creation, and the content of a data section."""
    if definition.pinning:
        raise PlanError(f"map {key!r} asks to be pinned by name, which this version of purebpf cannot do")
    if definition.initial_slots:
        raise PlanError(
            f"map {key!r} comes with initial maps or programs, which this version of purebpf cannot fill in"
        )
    inner = None
    if definition.inner is not None:
        inner = Handle("inner map", key)
        yield _map_create(inner, definition.inner, facts, btf, None)
    handle = Handle("map", key)
    yield _map_create(handle, definition, facts, btf, inner)
    if definition.contents is None:
        return
    if len(definition.contents) != definition.value_size:
        raise PlanError(
            f"map {key!r} has values of {definition.value_size} bytes, and its initial value {len(definition.contents)}"
        )
    zero = bytes(definition.key_size)
    fields: dict[str, Value] = {"map_fd": handle, "key": zero, "value": bytes(definition.contents)}
    yield Command(bpf_cmd.BPF_MAP_UPDATE_ELEM, f"filling the variables of {key!r}", fields)
    if definition.kind == "rodata":
        yield Command(bpf_cmd.BPF_MAP_FREEZE, f"freezing the constants of {key!r}", {"map_fd": handle})


def _map_create(handle: Handle, spec: MapSpec, facts: Facts, btf: Handle | None, inner: Handle | None) -> Command:
    max_entries = spec.max_entries
    if spec.type == bpf_map_type.BPF_MAP_TYPE_PERF_EVENT_ARRAY and max_entries == 0:
        max_entries = facts.possible_cpus
    if spec.type in (bpf_map_type.BPF_MAP_TYPE_RINGBUF, bpf_map_type.BPF_MAP_TYPE_USER_RINGBUF):
        max_entries = _ring_size(max_entries, facts.page_size)
    fields: dict[str, Value] = {
        "map_type": _named(bpf_map_type, spec.type),
        "key_size": spec.key_size,
        "value_size": spec.value_size,
        "max_entries": max_entries,
        "map_flags": spec.map_flags,
        "inner_map_fd": inner if inner is not None else 0,
        "numa_node": spec.numa_node,
        "map_name": _kernel_name(spec.name),
        "map_extra": spec.map_extra,
    }
    without_btf = {name: value for name, value in fields.items() if value not in (0, "")}
    takes_btf = btf is not None and spec.type not in _NO_BTF
    typed: dict[str, Value] = dict(without_btf)
    if takes_btf and btf is not None:
        types = {"btf_key_type_id": spec.key_type_id, "btf_value_type_id": spec.value_type_id}
        typed |= {"btf_fd": btf} | {name: id for name, id in types.items() if id}
    return Command(
        bpf_cmd.BPF_MAP_CREATE,
        f"creating {handle.kind} {handle.name!r}",
        typed,
        handle,
        without_btf=without_btf,
        retry_without_btf=bool(takes_btf and (spec.key_type_id or spec.value_type_id)),
    )


def _kernel_name(name: str) -> str:
    """As many bytes of a name as the kernel keeps."""
    raw = name.encode("utf-8", "surrogateescape")
    return raw[: BPF_OBJ_NAME_LEN - 1].decode("utf-8", "surrogateescape")


def _named(kind: type[enum.IntEnum], number: int) -> int:
    """The enumerator of that number, so that it is shown by name; a number that is too new stays one."""
    try:
        return kind(number)
    except ValueError:
        return number


def _ring_size(size: int, page_size: int) -> int:
    """A ring buffer's size in bytes must be a power of two of pages; the next larger one, as in libbpf."""
    if size == 0 or (size % page_size == 0 and (size // page_size).bit_count() == 1):
        return size
    pages = 1
    while pages * page_size <= size:
        pages *= 2
    return pages * page_size if pages * page_size <= 0xFFFFFFFF else size


# Programs


def _relocate_types(spec: ObjectSpec, facts: Facts) -> tuple[dict[int, bytes], dict[int, dict[int, str]]]:
    """Apply the CO-RE relocations of all functions that may be loaded.

    Returns, by ``id`` of the ProgramSpec, the patched instructions, and for instructions that the kernel's types cannot
    satisfy the reason: libbpf makes those invalid, which matters only if they can be reached.
    """
    patched: dict[int, bytes] = {}
    notes: dict[int, dict[int, str]] = {}
    if spec.btf is None or spec.btf_ext is None or not spec.btf_ext.core_relos:
        return patched, notes
    functions = [program for program in spec.programs.values() if program.autoload]
    functions += spec.subprograms.values()
    # The order counts: what one relocation finds out about a type's candidates decides which are left for the next.
    sections_in_order = list(spec.btf_ext.core_relos)
    functions = [function for function in functions if function.section in spec.btf_ext.core_relos]
    functions.sort(key=lambda function: (sections_in_order.index(function.section), function.section_offset))
    candidates: dict[int, list[core.Candidate]] = {}
    for function in functions:
        records = _records(spec.btf_ext.core_relos, function)
        if not records:
            continue
        try:
            target = facts.core_target
        except PureBpfError as error:
            raise PlanError(
                f"program {function.name!r} adapts itself to the kernel's types (CO-RE), and those of Linux "
                f"{facts.release} cannot be had: {error}"
            ) from error
        lines = _lines(spec, function)
        insns = bytearray(function.insns)
        poisoned = core.relocate(
            insns,
            records,
            local=spec.btf,
            target=target,
            program=function.name,
            section_offset=function.section_offset,
            line_of=lambda slot, lines=lines: line_at(lines, slot),  # type: ignore[misc]
            candidates=candidates,
        )
        patched[id(function)] = bytes(insns)
        notes[id(function)] = {entry.insn_index: entry.message for entry in poisoned}
    return patched, notes


def _load_program(
    key: str,
    spec: ObjectSpec,
    program: ProgramSpec,
    facts: Facts,
    btf: Handle | None,
    patched: dict[int, bytes],
    notes: dict[int, dict[int, str]],
) -> Iterator[Command]:
    """The load of one program, and the binding of the constants' maps to it, as libbpf does."""
    linked = link(spec, program, patched)
    if len(linked.code) // _SLOT > _MAX_CODE:
        raise PlanError(f"program {program.name!r} has more than {_MAX_CODE} instructions with its subprograms")
    code = _relocate(spec, program, linked)
    handle = Handle("prog", key)
    fields: dict[str, Value] = {
        "prog_type": _named(bpf_prog_type, program.type),
        "insn_cnt": len(code.insns) // _SLOT,
        "insns": code,
        "license": spec.license,
        "kern_version": facts.version if spec.kern_version is None else spec.kern_version,
        "prog_flags": program.prog_flags,
        "prog_name": _kernel_name(program.name),
        "expected_attach_type": program.expected_attach_type,
    }
    without_btf = {name: value for name, value in fields.items() if value != 0}
    typed = without_btf | _debug_info(spec, linked, btf) if btf is not None else without_btf
    yield Command(
        bpf_cmd.BPF_PROG_LOAD,
        f"loading program {key!r} (section {program.section!r})",
        typed,
        handle,
        without_btf=without_btf,
        lines=[
            replace(line, slot=part.start + line.slot) for part in linked.parts for line in _lines(spec, part.function)
        ],
        notes={
            part.start + slot: message
            for part in linked.parts
            for slot, message in notes.get(id(part.function), {}).items()
        },
    )
    for map_key, definition in spec.maps.items():
        if definition.kind == "rodata":
            fields = {"prog_fd": handle, "map_fd": Handle("map", map_key)}
            action = f"binding map {map_key!r} to program {key!r}"
            yield Command(bpf_cmd.BPF_PROG_BIND_MAP, action, fields, optional=True)


def _relocate(spec: ObjectSpec, program: ProgramSpec, linked: Linked) -> Code:
    """Put maps and variables into the 16-byte load instructions that refer to them.

    The kernel takes a map as its descriptor in the first immediate, and a variable as its map's descriptor and its byte
    offset in the second; the source register says which (BPF_PSEUDO_... in include/uapi/linux/bpf.h).
    """
    order = "<" if spec.byteorder == "little" else ">"
    code = linked.code
    handles = []
    for entry in linked.relocations():
        position = entry.insn * _SLOT
        if entry.kind == "extern":
            raise PlanError(
                f"program {program.name!r}, instruction {entry.insn}: the object leaves {entry.target!r} to the kernel "
                "(extern), which this version of purebpf cannot resolve"
            )
        if entry.kind in ("call", "function"):
            continue  # the linker has been there
        if position + 2 * _SLOT > len(code):
            raise ObjectFormatError(
                f"instruction {entry.insn} is cut off after its first half", where=f"program {program.name!r}"
            )
        if entry.kind == "data":
            (addend,) = struct.unpack_from(order + "i", code, position + 4)
            set_source(code, position, BPF_PSEUDO_MAP_VALUE, spec.byteorder)
            struct.pack_into(order + "I", code, position + _SLOT + 4, (addend + entry.offset) & 0xFFFFFFFF)
        else:
            set_source(code, position, BPF_PSEUDO_MAP_FD, spec.byteorder)
        struct.pack_into(order + "i", code, position + 4, 0)
        handles.append((entry.insn, Handle("map", entry.target)))
    return Code(bytes(code), tuple(handles), spec.byteorder)


def _debug_info(spec: ObjectSpec, linked: Linked, btf: Handle) -> dict[str, Value]:
    """Functions and source lines for the verifier and for tools: struct bpf_func_info and struct bpf_line_info.

    If the main function has none, neither has the program; the records count instruction slots in the linked code.
    """
    fields: dict[str, Value] = {"prog_btf_fd": btf}
    ext = spec.btf_ext
    if ext is None:
        return fields
    order = "<" if spec.byteorder == "little" else ">"
    functions = lines = b""
    for part in linked.parts:
        start = part.function.section_offset
        if functions or part.start == 0:
            own = _records(ext.func_info, part.function)
            if functions and not own:
                raise ObjectFormatError(f"no function record for {part.function.name!r}", where="section '.BTF.ext'")
            for func in own:
                slot = part.start + (func.insn_off - start) // _SLOT
                functions += struct.pack(order + "II", slot, func.type_id)
        if lines or part.start == 0:
            found = _records(ext.line_info, part.function)
            if lines and not found:
                raise ObjectFormatError(f"no line records for {part.function.name!r}", where="section '.BTF.ext'")
            for line in found:
                slot = part.start + (line.insn_off - start) // _SLOT
                lines += struct.pack(order + "IIII", slot, line.file_name_off, line.line_off, line.line_col)
    if functions:
        fields |= {
            "func_info_rec_size": _FUNC_INFO_SIZE,
            "func_info": functions,
            "func_info_cnt": len(functions) // _FUNC_INFO_SIZE,
        }
    if lines:
        fields |= {
            "line_info_rec_size": _LINE_INFO_SIZE,
            "line_info": lines,
            "line_info_cnt": len(lines) // _LINE_INFO_SIZE,
        }
    return fields


def _lines(spec: ObjectSpec, function: ProgramSpec) -> list[SourceLine]:
    if spec.btf_ext is None:
        return []
    start, records = function.section_offset, _records(spec.btf_ext.line_info, function)
    return [SourceLine((line.insn_off - start) // _SLOT, _line_text(line)) for line in records]


def _records(found: Mapping[str, Sequence[Record]], function: ProgramSpec) -> Sequence[Record]:
    """The records of a function's instructions, out of those of all sections, which are sorted."""
    records = found.get(function.section, ())
    start, end = function.section_offset, function.section_offset + len(function.insns)
    first, last = (bisect_left(records, offset, key=lambda record: record.insn_off) for offset in (start, end))
    return records[first:last]


def _line_text(line: LineInfo) -> str:
    return f"{line.file_name}:{line.line_num}: {line.line.strip()}"


def line_at(lines: Sequence[SourceLine], slot: int) -> str:
    """The source line that an instruction comes from, "" if that is not known."""
    before = [line for line in lines if line.slot <= slot]
    return max(before, key=lambda line: line.slot).text if before else ""
