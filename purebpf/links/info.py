"""What the kernel knows about a link: its id, its program, and what it is attached to, as each type tells it.

These are the members of ``struct bpf_link_info`` (include/uapi/linux/bpf.h), as Python values.  What a kernel does not
tell yet is 0 or empty: most cookies are told since Linux 6.9.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

from purebpf.abi.attr import bpf_link_info
from purebpf.abi.bpf import bpf_attach_type, bpf_link_type, bpf_perf_event_type
from purebpf.kernel.bpf import link_info
from purebpf.kernel.fd import Fd

_NAME_MAX = 4096
"""PATH_MAX: the longest name that there can be, of a file, with the NUL at its end."""
_PERF_KIND = bpf_perf_event_type


class RawTracepoint(NamedTuple):
    name: str
    cookie: int


class Tracing(NamedTuple):
    """``target_obj_id`` is the id of a program, if ``target_btf_id`` is a type of that one's, else of a BTF."""

    attach_type: int
    target_obj_id: int
    target_btf_id: int
    cookie: int


class Cgroup(NamedTuple):
    """``cgroup_id`` is the inode number of the cgroup's directory."""

    cgroup_id: int
    attach_type: int


class Iterator(NamedTuple):
    """``target`` is what it walks: "task", "bpf_map_elem"; only the ids that belong to that mean anything."""

    target: str
    map_id: int
    cgroup_id: int
    tid: int
    pid: int


class Netns(NamedTuple):
    """``netns_ino`` is the inode number of /proc/PID/ns/net."""

    netns_ino: int
    attach_type: int


class Interface(NamedTuple):
    """``ifindex`` is 0 if the interface is gone; ``attach_type`` is BPF_XDP or one of tcx's or netkit's."""

    ifindex: int
    attach_type: int


class StructOps(NamedTuple):
    map_id: int


class Netfilter(NamedTuple):
    pf: int
    hooknum: int
    priority: int
    flags: int


class KprobeMulti(NamedTuple):
    """``missed`` counts the hits on which the program could not run."""

    addrs: list[int]
    cookies: list[int]
    flags: int
    missed: int


class UprobeMulti(NamedTuple):
    path: str
    offsets: list[int]
    ref_ctr_offsets: list[int]
    cookies: list[int]
    flags: int
    pid: int


class TracingMulti(NamedTuple):
    attach_type: int
    btf_obj_id: int
    ids: list[int]
    cookies: list[int]


class Sockmap(NamedTuple):
    map_id: int
    attach_type: int


class Tracepoint(NamedTuple):
    name: str
    cookie: int


class Kprobe(NamedTuple):
    function: str
    offset: int
    addr: int
    missed: int
    cookie: int
    retprobe: bool


class Uprobe(NamedTuple):
    path: str
    offset: int
    ref_ctr_offset: int
    cookie: int
    retprobe: bool


class PerfEvent(NamedTuple):
    """``type`` and ``config`` are those of the perf_event_attr."""

    type: int
    config: int
    cookie: int


Attachment = (
    RawTracepoint
    | Tracing
    | Cgroup
    | Iterator
    | Netns
    | Interface
    | StructOps
    | Netfilter
    | KprobeMulti
    | UprobeMulti
    | TracingMulti
    | Sockmap
    | Tracepoint
    | Kprobe
    | Uprobe
    | PerfEvent
)


class LinkInfo(NamedTuple):
    """``attached_to`` is None for a type of link that is not known here, or of which the kernel tells nothing."""

    id: int
    type: int
    prog_id: int
    attached_to: Attachment | None


def read(link: Fd | int) -> LinkInfo:
    """Ask the kernel about a bpf link.  Raises KernelError.  Linux 5.8."""
    info = link_info(link)
    make = _MAKERS.get(info.type)
    if make is None:
        return LinkInfo(info.id, info.type, info.prog_id, None)
    # The first answer has the type and how many there are; the second fills what was made to hold them.
    room = _Room(info)
    link_info(link, info)
    return LinkInfo(info.id, bpf_link_type(info.type), info.prog_id, make(info, room))


