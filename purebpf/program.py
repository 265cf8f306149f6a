"""A program in the kernel, and the many ways to attach it.

The work is done in :mod:`purebpf.links`, one module for each kind of hook; the methods here are their public face.  A
method imports its module when it is called, since a program needs one or two of them.  The table at the end says which
section names tell enough for :meth:`Program.attach`, and which method the others need.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from purebpf.abi.bpf import bpf_attach_type
from purebpf.btf.types import Func
from purebpf.errors import AttachError
from purebpf.kernel.facts import KernelFacts
from purebpf.kernel.fd import Fd
from purebpf.links.link import Link
from purebpf.load.nearest import nearest, suggestion
from purebpf.obj.sections import SECTIONS
from purebpf.obj.spec import ProgramSpec

if TYPE_CHECKING:
    from purebpf.links.cgroup import Cgroup
    from purebpf.links.iterator import CgroupOrder, IteratorLink
    from purebpf.links.netfilter import Family, Hook
    from purebpf.links.netns import Netns
    from purebpf.links.order import Neighbour, SupportsFileno
    from purebpf.links.run import RunResult
    from purebpf.links.sockets import Socket
    from purebpf.links.tcx import Direction, Side
    from purebpf.links.usdt import Specs
    from purebpf.links.xdp import Mode

_Word = TypeVar("_Word", bound=str)


class Program:
    """A program in the kernel.  It runs while something holds it attached: a `Link`.

    Every ``attach_KIND`` method returns a Link, and raises AttachError if there is no such place to attach to, with the
    nearest real names, and KernelError if the kernel refuses; nothing stays behind then.
    """

    def __init__(self, fd: Fd, spec: ProgramSpec, usdt: Callable[[], Specs]) -> None:
        self._fd = fd
        self.spec = spec
        self.name = spec.name
        self._usdt = usdt

    def fileno(self) -> int:
        """The program's file descriptor, which stays the program's own."""
        return self._fd.fileno()

    def close(self) -> None:
        """Let go of the program; it lives on while it is attached.  Closing twice does nothing."""
        self._fd.close()

    # By the section's name

    @property
    def attaches_itself(self) -> bool:
        """Whether the section name says what to attach to, as ``tracepoint/CATEGORY/NAME`` does."""
        return self._row in _BY_SECTION and self.spec.attach_to != ""

    def attach(self) -> Link:
        """Attach the program where its section name says.

        Raises AttachError if it does not say, or if the place does not exist; KernelError if the kernel refuses.
        """
        if self.attaches_itself:
            return _BY_SECTION[self._row](self, self.spec.attach_to)
        section = f"program {self.name!r}: section {self.spec.section!r}"
        if self._row in _HELD_ELSEWHERE:
            raise AttachError(f"{section} is attached to nothing: {_HELD_ELSEWHERE[self._row]}")
        method = _BY_HAND.get(self._row)
        if self._row in _BY_SECTION:
            ways = f"write {self._row.rstrip('+')}/TARGET" + (f", or use program.{method}" if method else "")
            raise AttachError(f"{section} does not say what to attach to; {ways}")
        if method is None:
            raise AttachError(f"{section} is of a kind that this version of purebpf cannot attach")
        raise AttachError(f"{section} does not say what to attach to; use program.{method}")

    @property
    def _row(self) -> str:
        """The name of the section's row in the table of sections."""
        return self.spec.definition.name if self.spec.definition else ""

    # Tracepoints

    def attach_tracepoint(self, category: str, name: str, *, cookie: int = 0) -> Link:
        """Run the program at the kernel tracepoint ``category``/``name``, such as ``sched``/``sched_process_exec``.

        ``cookie`` is what bpf_get_attach_cookie() returns in the program (Linux 5.15), here and with other kinds.
        Needs CAP_PERFMON, and a tracefs or CAP_SYS_ADMIN to find the tracepoint.
        """
        from purebpf.links.tracepoint import attach_tracepoint

        return attach_tracepoint(self._fd, category, name, cookie=cookie)

    # Kernel functions, user functions, static tracepoints, performance counters

    def attach_kprobe(
        self, function: str | int, *, offset: int = 0, retprobe: bool | None = None, cookie: int = 0
    ) -> Link:
        """Run the program when a kernel function is entered, or returns.

        ``function`` is a name or an address, ``offset`` an instruction in it, in bytes.  ``retprobe`` is as the
        program's section says, if it is not given, here and with the other probes.  CONFIG_KPROBE_EVENTS.
        """
        from purebpf.links.kprobe import attach_kprobe

        at_return = self._at_return(retprobe)
        return attach_kprobe(self._fd, function, offset=offset, retprobe=at_return, cookie=cookie)

    def attach_kprobe_multi(
        self,
        functions: str | Sequence[str] | Sequence[int],
        *,
        retprobe: bool | None = None,
        cookies: Sequence[int] = (),
    ) -> Link:
        """Run the program when one of many kernel functions is entered, or returns, or both (``kprobe.session``).

        ``functions`` is a name, a pattern with ``*`` and ``?``, a list of names, or a list of addresses; ``cookies``
        has one for each entry of a list.  Linux 5.18 with CONFIG_FPROBE, sessions 6.10.
        """
        from purebpf.links.kprobe_multi import attach_kprobe_multi

        return attach_kprobe_multi(
            self._fd,
            functions,
            retprobe=self._at_return(retprobe),
            session=self.spec.expected_attach_type == bpf_attach_type.BPF_TRACE_KPROBE_SESSION,
            cookies=cookies,
        )

    def attach_ksyscall(self, name: str, *, retprobe: bool | None = None, cookie: int = 0) -> Link:
        """Run the program when the system call ``name``, such as "openat", is entered in the kernel, or returns.

        For programs that use BPF_KSYSCALL() of bpf_tracing.h.  CONFIG_KPROBE_EVENTS.
        """
        from purebpf.links.kprobe import attach_ksyscall

        return attach_ksyscall(self._fd, name, retprobe=self._at_return(retprobe), cookie=cookie)

    def attach_uprobe(
        self,
        path: str,
        function: str | None = None,
        *,
        offset: int = 0,
        pid: int = -1,
        retprobe: bool | None = None,
        cookie: int = 0,
        ref_ctr_offset: int = 0,
    ) -> Link:
        """Run the program when a function of a program or shared library is entered, or returns.

        ``path`` is a file, or a name that is looked for: "bash", "libc.so.6", "libc".  ``function`` may have a version,
        "pthread_create@GLIBC_2.34"; without it ``offset`` is one in the file, else one in the function, in bytes.
        ``pid``: only in that process; -1 in all, 0 in this one.  ``ref_ctr_offset`` is the place in the file of a
        16-bit number that the kernel raises by 1 meanwhile.  CONFIG_UPROBE_EVENTS.
        """
        from purebpf.links.uprobe import attach_uprobe

        return attach_uprobe(
            self._fd,
            path,
            function,
            offset=offset,
            pid=pid,
            retprobe=self._at_return(retprobe),
            cookie=cookie,
            ref_ctr_offset=ref_ctr_offset,
        )

    def attach_uprobe_multi(
        self,
        path: str,
        functions: str | Sequence[str] | Sequence[int],
        *,
        pid: int = -1,
        retprobe: bool | None = None,
        cookies: Sequence[int] = (),
        ref_ctr_offsets: Sequence[int] = (),
    ) -> Link:
        """Run the program when one of many functions of a file is entered, or returns, or both (``uprobe.session``).

        ``functions`` is a name, a pattern with ``*`` and ``?``, a list of names, or a list of offsets in the file;
        ``cookies`` and ``ref_ctr_offsets`` have one for each entry of a list.  Linux 6.6, sessions 6.13.
        """
        from purebpf.links.uprobe_multi import attach_uprobe_multi

        return attach_uprobe_multi(
            self._fd,
            path,
            functions,
            pid=pid,
            retprobe=self._at_return(retprobe),
            session=self.spec.expected_attach_type == bpf_attach_type.BPF_TRACE_UPROBE_SESSION,
            cookies=cookies,
            ref_ctr_offsets=ref_ctr_offsets,
        )

    def attach_usdt(self, path: str, provider: str, name: str, *, pid: int = -1, cookie: int = 0) -> Link:
        """Run the program when the static tracepoint ``provider``:``name`` of a program or shared library is hit.

        ``path`` and ``pid`` are as for `attach_uprobe`.  The program reads arguments with bpf_usdt_arg() of usdt.bpf.h,
        and ``cookie`` with bpf_usdt_cookie().
        """
        from purebpf.links.usdt import attach_usdt

        return attach_usdt(self._fd, self._usdt(), path, provider, name, pid=pid, cookie=cookie)

    def attach_perf_event(
        self,
        type: int,
        config: int,
        *,
        frequency: int | None = None,
        period: int | None = None,
        pid: int = -1,
        cpus: Iterable[int] | None = None,
        cookie: int = 0,
    ) -> Link:
        """Run the program each time that a performance counter overflows.

        ``type`` and ``config`` name the counter as in struct perf_event_attr: PERF_TYPE_SOFTWARE and
        PERF_COUNT_SW_CPU_CLOCK.  ``frequency`` is in Hz, ``period`` a number of events; one of the two is given.
        ``pid``: only while this process runs, or what it starts; -1: always, 0: this process.  ``cpus``: only on
        these, and not on all that are online.
        """
        from purebpf.links.perf_event import attach_perf_event

        return attach_perf_event(
            self._fd, type, config, frequency=frequency, period=period, pid=pid, cpus=cpus, cookie=cookie
        )

    def attach_perf_event_fd(self, event: int, *, cookie: int = 0) -> Link:
        """Run the program with a perf event that is open already: its file descriptor, which stays the caller's."""
        from purebpf.links.perf_event import attach_perf_event_fd

        return attach_perf_event_fd(self._fd, event, cookie=cookie)

    def _at_return(self, given: bool | None) -> bool:
        """Whether a probe is to be set on a function's return: what is given, or else what the section says."""
        return self._row.startswith(("kret", "uret")) if given is None else given

    # Types of the kernel: raw tracepoints, fentry and fexit, security hooks, iterators, replaced functions

    def attach_raw_tracepoint(self, name: str, *, cookie: int = 0) -> Link:
        """Run the program whenever the tracepoint ``name`` is hit, without a category: ``sched_switch``.

        It gets the arguments as the kernel passes them.  Linux 4.17, with a cookie 6.10; needs CAP_PERFMON.
        """
        from purebpf.links.raw_tracepoint import attach_raw_tracepoint

        return attach_raw_tracepoint(self._fd, name, cookie=cookie)

    def attach_tracing(self, *, cookie: int = 0) -> Link:
        """Attach the program to the function or tracepoint that it was bound to when it was loaded.

        Sections ``fentry``, ``fexit``, ``fmod_ret``, ``fsession`` and ``tp_btf`` name it, or the spec's ``attach_to``.
        Linux 5.5, with a cookie 5.19; needs CAP_PERFMON.
        """
        return self._attach_bound(cookie)

    def attach_tracing_multi(
        self, functions: str | Sequence[str], *, module: str = "", cookies: Sequence[int] = ()
    ) -> Link:
        """Attach the program to many functions of the kernel, or of a module.

        ``functions`` is a pattern with ``*`` and ``?``, or a list of names; ``cookies`` are one for each entry of a
        list.  Linux 7.2.
        """
        from purebpf.links.tracing_multi import attach_tracing_multi

        facts = KernelFacts.running()
        btf = facts.btf if not module else next((each.btf for each in facts.modules if each.name == module), None)
        if btf is None:
            near = suggestion(nearest(module, [each.name for each in facts.modules]))
            raise AttachError(f"program {self.name!r}: there are no types of a kernel module {module!r}{near}")
        return attach_tracing_multi(
            self._fd, self._kind, functions, self.spec.expected_attach_type, btf, cookies=cookies
        )

    def attach_lsm(self) -> Link:
        """Attach the program to the hook of the security modules that it was bound to when it was loaded.

        What it returns decides whether the kernel goes on: 0, or a negative errno.  Linux 5.7 with CONFIG_BPF_LSM, and
        "bpf" in the boot option ``lsm=``.  Programs of section ``lsm_cgroup`` take attach_cgroup().
        """
        return self._attach_bound(0)

    def attach_freplace(self, target: Program | None = None, function: str = "") -> Link:
        """Put the program in the place of a global function of another program.

        Without arguments that is the one it was loaded for (the ProgramSpec's ``attach_prog_fd`` and ``attach_to``).
        ``target`` and ``function`` name another one with the same parameters (Linux 5.10).
        """
        from purebpf.links.tracing import attach_freplace

        if target is None:
            return self._attach_bound(0)
        btf = KernelFacts.running().program_btf(target.fileno())
        ids = btf.find(function, Func)
        if not ids:
            near = suggestion(nearest(function, btf.names(Func)))
            raise AttachError(f"program {self.name!r}: program {target.name!r} has no function {function!r}{near}")
        return attach_freplace(self._fd, target._fd, ids[0], f"{target.name}:{function}")

    def attach_iter(
        self,
        map: SupportsFileno | None = None,
        *,
        cgroup: Cgroup | None = None,
        order: CgroupOrder = "descendants",
        tid: int = 0,
        pid: int = 0,
    ) -> IteratorLink:
        """Make an iterator of the program; the link's ``read()`` runs it, and returns what it writes.

        ``map`` is what ``iter/bpf_map_elem`` and its like walk.  ``cgroup`` and ``order`` are for ``iter/cgroup``,
        ``tid`` or ``pid`` keep ``iter/task`` and its like to one thread or one process (all Linux 6.1).  Linux 5.8.
        """
        from purebpf.links.iterator import attach_iterator

        map_fd = None if map is None else map.fileno()
        target = self.spec.attach_to
        return attach_iterator(self._fd, target, map_fd=map_fd, cgroup=cgroup, order=order, tid=tid, pid=pid)

    def run(
        self,
        *,
        data: bytes = b"",
        ctx: bytes = b"",
        repeat: int = 0,
        cpu: int | None = None,
        flags: int = 0,
        batch_size: int = 0,
    ) -> RunResult:
        """Run the program now, without attaching it (BPF_PROG_TEST_RUN).

        ``data`` is a packet, from the Ethernet header on, for programs that take one; ``ctx`` the bytes of the context:
        what a program of section ``syscall`` gets, ``struct __sk_buff`` or ``struct xdp_md`` beside a packet, the
        arguments of a raw tracepoint as 64-bit numbers.  ``repeat`` runs it so many times; ``cpu`` is where, for raw
        tracepoints.  ``flags`` are BPF_F_TEST_..., such as BPF_F_TEST_XDP_LIVE_FRAMES, for which there is
        ``batch_size``.

        Returns what the program returned, the nanoseconds a run took, and packet and context as the program left them.
        Raises KernelError: EINVAL for arguments that this type of program does not take, ENOTSUPP (524) for types that
        cannot be run so.
        """
        from purebpf.links.run import run

        return run(
            self._fd,
            self.name,
            self.spec.type,
            data=data,
            ctx=ctx,
            repeat=repeat,
            cpu=cpu,
            flags=flags,
            batch_size=batch_size,
        )

    def _attach_bound(self, cookie: int) -> Link:
        from purebpf.links.tracing import attach_tracing

        target = self.spec.attach_to
        return attach_tracing(self._fd, self._kind, target, self.spec.expected_attach_type, cookie=cookie)

    @property
    def _kind(self) -> str:
        """What the section's name begins with, or else a word for what it was loaded as."""
        return self._row.rstrip("+") or bpf_attach_type(self.spec.expected_attach_type).name

    # Networking: interfaces, control groups, sockets, namespaces

    def attach_xdp(self, interface: str | int, mode: Mode = "auto", *, replace: Program | None = None) -> Link:
        """Run the program on each packet that a network interface receives, before the network stack sees it.

        ``interface`` is a name or an index, in this thread's network namespace.  ``mode`` is where: "driver", also
        called native; "generic", which is slower and works with any driver; "offload", the network card, if the program
        was loaded for that (the ProgramSpec's ``ifindex``); or "auto", the driver if it can, else generic.  An
        interface has one XDP program; ``replace`` is one to take the place of, at once, which was attached without a
        link, as ``ip link set dev IF xdp obj FILE`` does.

        Needs CAP_NET_ADMIN.  Linux 5.9; before, or with ``replace``, rtnetlink does it, and a child process undoes it
        should this one be killed.
        """
        from purebpf.links.xdp import attach_xdp

        return attach_xdp(self._fd, interface, mode, replace=_fd_of(replace))

    def attach_tc(
        self, interface: str | int, direction: Direction | None = None, *, handle: int = 0, priority: int = 0
    ) -> Link:
        """Run the program on what a network interface receives ("ingress") or sends ("egress").

        The direction may be left out if the section says it, as ``tc/ingress`` does.  On Linux 6.6 this is
        attach_tcx().  Before, or with ``handle`` (32 bits) or ``priority`` (16 bits, the lowest runs first), it adds a
        filter to a qdisc named clsact, as ``tc filter add dev IF ingress bpf direct-action`` does, and the qdisc if it
        is missing; the kernel chooses a priority.  A child process removes the filter should this one be killed, and
        the qdisc if there is no other filter.

        Needs CAP_NET_ADMIN; a filter needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF.
        """
        from purebpf.links.tc import attach_tc
        from purebpf.links.tcx import TCX

        return attach_tc(self._fd, interface, self._word(direction, TCX, "direction"), handle=handle, priority=priority)

    def attach_tcx(
        self,
        interface: str | int,
        direction: Direction | None = None,
        *,
        before: Neighbour | None = None,
        after: Neighbour | None = None,
        replace: Program | None = None,
        expected_revision: int = 0,
    ) -> Link:
        """Run the program on what a network interface receives ("ingress") or sends ("egress").  Linux 6.6.

        The direction may be left out if the section says it, as ``tcx/ingress`` does.  The program runs after those
        already there, or ``before`` or ``after`` a Link, a Program, one known by its id as ``("prog", 12)`` or
        ``("link", 3)``, or "all"; or, with ``replace``, it takes the place of a program, at once, which was attached
        without a link.  With ``expected_revision``, only if nobody has changed the programs there since
        `purebpf.links.tcx.attached` told that revision.

        Needs CAP_NET_ADMIN.  Without a link, a child process undoes it should this one be killed.
        """
        from purebpf.links.tcx import TCX, attach_tcx

        return attach_tcx(
            self._fd,
            interface,
            self._word(direction, TCX, "direction"),
            before=before,
            after=after,
            replace=_fd_of(replace),
            expected_revision=expected_revision,
        )

    def attach_netkit(
        self,
        interface: str | int,
        side: Side | None = None,
        *,
        before: Neighbour | None = None,
        after: Neighbour | None = None,
        expected_revision: int = 0,
    ) -> Link:
        """Run the program on what the primary interface of a netkit pair sends, or its peer.  Linux 6.7.

        ``interface`` is the primary one, also for ``side`` "peer".  The side may be left out if the section says it, as
        ``netkit/primary`` does.  The rest is as for attach_tcx().
        """
        from purebpf.links.tcx import NETKIT, attach_netkit

        return attach_netkit(
            self._fd,
            interface,
            self._word(side, NETKIT, "side"),
            before=before,
            after=after,
            expected_revision=expected_revision,
        )

    def attach_cgroup(
        self,
        cgroup: Cgroup,
        *,
        attach_type: bpf_attach_type | None = None,
        flags: int | None = None,
        before: Neighbour | None = None,
        after: Neighbour | None = None,
        replace: Program | None = None,
        expected_revision: int = 0,
    ) -> Link:
        """Run the program on what the processes of a control group, and those below it, do.

        ``cgroup`` is the path of its directory in a file system of type cgroup2, or a descriptor of that.
        ``attach_type`` is by default what the section says; ``cgroup/skb`` says BPF_CGROUP_INET_INGRESS.

        By default a link ties the program to the cgroup (Linux 5.7), and programs of cgroups below run too.  ``flags``
        is for a program without a link: BPF_F_ALLOW_MULTI, the same; BPF_F_ALLOW_OVERRIDE, those below run instead; 0,
        there may be none below.  ``replace`` is a program to take the place of, at once, which was attached with
        BPF_F_ALLOW_MULTI and no link.  A child process undoes an attachment without a link should this one be killed.

        ``before``, ``after`` and ``expected_revision`` are as for attach_tcx(), from Linux 6.17 on, but a link goes
        before or after links only, and a program without a link before or after such programs.
        `purebpf.links.cgroup.attached` tells the revision.

        Needs CAP_NET_ADMIN.
        """
        from purebpf.links.cgroup import attach_cgroup

        return attach_cgroup(
            self._fd,
            cgroup,
            self._attach_type(attach_type),
            flags=flags,
            before=before,
            after=after,
            replace=_fd_of(replace),
            expected_revision=expected_revision,
        )

    def attach_socket_filter(self, socket: Socket) -> Link:
        """Have the program decide what a socket of one's own receives, and how many bytes of it.

        ``socket`` is a socket.socket or a descriptor; for all packets of an interface, one of family AF_PACKET.  It
        stays the caller's, and if it is closed the program goes.  A socket has one filter: another replaces it, and
        closing the Link removes whatever filter there is then.
        """
        from purebpf.links.sockets import attach_socket_filter

        return attach_socket_filter(self._fd, socket)

    def attach_reuseport(self, socket: Socket) -> Link:
        """Have the program choose which of the sockets that share a port (SO_REUSEPORT) gets a packet.  Linux 4.19.

        It is set for all of them by any one; to detach it (Linux 5.3) that one must still be open.  The program goes
        with the last of them, which may be another process's.
        """
        from purebpf.links.sockets import attach_reuseport

        return attach_reuseport(self._fd, socket)

    def attach_sockmap(self, sockmap: SupportsFileno | int, *, attach_type: bpf_attach_type | None = None) -> Link:
        """Run the program on the data of each socket in a map of type BPF_MAP_TYPE_SOCKMAP or _SOCKHASH.

        ``attach_type`` is by default what the section says; ``sk_skb`` alone does not, and it is
        BPF_SK_SKB_STREAM_PARSER, BPF_SK_SKB_STREAM_VERDICT or BPF_SK_SKB_VERDICT.  A map has one program of each.

        Needs CAP_NET_ADMIN.  Linux 6.10; before, the map holds the program, and a child process takes it from there
        should this one be killed.
        """
        from purebpf.links.sockmap import attach_sockmap

        if attach_type is None and self._row == "sk_skb":
            raise AttachError(f"program {self.name!r}: section 'sk_skb' does not say which attach_type is meant")
        return attach_sockmap(self._fd, sockmap, self._attach_type(attach_type))

    def attach_netns(self, netns: Netns | None = None) -> Link:
        """Run the program, a socket lookup (Linux 5.9) or flow dissector (5.8), in a network namespace.

        ``netns`` is a path such as /run/netns/NAME or /proc/PID/ns/net, a descriptor of that, or None for this thread's
        own.  Needs CAP_NET_ADMIN.
        """
        from purebpf.links.netns import attach_netns

        return attach_netns(self._fd, self._attach_type(None), netns)

    def attach_lirc(self, device: str | os.PathLike[str] | int) -> Link:
        """Run the program on what an infrared receiver sees, such as "/dev/lirc0".  Linux 4.18, CONFIG_BPF_LIRC_MODE2.

        The device holds the program; a child process takes it from there should this one be killed.  Needs
        CAP_NET_ADMIN, and to open the device for writing.
        """
        from purebpf.links.lirc import attach_lirc

        return attach_lirc(self._fd, device)

    def attach_netfilter(self, family: Family, hook: Hook, *, priority: int = 0, defrag: bool = False) -> Link:
        """Run the program at a hook of the packet filter, in this thread's network namespace.  Linux 6.4.

        ``family`` is "ipv4" or "ipv6", ``hook`` is "prerouting", "input", "forward", "output" or "postrouting".
        Programs and tables at a hook run by ``priority``, the lowest first; 0 is nftables' "filter", and each program
        has one of its own.  With ``defrag`` packets come whole, and not in fragments (Linux 6.6).

        Needs CAP_NET_ADMIN and CONFIG_NETFILTER_BPF_LINK.
        """
        from purebpf.links.netfilter import attach_netfilter

        return attach_netfilter(self._fd, family, hook, priority=priority, defrag=defrag)

    def _attach_type(self, given: bpf_attach_type | None) -> bpf_attach_type:
        return bpf_attach_type(self.spec.expected_attach_type) if given is None else given

    def _word(self, given: _Word | None, words: Mapping[_Word, bpf_attach_type], what: str) -> _Word:
        """What the caller says, else the word for what the section says."""
        if given is not None:
            return given
        for word, attach_type in words.items():
            if attach_type == self.spec.expected_attach_type:
                return word
        raise AttachError(
            f"program {self.name!r}: section {self.spec.section!r} does not say the {what}: {' or '.join(words)}"
        )

    def __repr__(self) -> str:
        return f"<Program {self.name!r} from section {self.spec.section!r}>"


