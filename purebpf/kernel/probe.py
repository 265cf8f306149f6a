"""What BPF offers on the running kernel, found out by trying: program types, map types, helpers, ways to attach.

`purebpf.kernel.features` answers what loading depends on.  This module answers what people ask before they write a
program: is there a ring buffer, may an XDP program call ``bpf_redirect_map``, can a program be attached by tcx?

Each question is one or two harmless calls: create a map, load a program of two instructions, attach a program to what
does not exist.  What the kernel answers tells a type that it does not know from one that was merely used wrongly.  The
questions about types, helpers and instructions are the ones that libbpf asks (libbpf_probes.c) and bpftool (feature.c),
and so the answers are those of ``bpftool feature probe``.  bpftool has no question about attaching; those are our own.

A question is asked when the answer is first wanted, and once.  Names are the kernel's, without the prefix of their enum
and in small letters: "xdp", "ringbuf", "redirect_map", "tcx_ingress".  An unknown name raises ValueError.  A process
that may not ask gets no answer, and above all no "no": every function raises KernelError then.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from enum import IntEnum
from typing import Final, TypeVar

from purebpf.abi.attr import bpf_attr_link_create, bpf_attr_map_create, bpf_attr_prog_attach
from purebpf.abi.bpf import bpf_attach_type as attach
from purebpf.abi.bpf import bpf_cmd, bpf_map_flags, bpf_map_type, bpf_prog_flags, bpf_prog_type
from purebpf.asm import instruction as asm
from purebpf.asm.helpers import bpf_func_id
from purebpf.asm.instruction import Instruction
from purebpf.errors import KernelError
from purebpf.kernel import diagnose, features
from purebpf.kernel.bpf import bpf
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.features import (
    ACTION,
    EXIT,
    INTEGER,
    MOV,
    NO_ANSWER,
    RETURN_0,
    call_helper,
    link_uprobe,
    succeeds,
)
from purebpf.load.features import Feature
from purebpf.load.nearest import nearest
from purebpf.obj.sections import SECTIONS

_ENOTSUPP = 524
"""The kernel's own error, not in errno.h: struct_ops wants a type that it does not find."""
_NO_SUCH_FD = 0xFFFFFFFF
_NO_SUCH_INTERFACE = 0x7FFFFFFF
_NO_SUCH_ATTACH_TYPE = 0xFFFF

Member = TypeVar("Member", bound=IntEnum)


def has_program_type(name: str) -> bool:
    """Whether programs of BPF_PROG_TYPE_``NAME`` can be loaded: "xdp", "kprobe", "tracing"."""
    return _program_type(_find(_PROGRAM_TYPES, name, "program type"))


def has_map_type(name: str) -> bool:
    """Whether maps of BPF_MAP_TYPE_``NAME`` can be created: "hash", "ringbuf", "arena"."""
    return _map_type(_find(_MAP_TYPES, name, "map type"))


def has_helper(program_type: str, name: str) -> bool:
    """Whether programs of this type may call the helper ``bpf_NAME``, given with or without ``bpf_``.

    Of the types "tracing", "ext", "lsm" and "struct_ops" that cannot be said, as it depends on what the program is
    attached to: KernelError with EOPNOTSUPP.  The kernel notes in its log that somebody uses one of `NOISY_HELPERS`.
    """
    kind = _find(_PROGRAM_TYPES, program_type, "program type")
    return _helper(kind, _find(_HELPERS, name.removeprefix("bpf_"), "helper"))


def has_attach_kind(name: str) -> bool:
    """Whether programs can be attached in this way.

    ``name`` is an attach type of the kernel, BPF_``NAME`` ("tcx_ingress", "trace_fentry", "cgroup_inet4_bind"), or
    "kprobe" or "uprobe", for programs on a single probe.  "perf_event", "xdp" and "struct_ops" ask for links; there are
    older ways to attach these.
    """
    if name in _PROBES:
        return features.running().has(_PROBES[name])
    return _attach_type(_find(_ATTACH_TYPES, name, "way to attach"))


def has_instruction_set(version: int) -> bool:
    """Whether the kernel runs version 1 to 4 of the instruction set: clang's ``-mcpu=v1`` to ``-mcpu=v4``."""
    if version not in INSTRUCTION_SETS:
        raise ValueError(f"there is no version {version} of the instruction set, only {INSTRUCTION_SETS}")
    return _instructions(_TRIALS[version])