class _Room:
    """Memory that the kernel fills: one name, and lists of 64-bit numbers; of ids, 32-bit ones.

    The kernel takes a length without a buffer, or the other way round, for an error.
    """

    def __init__(self, info: bpf_link_info) -> None:
        self._name = ctypes.create_string_buffer(_NAME_MAX)
        self._lists: dict[str, ctypes.Array[Any]] = {}
        pointer, size = ctypes.addressof(self._name), len(self._name)
        kind = info.type
        if kind == bpf_link_type.BPF_LINK_TYPE_RAW_TRACEPOINT:
            info.raw_tracepoint.tp_name, info.raw_tracepoint.tp_name_len = pointer, size
        elif kind == bpf_link_type.BPF_LINK_TYPE_ITER:
            info.iter.target_name, info.iter.target_name_len = pointer, size
        elif kind == bpf_link_type.BPF_LINK_TYPE_KPROBE_MULTI:
            self._make(info.kprobe_multi, info.kprobe_multi.count, "addrs", "cookies")
        elif kind == bpf_link_type.BPF_LINK_TYPE_UPROBE_MULTI:
            info.uprobe_multi.path, info.uprobe_multi.path_size = pointer, size
            self._make(info.uprobe_multi, info.uprobe_multi.count, "offsets", "ref_ctr_offsets", "cookies")
        elif kind == bpf_link_type.BPF_LINK_TYPE_TRACING_MULTI:
            self._make(info.tracing_multi, info.tracing_multi.count, "cookies")
            self._make(info.tracing_multi, info.tracing_multi.count, "ids", item=ctypes.c_uint32)
        elif kind == bpf_link_type.BPF_LINK_TYPE_PERF_EVENT:
            if info.perf_event.type in (_PERF_KIND.BPF_PERF_EVENT_UPROBE, _PERF_KIND.BPF_PERF_EVENT_URETPROBE):
                info.perf_event.uprobe.file_name, info.perf_event.uprobe.name_len = pointer, size
            elif info.perf_event.type in (_PERF_KIND.BPF_PERF_EVENT_KPROBE, _PERF_KIND.BPF_PERF_EVENT_KRETPROBE):
                info.perf_event.kprobe.func_name, info.perf_event.kprobe.name_len = pointer, size
            elif info.perf_event.type == _PERF_KIND.BPF_PERF_EVENT_TRACEPOINT:
                info.perf_event.tracepoint.tp_name, info.perf_event.tracepoint.name_len = pointer, size

    def _make(self, part: Any, count: int, *names: str, item: type[Any] = ctypes.c_uint64) -> None:
        for name in names:
            self._lists[name] = (item * count)()
            setattr(part, name, ctypes.addressof(self._lists[name]) if count else 0)

    @property
    def name(self) -> str:
        return self._name.value.decode("utf-8", "surrogateescape")

    def list(self, name: str) -> list[int]:
        return list(self._lists[name])


def _perf_event(info: bpf_link_info, room: _Room) -> Attachment | None:
    event = info.perf_event
    match event.type:
        case _PERF_KIND.BPF_PERF_EVENT_UPROBE | _PERF_KIND.BPF_PERF_EVENT_URETPROBE:
            part = event.uprobe
            at_return = event.type == _PERF_KIND.BPF_PERF_EVENT_URETPROBE
            return Uprobe(room.name, part.offset, part.ref_ctr_offset, part.cookie, at_return)
        case _PERF_KIND.BPF_PERF_EVENT_KPROBE | _PERF_KIND.BPF_PERF_EVENT_KRETPROBE:
            part = event.kprobe
            at_return = event.type == _PERF_KIND.BPF_PERF_EVENT_KRETPROBE
            return Kprobe(room.name, part.offset, part.addr, part.missed, part.cookie, at_return)
        case _PERF_KIND.BPF_PERF_EVENT_TRACEPOINT:
            return Tracepoint(room.name, event.tracepoint.cookie)
        case _PERF_KIND.BPF_PERF_EVENT_EVENT:
            return PerfEvent(event.event.type, event.event.config, event.event.cookie)
    return None  # before Linux 6.6


