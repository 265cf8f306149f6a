"""Why the kernel said no.

EPERM from bpf(2) has half a dozen causes, and the kernel does not say which.  This module looks at the
calling process (:class:`Situation`) and finds the first cause that is enough to explain the refusal, from
the most fundamental on:

1. A user namespace: no capability held in one reaches bpf(2), whatever ``CapEff`` says.
2. A missing capability.  CAP_BPF and CAP_PERFMON are from Linux 5.8; before, and ever since, CAP_SYS_ADMIN
   does as well.
3. Debian's and Ubuntu's kernels, where kernel.perf_event_paranoid may be 3 or 4: then only CAP_SYS_ADMIN may open
   perf events.
4. A seccomp filter, as containers have.  It is told from the kernel by making the same call with nonsense
   for arguments: the kernel answers EINVAL or E2BIG, a filter what it always does.
5. The limit of locked memory, which maps and programs count against before Linux 5.11.
6. Kernel lockdown.
7. What is left when something is to be created: a security module.

A hint is one or two sentences, or ``""`` when the errno says all there is to say.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_map_type, bpf_prog_type
from purebpf.kernel.syscall import syscall

# include/uapi/linux/capability.h
CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}

_PARTS_OF_SYS_ADMIN = {"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"}  # as far as bpf(2) goes
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO: its inode number, on every system
_SECCOMP_MODE_FILTER = 2
_MAINLINES_PARANOIA = 2  # the highest kernel.perf_event_paranoid that the kernel of kernel.org makes a difference of
_LOCKED_DOWN = (
    "The kernel is locked down (confidentiality), which forbids tracing and reading kernel memory;"
    " the boot option lockdown= and Secure Boot decide that"
)
_UNLIMITED = resource.RLIM_INFINITY


class Situation(NamedTuple):
    """What decides about the permissions of a process: all that the hints are made from.

    ``status`` is the text of /proc/PID/status, ``release`` the kernel's, ``lockdown`` the text of
    /sys/kernel/security/lockdown, ``memlock`` and ``nofile`` the soft limits (bytes, descriptors), and
    ``perf_event_paranoid`` the sysctl, or None where the kernel has no perf events.  By default nothing
    stands in the way of the process.
    """

    status: str
    release: str = "6.18.0"
    uid: int = 0
    in_user_namespace: bool = False
    lockdown: str = ""
    memlock: int = _UNLIMITED
    nofile: int = 1024
    perf_event_paranoid: int | None = 2

    @classmethod
    def now(cls) -> Situation:
        """The situation of the calling thread."""
        paranoid = _read("/proc/sys/kernel/perf_event_paranoid")
        return cls(
            status=_read("/proc/thread-self/status"),
            release=os.uname().release,
            uid=os.geteuid(),
            in_user_namespace=_user_namespace() != _INITIAL_USER_NAMESPACE,
            lockdown=_read("/sys/kernel/security/lockdown"),
            memlock=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
            nofile=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            perf_event_paranoid=int(paranoid) if paranoid else None,
        )

    @property
    def version(self) -> tuple[int, int]:
        """The kernel's version: (5, 15)."""
        major, minor = re.findall(r"\d+", self.release)[:2]
        return int(major), int(minor)

    @property
    def has_seccomp_filter(self) -> bool:
        return self._field("Seccomp", base=10) == _SECCOMP_MODE_FILTER

    @property
    def locked_down(self) -> bool:
        """Lockdown's level "confidentiality", which forbids to read kernel memory and trace events."""
        return "[confidentiality]" in self.lockdown

    def missing(self, needed: Iterable[str]) -> list[str]:
        """Those of the needed capabilities that the process does not have, by the names this kernel knows."""
        if self._has("CapEff", "CAP_SYS_ADMIN"):
            needed = set(needed) - _PARTS_OF_SYS_ADMIN
        elif self.version < (5, 8):
            needed = {"CAP_SYS_ADMIN" if name in ("CAP_BPF", "CAP_PERFMON") else name for name in needed}
        return sorted(name for name in needed if not self._has("CapEff", name))

    def could_have(self, names: Iterable[str]) -> bool:
        """Whether root has these capabilities here.  In a container it often has not."""
        return all(self._has("CapBnd", name) for name in names)

    def _has(self, capability_set: str, name: str) -> bool:
        return bool(self._field(capability_set) >> CAPABILITIES[name] & 1)

    def _field(self, name: str, base: int = 16) -> int:
        for line in self.status.splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value, base)
        return 0


