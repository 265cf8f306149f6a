"""What the running kernel can do, found out by trying.

A version number says little about a kernel: distributions backport and configure.  So each feature has a probe, a
harmless call that only a kernel with the feature answers in one certain way: most create a tiny program, map or BTF,
and close it again.  The probes, and the answers they look for, are the ones libbpf makes (its features.c).  The names
are in `purebpf.load.features`; to add a feature, add its name there and its probe here.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from purebpf.abi.attr import (
    bpf_attr_btf_load,
    bpf_attr_info,
    bpf_attr_link_create,
    bpf_attr_map_create,
    bpf_attr_prog_bind_map,
    bpf_attr_prog_load,
    bpf_btf_info,
)
from purebpf.abi.bpf import (
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_MAP_VALUE,
    bpf_attach_type,
    bpf_cmd,
    bpf_map_flags,
    bpf_map_type,
    bpf_prog_type,
)
from purebpf.abi.perf import perf_event_attr
from purebpf.asm import instruction as asm
from purebpf.asm.helpers import bpf_func_id
from purebpf.asm.instruction import Instruction
from purebpf.errors import KernelError
from purebpf.kernel.bpf import address, bpf, link_create_perf_event
from purebpf.kernel.fd import Fd
from purebpf.kernel.memlock import raise_memlock_limit
from purebpf.kernel.perf import perf_event_open
from purebpf.load.features import Feature

_NO_ANSWER = (errno.EPERM, errno.ENOSYS, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""What the kernel answers to a process that may not ask, or for want of resources.  It says nothing about features."""
_ACTION = "probing a feature of the kernel"


class Features:
    """The features of a kernel.  Each is probed when first asked for, and once.

    ``known`` are answers given beforehand; they are not probed.
    """

    def __init__(self, known: Mapping[Feature, bool] | None = None) -> None:
        self._known = dict(known or {})

    def has(self, feature: Feature) -> bool:
        """Whether the kernel has the feature.

        Raises KernelError if the kernel does not let this process find out.
        """
        if feature not in self._known:
            # The probes' own programs and maps count against the limit too.
            if feature is not Feature.MEMCG_ACCOUNT and not self.has(Feature.MEMCG_ACCOUNT):
                raise_memlock_limit()
            self._known[feature] = _PROBES[feature]()
        return self._known[feature]


@functools.cache
def running() -> Features:
    """The features of the running kernel."""
    return Features()


def _succeeds(attempt: Callable[[], Fd]) -> bool:
    """Whether the kernel creates what is asked for."""
    try:
        attempt().close()
    except KernelError as error:
        if error.errno in _NO_ANSWER:
            raise
        return False
    return True


# Programs and maps

_CALL: Final = asm.BPF_JMP | asm.BPF_CALL
_MOV: Final = asm.BPF_ALU64 | asm.BPF_MOV
_EXIT: Final = Instruction(asm.BPF_JMP | asm.BPF_EXIT)
_RETURN_0: Final = (Instruction(_MOV), _EXIT)
_FIRST_OF_MAP_VALUE: Final = asm.BPF_LD | asm.BPF_IMM | asm.BPF_DW


def _call(helper: bpf_func_id) -> Instruction:
    return Instruction(_CALL, imm=helper)


def _load(prog_type: str, program: Sequence[Instruction] = _RETURN_0, **fields: int | bytes) -> Fd:
    """Load a program of type BPF_PROG_TYPE_``prog_type``; ``fields`` are more of bpf_attr_prog_load's."""
    license_text = b"GPL"
    code = asm.encode(program, sys.byteorder)
    attr = bpf_attr_prog_load(
        prog_type=bpf_prog_type[f"BPF_PROG_TYPE_{prog_type}"],
        insn_cnt=len(program),
        insns=address(code),
        license=address(license_text),
        **fields,
    )
    return Fd(bpf(bpf_cmd.BPF_PROG_LOAD, attr, action=_ACTION), "feature probe")


