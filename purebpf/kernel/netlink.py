"""rtnetlink: XDP programs and traffic control filters of network interfaces, where bpf(2) does not reach.

A request is one message to the kernel: a header (``struct nlmsghdr``), a structure that says which interface is meant,
and attributes, each with its length and type before its value, which may be attributes again.  The kernel answers with
messages of the same form, and ends with an error number, which is 0 for none, and where it can with an explanation in
words.

Every function asks for the network namespace of the calling thread.  The formats are in include/uapi/linux/netlink.h,
rtnetlink.h, if_link.h and pkt_cls.h, and in Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from purebpf.abi import net
from purebpf.errors import KernelError

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_ANSWER_SIZE = 1 << 16  # larger than any message of the kernel's

_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
"""What the kernel answers if the interface, the qdisc or the filter to be removed is not there any more."""

INGRESS = net.TC_H_CLSACT & net.TC_H_MAJ_MASK | net.TC_H_MIN_INGRESS
EGRESS = net.TC_H_CLSACT & net.TC_H_MAJ_MASK | net.TC_H_MIN_EGRESS
"""The two sides of a clsact qdisc, as the parents of their filters."""


# XDP

XDP_MODES: dict[str, tuple[net.xdp_flags, int]] = {
    "driver": (net.xdp_flags.XDP_FLAGS_DRV_MODE, net.IFLA_XDP_DRV_PROG_ID),
    "generic": (net.xdp_flags.XDP_FLAGS_SKB_MODE, net.IFLA_XDP_SKB_PROG_ID),
    "offload": (net.xdp_flags.XDP_FLAGS_HW_MODE, net.IFLA_XDP_HW_PROG_ID),
}
"""Where a program can be: its flag, and the attribute that tells its id."""


def xdp_programs(ifindex: int) -> dict[str, int]:
    """The ids of an interface's XDP programs, by mode: "driver", "generic" or "offload"."""
    request = _interface(ifindex)
    answers = _ask(net.RTM_GETLINK, 0, request, "asking for the XDP programs of a network interface")
    programs = _attributes(_attributes(answers[0][len(request) :]).get(net.IFLA_XDP, b""))
    return {mode: _u32(programs[field]) for mode, (_, field) in XDP_MODES.items() if field in programs}


def set_xdp(ifindex: int, prog_fd: int, flags: int, expected_fd: int | None = None, *, action: str) -> None:
    """Set an interface's XDP program, or remove it (``prog_fd`` -1).

    With ``expected_fd`` only if that program is there now; EEXIST is raised if it is not (Linux 5.7).
    Raises KernelError.
    """
    fields = _attribute(net.IFLA_XDP_FD, _s32(prog_fd))
    if expected_fd is not None:
        flags |= net.xdp_flags.XDP_FLAGS_REPLACE
        fields += _attribute(net.IFLA_XDP_EXPECTED_FD, _s32(expected_fd))
    fields += _attribute(net.IFLA_XDP_FLAGS, struct.pack("=I", flags))
    _ask(net.RTM_SETLINK, 0, _interface(ifindex) + _nested(net.IFLA_XDP, fields), action)


def remove_xdp(prog_fd: int, ifindex: int, prog_id: int) -> None:
    """Remove this program from an interface, if it is still there."""
    action = f"removing the XDP program of network interface {ifindex}"
    try:
        for mode, attached in xdp_programs(ifindex).items():
            if attached == prog_id:
                set_xdp(ifindex, -1, XDP_MODES[mode][0], prog_fd, action=action)
    except KernelError as error:
        if error.errno not in (*_GONE, errno.EEXIST, errno.EBUSY):  # another program, or a link, has come meanwhile
            raise


# Traffic control.  The qdisc "clsact" does nothing but to hold filters for what an interface receives and sends.


class Filter(NamedTuple):
    """A filter of a clsact qdisc.  ``prog_id`` and ``name`` are those of its BPF program; 0 and "" if it has none.

    ``info`` has the priority in the upper 16 bits, and in the lower the Ethernet protocol in network byte order.
    """

    handle: int
    kind: str
    info: int
    prog_id: int
    name: str


def ingress_qdisc(ifindex: int) -> str:
    """The kind of an interface's qdisc that takes filters on what is received: "clsact", "ingress", or "" for none."""
    request = _traffic(0)  # of all interfaces: the kernel takes no other question
    for answer in _ask(net.RTM_GETQDISC, net.NLM_F_DUMP, request, "listing the qdiscs"):
        _, of_interface, _, parent, _ = _TRAFFIC.unpack_from(answer)
        if (of_interface, parent) == (ifindex, net.TC_H_CLSACT):
            return _text(_attributes(answer[_TRAFFIC.size :])[net.TCA_KIND])
    return ""


