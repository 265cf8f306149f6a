"""The constants of bpf(2), under the kernel's own names.

Whoever reads a plan beside ``<linux/bpf.h>``, an strace log or the kernel's source finds the same words in
all of them, so every name here is the kernel's and so is every value.  The kernel only ever adds to these
lists; this is the state of Linux 7.2's ``include/uapi/linux/bpf.h``.  A kernel older than a member answers
EINVAL to it.

Named C enums are classes of the same name.  The flag sets are anonymous in C; here each is an IntFlag named
after the ``bpf_attr`` field that takes it.  What only BPF programs use (helper flags, return codes, TCP
states) is left to the C headers; instruction codes and helper numbers are in ``purebpf.asm``.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

# --- bpf(2) commands ------------------------------------------------------------------------------


class bpf_cmd(IntEnum):
    """The first argument of bpf(2).  BPF_PROG_RUN is a second name of BPF_PROG_TEST_RUN."""

    BPF_MAP_CREATE = 0
    BPF_MAP_LOOKUP_ELEM = 1
    BPF_MAP_UPDATE_ELEM = 2
    BPF_MAP_DELETE_ELEM = 3
    BPF_MAP_GET_NEXT_KEY = 4
    BPF_PROG_LOAD = 5
    BPF_OBJ_PIN = 6
    BPF_OBJ_GET = 7
    BPF_PROG_ATTACH = 8
    BPF_PROG_DETACH = 9
    BPF_PROG_TEST_RUN = 10
    BPF_PROG_RUN = 10
    BPF_PROG_GET_NEXT_ID = 11
    BPF_MAP_GET_NEXT_ID = 12
    BPF_PROG_GET_FD_BY_ID = 13
    BPF_MAP_GET_FD_BY_ID = 14
    BPF_OBJ_GET_INFO_BY_FD = 15
    BPF_PROG_QUERY = 16
    BPF_RAW_TRACEPOINT_OPEN = 17
    BPF_BTF_LOAD = 18
    BPF_BTF_GET_FD_BY_ID = 19
    BPF_TASK_FD_QUERY = 20
    BPF_MAP_LOOKUP_AND_DELETE_ELEM = 21
    BPF_MAP_FREEZE = 22
    BPF_BTF_GET_NEXT_ID = 23
    BPF_MAP_LOOKUP_BATCH = 24
    BPF_MAP_LOOKUP_AND_DELETE_BATCH = 25
    BPF_MAP_UPDATE_BATCH = 26
    BPF_MAP_DELETE_BATCH = 27
    BPF_LINK_CREATE = 28
    BPF_LINK_UPDATE = 29
    BPF_LINK_GET_FD_BY_ID = 30
    BPF_LINK_GET_NEXT_ID = 31
    BPF_ENABLE_STATS = 32
    BPF_ITER_CREATE = 33
    BPF_LINK_DETACH = 34
    BPF_PROG_BIND_MAP = 35
    BPF_TOKEN_CREATE = 36
    BPF_PROG_STREAM_READ_BY_FD = 37
    BPF_PROG_ASSOC_STRUCT_OPS = 38


BPF_COMMON_ATTRS = 1 << 16
"""Or-ed into a bpf_cmd: the 4th and 5th arguments of bpf(2) are a ``bpf_common_attr`` and its size."""

# --- maps -----------------------------------------------------------------------------------------


class bpf_map_type(IntEnum):
    """``map_type`` of BPF_MAP_CREATE.  The two _DEPRECATED names are aliases, as in the header."""

    BPF_MAP_TYPE_UNSPEC = 0
    BPF_MAP_TYPE_HASH = 1
    BPF_MAP_TYPE_ARRAY = 2
    BPF_MAP_TYPE_PROG_ARRAY = 3
    BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4
    BPF_MAP_TYPE_PERCPU_HASH = 5
    BPF_MAP_TYPE_PERCPU_ARRAY = 6
    BPF_MAP_TYPE_STACK_TRACE = 7
    BPF_MAP_TYPE_CGROUP_ARRAY = 8
    BPF_MAP_TYPE_LRU_HASH = 9
    BPF_MAP_TYPE_LRU_PERCPU_HASH = 10
    BPF_MAP_TYPE_LPM_TRIE = 11
    BPF_MAP_TYPE_ARRAY_OF_MAPS = 12
    BPF_MAP_TYPE_HASH_OF_MAPS = 13
    BPF_MAP_TYPE_DEVMAP = 14
    BPF_MAP_TYPE_SOCKMAP = 15
    BPF_MAP_TYPE_CPUMAP = 16
    BPF_MAP_TYPE_XSKMAP = 17
    BPF_MAP_TYPE_SOCKHASH = 18
    BPF_MAP_TYPE_CGROUP_STORAGE = 19
    BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED = 19
    BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20
    BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE = 21
    BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED = 21
    BPF_MAP_TYPE_QUEUE = 22
    BPF_MAP_TYPE_STACK = 23
    BPF_MAP_TYPE_SK_STORAGE = 24
    BPF_MAP_TYPE_DEVMAP_HASH = 25
    BPF_MAP_TYPE_STRUCT_OPS = 26
    BPF_MAP_TYPE_RINGBUF = 27
    BPF_MAP_TYPE_INODE_STORAGE = 28
    BPF_MAP_TYPE_TASK_STORAGE = 29
    BPF_MAP_TYPE_BLOOM_FILTER = 30
    BPF_MAP_TYPE_USER_RINGBUF = 31
    BPF_MAP_TYPE_CGRP_STORAGE = 32
    BPF_MAP_TYPE_ARENA = 33
    BPF_MAP_TYPE_INSN_ARRAY = 34
    BPF_MAP_TYPE_RHASH = 35


class bpf_map_flags(IntFlag):
    """``map_flags`` of BPF_MAP_CREATE.

    BPF_F_RDONLY and BPF_F_WRONLY also go into ``open_flags`` (BPF_*_GET_FD_BY_ID) and ``file_flags``
    (BPF_OBJ_GET), BPF_F_PATH_FD into ``file_flags`` only, and BPF_F_TOKEN_FD into ``prog_flags`` and
    ``btf_flags`` as well.
    """

    BPF_F_NO_PREALLOC = 1 << 0
    BPF_F_NO_COMMON_LRU = 1 << 1  # an LRU list for each CPU
    BPF_F_NUMA_NODE = 1 << 2  # numa_node is set
    BPF_F_RDONLY = 1 << 3  # for user space
    BPF_F_WRONLY = 1 << 4  # for user space
    BPF_F_STACK_BUILD_ID = 1 << 5  # a stack trace holds build ids and offsets, not addresses
    BPF_F_ZERO_SEED = 1 << 6  # for tests: hash without a random seed
    BPF_F_RDONLY_PROG = 1 << 7  # for BPF programs
    BPF_F_WRONLY_PROG = 1 << 8  # for BPF programs
    BPF_F_CLONE = 1 << 9  # socket storage follows an accepted socket
    BPF_F_MMAPABLE = 1 << 10
    BPF_F_PRESERVE_ELEMS = 1 << 11  # perf events outlive the map fd that put them into the map
    BPF_F_INNER_MAP = 1 << 12  # as an inner array, its max_entries may differ from the template's
    BPF_F_LINK = 1 << 13  # a struct_ops map that a link registers
    BPF_F_PATH_FD = 1 << 14  # path_fd is set
    BPF_F_VTYPE_BTF_OBJ_FD = 1 << 15  # value_type_btf_obj_fd is set
    BPF_F_TOKEN_FD = 1 << 16  # the command's token fd is set
    BPF_F_SEGV_ON_FAULT = 1 << 17  # arena: a fault of user space on an absent page is a SIGSEGV
    BPF_F_NO_USER_CONV = 1 << 18  # arena: pointers stored by the kernel stay kernel pointers
    BPF_F_RB_OVERWRITE = 1 << 19  # ring buffer: new records overwrite the oldest


class bpf_elem_flags(IntFlag):
    """``flags`` of BPF_MAP_UPDATE_ELEM and BPF_MAP_LOOKUP_ELEM, ``elem_flags`` of the batch commands."""

    BPF_ANY = 0  # create or replace
    BPF_NOEXIST = 1  # only create, EEXIST otherwise
    BPF_EXIST = 2  # only replace, ENOENT otherwise
    BPF_F_LOCK = 4  # hold the value's bpf_spin_lock meanwhile
    BPF_F_CPU = 8  # per-CPU map: only the CPU whose number is in the flags' upper 32 bits
    BPF_F_ALL_CPUS = 16  # per-CPU map: one value for all CPUs


BPF_RINGBUF_BUSY_BIT = 1 << 31
"""In a ring buffer record's length: reserved, not yet committed."""
BPF_RINGBUF_DISCARD_BIT = 1 << 30
"""In a ring buffer record's length: the program threw it away."""
BPF_RINGBUF_HDR_SZ = 8
"""Bytes of a ring buffer record's header: a u32 length with the two bits above, and a u32 page offset."""


