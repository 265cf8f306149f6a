"""Every exception that purebpf raises, in one family.

``except purebpf.PureBpfError`` catches all of them.  A failed system call is also an ``OSError`` and keeps its
``errno``, so code that already handles ``OSError`` needs nothing new.
"""

from __future__ import annotations

import errno as _errno
import os


class PureBpfError(Exception):
    """The root of the family; never raised itself."""


class ObjectFormatError(PureBpfError, ValueError):
    """The file is not a well-formed BPF object.

    ``where`` names the place: a section, a record in it, or a byte offset in the file.
    """

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class PlanError(PureBpfError):
    """A well-formed object that cannot be loaded as it stands, or not on the kernel that was asked about.

    Examples: a program whose section name says no program type, a CO-RE relocation that the kernel cannot meet.
    """


class KernelError(PureBpfError, OSError):
    """The kernel refused a system call.  ``errno`` is its answer; ``action`` is what was being done."""

    def __init__(self, errno: int, action: str, hint: str = "") -> None:
        name = _errno.errorcode.get(errno, str(errno))
        self.action = action
        self.hint = hint
        super().__init__(errno, f"{action}: {os.strerror(errno)} ({name})" + (f". {hint}" if hint else ""))

    def __str__(self) -> str:
        return str(self.strerror)


class VerifierError(KernelError):
    """The kernel's verifier rejected a program.  ``log`` is the whole verifier log; the message shows its end."""

    def __init__(self, errno: int, action: str, log: str, hint: str = "") -> None:
        self.log = log
        super().__init__(errno, action, hint)

    _SHOWN_LINES = 12

    def __str__(self) -> str:
        lines = self.log.rstrip().splitlines()
        if not lines:
            return f"{super().__str__()}\nThe verifier left no log."
        shown = lines[-self._SHOWN_LINES :]
        skipped = len(lines) - len(shown)
        head = f"The end of the verifier's log ({skipped} lines before it):" if skipped else "The verifier's log:"
        return "\n  ".join([f"{super().__str__()}\n{head}", *shown])


class AttachError(PureBpfError):
    """A program could not be attached; the message says to what, and which real names are near."""


class RingError(PureBpfError):
    """A ring's memory holds no well-formed records: an event was too large, or somebody else reads the ring too."""