@contextmanager
def nobody_else_at_filters() -> Iterator[None]:
    """Hold off all other threads and processes that come here for the same network namespace.

    The kernel adds a qdisc and its first filter in two steps, and removes them in two.  Who comes in between could not
    tell whose the qdisc is, or would lose a filter together with it.  The lock is one on the namespace's file in /proc,
    and so gone when its holder is.
    """
    try:
        namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or 0, "opening this thread's network namespace", _NO_PROC) from None
    try:
        fcntl.flock(namespace, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(namespace, fcntl.LOCK_UN)  # a child process may have a copy of the descriptor
    finally:
        os.close(namespace)


_NO_PROC = "procfs must be mounted at /proc"

OF_OUR_QDISC = "+clsact"
"""The end of a filter's name that says: who removes the last filter is to remove the qdisc too.

So filters of several processes know it of each other, in whatever order they go.
"""


def add_clsact(ifindex: int, *, action: str) -> None:
    """Give an interface a clsact qdisc.  If it has one already, that is fine.  Raises KernelError."""
    handle = net.TC_H_CLSACT & net.TC_H_MAJ_MASK
    request = _traffic(ifindex, handle, net.TC_H_CLSACT) + _attribute(net.TCA_KIND, b"clsact\0")
    try:
        _ask(net.RTM_NEWQDISC, net.NLM_F_CREATE | net.NLM_F_EXCL, request, action)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise


def filters(ifindex: int, parent: int) -> list[Filter]:
    """The filters on one side of an interface's clsact qdisc, in their order; none where there is no such qdisc."""
    request = _traffic(ifindex, 0, parent)
    found = []
    for answer in _ask(net.RTM_GETTFILTER, net.NLM_F_DUMP, request, "listing the filters of a network interface"):
        _, _, handle, _, info = _TRAFFIC.unpack_from(answer)
        fields = _attributes(answer[_TRAFFIC.size :])
        kind = _text(fields[net.TCA_KIND])
        options = _attributes(fields.get(net.TCA_OPTIONS, b""))
        found.append(Filter(handle, kind, info, *_program_of(kind, options)))
    return found


def _program_of(kind: str, options: dict[int, bytes]) -> tuple[int, str]:
    """The id of a filter's program, and its name."""
    id_field, name_field = net.TCA_BPF_ID, net.TCA_BPF_NAME
    if kind == "matchall":  # its program is the first of its actions, if it is one of ours
        first = _attributes(_attributes(options.get(net.TCA_MATCHALL_ACT, b"")).get(1, b""))
        kind = _text(first.get(net.TCA_ACT_KIND, b""))
        options = _attributes(first.get(net.TCA_ACT_OPTIONS, b""))
        id_field, name_field = net.TCA_ACT_BPF_ID, net.TCA_ACT_BPF_NAME
    if kind != "bpf":
        return 0, ""
    return _u32(options.get(id_field, bytes(4))), _text(options.get(name_field, b""))


def add_classifier(ifindex: int, parent: int, handle: int, priority: int, prog_fd: int, name: str, action: str) -> None:
    """Add a filter whose classifier is a BPF program, which also decides what becomes of the packet.

    The filter must be new: EEXIST is raised if ``handle`` is taken at that priority.  Priority 0 lets the kernel
    choose one, which is before the filters already there.
    """
    fields = _attribute(net.TCA_BPF_FD, _s32(prog_fd)) + _attribute(net.TCA_BPF_NAME, name.encode() + b"\0")
    fields += _attribute(net.TCA_BPF_FLAGS, struct.pack("=I", net.TCA_BPF_FLAG_ACT_DIRECT))
    _add_filter(ifindex, parent, handle, priority, b"bpf\0", fields, action)


def add_action(ifindex: int, parent: int, handle: int, priority: int, prog_fd: int, name: str, action: str) -> None:
    """Add a filter that matches all packets, and whose action is a BPF program.  Otherwise like add_classifier()."""
    parameters = struct.pack("=IIiii", 0, 0, net.TC_ACT_UNSPEC, 0, 0)  # struct tc_act_bpf
    fields = _attribute(net.TCA_ACT_BPF_PARMS, parameters) + _attribute(net.TCA_ACT_BPF_FD, _s32(prog_fd))
    fields += _attribute(net.TCA_ACT_BPF_NAME, name.encode() + b"\0")
    first = _attribute(net.TCA_ACT_KIND, b"bpf\0") + _nested(net.TCA_ACT_OPTIONS, fields)
    options = _nested(net.TCA_MATCHALL_ACT, _nested(1, first))
    _add_filter(ifindex, parent, handle, priority, b"matchall\0", options, action)


def _add_filter(
    ifindex: int, parent: int, handle: int, priority: int, kind: bytes, options: bytes, action: str
) -> None:
    info = priority << 16 | _network_order(net.ETH_P_ALL)
    request = _traffic(ifindex, handle, parent, info)
    request += _attribute(net.TCA_KIND, kind) + _nested(net.TCA_OPTIONS, options)
    _ask(net.RTM_NEWTFILTER, net.NLM_F_CREATE | net.NLM_F_EXCL, request, action)


def remove_filter(ifindex: int, parent: int, handle: int, prog_id: int, and_qdisc: int) -> None:
    """Remove a filter, if it is still there with this BPF program.

    If its name says that the clsact qdisc is ours, remove that too, unless it has other filters.  ``and_qdisc`` says so
    for a filter that is not there: its process may have been killed when it had added the qdisc only.
    """
    action = f"removing a filter of network interface {ifindex}"
    with nobody_else_at_filters():
        for each in filters(ifindex, parent):
            if (each.handle, each.prog_id) == (handle, prog_id):
                request = _traffic(ifindex, handle, parent, each.info)
                request += _attribute(net.TCA_KIND, each.kind.encode() + b"\0")
                _unless_gone(net.RTM_DELTFILTER, request, action)
                and_qdisc = each.name.endswith(OF_OUR_QDISC)
        if and_qdisc:
            remove_unused_clsact(ifindex)


def remove_unused_clsact(ifindex: int) -> None:
    """Remove an interface's clsact qdisc, if there is one, and no filter on it."""
    if not (filters(ifindex, INGRESS) or filters(ifindex, EGRESS)):
        action = f"removing the clsact qdisc of network interface {ifindex}"
        _unless_gone(net.RTM_DELQDISC, _traffic(ifindex, 0, net.TC_H_CLSACT), action)


def _unless_gone(kind: int, request: bytes, action: str) -> None:
    try:
        _ask(kind, 0, request, action)
    except KernelError as error:
        if error.errno not in _GONE:
            raise


# Messages

_INTERFACE = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, changed flags
_TRAFFIC = struct.Struct("=BxxxiIII")  # struct tcmsg: family, interface index, handle, parent, info


def _interface(ifindex: int) -> bytes:
    return _INTERFACE.pack(0, 0, ifindex, 0, 0)


def _traffic(ifindex: int, handle: int = 0, parent: int = 0, info: int = 0) -> bytes:
    return _TRAFFIC.pack(0, ifindex, handle, parent, info)


def _s32(number: int) -> bytes:
    return struct.pack("=i", number)


def _u32(value: bytes) -> int:
    number: int = struct.unpack("=I", value)[0]
    return number


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def _network_order(number: int) -> int:
    swapped: int = struct.unpack("=H", struct.pack("!H", number))[0]
    return swapped


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, attributes: bytes) -> bytes:
    return _attribute(kind | net.NLA_F_NESTED, attributes)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        found[kind & net.NLA_TYPE_MASK] = data[start + _ATTRIBUTE.size : start + size]
        start += max(size + 3 & ~3, _ATTRIBUTE.size)
    return found