def has_large_programs() -> bool:
    """Whether a program may have more than 4096 instructions: up to a million, since Linux 5.2."""
    return _instructions((*[Instruction(MOV, imm=1)] * 4096, EXIT))


def has_bounded_loops() -> bool:
    """Whether the verifier accepts loops that end (Linux 5.3)."""
    decrement = Instruction(asm.BPF_ALU64 | asm.BPF_SUB, imm=1)
    return _instructions((Instruction(MOV, imm=10), decrement, _jump(asm.BPF_JMP | asm.BPF_JNE, -2), EXIT))


# Names


def _by_name(members: Iterable[Member], prefix: str) -> Mapping[str, Member]:
    names = {member.name.removeprefix(prefix).lower(): member for member in members}
    return {name: member for name, member in names.items() if name != "unspec"}


_PROGRAM_TYPES: Final = _by_name(bpf_prog_type, "BPF_PROG_TYPE_")
_MAP_TYPES: Final = _by_name(bpf_map_type, "BPF_MAP_TYPE_")
_ATTACH_TYPES: Final = _by_name(attach, "BPF_")
_HELPERS: Final = _by_name(bpf_func_id, "BPF_FUNC_")
_PROBES: Final = {"kprobe": Feature.KPROBE_PMU, "uprobe": Feature.UPROBE_PMU}

PROGRAM_TYPES: Final = tuple(_PROGRAM_TYPES)
MAP_TYPES: Final = tuple(_MAP_TYPES)
HELPERS: Final = tuple(_HELPERS)
NOISY_HELPERS: Final = ("trace_printk", "probe_write_user", "trace_vprintk")
"""The kernel says in its log, for everybody to read, that somebody loads a program with one of these."""
ATTACH_KINDS: Final = (*_PROBES, *_ATTACH_TYPES)
INSTRUCTION_SETS: Final = (1, 2, 3, 4)