def _fd_of(program: Program | None) -> Fd | None:
    return None if program is None else program._fd


Parsed = TypeVar("Parsed")


def _parsed(program: Program, parse: Callable[[str], Parsed], target: str) -> Parsed:
    """What a section says, taken apart by the module of its kind."""
    try:
        return parse(target)
    except AttachError as error:
        raise AttachError(f"program {program.name!r}: section {program.spec.section!r}: {error}") from None


def _tracepoint(program: Program, target: str) -> Link:
    from purebpf.links.tracepoint import parse

    category, name = _parsed(program, parse, target)
    return program.attach_tracepoint(category, name)


def _kprobe(program: Program, target: str) -> Link:
    from purebpf.links.kprobe import parse

    function, offset = _parsed(program, parse, target)
    return program.attach_kprobe(function, offset=offset)


def _kprobe_multi(program: Program, target: str) -> Link:
    from purebpf.links.kprobe_multi import parse

    return program.attach_kprobe_multi(_parsed(program, parse, target))


def _ksyscall(program: Program, target: str) -> Link:
    return program.attach_ksyscall(target)


def _uprobe(program: Program, target: str) -> Link:
    from purebpf.links.uprobe import parse

    path, function, offset = _parsed(program, parse, target)
    return program.attach_uprobe(path, function, offset=offset)


