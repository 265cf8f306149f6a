"""A link: one program's attachment to one hook.

It holds the file descriptors that keep the program attached.  When the last of them is closed, or the
process ends in whatever way, the kernel detaches the program.  Where no descriptor does that, as with a filter that
was added by netlink, the link knows what to do to detach.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from purebpf.kernel.fd import Fd


class Link:
    """A live attachment.  ``close()`` or the end of a ``with`` block detaches the program.

    ``kind`` and ``target`` say what it is attached to: "tracepoint", "syscalls/sys_enter_execve".  A link
    owns ``fds`` and closes them in this order.  One that is forgotten unclosed raises ResourceWarning, and
    detaches.  ``detach`` is called before that, once, where closing descriptors is not enough.
    ``bpf_link`` is the one of ``fds`` that is a link in the kernel's sense, if there is one.
    """

    def __init__(
        self,
        kind: str,
        target: str,
        *fds: Fd,
        bpf_link: Fd | None = None,
        detach: Callable[[], None] | None = None,
    ) -> None:
        self.kind = kind
        self.target = target
        self._fds = fds
        self._bpf_link = bpf_link
        self._detach = detach

    @property
    def closed(self) -> bool:
        return self._detach is None and all(fd.closed for fd in self._fds)

    def close(self) -> None:
        """Detach the program.  Closing twice does nothing."""
        with ExitStack() as stack:
            for fd in reversed(self._fds):
                stack.callback(fd.close)
            if self._detach is not None:
                detach, self._detach = self._detach, None
                detach()

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Link {self.kind} {self.target}{' closed' if self.closed else ''}>"
