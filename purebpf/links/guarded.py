"""Attachments that hang on no file descriptor, each with a guard that undoes it when this process ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.guard import Guard
from purebpf.links.link import Link


def guarded(
    kind: str,
    target: str,
    attach: Callable[[], None],
    undo: Callable[..., None],
    fds: Sequence[Fd | int],
    *numbers: int,
) -> Link:
    """Call ``attach()``, and return a Link that calls ``undo(*fds, *numbers)`` to detach; so does a Guard.

    Duplicates of the descriptors are used for that, so that the caller may close them.
    """
    with ExitStack() as stack:
        owned = [stack.enter_context(Fd(os.dup(number_of(fd)), f"{kind} of {target}")) for fd in fds]
        guard = Guard(undo, owned, *numbers)
        try:
            attach()
        except BaseException:
            guard.dismiss()
            raise
        stack.pop_all()
    return Link(kind, target, *owned, detach=guard.undo)
