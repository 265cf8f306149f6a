"""Which section name makes which program type.

clang puts a function marked ``SEC("tracepoint/sched/sched_process_exec")`` into an ELF section of that name; a loader
reads the program type off it.  The names are libbpf's.  In the table a name that ends in ``+`` takes an optional
``/target``; any other must match exactly.  A leading ``?`` in an object means: do not load unless asked to.
"""

from __future__ import annotations

import difflib
from typing import Final, NamedTuple

from purebpf.abi.bpf import bpf_attach_type as attach
from purebpf.abi.bpf import bpf_prog_flags
from purebpf.abi.bpf import bpf_prog_type as prog


class SectionDefinition(NamedTuple):
    """One row: the section name, what the program is loaded as, and the flags its load needs.

    ``needs_btf_target``: at load time the program is bound to a function of the kernel or of another program, which is
    found by its name in BTF.
    """

    name: str
    type: prog
    attach_type: int = 0
    prog_flags: int = 0
    needs_btf_target: bool = False

    @property
    def takes_target(self) -> bool:
        return self.name.endswith("+")

    @property
    def attach_type_optional(self) -> bool:
        """Whether the program can do without ``attach_type`` when it is loaded, as it has to before Linux 4.17."""
        return self.name in _ATTACH_TYPE_OPTIONAL

    @property
    def is_usdt(self) -> bool:
        """Whether the program is for static tracepoints of user space, each of which may be in many places."""
        return self.name in ("usdt+", "usdt.s+")

    def matches(self, section: str) -> bool:
        if not self.takes_target:
            return section == self.name
        stem = self.name[:-1]
        return section == stem or section.startswith(stem + "/")


def _row(name: str, kind: str, attach_type: int = 0, prog_flags: int = 0, btf: bool = False) -> SectionDefinition:
    return SectionDefinition(name, prog[f"BPF_PROG_TYPE_{kind}"], attach_type, prog_flags, btf)


_ATTACH_TYPE_OPTIONAL: Final = frozenset(
    (
        *("xdp", "sockops", "sk_skb/stream_parser", "sk_skb/stream_verdict", "sk_skb/verdict", "sk_msg"),
        *("lirc_mode2", "flow_dissector", "cgroup_skb/ingress", "cgroup_skb/egress", "cgroup/sock", "cgroup/dev"),
    )
)

_SLEEPABLE: Final = bpf_prog_flags.BPF_F_SLEEPABLE
_FRAGS: Final = bpf_prog_flags.BPF_F_XDP_HAS_FRAGS