def _find(members: Mapping[str, Member], name: str, what: str) -> Member:
    if name not in members:
        near = nearest(name, members)
        raise ValueError(f"there is no {what} {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    return members[name]


# Asking


def _check_permission() -> None:
    """To who lacks a capability, the kernel says "no" to long programs, to loops, to helpers that read its memory."""
    now = diagnose.Situation.now()
    needed = {"CAP_BPF", "CAP_PERFMON"}
    if now.in_user_namespace or now.missing(needed):
        raise KernelError(errno.EPERM, ACTION, diagnose.hint(errno.EPERM, "bpf", needed, now))


def _prepare() -> None:
    _check_permission()
    features.running().raise_limit()


def refusal(kind: bpf_prog_type, program: Sequence[Instruction], fields: Mapping[str, int]) -> tuple[int, str]:
    """Load a program: the kernel's error, 0 for none, and the verifier's log."""
    log = ctypes.create_string_buffer(4096)
    logging = {"log_buf": ctypes.addressof(log), "log_size": len(log), "log_level": 1}
    code = _error(lambda: _load(kind, program, **fields, **logging).close())
    return code, log.value.decode("utf-8", "replace")


def _load(kind: bpf_prog_type, program: Sequence[Instruction] = RETURN_0, **fields: int) -> Fd:
    return features.load_program(kind.name.removeprefix("BPF_PROG_TYPE_"), program, **fields)


# Program types: what a program needs beside its instructions, and how it is refused where it cannot be loaded without
# naming what it is for.

_FIELDS: Final[dict[bpf_prog_type, dict[str, int]]] = {
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCK_ADDR: {"expected_attach_type": attach.BPF_CGROUP_INET4_CONNECT},
    bpf_prog_type.BPF_PROG_TYPE_LIRC_MODE2: {"expected_attach_type": attach.BPF_LIRC_MODE2},
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCKOPT: {"expected_attach_type": attach.BPF_CGROUP_GETSOCKOPT},
    bpf_prog_type.BPF_PROG_TYPE_TRACING: {"expected_attach_type": attach.BPF_TRACE_FENTRY, "attach_btf_id": 1},
    bpf_prog_type.BPF_PROG_TYPE_EXT: {"attach_btf_id": 1},
    bpf_prog_type.BPF_PROG_TYPE_LSM: {"expected_attach_type": attach.BPF_LSM_MAC, "attach_btf_id": 1},
    bpf_prog_type.BPF_PROG_TYPE_SK_LOOKUP: {"expected_attach_type": attach.BPF_SK_LOOKUP},
    bpf_prog_type.BPF_PROG_TYPE_SYSCALL: {"prog_flags": bpf_prog_flags.BPF_F_SLEEPABLE},
    bpf_prog_type.BPF_PROG_TYPE_NETFILTER: {"expected_attach_type": attach.BPF_NETFILTER},
}
_REFUSALS: Final = {
    bpf_prog_type.BPF_PROG_TYPE_TRACING: (errno.EINVAL, "attach_btf_id 1 is not a function"),
    bpf_prog_type.BPF_PROG_TYPE_LSM: (errno.EINVAL, "attach_btf_id 1 is not a function"),
    bpf_prog_type.BPF_PROG_TYPE_EXT: (errno.EINVAL, "Cannot replace kernel functions"),
    bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS: (_ENOTSUPP, ""),
}


@functools.cache
def _program_type(kind: bpf_prog_type) -> bool:
    _prepare()
    expected, message = _REFUSALS.get(kind, (0, ""))
    code, log = refusal(kind, RETURN_0, _FIELDS.get(kind, {}))
    return code == expected and message in log


_REFUSED_HELPER: Final = ("invalid func ", "unknown func ", "program of this type cannot use helper ")
"""What the verifier says, each for some years: of helpers that it does not know, or not for this program type."""


@functools.cache
def _helper(kind: bpf_prog_type, helper: bpf_func_id) -> bool:
    if kind in _REFUSALS:
        title = kind.name.removeprefix("BPF_PROG_TYPE_").lower()
        action = f"asking which helpers programs of type {title} may call"
        raise KernelError(errno.EOPNOTSUPP, action, "That depends on what the program is attached to")
    if not _program_type(kind):
        return False
    _prepare()
    _, log = refusal(kind, (call_helper(helper), EXIT), _FIELDS.get(kind, {}))
    return not any(words in log for words in _REFUSED_HELPER)


# Map types: where a map needs something else than keys and values of 4 bytes each, and room for one.

_CGROUP_STORAGE: Final = {"key_size": 16, "value_size": 8, "max_entries": 0}  # struct bpf_cgroup_storage_key
_LOCAL_STORAGE: Final = {
    "value_size": 8,
    "max_entries": 0,
    "map_flags": bpf_map_flags.BPF_F_NO_PREALLOC,
    "btf_key_type_id": 1,
    "btf_value_type_id": 3,
}
_RING: Final = {"key_size": 0, "value_size": 0, "max_entries": mmap.PAGESIZE}
_STRUCT_OPS: Final = {"btf_vmlinux_value_type_id": 1}
_SIZES: Final[dict[bpf_map_type, dict[str, int]]] = {
    bpf_map_type.BPF_MAP_TYPE_STACK_TRACE: {"value_size": 8},
    bpf_map_type.BPF_MAP_TYPE_LPM_TRIE: {
        "key_size": 8,
        "value_size": 8,
        "map_flags": bpf_map_flags.BPF_F_NO_PREALLOC,
    },
    bpf_map_type.BPF_MAP_TYPE_CGROUP_STORAGE: _CGROUP_STORAGE,
    bpf_map_type.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE: _CGROUP_STORAGE,
    bpf_map_type.BPF_MAP_TYPE_QUEUE: {"key_size": 0},
    bpf_map_type.BPF_MAP_TYPE_STACK: {"key_size": 0},
    bpf_map_type.BPF_MAP_TYPE_SK_STORAGE: _LOCAL_STORAGE,
    bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS: _STRUCT_OPS,
    bpf_map_type.BPF_MAP_TYPE_RINGBUF: _RING,
    bpf_map_type.BPF_MAP_TYPE_INODE_STORAGE: _LOCAL_STORAGE,
    bpf_map_type.BPF_MAP_TYPE_TASK_STORAGE: _LOCAL_STORAGE,
    bpf_map_type.BPF_MAP_TYPE_BLOOM_FILTER: {"key_size": 0},
    bpf_map_type.BPF_MAP_TYPE_USER_RINGBUF: _RING,
    bpf_map_type.BPF_MAP_TYPE_CGRP_STORAGE: _LOCAL_STORAGE,
    bpf_map_type.BPF_MAP_TYPE_ARENA: {"key_size": 0, "value_size": 0, "map_flags": bpf_map_flags.BPF_F_MMAPABLE},
    bpf_map_type.BPF_MAP_TYPE_INSN_ARRAY: {"value_size": 16},  # struct bpf_insn_array_value
    bpf_map_type.BPF_MAP_TYPE_RHASH: {"map_flags": bpf_map_flags.BPF_F_NO_PREALLOC},
}
_OF_MAPS: Final = (bpf_map_type.BPF_MAP_TYPE_ARRAY_OF_MAPS, bpf_map_type.BPF_MAP_TYPE_HASH_OF_MAPS)


@functools.cache
def _map_type(kind: bpf_map_type) -> bool:
    _prepare()
    if kind == bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS:
        return _knows_struct_ops()
    fields = dict(_SIZES.get(kind, {}))
    with ExitStack() as stack:
        if kind in _OF_MAPS:
            fields["inner_map_fd"] = stack.enter_context(_map(bpf_map_type.BPF_MAP_TYPE_HASH)).fileno()
        if "btf_value_type_id" in fields:
            fields["btf_fd"] = stack.enter_context(_storage_btf()).fileno()
        return succeeds(lambda: _map(kind, **fields))


def _map(kind: bpf_map_type, **fields: int) -> Fd:
    sizes = {"key_size": 4, "value_size": 4, "max_entries": 1} | fields
    attr = bpf_attr_map_create(map_type=kind, **sizes)
    return Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr, action=ACTION), "feature probe")


