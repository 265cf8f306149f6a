"""What a loader handed to the kernel, from the file that recorder.c wrote, in a form in which loaders can be compared.

File descriptors become the names of what they stand for.  Calls that find out what the kernel can do are left out: they
are known by programs and maps without a name or with one of libbpf's, and by BTF that nothing of the object refers to.
The verifier's log is no part of what is loaded.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from purebpf.abi.attr import ATTR_OF_CMD
from purebpf.abi.bpf import BPF_PSEUDO_BTF_ID, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, bpf_cmd

Value = int | bytes | str | tuple[object, ...]

_LOG = ("log_", "btf_log_")
_LD_IMM64 = 0x18
_PROBES = ("det_arg_ctx", "global_reloc", "purebpf_test")
"""Names of programs that find out what the kernel can do."""


@dataclass(frozen=True)
class Call:
    """One bpf(2) call: ``subject`` is the name of what it is about; fields that are zero are left out.

    Beside the commands there are "mmap", which maps an arena, and "memory", what is in it after the loading.
    """

    name: str
    subject: str
    fields: dict[str, Value]

    @property
    def title(self) -> str:
        return f"{self.name} {self.subject}"


@dataclass
class Load:
    """One loading of an object.  ``outcome`` is "loaded", "refused", or "crashed" if the loader came to no end."""

    path: str
    selected: str
    outcome: str = "crashed"
    programs: list[str] = field(default_factory=list)
    complaint: str = ""
    calls: list[Call] = field(default_factory=list)

    def code(self) -> list[Call]:
        """The calls that load programs."""
        return [call for call in self.calls if call.name == bpf_cmd.BPF_PROG_LOAD.name]


@dataclass
class _Line:
    cmd: bpf_cmd
    errno: int
    attributes: bytes
    buffers: dict[int, bytes]
    objects: dict[str, str]


@dataclass
class _Mapping:
    """A line that says how an arena is mapped, or what is in it."""

    name: str
    fields: dict[str, Value]
    arena: str


def read(path: Path) -> list[Load]:
    """All loadings of a recording, in order."""
    loads: list[Load] = []
    lines: list[_Line | _Mapping] = []
    for text in path.read_text(errors="backslashreplace").splitlines():
        if not text.startswith("mark "):
            lines.append(_mapping(text) if text.startswith("m") else _line(text))
            continue
        text = text.removeprefix("mark ")
        if text.startswith("begin "):
            _, name, selected = text.split(" ")
            loads.append(Load(name, selected))
            lines = []
        elif text in ("loaded", "refused"):
            loads[-1].outcome = text
            loads[-1].calls = list(_calls(lines))
        else:
            names, _, complaint = text.partition("\\n")
            loads[-1].programs = names.split()
            loads[-1].complaint = complaint.replace("\\n", "\n").strip()
    return loads


def _line(text: str) -> _Line:
    cmd, errno, attributes, *rest = text.split(" ")
    line = _Line(bpf_cmd(int(cmd)), int(errno), bytes.fromhex(attributes), {}, {})
    for word in rest:
        if "=" in word:
            offset, _, data = word.partition("=")
            line.buffers[int(offset)] = bytes.fromhex(data)
        else:
            label, _, object_id = word.partition(":")
            line.objects[label] = object_id
    return line


def _mapping(text: str) -> _Mapping:
    name, *rest, target = text.split(" ")
    arena = target.partition(":")[2]
    if name == "memory":
        return _Mapping(name, {"contents": bytes.fromhex(rest[0])}, arena)
    fields = dict(zip(("errno", "address", "size"), [int(word) for word in rest], strict=True))
    return _Mapping(name, {key: value for key, value in fields.items() if value}, arena)


def _calls(lines: list[_Line | _Mapping]) -> Iterator[Call]:
    """The calls that load the object; ``names`` are those of the kernel's objects, by kind and id."""
    calls = [line for line in lines if isinstance(line, _Line)]
    used = {id for line in calls if _name(line) for label, id in line.objects.items() if label != "new"}
    probing: set[str] = set()
    names: dict[str, str] = {}
    for line in lines:
        if isinstance(line, _Mapping):
            yield Call(line.name, names[line.arena], line.fields)
            continue
        new = line.objects.get("new")
        if _is_probe(line, used) or not probing.isdisjoint(line.objects.values()):
            probing |= {new} if new else set()
            continue
        fields = dict(_fields(line, names))
        if line.errno:
            fields["errno"] = line.errno
        subject = _subject(line, fields)
        if new:
            kind = new.partition(":")[0]
            # The kernel cuts names off, so that several objects can have the same.
            names[new] = _unused(f"{kind} {subject}".strip(), names)
            subject = names[new].removeprefix(kind).strip()
        yield Call(line.cmd.name, subject, fields)


