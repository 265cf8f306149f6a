"""tracefs on this kernel: mounted somewhere, or nowhere.

Mounts are made in a mount namespace of their own, which ends with the child that was started in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from purebpf.errors import AttachError
from purebpf.kernel.tracefs import Tracefs, tracepoint_id

pytestmark = pytest.mark.needs_root

EVENTS = [
    "syscalls/sys_enter_execve",
    "sched/sched_process_exec",
    "sched/sched_switch",
    "signal/signal_generate",
]


def mount_table():
    return Path("/proc/self/mountinfo").read_text()


def in_mount_namespace(script):
    """What a shell script prints in a mount namespace that has neither tracefs nor debugfs at first."""
    clean = "umount -a -l -t tracefs,debugfs 2>/dev/null || true; "
    done = subprocess.run(["unshare", "-m", "sh", "-ec", clean + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def kernel_numbers():
    """The tracepoint numbers as `cat` reads them from a mounted tracefs."""
    files = " ".join(f"events/{event}/id" for event in EVENTS)
    numbers = in_mount_namespace(f"mount -t tracefs tracefs /mnt; cd /mnt; cat {files}")
    return dict(zip(EVENTS, map(int, numbers.split()), strict=True))


# A Python child that says where it found tracefs, and the number of a tracepoint or what went wrong.
CHILD = """
import ctypes, os, struct
from purebpf.abi import syscalls
from purebpf.errors import PureBpfError
from purebpf.kernel.tracefs import Tracefs