def _array(value_size: int, map_flags: int = 0) -> Fd:
    attr = bpf_attr_map_create(
        map_type=bpf_map_type.BPF_MAP_TYPE_ARRAY, key_size=4, value_size=value_size, max_entries=1, map_flags=map_flags
    )
    return Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr, action=_ACTION), "feature probe")


def _loads(prog_type: str, program: Sequence[Instruction] = _RETURN_0, **fields: int | bytes) -> Callable[[], bool]:
    """A probe: whether such a program can be loaded."""
    return lambda: _succeeds(lambda: _load(prog_type, program, **fields))


def _global_data() -> bool:
    with _array(32) as map_fd:
        program = (
            Instruction(_FIRST_OF_MAP_VALUE, 1, BPF_PSEUDO_MAP_VALUE, imm=map_fd.fileno()),
            Instruction(0, imm=16),  # the second half: r1 = the address of byte 16
            Instruction(asm.BPF_ST | asm.BPF_MEM | asm.BPF_DW, 1, imm=42),  # *(u64 *)r1 = 42
            *_RETURN_0,
        )
        return _succeeds(lambda: _load("SOCKET_FILTER", program))


def _array_mmap() -> bool:
    return _succeeds(lambda: _array(4, bpf_map_flags.BPF_F_MMAPABLE))


def _prog_bind_map() -> bool:
    with _array(32) as map_fd, _load("SOCKET_FILTER") as program:
        attr = bpf_attr_prog_bind_map(prog_fd=program.fileno(), map_fd=map_fd.fileno())
        try:
            bpf(bpf_cmd.BPF_PROG_BIND_MAP, attr, action=_ACTION)
        except KernelError:
            return False
        return True


_PROBE_READ_KERNEL: Final = (
    Instruction(_MOV | asm.BPF_X, 1, 10),  # r1 = r10, the end of the stack
    Instruction(asm.BPF_ALU64 | asm.BPF_ADD, 1, imm=-8),
    Instruction(_MOV, 2, imm=8),
    Instruction(_MOV, 3, imm=0),
    _call(bpf_func_id.BPF_FUNC_probe_read_kernel),
    _EXIT,
)


# BTF: records of struct btf_type and what follows them, as words; names are offsets into the strings.

_INT, _PTR, _ENUM64 = 1, 2, 19
_FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG = 12, 13, 14, 15, 16, 17, 18
_STATIC, _GLOBAL = 0, 1
_SIGNED_32 = 1 << 24 | 32


def _type(kind: int, name: int = 0, size_or_type: int = 0, *rest: int, vlen: int = 0) -> tuple[int, ...]:
    return name, kind << 24 | vlen, size_or_type, *rest


_INTEGER: Final = _type(_INT, 0, 4, _SIGNED_32)


def _btf(strings: bytes, *types: Sequence[int], layout: bytes = b"") -> Fd:
    """Load BTF.  With a layout section, the header has two more fields: where it is, and its length."""
    data = b"".join(struct.pack("=i", word) for record in types for word in record)
    strings = b"\0" + strings + b"\0"
    fields = [0, len(data), len(data) + len(layout), len(strings), *([len(data), len(layout)] if layout else [])]
    header = struct.pack(f"=HBBI{len(fields)}I", 0xEB9F, 1, 0, 8 + 4 * len(fields), *fields)
    whole = header + data + layout + strings
    attr = bpf_attr_btf_load(btf=address(whole), btf_size=len(whole))
    return Fd(bpf(bpf_cmd.BPF_BTF_LOAD, attr, action=_ACTION), "feature probe")


def _loads_btf(strings: bytes, *types: Sequence[int], layout: bytes = b"") -> Callable[[], bool]:
    """A probe: whether such BTF can be loaded.  A process without CAP_BPF can load none, and does without."""

    def probe() -> bool:
        try:
            return _succeeds(lambda: _btf(strings, *types, layout=layout))
        except KernelError as error:
            if error.errno != errno.EPERM:
                raise
            return False

    return probe


