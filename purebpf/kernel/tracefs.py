"""tracefs: the numbers of tracepoints, events of one's own, and trace_pipe.

perf_event_open(2) wants a tracepoint's number, and only tracefs tells it (events/CATEGORY/NAME/id, see
Documentation/trace/events.rst).  Small systems and containers often have no tracefs mounted.  purebpf does
not mount one for all to see: fsopen(2), fsconfig(2) and fsmount(2) make a mount that is in no mount table,
known by one file descriptor only, and gone when that is closed.  Files are then opened relative to the
descriptor.

Where to look, in order:

1. a tracefs that is mounted, wherever;
2. the private mount (Linux 5.2, CAP_SYS_ADMIN);
3. the directory "tracing" of a mounted debugfs.  Last, because looking into it makes the kernel mount a
   tracefs there.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from purebpf.errors import AttachError, KernelError
from purebpf.kernel import diagnose
from purebpf.kernel.fd import Fd
from purebpf.kernel.syscall import syscall

# include/uapi/linux/mount.h
FSOPEN_CLOEXEC = 1
FSCONFIG_CMD_CREATE = 6
FSMOUNT_CLOEXEC = 1

_PATIENCE = 10
"""Seconds that the kernel has to let go of a perf event."""

_HOW_TO_MOUNT = (
    "No tracefs is mounted here that this process may read. Mount it with"
    " mount -t tracefs tracefs /sys/kernel/tracing; a docker or podman container gets the host's with"
    " -v /sys/kernel/tracing:/sys/kernel/tracing:ro"
)


class Tracefs:
    """The tracefs of this kernel.  Paths are relative to its root: ``"events/sched"``."""

    def __init__(self, root: Fd) -> None:
        self._root = root

    @classmethod
    def open(cls, *, writable: bool = False) -> Tracefs:
        """Find a tracefs, or mount one privately; if it is to be written to, one that is not mounted read-only.

        Raises :class:`KernelError` when neither is possible, and says what to do.
        """
        mounts = list(_mounts(_mountinfo()))
        for path in (point for point, kind in mounts if kind == "tracefs"):
            if writable and os.statvfs(path).f_flag & os.ST_RDONLY:
                continue
            if found := cls._at(path):
                return found
        try:
            return cls(_private_mount())
        except OSError as error:
            for path in (f"{point}/tracing" for point, kind in mounts if kind == "debugfs"):
                if found := cls._at(path):
                    return found
            raise _no_tracefs(error.errno or 0) from None

    @classmethod
    def _at(cls, path: str) -> Tracefs | None:
        """The tracefs at ``path``; None if it may not be read, or something else is mounted over it."""
        try:
            root = Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), f"tracefs {path}")
        except OSError:
            return None
        try:
            os.close(os.open("events/header_page", os.O_RDONLY | os.O_CLOEXEC, dir_fd=root.fileno()))
        except OSError:
            root.close()
            return None
        return cls(root)

    def open_file(self, path: str, flags: int = os.O_RDONLY) -> Fd:
        """Open a file to keep, as ``trace_pipe`` needs: it outlives this object.  Raises OSError."""
        return Fd(os.open(path, flags | os.O_CLOEXEC, dir_fd=self._root.fileno()), f"tracefs file {path}")

    def read(self, path: str) -> str:
        """The whole text of a file.  Raises OSError."""
        with self.open_file(path) as fd, open(fd.fileno(), closefd=False) as file:
            return file.read()

    def append(self, path: str, line: str) -> None:
        """Write a line to a file such as ``kprobe_events``, which takes it as a command.  Raises OSError."""
        with self.open_file(path, os.O_WRONLY | os.O_APPEND) as fd:
            os.write(fd.fileno(), line.encode("utf-8", "surrogateescape"))

    def listdir(self, path: str = ".") -> list[str]:
        """The names in a directory, sorted.  Raises OSError."""
        with self.open_file(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            return sorted(entry.name for entry in os.scandir(fd.fileno()))

    def close(self) -> None:
        """Let go of tracefs; a private mount ends here.  Closing twice does nothing."""
        self._root.close()

    def __enter__(self) -> Tracefs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tracepoint_id(self, category: str, name: str) -> int:
        """The number of a tracepoint, for ``perf_event_attr.config``.

        Raises :class:`AttachError` if there is none of that name, with the names that are near.
        """
        wanted = f"{category}/{name}"
        if not (_is_name(category) and _is_name(name)):
            raise AttachError(
                f"{wanted!r} cannot be a tracepoint: CATEGORY/NAME is two names of letters, digits, _ and -"
            )
        try:
            return int(self.read(f"events/{wanted}/id"))
        except FileNotFoundError:
            near = self._near(category, name)
        except OSError as error:
            code = error.errno or 0
            why = diagnose.hint(code, "fsopen", {"CAP_SYS_ADMIN"})
            raise KernelError(code, f"reading the number of tracepoint {wanted}", why) from None
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise AttachError(f"this kernel has no tracepoint {wanted}{meant}")

    def _near(self, category: str, name: str) -> list[str]:
        """Tracepoints that somebody may have meant, the likeliest first.

        They have the same name in another category, or a similar name in this one, or, if there is no such
        category, in those with a similar name.
        """
        categories: dict[str, list[str]] = {}
        for line in self.read("available_events").splitlines():
            known_category, _, known_name = line.partition(":")
            categories.setdefault(known_category, []).append(known_name)
        here = [category] if category in categories else difflib.get_close_matches(category, categories)
        elsewhere = [known for known in here + sorted(categories) if name in categories[known]]
        near = [f"{known}/{name}" for known in dict.fromkeys(elsewhere)]
        near += [f"{known}/{close}" for known in here for close in difflib.get_close_matches(name, categories[known])]
        return list(dict.fromkeys(near))[:3]


def tracepoint_id(category: str, name: str) -> int:
    """:meth:`Tracefs.tracepoint_id` of the running kernel, with a tracefs opened just for that."""
    with Tracefs.open() as tracefs:
        return tracefs.tracepoint_id(category, name)


def remove_definition(file: str, event: str) -> None:
    """Remove an event, "uprobes/NAME", that ``file`` defines, kprobe_events or uprobe_events, if it is still there.

    One that is in use cannot be removed, and the kernel may let go of a perf event a moment after it has been closed.
    So this tries for some seconds.  Raises KernelError: EBUSY if something uses the event even then.
    """
    end = time.monotonic() + _PATIENCE
    with Tracefs.open(writable=True) as tracefs:
        while True:
            try:
                return tracefs.append(file, f"-:{event}")
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise KernelError(error.errno or 0, f"removing event {event} from {file} of tracefs") from None
            time.sleep(0.01)


def _is_name(text: str) -> bool:
    """Whether the text can be a directory under events/: above all, that it is no path to somewhere else."""
    return re.fullmatch(r"\w[\w.-]*", text, re.ASCII) is not None


def _mountinfo() -> str:
    """The mount table; empty where /proc is not mounted."""
    try:
        return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _mounts(mountinfo: str) -> Iterator[tuple[str, str]]:
    """Mount point and type of each mount of a whole file system.  The format is in proc_pid_mountinfo(5)."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        if root == "/":
            unescaped = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
            yield unescaped, after.split()[0]


def _private_mount() -> Fd:
    """A mount of tracefs that is attached nowhere.  Raises OSError."""
    with Fd(syscall("fsopen", b"tracefs", FSOPEN_CLOEXEC), "tracefs context") as context:
        syscall("fsconfig", context.fileno(), FSCONFIG_CMD_CREATE, None, None, 0)
        return Fd(syscall("fsmount", context.fileno(), FSMOUNT_CLOEXEC, 0), "private tracefs mount")


def _no_tracefs(code: int) -> KernelError:
    if code == errno.ENODEV:
        return KernelError(code, "opening tracefs", "This kernel was built without tracefs (CONFIG_TRACING)")
    why = diagnose.hint(code, "fsopen", {"CAP_SYS_ADMIN"})
    return KernelError(code, "mounting tracefs privately", f"{_HOW_TO_MOUNT}. {why}" if why else _HOW_TO_MOUNT)
