"""The child process that undoes an attachment when its parent dies: what ends the parent does not end it."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from kernel_state import children, descriptors, eventually, refused
from network import ip, loaded, namespace, tc, veth

from purebpf.errors import AttachError
from purebpf.kernel import guard
from purebpf.kernel.features import Feature, Features
from purebpf.links.tc import attach_tc

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("ip", "tc"), pytest.mark.any_kernel]


@pytest.fixture
def bpf():
    with namespace():
        veth()
        with loaded("on_tc") as bpf:
            yield bpf


def attach(bpf):
    by_filter = Features({Feature.TCX_LINK: False})
    return attach_tc(bpf.programs["on_tc"].fileno(), "pb0", "ingress", features=by_filter)


def is_attached():
    return any(each["kind"] == "clsact" for each in tc("qdisc", "show", "dev", "pb0"))


def attached_by_a_child(bpf, action):
    """A child process attaches and then does this; whether the program is attached when it has ended, by a signal."""
    child = os.fork()
    if child == 0:
        try:
            attach(bpf)
            action()
            signal.pause()
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return not eventually(lambda: not is_attached())


def to_the_group(number):
    """As a terminal and a service manager do: to this process and what it has started."""
    os.setpgid(0, 0)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.killpg(0, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL])
def test_a_signal_to_the_whole_group(bpf, number):
    assert not attached_by_a_child(bpf, lambda: to_the_group(number))


def test_a_service_that_is_told_to_end(bpf):
    """All of its processes get SIGTERM; the main one goes on for a while, and must find the program attached."""
    with attach(bpf) as link:
        (process,) = children()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(int(process), number)
        ip("link", "show", "lo")
        assert children() == [process]
        assert is_attached()
        assert not link.closed
    assert children() == []


def test_a_crash(bpf):
    assert not attached_by_a_child(bpf, lambda: (faulthandler.disable(), os.abort()))


def test_a_guard_that_somebody_killed(bpf):
    link = attach(bpf)
    (process,) = children()
    os.kill(int(process), signal.SIGKILL)
    assert is_attached()
    link.close()
    assert not is_attached()
    assert children() == []


@contextmanager
def forked():
    """A child process that has all descriptors of this one, as those of multiprocessing have; it lives for a while."""
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_closing_does_not_wait_for_what_was_forked(bpf):
    link = attach(bpf)
    with forked():
        before = time.monotonic()
        link.close()
        assert time.monotonic() - before < 20
        assert not is_attached()


def test_what_was_forked_does_not_detach(bpf):
    with attach(bpf) as link:
        child = os.fork()
        if child == 0:
            link.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert is_attached()
    assert not is_attached()


def opened_by(process):
    """What its descriptors are, of which some come and go while it starts."""
    for number in os.listdir(f"/proc/{process}/fd"):
        with suppress(FileNotFoundError):
            yield os.readlink(f"/proc/{process}/fd/{number}")


def test_it_holds_nothing_of_its_parent_and_no_directory(bpf, tmp_path):
    os.set_inheritable(reader := os.open(tmp_path, os.O_RDONLY), True)
    with attach(bpf):
        (process,) = children()
        expected = {"/dev/null", "pipe"}
        assert eventually(lambda: {name.partition(":")[0] for name in opened_by(process)} == expected), [
            *opened_by(process)
        ]
        assert os.readlink(f"/proc/{process}/cwd") == "/"
        assert os.readlink(f"/proc/{process}/ns/net") == os.readlink("/proc/thread-self/ns/net")
    os.close(reader)


@pytest.mark.parametrize(
    ("executable", "why"),
    [
        ("/bin/false", "is no Python interpreter"),
        ("/no/such/python", "No such file"),
        ("", "cannot be started"),
        (None, "cannot be started"),
    ],
)
def test_none_can_be_started(bpf, monkeypatch, executable, why):
    """As where Python is part of another program, which sys.executable names then, or nothing."""
    monkeypatch.setattr(sys, "executable", executable)
    with refused(AttachError, f"does not undo such an attachment when this process ends.*{why}"):
        attach(bpf)
    assert not is_attached()


def test_one_that_never_answers(bpf, monkeypatch, tmp_path):
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(guard, "_PATIENCE", 0.2)
    with refused(AttachError, "is no Python interpreter"):
        attach(bpf)


def test_an_application_that_is_frozen(bpf, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with refused(AttachError, "no Python interpreter of its own"):
        attach(bpf)


def test_too_many_descriptors(bpf):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = descriptors()
    for more in range(1, 9):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + more, hard))
        with suppress(OSError, AttachError):
            attach(bpf).close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert descriptors() == before
        assert not is_attached()