SECTIONS: Final[tuple[SectionDefinition, ...]] = (
    _row("socket", "SOCKET_FILTER"),
    _row("sk_reuseport/migrate", "SK_REUSEPORT", attach.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE),
    _row("sk_reuseport", "SK_REUSEPORT", attach.BPF_SK_REUSEPORT_SELECT),
    _row("kprobe+", "KPROBE"),
    _row("uprobe+", "KPROBE"),
    _row("uprobe.s+", "KPROBE", 0, _SLEEPABLE),
    _row("kretprobe+", "KPROBE"),
    _row("uretprobe+", "KPROBE"),
    _row("uretprobe.s+", "KPROBE", 0, _SLEEPABLE),
    _row("kprobe.multi+", "KPROBE", attach.BPF_TRACE_KPROBE_MULTI),
    _row("kretprobe.multi+", "KPROBE", attach.BPF_TRACE_KPROBE_MULTI),
    _row("kprobe.session+", "KPROBE", attach.BPF_TRACE_KPROBE_SESSION),
    _row("uprobe.multi+", "KPROBE", attach.BPF_TRACE_UPROBE_MULTI),
    _row("uretprobe.multi+", "KPROBE", attach.BPF_TRACE_UPROBE_MULTI),
    _row("uprobe.session+", "KPROBE", attach.BPF_TRACE_UPROBE_SESSION),
    _row("uprobe.multi.s+", "KPROBE", attach.BPF_TRACE_UPROBE_MULTI, _SLEEPABLE),
    _row("uretprobe.multi.s+", "KPROBE", attach.BPF_TRACE_UPROBE_MULTI, _SLEEPABLE),
    _row("uprobe.session.s+", "KPROBE", attach.BPF_TRACE_UPROBE_SESSION, _SLEEPABLE),
    _row("ksyscall+", "KPROBE"),
    _row("kretsyscall+", "KPROBE"),
    _row("usdt+", "KPROBE"),
    _row("usdt.s+", "KPROBE", 0, _SLEEPABLE),
    _row("tc/ingress", "SCHED_CLS", attach.BPF_TCX_INGRESS),
    _row("tc/egress", "SCHED_CLS", attach.BPF_TCX_EGRESS),
    _row("tcx/ingress", "SCHED_CLS", attach.BPF_TCX_INGRESS),
    _row("tcx/egress", "SCHED_CLS", attach.BPF_TCX_EGRESS),
    _row("tc", "SCHED_CLS"),
    _row("classifier", "SCHED_CLS"),
    _row("action", "SCHED_ACT"),
    _row("netkit/primary", "SCHED_CLS", attach.BPF_NETKIT_PRIMARY),
    _row("netkit/peer", "SCHED_CLS", attach.BPF_NETKIT_PEER),
    _row("tracepoint+", "TRACEPOINT"),
    _row("tp+", "TRACEPOINT"),
    _row("tracepoint.s+", "TRACEPOINT", 0, _SLEEPABLE),
    _row("tp.s+", "TRACEPOINT", 0, _SLEEPABLE),
    _row("raw_tracepoint+", "RAW_TRACEPOINT"),
    _row("raw_tp+", "RAW_TRACEPOINT"),
    _row("raw_tracepoint.s+", "RAW_TRACEPOINT", 0, _SLEEPABLE),
    _row("raw_tp.s+", "RAW_TRACEPOINT", 0, _SLEEPABLE),
    _row("raw_tracepoint.w+", "RAW_TRACEPOINT_WRITABLE"),
    _row("raw_tp.w+", "RAW_TRACEPOINT_WRITABLE"),
    _row("tp_btf+", "TRACING", attach.BPF_TRACE_RAW_TP, btf=True),
    _row("tp_btf.s+", "TRACING", attach.BPF_TRACE_RAW_TP, _SLEEPABLE, btf=True),
    _row("fentry+", "TRACING", attach.BPF_TRACE_FENTRY, btf=True),
    _row("fentry.s+", "TRACING", attach.BPF_TRACE_FENTRY, _SLEEPABLE, btf=True),
    _row("fexit+", "TRACING", attach.BPF_TRACE_FEXIT, btf=True),
    _row("fexit.s+", "TRACING", attach.BPF_TRACE_FEXIT, _SLEEPABLE, btf=True),
    _row("fmod_ret+", "TRACING", attach.BPF_MODIFY_RETURN, btf=True),
    _row("fmod_ret.s+", "TRACING", attach.BPF_MODIFY_RETURN, _SLEEPABLE, btf=True),
    _row("fsession+", "TRACING", attach.BPF_TRACE_FSESSION, btf=True),
    _row("fsession.s+", "TRACING", attach.BPF_TRACE_FSESSION, _SLEEPABLE, btf=True),
    _row("fsession.multi+", "TRACING", attach.BPF_TRACE_FSESSION_MULTI),
    _row("fsession.multi.s+", "TRACING", attach.BPF_TRACE_FSESSION_MULTI, _SLEEPABLE),
    _row("fentry.multi+", "TRACING", attach.BPF_TRACE_FENTRY_MULTI),
    _row("fentry.multi.s+", "TRACING", attach.BPF_TRACE_FENTRY_MULTI, _SLEEPABLE),
    _row("fexit.multi+", "TRACING", attach.BPF_TRACE_FEXIT_MULTI),
    _row("fexit.multi.s+", "TRACING", attach.BPF_TRACE_FEXIT_MULTI, _SLEEPABLE),
    _row("freplace+", "EXT", btf=True),
    _row("lsm+", "LSM", attach.BPF_LSM_MAC, btf=True),
    _row("lsm.s+", "LSM", attach.BPF_LSM_MAC, _SLEEPABLE, btf=True),
    _row("lsm_cgroup+", "LSM", attach.BPF_LSM_CGROUP, btf=True),
    _row("iter+", "TRACING", attach.BPF_TRACE_ITER, btf=True),
    _row("iter.s+", "TRACING", attach.BPF_TRACE_ITER, _SLEEPABLE, btf=True),
    _row("syscall", "SYSCALL", 0, _SLEEPABLE),
    _row("xdp.frags/devmap", "XDP", attach.BPF_XDP_DEVMAP, _FRAGS),
    _row("xdp/devmap", "XDP", attach.BPF_XDP_DEVMAP),
    _row("xdp.frags/cpumap", "XDP", attach.BPF_XDP_CPUMAP, _FRAGS),
    _row("xdp/cpumap", "XDP", attach.BPF_XDP_CPUMAP),
    _row("xdp.frags", "XDP", attach.BPF_XDP, _FRAGS),
    _row("xdp", "XDP", attach.BPF_XDP),
    _row("perf_event", "PERF_EVENT"),
    _row("lwt_in", "LWT_IN"),
    _row("lwt_out", "LWT_OUT"),
    _row("lwt_xmit", "LWT_XMIT"),
    _row("lwt_seg6local", "LWT_SEG6LOCAL"),
    _row("sockops", "SOCK_OPS", attach.BPF_CGROUP_SOCK_OPS),
    _row("sk_skb/stream_parser", "SK_SKB", attach.BPF_SK_SKB_STREAM_PARSER),
    _row("sk_skb/stream_verdict", "SK_SKB", attach.BPF_SK_SKB_STREAM_VERDICT),
    _row("sk_skb/verdict", "SK_SKB", attach.BPF_SK_SKB_VERDICT),
    _row("sk_skb", "SK_SKB"),
    _row("sk_msg", "SK_MSG", attach.BPF_SK_MSG_VERDICT),
    _row("lirc_mode2", "LIRC_MODE2", attach.BPF_LIRC_MODE2),
    _row("flow_dissector", "FLOW_DISSECTOR", attach.BPF_FLOW_DISSECTOR),
    _row("cgroup_skb/ingress", "CGROUP_SKB", attach.BPF_CGROUP_INET_INGRESS),
    _row("cgroup_skb/egress", "CGROUP_SKB", attach.BPF_CGROUP_INET_EGRESS),
    _row("cgroup/skb", "CGROUP_SKB"),
    _row("cgroup/sock_create", "CGROUP_SOCK", attach.BPF_CGROUP_INET_SOCK_CREATE),
    _row("cgroup/sock_release", "CGROUP_SOCK", attach.BPF_CGROUP_INET_SOCK_RELEASE),
    _row("cgroup/sock", "CGROUP_SOCK", attach.BPF_CGROUP_INET_SOCK_CREATE),
    _row("cgroup/post_bind4", "CGROUP_SOCK", attach.BPF_CGROUP_INET4_POST_BIND),
    _row("cgroup/post_bind6", "CGROUP_SOCK", attach.BPF_CGROUP_INET6_POST_BIND),
    _row("cgroup/bind4", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET4_BIND),
    _row("cgroup/bind6", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET6_BIND),
    _row("cgroup/connect4", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET4_CONNECT),
    _row("cgroup/connect6", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET6_CONNECT),
    _row("cgroup/connect_unix", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UNIX_CONNECT),
    _row("cgroup/sendmsg4", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UDP4_SENDMSG),
    _row("cgroup/sendmsg6", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UDP6_SENDMSG),
    _row("cgroup/sendmsg_unix", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UNIX_SENDMSG),
    _row("cgroup/recvmsg4", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UDP4_RECVMSG),
    _row("cgroup/recvmsg6", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UDP6_RECVMSG),
    _row("cgroup/recvmsg_unix", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UNIX_RECVMSG),
    _row("cgroup/getpeername4", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET4_GETPEERNAME),
    _row("cgroup/getpeername6", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET6_GETPEERNAME),
    _row("cgroup/getpeername_unix", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UNIX_GETPEERNAME),
    _row("cgroup/getsockname4", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET4_GETSOCKNAME),
    _row("cgroup/getsockname6", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_INET6_GETSOCKNAME),
    _row("cgroup/getsockname_unix", "CGROUP_SOCK_ADDR", attach.BPF_CGROUP_UNIX_GETSOCKNAME),
    _row("cgroup/sysctl", "CGROUP_SYSCTL", attach.BPF_CGROUP_SYSCTL),
    _row("cgroup/getsockopt", "CGROUP_SOCKOPT", attach.BPF_CGROUP_GETSOCKOPT),
    _row("cgroup/setsockopt", "CGROUP_SOCKOPT", attach.BPF_CGROUP_SETSOCKOPT),
    _row("cgroup/dev", "CGROUP_DEVICE", attach.BPF_CGROUP_DEVICE),
    _row("struct_ops+", "STRUCT_OPS"),
    _row("struct_ops.s+", "STRUCT_OPS", 0, _SLEEPABLE),
    _row("sk_lookup", "SK_LOOKUP", attach.BPF_SK_LOOKUP),
    _row("netfilter", "NETFILTER", attach.BPF_NETFILTER),
)
"""Searched from the top; the first row that matches counts."""


