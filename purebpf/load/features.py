"""The kernel features that loading and attaching depend on, by name, and the mainline release that brought each.

A planner asks whether the kernel at hand has one.  The running kernel is asked by trying (`purebpf.kernel.features`),
for distributions backport and configure; of a kernel that runs elsewhere, only its release may be known, and then
``since`` has to do.  Names and meaning are libbpf's (``enum kern_feature_id``), without their ``FEAT_``.
"""

from __future__ import annotations

import enum


class Feature(enum.Enum):
    """A feature's ``title``, for people, and ``since``, the first mainline release with it as (major, minor)."""

    PROG_NAME = "names of programs and maps", (4, 15)
    GLOBAL_DATA = "global variables", (5, 2)
    BTF = "BTF", (4, 18)
    BTF_FUNC = "functions in BTF, and function and line records", (5, 0)
    BTF_DATASEC = "variables and data sections in BTF", (5, 2)
    BTF_GLOBAL_FUNC = "global functions in BTF", (5, 6)
    BTF_FLOAT = "floating point types in BTF", (5, 13)
    BTF_DECL_TAG = "declaration tags in BTF", (5, 16)
    BTF_TYPE_TAG = "type tags in BTF", (5, 17)
    BTF_ENUM64 = "64-bit enumerators, and their sign, in BTF", (6, 0)
    BTF_QMARK_DATASEC = "data sections in BTF whose name begins with '?'", (6, 9)
    BTF_LAYOUT = "a layout section in BTF, which says how long records of each kind are", (7, 1)
    ARRAY_MMAP = "arrays that can be mapped", (5, 5)
    LDIMM64_FULL_RANGE_OFF = "variables at any offset of a map, and not only in its first 512 MiB", (7, 0)
    EXP_ATTACH_TYPE = "expected_attach_type of programs", (4, 17)
    PROBE_READ_KERN = "the helpers bpf_probe_read_kernel() and bpf_probe_read_user()", (5, 5)
    PROG_BIND_MAP = "binding a map to a program", (5, 10)
    MODULE_BTF = "BTF of kernel modules", (5, 11)
    MEMCG_ACCOUNT = "accounting of BPF memory by memory cgroup, and not by RLIMIT_MEMLOCK", (5, 11)
    KPROBE_PMU = "kprobes as perf events", (4, 17)
    UPROBE_PMU = "uprobes as perf events", (4, 17)
    """Without these two, which libbpf has no name for, tracefs has to define a probe first."""
    PERF_LINK = "links of programs to perf events", (5, 15)
    CGROUP_LINK = "links of programs to control groups", (5, 7)
    XDP_LINK = "links of XDP programs to network interfaces", (5, 9)
    TCX_LINK = "links of programs to what a network interface receives and sends (tcx)", (6, 6)
    SOCKMAP_LINK = "links of programs to maps of sockets", (6, 10)
    BPF_COOKIE = "the helper bpf_get_attach_cookie()", (5, 15)
    SYSCALL_WRAPPER = "system calls in functions with a machine's prefix, such as __x64_sys_bpf", (4, 17)
    """Of x86; other machines followed, arm64 with 4.19, riscv with 6.6."""
    UPROBE_MULTI_LINK = "links to many uprobes at once, of one process", (6, 10)
    """6.6 had the link, but took a process's number for a thread's."""
    UPROBE_SYSCALL = "uprobes that need no trap, on instructions that do nothing and have 5 bytes", (6, 18)
    """Of x86-64 only."""
    ARG_CTX_TAG = "the declaration tag arg:ctx, which marks a global function's context argument", (6, 8)

    def __init__(self, title: str, since: tuple[int, int]) -> None:
        self.title = title
        self.since = since

    def in_version(self, version: int) -> bool:
        """Whether mainline Linux of this LINUX_VERSION_CODE has the feature."""
        major, minor = self.since
        return version >= major << 16 | minor << 8
