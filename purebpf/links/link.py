"""A link: one program's attachment to one hook.

It holds the file descriptors that keep the program attached.  When the last of them is closed, or the
process ends in whatever way, the kernel detaches the program.
"""

from __future__ import annotations

from types import TracebackType

from purebpf.kernel.fd import Fd


class Link:
    """A live attachment.  ``close()`` or the end of a ``with`` block detaches the program.

    ``kind`` and ``target`` say what it is attached to: "tracepoint", "syscalls/sys_enter_execve".  A link
    owns ``fds`` and closes them in this order.  One that is forgotten unclosed raises ResourceWarning, and
    detaches.
    """

    def __init__(self, kind: str, target: str, *fds: Fd) -> None:
        self.kind = kind
        self.target = target
        self._fds = fds

    @property
    def closed(self) -> bool:
        return all(fd.closed for fd in self._fds)

    def close(self) -> None:
        """Detach the program.  Closing twice does nothing."""
        for fd in self._fds:
            fd.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Link {self.kind} {self.target}{' closed' if self.closed else ''}>"
