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
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from purebpf.abi import net
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
from purebpf.abi.syscalls import machine
from purebpf.asm import instruction as asm
from purebpf.asm.helpers import bpf_func_id
from purebpf.asm.instruction import Instruction
from purebpf.errors import KernelError
from purebpf.kernel.bpf import address, bpf, link_create, link_create_perf_event
from purebpf.kernel.fd import Fd
from purebpf.kernel.memlock import raise_memlock_limit
from purebpf.kernel.perf import event_type, perf_event_open
from purebpf.kernel.syscall import syscall
from purebpf.load.features import Feature

NO_ANSWER = (errno.EPERM, errno.ENOSYS, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""What the kernel answers to a process that may not ask, or for want of resources.  It says nothing about features."""
ACTION = "probing a feature of the kernel"


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
            if feature is not Feature.MEMCG_ACCOUNT:
                self.raise_limit()
            self._known[feature] = _PROBES[feature]()
        return self._known[feature]

    def raise_limit(self) -> None:
        """Raise the limit of locked memory where it matters: the probes' own programs and maps count against it."""
        if not self.has(Feature.MEMCG_ACCOUNT):
            raise_memlock_limit()


@functools.cache
def running() -> Features:
    """The features of the running kernel."""
    return Features()


def succeeds(attempt: Callable[[], Fd]) -> bool:
    """Whether the kernel creates what is asked for."""
    try:
        attempt().close()
    except KernelError as error:
        if error.errno in NO_ANSWER:
            raise
        return False
    return True


# Programs and maps

_CALL: Final = asm.BPF_JMP | asm.BPF_CALL
MOV: Final = asm.BPF_ALU64 | asm.BPF_MOV
EXIT: Final = Instruction(asm.BPF_JMP | asm.BPF_EXIT)
RETURN_0: Final = (Instruction(MOV), EXIT)
_FIRST_OF_MAP_VALUE: Final = asm.BPF_LD | asm.BPF_IMM | asm.BPF_DW


def call_helper(helper: bpf_func_id) -> Instruction:
    return Instruction(_CALL, imm=helper)


def load_program(prog_type: str, program: Sequence[Instruction] = RETURN_0, **fields: int | bytes) -> Fd:
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
    return Fd(bpf(bpf_cmd.BPF_PROG_LOAD, attr, action=ACTION), "feature probe")


def _array(value_size: int, map_flags: int = 0) -> Fd:
    attr = bpf_attr_map_create(
        map_type=bpf_map_type.BPF_MAP_TYPE_ARRAY, key_size=4, value_size=value_size, max_entries=1, map_flags=map_flags
    )
    return Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr, action=ACTION), "feature probe")


def _loads(prog_type: str, program: Sequence[Instruction] = RETURN_0, **fields: int | bytes) -> Callable[[], bool]:
    """A probe: whether such a program can be loaded."""
    return lambda: succeeds(lambda: load_program(prog_type, program, **fields))


def _global_data() -> bool:
    with _array(32) as map_fd:
        program = (
            Instruction(_FIRST_OF_MAP_VALUE, 1, BPF_PSEUDO_MAP_VALUE, imm=map_fd.fileno()),
            Instruction(0, imm=16),  # the second half: r1 = the address of byte 16
            Instruction(asm.BPF_ST | asm.BPF_MEM | asm.BPF_DW, 1, imm=42),  # *(u64 *)r1 = 42
            *RETURN_0,
        )
        return succeeds(lambda: load_program("SOCKET_FILTER", program))


def _array_mmap() -> bool:
    return succeeds(lambda: _array(4, bpf_map_flags.BPF_F_MMAPABLE))


def _ldimm64_full_range_off() -> bool:
    """Any kernel refuses an offset beyond a map's end; older ones say that it is too large for any map."""
    log = ctypes.create_string_buffer(1024)
    logging = {"log_level": 1, "log_size": len(log), "log_buf": ctypes.addressof(log)}
    with _array(1) as map_fd:
        program = (
            Instruction(_FIRST_OF_MAP_VALUE, 1, BPF_PSEUDO_MAP_VALUE, imm=map_fd.fileno()),
            Instruction(0, imm=1 << 30),
            EXIT,
        )
        succeeds(lambda: load_program("SOCKET_FILTER", program, **logging))
    return b"invalid access to map value pointer" in log.value


