"""Functions of the kernel and of programs, traced and replaced, and security hooks."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

import pytest
from kernel_state import RELEASE, THREADS, attach_and_detach, has_symbol, id_of, nothing_left, parsed, running_kernel
from network import cgroup, in_cgroup
from triggers import sleep

import purebpf
from purebpf.abi.bpf import bpf_attach_type
from purebpf.links import info
from purebpf.links.tracing_multi import attach_tracing_multi

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
SLOTS = [
    *("ENTER", "LEAVE", "CHANGE", "GUARD", "GUARD_SLEEPING"),
    *("ENTER_COOKIE", "SESSION", "MANY", "MANY_LEAVE", "MANY_SESSION"),
]


@cache
def lets_trace():
    """Whether bpftool, which is libbpf, can load a program of type fentry."""
    with tempfile.TemporaryDirectory() as folder:
        script = 'mount -t bpf bpf "$1" && bpftool prog load "$2" "$1/program"'
        load = ["sh", "-c", script, "sh", folder, OBJECTS / "target_fentry.bpf.o"]
        return subprocess.run(["unshare", "-m", *load], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_tool("bpftool", "unshare", "mount"),
    pytest.mark.needs_kernel("leave to trace functions (bpftool can load a program for that)", lets_trace),
]


def has_security_hooks():
    """Whether "bpf" is one of the active security modules, by the boot option."""
    return "bpf" in Path("/proc/cmdline").read_text().partition("lsm=")[2].split(" ")[0].split(",")


needs_sessions = pytest.mark.needs_kernel("fsession (Linux 7.0)", RELEASE >= (7, 0))
needs_many = pytest.mark.needs_kernel(
    "tracing of many functions (Linux 7.2)", lambda: has_symbol("bpf_tracing_multi_attach")
)
needs_security_hooks = pytest.mark.needs_kernel("bpf among its security modules (lsm=)", has_security_hooks)

needs_group_hooks = pytest.mark.needs_kernel(
    "security hooks of control groups (Linux 6.0), and bpf among its security modules (lsm=)",
    lambda: RELEASE >= (6, 0) and has_security_hooks(),
)


@contextmanager
def loaded(*names, refuse=1, **attributes):
    spec = parsed("link_traced")
    spec.variables["only_tgid"] = os.getpid()
    spec.variables["refuse"] = refuse
    for name in names:
        spec.programs[name].autoload = True
        for attribute, value in attributes.items():
            setattr(spec.programs[name], attribute, value)
    with spec.load(running_kernel()) as bpf:
        yield bpf


def hits(bpf, slot):
    return bpf.maps["hits"][SLOTS.index(slot)]


def refused():
    """Whether this process may not open a file, by the one error that the programs give."""
    try:
        os.close(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.ERESTART
        return True
    return False


@pytest.mark.parametrize(
    ("name", "slot", "expected"),
    [
        ("enter", "ENTER", 1),
        ("leave", "LEAVE", 1),
        pytest.param("session", "SESSION", 2, marks=needs_sessions),
        pytest.param("many", "MANY", 1, marks=needs_many),
        pytest.param("many_leave", "MANY_LEAVE", 1, marks=needs_many),
        pytest.param("many_session", "MANY_SESSION", 2, marks=needs_many),
    ],
)
def test_functions_of_the_kernel(name, slot, expected):
    with loaded(name) as bpf:
        (link,) = bpf.attach()
        assert link.info.prog_id == id_of(bpf.programs[name])
        sleep()
        assert hits(bpf, slot) == expected
        bpf.detach()
        sleep()
        assert hits(bpf, slot) == expected


@pytest.mark.needs_kernel("cookies of tracing programs (Linux 5.19)", RELEASE >= (5, 19))
def test_a_cookie():
    with loaded("enter_cookie") as bpf, bpf.programs["enter_cookie"].attach_tracing(cookie=70):
        sleep()
        assert hits(bpf, "ENTER_COOKIE") == 70


def test_what_the_link_tells():
    with loaded("enter") as bpf, bpf.programs["enter"].attach() as link:
        told = link.info.attached_to
    assert isinstance(told, info.Tracing)
    assert told.attach_type == bpf_attach_type.BPF_TRACE_FENTRY
    if RELEASE >= (5, 13):  # since then the kernel tells what it is
        assert running_kernel().btf.type(told.target_btf_id).name == "hrtimer_nanosleep"


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("change", "CHANGE"),
        pytest.param("guard", "GUARD", marks=needs_security_hooks),
        pytest.param(
            "guard_sleeping",
            "GUARD_SLEEPING",
            marks=[
                needs_security_hooks,
                pytest.mark.needs_kernel("sleepable security hooks (Linux 5.11)", RELEASE >= (5, 11)),
            ],
        ),
    ],
)
def test_what_they_return_counts(name, slot):
    with loaded(name) as bpf:
        assert not refused()
        (link,) = bpf.attach()
        assert refused()
        assert hits(bpf, slot) == 1
        link.close()
        assert not refused()


@pytest.mark.needs_tool("ip")
@needs_group_hooks
def test_a_security_hook_of_a_control_group():
    with loaded("guard_group") as bpf, cgroup() as group:
        with pytest.raises(purebpf.AttachError, match=r"attach_cgroup\(PATH\)"):
            bpf.programs["guard_group"].attach()
        with bpf.programs["guard_group"].attach_cgroup(group):
            socket.socket().close()  # this process is not in the group
            in_cgroup(group, no_socket)
        in_cgroup(group, lambda: socket.socket().close())


def no_socket():
    with pytest.raises(PermissionError):
        socket.socket()


@contextmanager
def target():
    with purebpf.load(OBJECTS / "target_replaceable.bpf.o") as bpf:
        yield bpf.programs["calls_it"]


def test_a_replaced_function():
    packet = bytes(64)
    with target() as calls_it:
        assert calls_it.run(data=packet).retval == 1
        with loaded("replacement", attach_prog_fd=calls_it.fileno()) as bpf:
            with bpf.programs["replacement"].attach() as link:
                assert calls_it.run(data=packet).retval == 7
                assert link.info.attached_to.attach_type == 0
            assert calls_it.run(data=packet).retval == 1


def test_a_function_of_another_program_than_it_was_loaded_for():
    packet = bytes(64)
    with target() as first, target() as second, loaded("replacement", attach_prog_fd=first.fileno()) as bpf:
        replacement = bpf.programs["replacement"]
        with replacement.attach_freplace(second, "replaceable"):
            assert (first.run(data=packet).retval, second.run(data=packet).retval) == (1, 7)
        with pytest.raises(purebpf.AttachError, match="has no function 'replacable'; did you mean replaceable"):
            replacement.attach_freplace(second, "replacable")


@pytest.mark.needs_kernel("programs that can be attached again (Linux 5.13)", RELEASE >= (5, 13))
@pytest.mark.parametrize(
    "name",
    [
        *("enter", "leave", "change"),
        pytest.param("session", marks=needs_sessions),
        pytest.param("guard", marks=needs_security_hooks),
    ],
)
def test_500_rounds_leave_nothing(name, rounds):
    """With several programs, as each can be attached to a function once.  They refuse nothing to the other threads."""
    with ExitStack() as stack:
        objects = [stack.enter_context(loaded(name, refuse=0)) for _ in range(THREADS)]
        programs = [bpf.programs[name] for bpf in objects]
        with nothing_left(*programs):
            attach_and_detach(rounds(500), *(program.attach for program in programs))


@needs_many
def test_500_rounds_with_many_functions_leave_nothing(rounds):
    btf = running_kernel().btf
    functions = ["hrtimer_nanosleep", "__x64_sys_sched_rr_get_interval"]
    with loaded("many") as bpf:
        program = bpf.programs["many"]
        to = program.fileno(), "fentry.multi", functions, program.spec.expected_attach_type, btf
        with nothing_left(program):
            attach_and_detach(rounds(500), lambda: attach_tracing_multi(*to))


def test_500_rounds_of_replacing_leave_nothing(rounds):
    """Each thread has a program whose function it replaces, as that has one replacement."""
    with ExitStack() as stack:
        targets = [stack.enter_context(target()) for _ in range(THREADS)]
        objects = [stack.enter_context(loaded("replacement", attach_prog_fd=each.fileno())) for each in targets]
        programs = [bpf.programs["replacement"] for bpf in objects]
        attachers = [
            partial(program.attach_freplace, each, "replaceable")
            for program, each in zip(programs, targets, strict=True)
        ]
        with nothing_left(*programs, *targets):
            attach_and_detach(rounds(500), *attachers)


@needs_group_hooks
def test_500_rounds_in_a_control_group_leave_nothing(rounds):
    with loaded("guard_group") as bpf, ExitStack() as stack:
        group = stack.enter_context(cgroup())
        groups = [stack.enter_context(cgroup(group)) for _ in range(THREADS)]
        program = bpf.programs["guard_group"]
        with nothing_left(program):
            attach_and_detach(rounds(500), *(partial(program.attach_cgroup, group) for group in groups))


@pytest.mark.needs_kernel("programs that can be attached once only (before Linux 5.13)", RELEASE < (5, 13))
def test_a_second_time():
    with loaded("enter") as bpf:
        bpf.programs["enter"].attach().close()
        with pytest.raises(purebpf.KernelError, match="can be attached once only"):
            bpf.programs["enter"].attach()
