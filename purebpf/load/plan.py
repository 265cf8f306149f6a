"""The plan: the exact bpf(2) calls that load an object, in order, made without a kernel at hand.

Each `Command` names its bpf(2) command and every field of its attributes that is not zero.  What does not exist before
the plan is executed, a file descriptor, appears as a `Handle`: ``map_fd=<map execs>``.  So a plan can be printed,
compared and tested anywhere; the executor only swaps handles for descriptors.  An arena, memory that the process shares
with its programs, is also mapped with mmap(2), and its variables are put there; that stands with its creation.

The order is libbpf's: the object's BTF; then each map, followed by its content if it holds global variables, and its
freezing if they are constants, or by the maps that are to be in it; then each program; then the programs that are to be
in a map.

Not all is known beforehand: a map may be pinned already.  Then the plan has the calls for either case, and a command
says how many of those after it are left out if it succeeds, or if it fails in the one way that it may.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import functools
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

from purebpf.abi.attr import ATTR_OF_CMD, bpf_map_info
from purebpf.abi.bpf import (
    BPF_OBJ_NAME_LEN,
    BPF_PSEUDO_BTF_ID,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
    bpf_attach_type,
    bpf_cmd,
    bpf_map_flags,
    bpf_map_type,
    bpf_prog_type,
)
from purebpf.asm.disassemble import disassemble
from purebpf.asm.helpers import bpf_func_id
from purebpf.asm.instruction import (
    BPF_ALU,
    BPF_ALU64,
    BPF_CALL,
    BPF_CLASS_MASK,
    BPF_JMP,
    BPF_JMP32,
    BPF_MOV,
    decode,
)
from purebpf.btf.ext import CoreRelo, FuncInfo, LineInfo
from purebpf.btf.reader import Btf
from purebpf.errors import ObjectFormatError, PlanError, PureBpfError
from purebpf.load import context, core
from purebpf.load.externs import POISON_CALL, Resolved, resolve_externs
from purebpf.load.facts import Facts, ModuleBtf
from purebpf.load.features import Feature
from purebpf.load.link import Linked, exception_callbacks, has_exception_tags, link, set_source
from purebpf.load.sanitize import sanitize_btf
from purebpf.load.struct_ops import Callback, KernelValue, StructOps, resolve
from purebpf.load.targets import Found, find_target
from purebpf.obj import sections
from purebpf.obj.spec import MapSpec, ObjectSpec, ProgramSpec, Relocation

_SLOT = 8
_MOVES = (BPF_ALU | BPF_MOV, BPF_ALU64 | BPF_MOV)  # of a constant into a register
_NEAR = 32  # instructions from there to the call or jump that uses it
_MAX_CODE = 1 << 20
"""Instructions that a program may have with all its subprograms; more than the verifier would ever take."""
_MAX_TOTAL_CODE, _MAX_COMMANDS = 1 << 22, 1 << 16
"""What a plan may have in all.  Without a limit, an object of a few MB could make plans of many GB."""
_POINTER_SIZE = 8
_FUNC_INFO_SIZE = 8
_LINE_INFO_SIZE = 16
_POISON_MAP = 2001000000
"""With a map's index added, what stands for a helper where code loads a map that is not created; libbpf's number."""
_MAP_IN_MAP = (bpf_map_type.BPF_MAP_TYPE_ARRAY_OF_MAPS, bpf_map_type.BPF_MAP_TYPE_HASH_OF_MAPS)
_DEVMAPS = (bpf_map_type.BPF_MAP_TYPE_DEVMAP, bpf_map_type.BPF_MAP_TYPE_DEVMAP_HASH)
PIN_ROOT = "/sys/fs/bpf"
"""Where maps are pinned by name, unless something else is said."""

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


class Handle(NamedTuple):
    """A file descriptor that a command of the plan creates: of a BTF, a map or a program, by the object's name for it.

    The "module btf" is the one that the kernel has for its module of that name.
    The "inner map" of a map of maps is the pattern that all maps in it must be like; it has the outer map's name.
    """

    kind: Literal["btf", "module btf", "map", "inner map", "prog"]
    name: str

    def __str__(self) -> str:
        return f"<{self.kind} {self.name}>"


class Code(NamedTuple):
    """Relocated instructions.

    ``handles``: instruction slots whose immediate is a descriptor: of a map, or in the second slot of a load, of the
    BTF of a module.
    """

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


class Filled(NamedTuple):
    """Bytes in which file descriptors stand, in the machine's byte order: (byte offset, size in bytes, handle)."""

    data: bytes
    handles: tuple[tuple[int, int, Handle], ...]

    def __str__(self) -> str:
        inside = ", ".join(f"{handle} at {offset}" if offset else str(handle) for offset, _, handle in self.handles)
        return f"<{len(self.data)} bytes with {inside}>"