def _ask(kind: int, flags: int, body: bytes, action: str) -> list[bytes]:
    """Send a request, and return the answers, without their headers.  Raises KernelError."""
    import socket

    flags |= net.NLM_F_REQUEST | net.NLM_F_ACK
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, net.NETLINK_ROUTE) as connection:
            for option in (net.NETLINK_CAP_ACK, net.NETLINK_EXT_ACK):  # Linux 4.3 and 4.12
                connection.setsockopt(net.SOL_NETLINK, option, 1)
            connection.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
            answers: list[bytes] = []
            while not _complete(connection.recv(_ANSWER_SIZE), answers, action):
                pass
            return answers
    except KernelError:
        raise
    except OSError as error:
        raise KernelError(error.errno or 0, action, "The kernel takes no rtnetlink requests here") from error


def _complete(received: bytes, answers: list[bytes], action: str) -> bool:
    """Add the messages received to the answers; whether the last one was among them."""
    for kind, flags, body in _messages(received):
        if kind == net.NLMSG_ERROR or (kind == net.NLMSG_DONE and len(body) >= 4):
            code = -struct.unpack_from("=i", body)[0]
            if code > 0:
                raise KernelError(code, action, _explanation(code, flags, body))
            return True
        answers.append(body)
    return False


def _messages(received: bytes) -> Iterator[tuple[int, int, bytes]]:
    start = 0
    while start + _HEADER.size <= len(received):
        size, kind, flags, _, _ = _HEADER.unpack_from(received, start)
        yield kind, flags, received[start + _HEADER.size : start + size]
        start += max(size + 3 & ~3, _HEADER.size)


def _explanation(code: int, flags: int, body: bytes) -> str:
    """What the kernel says about an error in words; else what capability is missing."""
    from purebpf.kernel import diagnose  # here, as a guard must be quickly there, and has no use for it

    if flags & net.NLM_F_ACK_TLVS:
        (quoted,) = struct.unpack_from("=I", body, 4)  # the length of the request, of which only the header is quoted
        end_of_quote = 4 + (_HEADER.size if flags & net.NLM_F_CAPPED else quoted + 3 & ~3)
        words = _attributes(body[end_of_quote:]).get(net.NLMSGERR_ATTR_MSG)
        if words:
            return f"The kernel says: {_text(words)}"
    return diagnose.hint(code, "rtnetlink", {"CAP_NET_ADMIN"})
