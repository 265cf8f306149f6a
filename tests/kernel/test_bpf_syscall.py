"""bpf(2) for real: maps against what bpftool sees, and refusals in the situations that users get them in."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from purebpf.abi.attr import bpf_attr_map_create, bpf_map_info
from purebpf.abi.bpf import bpf_cmd, bpf_elem_flags, bpf_map_type
from purebpf.errors import KernelError
from purebpf.kernel import cpu
from purebpf.kernel.bpf import (
    bpf,
    map_delete_elem,
    map_get_next_key,
    map_lookup_elem,
    map_update_elem,
    obj_get_info_by_fd,
)
from purebpf.kernel.fd import Fd
from purebpf.kernel.features import Feature, Features

pytestmark = pytest.mark.needs_root


def create(kind, *, entries=3, value_size=8):
    attr = bpf_attr_map_create(
        map_type=kind, key_size=4, value_size=value_size, max_entries=entries, map_name=b"purebpf_test"
    )
    return Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "test map")


def dump(map_fd):
    """The map as bpftool sees it, in bytes: key -> value, or key -> the values of all possible CPUs."""
    number = str(obj_get_info_by_fd(map_fd, bpf_map_info).id)
    entries = json.loads(subprocess.check_output(["bpftool", "-j", "map", "dump", "id", number]))

    def octets(texts):
        return bytes(int(text, 16) for text in texts)

    return {
        octets(entry["key"]): octets(entry["value"])
        if "value" in entry
        else [octets(per_cpu["value"]) for per_cpu in entry["values"]]
        for entry in entries
    }


def key(number):
    return struct.pack("=I", number)


# --- maps ---


@pytest.mark.needs_tool("bpftool")
def test_hash_map():
    with create(bpf_map_type.BPF_MAP_TYPE_HASH) as fd:
        assert map_lookup_elem(fd, key(1), 8) is None
        map_update_elem(fd, key(1), b"\0one\0\0\0\0")
        map_update_elem(fd, key(2), b"two\0two\0")
        assert dump(fd) == {key(1): b"\0one\0\0\0\0", key(2): b"two\0two\0"}
        assert map_lookup_elem(fd, key(1), 8) == b"\0one\0\0\0\0"

        first = map_get_next_key(fd, None, 4)
        second = map_get_next_key(fd, first, 4)
        assert {first, second} == {key(1), key(2)}
        assert map_get_next_key(fd, second, 4) is None

        assert map_delete_elem(fd, key(1)) is True
        assert map_delete_elem(fd, key(1)) is False
        assert list(dump(fd)) == [key(2)]


@pytest.mark.needs_tool("bpftool")
def test_per_cpu_map():
    with create(bpf_map_type.BPF_MAP_TYPE_PERCPU_ARRAY, entries=1) as fd:
        values = [struct.pack("=Q", 1000 + number) for number in cpu.possible()]
        map_update_elem(fd, key(0), b"".join(values))
        assert dump(fd) == {key(0): values}
        assert map_lookup_elem(fd, key(0), 8 * len(values)) == b"".join(values)


def test_update_flags_and_a_full_map():
    with create(bpf_map_type.BPF_MAP_TYPE_HASH) as fd:
        map_update_elem(fd, key(0), bytes(8), bpf_elem_flags.BPF_NOEXIST)
        with pytest.raises(KernelError) as caught:
            map_update_elem(fd, key(0), bytes(8), bpf_elem_flags.BPF_NOEXIST)
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(KernelError) as caught:
            map_update_elem(fd, key(1), bytes(8), bpf_elem_flags.BPF_EXIST)
        assert caught.value.errno == errno.ENOENT
        map_update_elem(fd, key(1), bytes(8))
        map_update_elem(fd, key(2), bytes(8))
        with pytest.raises(KernelError, match=r"BPF_MAP_UPDATE_ELEM.*E2BIG.*map is full"):
            map_update_elem(fd, key(3), bytes(8))


def test_info():
    with create(bpf_map_type.BPF_MAP_TYPE_HASH, entries=7) as fd:
        info = obj_get_info_by_fd(fd, bpf_map_info)
        assert (info.type, info.key_size, info.value_size, info.max_entries) == (1, 4, 8, 7)
        assert info.name == b"purebpf_test"


def test_descriptors_are_close_on_exec():
    with create(bpf_map_type.BPF_MAP_TYPE_HASH) as fd:
        assert fcntl.fcntl(fd.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_an_error_says_what_was_being_done():
    with pytest.raises(KernelError, match=r"^bpf\(BPF_MAP_LOOKUP_ELEM\): Bad file descriptor \(EBADF\)$") as caught:
        map_lookup_elem(1_000_000, key(0), 8)
    assert isinstance(caught.value, OSError) and caught.value.errno == errno.EBADF
    with pytest.raises(KernelError, match=r"^creating map 'events': Invalid argument"):
        bpf(bpf_cmd.BPF_MAP_CREATE, bpf_attr_map_create(map_type=9999), action="creating map 'events'")


def test_a_map_that_no_memory_is_enough_for():
    with pytest.raises(KernelError) as caught:
        create(bpf_map_type.BPF_MAP_TYPE_ARRAY, entries=0xFFFFFFFF, value_size=1 << 20)
    assert caught.value.errno in (errno.E2BIG, errno.ENOMEM)
    assert caught.value.hint != ""


# --- features, against the types of the running kernel ---


@pytest.fixture(scope="module")
def kernel_types():
    command = ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
    return subprocess.check_output(command, text=True)


def declaration(types, name):
    _, found, rest = types.partition(f"struct {name} {{")
    return rest.partition("\n};")[0] if found else None


@pytest.mark.needs_tool("bpftool")
def test_features(kernel_types):
    features = Features()
    assert features.has(Feature.PERF_LINK) == (declaration(kernel_types, "bpf_perf_link") is not None)


# --- refusals ---

PRELUDE = """
import ctypes, os, resource, struct, sys
from purebpf.abi import syscalls
from purebpf.abi.attr import *
from purebpf.abi.bpf import *
from purebpf.abi.perf import *
from purebpf.errors import *
from purebpf.kernel.bpf import *
from purebpf.kernel.perf import *
from purebpf.kernel.tracefs import *