class bpf_stack_build_id_status(IntEnum):
    """How to read an entry of a stack trace in a map with BPF_F_STACK_BUILD_ID."""

    BPF_STACK_BUILD_ID_EMPTY = 0  # after the last one
    BPF_STACK_BUILD_ID_VALID = 1  # a build id and an offset in that file
    BPF_STACK_BUILD_ID_IP = 2  # an address, for want of a build id


# --- programs -------------------------------------------------------------------------------------


class bpf_prog_type(IntEnum):
    """``prog_type`` of BPF_PROG_LOAD."""

    BPF_PROG_TYPE_UNSPEC = 0
    BPF_PROG_TYPE_SOCKET_FILTER = 1
    BPF_PROG_TYPE_KPROBE = 2
    BPF_PROG_TYPE_SCHED_CLS = 3
    BPF_PROG_TYPE_SCHED_ACT = 4
    BPF_PROG_TYPE_TRACEPOINT = 5
    BPF_PROG_TYPE_XDP = 6
    BPF_PROG_TYPE_PERF_EVENT = 7
    BPF_PROG_TYPE_CGROUP_SKB = 8
    BPF_PROG_TYPE_CGROUP_SOCK = 9
    BPF_PROG_TYPE_LWT_IN = 10
    BPF_PROG_TYPE_LWT_OUT = 11
    BPF_PROG_TYPE_LWT_XMIT = 12
    BPF_PROG_TYPE_SOCK_OPS = 13
    BPF_PROG_TYPE_SK_SKB = 14
    BPF_PROG_TYPE_CGROUP_DEVICE = 15
    BPF_PROG_TYPE_SK_MSG = 16
    BPF_PROG_TYPE_RAW_TRACEPOINT = 17
    BPF_PROG_TYPE_CGROUP_SOCK_ADDR = 18
    BPF_PROG_TYPE_LWT_SEG6LOCAL = 19
    BPF_PROG_TYPE_LIRC_MODE2 = 20
    BPF_PROG_TYPE_SK_REUSEPORT = 21
    BPF_PROG_TYPE_FLOW_DISSECTOR = 22
    BPF_PROG_TYPE_CGROUP_SYSCTL = 23
    BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE = 24
    BPF_PROG_TYPE_CGROUP_SOCKOPT = 25
    BPF_PROG_TYPE_TRACING = 26
    BPF_PROG_TYPE_STRUCT_OPS = 27
    BPF_PROG_TYPE_EXT = 28
    BPF_PROG_TYPE_LSM = 29
    BPF_PROG_TYPE_SK_LOOKUP = 30
    BPF_PROG_TYPE_SYSCALL = 31
    BPF_PROG_TYPE_NETFILTER = 32


