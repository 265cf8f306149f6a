"""Types, functions and variables that are a kernel module's: programs that need them run, and see what is there.

Where a module is built into the kernel, the same holds for the kernel's own types.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_state import parsed

from purebpf.abi.attr import bpf_attr_prog_test_run
from purebpf.abi.bpf import bpf_cmd
from purebpf.kernel.bpf import bpf

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
TYPES = Path("/sys/kernel/btf")

pytestmark = pytest.mark.needs_root


def needs(module, name):
    """The types of the kernel, or of the module where there is such, have something of this name."""

    def there():
        if shutil.which("modprobe"):
            subprocess.run(["modprobe", module], stderr=subprocess.DEVNULL)
        files = [path for path in (TYPES / "vmlinux", TYPES / module) if path.exists()]
        return any(f"{name}\0".encode() in path.read_bytes() for path in files)

    return pytest.mark.needs_kernel(f"the types of {module}, built in or as a module", there)


def check_opened(loaded, module):
    """The plan opens the types of the module, if it is one; and they do not stay open."""
    opened = [str(c.creates) for c in loaded.plan if c.cmd == bpf_cmd.BPF_BTF_GET_FD_BY_ID]
    assert opened == ([f"<module btf {module}>"] if (TYPES / module).exists() else [])
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert links.count("anon_inode:btf") == 1  # the object's own


def run(loaded, name):
    """Run an XDP program on a packet; returns what it returned."""
    packet = bytes(64)
    buffer = ctypes.create_string_buffer(packet, len(packet))
    attr = bpf_attr_prog_test_run(
        prog_fd=loaded.programs[name].fileno(), data_in=ctypes.addressof(buffer), data_size_in=len(packet)
    )
    bpf(bpf_cmd.BPF_PROG_TEST_RUN, attr)
    return attr.retval


# Makes a pair in a network namespace of its own, prints the index of the other end, and sends three packets.  The end
# that sends is up last: then it can send at once, where the other has to wait for the kernel to see that it can.
SEND = """
import socket, subprocess, sys
name, peer = sys.argv[1:]
subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", peer], check=True)
for end in peer, name:
    subprocess.run(["ip", "link", "set", end, "addrgenmode", "none", "up"], check=True)
print(socket.if_nametoindex(peer))
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind((name, 0))
    for _ in range(3):
        sender.send(bytes(64))
"""


@pytest.mark.needs_tool("unshare", "ip")
@needs("veth", "veth_priv")
def test_core_reads_a_type_of_a_module():
    name = f"pb{os.getpid()}"
    spec = parsed("module_veth")
    spec.variables["only_name"] = name.encode()
    with spec.load() as loaded:
        with loaded.programs["sent"].attach():
            command = ["unshare", "-n", sys.executable, "-c", SEND, name, f"{name}x"]
            peer = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seen = loaded.maps[".bss"][0]
        assert (seen.packets, seen.peer) == (3, peer)


@needs("nf_conntrack", "bpf_xdp_ct_alloc")
def test_functions_of_a_module_are_called():
    spec = parsed("module_conntrack")
    spec.variables["port"] = random.randrange(1 << 16)
    with spec.load() as loaded:
        check_opened(loaded, "nf_conntrack")
        assert run(loaded, "look_up") == 0
        assert run(loaded, "insert") == 1, loaded.maps[".bss"][0]
        assert run(loaded, "look_up") == 1
        connections = Path("/proc/net/nf_conntrack")
        if connections.exists():
            assert re.search(rf"udp .*src=192\.0\.2\.1 dst=192\.0\.2\.2 sport={swapped(spec)}", connections.read_text())


def swapped(spec):
    return int.from_bytes(spec.variables["port"].to_bytes(2, sys.byteorder), "big")


@needs("drop_monitor", "dm_cpu_data")
def test_symbols_of_a_module_are_found():
    """A function's address; and a variable that each CPU has, with an empty queue: that is its own next element."""
    listed = re.findall(r"^(\w+) t sched_send_work\b", Path("/proc/kallsyms").read_text(), re.MULTILINE)
    with parsed("module_drop_monitor").load() as loaded:
        check_opened(loaded, "drop_monitor")
        assert run(loaded, "read") == 1
        seen = loaded.maps[".bss"][0]
    assert [int(address, 16) for address in listed] == [seen.address]
    assert seen.next == seen.queue != 0
