"""What makes the kernel run programs: plain functions that do something, on sockets, in files, in time.

They take nothing from purebpf.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

IP4, IP6 = socket.AF_INET, socket.AF_INET6
LOCAL = {IP4: "127.0.0.1", IP6: "::1"}

# What a process does


def system_call():
    """One that nobody makes by chance."""
    os.sched_rr_get_interval(0)


def sleep():
    """hrtimer_nanosleep() in the kernel."""
    time.sleep(0.001)


def open_device():
    os.close(os.open("/dev/null", os.O_RDONLY))


def execute():
    subprocess.run(["true"], check=True)


def read_sysctl():
    Path("/proc/sys/kernel/hostname").read_text()


def busy(seconds=0.2):
    """Use so much of the CPU's time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


# What it does with sockets


def create(family=IP4):
    socket.socket(family, socket.SOCK_DGRAM).close()


def bind(family):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.bind((LOCAL[family], 0))


def connect(family):
    """And ask for the names of both ends."""
    with socket.create_server((LOCAL[family], 0), family=family) as server, socket.socket(family) as client:
        client.connect(server.getsockname())
        client.getpeername()


def exchange(family):
    """One datagram to another socket of this process."""
    with socket.socket(family, socket.SOCK_DGRAM) as one, socket.socket(family, socket.SOCK_DGRAM) as other:
        other.bind((LOCAL[family], 0))
        one.sendto(b"hello", other.getsockname())
        assert other.recvfrom(9)[0] == b"hello"


def unix_connect():
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{directory}/socket")
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{directory}/socket")
            client.getpeername()
            server.getsockname()


def unix_exchange():
    datagram = socket.AF_UNIX, socket.SOCK_DGRAM
    with tempfile.TemporaryDirectory() as directory, socket.socket(*datagram) as one, socket.socket(*datagram) as other:
        one.bind(f"{directory}/one")
        other.bind(f"{directory}/other")
        one.sendto(b"hello", f"{directory}/other")
        assert other.recvfrom(9)[0] == b"hello"


def options():
    with socket.socket(IP4, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))


IN_CGROUP = {
    "cgroup_skb/ingress": lambda: exchange(IP4),
    "cgroup_skb/egress": lambda: exchange(IP4),
    "cgroup/skb": lambda: exchange(IP4),
    "cgroup/sock_create": create,
    "cgroup/sock": create,
    "cgroup/sock_release": create,
    "cgroup/post_bind4": lambda: bind(IP4),
    "cgroup/post_bind6": lambda: bind(IP6),
    "cgroup/bind4": lambda: bind(IP4),
    "cgroup/bind6": lambda: bind(IP6),
    "cgroup/connect4": lambda: connect(IP4),
    "cgroup/connect6": lambda: connect(IP6),
    "cgroup/getpeername4": lambda: connect(IP4),
    "cgroup/getpeername6": lambda: connect(IP6),
    "cgroup/getsockname4": lambda: connect(IP4),
    "cgroup/getsockname6": lambda: connect(IP6),
    "cgroup/sendmsg4": lambda: exchange(IP4),
    "cgroup/sendmsg6": lambda: exchange(IP6),
    "cgroup/recvmsg4": lambda: exchange(IP4),
    "cgroup/recvmsg6": lambda: exchange(IP6),
    "cgroup/connect_unix": unix_connect,
    "cgroup/getpeername_unix": unix_connect,
    "cgroup/getsockname_unix": unix_connect,
    "cgroup/sendmsg_unix": unix_exchange,
    "cgroup/recvmsg_unix": unix_exchange,
    "cgroup/sysctl": read_sysctl,
    "cgroup/getsockopt": options,
    "cgroup/setsockopt": options,
    "cgroup/dev": open_device,
    "sockops": lambda: connect(IP4),
}
"""What a process in a control group has to do for its programs to run, by section name."""


@contextmanager
def connection():
    """Both ends of a TCP connection."""
    with socket.create_server((LOCAL[IP4], 0)) as server, socket.create_connection(server.getsockname()) as one:
        other, _ = server.accept()
        with other:
            for each in (one, other):
                each.settimeout(10)
            yield one, other


@contextmanager
def receiver(*, share=False):
    """A socket to which anybody can send datagrams."""
    with socket.socket(IP4, socket.SOCK_DGRAM) as one:
        if share:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((LOCAL[IP4], 0))
        yield one


def send_to(receiver):
    with socket.socket(IP4, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", receiver.getsockname())


@contextmanager
def waiting_connection():
    """Two sockets that listen at the same port, and a connection that waits for the first to accept it."""
    with (
        socket.create_server((LOCAL[IP4], 0), reuse_port=True) as first,
        socket.create_connection(first.getsockname()),
        socket.create_server(first.getsockname(), reuse_port=True) as second,
    ):
        yield first, second


def congestion_control(name):
    """Have a connected socket use it."""
    with connection() as (one, _):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)


def knock():
    """At a port where nobody listens."""
    with socket.socket() as client:
        client.connect_ex((LOCAL[IP4], 9))


# Packets that are routed


def udp_to(address):
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", (address, 9))


def segment_routed():
    """An IPv6 packet with a segment routing header, to an address that is behind pb0."""
    here, there, last = (socket.inet_pton(socket.AF_INET6, each) for each in ("fe80::1", "fd00::1", "fd00::2"))
    routing = struct.pack("!BBBBBBH", 59, 4, 4, 1, 1, 0, 0) + last + there
    packet = struct.pack("!IHBB", 6 << 28, len(routing), 43, 64) + here + there + routing
    raw = socket.AF_PACKET, socket.SOCK_RAW
    with socket.socket(*raw) as sender, socket.socket(*raw) as other:
        other.bind(("pb0", 0))
        sender.bind(("pb1", 0x86DD))
        sender.send(other.getsockname()[4] + b"\x02" * 6 + struct.pack("!H", 0x86DD) + packet)