class Expected(NamedTuple):
    """What the kernel must answer about a map, by the names of struct bpf_map_info; else it is not the map meant.

    ``ignored_flags`` are bits of ``map_flags`` that do not count.
    """

    fields: Mapping[str, int]
    ignored_flags: int = 0
    hint: str = ""


class Mapped(NamedTuple):
    """A map's memory in this process: ``size`` bytes at ``address``, or where the kernel likes if that is 0.

    ``contents`` are put there, at byte ``offset``.
    """

    size: int
    address: int = 0
    contents: bytes = b""
    offset: int = 0

    def __str__(self) -> str:
        place = f" at {self.address:#x}" if self.address else ""
        filled = f", with {len(self.contents)} bytes of variables from {self.offset} on" if self.contents else ""
        return f"{self.size} bytes{place}{filled}"


Record = TypeVar("Record", FuncInfo, LineInfo, CoreRelo)
Value = int | str | bytes | Handle | Code | Filled


class SourceLine(NamedTuple):
    """The instruction slot at which the code of a source line begins, and the line as ``file:number: text``."""

    slot: int
    text: str


class Command(NamedTuple):
    """One bpf(2) call.

    ``fields`` are the attributes by the kernel's names; those not named are zero.  A str is a name or a C string, bytes
    are passed by pointer.  ``creates`` is what the returned descriptor is known as.  An ``optional`` command may fail.
    ``without_btf`` are the fields to pass if the object's BTF is not in the kernel, because that command failed;
    ``retry_without_btf`` says to try them also after a refusal.  ``lines`` and ``notes`` explain a rejected program.

    ``tolerated`` is an errno that is an answer and no failure.  How many of the commands that follow are left out says
    ``skips_if_done``, and after such an answer ``skips_if_not``.  ``expected`` is what the answer to
    BPF_OBJ_GET_INFO_BY_FD must say, or loading ends.  ``mapped`` says how the map that is created is mapped then.
    """

    cmd: bpf_cmd
    action: str
    fields: Mapping[str, Value]
    creates: Handle | None = None
    optional: bool = False
    without_btf: Mapping[str, Value] | None = None
    retry_without_btf: bool = False
    tolerated: int = 0
    skips_if_done: int = 0
    skips_if_not: int = 0
    expected: Expected | None = None
    mapped: Mapped | None = None
    lines: Sequence[SourceLine] = ()
    notes: Mapping[int, str | core.Poisoned] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"<Command {self.cmd.name}: {self.action}>"

    def __str__(self) -> str:
        head = f"bpf({self.cmd.name})  {self.action}"
        if self.optional:
            head += "  (may fail)"
        if self.retry_without_btf:
            head += "  (if refused, once more without the BTF fields)"
        if self.tolerated:
            head += f"  (may answer {errno.errorcode[self.tolerated]}" + _leaves_out(self.skips_if_not, ", which") + ")"
        if self.skips_if_done:
            head += f"  ({_leaves_out(self.skips_if_done, 'success')})"
        if self.creates:
            head += f"  -> {self.creates}"
        lines = [head, *(f"    {name} = {show(value)}" for name, value in self.fields.items())]
        if self.expected:
            lines += [f"    must answer {name} = {show(value)}" for name, value in self.expected.fields.items()]
        if self.mapped:
            lines.append(f"    then mapped into memory: {self.mapped}")
        code = self.fields.get("insns")
        return "\n".join(lines + code.listing() if isinstance(code, Code) else lines)


def _leaves_out(count: int, subject: str) -> str:
    what = "the next call" if count == 1 else f"the next {count} calls"
    return f"{subject} leaves out {what}" if count else ""


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
    struct_ops: Mapping[str, Filled] = field(default_factory=dict)
    """By map, the value that registers the programs of a struct_ops map with the kernel, once it is put into it."""

    def __iter__(self) -> Iterator[Command]:
        return iter(self.commands)

    def __len__(self) -> int:
        return len(self.commands)

    def creation_of(self, handle: Handle) -> Mapping[str, Value]:
        """The fields that a map is created with.

        The object's own may say something else: no size, or no whole number of pages.
        """
        creating = (bpf_cmd.BPF_MAP_CREATE, handle)
        return next((c.fields for c in self.commands if (c.cmd, c.creates) == creating), {})

    def variables_start(self, arena: Handle) -> int:
        """The byte of an arena at which its variables begin."""
        return next((c.mapped.offset for c in self.commands if c.creates == arena and c.mapped), 0)

    def max_entries(self, handle: Handle) -> int:
        """The size that a map is created with."""
        size = self.creation_of(handle).get("max_entries", 0)
        return size if isinstance(size, int) else 0

    def __str__(self) -> str:
        head = f"Loading object {self.name!r} into Linux {self.kernel} takes {len(self.commands)} bpf(2) calls:"
        steps = (f"{number}. {command}" for number, command in enumerate(self.commands, 1))
        return "\n\n".join([head, *steps])