def _iterator(info: bpf_link_info, room: _Room) -> Iterator:
    target, part = room.name, info.iter
    return Iterator(
        target,
        part.map.map_id if "map" in target else 0,
        part.cgroup.cgroup_id if target == "cgroup" else 0,
        part.task.tid if target.startswith("task") else 0,
        part.task.pid if target.startswith("task") else 0,
    )


def _kprobe_multi(info: bpf_link_info, room: _Room) -> KprobeMulti:
    return KprobeMulti(room.list("addrs"), room.list("cookies"), info.kprobe_multi.flags, info.kprobe_multi.missed)


def _uprobe_multi(info: bpf_link_info, room: _Room) -> UprobeMulti:
    part = info.uprobe_multi
    offsets, counters, cookies = (room.list(name) for name in ("offsets", "ref_ctr_offsets", "cookies"))
    return UprobeMulti(room.name, offsets, counters, cookies, part.flags, part.pid)


def _tracing(info: bpf_link_info, room: _Room) -> Tracing:
    part = info.tracing
    return Tracing(part.attach_type, part.target_obj_id, part.target_btf_id, part.cookie)


def _tracing_multi(info: bpf_link_info, room: _Room) -> TracingMulti:
    part = info.tracing_multi
    return TracingMulti(part.attach_type, part.btf_obj_id, room.list("ids"), room.list("cookies"))


_MAKERS: dict[int, Callable[[bpf_link_info, _Room], Attachment | None]] = {
    bpf_link_type.BPF_LINK_TYPE_RAW_TRACEPOINT: lambda info, room: RawTracepoint(room.name, info.raw_tracepoint.cookie),
    bpf_link_type.BPF_LINK_TYPE_TRACING: _tracing,
    bpf_link_type.BPF_LINK_TYPE_CGROUP: lambda info, _: Cgroup(info.cgroup.cgroup_id, info.cgroup.attach_type),
    bpf_link_type.BPF_LINK_TYPE_ITER: _iterator,
    bpf_link_type.BPF_LINK_TYPE_NETNS: lambda info, _: Netns(info.netns.netns_ino, info.netns.attach_type),
    bpf_link_type.BPF_LINK_TYPE_XDP: lambda info, _: Interface(info.xdp.ifindex, bpf_attach_type.BPF_XDP),
    bpf_link_type.BPF_LINK_TYPE_PERF_EVENT: _perf_event,
    bpf_link_type.BPF_LINK_TYPE_KPROBE_MULTI: _kprobe_multi,
    bpf_link_type.BPF_LINK_TYPE_STRUCT_OPS: lambda info, _: StructOps(info.struct_ops.map_id),
    bpf_link_type.BPF_LINK_TYPE_NETFILTER: lambda info, _: Netfilter(
        info.netfilter.pf, info.netfilter.hooknum, info.netfilter.priority, info.netfilter.flags
    ),
    bpf_link_type.BPF_LINK_TYPE_TCX: lambda info, _: Interface(info.tcx.ifindex, info.tcx.attach_type),
    bpf_link_type.BPF_LINK_TYPE_UPROBE_MULTI: _uprobe_multi,
    bpf_link_type.BPF_LINK_TYPE_NETKIT: lambda info, _: Interface(info.netkit.ifindex, info.netkit.attach_type),
    bpf_link_type.BPF_LINK_TYPE_SOCKMAP: lambda info, _: Sockmap(info.sockmap.map_id, info.sockmap.attach_type),
    bpf_link_type.BPF_LINK_TYPE_TRACING_MULTI: _tracing_multi,
}