class bpf_prog_flags(IntFlag):
    """``prog_flags`` of BPF_PROG_LOAD (which also takes BPF_F_TOKEN_FD of bpf_map_flags)."""

    BPF_F_STRICT_ALIGNMENT = 1 << 0
    BPF_F_ANY_ALIGNMENT = 1 << 1
    BPF_F_TEST_RND_HI32 = 1 << 2  # for the kernel's own tests, like the other BPF_F_TEST_*
    BPF_F_TEST_STATE_FREQ = 1 << 3
    BPF_F_SLEEPABLE = 1 << 4
    BPF_F_XDP_HAS_FRAGS = 1 << 5
    BPF_F_XDP_DEV_BOUND_ONLY = 1 << 6
    BPF_F_TEST_REG_INVARIANTS = 1 << 7


class bpf_test_run_flags(IntFlag):
    """``flags`` of BPF_PROG_TEST_RUN."""

    BPF_F_TEST_RUN_ON_CPU = 1 << 0
    BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1
    BPF_F_TEST_SKB_CHECKSUM_COMPLETE = 1 << 2


# What the src_reg of a 16-byte load (ld_imm64) says about its immediate value, which the kernel replaces:
BPF_PSEUDO_MAP_FD = 1  # imm: a map's fd
BPF_PSEUDO_MAP_VALUE = 2  # imm: a map's fd; next imm: an offset into its only value
BPF_PSEUDO_BTF_ID = 3  # imm: the BTF id of a kernel variable; next imm: the module BTF's fd
BPF_PSEUDO_FUNC = 4  # imm: a subprogram, counted in instructions from the second half of this load
BPF_PSEUDO_MAP_IDX = 5  # imm: an index into fd_array
BPF_PSEUDO_MAP_IDX_VALUE = 6  # imm: an index into fd_array; next imm: an offset into the value
# And the src_reg of a call instruction (0: imm is a helper's number):
BPF_PSEUDO_CALL = 1  # imm: a subprogram, counted in instructions from the next one
BPF_PSEUDO_KFUNC_CALL = 2  # imm: the BTF id of a kernel function; off: an index into fd_array, or 0