libc = ctypes.CDLL(None, use_errno=True)

def drop_capabilities(names):
    "Take them from the bounding set, and lose them by exec, as a container's root has."
    if "dropped" not in sys.argv:
        for name in names:
            assert libc.prctl(24, name, 0, 0, 0) == 0                     # PR_CAPBSET_DROP
        os.execv(sys.executable, [*sys.orig_argv, "dropped"])

def filter_calls(errno, *names):
    "A seccomp filter that answers these calls with errno. Opcodes: load the number, jump if equal, return."
    code = struct.pack("=HBBI", 0x20, 0, 0, 0)
    for name in names:
        code += struct.pack("=HBBI", 0x15, 0, 1, syscalls.number(name))
        code += struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | errno)      # SECCOMP_RET_ERRNO
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)                  # SECCOMP_RET_ALLOW
    class sock_fprog(ctypes.Structure):
        _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.c_char_p))
    assert libc.prctl(22, 2, ctypes.byref(sock_fprog(len(code) // 8, code)), 0, 0) == 0   # PR_SET_SECCOMP

def create_map():
    attr = bpf_attr_map_create(map_type=1, key_size=4, value_size=4, max_entries=1)
    Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "map").close()

def load_program(prog_type=bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT):
    code = struct.pack("=BBhiBBhi", 0xb7, 0, 0, 0, 0x95, 0, 0, 0)
    attr = bpf_attr_prog_load(prog_type=prog_type, insn_cnt=2, insns=address(code), license=address(b"GPL"))
    Fd(bpf(bpf_cmd.BPF_PROG_LOAD, attr), "program").close()

def open_event():
    perf_event_open(perf_event_attr(type=1, config=perf_sw_ids.PERF_COUNT_SW_BPF_OUTPUT), -1, 0).close()

def attempt(function, *args):
    try:
        function(*args)
    except KernelError as error:
        print(error)
    else:
        print("done")
"""


def run_child(script, *wrapper):
    """Run the script in a child; its lines of output, one for each attempt."""
    done = subprocess.run(
        [*wrapper, sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        # Who gives up root could not write coverage data.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    assert done.stderr == "" and done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_as_an_ordinary_user():
    mapped, loaded, event = run_child("""
        os.setuid(65534)
        attempt(create_map)
        attempt(load_program)
        attempt(open_event)
    """)
    if mapped != "done":  # kernel.unprivileged_bpf_disabled is 0
        assert "(EPERM). bpf needs CAP_BPF, which this process does not have. Run it as root" in mapped
    assert "(EPERM). bpf needs CAP_BPF and CAP_PERFMON, which" in loaded and "sudo" in loaded
    assert "(EACCES). perf_event_open needs CAP_PERFMON" in event
    assert "kernel.perf_event_paranoid is " in event


def test_as_root_of_a_container():
    lines = run_child("""
        drop_capabilities([12, 21, 38, 39])        # CAP_NET_ADMIN, _SYS_ADMIN, _PERFMON, _BPF
        attempt(load_program)
        attempt(open_event)
    """)
    for line, needed in zip(lines, ("CAP_BPF and CAP_PERFMON", "CAP_PERFMON"), strict=True):
        assert f"needs {needed}, which this process does not have" in line
        assert "--cap-add BPF --cap-add PERFMON" in line and "seccomp" in line and "sudo" not in line


def test_the_capabilities_that_the_hints_name_are_enough():
    lines = run_child("""
        drop_capabilities(set(range(41)) - {38, 39})
        for function in (create_map, load_program, open_event):
            attempt(function)
        attempt(load_program, bpf_prog_type.BPF_PROG_TYPE_XDP)
    """)
    assert lines[:2] == ["done"] * 2
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    if paranoid <= 2:
        assert lines[2] == "done"
    else:  # Debian's kernels
        assert f"kernel.perf_event_paranoid is {paranoid}" in lines[2] and "CAP_SYS_ADMIN" in lines[2]
    assert "needs CAP_NET_ADMIN, which" in lines[3] and "--cap-add NET_ADMIN" in lines[3]


@pytest.mark.needs_tool("unshare")
def test_in_a_user_namespace():
    lines = run_child("attempt(load_program); attempt(open_event)", "unshare", "-Ur")
    for line in lines:
        assert "in one (rootless container, unshare -U). Run it as root of the system itself" in line
        assert "CAP_PERFMON" in line and "--cap-add" not in line
    assert len(lines) == 2


@pytest.mark.any_kernel
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_under_a_seccomp_filter(code):
    bpf_line, perf_line = run_child(f"""
        filter_calls({code}, "bpf", "perf_event_open")
        attempt(create_map)
        attempt(open_event)
    """)
    for line, call in ((bpf_line, "bpf"), (perf_line, "perf_event_open")):
        assert f"({errno.errorcode[code]})" in line
        if code == errno.EACCES and call == "bpf":
            continue
        assert f"A seccomp filter blocks {call}" in line
        assert "--cap-add BPF --cap-add PERFMON" in line
        assert "--security-opt seccomp=unconfined" in line and "allows bpf and perf_event_open" in line


@pytest.mark.any_kernel
def test_under_a_seccomp_filter_that_is_not_to_blame():
    """A frozen map answers EPERM as well."""
    (line,) = run_child(f"""
        filter_calls({errno.EPERM}, "fsmount")
        attr = bpf_attr_map_create(map_type=2, key_size=4, value_size=4, max_entries=1)
        with Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "map") as fd:
            bpf(bpf_cmd.BPF_MAP_FREEZE, bpf_attr_map_elem(map_fd=fd.fileno()))
            attempt(map_update_elem, fd, bytes(4), bytes(4))
    """)
    assert line == "bpf(BPF_MAP_UPDATE_ELEM): Operation not permitted (EPERM)"


@pytest.mark.any_kernel
def test_out_of_descriptors():
    (line,) = run_child("""
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        attr = bpf_attr_map_create(map_type=1, key_size=4, value_size=4, max_entries=1)
        kept = []
        def many():
            while True:
                kept.append(Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "map"))
        attempt(many)
        for fd in kept:
            fd.close()
    """)
    assert line.endswith("(EMFILE). This process has reached its limit of 32 open files (ulimit -n)")


@pytest.mark.any_kernel
def test_started_without_stdin():
    (line,) = run_child("""
        os.close(0)
        attr = bpf_attr_map_create(map_type=1, key_size=4, value_size=4, max_entries=1)
        with Fd(bpf(bpf_cmd.BPF_MAP_CREATE, attr), "map") as fd:
            print(fd.fileno() > 2, map_lookup_elem(fd, bytes(4), 4))
    """)
    assert line == "True None"