def _uprobe_multi(program: Program, target: str) -> Link:
    from purebpf.links.uprobe_multi import parse

    path, pattern = _parsed(program, parse, target)
    return program.attach_uprobe_multi(path, pattern)


def _usdt(program: Program, target: str) -> Link:
    from purebpf.links.usdt import parse

    path, provider, name = _parsed(program, parse, target)
    return program.attach_usdt(path, provider, name)


def _raw_tracepoint(program: Program, target: str) -> Link:
    return program.attach_raw_tracepoint(target)


def _bound(program: Program, _: str) -> Link:
    return program._attach_bound(0)


def _bound_to_many(program: Program, target: str) -> Link:
    from purebpf.links.tracing_multi import parse

    module, pattern = _parsed(program, parse, target)
    return program.attach_tracing_multi(pattern, module=module)


def _iter(program: Program, _: str) -> Link:
    return program.attach_iter()


_BY_SECTION: dict[str, Callable[[Program, str], Link]] = {
    "tracepoint+": _tracepoint,
    "tp+": _tracepoint,
    "tracepoint.s+": _tracepoint,
    "tp.s+": _tracepoint,
    "kprobe+": _kprobe,
    "kretprobe+": _kprobe,
    "kprobe.multi+": _kprobe_multi,
    "kretprobe.multi+": _kprobe_multi,
    "kprobe.session+": _kprobe_multi,
    "ksyscall+": _ksyscall,
    "kretsyscall+": _ksyscall,
    "uprobe+": _uprobe,
    "uprobe.s+": _uprobe,
    "uretprobe+": _uprobe,
    "uretprobe.s+": _uprobe,
    "uprobe.multi+": _uprobe_multi,
    "uprobe.multi.s+": _uprobe_multi,
    "uretprobe.multi+": _uprobe_multi,
    "uretprobe.multi.s+": _uprobe_multi,
    "uprobe.session+": _uprobe_multi,
    "uprobe.session.s+": _uprobe_multi,
    "usdt+": _usdt,
    "usdt.s+": _usdt,
    **dict.fromkeys(
        (row.name for row in SECTIONS if row.name.startswith(("raw_tp", "raw_tracepoint"))), _raw_tracepoint
    ),
    **dict.fromkeys((row.name for row in SECTIONS if row.needs_btf_target and row.name != "lsm_cgroup+"), _bound),
    **dict.fromkeys((row.name for row in SECTIONS if ".multi" in row.name and row.name[0] == "f"), _bound_to_many),
    **dict.fromkeys(("iter+", "iter.s+"), _iter),
}
"""How to attach a program by what follows the first slash of its section name, by rows of the table of sections."""

