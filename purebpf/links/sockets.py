"""Programs on sockets of the caller's own: filters of what arrives, and choosers among the sockets of one port.

They are socket options, not links: the socket holds its program, and it is the caller's.  So a program goes when the
socket does, also when this process is killed, unless another process has the socket too.
"""

from __future__ import annotations

import errno
import os

from purebpf.abi import net
from purebpf.abi.bpf import bpf_prog_type
from purebpf.errors import KernelError
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.link import Link
from purebpf.links.order import SupportsFileno
from purebpf.links.refusal import explained

Socket = SupportsFileno | int
"""A socket.socket, or anything else that has a socket's descriptor, or its number."""

_WHY_NO_FILTER = {errno.EPERM: "The socket's filter is locked (SO_LOCK_FILTER)"}
_CHOOSERS = (bpf_prog_type.BPF_PROG_TYPE_SK_REUSEPORT, bpf_prog_type.BPF_PROG_TYPE_SOCKET_FILTER)
_WHY_NO_CHOOSER = {errno.EINVAL: "The socket must have SO_REUSEPORT set before it is bound"}


def attach_socket_filter(prog_fd: Fd | int, socket: Socket) -> Link:
    """Have a loaded program decide what a socket receives, and how many bytes of it.  Linux 3.19.

    A socket has one filter: another replaces it, and closing the Link removes whatever filter there is.

    Raises KernelError if the kernel refuses.
    """
    with explained(_WHY_NO_FILTER, prog_fd, bpf_prog_type.BPF_PROG_TYPE_SOCKET_FILTER):
        return _attach("socket filter", prog_fd, socket, net.SO_ATTACH_BPF, net.SO_DETACH_FILTER)


def attach_reuseport(prog_fd: Fd | int, socket: Socket) -> Link:
    """Have a loaded program choose which of the sockets bound to one port, by SO_REUSEPORT, gets a packet.  Linux 4.19.

    It is set for all of them by any one, to which it is detached again; that takes Linux 5.3.

    Raises KernelError if the kernel refuses.
    """
    with explained(_WHY_NO_CHOOSER, prog_fd, *_CHOOSERS):
        return _attach("reuseport", prog_fd, socket, net.SO_ATTACH_REUSEPORT_EBPF, net.SO_DETACH_REUSEPORT_BPF)


def _attach(kind: str, prog_fd: Fd | int, socket: Socket, option: int, undoing: int) -> Link:
    number = socket if isinstance(socket, int) else socket.fileno()
    _set_option(number, option, number_of(prog_fd), f"attaching a program to socket {number} ({kind})")
    inode = os.fstat(number).st_ino

    def detach() -> None:
        try:
            if os.fstat(number).st_ino == inode:  # else the caller has closed the socket
                _set_option(number, undoing, 0, f"detaching a program from socket {number} ({kind})")
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOENT):  # closed, or without a program
                raise

    return Link(kind, f"socket {number}", detach=detach)


def _set_option(number: int, option: int, value: int, action: str) -> None:
    import socket

    try:
        borrowed = socket.socket(fileno=number)
        try:
            borrowed.setsockopt(socket.SOL_SOCKET, option, value)
        finally:
            borrowed.detach()
    except OSError as error:
        raise KernelError(error.errno or 0, action) from None
