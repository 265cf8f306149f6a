"""What kprobes and uprobes have in common: a perf event for a place in code, with the program on it.

Since Linux 4.17 perf_event_open(2) takes the place itself.  Before that, or where the kernel was built without, tracefs
has to define the place as an event, under a name that must be unique in the whole system, and its number is then opened
as that of a tracepoint (Documentation/trace/kprobetrace.rst, uprobetracer.rst).  Such a definition stays until it is
removed, even when the process that made it is killed, so each has a guard, a child process that removes it then.  Its
name begins with "purebpf_" and the number of the process that made it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final, Literal, NamedTuple

from purebpf.abi.perf import perf_event_attr, perf_type_id
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import cpu
from purebpf.kernel.bpf import address
from purebpf.kernel.config import built_without
from purebpf.kernel.fd import Fd
from purebpf.kernel.features import Features, running
from purebpf.kernel.guard import Guard
from purebpf.kernel.perf import config_bit, event_type, perf_event_open
from purebpf.kernel.tracefs import Tracefs, remove_definition
from purebpf.links.link import Link
from purebpf.links.perf_event import attach_to
from purebpf.links.refusal import explained
from purebpf.load.features import Feature

_REF_CTR_SHIFT: Final = 32
"""Where ``perf_event_attr.config`` has a uprobe's ref_ctr_offset."""
_LONGEST_NAME: Final = 63
"""MAX_EVENT_NAME_LEN of the kernel, without the NUL."""
_OPTIONS: Final = {
    "kprobe": ("CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"),
    "uprobe": ("CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS"),
}
_numbers = itertools.count()


class Probe(NamedTuple):
    """A place to probe.

    ``source`` says what ``code`` is: a kernel function's name, "" for none, or the path of a file.  ``offset`` counts
    in bytes from there; it is an address if there is no function.  ``at_return`` is for when the function returns that
    begins there.  ``ref_ctr_offset`` is the place in the file of a counter that the kernel is to raise meanwhile.
    """

    source: Literal["kprobe", "uprobe"]
    code: str
    offset: int
    at_return: bool = False
    ref_ctr_offset: int = 0

    @property
    def kind(self) -> str:
        """kprobe, kretprobe, uprobe or uretprobe."""
        return self.source.replace("probe", "retprobe") if self.at_return else self.source


def attach_probe(
    prog_fd: Fd | int,
    probe: Probe,
    target: str,
    *,
    pid: int = -1,
    cookie: int = 0,
    features: Features | None = None,
    why_not: Mapping[int, str],
) -> Link:
    """Run a loaded program whenever the place is reached, by whatever process or, if it is a uprobe, by ``pid``.

    ``target`` names the place in messages; ``why_not`` explains the errors of attaching the program, by errno.
    ``features`` decides between perf_event_open(2) and tracefs, and between a bpf link and the ioctl; by default the
    running kernel is asked.

    Raises AttachError where the kernel has no such probes, KernelError if it refuses; nothing stays behind then.
    """
    features = features or running()
    what = f"{probe.kind} {target}"
    action = f"attaching to {what}"
    has_source = features.has(Feature.KPROBE_PMU if probe.source == "kprobe" else Feature.UPROBE_PMU)
    with ExitStack() as undo:
        if has_source:
            event, guard = undo.enter_context(_open(probe, pid, action)), None
        else:
            number, guard = _define(probe, action)
            undo.callback(guard.undo)
            event = undo.enter_context(_open_tracepoint(number, pid, action))
        with explained(why_not):
            link = attach_to(prog_fd, event, what, action=action, cookie=cookie, features=features)
        undo.pop_all()
    fds = [link, event] if link else [event]
    if guard is None:
        return Link(probe.kind, target, *fds, bpf_link=link)
    return _DefinedLink(probe.kind, target, *fds, bpf_link=link, detach=lambda: _close_and_remove(fds, guard))


def split_offset(text: str) -> tuple[str, int]:
    """``FUNCTION+OFFSET`` in two; the offset is a number as C writes it, 16, 0x10 or 020.  Without one it is 0."""
    matched = re.fullmatch(r"(.*)\+(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", text)
    if matched is None:
        return text, 0
    function, offset = matched.groups()
    return function, int(offset, 8 if re.fullmatch("0[0-7]*", offset) else 0)


def _open(probe: Probe, pid: int, action: str) -> Fd:
    """The event by perf_event_open(2) alone."""
    config = probe.ref_ctr_offset << _REF_CTR_SHIFT
    if probe.at_return:
        config |= 1 << (config_bit(probe.source, "retprobe") or 0)
    code = os.fsencode(probe.code)
    attr = perf_event_attr(type=event_type(probe.source) or 0, config=config)
    attr.config1 = address(code) if code else 0  # kprobe_func or uprobe_path
    attr.config2 = probe.offset  # kprobe_addr or probe_offset
    return perf_event_open(attr, pid, _cpu(pid), action=action)


def _open_tracepoint(number: int, pid: int, action: str) -> Fd:
    attr = perf_event_attr(type=perf_type_id.PERF_TYPE_TRACEPOINT, config=number)
    return perf_event_open(attr, pid, _cpu(pid), action=action)


def _cpu(pid: int) -> int:
    """An event for all processes must name a CPU.  Any one will do: the program runs on all of them."""
    return cpu.online()[0] if pid == -1 else -1


def _define(probe: Probe, action: str) -> tuple[int, Guard]:
    """Have tracefs define the event: its number, and what removes the definition."""
    if probe.ref_ctr_offset:
        raise AttachError(f"{action}: a counter to be raised needs uprobes as perf events, which Linux 4.17 brought")
    file, group = f"{probe.source}_events", f"{probe.kind}s"
    if probe.source == "kprobe":
        place = f"{probe.code}+{probe.offset:#x}" if probe.code else f"{probe.offset:#x}"
    else:
        place = f"{probe.code}:{probe.offset:#x}"
    name = re.sub(r"\W", "_", f"purebpf_{os.getpid()}_{next(_numbers)}_{place.rpartition('/')[2]}", flags=re.ASCII)
    name = name[:_LONGEST_NAME]
    with Tracefs.open(writable=True) as tracefs:
        if file not in tracefs.listdir():
            lacking = built_without(*_OPTIONS[probe.source])
            raise AttachError(f"{action}: this kernel has no {probe.source}s. {lacking}".rstrip())
        guard = Guard(remove_definition, [], file, f"{group}/{name}")
        try:
            tracefs.append(file, f"{'r' if probe.at_return else 'p'}:{group}/{name} {place}")
        except OSError as error:
            guard.dismiss()
            raise KernelError(error.errno or 0, action) from None
        try:
            return tracefs.tracepoint_id(group, name), guard
        except BaseException:
            guard.undo()
            raise


def _close_and_remove(fds: list[Fd], guard: Guard) -> None:
    """A definition that is in use cannot be removed, so the event goes first."""
    for fd in fds:
        fd.close()
    guard.undo()


class _DefinedLink(Link):
    """The link of a probe that tracefs defines.

    The kernel would pin it, but the definition, in use as long as there is the pin, would then stay for good.
    """

    def pin(self, path: str | os.PathLike[str]) -> None:
        raise AttachError(
            f"{self!r} cannot be pinned: tracefs defines its event, and nobody would remove that definition later. Keep"
            " this process running instead; or, on Linux 4.17 and later, mount sysfs at /sys, with which there is no"
            " need for a definition"
        )