def make_plan(spec: ObjectSpec, facts: Facts, pin_root: str = PIN_ROOT) -> LoadPlan:
    """Plan the loading of ``spec`` into the kernel that ``facts`` describe.

    ``pin_root`` is the directory for maps that are pinned by name.

    Raises PlanError if it cannot be loaded there, and ObjectFormatError for what only shows when code is relocated.
    """
    if spec.byteorder != facts.byteorder:
        raise PlanError(
            f"object {spec.name!r} is {spec.byteorder}-endian, the kernel {facts.byteorder}-endian; compile it with "
            f"clang -target {'bpfel' if facts.byteorder == 'little' else 'bpfeb'}"
        )
    externs = resolve_externs(spec, facts)
    struct_ops = resolve(spec, facts)
    programs = {key: program for key, program in spec.programs.items() if _is_loaded(key, program, struct_ops)}
    for key, program in programs.items():
        _check_type(key, program, struct_ops)
    patched, notes = _relocate_types(spec, programs, facts)
    callbacks: dict[str, ProgramSpec] = {}
    if programs and has_exception_tags(spec) and facts.has(Feature.BTF_DECL_TAG):
        callbacks = exception_callbacks(spec)
    targets = {key: find_target(program, facts) for key, program in programs.items()}
    in_kernel = [*targets.values(), *(value.type for value in struct_ops.values.values())]
    in_kernel += [found for found in externs.symbols.values() if isinstance(found, Found)]
    modules = {found.module.name: found.module.id for found in in_kernel if found is not None and found.module}
    commands: list[Command] = list(_open_modules(modules))
    btf = None
    new_ids: dict[str, dict[int, int]] = {}
    if spec.btf is not None and _takes_btf(spec, facts):
        types, new_ids = _name_contexts(spec, spec.btf, programs, patched, callbacks, facts)
        data = sanitize_btf(types, facts.has)
        btf = Handle("btf", spec.name)
        fields: dict[str, Value] = {"btf": data, "btf_size": len(data)}
        optional = not _needs_btf(spec)
        commands.append(Command(bpf_cmd.BPF_BTF_LOAD, "loading the object's BTF", fields, btf, optional=optional))
    created: set[str] = set()
    for key, definition in spec.maps.items():
        is_data = definition.kind not in ("user", "struct_ops")
        if definition.kind == "kconfig":
            definition = replace(definition, contents=bytearray(externs.kconfig))
        if definition.autocreate and (not is_data or facts.has(Feature.GLOBAL_DATA)):
            commands += _map_commands(key, definition, facts, btf, struct_ops.values.get(key), created, pin_root)
            created.add(key)
            _check_size(commands, f"map {key!r}")
    total = 0
    for key, program in programs.items():
        linked = link(spec, program, patched, callbacks.get(key))
        ids, bound_to = new_ids.get(key, {}), _bound_to(targets.get(key), struct_ops.callbacks.get(key))
        load, *others = _load_program(key, spec, program, linked, facts, btf, notes, ids, bound_to, created, externs)
        commands += [load, *others]
        total += _code_size(load)
        _check_size(commands, f"program {key!r}", total)
    commands += _fill_prog_arrays(spec, programs, facts)
    for command in commands:
        _check_ranges(command)
    values = {key: _register_value(value) for key, value in struct_ops.values.items()}
    return LoadPlan(spec.name, facts.release, tuple(commands), values)


def _check_size(commands: Sequence[Command], place: str, instructions: int = 0) -> None:
    if instructions > _MAX_TOTAL_CODE or len(commands) > _MAX_COMMANDS:
        raise PlanError(
            f"the plan becomes too large at {place}: {len(commands)} commands load {instructions} instructions, "
            "counting subprograms once for each program that has them"
        )


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


def _is_loaded(key: str, program: ProgramSpec, struct_ops: StructOps) -> bool:
    """Whether to load a program; what struct_ops maps hold, those maps decide that are created."""
    return key in struct_ops.callbacks or (program.autoload and key not in struct_ops.unused)


def _check_type(key: str, program: ProgramSpec, struct_ops: StructOps) -> None:
    if program.type == bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS and key not in struct_ops.callbacks:
        raise PlanError(
            f"program {program.name!r} of section {program.section!r} stands in no struct_ops map, so the kernel "
            "cannot tell what it is for; put it into a variable of section '.struct_ops', or set autoload = False"
        )
    if program.type == bpf_prog_type.BPF_PROG_TYPE_UNSPEC:
        known = sections.nearest(program.section.removeprefix("?"))
        raise PlanError(
            f"program {program.name!r}: no program type is known by the section name {program.section!r}; the nearest "
            f"is {known!r}. Rename the section, or set the program's type before loading"
        )


# The object's BTF


def _needs_btf(spec: ObjectSpec) -> bool:
    """Whether the kernel itself goes by the object's BTF; all else loads without it, too."""
    return any(definition.type == bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS for definition in spec.maps.values())


