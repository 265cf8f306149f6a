"""Which Linux brought what can be loaded, and which option of the kernel's configuration it is built by.

Releases are mainline's, as (major, minor); distributions bring things to older ones.  They are those of the commits
that added the names to include/uapi/linux/bpf.h.  Options stand in include/linux/bpf_types.h: there are none where
CONFIG_BPF_SYSCALL is enough.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from purebpf.abi.bpf import bpf_attach_type as attach
from purebpf.abi.bpf import bpf_map_flags, bpf_map_type, bpf_prog_type


class Origin(NamedTuple):
    """The first release with something, and the options that it takes: all of them."""

    since: tuple[int, int]
    options: tuple[str, ...] = ()


_NET: Final = ("CONFIG_NET",)
_INET: Final = ("CONFIG_INET",)
_CGROUP: Final = ("CONFIG_CGROUP_BPF",)
_EVENTS: Final = ("CONFIG_BPF_EVENTS",)
_JIT: Final = ("CONFIG_BPF_JIT",)

PROGRAM_TYPES: Final[dict[bpf_prog_type, Origin]] = {
    bpf_prog_type.BPF_PROG_TYPE_SOCKET_FILTER: Origin((3, 19), _NET),
    bpf_prog_type.BPF_PROG_TYPE_KPROBE: Origin((4, 1), _EVENTS),
    bpf_prog_type.BPF_PROG_TYPE_SCHED_CLS: Origin((4, 1), _NET),
    bpf_prog_type.BPF_PROG_TYPE_SCHED_ACT: Origin((4, 1), _NET),
    bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT: Origin((4, 7), _EVENTS),
    bpf_prog_type.BPF_PROG_TYPE_XDP: Origin((4, 8), _NET),
    bpf_prog_type.BPF_PROG_TYPE_PERF_EVENT: Origin((4, 9), _EVENTS),
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SKB: Origin((4, 10), _CGROUP),
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCK: Origin((4, 10), _CGROUP),
    bpf_prog_type.BPF_PROG_TYPE_LWT_IN: Origin((4, 10), _NET),
    bpf_prog_type.BPF_PROG_TYPE_LWT_OUT: Origin((4, 10), _NET),
    bpf_prog_type.BPF_PROG_TYPE_LWT_XMIT: Origin((4, 10), _NET),
    bpf_prog_type.BPF_PROG_TYPE_SOCK_OPS: Origin((4, 13), _NET),
    bpf_prog_type.BPF_PROG_TYPE_SK_SKB: Origin((4, 14), _NET),
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_DEVICE: Origin((4, 15), _CGROUP),
    bpf_prog_type.BPF_PROG_TYPE_SK_MSG: Origin((4, 17), _NET),
    bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT: Origin((4, 17), _EVENTS),
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCK_ADDR: Origin((4, 17), _CGROUP),
    bpf_prog_type.BPF_PROG_TYPE_LWT_SEG6LOCAL: Origin((4, 18), _NET),
    bpf_prog_type.BPF_PROG_TYPE_LIRC_MODE2: Origin((4, 18), ("CONFIG_BPF_LIRC_MODE2",)),
    bpf_prog_type.BPF_PROG_TYPE_SK_REUSEPORT: Origin((4, 19), _INET),
    bpf_prog_type.BPF_PROG_TYPE_FLOW_DISSECTOR: Origin((4, 20), _NET),
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SYSCTL: Origin((5, 2), _CGROUP),
    bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE: Origin((5, 2), _EVENTS),
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCKOPT: Origin((5, 3), _CGROUP),
    bpf_prog_type.BPF_PROG_TYPE_TRACING: Origin((5, 5), _EVENTS),
    bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS: Origin((5, 6), _JIT),
    bpf_prog_type.BPF_PROG_TYPE_EXT: Origin((5, 6), _JIT),
    bpf_prog_type.BPF_PROG_TYPE_LSM: Origin((5, 7), (*_JIT, "CONFIG_BPF_LSM")),
    bpf_prog_type.BPF_PROG_TYPE_SK_LOOKUP: Origin((5, 9), _INET),
    bpf_prog_type.BPF_PROG_TYPE_SYSCALL: Origin((5, 14)),
    bpf_prog_type.BPF_PROG_TYPE_NETFILTER: Origin((6, 4), ("CONFIG_NETFILTER_BPF_LINK",)),
}

MAP_TYPES: Final[dict[bpf_map_type, Origin]] = {
    bpf_map_type.BPF_MAP_TYPE_HASH: Origin((3, 19)),
    bpf_map_type.BPF_MAP_TYPE_ARRAY: Origin((3, 19)),
    bpf_map_type.BPF_MAP_TYPE_PROG_ARRAY: Origin((4, 2)),
    bpf_map_type.BPF_MAP_TYPE_PERF_EVENT_ARRAY: Origin((4, 3)),
    bpf_map_type.BPF_MAP_TYPE_PERCPU_HASH: Origin((4, 6)),
    bpf_map_type.BPF_MAP_TYPE_PERCPU_ARRAY: Origin((4, 6)),
    bpf_map_type.BPF_MAP_TYPE_STACK_TRACE: Origin((4, 6), ("CONFIG_PERF_EVENTS",)),
    bpf_map_type.BPF_MAP_TYPE_CGROUP_ARRAY: Origin((4, 8), ("CONFIG_CGROUPS",)),
    bpf_map_type.BPF_MAP_TYPE_LRU_HASH: Origin((4, 10)),
    bpf_map_type.BPF_MAP_TYPE_LRU_PERCPU_HASH: Origin((4, 10)),
    bpf_map_type.BPF_MAP_TYPE_LPM_TRIE: Origin((4, 11)),
    bpf_map_type.BPF_MAP_TYPE_ARRAY_OF_MAPS: Origin((4, 12)),
    bpf_map_type.BPF_MAP_TYPE_HASH_OF_MAPS: Origin((4, 12)),
    bpf_map_type.BPF_MAP_TYPE_DEVMAP: Origin((4, 14), _NET),
    bpf_map_type.BPF_MAP_TYPE_SOCKMAP: Origin((4, 14), _INET),
    bpf_map_type.BPF_MAP_TYPE_CPUMAP: Origin((4, 15), _NET),
    bpf_map_type.BPF_MAP_TYPE_XSKMAP: Origin((4, 18), ("CONFIG_XDP_SOCKETS",)),
    bpf_map_type.BPF_MAP_TYPE_SOCKHASH: Origin((4, 18), _INET),
    bpf_map_type.BPF_MAP_TYPE_CGROUP_STORAGE: Origin((4, 19), _CGROUP),
    bpf_map_type.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY: Origin((4, 19), _INET),
    bpf_map_type.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE: Origin((4, 20), _CGROUP),
    bpf_map_type.BPF_MAP_TYPE_QUEUE: Origin((4, 20)),
    bpf_map_type.BPF_MAP_TYPE_STACK: Origin((4, 20)),
    bpf_map_type.BPF_MAP_TYPE_SK_STORAGE: Origin((5, 2), _NET),
    bpf_map_type.BPF_MAP_TYPE_DEVMAP_HASH: Origin((5, 4), _NET),
    bpf_map_type.BPF_MAP_TYPE_STRUCT_OPS: Origin((5, 6), _JIT),
    bpf_map_type.BPF_MAP_TYPE_RINGBUF: Origin((5, 8)),
    bpf_map_type.BPF_MAP_TYPE_INODE_STORAGE: Origin((5, 10), ("CONFIG_BPF_LSM",)),
    bpf_map_type.BPF_MAP_TYPE_TASK_STORAGE: Origin((5, 11)),
    bpf_map_type.BPF_MAP_TYPE_BLOOM_FILTER: Origin((5, 16)),
    bpf_map_type.BPF_MAP_TYPE_USER_RINGBUF: Origin((6, 1)),
    bpf_map_type.BPF_MAP_TYPE_CGRP_STORAGE: Origin((6, 2), ("CONFIG_CGROUPS",)),
    bpf_map_type.BPF_MAP_TYPE_ARENA: Origin((6, 9), ("CONFIG_MMU", "CONFIG_64BIT")),
    bpf_map_type.BPF_MAP_TYPE_INSN_ARRAY: Origin((6, 19)),
    bpf_map_type.BPF_MAP_TYPE_RHASH: Origin((7, 2)),
}

ATTACH_TYPES: Final[dict[attach, tuple[int, int]]] = {
    attach.BPF_CGROUP_UDP4_SENDMSG: (4, 18),
    attach.BPF_CGROUP_UDP6_SENDMSG: (4, 18),
    attach.BPF_CGROUP_UDP4_RECVMSG: (5, 2),
    attach.BPF_CGROUP_UDP6_RECVMSG: (5, 2),
    attach.BPF_MODIFY_RETURN: (5, 7),
    attach.BPF_TRACE_ITER: (5, 8),
    attach.BPF_CGROUP_INET4_GETPEERNAME: (5, 8),
    attach.BPF_CGROUP_INET6_GETPEERNAME: (5, 8),
    attach.BPF_CGROUP_INET4_GETSOCKNAME: (5, 8),
    attach.BPF_CGROUP_INET6_GETSOCKNAME: (5, 8),
    attach.BPF_CGROUP_INET_SOCK_RELEASE: (5, 9),
    attach.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE: (5, 14),
    attach.BPF_LSM_CGROUP: (6, 0),
    attach.BPF_CGROUP_UNIX_CONNECT: (6, 7),
    attach.BPF_CGROUP_UNIX_SENDMSG: (6, 7),
    attach.BPF_CGROUP_UNIX_RECVMSG: (6, 7),
    attach.BPF_CGROUP_UNIX_GETPEERNAME: (6, 7),
    attach.BPF_CGROUP_UNIX_GETSOCKNAME: (6, 7),
    attach.BPF_TRACE_FSESSION: (7, 0),
    attach.BPF_TRACE_FENTRY_MULTI: (7, 2),
    attach.BPF_TRACE_FEXIT_MULTI: (7, 2),
    attach.BPF_TRACE_FSESSION_MULTI: (7, 2),
}
"""Those that a program has to be loaded for, and that came after its type."""

SLEEPABLE: Final[dict[bpf_prog_type, tuple[int, int]]] = {
    bpf_prog_type.BPF_PROG_TYPE_TRACING: (5, 10),
    bpf_prog_type.BPF_PROG_TYPE_LSM: (5, 10),
    bpf_prog_type.BPF_PROG_TYPE_SYSCALL: (5, 14),
    bpf_prog_type.BPF_PROG_TYPE_KPROBE: (6, 0),
    bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS: (6, 3),
    bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT: (7, 2),
    bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT: (7, 2),
}
"""Program types of which some may sleep, by BPF_F_SLEEPABLE; of KPROBE those at uprobes."""
SLEEPABLE_RAW_TP: Final = (7, 2)
"""Of BPF_PROG_TYPE_TRACING, those for BPF_TRACE_RAW_TP, which came later."""

XDP_HAS_FRAGS: Final = (5, 18)
"""The flag BPF_F_XDP_HAS_FRAGS of programs."""
XDP_DEV_BOUND_ONLY: Final = (6, 3)
"""The flag BPF_F_XDP_DEV_BOUND_ONLY of programs."""

MAP_FLAGS: Final[dict[bpf_map_flags, tuple[int, int]]] = {
    bpf_map_flags.BPF_F_RDONLY_PROG: (5, 2),
    bpf_map_flags.BPF_F_WRONLY_PROG: (5, 2),
    bpf_map_flags.BPF_F_CLONE: (5, 4),
    bpf_map_flags.BPF_F_MMAPABLE: (5, 5),
    bpf_map_flags.BPF_F_PRESERVE_ELEMS: (5, 10),
    bpf_map_flags.BPF_F_INNER_MAP: (5, 10),
    bpf_map_flags.BPF_F_LINK: (6, 4),
    bpf_map_flags.BPF_F_VTYPE_BTF_OBJ_FD: (6, 9),
    bpf_map_flags.BPF_F_TOKEN_FD: (6, 9),
    bpf_map_flags.BPF_F_SEGV_ON_FAULT: (6, 9),
    bpf_map_flags.BPF_F_NO_USER_CONV: (6, 9),
    bpf_map_flags.BPF_F_RB_OVERWRITE: (6, 19),
}