def _read(path: str) -> str:
    """A file of /proc or /sys, empty where it does not exist or may not be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _user_namespace() -> int:
    try:
        return Path("/proc/self/ns/user").stat().st_ino
    except FileNotFoundError:  # no /proc, or a kernel without user namespaces
        return _INITIAL_USER_NAMESPACE


def hint(code: int, call: str, needed: Iterable[str], now: Situation | None = None, *, command: int = 0) -> str:
    """Why a system call failed with errno ``code``, in one or two sentences; "" if there is nothing to add.

    ``call`` is "bpf", "perf_event_open", "fsopen", or what else fails for want of permission ("rtnetlink"); ``needed``
    the capabilities it takes, ``command`` the bpf(2) command, which a seccomp filter may look at.
    """
    if code not in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EMFILE, errno.ENFILE):
        return ""
    if now is None:
        now = Situation.now()
    if code == errno.EMFILE:
        return f"This process has reached its limit of {now.nofile} open files (ulimit -n)"
    if code == errno.ENFILE:
        return "The system has reached its limit of open files (sysctl fs.file-max)"
    if code == errno.ENOSYS:
        return _not_implemented(call, now)
    return _not_permitted(call, set(needed), now, command)


def _not_implemented(call: str, now: Situation) -> str:
    kernel = {
        "bpf": "built without CONFIG_BPF_SYSCALL",
        "perf_event_open": "built without CONFIG_PERF_EVENTS",
        "fsopen": "older than Linux 5.2",
    }[call]
    if now.has_seccomp_filter:
        return f"A seccomp filter blocks {call}, or the kernel is {kernel}. {_container(now)}"
    return f"This kernel is {kernel}"


def _not_permitted(call: str, needed: set[str], now: Situation, command: int) -> str:
    if not now.status:  # no /proc, no facts
        return ""
    if now.in_user_namespace:
        return (
            f"{call} needs {' and '.join(sorted(needed))} outside of user namespaces, and this process is in"
            " one (rootless container, unshare -U). Run it as root of the system itself"
        )
    missing = now.missing(needed)
    if missing:
        text = f"{call} needs {' and '.join(missing)}, which this process does not have"
        if call == "perf_event_open" and now.perf_event_paranoid is not None:
            text += f" (kernel.perf_event_paranoid is {now.perf_event_paranoid})"
        if now.uid != 0 and now.could_have(missing):
            return f"{text}. Run it as root, for example with sudo"
        return f"{text}. {_container(now, missing)}"
    paranoid = now.perf_event_paranoid or 0
    if call == "perf_event_open" and paranoid > _MAINLINES_PARANOIA and now.missing({"CAP_SYS_ADMIN"}):
        return (
            f"kernel.perf_event_paranoid is {paranoid}, which on Debian and Ubuntu means that perf events take"
            " CAP_SYS_ADMIN. Run it with that capability, or set kernel.perf_event_paranoid to 2 with sysctl"
        )
    if now.has_seccomp_filter and _filtered(call, command):
        return f"A seccomp filter blocks {call}. {_container(now)}"
    if call == "bpf" and command in _CREATING and now.version < (5, 11) and now.memlock != _UNLIMITED:
        return (
            "Before Linux 5.11 maps and programs count as locked memory, and the limit here is"
            f" {now.memlock} bytes. Raise it with ulimit -l unlimited; a container needs --ulimit memlock=-1"
            " or --cap-add SYS_RESOURCE"
        )
    if now.locked_down:
        return _LOCKED_DOWN
    if call == "bpf" and command in _CREATING:
        return (
            "This process has the capabilities that it takes; a security module may forbid it"
            " (/sys/kernel/security/lsm names those that are active)"
        )
    return ""


def _container(now: Situation, extra: Iterable[str] = ()) -> str:
    """What a container must be started with: always all of it, so that nobody needs to come back."""
    names = {"CAP_BPF", "CAP_PERFMON"} if now.version >= (5, 8) else {"CAP_SYS_ADMIN"}
    names |= {*extra} | ({"CAP_SYS_RESOURCE"} if now.version < (5, 11) else set())
    options = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in sorted(names))
    mount = "" if "CAP_SYS_ADMIN" in names else ", and --cap-add SYS_ADMIN where tracefs is not mounted"
    return (
        f"A docker or podman container needs {options} (as root{mount}), and"
        " --security-opt seccomp=unconfined or a seccomp profile that allows bpf and perf_event_open"
    )


def _filtered(call: str, command: int) -> bool:
    """Whether a seccomp filter answers the call in place of the kernel.

    The process has the capabilities, so that the kernel gets as far as finding the arguments malformed.
    """
    nonsense: dict[str, tuple[int | None, ...]] = {
        "bpf": (command, None, 0x7FFFFFFF),  # attributes of 2 GiB: E2BIG
        "perf_event_open": (None, 0, -1, -1, 0x7FFFFFFF),  # unknown flags: EINVAL
        "fsopen": (None, 0x7FFFFFFF),  # unknown flags: EINVAL
    }
    if call not in nonsense:
        return False
    try:
        syscall(call, *nonsense[call])
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS)
    return False


# What bpf(2) asks for, by program type: is_perfmon_prog_type() and is_net_admin_prog_type(), and by map type:
# map_create(), all in kernel/bpf/syscall.c.
_TRACING = {
    bpf_prog_type.BPF_PROG_TYPE_KPROBE,
    bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT,
    bpf_prog_type.BPF_PROG_TYPE_PERF_EVENT,
    bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT,
    bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE,
    bpf_prog_type.BPF_PROG_TYPE_TRACING,
    bpf_prog_type.BPF_PROG_TYPE_LSM,
    bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS,
    bpf_prog_type.BPF_PROG_TYPE_EXT,
}
_NETWORKING = {
    bpf_prog_type.BPF_PROG_TYPE_SCHED_CLS,
    bpf_prog_type.BPF_PROG_TYPE_SCHED_ACT,
    bpf_prog_type.BPF_PROG_TYPE_XDP,
    bpf_prog_type.BPF_PROG_TYPE_LWT_IN,
    bpf_prog_type.BPF_PROG_TYPE_LWT_OUT,
    bpf_prog_type.BPF_PROG_TYPE_LWT_XMIT,
    bpf_prog_type.BPF_PROG_TYPE_LWT_SEG6LOCAL,
    bpf_prog_type.BPF_PROG_TYPE_SK_SKB,
    bpf_prog_type.BPF_PROG_TYPE_SK_MSG,
    bpf_prog_type.BPF_PROG_TYPE_FLOW_DISSECTOR,
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_DEVICE,
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCK,
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SOCKOPT,
    bpf_prog_type.BPF_PROG_TYPE_CGROUP_SYSCTL,
    bpf_prog_type.BPF_PROG_TYPE_SOCK_OPS,
    bpf_prog_type.BPF_PROG_TYPE_EXT,
    bpf_prog_type.BPF_PROG_TYPE_NETFILTER,
}
_NETWORK_HOOKS = {
    hook
    for hook in bpf_attach_type
    if hook.name.startswith(
        ("BPF_CGROUP_", "BPF_XDP", "BPF_TCX", "BPF_NETKIT", "BPF_SK_", "BPF_FLOW_", "BPF_LIRC", "BPF_NETFILTER")
    )
}
_ATTACHING = {bpf_cmd.BPF_LINK_CREATE, bpf_cmd.BPF_PROG_ATTACH, bpf_cmd.BPF_PROG_DETACH}
_NETWORK_MAPS = {
    bpf_map_type.BPF_MAP_TYPE_SOCKMAP,
    bpf_map_type.BPF_MAP_TYPE_SOCKHASH,
    bpf_map_type.BPF_MAP_TYPE_DEVMAP,
    bpf_map_type.BPF_MAP_TYPE_DEVMAP_HASH,
    bpf_map_type.BPF_MAP_TYPE_XSKMAP,
}
_CREATING = {bpf_cmd.BPF_MAP_CREATE, bpf_cmd.BPF_PROG_LOAD, bpf_cmd.BPF_BTF_LOAD}
_NEED_SYS_ADMIN = {
    bpf_cmd.BPF_PROG_GET_NEXT_ID,
    bpf_cmd.BPF_MAP_GET_NEXT_ID,
    bpf_cmd.BPF_BTF_GET_NEXT_ID,
    bpf_cmd.BPF_LINK_GET_NEXT_ID,
    bpf_cmd.BPF_PROG_GET_FD_BY_ID,
    bpf_cmd.BPF_MAP_GET_FD_BY_ID,
    bpf_cmd.BPF_BTF_GET_FD_BY_ID,
    bpf_cmd.BPF_LINK_GET_FD_BY_ID,
    bpf_cmd.BPF_TASK_FD_QUERY,
    bpf_cmd.BPF_ENABLE_STATS,
}

_TOO_BIG = {
    bpf_cmd.BPF_MAP_CREATE: "The map is larger than the kernel allows, or has an attribute unknown to it",
    bpf_cmd.BPF_MAP_UPDATE_ELEM: "The map is full, or the index is beyond its max_entries",
    bpf_cmd.BPF_MAP_UPDATE_BATCH: "The map is full, or an index is beyond its max_entries",
    bpf_cmd.BPF_PROG_LOAD: "The program has no instructions, or too many, or takes too many steps to verify",
    bpf_cmd.BPF_BTF_LOAD: "The BTF is larger than the kernel allows",
}


def needed_for(cmd: bpf_cmd, attr: ctypes.Structure) -> set[str]:
    """The capabilities that a bpf(2) command takes, for the type of program or map in ``attr``."""
    if cmd in _NEED_SYS_ADMIN:
        return {"CAP_SYS_ADMIN"}
    needed = {"CAP_BPF"}
    if cmd == bpf_cmd.BPF_PROG_LOAD:
        if attr.prog_type in _TRACING:
            needed.add("CAP_PERFMON")
        if attr.prog_type in _NETWORKING:
            needed.add("CAP_NET_ADMIN")
    if cmd == bpf_cmd.BPF_MAP_CREATE and attr.map_type in _NETWORK_MAPS:
        needed.add("CAP_NET_ADMIN")
    if cmd in _ATTACHING and attr.attach_type in _NETWORK_HOOKS:
        needed.add("CAP_NET_ADMIN")
    return needed


def bpf_hint(code: int, cmd: bpf_cmd, attr: ctypes.Structure, now: Situation | None = None) -> str:
    """Why bpf(2) failed with errno ``code``, as :func:`hint` does, with what is particular to the command."""
    if code == errno.E2BIG:
        return _TOO_BIG.get(cmd, "An attribute is not known to this kernel")
    if code == errno.ENOMEM and cmd == bpf_cmd.BPF_MAP_CREATE:
        return "There is no memory for that many entries of that size, or the memory cgroup's limit is reached"
    if code == errno.EINVAL and cmd == bpf_cmd.BPF_PROG_LOAD and (now or Situation.now()).locked_down:
        return _LOCKED_DOWN  # the verifier knows no helper that reads kernel memory then
    if code == errno.EACCES:  # not about the process: a read-only map, a program that the verifier rejects
        return ""
    return hint(code, "bpf", needed_for(cmd, attr), now, command=cmd)