BPF_OBJ_NAME_LEN = 16
"""Bytes of a map's or program's name, its closing zero byte included."""
BPF_TAG_SIZE = 8
"""Bytes of a program's tag."""

BPF_F_INDEX_MASK = 0xFFFFFFFF
"""The bits of bpf_perf_event_output's flags that hold the index into the perf event array."""
BPF_F_CURRENT_CPU = BPF_F_INDEX_MASK
"""That index, as "the CPU the program runs on"."""
BPF_F_CTXLEN_MASK = 0xFFFFF << 32
"""The bits of bpf_perf_event_output's flags that hold how many bytes of the packet follow the data."""


class bpf_core_relo_kind(IntEnum):
    """``kind`` of a CO-RE relocation record in .BTF.ext: what the instruction asks about the target type."""

    BPF_CORE_FIELD_BYTE_OFFSET = 0
    BPF_CORE_FIELD_BYTE_SIZE = 1
    BPF_CORE_FIELD_EXISTS = 2
    BPF_CORE_FIELD_SIGNED = 3
    BPF_CORE_FIELD_LSHIFT_U64 = 4
    BPF_CORE_FIELD_RSHIFT_U64 = 5
    BPF_CORE_TYPE_ID_LOCAL = 6
    BPF_CORE_TYPE_ID_TARGET = 7
    BPF_CORE_TYPE_EXISTS = 8
    BPF_CORE_TYPE_SIZE = 9
    BPF_CORE_ENUMVAL_EXISTS = 10
    BPF_CORE_ENUMVAL_VALUE = 11
    BPF_CORE_TYPE_MATCHES = 12


# --- attaching ------------------------------------------------------------------------------------