def find(section: str) -> SectionDefinition | None:
    """The row for a section name (without a leading ``?``), or None if no program type is known by it."""
    return next((row for row in SECTIONS if row.matches(section)), None)


_RENAMED: Final = {"xdp_devmap/": "xdp/devmap", "xdp_cpumap/": "xdp/cpumap"}
_STRICT: Final = ("tc", "netkit/", "syscall", "xdp.", "xdp/", "netfilter")
"""Rows that never were prefixes: they came too late, or are short enough to begin something else."""
_PREFIXES: Final = frozenset(
    row.name
    for row in SECTIONS
    if not row.takes_target and not row.name.startswith(_STRICT) and not row.name.endswith("_unix")
)


def find_legacy(section: str) -> SectionDefinition | None:
    """As `find`, for an object of the time before libbpf 1.0, when a name only had to begin like one of the table.

    Programs were told apart by what follows then: ``xdp_drop``, ``classifier/ingress``, ``socket1``.
    """
    for old, new in _RENAMED.items():
        if section.startswith(old):
            return find(new)
    return find(section) or next(
        (row for row in SECTIONS if row.name in _PREFIXES and section.startswith(row.name)), None
    )


def nearest(section: str) -> str:
    """The known section name that looks most like an unknown one, for an error message."""
    head, slash, target = section.partition("/")
    names = [row.name.rstrip("+") for row in SECTIONS]
    known = [name for name in names if ("." in name) == ("." in head[1:])]  # "tracepoints" means no "tracepoint.s"
    whole = difflib.get_close_matches(section.lower(), [name for name in known if "/" in name], 1, 0.75)
    if whole:
        return whole[0]
    stems = [name for name in known if "/" not in name]
    best = max(stems, key=lambda name: difflib.SequenceMatcher(None, head.lower(), name).ratio())
    return best + slash + target