_BY_HAND: dict[str, str] = {
    **dict.fromkeys(("tracepoint+", "tp+", "tracepoint.s+", "tp.s+"), "attach_tracepoint(CATEGORY, NAME)"),
    **dict.fromkeys(("kprobe+", "kretprobe+"), "attach_kprobe(FUNCTION)"),
    **dict.fromkeys(("kprobe.multi+", "kretprobe.multi+", "kprobe.session+"), "attach_kprobe_multi(FUNCTIONS)"),
    **dict.fromkeys(("ksyscall+", "kretsyscall+"), "attach_ksyscall(NAME)"),
    **dict.fromkeys(("uprobe+", "uprobe.s+", "uretprobe+", "uretprobe.s+"), "attach_uprobe(PATH, FUNCTION)"),
    **dict.fromkeys(
        (f"{kind}{sleeps}+" for kind in ("uprobe.multi", "uretprobe.multi", "uprobe.session") for sleeps in ("", ".s")),
        "attach_uprobe_multi(PATH, FUNCTIONS)",
    ),
    **dict.fromkeys(("usdt+", "usdt.s+"), "attach_usdt(PATH, PROVIDER, NAME)"),
    "perf_event": "attach_perf_event(TYPE, CONFIG, frequency=HZ)",
    **dict.fromkeys(("xdp", "xdp.frags"), "attach_xdp(INTERFACE)"),
    **dict.fromkeys(("tc/ingress", "tc/egress", "tc", "classifier", "action"), "attach_tc(INTERFACE, DIRECTION)"),
    **dict.fromkeys(("tcx/ingress", "tcx/egress"), "attach_tcx(INTERFACE)"),
    **dict.fromkeys(("netkit/primary", "netkit/peer"), "attach_netkit(INTERFACE)"),
    **{row.name: "attach_cgroup(PATH)" for row in SECTIONS if row.name.startswith("cgroup")},
    "sockops": "attach_cgroup(PATH)",
    "socket": "attach_socket_filter(SOCKET)",
    **dict.fromkeys(("sk_reuseport", "sk_reuseport/migrate"), "attach_reuseport(SOCKET)"),
    **{row.name: "attach_sockmap(MAP)" for row in SECTIONS if row.name.startswith(("sk_skb", "sk_msg"))},
    **dict.fromkeys(("sk_lookup", "flow_dissector"), "attach_netns()"),
    **dict.fromkeys(
        (row.name for row in SECTIONS if row.name.startswith(("raw_tp", "raw_tracepoint"))),
        "attach_raw_tracepoint(NAME)",
    ),
    **dict.fromkeys(
        (row.name for row in SECTIONS if ".multi" in row.name and row.name[0] == "f"), "attach_tracing_multi(FUNCTIONS)"
    ),
    "lsm_cgroup+": "attach_cgroup(PATH)",
    "lirc_mode2": "attach_lirc(DEVICE)",
    "netfilter": "attach_netfilter(FAMILY, HOOK)",
}
"""The method that attaches a program of a section that names no place, for the message that says so."""

