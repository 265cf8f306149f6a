"""A link: one program's attachment to one hook.

It holds the file descriptors that keep the program attached.  When the last of them is closed, or the
process ends in whatever way, the kernel detaches the program.  Where no descriptor does that, as with a filter that
was added by netlink, the link knows what to do to detach.

Most attachments are links in the kernel's sense too: objects of their own that bpf(2) creates, updates and pins
(BPF_LINK_CREATE, since Linux 5.7, and later for many kinds of hook).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from purebpf.abi.bpf import bpf_link_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import pin
from purebpf.kernel.bpf import link_detach, link_info, link_update
from purebpf.kernel.fd import Fd

if TYPE_CHECKING:
    from purebpf.links.info import LinkInfo


class HasDescriptor(Protocol):
    """A Program, or for struct_ops a Map."""

    def fileno(self) -> int: ...


class Link:
    """A live attachment.  ``close()`` or the end of a ``with`` block detaches the program.

    ``kind`` and ``target`` say what it is attached to: "tracepoint", "syscalls/sys_enter_execve".  A link
    owns ``fds`` and closes them in this order.  One that is forgotten unclosed raises ResourceWarning, and
    detaches.  ``detach`` is called before that, once, where closing descriptors is not enough, unless the link is
    pinned.
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
        self.pinned_at: str | None = None
        self._fds = fds
        self._bpf_link = bpf_link
        self._detach = detach

    @staticmethod
    def from_pin(path: str | os.PathLike[str]) -> Link:
        """Open a link that is pinned at ``path``, whoever pinned it.  That of an iterator is an IteratorLink.

        Closing it leaves the program attached, until ``unpin()`` or somebody else removes the pin.  Raises
        KernelError if there is nothing that can be opened, AttachError if it is a map or a program.
        """
        from purebpf.links.iterator import IteratorLink  # here, as it is a Link itself

        name = os.fspath(path)
        fd = pin.open_pinned(name, "link")
        kind = IteratorLink if _is_iterator(fd) else Link
        link = kind("iter" if kind is IteratorLink else "link", f"pinned at {name}", fd, bpf_link=fd)
        link.pinned_at = name
        return link

    @property
    def closed(self) -> bool:
        return self._detach is None and all(fd.closed for fd in self._fds)

    def close(self) -> None:
        """Detach the program, unless the link is pinned.  Closing twice does nothing."""
        with ExitStack() as stack:
            for fd in reversed(self._fds):
                stack.callback(fd.close)
            detach, self._detach = self._detach, None
            if detach is not None and self.pinned_at is None:
                detach()

    # What only links in the kernel's sense can do

    def fileno(self) -> int:
        """The bpf link's file descriptor, which stays the link's own.  Raises AttachError if there is none."""
        return self._kernels("has no descriptor").fileno()

    @property
    def info(self) -> LinkInfo:
        """What the kernel knows about it, asked anew each time.  Linux 5.8.  Raises AttachError, KernelError."""
        from purebpf.links import info  # its many types take a while to make, and most programs never ask

        return info.read(self._kernels("cannot be asked about"))

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep the program attached when this link is closed and the process ends, by a name in a BPF file system.

        Raises AttachError if that would not keep it attached: for several events or places without one link for all,
        for what this process undoes when it ends (a filter or program without a link, a probe that tracefs defines),
        and for what a socket holds.  Raises KernelError if there is no BPF file system or the name is taken.
        """
        if self.pinned_at is not None:
            raise AttachError(f"{self!r} is pinned at {self.pinned_at!r} already; unpin() it first")
        name = os.fspath(path)
        fd = self._kernels("cannot be pinned, and stays attached only as long as this process keeps it")
        pin.prepare(name)
        pin.make(fd, name, f"pinning the link of {self.kind} {self.target} at {name!r}")
        self.pinned_at = name

    def unpin(self) -> None:
        """Remove the pin; the program stays attached as long as the link is open.  Twice does nothing."""
        if self.pinned_at is not None:
            pin.remove(self.pinned_at)
            self.pinned_at = None

    def update(self, program: HasDescriptor, old: HasDescriptor | None = None) -> None:
        """Put another program in this one's place, at once, so that no event finds none; or another struct_ops map.

        With ``old``, only if that is the one attached now.  Raises KernelError: EPERM if it is not; EINVAL if the new
        one is of another type, or loaded for another attach type or target; EOPNOTSUPP or EINVAL for kinds of links
        that cannot be updated, such as those of perf events and tracing programs.  Linux 5.7.
        """
        fd = self._kernels("cannot be updated")
        action = f"updating the link of {self.kind} {self.target}"
        try:
            link_update(fd, program.fileno(), None if old is None else old.fileno(), action=action)
        except KernelError as error:
            code = error.errno or 0
            raise KernelError(code, action, _NOT_UPDATED.get(code, error.hint)) from None

    def detach(self) -> None:
        """Detach the program now, even where a pin or another process holds the link; that is then attached to nothing.

        Linux 5.9, for cgroups, network namespaces, XDP and what came later; other kinds answer EOPNOTSUPP.
        """
        fd = self._kernels("cannot be detached but by close()")
        action = f"detaching the link of {self.kind} {self.target}"
        try:
            link_detach(fd, action=action)
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            hint = "The kernel detaches this kind of link only when its last descriptor and its pins are gone"
            raise KernelError(errno.EOPNOTSUPP, action, hint) from None

    def _kernels(self, not_so: str) -> Fd:
        if self._bpf_link is None:
            raise AttachError(
                f"{self!r} {not_so}: it is no single bpf link, as this kind of attachment, or this kernel, has none"
            )
        return self._bpf_link

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Link {self.kind} {self.target}{' closed' if self.closed else ''}>"


def _is_iterator(fd: Fd) -> bool:
    try:
        kind: int = link_info(fd).type
    except KernelError:  # Linux 5.7, which tells nothing of links, and has no iterators
        return False
    return kind == bpf_link_type.BPF_LINK_TYPE_ITER


_NOT_UPDATED = {
    errno.EPERM: "Another program than the expected one is attached",
    errno.EINVAL: "This kind of link cannot be updated, or not with a program of this type, attach type or target",
    errno.EOPNOTSUPP: "This kind of link cannot be updated",
    errno.ENOLINK: "The link has been detached, and holds no program",
}