def _is_probe(line: _Line, used: set[str]) -> bool:
    if line.cmd == bpf_cmd.BPF_BTF_LOAD:
        return line.objects.get("new") not in used
    return line.cmd in (bpf_cmd.BPF_PROG_LOAD, bpf_cmd.BPF_MAP_CREATE) and not _name(line)


def _name(line: _Line) -> str:
    """The name of the object's map or program that the call creates, "" if it is none."""
    field = {bpf_cmd.BPF_MAP_CREATE: "map_name", bpf_cmd.BPF_PROG_LOAD: "prog_name"}.get(line.cmd)
    structure = _structure(line)
    name: str = getattr(structure, field).decode() if field else ""
    if name == "arr" and structure.value_size == 1:  # as small as no object's
        return ""
    return "" if name.startswith("libbpf_") or name in _PROBES else name


def _structure(line: _Line) -> ctypes.Structure:
    kind = ATTR_OF_CMD[line.cmd]
    known, rest = line.attributes[: ctypes.sizeof(kind)], line.attributes[ctypes.sizeof(kind) :]
    if any(rest):
        raise ValueError(f"{line.cmd.name} has attributes that purebpf.abi does not know: {rest.hex()}")
    return kind.from_buffer_copy(known.ljust(ctypes.sizeof(kind), b"\0"))


def _fields(line: _Line, names: dict[str, str]) -> Iterator[tuple[str, Value]]:
    structure = _structure(line)
    seen: set[int] = set()
    for name in _field_names(type(structure)):
        offset, value = getattr(type(structure), name).offset, getattr(structure, name)
        # Of the names that a union has for the same bytes, the first will do.
        if offset in seen or not value or name.startswith(_LOG):
            continue
        seen.add(offset)
        if name == "insns":
            yield from _instructions(line.buffers[offset], line, names)
        elif name == "fd_array":
            numbers = struct.unpack(f"={len(line.buffers[offset]) // 4}i", line.buffers[offset])
            yield name, tuple(_named(str(number), line, names) for number in numbers)
        elif name == "value" and "value" in line.objects:
            yield name, _named("value", line, names)
        elif offset in line.buffers:
            yield name, line.buffers[offset]
        elif name.endswith("_fd"):
            yield name, _named(str(value), line, names)
        else:
            yield name, value


def _field_names(kind: type[ctypes.Structure | ctypes.Union]) -> Iterator[str]:
    for name, field_type, *_ in kind._fields_:
        if name in getattr(kind, "_anonymous_", ()):
            yield from _field_names(field_type)
        else:
            yield name


def _instructions(code: bytes, line: _Line, names: dict[str, str]) -> Iterator[tuple[str, Value]]:
    """The instructions with zeros for descriptors, and what these stand for by the instruction's number."""
    insns, references = bytearray(code), []
    slot = 0
    while slot < len(insns) // 8:
        if insns[slot * 8] == _LD_IMM64:
            source = insns[slot * 8 + 1] >> 4
            if source in (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE):
                place = slot * 8 + 4
            elif source == BPF_PSEUDO_BTF_ID:
                place = slot * 8 + 12
            else:
                place = 0
            (number,) = struct.unpack_from("=i", insns, place)
            if place and number:
                references.append((slot, _named(str(number), line, names)))
                struct.pack_into("=i", insns, place, 0)
            slot += 1
        slot += 1
    yield "insns", bytes(insns)
    yield "descriptors in insns", tuple(references)


def _named(label: str, line: _Line, names: dict[str, str]) -> str:
    found = line.objects.get(label)
    return "no object" if found is None else names.get(found, found)


def _subject(line: _Line, fields: dict[str, Value]) -> str:
    if _name(line):
        return _name(line)
    parts = [fields.get(name) for name in ("map_fd", "prog_fd", "bpf_fd", "pathname")]
    return " ".join(part.rstrip(b"\0").decode() if isinstance(part, bytes) else str(part) for part in parts if part)


def _unused(name: str, names: dict[str, str]) -> str:
    taken, number, first = set(names.values()), 1, name
    while name in taken:
        number += 1
        name = f"{first}#{number}"
    return name
