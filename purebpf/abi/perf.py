"""perf_event_open(2) as data: the attributes of an event, its ring and the records there, its ioctls.

BPF meets perf in two places.  A tracepoint, kprobe or uprobe is opened as a perf event, and the program is
attached to that.  And ``bpf_perf_event_output`` writes into the ring of a PERF_COUNT_SW_BPF_OUTPUT event,
which user space maps and reads.

The ring is one control page followed by 2**n data pages.  In the control page the kernel moves ``data_head``
on when it has written, and user space moves ``data_tail`` on when it has read; both are byte counts that
never wrap, taken modulo the size of the data area.  Each record starts with a ``perf_event_header`` and is a
multiple of 8 bytes long.

Names and layouts are those of ``include/uapi/linux/perf_event.h``, as of Linux 7.2.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_int32, c_uint16, c_uint32, c_uint64
from enum import IntEnum, IntFlag

from purebpf.abi.syscalls import machine

# --- opening an event -----------------------------------------------------------------------------


class perf_type_id(IntEnum):
    """``type`` of a perf_event_attr.  Further numbers come from /sys/bus/event_source/devices/*/type."""

    PERF_TYPE_HARDWARE = 0
    PERF_TYPE_SOFTWARE = 1
    PERF_TYPE_TRACEPOINT = 2
    PERF_TYPE_HW_CACHE = 3
    PERF_TYPE_RAW = 4
    PERF_TYPE_BREAKPOINT = 5


class perf_hw_id(IntEnum):
    """``config`` of a PERF_TYPE_HARDWARE event."""

    PERF_COUNT_HW_CPU_CYCLES = 0
    PERF_COUNT_HW_INSTRUCTIONS = 1
    PERF_COUNT_HW_CACHE_REFERENCES = 2
    PERF_COUNT_HW_CACHE_MISSES = 3
    PERF_COUNT_HW_BRANCH_INSTRUCTIONS = 4
    PERF_COUNT_HW_BRANCH_MISSES = 5
    PERF_COUNT_HW_BUS_CYCLES = 6
    PERF_COUNT_HW_STALLED_CYCLES_FRONTEND = 7
    PERF_COUNT_HW_STALLED_CYCLES_BACKEND = 8
    PERF_COUNT_HW_REF_CPU_CYCLES = 9


class perf_hw_cache_id(IntEnum):
    """``config`` of a PERF_TYPE_HW_CACHE event, bits 0 to 7: the cache."""

    PERF_COUNT_HW_CACHE_L1D = 0
    PERF_COUNT_HW_CACHE_L1I = 1
    PERF_COUNT_HW_CACHE_LL = 2
    PERF_COUNT_HW_CACHE_DTLB = 3
    PERF_COUNT_HW_CACHE_ITLB = 4
    PERF_COUNT_HW_CACHE_BPU = 5
    PERF_COUNT_HW_CACHE_NODE = 6


class perf_hw_cache_op_id(IntEnum):
    """``config`` of a PERF_TYPE_HW_CACHE event, bits 8 to 15: the operation."""

    PERF_COUNT_HW_CACHE_OP_READ = 0
    PERF_COUNT_HW_CACHE_OP_WRITE = 1
    PERF_COUNT_HW_CACHE_OP_PREFETCH = 2


class perf_hw_cache_op_result_id(IntEnum):
    """``config`` of a PERF_TYPE_HW_CACHE event, bits 16 to 23: its result."""

    PERF_COUNT_HW_CACHE_RESULT_ACCESS = 0
    PERF_COUNT_HW_CACHE_RESULT_MISS = 1


class perf_sw_ids(IntEnum):
    """``config`` of a PERF_TYPE_SOFTWARE event."""

    PERF_COUNT_SW_CPU_CLOCK = 0
    PERF_COUNT_SW_TASK_CLOCK = 1
    PERF_COUNT_SW_PAGE_FAULTS = 2
    PERF_COUNT_SW_CONTEXT_SWITCHES = 3
    PERF_COUNT_SW_CPU_MIGRATIONS = 4
    PERF_COUNT_SW_PAGE_FAULTS_MIN = 5
    PERF_COUNT_SW_PAGE_FAULTS_MAJ = 6
    PERF_COUNT_SW_ALIGNMENT_FAULTS = 7
    PERF_COUNT_SW_EMULATION_FAULTS = 8
    PERF_COUNT_SW_DUMMY = 9
    PERF_COUNT_SW_BPF_OUTPUT = 10  # what bpf_perf_event_output writes to
    PERF_COUNT_SW_CGROUP_SWITCHES = 11


class perf_event_sample_format(IntFlag):
    """``sample_type`` of a perf_event_attr: what a PERF_RECORD_SAMPLE holds."""

    PERF_SAMPLE_IP = 1 << 0
    PERF_SAMPLE_TID = 1 << 1
    PERF_SAMPLE_TIME = 1 << 2
    PERF_SAMPLE_ADDR = 1 << 3
    PERF_SAMPLE_READ = 1 << 4
    PERF_SAMPLE_CALLCHAIN = 1 << 5
    PERF_SAMPLE_ID = 1 << 6
    PERF_SAMPLE_CPU = 1 << 7
    PERF_SAMPLE_PERIOD = 1 << 8
    PERF_SAMPLE_STREAM_ID = 1 << 9
    PERF_SAMPLE_RAW = 1 << 10  # a u32 size, then the bytes that the BPF program wrote
    PERF_SAMPLE_BRANCH_STACK = 1 << 11
    PERF_SAMPLE_REGS_USER = 1 << 12
    PERF_SAMPLE_STACK_USER = 1 << 13
    PERF_SAMPLE_WEIGHT = 1 << 14
    PERF_SAMPLE_DATA_SRC = 1 << 15
    PERF_SAMPLE_IDENTIFIER = 1 << 16
    PERF_SAMPLE_TRANSACTION = 1 << 17
    PERF_SAMPLE_REGS_INTR = 1 << 18
    PERF_SAMPLE_PHYS_ADDR = 1 << 19
    PERF_SAMPLE_AUX = 1 << 20
    PERF_SAMPLE_CGROUP = 1 << 21
    PERF_SAMPLE_DATA_PAGE_SIZE = 1 << 22
    PERF_SAMPLE_CODE_PAGE_SIZE = 1 << 23
    PERF_SAMPLE_WEIGHT_STRUCT = 1 << 24


class perf_event_read_format(IntFlag):
    """``read_format`` of a perf_event_attr: which u64 numbers read(2) of the event returns, in this order.

    The event's value comes first, unless PERF_FORMAT_GROUP is set.
    """

    PERF_FORMAT_TOTAL_TIME_ENABLED = 1 << 0
    PERF_FORMAT_TOTAL_TIME_RUNNING = 1 << 1
    PERF_FORMAT_ID = 1 << 2
    PERF_FORMAT_GROUP = 1 << 3
    PERF_FORMAT_LOST = 1 << 4  # Linux 6.0; how many records found no room in the ring


PERF_ATTR_SIZE_VER0 = 64
PERF_ATTR_SIZE_VER1 = 72  # + config2
PERF_ATTR_SIZE_VER2 = 80  # + branch_sample_type
PERF_ATTR_SIZE_VER3 = 96  # + sample_regs_user, sample_stack_user
PERF_ATTR_SIZE_VER4 = 104  # + sample_regs_intr
PERF_ATTR_SIZE_VER5 = 112  # + aux_watermark
PERF_ATTR_SIZE_VER6 = 120  # + aux_sample_size
PERF_ATTR_SIZE_VER7 = 128  # + sig_data
PERF_ATTR_SIZE_VER8 = 136  # + config3
PERF_ATTR_SIZE_VER9 = 144  # + config4


class _sample_period(ctypes.Union):
    __slots__ = ()
    _fields_ = (("sample_period", c_uint64), ("sample_freq", c_uint64))


class _wakeup(ctypes.Union):
    __slots__ = ()
    _fields_ = (("wakeup_events", c_uint32), ("wakeup_watermark", c_uint32))


class _config1(ctypes.Union):
    __slots__ = ()
    _fields_ = (
        ("bp_addr", c_uint64),
        ("kprobe_func", c_uint64),
        ("uprobe_path", c_uint64),
        ("config1", c_uint64),
    )


class _config2(ctypes.Union):
    __slots__ = ()
    _fields_ = (
        ("bp_len", c_uint64),
        ("kprobe_addr", c_uint64),
        ("probe_offset", c_uint64),
        ("config2", c_uint64),
    )


class _aux_bits(ctypes.Structure):
    __slots__ = ()
    _fields_ = (
        ("aux_start_paused", c_uint32, 1),
        ("aux_pause", c_uint32, 1),
        ("aux_resume", c_uint32, 1),
        ("_reserved_3", c_uint32, 29),
    )


class _aux_action(ctypes.Union):
    __slots__ = ()
    _anonymous_ = ("_aux_bits",)
    _fields_ = (("aux_action", c_uint32), ("_aux_bits", _aux_bits))


class perf_event_attr(ctypes.Structure):
    """The first argument of perf_event_open(2), in its newest form (PERF_ATTR_SIZE_VER9).

    Set ``size`` to ``ctypes.sizeof(perf_event_attr)``.  A kernel that knows a shorter structure takes a
    longer one as long as the rest is zero, so the newest size works on every kernel (E2BIG means that the
    rest is not zero). A name that is not a field raises AttributeError instead of being lost.
    """

    __slots__ = ()
    _anonymous_ = ("_sample_period", "_wakeup", "_config1", "_config2", "_aux_action")
    _fields_ = (
        ("type", c_uint32),
        ("size", c_uint32),
        ("config", c_uint64),
        ("_sample_period", _sample_period),
        ("sample_type", c_uint64),
        ("read_format", c_uint64),
        ("disabled", c_uint64, 1),
        ("inherit", c_uint64, 1),
        ("pinned", c_uint64, 1),
        ("exclusive", c_uint64, 1),
        ("exclude_user", c_uint64, 1),
        ("exclude_kernel", c_uint64, 1),
        ("exclude_hv", c_uint64, 1),
        ("exclude_idle", c_uint64, 1),
        ("mmap", c_uint64, 1),
        ("comm", c_uint64, 1),
        ("freq", c_uint64, 1),
        ("inherit_stat", c_uint64, 1),
        ("enable_on_exec", c_uint64, 1),
        ("task", c_uint64, 1),
        ("watermark", c_uint64, 1),
        ("precise_ip", c_uint64, 2),
        ("mmap_data", c_uint64, 1),
        ("sample_id_all", c_uint64, 1),
        ("exclude_host", c_uint64, 1),
        ("exclude_guest", c_uint64, 1),
        ("exclude_callchain_kernel", c_uint64, 1),
        ("exclude_callchain_user", c_uint64, 1),
        ("mmap2", c_uint64, 1),
        ("comm_exec", c_uint64, 1),
        ("use_clockid", c_uint64, 1),
        ("context_switch", c_uint64, 1),
        ("write_backward", c_uint64, 1),
        ("namespaces", c_uint64, 1),
        ("ksymbol", c_uint64, 1),
        ("bpf_event", c_uint64, 1),
        ("aux_output", c_uint64, 1),
        ("cgroup", c_uint64, 1),
        ("text_poke", c_uint64, 1),
        ("build_id", c_uint64, 1),
        ("inherit_thread", c_uint64, 1),
        ("remove_on_exec", c_uint64, 1),
        ("sigtrap", c_uint64, 1),
        ("defer_callchain", c_uint64, 1),
        ("defer_output", c_uint64, 1),
        ("_reserved_1", c_uint64, 24),
        ("_wakeup", _wakeup),
        ("bp_type", c_uint32),
        ("_config1", _config1),
        ("_config2", _config2),
        ("branch_sample_type", c_uint64),
        ("sample_regs_user", c_uint64),
        ("sample_stack_user", c_uint32),
        ("clockid", c_int32),
        ("sample_regs_intr", c_uint64),
        ("aux_watermark", c_uint32),
        ("sample_max_stack", c_uint16),
        ("_reserved_2", c_uint16),
        ("aux_sample_size", c_uint32),
        ("_aux_action", _aux_action),
        ("sig_data", c_uint64),
        ("config3", c_uint64),
        ("config4", c_uint64),
    )


class perf_event_open_flags(IntFlag):
    """``flags`` of perf_event_open(2)."""

    PERF_FLAG_FD_NO_GROUP = 1 << 0
    PERF_FLAG_FD_OUTPUT = 1 << 1
    PERF_FLAG_PID_CGROUP = 1 << 2  # pid is the fd of a cgroup directory
    PERF_FLAG_FD_CLOEXEC = 1 << 3


PERF_FLAG_FD_CLOEXEC = perf_event_open_flags.PERF_FLAG_FD_CLOEXEC

# --- reading its ring -----------------------------------------------------------------------------

# Byte offsets in the control page (struct perf_event_mmap_page) of its u64 fields for the data area:
DATA_HEAD = 1024
DATA_TAIL = 1032
DATA_OFFSET = 1040  # where the data area starts in the mapping, in bytes
DATA_SIZE = 1048  # the data area's size, in bytes

perf_event_header = struct.Struct("=IHH")
"""How each record starts: type (perf_event_type), misc, size of the whole record in bytes."""


class perf_event_type(IntEnum):
    """``type`` of a record's header."""

    PERF_RECORD_MMAP = 1
    PERF_RECORD_LOST = 2  # a u64 id of the event, then a u64: how many records found no room in the ring
    PERF_RECORD_COMM = 3
    PERF_RECORD_EXIT = 4
    PERF_RECORD_THROTTLE = 5
    PERF_RECORD_UNTHROTTLE = 6
    PERF_RECORD_FORK = 7
    PERF_RECORD_READ = 8
    PERF_RECORD_SAMPLE = 9  # what sample_type asked for
    PERF_RECORD_MMAP2 = 10
    PERF_RECORD_AUX = 11
    PERF_RECORD_ITRACE_START = 12
    PERF_RECORD_LOST_SAMPLES = 13
    PERF_RECORD_SWITCH = 14
    PERF_RECORD_SWITCH_CPU_WIDE = 15
    PERF_RECORD_NAMESPACES = 16
    PERF_RECORD_KSYMBOL = 17
    PERF_RECORD_BPF_EVENT = 18
    PERF_RECORD_CGROUP = 19
    PERF_RECORD_TEXT_POKE = 20
    PERF_RECORD_AUX_OUTPUT_HW_ID = 21
    PERF_RECORD_CALLCHAIN_DEFERRED = 22


# --- ioctl(2) on an event -------------------------------------------------------------------------

_NONE, _WRITE, _READ = range(3)  # _WRITE: user space writes, the kernel reads


def ioctl_request(direction: int, nr: int, size: int, on: str | None = None) -> int:
    """perf's ioctl(2) request ``nr`` with an argument of ``size`` bytes, on a machine (``syscalls.machine``).

    ``asm-generic/ioctl.h`` packs direction, size, the type byte ('$' is perf's) and the number into 32 bits;
    MIPS and PowerPC have their own, older packing with 3 bits of direction.
    """
    if (on or machine()).startswith(("mips", "ppc")):
        packed_direction = {_NONE: 1, _READ: 2, _WRITE: 4, _READ | _WRITE: 6}[direction] << 29
    else:
        packed_direction = {_NONE: 0, _WRITE: 1, _READ: 2, _READ | _WRITE: 3}[direction] << 30
    return packed_direction | size << 16 | ord("$") << 8 | nr


_POINTER = ctypes.sizeof(ctypes.c_void_p)

PERF_EVENT_IOC_ENABLE = ioctl_request(_NONE, 0, 0)
PERF_EVENT_IOC_DISABLE = ioctl_request(_NONE, 1, 0)
PERF_EVENT_IOC_REFRESH = ioctl_request(_NONE, 2, 0)
PERF_EVENT_IOC_RESET = ioctl_request(_NONE, 3, 0)
PERF_EVENT_IOC_PERIOD = ioctl_request(_WRITE, 4, 8)
PERF_EVENT_IOC_SET_OUTPUT = ioctl_request(_NONE, 5, 0)
PERF_EVENT_IOC_SET_FILTER = ioctl_request(_WRITE, 6, _POINTER)
PERF_EVENT_IOC_ID = ioctl_request(_READ, 7, _POINTER)
PERF_EVENT_IOC_SET_BPF = ioctl_request(_WRITE, 8, 4)
PERF_EVENT_IOC_PAUSE_OUTPUT = ioctl_request(_WRITE, 9, 4)
PERF_EVENT_IOC_QUERY_BPF = ioctl_request(_READ | _WRITE, 10, _POINTER)
PERF_EVENT_IOC_MODIFY_ATTRIBUTES = ioctl_request(_WRITE, 11, _POINTER)

PERF_IOC_FLAG_GROUP = 1 << 0
"""Argument of PERF_EVENT_IOC_ENABLE, _DISABLE and _RESET: the whole group of events."""
