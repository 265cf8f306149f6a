"""`purebpf run` as a process: how it ends, and files that it refuses.  None of that is up to the kernel."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from running import ENVIRONMENT, MIXED, PATIENCE, Run, purebpf, refused, strike

pytestmark = [pytest.mark.needs_root, pytest.mark.any_kernel]

QUIET = ["--set", "target_uid=54321"]  # events of nobody


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tool", ["execsnoop", "killsnoop"])
def test_a_signal_ends_an_idle_run(tool, number):
    with Run(tool, *(QUIET if tool == "execsnoop" else ())) as run:
        begin = time.monotonic()
        assert run.end(number) == 0
        assert time.monotonic() - begin < 5  # it is a fraction of a second where nothing else runs
        assert len(run.out.rest()) >= 1
        assert len(run.err.rest()) == 1


def test_a_signal_before_all_is_attached_ends_it_too():
    """From the start of the command on.  Before, while Python itself starts, nobody can say what happens."""
    code = "import os, signal, sys; from purebpf.cli.main import main; import purebpf.cli.run as run\n"
    code += "parse = run.open_target\n"
    code += "def late(*a): os.kill(os.getpid(), signal.SIGTERM); return parse(*a)\n"
    code += "run.open_target = late; sys.exit(main(['run', 'killsnoop']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_the_duration_ends_it():
    begin = time.monotonic()
    with Run("killsnoop", "--duration", "0.7") as run:
        assert run.wait() == 0
        assert time.monotonic() - begin >= 0.7


def test_the_count_ends_it():
    with Run(MIXED, "--count", "3", "--json") as run:
        for _ in range(5):
            strike()
        assert run.wait() == 0
        assert len(run.rows()) == 3


def test_output_is_not_held_back():
    """Each event arrives through the pipe before the next one is made."""
    with Run(MIXED) as run:
        for number in range(1, 6):
            strike()
            run.out.wait_for(
                lambda lines, wanted=number: sum(b"sightings:" in line for line in lines) == wanted, "line"
            )
        assert run.end() == 0


@pytest.mark.parametrize("tool", ["execsnoop", "hello"])
def test_a_reader_that_goes_away_ends_it(tool):
    """Quietly, and although no event arrives that it would have to print."""
    with Run(tool, *(QUIET if tool == "execsnoop" else ()), read_output=False) as run:
        run.process.stdout.close()
        assert run.process.wait(PATIENCE) == 0
        assert len(run.err.rest()) == 1


def test_head_ends_it():
    command = f"{sys.executable} -m purebpf run {MIXED} --json | head -1"
    with Run(command=["bash", "-c", f"{command}; exit $((PIPESTATUS[0] + 10 * PIPESTATUS[1]))"]) as run:
        strike()
        assert run.wait() == 0
        assert len(run.rows()) == 1
        assert len(run.err.rest()) == 3  # the two programs that could not be attached, and the one that was


def test_messages_and_lines_may_go_into_the_same_closed_pipe():
    command = f"{sys.executable} -m purebpf run {MIXED} 2>&1 | head -1"
    script = f"{command}; exit $((PIPESTATUS[0] + 10 * PIPESTATUS[1]))"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def unread(pipe):
    (size,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return size


def test_signals_end_it_even_when_its_output_is_stuck():
    """The first asks it to end when it has printed everything, which never happens; so the next one interrupts."""
    with Run(MIXED, read_output=False) as run:
        fcntl.fcntl(run.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        end = time.monotonic() + PATIENCE
        size = -1
        while size <= 0 or size != unread(run.process.stdout):  # it grows no more, although there are events
            size = unread(run.process.stdout)
            for _ in range(20_000):
                strike()
            assert time.monotonic() < end
        run.process.send_signal(signal.SIGINT)
        status = None
        while status is None:
            try:
                status = run.process.wait(2)
            except subprocess.TimeoutExpired:
                run.process.send_signal(signal.SIGINT)
            assert time.monotonic() < end
        assert status == 130
        assert b"Traceback" not in b"".join(run.err.rest())


def test_an_impatient_user():
    """A second Ctrl-C while the first one is being obeyed: as quiet."""
    with Run("execsnoop", *QUIET) as run:
        run.process.send_signal(signal.SIGINT)
        assert run.end(signal.SIGINT) in (0, 130)
        assert len(run.err.rest()) == 1


def test_a_full_disk_ends_it():
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            purebpf("run", MIXED, "--json"), stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        with process:
            for line in process.stderr:
                if " attached; " in line:
                    break
            strike()
            assert process.stderr.read() == "purebpf: writing to standard output: No space left on device (ENOSPC)\n"
        assert process.returncode == 1


# Files that are no objects, or not there.


def test_files_that_are_no_objects(tmp_path):
    whole = MIXED.read_bytes()
    for number, content in enumerate((b"", b"#!/bin/sh\n", whole[:100], whole[: len(whole) // 2], whole[:-1])):
        path = tmp_path / f"{number}.bpf.o"
        path.write_bytes(content)
        assert str(path) in refused(purebpf("run", path))
    assert "not for BPF" in refused(purebpf("run", sys.executable))


def test_the_object_of_a_tool_is_missing(tmp_path):
    package = Path(__file__).parent.parent.parent / "purebpf"
    shutil.copytree(package, tmp_path / "purebpf", ignore=shutil.ignore_patterns("__pycache__", "prebuilt"))
    message = refused(purebpf("run", "hello"), cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert f"{tmp_path}/prebuilt/hello.bpf.o" in message
    assert "make prebuilt" in message


def test_no_such_file():
    assert refused(purebpf("run", "gone.bpf.o")).startswith("reading object file 'gone.bpf.o': No such file")
