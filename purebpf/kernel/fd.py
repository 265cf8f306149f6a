"""One owner for each file descriptor.

Maps, programs, links, perf events and BTF are all file descriptors, and the kernel frees the thing behind
one when its last descriptor closes.  So who owns a descriptor decides how long a program stays attached.
In purebpf every descriptor has exactly one owner, an :class:`Fd`; everybody else borrows it through
``fileno()``.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from types import TracebackType

_FIRST_FREE = 3  # 0, 1 and 2 are stdin, stdout and stderr


class Fd:
    """Owns one file descriptor, from the system call that made it until ``close()``.

    ``number`` is a fresh descriptor, which the kernel or the caller opened close-on-exec.  ``what`` says in
    a few words what it stands for (``"map events"``), for messages.

    A program that was started without stdin, stdout or stderr gets 0, 1 or 2 from the kernel.  Such a
    descriptor is moved out of the way: several bpf(2) fields read 0 as "none", and a print must not land in
    a map.
    """

    def __init__(self, number: int, what: str) -> None:
        self.what = what
        self._number = -1
        if number < _FIRST_FREE:
            try:
                self._number = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
            finally:
                os.close(number)
        else:
            self._number = number

    def fileno(self) -> int:
        """The descriptor's number.  Raises ValueError after ``close()``, as files do."""
        if self._number < 0:
            raise ValueError(f"{self.what} is closed")
        return self._number

    @property
    def closed(self) -> bool:
        return self._number < 0

    def release(self) -> int:
        """The descriptor's number, which is the caller's to close from now on."""
        number = self.fileno()
        self._number = -1
        return number

    def close(self) -> None:
        """Close the descriptor.  Closing twice does nothing."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_number", -1) >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<Fd {'closed' if self.closed else self._number}: {self.what}>"


def number_of(fd: Fd | int) -> int:
    """The number of a descriptor that comes as its owner or as a plain number."""
    return fd if isinstance(fd, int) else fd.fileno()
