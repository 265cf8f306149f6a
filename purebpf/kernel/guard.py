"""What keeps the promise that a killed process leaves nothing attached, where the kernel does not.

Most attachments hang on a file descriptor, which the kernel closes when its process ends in whatever way.  Some do not:
a filter that was added by netlink, a program that BPF_PROG_ATTACH put into a control group, the definition of a probe
in tracefs.  A guard stands by each of those: a child process that waits for the end of a pipe, whose other end its
parent holds (and what the parent has forked, as with any descriptor).  When the parent writes into that, or dies, the
guard undoes this one attachment, and ends.

It is started before the attachment is made, so that there is no moment without it.  It leaves the parent's session, as
Ctrl-C in a terminal is for all processes of that, and takes no notice of SIGTERM, which service managers send to all
processes of a service before they wait for them to end.  It stays in the network namespace of the thread that started
it.  What the promise does not cover: that the guard itself is killed together with its parent, by SIGKILL to all
processes of a service or a container.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from purebpf.errors import AttachError
from purebpf.kernel.fd import Fd

# The package's __init__, which imports all of it, is passed over: a guard is to be small, and quickly there.
_GUARD = """
import importlib, os, signal, sys, types
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
os.write(1, b"+")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)
package = sys.modules["purebpf"] = types.ModuleType("purebpf")
package.__path__ = [sys.argv[1]]
undo = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])
import json
arguments = json.loads(sys.argv[4])
os.read(0, 1)
undo(*arguments)
"""


class Guard:
    """Calls ``undo(*fds, *arguments)``, once: when it is told to, or when this process has ended.

    ``undo`` is a function of a module of the room kernel/, and undoes an attachment if it is still there.  The guard
    has duplicates of the descriptors; the caller keeps them open as long as it.

    Raises AttachError if no child process can be started.
    """

    def __init__(self, undo: Callable[..., None], fds: Sequence[Fd], *arguments: int | str) -> None:
        import json
        import subprocess

        if getattr(sys, "frozen", False):  # an executable that would start this program once more
            raise AttachError(f"{_NO_GUARD}: this program has no Python interpreter of its own")
        shared = [fd.fileno() for fd in fds]
        self._undo = undo
        self._arguments = [*shared, *arguments]
        package = str(Path(__file__).parents[1])
        command = [sys.executable or "", "-I", "-S", "-c", _GUARD, package, undo.__module__, undo.__qualname__]
        with ExitStack() as on_failure, ExitStack() as at_once:
            try:
                waiting, self._pipe = _pipe("pipe that holds back a guard", at_once, on_failure)
                answer, answering = _pipe("answer of a guard", at_once, at_once)
                self._process = subprocess.Popen(
                    [*command, json.dumps(self._arguments)],
                    stdin=waiting.fileno(),
                    stdout=answering.fileno(),
                    stderr=subprocess.STDOUT,
                    pass_fds=shared,
                    start_new_session=True,
                    cwd="/",
                )
            except OSError as error:
                raise AttachError(f"{_NO_GUARD}: {error}") from error
            answering.close()
            ready, _, _ = select.select([answer], [], [], _PATIENCE)
            if not ready or os.read(answer.fileno(), 1) != b"+":
                self.dismiss()
                raise AttachError(f"{_NO_GUARD}: {sys.executable!r} is no Python interpreter that runs a script")
            on_failure.pop_all()

    def dismiss(self) -> None:
        """End the guard: there is nothing to be undone."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def undo(self) -> None:
        """Have the attachment undone now, and wait until it is.  Raises KernelError if the kernel refuses.

        In a process that was forked from this guard's parent it does nothing.
        """
        if self._process.poll() is None:  # it is there, and this process' child
            with suppress(BrokenPipeError):  # killed a moment ago
                os.write(self._pipe.fileno(), b"-")  # as what was forked keeps the pipe from ending
        self._pipe.close()
        if self._process.wait() != 0:  # somebody killed it, or it failed, and then this tells why
            self._undo(*self._arguments)


def _pipe(what: str, reader: ExitStack, writer: ExitStack) -> tuple[Fd, Fd]:
    """A pipe: the end to read from, and the end to write to, and who closes them."""
    ends = os.pipe()
    return reader.enter_context(Fd(ends[0], what)), writer.enter_context(Fd(ends[1], what))


_PATIENCE = 60
"""Seconds that a Python interpreter has to start."""

_NO_GUARD = (
    "this kernel does not undo such an attachment when this process ends, and the child process that would do it"
    " cannot be started"
)