def _prog_bind_map() -> bool:
    with _array(32) as map_fd, load_program("SOCKET_FILTER") as program:
        attr = bpf_attr_prog_bind_map(prog_fd=program.fileno(), map_fd=map_fd.fileno())
        try:
            bpf(bpf_cmd.BPF_PROG_BIND_MAP, attr, action=ACTION)
        except KernelError:
            return False
        return True


def _memcg_account() -> bool:
    """By a helper that came with the same release.  Before, even the probe may be beyond the limit: EPERM."""
    try:
        return _loads("SOCKET_FILTER", (call_helper(bpf_func_id.BPF_FUNC_ktime_get_coarse_ns), EXIT))()
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return False


_PROBE_READ_KERNEL: Final = (
    Instruction(MOV | asm.BPF_X, 1, 10),  # r1 = r10, the end of the stack
    Instruction(asm.BPF_ALU64 | asm.BPF_ADD, 1, imm=-8),
    Instruction(MOV, 2, imm=8),
    Instruction(MOV, 3, imm=0),
    call_helper(bpf_func_id.BPF_FUNC_probe_read_kernel),
    EXIT,
)


# BTF: records of struct btf_type and what follows them, as words; names are offsets into the strings.

_INT, _PTR, _ENUM64 = 1, 2, 19
_FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG = 12, 13, 14, 15, 16, 17, 18
_STATIC, _GLOBAL = 0, 1
_SIGNED_32 = 1 << 24 | 32


def btf_type(kind: int, name: int = 0, size_or_type: int = 0, *rest: int, vlen: int = 0) -> tuple[int, ...]:
    return name, kind << 24 | vlen, size_or_type, *rest


INTEGER: Final = btf_type(_INT, 0, 4, _SIGNED_32)


def load_btf(strings: bytes, *types: Sequence[int], layout: bytes = b"") -> Fd:
    """Load BTF.  With a layout section, the header has two more fields: where it is, and its length."""
    data = b"".join(struct.pack("=i", word) for record in types for word in record)
    strings = b"\0" + strings + b"\0"
    fields = [0, len(data), len(data) + len(layout), len(strings), *([len(data), len(layout)] if layout else [])]
    header = struct.pack(f"=HBBI{len(fields)}I", 0xEB9F, 1, 0, 8 + 4 * len(fields), *fields)
    whole = header + data + layout + strings
    attr = bpf_attr_btf_load(btf=address(whole), btf_size=len(whole))
    return Fd(bpf(bpf_cmd.BPF_BTF_LOAD, attr, action=ACTION), "feature probe")


def _loads_btf(strings: bytes, *types: Sequence[int], layout: bytes = b"") -> Callable[[], bool]:
    """A probe: whether such BTF can be loaded.  A process without CAP_BPF can load none, and does without."""

    def probe() -> bool:
        try:
            return succeeds(lambda: load_btf(strings, *types, layout=layout))
        except KernelError as error:
            if error.errno != errno.EPERM:
                raise
            return False

    return probe


_NAMED_INTEGER: Final = btf_type(_INT, 1, 4, _SIGNED_32)
_VARIABLE: Final = btf_type(_VAR, 1, 1, _STATIC)
_FUNCTION_OF_INTEGER: Final = btf_type(_FUNC_PROTO, 0, 0, 7, 1, vlen=1)
_SECTION_OF_VARIABLE: Final = btf_type(_DATASEC, 3, 4, 2, 0, 4, vlen=1)
_LAYOUT: Final = struct.pack("=BBHBBH", 0, 0, 0, 4, 0, 0)  # of kinds 0 and 1: an INT has 4 bytes more than any type


