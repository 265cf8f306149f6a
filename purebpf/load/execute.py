"""The executor: performs a plan, and swaps the handles in it for file descriptors.

It decides nothing.  What a refusal means stands in the plan: a command may be optional, have other fields to be tried
without BTF, or say which of the next ones are left out.  The one exception is the verifier's log: a program is first
loaded without one, as that is faster, and a refused program is loaded again to get it, with a buffer that grows until
the log fits.
"""

from __future__ import annotations

import ctypes
import errno
import re
import struct
import sys
from collections.abc import Mapping
from typing import Protocol, TypeVar

from purebpf.abi.attr import ATTR_OF_CMD, bpf_map_info
from purebpf.abi.bpf import bpf_cmd
from purebpf.errors import KernelError, PlanError, VerifierError
from purebpf.load.plan import Code, Command, Expected, Filled, Handle, LoadPlan, Mapped, Value, line_at, show

_FIRST_LOG_SIZE = 1 << 16
_LARGEST_LOG_SIZE = 0xFFFFFFFF >> 2
"""In bytes; the kernel refuses larger ones (bpf_verifier_log_attr_valid in kernel/bpf/log.c)."""
_TELLING_END = 1 << 16
"""How much of a log, from its end, is searched for the reason of a rejection."""
_TEMPORARY = ("module btf", "inner map")
_LOAD_ATTEMPTS = 5
"""The kernel answers EAGAIN when a signal interrupts the verifier; libbpf tries as often."""


class Descriptor(Protocol):
    """What owns a file descriptor."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


Owner = TypeVar("Owner", bound=Descriptor, covariant=True)


class Kernel(Protocol[Owner]):
    """What the executor needs: the system call, and an owner for each descriptor that it returns.

    ``lacking`` is asked when a command has failed for good: a sentence about what the kernel lacks that was asked for,
    or "".  Of the command's fields it gets those that are numbers.
    Pins are files: ``prepare_pin`` is called before one is made and sees to its directory, ``note_pin`` after it.
    ``map_memory`` maps a map's memory and fills it.  When loading has failed, ``undo`` removes the pins that were
    noted, and unmaps what was mapped.
    """

    def bpf(self, cmd: bpf_cmd, attr: ctypes.Structure, *, action: str) -> int: ...
    def lacking(self, code: int, cmd: bpf_cmd, fields: Mapping[str, int]) -> str: ...
    def own(self, number: int, what: str) -> Owner: ...
    def prepare_pin(self, path: str) -> None: ...
    def note_pin(self, path: str) -> None: ...
    def map_memory(self, handle: Handle, fd: Descriptor, mapped: Mapped) -> None: ...
    def undo(self) -> None: ...


def execute(plan: LoadPlan, kernel: Kernel[Owner]) -> dict[Handle, Owner]:
    """Perform the plan and return the owners of the descriptors that it created, in order.

    What serves only to create others is closed again: the types of modules, and patterns of maps in maps.
    Raises KernelError, VerifierError for a rejected program, or PlanError for a pinned map that is unlike the object's;
    then every descriptor opened before is closed again, every pin made is removed, and what was mapped is unmapped.
    """
    opened: dict[Handle, Owner] = {}
    left_out = 0
    try:
        for command in plan:
            if left_out:
                left_out -= 1
                continue
            number = _perform(command, opened, kernel)
            left_out = command.skips_if_not if number is None else command.skips_if_done
            if number is not None and command.creates is not None:
                before = opened.get(command.creates)
                opened[command.creates] = kernel.own(number, f"{command.creates.kind} {command.creates.name!r}")
                if before is not None:
                    before.close()
                if command.mapped is not None:
                    kernel.map_memory(command.creates, opened[command.creates], command.mapped)
    except BaseException:
        for owner in opened.values():
            owner.close()
        kernel.undo()
        raise
    for handle in [handle for handle in opened if handle.kind in _TEMPORARY]:
        opened.pop(handle).close()
    return opened


def _perform(command: Command, opened: Mapping[Handle, Owner], kernel: Kernel[Owner]) -> int | None:
    """Make one call.  None if it failed as it may: the command is optional, or it tolerates that answer."""
    attempts = [command.fields]
    has_btf = any(handle.kind == "btf" for handle in opened)
    if command.without_btf is not None:
        if not has_btf:
            attempts = [command.without_btf]
        elif command.retry_without_btf:
            attempts.append(command.without_btf)
    for fields in attempts:
        try:
            if command.cmd == bpf_cmd.BPF_PROG_LOAD:
                return _load(command, fields, opened, kernel)
            return _call(command, fields, opened, kernel)
        except KernelError as error:
            refusal = error
    if command.optional or (refusal.errno == command.tolerated != 0):
        return None
    raise _explained(refusal, command, fields, kernel)


def _explained(
    refusal: KernelError, command: Command, fields: Mapping[str, Value], kernel: Kernel[Owner]
) -> KernelError:
    """The refusal with what the kernel lacks, if that is why, and with what a map was to be like."""
    code = refusal.errno or 0
    numbers = {name: value for name, value in fields.items() if isinstance(value, int)}
    reason = kernel.lacking(code, command.cmd, numbers)
    if isinstance(refusal, VerifierError):
        hint = "\n".join(filter(None, [reason, refusal.hint]))
        return VerifierError(code, refusal.action, refusal.log, hint)
    asked = ""
    if command.cmd == bpf_cmd.BPF_MAP_CREATE and code != errno.EPERM:
        asked = "It was asked for " + ", ".join(f"{name} = {show(value)}" for name, value in fields.items())
    return KernelError(code, refusal.action, ". ".join(filter(None, [reason or refusal.hint, asked])))


def _call(command: Command, fields: Mapping[str, Value], opened: Mapping[Handle, Owner], kernel: Kernel[Owner]) -> int:
    attributes = _Attributes(command.cmd, fields, opened)
    path = fields.get("pathname")
    is_pin = command.cmd == bpf_cmd.BPF_OBJ_PIN and isinstance(path, str)
    if is_pin:
        kernel.prepare_pin(str(path))
    number = kernel.bpf(command.cmd, attributes.structure, action=command.action)
    if is_pin:
        kernel.note_pin(str(path))
    if command.expected is not None:
        _compare(command, command.expected, bpf_map_info.from_address(attributes.structure.info))
    return number


def _compare(command: Command, expected: Expected, info: bpf_map_info) -> None:
    """Raise PlanError if a map is not the one that is expected."""
    differing = []
    for name, value in expected.fields.items():
        have = getattr(info, name)
        if have != value and (name != "map_flags" or (have ^ value) & ~expected.ignored_flags):
            differing.append(f"{name} is {have} there, and {show(value)} in the object")
    if differing:
        raise PlanError(f"{command.action}: {', '.join(differing)}. {expected.hint}")


def fill(value: Filled, opened: Mapping[Handle, Descriptor]) -> bytes:
    """The bytes with the descriptors in their places."""
    data = bytearray(value.data)
    for offset, size, handle in value.handles:
        data[offset : offset + size] = opened[handle].fileno().to_bytes(size, sys.byteorder)
    return bytes(data)


def _load(command: Command, fields: Mapping[str, Value], opened: Mapping[Handle, Owner], kernel: Kernel[Owner]) -> int:
    """Load a program; if it is refused, once more for the verifier's log."""
    attributes = _Attributes(command.cmd, fields, opened)
    try:
        return _attempt(attributes, command, kernel)
    except KernelError as error:
        refusal = error
    size = _FIRST_LOG_SIZE
    while True:
        log = ctypes.create_string_buffer(size)
        attributes.structure.log_level = 1
        attributes.structure.log_size = size
        attributes.structure.log_buf = ctypes.addressof(log)
        try:
            return _attempt(attributes, command, kernel)
        except KernelError as error:
            if error.errno != errno.ENOSPC:
                refusal = error
                break
        if size == _LARGEST_LOG_SIZE:
            break
        # Since Linux 6.4 the kernel says how long the log is.
        size = min(max(2 * size, attributes.structure.log_true_size), _LARGEST_LOG_SIZE)
    text = log.value.decode("utf-8", "backslashreplace")
    if not text:
        raise refusal
    raise VerifierError(refusal.errno or 0, command.action, text, _explain(command, fields, text))