class bpf_attach_type(IntEnum):
    """``attach_type`` of BPF_LINK_CREATE and BPF_PROG_ATTACH, ``expected_attach_type`` of BPF_PROG_LOAD."""

    BPF_CGROUP_INET_INGRESS = 0
    BPF_CGROUP_INET_EGRESS = 1
    BPF_CGROUP_INET_SOCK_CREATE = 2
    BPF_CGROUP_SOCK_OPS = 3
    BPF_SK_SKB_STREAM_PARSER = 4
    BPF_SK_SKB_STREAM_VERDICT = 5
    BPF_CGROUP_DEVICE = 6
    BPF_SK_MSG_VERDICT = 7
    BPF_CGROUP_INET4_BIND = 8
    BPF_CGROUP_INET6_BIND = 9
    BPF_CGROUP_INET4_CONNECT = 10
    BPF_CGROUP_INET6_CONNECT = 11
    BPF_CGROUP_INET4_POST_BIND = 12
    BPF_CGROUP_INET6_POST_BIND = 13
    BPF_CGROUP_UDP4_SENDMSG = 14
    BPF_CGROUP_UDP6_SENDMSG = 15
    BPF_LIRC_MODE2 = 16
    BPF_FLOW_DISSECTOR = 17
    BPF_CGROUP_SYSCTL = 18
    BPF_CGROUP_UDP4_RECVMSG = 19
    BPF_CGROUP_UDP6_RECVMSG = 20
    BPF_CGROUP_GETSOCKOPT = 21
    BPF_CGROUP_SETSOCKOPT = 22
    BPF_TRACE_RAW_TP = 23
    BPF_TRACE_FENTRY = 24
    BPF_TRACE_FEXIT = 25
    BPF_MODIFY_RETURN = 26
    BPF_LSM_MAC = 27
    BPF_TRACE_ITER = 28
    BPF_CGROUP_INET4_GETPEERNAME = 29
    BPF_CGROUP_INET6_GETPEERNAME = 30
    BPF_CGROUP_INET4_GETSOCKNAME = 31
    BPF_CGROUP_INET6_GETSOCKNAME = 32
    BPF_XDP_DEVMAP = 33
    BPF_CGROUP_INET_SOCK_RELEASE = 34
    BPF_XDP_CPUMAP = 35
    BPF_SK_LOOKUP = 36
    BPF_XDP = 37
    BPF_SK_SKB_VERDICT = 38
    BPF_SK_REUSEPORT_SELECT = 39
    BPF_SK_REUSEPORT_SELECT_OR_MIGRATE = 40
    BPF_PERF_EVENT = 41
    BPF_TRACE_KPROBE_MULTI = 42
    BPF_LSM_CGROUP = 43
    BPF_STRUCT_OPS = 44
    BPF_NETFILTER = 45
    BPF_TCX_INGRESS = 46
    BPF_TCX_EGRESS = 47
    BPF_TRACE_UPROBE_MULTI = 48
    BPF_CGROUP_UNIX_CONNECT = 49
    BPF_CGROUP_UNIX_SENDMSG = 50
    BPF_CGROUP_UNIX_RECVMSG = 51
    BPF_CGROUP_UNIX_GETPEERNAME = 52
    BPF_CGROUP_UNIX_GETSOCKNAME = 53
    BPF_NETKIT_PRIMARY = 54
    BPF_NETKIT_PEER = 55
    BPF_TRACE_KPROBE_SESSION = 56
    BPF_TRACE_UPROBE_SESSION = 57
    BPF_TRACE_FSESSION = 58
    BPF_TRACE_FENTRY_MULTI = 59
    BPF_TRACE_FEXIT_MULTI = 60
    BPF_TRACE_FSESSION_MULTI = 61


class bpf_link_type(IntEnum):
    """``type`` of a ``bpf_link_info``."""

    BPF_LINK_TYPE_UNSPEC = 0
    BPF_LINK_TYPE_RAW_TRACEPOINT = 1
    BPF_LINK_TYPE_TRACING = 2
    BPF_LINK_TYPE_CGROUP = 3
    BPF_LINK_TYPE_ITER = 4
    BPF_LINK_TYPE_NETNS = 5
    BPF_LINK_TYPE_XDP = 6
    BPF_LINK_TYPE_PERF_EVENT = 7
    BPF_LINK_TYPE_KPROBE_MULTI = 8
    BPF_LINK_TYPE_STRUCT_OPS = 9
    BPF_LINK_TYPE_NETFILTER = 10
    BPF_LINK_TYPE_TCX = 11
    BPF_LINK_TYPE_UPROBE_MULTI = 12
    BPF_LINK_TYPE_NETKIT = 13
    BPF_LINK_TYPE_SOCKMAP = 14
    BPF_LINK_TYPE_TRACING_MULTI = 15


