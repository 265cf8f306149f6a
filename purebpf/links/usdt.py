"""Static tracepoints of user space (USDT), which programs with <bpf/usdt.bpf.h> read the arguments of.

To the kernel they are uprobes, one for each place that a tracepoint is in (`purebpf.obj.usdt`).  Where the arguments
are differs from place to place, and the program finds out when it runs.  Two maps are there for that, which usdt.bpf.h
defines in every object that includes it.  ``__bpf_usdt_specs`` is an array of descriptions, ``struct __bpf_usdt_spec``;
places with the same arguments share one.  Its index, the spec id, comes to the program as the uprobe's cookie.

Before Linux 5.15 there are no cookies, and the program looks the instruction's address up in
``__bpf_usdt_ip_to_spec_id``.  An address is only known in advance if the program is not relocated when it starts, or
within one process that runs already.

Since Linux 6.10 one bpf link takes all places, before that there is a uprobe for each.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from purebpf.abi.bpf import bpf_elem_flags
from purebpf.abi.syscalls import machine
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.fd import Fd
from purebpf.kernel.features import Features, running
from purebpf.kernel.perf import config_bit
from purebpf.links.code import full_path, opened
from purebpf.links.link import Link
from purebpf.links.probe import Probe
from purebpf.links.uprobe import attach_at, process
from purebpf.links.uprobe_multi import link_uprobes
from purebpf.load.features import Feature
from purebpf.load.nearest import nearest, suggestion
from purebpf.maps.map import Map
from purebpf.obj import usdt
from purebpf.obj.binary import ET_DYN, ET_EXEC, Binary
from purebpf.obj.usdt import MAX_ARGUMENTS, Argument, Site

_NOPS = b"\x90\x0f\x1f\x44\x00\x00"
"""x86-64: nop, and a nop of 5 bytes, which the kernel can make a call of in place of a trap (Linux 6.18)."""


_SPECS, _ADDRESSES = "__bpf_usdt_specs", "__bpf_usdt_ip_to_spec_id"


class Specs:
    """The descriptions of arguments that an object's programs know, and which of their places are taken."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._maps = maps
        self._taken: set[int] = set()

    def _map(self, name: str, action: str) -> Map:
        if name not in self._maps:
            raise AttachError(f"{action}: the object has no map {name}; its programs need #include <bpf/usdt.bpf.h>")
        return self._maps[name]

    def add(self, arguments: Sequence[Argument], cookie: int, action: str) -> int:
        """Describe arguments to the programs; returns the spec id.  Raises AttachError, KernelError."""
        specs = self._map(_SPECS, action)
        number = next((each for each in range(specs.max_entries) if each not in self._taken), None)
        if number is None:
            raise AttachError(
                f"{action}: map {specs.name} is full with {specs.max_entries} descriptions of arguments; define a"
                " larger BPF_USDT_MAX_SPEC_CNT before #include <bpf/usdt.bpf.h>"
            )
        described = [_member(argument) for argument in arguments]
        value = {
            "args": described + [{}] * (MAX_ARGUMENTS - len(described)),
            "usdt_cookie": cookie,
            "arg_cnt": len(described),
        }
        try:
            specs[number] = value
        except ValueError as error:
            raise AttachError(
                f"{action}: an argument is in memory at two registers' sum, which the object's programs cannot read;"
                " compile it with the usdt.bpf.h of libbpf 1.7 or later"
            ) from error
        self._taken.add(number)
        return number

    def add_address(self, address: int, number: int, action: str) -> None:
        """Tell the programs by which spec id to go at an instruction.  Raises AttachError, KernelError."""
        try:
            self._map(_ADDRESSES, action).update_element(address, number, bpf_elem_flags.BPF_NOEXIST)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            raise AttachError(f"{action}: a program of this object is attached there already, {address:#x}") from None

    def remove(self, number: int) -> None:
        self._taken.discard(number)

    def remove_address(self, address: int) -> None:
        with suppress(ValueError):  # closed; an object, with its maps, may be closed before its links are
            self._maps[_ADDRESSES].pop(address, None)


def _member(argument: Argument) -> dict[str, Any]:
    """``struct __bpf_usdt_arg_spec``.  What came with libbpf 1.7 is left out where it is not needed."""
    members = {
        "val_off": argument.value & (1 << 64) - 1,
        "arg_type": int(argument.type),
        "reg_off": argument.register,
        "arg_signed": argument.signed,
        "arg_bitshift": 64 - 8 * argument.size,
    }
    if argument.type == usdt.ArgumentType.BPF_USDT_ARG_SIB:
        members |= {"idx_reg_off": argument.index_register, "scale_bitshift": argument.scale_bitshift}
    return members


