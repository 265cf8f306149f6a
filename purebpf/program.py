"""A program in the kernel, and the many ways to attach it.

The work is done in :mod:`purebpf.links`, one module for each kind of hook; the methods here are their public face.  The
table at the end says which section names tell enough for :meth:`Program.attach`, and which method the others need.
"""

from __future__ import annotations

from collections.abc import Callable

from purebpf.errors import AttachError
from purebpf.kernel.fd import Fd
from purebpf.links.link import Link
from purebpf.links.tracepoint import attach_tracepoint
from purebpf.obj.spec import ProgramSpec


class Program:
    """A program in the kernel.  It runs while something holds it attached: a `Link`.

    Every ``attach_KIND`` method returns a Link, and raises AttachError if there is no such place to attach to, with the
    nearest real names, and KernelError if the kernel refuses; nothing stays behind then.
    """

    def __init__(self, fd: Fd, spec: ProgramSpec) -> None:
        self._fd = fd
        self.spec = spec
        self.name = spec.name

    def fileno(self) -> int:
        """The program's file descriptor, which stays the program's own."""
        return self._fd.fileno()

    def close(self) -> None:
        """Let go of the program; it lives on while it is attached.  Closing twice does nothing."""
        self._fd.close()

    # By the section's name

    @property
    def attaches_itself(self) -> bool:
        """Whether the section name says what to attach to, as ``tracepoint/CATEGORY/NAME`` does."""
        return self._row in _BY_SECTION and bool(self.spec.attach_to or self._row in _WITHOUT_TARGET)

    def attach(self) -> Link:
        """Attach the program where its section name says.

        Raises AttachError if it does not say, or if the place does not exist; KernelError if the kernel refuses.
        """
        if self.attaches_itself:
            return _BY_SECTION[self._row](self, self.spec.attach_to)
        section = f"program {self.name!r}: section {self.spec.section!r}"
        if self._row in _BY_SECTION:
            raise AttachError(f"{section} does not say what to attach to; write {self._row.rstrip('+')}/TARGET")
        method = _BY_HAND.get(self._row)
        if method is None:
            raise AttachError(f"{section} is of a kind that this version of purebpf cannot attach")
        raise AttachError(f"{section} does not say what to attach to; use program.{method}")

    @property
    def _row(self) -> str:
        """The name of the section's row in the table of sections."""
        return self.spec.definition.name if self.spec.definition else ""

    # Tracepoints

    def attach_tracepoint(self, category: str, name: str) -> Link:
        """Run the program at the kernel tracepoint ``category``/``name``, such as ``sched``/``sched_process_exec``.

        Needs CAP_PERFMON, and a tracefs or CAP_SYS_ADMIN to find the tracepoint.
        """
        return attach_tracepoint(self._fd, category, name)

    # Kernel functions, user functions, static tracepoints, performance counters

    # Types of the kernel: raw tracepoints, fentry and fexit, security hooks, iterators, replaced functions

    # Networking: interfaces, control groups, sockets, namespaces

    def __repr__(self) -> str:
        return f"<Program {self.name!r} from section {self.spec.section!r}>"


def _tracepoint(program: Program, target: str) -> Link:
    category, slash, name = target.partition("/")
    if not slash:
        raise AttachError(
            f"program {program.name!r}: section {program.spec.section!r} should read tracepoint/CATEGORY/NAME"
        )
    return program.attach_tracepoint(category, name)


_BY_SECTION: dict[str, Callable[[Program, str], Link]] = {
    "tracepoint+": _tracepoint,
    "tp+": _tracepoint,
    "tracepoint.s+": _tracepoint,
    "tp.s+": _tracepoint,
}
"""How to attach a program by what follows the first slash of its section name, by rows of the table of sections."""

_WITHOUT_TARGET: frozenset[str] = frozenset()
"""Those whose section says enough even with nothing after the slash, or with no slash."""

_BY_HAND: dict[str, str] = {}
"""The method that attaches a program of a section that names no place, for the message that says so."""