_IN_DEVMAP = "it runs where a devmap sends packets to; bpf.maps[MAP][KEY] = (IFINDEX, {'fd': program.fileno()})"
_IN_CPUMAP = "it runs where a cpumap sends packets to; bpf.maps[MAP][CPU] = (QUEUE_SIZE, {'fd': program.fileno()})"
_BY_ROUTE = "a route runs it; pin it, and name the pin to  ip route add ... encap bpf {} pinned PATH"
_BY_CALLER = "it runs when it is called, by program.run()"
_IN_STRUCT = "it is a function in a struct_ops map; bpf.attach() or bpf.attach_struct_ops(MAP) registers that"
_HELD_ELSEWHERE: dict[str, str] = {
    "syscall": _BY_CALLER,
    **dict.fromkeys(("struct_ops+", "struct_ops.s+"), _IN_STRUCT),
    **dict.fromkeys(("xdp/devmap", "xdp.frags/devmap"), _IN_DEVMAP),
    **dict.fromkeys(("xdp/cpumap", "xdp.frags/cpumap"), _IN_CPUMAP),
    "lwt_in": _BY_ROUTE.format("in"),
    "lwt_out": _BY_ROUTE.format("out"),
    "lwt_xmit": _BY_ROUTE.format("xmit"),
    "lwt_seg6local": (
        "a route runs it; pin it, and name the pin to  ip -6 route add ... encap seg6local action End.BPF endpoint"
        " pinned PATH"
    ),
}
"""Programs that something else than a Link holds, and how it gets them."""
