"""Network namespaces, interfaces, control groups and packets, for tests of the networking hooks."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path

from kernel_state import eventually, parsed, running_kernel

import purebpf

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
ETH_P_TEST = 0x88B5  # "local experimental", so that nothing else in the kernel cares


def _libc(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


@contextmanager
def namespace():
    """This thread in a network namespace of its own, with the loopback interface up; no IPv6 but there."""
    with open("/proc/thread-self/ns/net") as before:
        _libc("unshare", CLONE_NEWNET)
        try:
            ip("link", "set", "lo", "up")
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            yield
        finally:
            _libc("setns", before.fileno(), CLONE_NEWNET)


def unshare_mounts():
    """This process with a table of mounts of its own.  There is no way back."""
    _libc("unshare", CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def possible(command):
    """Whether a command succeeds in a network namespace of its own."""
    with namespace():
        return subprocess.run(["sh", "-c", command], capture_output=True).returncode == 0


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True)


def veth(one="pb0", other="pb1"):
    """A pair of interfaces: what one sends, the other receives.  Nothing is sent but what a test sends."""
    pair = f"link add {one} arp off type veth peer name {other} arp off"
    commands = f"{pair}\nlink set {one} up\nlink set {other} up\n"
    subprocess.run(["ip", "-batch", "-"], input=commands.encode(), check=True)


def send(interface, packets=1):
    """Send so many packets."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, ETH_P_TEST))
        for _ in range(packets):
            sender.send(b"\xff" * 6 + b"\x02" * 6 + ETH_P_TEST.to_bytes(2, "big") + bytes(46))


@contextmanager
def loaded(*names):
    """The object with these of its programs."""
    spec = parsed("net_hooks")
    for program in spec.programs.values():
        program.autoload = program.name in names
    assert set(names) <= set(spec.programs)
    with spec.load(running_kernel()) as bpf:
        yield bpf


def runs(bpf, name):
    """How often a program has run."""
    return getattr(bpf.maps[".bss"][0], f"{name}_runs")


def order(bpf, programs):
    """In what order so many programs have run: their digits.  Then it starts again."""
    assert eventually(lambda: bpf.maps[".bss"][0].sequence >= 10 ** (programs - 1))
    values = bpf.maps[".bss"][0]
    bpf.maps[".bss"][0] = values._replace(sequence=0)
    return values.sequence


def tc(*arguments):
    return json.loads(subprocess.check_output(["tc", "-j", *arguments]) or "[]")


def without_capabilities(action):
    """Call a function without CAP_NET_ADMIN and CAP_SYS_ADMIN.  They belong to threads: take them from a new one."""
    answers = []

    def run():
        header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, the calling thread
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same of the upper 32
        _libc("capget", header, sets)
        sets[0] &= ~(1 << 12 | 1 << 21)
        _libc("capset", header, sets)
        try:
            action()
        except purebpf.PureBpfError as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if answers:
        raise answers.pop()


# Control groups


def cgroup2():
    """Where a file system of type cgroup2 is mounted; for a test alone if nowhere else."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return line.split()[4]
    return None


@contextmanager
def cgroup(below=None):
    """The path of a new control group."""
    where = below or cgroup2()
    mounted = None
    if where is None:
        where = mounted = tempfile.mkdtemp()
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", where], check=True)
    path = tempfile.mkdtemp(prefix="purebpf", dir=where)
    try:
        yield path
    finally:
        if os.path.isdir(path):
            eventually(lambda: not Path(path, "cgroup.procs").read_text())
            os.rmdir(path)
        if mounted:
            subprocess.run(["umount", mounted], check=True)
            os.rmdir(mounted)


def in_cgroup(path, action):
    """Call a function in a child process that is in a control group."""

    def join_and_act():
        Path(path, "cgroup.procs").write_text(str(os.getpid()))
        action()

    in_child(join_and_act)


def in_child(action):
    """Call a function in a child process; what it raises, the child shows and we fail."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
