"""One run of a tool: when it is over, and how to wait without missing the end.

A run ends after its duration, on Ctrl-C or SIGTERM, or when nobody reads its output any more.  ``wait`` sleeps until a
file descriptor has something or the run is over, whichever comes first, so that no tool has to poll.
"""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType, TracebackType
from typing import Any

from purebpf.tools import output

_LONGEST_SLEEP = 3600.0  # seconds; poll(2) takes an int of milliseconds, which ends after 24 days


class Session:
    """``with Session() as session: ... session.start(duration); while session.wait(buffer): ...``

    From ``with`` on, the first Ctrl-C or SIGTERM only says that the run is over, so that events on their way can still
    be printed.  The next one is a KeyboardInterrupt: it is for a run that hangs, be it because its output is stuck.
    """

    def __init__(self) -> None:
        self._deadline: float | None = None
        self._stopped = False
        self._handlers: dict[int, Any] = {}
        self._wakeup = (-1, -1)
        self._wakeup_before = -1

    def __enter__(self) -> Session:
        self._wakeup = os.pipe()
        for end in self._wakeup:
            os.set_blocking(end, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        for end in self._wakeup:
            os.close(end)

    def start(self, duration: float | None = None) -> None:
        """From now on ``duration`` seconds remain; None: no limit."""
        self._deadline = None if duration is None else time.monotonic() + duration

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopped:
            raise KeyboardInterrupt
        self._stopped = True

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self._stopped or (self._deadline is not None and time.monotonic() >= self._deadline)

    def wait(self, *sources: Any) -> bool:
        """Sleep until one of ``sources`` (anything with a ``fileno()``) is readable: True; or the run is over: False.

        Output that was written before is not held back meanwhile.
        """
        output.flush()
        wakeup, reader = self._wakeup[0], output.fileno()
        poll = select.poll()
        for source in sources:
            poll.register(source, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        if reader is not None:
            poll.register(reader, 0)  # reports only that the reading end of a pipe was closed
        while not self.over:
            ready = {number for number, _ in poll.poll(self._milliseconds_left())}
            if wakeup in ready:
                os.read(wakeup, 4096)
            if reader in ready:
                self._stopped = True
            elif ready - {wakeup}:
                return True
        return False

    def _milliseconds_left(self) -> float:
        left = _LONGEST_SLEEP if self._deadline is None else self._deadline - time.monotonic()
        return max(0.0, min(left, _LONGEST_SLEEP)) * 1000