_NAMED_INTEGER: Final = _type(_INT, 1, 4, _SIGNED_32)
_VARIABLE: Final = _type(_VAR, 1, 1, _STATIC)
_FUNCTION_OF_INTEGER: Final = _type(_FUNC_PROTO, 0, 0, 7, 1, vlen=1)
_SECTION_OF_VARIABLE: Final = _type(_DATASEC, 3, 4, 2, 0, 4, vlen=1)
_LAYOUT: Final = struct.pack("=BBHBBH", 0, 0, 0, 4, 0, 0)  # of kinds 0 and 1: an INT has 4 bytes more than any type


def _module_btf() -> bool:
    """Whether BTF has a name: those of modules are told apart by it, and came together with it."""
    if not running().has(Feature.BTF):
        return False
    with _btf(b"int", _NAMED_INTEGER) as btf:
        name = ctypes.create_string_buffer(16)
        info = bpf_btf_info(name=ctypes.addressof(name), name_len=len(name))
        attr = bpf_attr_info(bpf_fd=btf.fileno(), info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
        try:
            bpf(bpf_cmd.BPF_OBJ_GET_INFO_BY_FD, attr, action=_ACTION)
        except KernelError:
            return False
        return True


def _arg_ctx_tag() -> bool:
    """A global function whose ``void *`` is tagged as the context may call a helper that needs the context."""
    pointer = _type(_PTR, 0, 0)
    prototypes = [_type(_FUNC_PROTO, 0, 1, name, 2, vlen=1) for name in (1, 3)]
    functions = [_type(_FUNC, name, prototype, vlen=_GLOBAL) for name, prototype in ((1, 3), (3, 5))]
    tag = _type(_DECL_TAG, 5, 6, 0)
    types = (_NAMED_INTEGER, pointer, prototypes[0], functions[0], prototypes[1], functions[1], tag)
    call = Instruction(_CALL, src_reg=BPF_PSEUDO_CALL, imm=1)
    program = (call, _EXIT, _call(bpf_func_id.BPF_FUNC_get_func_ip), _EXIT)
    records = struct.pack("=4I", 0, 4, 2, 6)  # instruction 0 begins function 4, instruction 2 function 6
    with ExitStack() as stack:
        try:
            btf = stack.enter_context(_btf(b"a\0b\0arg:ctx", *types))
        except KernelError:
            return False
        return _succeeds(
            lambda: _load(
                "KPROBE",
                program,
                prog_name=b"det_arg_ctx",
                prog_btf_fd=btf.fileno(),
                func_info_rec_size=8,
                func_info=address(records),
                func_info_cnt=2,
            )
        )


# Attaching


def _perf_link() -> bool:
    """With a bad descriptor for the event, a kernel with the feature answers EBADF, one without it EINVAL."""
    with _load("TRACEPOINT") as program:
        try:
            link_create_perf_event(program, -1).close()
        except KernelError as error:
            return error.errno == errno.EBADF
        return False


def _uprobe_multi_link() -> bool:
    """The directory ``/`` is a bad file to probe, and -1 a bad process, which is noticed first where it is checked."""
    try:
        program = _load("KPROBE", expected_attach_type=bpf_attach_type.BPF_TRACE_UPROBE_MULTI)
    except KernelError as error:
        if error.errno in _NO_ANSWER:
            raise
        return False
    with program:
        return [_uprobe_multi(program, pid) for pid in (0, -1)] == [errno.EBADF, errno.EINVAL]


def _uprobe_multi(program: Fd, pid: int) -> int | None:
    """The error of attaching to a uprobe of ``/``."""
    path, offsets = b"/", bytes(8)
    attr = bpf_attr_link_create(
        prog_fd=program.fileno(), target_fd=0xFFFFFFFF, attach_type=bpf_attach_type.BPF_TRACE_UPROBE_MULTI
    )
    attr.uprobe_multi.path = address(path)
    attr.uprobe_multi.offsets = address(offsets)
    attr.uprobe_multi.cnt = 1
    attr.uprobe_multi.pid = pid & 0xFFFFFFFF
    try:
        Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr, action=_ACTION), "feature probe").close()
    except KernelError as error:
        return error.errno
    return None