class bpf_perf_event_type(IntEnum):
    """``perf_event.type`` of a ``bpf_link_info`` whose type is BPF_LINK_TYPE_PERF_EVENT."""

    BPF_PERF_EVENT_UNSPEC = 0
    BPF_PERF_EVENT_UPROBE = 1
    BPF_PERF_EVENT_URETPROBE = 2
    BPF_PERF_EVENT_KPROBE = 3
    BPF_PERF_EVENT_KRETPROBE = 4
    BPF_PERF_EVENT_TRACEPOINT = 5
    BPF_PERF_EVENT_EVENT = 6


class bpf_attach_flags(IntFlag):
    """``attach_flags`` of BPF_PROG_ATTACH, ``flags`` of BPF_LINK_CREATE and BPF_LINK_UPDATE.

    BPF_F_LINK (of bpf_map_flags) goes with BPF_F_BEFORE and BPF_F_AFTER: ``relative_fd`` is a link's.
    """

    BPF_F_ALLOW_OVERRIDE = 1 << 0  # cgroup: a child cgroup's program runs instead
    BPF_F_ALLOW_MULTI = 1 << 1  # cgroup: a child cgroup's program runs too
    BPF_F_REPLACE = 1 << 2  # replace replace_bpf_fd, or old_prog_fd in an update
    BPF_F_BEFORE = 1 << 3  # run before relative_fd
    BPF_F_AFTER = 1 << 4  # run after relative_fd
    BPF_F_ID = 1 << 5  # relative_id is an id, not an fd
    BPF_F_PREORDER = 1 << 6  # cgroup: run before the programs of child cgroups


class bpf_kprobe_multi_flags(IntFlag):
    """``kprobe_multi.flags`` of BPF_LINK_CREATE."""

    BPF_F_KPROBE_MULTI_RETURN = 1 << 0


class bpf_uprobe_multi_flags(IntFlag):
    """``uprobe_multi.flags`` of BPF_LINK_CREATE."""

    BPF_F_UPROBE_MULTI_RETURN = 1 << 0
    BPF_F_UPROBE_MULTI_PATH_FD = 1 << 1


class bpf_netfilter_flags(IntFlag):
    """``netfilter.flags`` of BPF_LINK_CREATE."""

    BPF_F_NETFILTER_IP_DEFRAG = 1 << 0


class bpf_cgroup_iter_order(IntEnum):
    """``cgroup.order`` of a ``bpf_iter_link_info``: which cgroups an iterator visits."""

    BPF_CGROUP_ITER_ORDER_UNSPEC = 0
    BPF_CGROUP_ITER_SELF_ONLY = 1
    BPF_CGROUP_ITER_DESCENDANTS_PRE = 2
    BPF_CGROUP_ITER_DESCENDANTS_POST = 3
    BPF_CGROUP_ITER_ANCESTORS_UP = 4
    BPF_CGROUP_ITER_CHILDREN = 5


# --- asking the kernel ----------------------------------------------------------------------------


class bpf_query_flags(IntFlag):
    """``query_flags`` of BPF_PROG_QUERY."""

    BPF_F_QUERY_EFFECTIVE = 1 << 0  # with the programs inherited from parent cgroups


class bpf_task_fd_type(IntEnum):
    """``fd_type`` that BPF_TASK_FD_QUERY fills in."""

    BPF_FD_TYPE_RAW_TRACEPOINT = 0
    BPF_FD_TYPE_TRACEPOINT = 1
    BPF_FD_TYPE_KPROBE = 2
    BPF_FD_TYPE_KRETPROBE = 3
    BPF_FD_TYPE_UPROBE = 4
    BPF_FD_TYPE_URETPROBE = 5


class bpf_stats_type(IntEnum):
    """``type`` of BPF_ENABLE_STATS."""

    BPF_STATS_RUN_TIME = 0


BPF_STREAM_STDOUT = 1
"""``stream_id`` of BPF_PROG_STREAM_READ_BY_FD."""
BPF_STREAM_STDERR = 2
"""``stream_id`` of BPF_PROG_STREAM_READ_BY_FD: where the kernel reports faults of the program too."""