def _knows_struct_ops(map_flags: int = 0) -> bool:
    """No kernel structure has type id 1; who knows such maps says so, who does not says EINVAL."""
    try:
        _map(bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS, **_STRUCT_OPS, map_flags=map_flags).close()
    except KernelError as error:
        if error.errno in NO_ANSWER:
            raise
        return error.errno == _ENOTSUPP
    return False


def _storage_btf() -> Fd:
    """Key and value of a storage map are types 1 and 3: int, struct { int count; struct bpf_spin_lock lock; }."""
    lock = features.btf_type(_STRUCT, 1, 4, 15, 1, 0, vlen=1)  # a member is: name, type, offset in bits
    value = features.btf_type(_STRUCT, 0, 8, 19, 1, 0, 25, 2, 32, vlen=2)
    return features.load_btf(b"bpf_spin_lock\0val\0count\0lock", INTEGER, lock, value)


_STRUCT: Final = 4  # BTF_KIND_STRUCT


# Ways to attach

RETURN_1: Final = (Instruction(MOV, imm=1), EXIT)
"""Some programs must return 1, such as those that run when a datagram was received: it cannot be refused any more."""
_PROGRAM_FOR: Final = {row.attach_type: row.type for row in SECTIONS if row.attach_type} | {
    attach.BPF_CGROUP_INET_INGRESS: bpf_prog_type.BPF_PROG_TYPE_CGROUP_SKB  # is number 0
}