def attach_usdt(
    prog_fd: Fd | int,
    specs: Specs,
    path: str,
    provider: str,
    name: str,
    *,
    pid: int = -1,
    cookie: int = 0,
    features: Features | None = None,
) -> Link:
    """Run a loaded program whenever the static tracepoint ``provider``:``name`` of a file is hit, wherever it is in it.

    ``path`` and ``pid`` are as for a uprobe.  ``cookie`` is what bpf_usdt_cookie() returns in the program.

    Raises AttachError if there is no such file or tracepoint, with the nearest names, or arguments that usdt.bpf.h
    cannot read; ObjectFormatError for a file that is not well-formed; KernelError.
    """
    features = features or running()
    target = f"{path}:{provider}:{name}"
    action = f"attaching to usdt {target}"
    path = full_path(path, action)
    places = _places(path, provider, name, pid, features, action)
    with ExitStack() as undo:
        numbers = _describe(specs, places, cookie, action, undo)
        if features.has(Feature.UPROBE_MULTI_LINK):
            link = undo.enter_context(
                link_uprobes(
                    prog_fd,
                    path,
                    [place.offset for place in places],
                    pid=pid,
                    cookies=numbers,
                    ref_ctr_offsets=[place.semaphore for place in places],
                    action=action,
                )
            )
            link.what = f"link to usdt {target}"
            # Pinned, it needs its descriptions when it is closed, too; a Link does not call `detach` then.
            return Link("usdt", target, link, bpf_link=link, detach=undo.pop_all().close)
        has_cookie = features.has(Feature.BPF_COOKIE)
        for place, number in zip(places, numbers, strict=True):
            if not has_cookie:
                specs.add_address(place.address, number, action)
                undo.callback(specs.remove_address, place.address)
            probe = Probe("uprobe", path, place.offset, ref_ctr_offset=place.semaphore)
            undo.enter_context(attach_at(prog_fd, probe, target, pid, number if has_cookie else 0, features))
        return Link("usdt", target, detach=undo.pop_all().close)


def _describe(specs: Specs, places: Sequence[Site], cookie: int, action: str, undo: ExitStack) -> list[int]:
    """The spec ids of all places; those with the same arguments have the same."""
    known: dict[str, int] = {}
    for place in places:
        if place.arguments not in known:
            try:
                arguments = usdt.parse_arguments(place.arguments, machine())
            except ValueError as error:
                raise AttachError(f"{action}: {error}") from None
            known[place.arguments] = specs.add(arguments, cookie, action)
            undo.callback(specs.remove, known[place.arguments])
    return [known[place.arguments] for place in places]


def _places(path: str, provider: str, name: str, pid: int, features: Features, action: str) -> list[Site]:
    """Where the tracepoint is, with addresses as they will be if programs depend on them."""
    with opened(path, action) as binary:
        _check(binary, action)
        found = usdt.sites(binary, provider, name)
        if not found:
            raise AttachError(f"{action}: {_why_absent(binary, provider, name)}")
        if any(place.semaphore for place in found) and config_bit("uprobe", "ref_ctr_offset") is None:
            raise AttachError(f"{action}: it has a semaphore, which takes Linux 4.20")
        if not features.has(Feature.BPF_COOKIE) and binary.type == ET_DYN:
            found = _relocated(found, path, pid, action)
        if features.has(Feature.UPROBE_SYSCALL):
            found = [_on_long_nop(binary, place) for place in found]
    return found


def _check(binary: Binary, action: str) -> None:
    if binary.bits != 64 or binary.byteorder != sys.byteorder or binary.type not in (ET_EXEC, ET_DYN):
        raise AttachError(
            f"{action}: {binary.path} is no 64-bit program or shared library of this machine's byte order,"
            " whose arguments could be read"
        )


def _why_absent(binary: Binary, provider: str, name: str) -> str:
    known = sorted({f"{note.provider}:{note.name}" for note in usdt.notes(binary)})
    if not known:
        return f"{binary.path} has no static tracepoints (no section .note.stapsdt)"
    near = nearest(f"{provider}:{name}", known) or [each for each in known if each.endswith(f":{name}")][:3]
    return f"{binary.path} has no static tracepoint {provider}:{name}{suggestion(near)}"


def _on_long_nop(binary: Binary, place: Site) -> Site:
    """The second of the two instructions, if a tracepoint is made of a short and a long nop."""
    if machine() != "x86_64" or binary.read(place.offset, len(_NOPS), "a static tracepoint") != _NOPS:
        return place
    return place._replace(offset=place.offset + 1, address=place.address + 1)


class _Mapping(NamedTuple):
    """A part of a file in a process's memory."""

    start: int
    size: int
    offset: int


def _relocated(places: Sequence[Site], path: str, pid: int, action: str) -> list[Site]:
    """The places with their addresses in a process."""
    if pid < 0:
        raise AttachError(
            f"{action}: its addresses are only known once a process has loaded it, so say which, pid=..."
            " (Linux 5.15 can do without)"
        )
    mapped = list(_mappings(path, process(pid), action))
    found = []
    for place in places:
        part = next((each for each in mapped if each.offset <= place.offset < each.offset + each.size), None)
        if part is None:
            raise AttachError(f"{action}: process {process(pid)} has not loaded it")
        found.append(place._replace(address=part.start - part.offset + place.offset))
    return found


def _mappings(path: str, pid: int, action: str) -> list[_Mapping]:
    """The executable parts of a file that a process has in memory, by /proc/PID/maps."""
    prefix = f"/proc/{pid}/root/"  # the file as seen from outside of the process's container
    name = f"/{path.removeprefix(prefix)}" if path.startswith(prefix) else str(Path(path).resolve())
    try:
        text = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape")
    except OSError as error:
        raise KernelError(error.errno or 0, f"{action}: reading the memory map of process {pid}") from None
    found = []
    for line in text.splitlines():
        addresses, mode, offset, _, _, *rest = line.split(maxsplit=5)
        if rest == [name] and "x" in mode:
            start, end = (int(each, 16) for each in addresses.split("-"))
            found.append(_Mapping(start, end - start, int(offset, 16)))
    return found


def parse(target: str) -> tuple[str, str, str]:
    """File, provider and name, from what follows ``usdt/`` in a section's name.  Raises AttachError."""
    parts = target.split(":")
    if len(parts) != 3 or not all(parts):
        raise AttachError(f"{target!r} names no static tracepoint; the section should read usdt/FILE:PROVIDER:NAME")
    return parts[0], parts[1], parts[2]
