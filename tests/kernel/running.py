"""`purebpf run ...` as a process of its own, for tests: started, watched, and ended within a bounded time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from purebpf import KernelError, TracePipe

PATIENCE = 30
"""Seconds after which something that has not happened never will.  It is only waited for as long as it takes."""


OUTER_PIDS = os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC
"""Whether process ids are here what they are in the kernel: in no container.  The number is PROC_PID_INIT_INO."""


OBJECTS = Path(__file__).parent.parent / "objects"
MIXED = OBJECTS / "cli_mixed.bpf.o"
MAGIC = 123456789
"""What getpgid(2) is asked for, for that object to notice it."""


def strike(magic=MAGIC):
    """Hit the test objects' tracepoint."""
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(magic)


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""With it, output that is held back would not be noticed."""


def purebpf(*arguments):
    return [sys.executable, "-m", "purebpf", *map(str, arguments)]


def wait_for_trace_pipe():
    """Wait until nobody else reads trace_pipe: the machine has one, and another test run may need it."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return TracePipe().close()
        except KernelError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
        time.sleep(0.1)


class Lines:
    """What a stream delivers, line by line, as bytes; read by a thread so that nobody has to wait for anybody."""

    def __init__(self, stream):
        self.lines = []
        self.ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        with stream:
            for line in stream:
                with self._news:
                    self.lines.append(line.rstrip(b"\n"))
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def wait_for(self, found, what):
        """Wait until ``found(lines)`` returns something true, and return that."""
        end = time.monotonic() + PATIENCE
        with self._news:
            while not (result := found(self.lines)):
                left = end - time.monotonic()
                if left <= 0 or self.ended:
                    raise AssertionError(f"no {what}; only:\n" + "\n".join(map(repr, self.lines[-50:])))
                self._news.wait(left)
            return result

    def rest(self):
        """All lines, when the stream has ended."""
        self._thread.join(PATIENCE)
        assert self.ended
        return self.lines


class Run:
    """A running `purebpf run`: attached when the constructor returns.

    ``read_output=False`` leaves standard output unread, in ``process.stdout``.
    """

    def __init__(self, *arguments, command=None, read_output=True, wait=True, **options):
        if {"hello", "hello-kprobe"} & set(map(str, arguments)):
            wait_for_trace_pipe()
        options.setdefault("env", ENVIRONMENT)
        self.process = subprocess.Popen(
            command or purebpf("run", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self.err = Lines(self.process.stderr)
        self.out = Lines(self.process.stdout) if read_output else None
        if wait:
            try:
                self.err.wait_for(lambda lines: any(b" attached; " in line for line in lines), "program attached")
            except AssertionError:
                self.kill()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self.out is None:
            self.process.stdout.close()
        else:
            self.out.rest()
        self.err.rest()

    def end(self, number=signal.SIGINT):
        """Ask it to end, and wait until it has; returns its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        status = self.process.wait(PATIENCE)
        if self.out is not None:
            self.out.rest()
        self.err.rest()
        return status

    def rows(self):
        """What it printed so far, as JSON."""
        return [json.loads(line) for line in list(self.out.lines)]

    def wait_for_row(self, found, what="row"):
        """Wait for the first row that ``found`` likes."""
        return self.wait_for_rows(lambda row: found(row), 1, what)[0]

    def wait_for_rows(self, found, number, what="rows"):
        """Wait until there are so many rows that ``found`` likes, and return all of those."""
        checked, wanted = 0, []

        def look(lines):
            nonlocal checked
            for line in lines[checked:]:
                row = json.loads(line)
                if found(row):
                    wanted.append(row)
            checked = len(lines)
            return len(wanted) >= number

        self.out.wait_for(look, f"{what} ({len(wanted)} of {number})")
        return wanted

    def lost(self):
        """How many lost events it has reported."""
        text = b"\n".join(self.err.rest()).decode()
        return sum(int(number) for number in re.findall(r"(\d+) events? lost", text))


def mount_table(process="self"):
    with open(f"/proc/{process}/mountinfo") as file:
        return file.read()


def refused(command, **options):
    """Run a command that fails; returns its one message, without "purebpf: "."""
    before = mount_table()
    options.setdefault("env", ENVIRONMENT)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)
    assert mount_table() == before
    assert done.stdout == ""
    assert done.stderr.startswith("purebpf: "), done.stderr
    assert done.stderr.count("purebpf: ") == 1
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    return done.stderr.removeprefix("purebpf: ")