@functools.cache
def _attach_type(kind: attach) -> bool:
    _prepare()
    match kind:
        case attach.BPF_PERF_EVENT:
            return features.running().has(Feature.PERF_LINK)
        case attach.BPF_STRUCT_OPS:
            return _knows_struct_ops(bpf_map_flags.BPF_F_LINK)
        case attach.BPF_XDP_DEVMAP:
            return succeeds(lambda: _map(bpf_map_type.BPF_MAP_TYPE_DEVMAP, value_size=8))  # a device, and a program
        case attach.BPF_XDP_CPUMAP:
            return succeeds(lambda: _map(bpf_map_type.BPF_MAP_TYPE_CPUMAP, value_size=8))
        case attach.BPF_SK_REUSEPORT_SELECT | attach.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE:
            # Before Linux 5.14 the kernel took any number here.
            return _loads(kind, kind) and not _loads(kind, _NO_SUCH_ATTACH_TYPE)
        case attach.BPF_TRACE_FENTRY_MULTI | attach.BPF_TRACE_FEXIT_MULTI | attach.BPF_TRACE_FSESSION_MULTI:
            return _loads(kind, kind)  # any other has to name a function already when it is loaded
        case attach.BPF_NETFILTER:
            return _loads(kind, kind)
        case attach.BPF_XDP | attach.BPF_FLOW_DISSECTOR | attach.BPF_SK_LOOKUP:
            return _loads(kind, kind) and _error(lambda: _attach(_NO_SUCH_FD, kind, 0)) == errno.EBADF
        case attach.BPF_TRACE_KPROBE_MULTI | attach.BPF_TRACE_KPROBE_SESSION:
            return _error_with_program(kind, lambda program: _link_kprobes(program, kind)) == errno.EFAULT
        case attach.BPF_TRACE_UPROBE_MULTI | attach.BPF_TRACE_UPROBE_SESSION:
            return _error_with_program(kind, lambda program: link_uprobe(program, 0, kind).close()) == errno.EBADF
        case attach.BPF_TCX_INGRESS | attach.BPF_TCX_EGRESS | attach.BPF_NETKIT_PRIMARY | attach.BPF_NETKIT_PEER:
            return _error_with_program(kind, lambda program: _attach(program, kind, _NO_SUCH_INTERFACE)) == errno.ENODEV
        case _ if _PROGRAM_FOR[kind] in _REFUSALS:
            code, log = refusal(_PROGRAM_FOR[kind], RETURN_0, {"expected_attach_type": kind, "attach_btf_id": 1})
            return code == errno.EINVAL and "attach_btf_id 1 is not a " in log
        case _:  # to a cgroup, a map of sockets or a lirc device: by file descriptor
            return _error_with_program(kind, lambda program: _attach(program, kind, _NO_SUCH_FD)) == errno.EBADF


def _loads(kind: attach, expected_attach_type: int) -> bool:
    return succeeds(lambda: _load(_PROGRAM_FOR[kind], expected_attach_type=expected_attach_type))


def _error_with_program(kind: attach, attempt: Callable[[Fd], object]) -> int:
    """The kernel's error, 0 for none, where ``attempt`` gets a program made for this way to attach."""

    def load_and_attempt() -> None:
        with _load(_PROGRAM_FOR[kind], RETURN_1, expected_attach_type=kind) as program:
            attempt(program)

    return _error(load_and_attempt)


def _error(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except KernelError as error:
        if error.errno in NO_ANSWER:
            raise
        return error.errno or 0
    return 0


def _attach(program: Fd | int, kind: attach, target: int) -> None:
    attr = bpf_attr_prog_attach(attach_bpf_fd=number_of(program), attach_type=kind, target_fd=target)
    bpf(bpf_cmd.BPF_PROG_ATTACH, attr, action=ACTION)


def _link_kprobes(program: Fd, kind: attach) -> None:
    """Link to one kprobe, whose address is to be read where nothing is."""
    attr = bpf_attr_link_create(prog_fd=program.fileno(), attach_type=kind)
    attr.kprobe_multi.cnt = 1
    attr.kprobe_multi.addrs = 1
    bpf(bpf_cmd.BPF_LINK_CREATE, attr, action=ACTION)


# Instructions


def _jump(opcode: int, slots: int, imm: int = 0) -> Instruction:
    return Instruction(opcode, off=slots, imm=imm)


_TRIALS: Final[dict[int, tuple[Instruction, ...]]] = {
    1: RETURN_0,
    2: (RETURN_0[0], _jump(asm.BPF_JMP | asm.BPF_JLT, 1), Instruction(MOV, imm=1), EXIT),
    3: (RETURN_0[0], _jump(asm.BPF_JMP32 | asm.BPF_JLT, 1), Instruction(MOV, imm=1), EXIT),
    4: (  # a jump whose distance is in imm
        RETURN_0[0],
        _jump(asm.BPF_JMP32 | asm.BPF_JEQ, 1, imm=1),
        _jump(asm.BPF_JMP32 | asm.BPF_JA, 0, imm=1),
        Instruction(MOV, imm=1),
        EXIT,
    ),
}


@functools.cache
def _instructions(program: tuple[Instruction, ...]) -> bool:
    _prepare()
    return succeeds(lambda: _load(bpf_prog_type.BPF_PROG_TYPE_SOCKET_FILTER, program))
