"""trace_pipe: the kernel's shared log of ``bpf_printk`` lines.

The machine has one trace buffer.  Reading trace_pipe takes lines out of it, everybody's, and a second reader does not
get them again; so it is for first steps and debugging, and a program should mark its lines to find them again.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from types import TracebackType

from purebpf.errors import KernelError
from purebpf.kernel.tracefs import Tracefs

_CHUNK = 1 << 16
_WHY_NOT = {
    errno.EBUSY: "Somebody else reads it; since Linux 6.6 one process at a time can",
    errno.EACCES: "It takes root, or whoever the tracefs mount belongs to",
}


class TracePipe:
    """The file ``trace_pipe`` of tracefs, which need not be mounted.

    ``fileno()`` becomes readable when there are lines.  Raises KernelError if there is no tracefs to be had, or if the
    kernel does not let the file be read: EBUSY while another process does.
    """

    def __init__(self) -> None:
        with Tracefs.open() as tracefs:
            try:
                self._fd = tracefs.open_file("trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                code = error.errno or 0
                raise KernelError(code, "opening trace_pipe", _WHY_NOT.get(code, "")) from None
        self._rest = b""
        self._ready: deque[bytes] = deque()

    def fileno(self) -> int:
        return self._fd.fileno()

    def lines(self) -> Iterator[str]:
        """The lines that are there now, without waiting, in the kernel's text form and without line ends.

        While somebody writes faster than this reads, there is no end to them.  Lines that are not taken from the
        iterator come again from the next call.
        """
        while True:
            while self._ready:
                yield self._ready.popleft().decode("utf-8", "backslashreplace")
            try:
                chunk = os.read(self.fileno(), _CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                return
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._ready.extend(lines)

    def close(self) -> None:
        """Close the file.  Closing twice does nothing."""
        self._fd.close()

    def __enter__(self) -> TracePipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