def _attempt(attributes: _Attributes, command: Command, kernel: Kernel[Owner]) -> int:
    for _ in range(_LOAD_ATTEMPTS - 1):
        try:
            return kernel.bpf(command.cmd, attributes.structure, action=command.action)
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
    return kernel.bpf(command.cmd, attributes.structure, action=command.action)


def _explain(command: Command, fields: Mapping[str, Value], log: str) -> str:
    """What the log means in the user's own source: the C line, a licence that is missing, a type the kernel lacks."""
    hints = []
    log = log[-_TELLING_END:]
    slots = re.findall(r"^(\d+): ", log, re.MULTILINE)
    if slots:
        slot = int(slots[-1])
        line, note = line_at(command.lines, slot), command.notes.get(slot)
        if line or note:
            hints.append(f"The verifier stopped at instruction {slot}" + (f", from {line}" if line else ""))
        if note:
            hints.append(str(note))
    if "failed to find the address for kernel symbol" in log:
        hints.append("A kernel without CONFIG_KALLSYMS_ALL does not know the addresses of its own variables")
    if any("GPL" in line for line in log.splitlines() if not line.startswith(";")):
        license = fields.get("license")
        hints.append(
            f"The object's license is {license!r}; the kernel offers this helper to GPL-compatible programs only"
            if license
            else 'The object declares no license; add  char LICENSE[] SEC("license") = "GPL";'
        )
    return "\n".join(hints)


class _Attributes:
    """A command's attribute structure, filled in.  Keeps alive what its pointers point to."""

    def __init__(self, cmd: bpf_cmd, fields: Mapping[str, Value], opened: Mapping[Handle, Descriptor]) -> None:
        self.structure = ATTR_OF_CMD[cmd]()
        self._kept: list[ctypes.Array[ctypes.c_char]] = []
        for name, value in fields.items():
            setattr(self.structure, name, self._field(name, value, opened))

    def _field(self, name: str, value: Value, opened: Mapping[Handle, Descriptor]) -> int | bytes:
        if isinstance(value, Handle):
            return opened[value].fileno()
        if isinstance(value, Code):
            return self._pointer(_with_descriptors(value, opened))
        if isinstance(value, Filled):
            return self._pointer(fill(value, opened))
        if isinstance(value, str):
            raw = value.encode("utf-8", "surrogateescape")
            is_array = isinstance(getattr(self.structure, name), bytes)
            return raw if is_array else self._pointer(raw + b"\0")
        if isinstance(value, bytes):
            return self._pointer(value)
        return value

    def _pointer(self, data: bytes) -> int:
        buffer = (ctypes.c_char * max(len(data), 1)).from_buffer_copy(data or b"\0")
        self._kept.append(buffer)
        return ctypes.addressof(buffer)


def _with_descriptors(code: Code, opened: Mapping[Handle, Descriptor]) -> bytes:
    insns = bytearray(code.insns)
    for slot, handle in code.handles:
        struct.pack_into("=i", insns, slot * 8 + 4, opened[handle].fileno())
    return bytes(insns)