def without(name, errno):
    "A seccomp filter: load the number, jump if equal, return errno; return."
    code = struct.pack("=HBBI", 0x20, 0, 0, 0) + struct.pack("=HBBI", 0x15, 0, 1, syscalls.number(name))
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | errno)
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    class sock_fprog(ctypes.Structure):
        _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.c_char_p))
    assert ctypes.CDLL(None).prctl(22, 2, ctypes.byref(sock_fprog(len(code) // 8, code)), 0, 0) == 0

def mount_table():
    with open("/proc/self/mountinfo") as file:
        return file.read()

def look():
    try:
        with Tracefs.open() as tracefs:
            where = os.readlink(f"/proc/self/fd/{tracefs._root.fileno()}")
            print(where, tracefs.tracepoint_id("sched", "sched_switch"))
    except PureBpfError as error:
        print(error)
"""


@pytest.fixture
def child(tmp_path):
    """The command line that runs a script after CHILD, for use in a shell script."""

    def command(script):
        path = tmp_path / "child.py"
        path.write_text(CHILD + textwrap.dedent(script))
        return f"{sys.executable} -W error {path}"

    return command


# --- numbers and near names ---


def test_numbers(kernel_numbers):
    for event, number in kernel_numbers.items():
        assert tracepoint_id(*event.split("/")) == number


def test_directories():
    with Tracefs.open() as tracefs:
        assert {"sched", "syscalls", "signal"} <= set(tracefs.listdir("events"))
        assert "trace_pipe" in tracefs.listdir()
        assert "id" in tracefs.listdir("events/sched/sched_switch")


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("syscalls/sys_enter_opena", "syscalls/sys_enter_openat"),
        ("syscall/sys_enter_execve", "syscalls/sys_enter_execve"),
        ("sched/sys_enter_execve", "syscalls/sys_enter_execve"),
        ("scheduler/sched_switch", "sched/sched_switch"),
    ],
)
def test_no_such_tracepoint(wanted, near):
    with pytest.raises(AttachError) as caught:
        tracepoint_id(*wanted.split("/"))
    assert f"no tracepoint {wanted}; did you mean" in str(caught.value)
    assert near in str(caught.value)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..", "sched_switch/../sched_switch", "a\0b", ""])
def test_a_name_is_no_path(name):
    for category, event in (("sched", name), (name, "sched_switch")):
        with pytest.raises(AttachError, match="cannot be a tracepoint"):
            tracepoint_id(category, event)


def test_a_file_to_keep():
    """What is written to trace_marker comes out of trace_pipe, also when the Tracefs is closed then.

    In a trace instance of our own: what is read from trace_pipe is lost to all other readers.
    """
    instance = f"instances/purebpf-test-{os.getpid()}"
    with Tracefs.open() as tracefs:
        os.mkdir(instance, dir_fd=tracefs._root.fileno())
        pipe = tracefs.open_file(f"{instance}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        marker = tracefs.open_file(f"{instance}/trace_marker", os.O_WRONLY)
    with pipe, marker:
        os.write(marker.fileno(), b"purebpf was here\n")
        assert b"tracing_mark_write: purebpf was here\n" in os.read(pipe.fileno(), 4096)
    with Tracefs.open() as tracefs:
        os.rmdir(instance, dir_fd=tracefs._root.fileno())


# --- where it is found ---


def test_nothing_stays_behind():
    before, descriptors = mount_table(), os.listdir("/proc/self/fd")
    with Tracefs.open() as tracefs:
        assert mount_table() == before
        tracefs.tracepoint_id("sched", "sched_switch")
    for _ in range(200):
        tracepoint_id("sched", "sched_switch")
    assert mount_table() == before
    assert os.listdir("/proc/self/fd") == descriptors


@pytest.mark.needs_tool("unshare")
def test_mounted_nowhere(child, kernel_numbers):
    command = child("""
        before = mount_table()
        assert "tracefs" not in before and "debugfs" not in before
        look()
        assert mount_table() == before
    """)
    assert in_mount_namespace(command).split() == ["/", str(kernel_numbers["sched/sched_switch"])]


@pytest.mark.needs_tool("unshare")
def test_mounted_at_an_odd_place(child, tmp_path, kernel_numbers):
    folder = tmp_path / "an odd\tplace"
    folder.mkdir()
    command = child("without('fsopen', 1); look()")
    output = in_mount_namespace(f"mount -t tracefs tracefs '{folder}'; {command}")
    assert output == f"{folder} {kernel_numbers['sched/sched_switch']}\n"


@pytest.mark.needs_tool("unshare")
def test_mounted_but_hidden_under_another_mount(child, tmp_path, kernel_numbers):
    mounts = f"mount -t tracefs tracefs {tmp_path}/t; mount -t tmpfs tmpfs {tmp_path}/t; "
    (tmp_path / "t").mkdir()
    output = in_mount_namespace(mounts + child("look()"))
    assert output.split() == ["/", str(kernel_numbers["sched/sched_switch"])]


@pytest.mark.needs_tool("unshare")
def test_only_debugfs_and_no_fsopen(child, tmp_path, kernel_numbers):
    (tmp_path / "d").mkdir()
    command = child("without('fsopen', 38); look()")
    output = in_mount_namespace(f"mount -t debugfs debugfs {tmp_path}/d; {command}")
    assert output == f"{tmp_path}/d/tracing {kernel_numbers['sched/sched_switch']}\n"


@pytest.mark.needs_tool("unshare")
def test_debugfs_is_left_alone_where_a_private_mount_works(child, tmp_path):
    """Looking into its directory "tracing" would mount a tracefs there for all to see."""
    (tmp_path / "d").mkdir()
    command = child("before = mount_table(); look(); assert mount_table() == before")
    assert in_mount_namespace(f"mount -t debugfs debugfs {tmp_path}/d; {command}").startswith("/ ")


@pytest.mark.needs_tool("unshare")
def test_no_proc(child, kernel_numbers):
    command = child("""
        import subprocess
        subprocess.run(["umount", "-l", "/proc"], check=True)
        with Tracefs.open() as tracefs:
            print(tracefs.tracepoint_id("sched", "sched_switch"))
    """)
    assert int(in_mount_namespace(command)) == kernel_numbers["sched/sched_switch"]


# --- where it cannot be had ---

HOW = ("mount -t tracefs tracefs /sys/kernel/tracing", "-v /sys/kernel/tracing:/sys/kernel/tracing:ro")


@pytest.mark.any_kernel
@pytest.mark.needs_tool("unshare")
@pytest.mark.parametrize(
    ("obstacle", "parts"),
    [
        ("os.setuid(65534)", ("(EPERM)", *HOW, "fsopen needs CAP_SYS_ADMIN", "Run it as root")),
        ("without('fsopen', 1)", ("(EPERM)", *HOW, "A seccomp filter blocks fsopen")),
        ("without('fsopen', 38)", ("(ENOSYS)", *HOW, "older than Linux 5.2")),
        ("without('fsconfig', 1)", ("(EPERM)", *HOW)),
        ("without('fsmount', 1)", ("(EPERM)", *HOW)),
        ("without('fsopen', 19)", ("(ENODEV)", "built without tracefs")),
    ],
)
def test_what_stands_in_the_way(child, obstacle, parts):
    listing = "sorted(os.listdir('/proc/self/fd'))"
    command = child(f"{obstacle}\nbefore = {listing}\nlook()\nassert {listing} == before")
    output = in_mount_namespace(command)
    for part in parts:
        assert part in output