_KPROBE_EVENTS = Path("/sys/bus/event_source/devices/kprobe/type")
_SYSCALL_PREFIXES = {"x86_64": "x64", "i686": "ia32", "s390x": "s390x", "aarch64": "arm64", "riscv64": "riscv"}


def _syscall_wrapper() -> bool:
    """Whether a kprobe can be set on bpf(2) under the name that a wrapper gives it."""
    prefix = _SYSCALL_PREFIXES.get(platform.machine())
    if prefix is None or not _KPROBE_EVENTS.exists():
        return False
    function = f"__{prefix}_sys_bpf".encode()
    attr = perf_event_attr(type=int(_KPROBE_EVENTS.read_text()), kprobe_func=address(function))
    return _succeeds(lambda: perf_event_open(attr, pid=os.getpid(), cpu=-1, action=_ACTION))


_PROBES: Final[dict[Feature, Callable[[], bool]]] = {
    Feature.PROG_NAME: _loads("SOCKET_FILTER", prog_name=b"purebpf_test"),
    Feature.GLOBAL_DATA: _global_data,
    Feature.BTF: _loads_btf(b"int", _NAMED_INTEGER),
    # void x(int a): a function's prototype is the type before it.
    Feature.BTF_FUNC: _loads_btf(b"int\0x\0a", _NAMED_INTEGER, _FUNCTION_OF_INTEGER, _type(_FUNC, 5, 2)),
    Feature.BTF_GLOBAL_FUNC: _loads_btf(
        b"int\0x\0a", _NAMED_INTEGER, _FUNCTION_OF_INTEGER, _type(_FUNC, 5, 2, vlen=_GLOBAL)
    ),
    Feature.BTF_DATASEC: _loads_btf(b"x\0.data", _INTEGER, _VARIABLE, _SECTION_OF_VARIABLE),
    Feature.BTF_QMARK_DATASEC: _loads_btf(b"x\0?.data", _INTEGER, _VARIABLE, _SECTION_OF_VARIABLE),
    Feature.BTF_FLOAT: _loads_btf(b"float", _type(_FLOAT, 1, 4)),
    Feature.BTF_DECL_TAG: _loads_btf(b"tag", _INTEGER, _VARIABLE, _type(_DECL_TAG, 1, 2, -1)),
    Feature.BTF_TYPE_TAG: _loads_btf(b"tag", _INTEGER, _type(_TYPE_TAG, 1, 1), _type(_PTR, 0, 2)),
    Feature.BTF_ENUM64: _loads_btf(b"enum64", _type(_ENUM64, 1, 8)),
    Feature.BTF_LAYOUT: _loads_btf(b"int", _NAMED_INTEGER, layout=_LAYOUT),
    Feature.ARRAY_MMAP: _array_mmap,
    Feature.EXP_ATTACH_TYPE: _loads("CGROUP_SOCK", expected_attach_type=bpf_attach_type.BPF_CGROUP_INET_SOCK_CREATE),
    Feature.PROBE_READ_KERN: _loads("TRACEPOINT", _PROBE_READ_KERNEL),
    Feature.PROG_BIND_MAP: _prog_bind_map,
    Feature.MODULE_BTF: _module_btf,
    # A helper that came with the same release.
    Feature.MEMCG_ACCOUNT: _loads("SOCKET_FILTER", (_call(bpf_func_id.BPF_FUNC_ktime_get_coarse_ns), _EXIT)),
    Feature.PERF_LINK: _perf_link,
    Feature.BPF_COOKIE: _loads("TRACEPOINT", (_call(bpf_func_id.BPF_FUNC_get_attach_cookie), _EXIT)),
    Feature.SYSCALL_WRAPPER: _syscall_wrapper,
    Feature.UPROBE_MULTI_LINK: _uprobe_multi_link,
    Feature.ARG_CTX_TAG: _arg_ctx_tag,
}