def _takes_btf(spec: ObjectSpec, facts: Facts) -> bool:
    takes = facts.has(Feature.BTF)
    if not takes and _needs_btf(spec):
        raise PlanError(
            f"object {spec.name!r} has struct_ops maps, which need BTF in the kernel; Linux {facts.release} takes none"
        )
    return takes


def _name_contexts(
    spec: ObjectSpec,
    btf: Btf,
    programs: Mapping[str, ProgramSpec],
    patched: dict[int, bytes],
    callbacks: Mapping[str, ProgramSpec],
    facts: Facts,
) -> tuple[Btf, dict[str, dict[int, int]]]:
    """The object's types, made to say which arguments are contexts, and each program's new function ids by the old."""
    if spec.btf_ext is None or not context.has_context_tags(btf):
        return btf, {}
    if not facts.has(Feature.BTF_FUNC) or facts.has(Feature.ARG_CTX_TAG):
        return btf, {}
    functions = []
    for key, program in programs.items():
        parts = link(spec, program, patched, callbacks.get(key)).parts
        ids = [record.type_id for part in parts for record in _records(spec.btf_ext.func_info, part.function)]
        functions.append(context.Functions(program.name, program.type, ids))
    types, new_ids = context.replace_context_arguments(btf, functions)
    return types, dict(zip(programs, new_ids, strict=True))


# Maps


def _map_commands(
    key: str,
    definition: MapSpec,
    facts: Facts,
    btf: Handle | None,
    value: KernelValue | None,
    created: Collection[str],
    pin_root: str,
) -> list[Command]:
    """The commands for one map; ``created`` are the keys of those created before it.

    Who pins a map takes the one that is pinned there already, if it is alike.  It may also appear there after the plan
    has looked for it, because another process loads the object at the same time: then that one is taken.
    """
    handle = Handle("map", key)
    make = list(_make_map(handle, definition, facts, btf, value, created))
    if not definition.pinning:
        return make
    path = f"{pin_root}/{definition.name}"
    creation = next(command.fields for command in make if command.creates == handle)
    get: dict[str, Value] = {"pathname": path}
    look = Command(bpf_cmd.BPF_OBJ_GET, f"looking for map {key!r} at {path!r}", get, handle)
    check = Command(
        bpf_cmd.BPF_OBJ_GET_INFO_BY_FD,
        f"comparing map {key!r} with the one pinned at {path!r}",
        {"bpf_fd": handle, "info_len": ctypes.sizeof(bpf_map_info), "info": bytes(ctypes.sizeof(bpf_map_info))},
        expected=_as_created(creation, path),
    )
    pin = Command(
        bpf_cmd.BPF_OBJ_PIN,
        f"pinning map {key!r} at {path!r}",
        {"pathname": path, "bpf_fd": handle},
        tolerated=errno.EEXIST,
        skips_if_done=2,
    )
    return [
        look._replace(tolerated=errno.ENOENT, skips_if_not=1),
        check._replace(skips_if_done=len(make) + 3),
        *make,
        pin,
        look._replace(action=f"taking map {key!r} as it has been pinned meanwhile at {path!r}"),
        check,
    ]


def _as_created(creation: Mapping[str, Value], path: str) -> Expected:
    """What a pinned map must be like to be used in place of a new one, as for libbpf."""
    names = {"type": "map_type"} | {
        name: name for name in ("key_size", "value_size", "max_entries", "map_flags", "map_extra")
    }
    values = {name: creation.get(field, 0) for name, field in names.items()}
    fields = {name: value for name, value in values.items() if isinstance(value, int)}
    # The kernel sets a flag on these maps by itself.
    ignored = bpf_map_flags.BPF_F_RDONLY_PROG if fields["type"] in _DEVMAPS else 0
    return Expected(fields, ignored, f"Remove the pin {path!r}, or pin elsewhere: load(..., pin_root=...)")


def _make_map(
    handle: Handle,
    definition: MapSpec,
    facts: Facts,
    btf: Handle | None,
    value: KernelValue | None,
    created: Collection[str],
) -> Iterator[Command]:
    """The creation of a map, and its content: of a data section, or maps that are to be in it."""
    key = handle.name
    inner = None
    if definition.inner is not None:
        inner = Handle("inner map", key)
        yield _map_create(inner, definition.inner, facts, btf, None, None)
    create = _map_create(handle, definition, facts, btf, inner, value)
    if definition.type == bpf_map_type.BPF_MAP_TYPE_ARENA:
        yield create._replace(mapped=_map_arena(key, definition, facts))
        return
    yield create
    if definition.type in _MAP_IN_MAP:
        for index, name in sorted(definition.slots.items()):
            if name not in created:
                raise PlanError(
                    f"map {key!r}: the map {name!r} is to be in it from the start, and is not created before it; "
                    "declare it first, and let it be created"
                )
            yield _set_slot(handle, index, Handle("map", name), facts)
    if definition.kind == "struct_ops":
        return
    if definition.contents is None:
        return
    if len(definition.contents) != definition.value_size:
        raise PlanError(
            f"map {key!r} has values of {definition.value_size} bytes, and its initial value {len(definition.contents)}"
        )
    zero = bytes(definition.key_size)
    fields: dict[str, Value] = {"map_fd": handle, "key": zero, "value": bytes(definition.contents)}
    yield Command(bpf_cmd.BPF_MAP_UPDATE_ELEM, f"filling the variables of {key!r}", fields)
    if definition.kind in ("rodata", "kconfig"):
        yield Command(bpf_cmd.BPF_MAP_FREEZE, f"freezing the constants of {key!r}", {"map_fd": handle})