def _module_btf() -> bool:
    """Whether BTF has a name: those of modules are told apart by it, and came together with it."""
    if not running().has(Feature.BTF):
        return False
    with load_btf(b"int", _NAMED_INTEGER) as btf:
        name = ctypes.create_string_buffer(16)
        info = bpf_btf_info(name=ctypes.addressof(name), name_len=len(name))
        attr = bpf_attr_info(bpf_fd=btf.fileno(), info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
        try:
            bpf(bpf_cmd.BPF_OBJ_GET_INFO_BY_FD, attr, action=ACTION)
        except KernelError:
            return False
        return True


def _arg_ctx_tag() -> bool:
    """A global function whose ``void *`` is tagged as the context may call a helper that needs the context."""
    pointer = btf_type(_PTR, 0, 0)
    prototypes = [btf_type(_FUNC_PROTO, 0, 1, name, 2, vlen=1) for name in (1, 3)]
    functions = [btf_type(_FUNC, name, prototype, vlen=_GLOBAL) for name, prototype in ((1, 3), (3, 5))]
    tag = btf_type(_DECL_TAG, 5, 6, 0)
    types = (_NAMED_INTEGER, pointer, prototypes[0], functions[0], prototypes[1], functions[1], tag)
    call = Instruction(_CALL, src_reg=BPF_PSEUDO_CALL, imm=1)
    program = (call, EXIT, call_helper(bpf_func_id.BPF_FUNC_get_func_ip), EXIT)
    records = struct.pack("=4I", 0, 4, 2, 6)  # instruction 0 begins function 4, instruction 2 function 6
    with ExitStack() as stack:
        try:
            btf = stack.enter_context(load_btf(b"a\0b\0arg:ctx", *types))
        except KernelError:
            return False
        return succeeds(
            lambda: load_program(
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
    with load_program("TRACEPOINT") as program:
        try:
            link_create_perf_event(program, -1).close()
        except KernelError as error:
            return error.errno == errno.EBADF
        return False


def _answer_to_link(prog_type: str, attach_type: bpf_attach_type, target: int, flags: int = 0) -> int | None:
    """The error of creating a link, None if there is none.  EINVAL is the answer of a kernel that has no such links."""
    with load_program(prog_type) as program:
        attr = bpf_attr_link_create(
            prog_fd=program.fileno(), target_fd=target & 0xFFFFFFFF, attach_type=attach_type, flags=flags
        )
        try:
            link_create(attr, "feature probe", action=ACTION).close()
        except KernelError as error:
            if error.errno in NO_ANSWER:
                raise
            return error.errno
        return None


def _cgroup_link() -> bool:
    return _answer_to_link("CGROUP_SKB", bpf_attach_type.BPF_CGROUP_INET_INGRESS, -1) == errno.EBADF


def _xdp_link() -> bool:
    """Interface 1 is the loopback interface, in every network namespace; its driver has no XDP of its own."""
    drv_mode = net.xdp_flags.XDP_FLAGS_DRV_MODE
    return _answer_to_link("XDP", bpf_attach_type.BPF_XDP, 1, drv_mode) != errno.EINVAL


def _tcx_link() -> bool:
    """No interface has the index -1."""
    return _answer_to_link("SCHED_CLS", bpf_attach_type.BPF_TCX_INGRESS, -1) == errno.ENODEV


def _sockmap_link() -> bool:
    return _answer_to_link("SK_MSG", bpf_attach_type.BPF_SK_MSG_VERDICT, -1) == errno.EBADF


def _uprobe_multi_link() -> bool:
    """The directory ``/`` is a bad file to probe, and -1 a bad process, which is noticed first where it is checked."""
    try:
        program = load_program("KPROBE", expected_attach_type=bpf_attach_type.BPF_TRACE_UPROBE_MULTI)
    except KernelError as error:
        if error.errno in NO_ANSWER:
            raise
        return False
    with program:
        return [_error_of_uprobe(program, pid) for pid in (0, -1)] == [errno.EBADF, errno.EINVAL]


def _error_of_uprobe(program: Fd, pid: int) -> int | None:
    try:
        link_uprobe(program, pid, bpf_attach_type.BPF_TRACE_UPROBE_MULTI).close()
    except KernelError as error:
        return error.errno
    return None


def link_uprobe(program: Fd, pid: int, attach_type: bpf_attach_type) -> Fd:
    """Attach to a uprobe of ``/``, which is no program; so the kernel refuses."""
    path, offsets = b"/", bytes(8)
    attr = bpf_attr_link_create(prog_fd=program.fileno(), target_fd=0xFFFFFFFF, attach_type=attach_type)
    attr.uprobe_multi.path = address(path)
    attr.uprobe_multi.offsets = address(offsets)
    attr.uprobe_multi.cnt = 1
    attr.uprobe_multi.pid = pid & 0xFFFFFFFF
    return Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr, action=ACTION), "feature probe")


_SYSCALL_PREFIXES: Final = {
    "x86_64": "x64",
    "i386": "ia32",
    "s390x": "s390x",
    "arm": "arm",
    "aarch64": "arm64",
    "mips64": "mips",
    "riscv64": "riscv",
    "ppc64le": "powerpc",
}
"""How the functions of system calls begin, ``__x64_sys_``, on machines where a wrapper decodes their arguments."""


def syscall_function(name: str, *, wrapper: bool) -> str:
    """The kernel's function for a system call, with or without SYSCALL_WRAPPER."""
    return f"__{_SYSCALL_PREFIXES.get(machine(), '')}_sys_{name}" if wrapper else f"__se_sys_{name}"


def _syscall_wrapper() -> bool:
    """Whether a kprobe can be set on bpf(2) under the name that a wrapper gives it."""
    kprobe = event_type("kprobe")
    if machine() not in _SYSCALL_PREFIXES or kprobe is None:
        return False
    function = syscall_function("bpf", wrapper=True).encode()
    attr = perf_event_attr(type=kprobe, kprobe_func=address(function))
    return succeeds(lambda: perf_event_open(attr, pid=os.getpid(), cpu=-1, action=ACTION))


def _uprobe_syscall() -> bool:
    """The system call is for the kernel's own use; called by anybody else it answers ENXIO, where it exists."""
    if machine() != "x86_64":
        return False
    try:
        syscall("uprobe")
    except OSError as error:
        return error.errno == errno.ENXIO
    return False


_PROBES: Final[dict[Feature, Callable[[], bool]]] = {
    Feature.PROG_NAME: _loads("SOCKET_FILTER", prog_name=b"purebpf_test"),
    Feature.GLOBAL_DATA: _global_data,
    Feature.BTF: _loads_btf(b"int", _NAMED_INTEGER),
    # void x(int a): a function's prototype is the type before it.
    Feature.BTF_FUNC: _loads_btf(b"int\0x\0a", _NAMED_INTEGER, _FUNCTION_OF_INTEGER, btf_type(_FUNC, 5, 2)),
    Feature.BTF_GLOBAL_FUNC: _loads_btf(
        b"int\0x\0a", _NAMED_INTEGER, _FUNCTION_OF_INTEGER, btf_type(_FUNC, 5, 2, vlen=_GLOBAL)
    ),
    Feature.BTF_DATASEC: _loads_btf(b"x\0.data", INTEGER, _VARIABLE, _SECTION_OF_VARIABLE),
    Feature.BTF_QMARK_DATASEC: _loads_btf(b"x\0?.data", INTEGER, _VARIABLE, _SECTION_OF_VARIABLE),
    Feature.BTF_FLOAT: _loads_btf(b"float", btf_type(_FLOAT, 1, 4)),
    Feature.BTF_DECL_TAG: _loads_btf(b"tag", INTEGER, _VARIABLE, btf_type(_DECL_TAG, 1, 2, -1)),
    Feature.BTF_TYPE_TAG: _loads_btf(b"tag", INTEGER, btf_type(_TYPE_TAG, 1, 1), btf_type(_PTR, 0, 2)),
    Feature.BTF_ENUM64: _loads_btf(b"enum64", btf_type(_ENUM64, 1, 8)),
    Feature.BTF_LAYOUT: _loads_btf(b"int", _NAMED_INTEGER, layout=_LAYOUT),
    Feature.ARRAY_MMAP: _array_mmap,
    Feature.LDIMM64_FULL_RANGE_OFF: _ldimm64_full_range_off,
    Feature.EXP_ATTACH_TYPE: _loads("CGROUP_SOCK", expected_attach_type=bpf_attach_type.BPF_CGROUP_INET_SOCK_CREATE),
    Feature.PROBE_READ_KERN: _loads("TRACEPOINT", _PROBE_READ_KERNEL),
    Feature.PROG_BIND_MAP: _prog_bind_map,
    Feature.MODULE_BTF: _module_btf,
    Feature.MEMCG_ACCOUNT: _memcg_account,
    Feature.KPROBE_PMU: lambda: event_type("kprobe") is not None,
    Feature.UPROBE_PMU: lambda: event_type("uprobe") is not None,
    Feature.PERF_LINK: _perf_link,
    Feature.CGROUP_LINK: _cgroup_link,
    Feature.XDP_LINK: _xdp_link,
    Feature.TCX_LINK: _tcx_link,
    Feature.SOCKMAP_LINK: _sockmap_link,
    Feature.BPF_COOKIE: _loads("TRACEPOINT", (call_helper(bpf_func_id.BPF_FUNC_get_attach_cookie), EXIT)),
    Feature.SYSCALL_WRAPPER: _syscall_wrapper,
    Feature.UPROBE_MULTI_LINK: _uprobe_multi_link,
    Feature.UPROBE_SYSCALL: _uprobe_syscall,
    Feature.ARG_CTX_TAG: _arg_ctx_tag,
}
