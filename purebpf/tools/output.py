"""Standard output and standard error, as a command-line tool has to treat them.

What cannot be written must not pass unnoticed: a full disk is an error.  Only a reader that went away (``| head -1``)
is none, but the end of the run: that is a BrokenPipeError here, as everywhere in Python.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress

import purebpf

_ACTION = "writing to standard output"


def prepare() -> None:
    """Let any text through, whatever the encoding of the terminal: what it does not have is escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def write(line: str) -> None:
    """Print a line; it may stay in the buffer until ``flush()``.

    Raises BrokenPipeError when nobody will read it, KernelError when it cannot be written for any other reason.
    """
    if sys.stdout is None:  # the shell's >&-
        raise purebpf.KernelError(errno.EBADF, _ACTION)
    try:
        sys.stdout.write(line + "\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise purebpf.KernelError(error.errno or 0, _ACTION) from None


def flush() -> None:
    """Hand over to the reader what was written so far.  Raises as ``write()`` does."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise purebpf.KernelError(error.errno or 0, _ACTION) from None


def fileno() -> int | None:
    """The descriptor behind standard output; None where it is closed, or was replaced by something that is no file."""
    try:
        return None if sys.stdout is None else sys.stdout.fileno()
    except (OSError, ValueError):
        return None


def say(text: str) -> None:
    """A message on standard error.  Where that cannot be written, there is nobody left to tell."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr.fileno())


def discard() -> None:
    """Throw away what is still buffered, and all that comes: writing it would fail, or wait, once more at exit."""
    number = fileno()
    if number is not None:
        _discard(number)


def _discard(number: int) -> None:
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, number)
        os.close(null)