def _map_arena(key: str, definition: MapSpec, facts: Facts) -> Mapped:
    contents = bytes(definition.contents or b"")
    size = definition.max_entries * facts.page_size
    offset = _arena_offset(definition, facts)
    if offset + len(contents) > size:
        raise PlanError(f"arena {key!r} has {size} bytes, too few for its {len(contents)} bytes of variables")
    if contents and definition.map_flags & bpf_map_flags.BPF_F_SEGV_ON_FAULT:
        raise PlanError(
            f"arena {key!r} has variables, and the flag BPF_F_SEGV_ON_FAULT, with which a process that fills them in "
            "gets a SIGSEGV; remove either"
        )
    return Mapped(size, definition.map_extra, contents, offset)


def _arena_offset(definition: MapSpec, facts: Facts) -> int:
    """Where in an arena its variables begin: in its last pages if the kernel can address those, else in the first."""
    if not definition.contents or not facts.has(Feature.LDIMM64_FULL_RANGE_OFF):
        return 0
    pages = -(-len(definition.contents) // facts.page_size)
    return max(definition.max_entries - pages, 0) * facts.page_size


def _set_slot(handle: Handle, index: int, member: Handle, facts: Facts) -> Command:
    """Put a map or a program into a map.  The kernel takes its descriptor as the value."""
    key = index.to_bytes(4, "little" if facts.byteorder == "little" else "big")
    fields: dict[str, Value] = {"map_fd": handle, "key": key, "value": Filled(bytes(4), ((0, 4, member),))}
    action = f"putting {member.kind} {member.name!r} into map {handle.name!r} at {index}"
    return Command(bpf_cmd.BPF_MAP_UPDATE_ELEM, action, fields)


def _fill_prog_arrays(spec: ObjectSpec, loaded: Collection[str], facts: Facts) -> Iterator[Command]:
    for key, definition in spec.maps.items():
        if definition.type != bpf_map_type.BPF_MAP_TYPE_PROG_ARRAY:
            continue
        for index, name in sorted(definition.slots.items()):
            if name not in loaded or not definition.autocreate:
                raise PlanError(
                    f"map {key!r} is to have program {name!r} in it from the start; both must be loaded, or the entry "
                    "be removed from the map's slots"
                )
            yield _set_slot(Handle("map", key), index, Handle("prog", name), facts)


def _register_value(value: KernelValue) -> Filled:
    """A struct_ops map's value, with the programs' descriptors where the kernel has pointers to functions."""
    handles = [(offset, _POINTER_SIZE, Handle("prog", name)) for offset, name in value.functions.items()]
    return Filled(value.data, tuple(handles))


def _map_create(
    handle: Handle, spec: MapSpec, facts: Facts, btf: Handle | None, inner: Handle | None, value: KernelValue | None
) -> Command:
    max_entries = spec.max_entries
    if spec.type == bpf_map_type.BPF_MAP_TYPE_PERF_EVENT_ARRAY and max_entries == 0:
        max_entries = facts.possible_cpus
    if spec.type in (bpf_map_type.BPF_MAP_TYPE_RINGBUF, bpf_map_type.BPF_MAP_TYPE_USER_RINGBUF):
        max_entries = _ring_size(max_entries, facts.page_size)
    map_flags = spec.map_flags
    is_data = spec.kind not in ("user", "struct_ops")
    if is_data and map_flags & bpf_map_flags.BPF_F_MMAPABLE and not facts.has(Feature.ARRAY_MMAP):
        map_flags &= ~bpf_map_flags.BPF_F_MMAPABLE
    fields: dict[str, Value] = {
        "map_type": _named(bpf_map_type, spec.type),
        "key_size": spec.key_size,
        "value_size": spec.value_size,
        "max_entries": max_entries,
        "map_flags": map_flags,
        "inner_map_fd": inner if inner is not None else 0,
        "numa_node": spec.numa_node,
        "map_name": _kernel_name(spec.name, facts),
        "map_ifindex": spec.ifindex,
        "map_extra": spec.map_extra,
    }
    if value is not None:
        fields |= {"value_size": len(value.data), "btf_vmlinux_value_type_id": value.type.type_id}
        if value.type.module:
            fields |= {"map_flags": map_flags | bpf_map_flags.BPF_F_VTYPE_BTF_OBJ_FD}
            fields |= _module("value_type_btf_obj_fd", value.type)
    without_btf = {name: value for name, value in fields.items() if value not in (0, "")}
    takes_btf = btf is not None and spec.type not in _NO_BTF
    typed: dict[str, Value] = dict(without_btf)
    if takes_btf and btf is not None:
        types = {"btf_key_type_id": spec.key_type_id, "btf_value_type_id": 0 if value else spec.value_type_id}
        typed |= {"btf_fd": btf} | {name: id for name, id in types.items() if id}
    return Command(
        bpf_cmd.BPF_MAP_CREATE,
        f"creating {handle.kind} {handle.name!r}",
        typed,
        handle,
        without_btf=without_btf,
        retry_without_btf=bool(takes_btf and not value and (spec.key_type_id or spec.value_type_id)),
    )


def _kernel_name(name: str, facts: Facts) -> str:
    """As many bytes of a name as the kernel keeps."""
    if not facts.has(Feature.PROG_NAME):
        return ""
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


def _relocate_types(
    spec: ObjectSpec, programs: Mapping[str, ProgramSpec], facts: Facts
) -> tuple[dict[int, bytes], dict[int, dict[int, core.Poisoned]]]:
    """Apply the CO-RE relocations of all functions that may be loaded.

    Returns, by ``id`` of the ProgramSpec, the patched instructions, and for instructions that the kernel's types cannot
    satisfy the reason: libbpf makes those invalid, which matters only if they can be reached.
    """
    patched: dict[int, bytes] = {}
    notes: dict[int, dict[int, core.Poisoned]] = {}
    if spec.btf is None or spec.btf_ext is None or not spec.btf_ext.core_relos:
        return patched, notes
    functions = [*programs.values(), *spec.subprograms.values()]
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
        insns = bytearray(function.insns)
        poisoned = core.relocate(
            insns,
            records,
            local=spec.btf,
            target=target,
            program=function.name,
            section_offset=function.section_offset,
            line_of=functools.partial(_line_of, spec, function),
            candidates=candidates,
        )
        patched[id(function)] = bytes(insns)
        notes[id(function)] = {entry.insn_index: entry for entry in poisoned}
    return patched, notes


def _load_program(
    key: str,
    spec: ObjectSpec,
    program: ProgramSpec,
    linked: Linked,
    facts: Facts,
    btf: Handle | None,
    notes: dict[int, dict[int, core.Poisoned]],
    new_ids: Mapping[int, int],
    bound_to: Mapping[str, Value],
    created: Collection[str],
    externs: Resolved,
) -> Iterator[Command]:
    """The load of one program, and the binding of the constants' maps to it, as libbpf does."""
    if len(linked.code) // _SLOT > _MAX_CODE:
        raise PlanError(f"program {program.name!r} has more than {_MAX_CODE} instructions with its subprograms")
    missing: dict[int, str] = {}
    code = _relocate(spec, program, linked, facts, created, externs, missing)
    handle = Handle("prog", key)
    fields: dict[str, Value] = {
        "prog_type": _named(bpf_prog_type, program.type),
        "insn_cnt": len(code.insns) // _SLOT,
        "insns": code,
        "license": spec.license,
        "kern_version": facts.version if spec.kern_version is None else spec.kern_version,
        "prog_flags": program.prog_flags,
        "prog_name": _kernel_name(program.name, facts),
        "prog_ifindex": program.ifindex,
        "expected_attach_type": _attach_type(program, facts),
        **bound_to,
    }
    if program.attach_prog_fd:
        fields["attach_prog_fd"] = program.attach_prog_fd
    if externs.kfunc_modules:
        modules = [(4 * place, 4, _module_handle(module)) for place, module in enumerate(externs.kfunc_modules, 1)]
        fields["fd_array"] = Filled(bytes(4 * len(modules) + 4), tuple(modules))
    without_btf = {name: value for name, value in fields.items() if value not in (0, "") or name == "license"}
    typed = without_btf
    if btf is not None and facts.has(Feature.BTF_FUNC):
        typed = without_btf | _debug_info(spec, linked, btf, new_ids)
    explained: dict[int, str | core.Poisoned] = {
        part.start + slot: note for part in linked.parts for slot, note in notes.get(id(part.function), {}).items()
    }
    explained |= missing
    yield Command(
        bpf_cmd.BPF_PROG_LOAD,
        f"loading program {key!r} (section {program.section!r})",
        typed,
        handle,
        without_btf=without_btf,
        lines=[
            line._replace(slot=part.start + line.slot) for part in linked.parts for line in _lines(spec, part.function)
        ],
        notes=explained,
    )
    for map_key, definition in spec.maps.items():
        if definition.kind == "rodata" and map_key in created and facts.has(Feature.PROG_BIND_MAP):
            fields = {"prog_fd": handle, "map_fd": Handle("map", map_key)}
            action = f"binding map {map_key!r} to program {key!r}"
            yield Command(bpf_cmd.BPF_PROG_BIND_MAP, action, fields, optional=True)


def _attach_type(program: ProgramSpec, facts: Facts) -> int:
    """The expected_attach_type, as far as the kernel takes one."""
    definition = program.definition
    if definition is not None:
        if definition.attach_type_optional and program.expected_attach_type:
            return program.expected_attach_type if facts.has(Feature.EXP_ATTACH_TYPE) else 0
        if definition.is_usdt and facts.has(Feature.UPROBE_MULTI_LINK):
            return bpf_attach_type.BPF_TRACE_UPROBE_MULTI
    return program.expected_attach_type


_OLD_HELPERS = {
    bpf_func_id.BPF_FUNC_probe_read_kernel: bpf_func_id.BPF_FUNC_probe_read,
    bpf_func_id.BPF_FUNC_probe_read_user: bpf_func_id.BPF_FUNC_probe_read,
    bpf_func_id.BPF_FUNC_probe_read_kernel_str: bpf_func_id.BPF_FUNC_probe_read_str,
    bpf_func_id.BPF_FUNC_probe_read_user_str: bpf_func_id.BPF_FUNC_probe_read_str,
}
"""What kernels had before they told kernel memory and user memory apart."""


def _replace_helpers(code: bytearray, order: str, facts: Facts) -> None:
    """Call older helpers where the kernel has not the ones that are called."""
    for position in range(0, len(code), _SLOT):
        if code[position] == BPF_JMP | BPF_CALL and code[position + 1] == 0:  # with a source register: no helper
            (helper,) = struct.unpack_from(order + "i", code, position + 4)
            if helper in _OLD_HELPERS and not facts.has(Feature.PROBE_READ_KERN):
                struct.pack_into(order + "i", code, position + 4, _OLD_HELPERS[helper])


def _bound_to(target: Found | None, callback: Callback | None) -> dict[str, Value]:
    """The fields that say what function or struct of the kernel, or of another program, a program is for."""
    found = target if callback is None else callback.struct
    if found is None:
        return {}
    fields: dict[str, Value] = {"attach_btf_id": found.type_id} | _module("attach_btf_obj_fd", found)
    return fields if callback is None else fields | {"expected_attach_type": callback.member}


def _module(name: str, found: Found) -> dict[str, Value]:
    """The field ``name`` with the BTF of the module that a type is in; none for a type of the kernel proper."""
    return {name: Handle("module btf", found.module.name)} if found.module else {}


def _open_modules(ids: Mapping[str, int]) -> Iterator[Command]:
    """Open the BTF of modules, which the kernel knows by id.  An id is known only of a running kernel's modules."""
    for name, id in ids.items():
        action = f"opening the types of module {name!r}"
        fields: dict[str, Value] = {"btf_id": id}
        if not id:
            action, fields = f"{action}, by the id that they get when the kernel loads it", {}
        yield Command(bpf_cmd.BPF_BTF_GET_FD_BY_ID, action, fields, Handle("module btf", name))


def _module_handle(module: ModuleBtf) -> Handle:
    return Handle("module btf", module.name)


def _relocate(
    spec: ObjectSpec,
    program: ProgramSpec,
    linked: Linked,
    facts: Facts,
    created: Collection[str],
    externs: Resolved,
    missing: dict[int, str],
) -> Code:
    """Put maps, variables and externs into the 16-byte load instructions that refer to them.

    The kernel takes a map as its descriptor in the first immediate, and a variable as its map's descriptor and its byte
    offset in the second; the source register says which (BPF_PSEUDO_... in include/uapi/linux/bpf.h).  The load of a
    map that is not created becomes two calls of a helper that does not exist; ``missing`` gets the reason, by slot.
    """
    order = "<" if spec.byteorder == "little" else ">"
    code = linked.code
    handles: list[tuple[int, Handle]] = []
    for entry in linked.relocations():
        position = entry.insn * _SLOT
        if entry.kind in ("call", "function"):
            continue  # the linker has been there
        if entry.kind == "extern" and entry.target not in spec.externs:
            raise PlanError(
                f"program {program.name!r}, instruction {entry.insn} refers to extern {entry.target!r}, which is "
                "not one of the object's"
            )
        if entry.kind == "extern" and code[position] == BPF_JMP | BPF_CALL:
            _call_extern(code, entry, spec, externs, missing)
            continue
        if position + 2 * _SLOT > len(code):
            raise ObjectFormatError(
                f"instruction {entry.insn} is cut off after its first half", where=f"program {program.name!r}"
            )
        if entry.kind == "extern":
            handles += _load_extern(code, entry, spec, externs)
            continue
        if entry.target not in created:
            helper = _POISON_MAP + list(spec.maps).index(entry.target)
            code[position : position + 2 * _SLOT] = 2 * struct.pack(order + "BBhi", BPF_JMP | BPF_CALL, 0, 0, helper)
            missing[entry.insn] = f"Map {entry.target!r}, which it uses, is not created"
            continue
        if entry.kind == "data":
            (addend,) = struct.unpack_from(order + "i", code, position + 4)
            definition = spec.maps[entry.target]
            start = _arena_offset(definition, facts) if definition.type == bpf_map_type.BPF_MAP_TYPE_ARENA else 0
            set_source(code, position, BPF_PSEUDO_MAP_VALUE, spec.byteorder)
            struct.pack_into(order + "I", code, position + _SLOT + 4, (addend + entry.offset + start) & 0xFFFFFFFF)
        else:
            set_source(code, position, BPF_PSEUDO_MAP_FD, spec.byteorder)
        struct.pack_into(order + "i", code, position + 4, 0)
        handles.append((entry.insn, Handle("map", entry.target)))
    _replace_helpers(code, order, facts)
    return Code(bytes(code), tuple(handles), spec.byteorder)


def _call_extern(
    code: bytearray, entry: Relocation, spec: ObjectSpec, externs: Resolved, missing: dict[int, str]
) -> None:
    """Make a call one of a function of the kernel; or of no function, if the kernel does not have it.

    The kernel takes the id of the function's type, and in the offset field which BTF of fd_array it is in.
    """
    order, position = "<" if spec.byteorder == "little" else ">", entry.insn * _SLOT
    found = externs.symbols.get(entry.target)
    if isinstance(found, Found):
        place = externs.kfunc_modules.index(found.module) + 1 if found.module else 0
        set_source(code, position, BPF_PSEUDO_KFUNC_CALL, spec.byteorder)
        struct.pack_into(order + "hi", code, position + 2, place, found.type_id)
    else:
        helper = POISON_CALL + list(spec.externs).index(entry.target)
        struct.pack_into(order + "BBhi", code, position, BPF_JMP | BPF_CALL, 0, 0, helper)
        missing[entry.insn] = f"The kernel has no function {entry.target!r} as declared; test bpf_ksym_exists() first"


def _load_extern(
    code: bytearray, entry: Relocation, spec: ObjectSpec, externs: Resolved
) -> Iterator[tuple[int, Handle]]:
    """Put a symbol of the kernel into a 16-byte load: its address, or the id of its type and the BTF of its module."""
    order, position = "<" if spec.byteorder == "little" else ">", entry.insn * _SLOT
    first = second = 0
    found = externs.symbols.get(entry.target)
    if isinstance(found, Found):
        set_source(code, position, BPF_PSEUDO_BTF_ID, spec.byteorder)
        first = found.type_id
        if found.module:
            yield entry.insn + 1, _module_handle(found.module)
    elif found is not None:
        first, second = found.address & 0xFFFFFFFF, found.address >> 32
    struct.pack_into(order + "I", code, position + 4, first)
    struct.pack_into(order + "I", code, position + _SLOT + 4, second)


def _debug_info(spec: ObjectSpec, linked: Linked, btf: Handle, new_ids: Mapping[int, int]) -> dict[str, Value]:
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
                functions += struct.pack(order + "II", slot, new_ids.get(func.type_id, func.type_id))
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
    """Where source lines begin in a function.

    The compiler gives no line to an instruction that only moves a constant into a register, as many do that CO-RE
    changes.  Its line is that of the next call or jump, which is what uses the constant.
    """
    if spec.btf_ext is None:
        return []
    start, code = function.section_offset, function.insns
    records = _records(spec.btf_ext.line_info, function)
    slots = [(line.insn_off - start) // _SLOT for line in records]
    for relo in _records(spec.btf_ext.core_relos, function):
        slot = (relo.insn_off - start) // _SLOT
        following = bisect_left(slots, slot)
        if following < len(slots) and 0 < slots[following] - slot < _NEAR and code[slot * _SLOT] in _MOVES:
            between = code[slot * _SLOT : slots[following] * _SLOT : _SLOT]
            if not any(opcode & BPF_CLASS_MASK in (BPF_JMP, BPF_JMP32) for opcode in between):
                slots[following] = slot
    return [SourceLine(slot, _line_text(line)) for slot, line in zip(slots, records, strict=True)]


def _records(found: Mapping[str, Sequence[Record]], function: ProgramSpec) -> Sequence[Record]:
    """The records of a function's instructions, out of those of all sections, which are sorted."""
    records = found.get(function.section, ())
    start, end = function.section_offset, function.section_offset + len(function.insns)
    first, last = (bisect_left(records, offset, key=lambda record: record.insn_off) for offset in (start, end))
    return records[first:last]


def _line_of(spec: ObjectSpec, function: ProgramSpec, slot: int) -> str:
    return line_at(_lines(spec, function), slot)


def _line_text(line: LineInfo) -> str:
    return f"{line.file_name}:{line.line_num}: {line.line.strip()}"


def line_at(lines: Sequence[SourceLine], slot: int) -> str:
    """The source line that an instruction comes from, "" if that is not known; ``lines`` are sorted."""
    after = bisect_right(lines, slot, key=lambda line: line.slot)
    return lines[after - 1].text if after else ""
