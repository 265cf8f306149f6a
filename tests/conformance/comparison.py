"""In what two loadings of the same object differ, and which differences are meant to be."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from dataclasses import dataclass

from purebpf.asm.disassemble import disassemble
from purebpf.asm.instruction import decode

from .recording import Call, Load, Value


@dataclass(frozen=True)
class Difference:
    """``what`` differs, and how."""

    what: str
    how: str


@dataclass(frozen=True)
class Explanation:
    """A difference that is meant to be, for ``reason``: where the text "OBJECT WHAT: HOW" matches ``pattern``.

    ``libbpf``: the version that it is a difference from, if not from all.
    """

    pattern: str
    reason: str
    libbpf: str = ""

    def covers(self, libbpf: str, name: str, difference: Difference) -> bool:
        text = f"{name} {difference.what}: {difference.how}"
        return self.is_about(libbpf) and re.search(self.pattern, text) is not None

    def is_about(self, libbpf: str) -> bool:
        return self.libbpf in ("", libbpf)


# Where versions of libbpf differ, purebpf does as the newest does.
EXPLANATIONS = [
    Explanation(
        r"refused by libbpf: .*legacy map definitions",
        'libbpf 1.0 dropped maps in SEC("maps"); purebpf loads them on purpose',
    ),
    Explanation(
        r" BPF_PROG_LOAD .*: kern_version: | BPF_MAP_UPDATE_ELEM map \S*\.kconfig: value: ",
        "libbpf 1.1 does not know where Debian's kernels before 6.12 tell their version",
        "libbpf 1.1",
    ),
    Explanation(r"missing BPF prog type", "sections that came after libbpf 1.1", "libbpf 1.1"),
    Explanation(
        r"attr '\w+': expected PTR, got enum",
        "64-bit attributes of maps came after libbpf 1.1",
        "libbpf 1.1",
    ),
    Explanation(
        r"expected_attach_type: 0 by libbpf, 48 by purebpf",
        "after libbpf 1.1, USDT programs are loaded for attaching to many places at once",
        "libbpf 1.1",
    ),
    Explanation(
        r"failed to find kernel BTF type ID of 'vmlinux:",
        'after libbpf 1.1, "vmlinux:" before a function\'s name says that it is in no module',
        "libbpf 1.1",
    ),
    Explanation(
        r"func_proto \[\d+\] incompatible with kernel|conf_kfunc\w* BPF_PROG_LOAD call\w*: (insns|errno)",
        "weak kernel functions of another type, and flavours of functions, came after libbpf 1.1",
        "libbpf 1.1",
    ),
    Explanation(
        r"conf_exceptions BPF_PROG_LOAD throws: ", "functions for exceptions came after libbpf 1.1", "libbpf 1.1"
    ),
    Explanation(
        r"conf_struct_ops_new BPF_\w+ \w+: ", "conf_struct_ops_new has what came after libbpf 1.1", "libbpf 1.1"
    ),
]


def differences(libbpf: Load, purebpf: Load) -> list[Difference]:
    """How purebpf's loading differs from libbpf's; a refusal that both share is no difference."""
    for loader, load in (("libbpf", libbpf), ("purebpf", purebpf)):
        if load.outcome == "crashed":
            return [Difference(f"{loader} crashed", load.selected)]
    if libbpf.outcome == purebpf.outcome == "refused":
        return []
    if libbpf.outcome == "refused":
        return [Difference("refused by libbpf", one_line(libbpf.complaint))]
    if purebpf.outcome == "refused":
        return [Difference("refused by purebpf", one_line(purebpf.complaint))]
    theirs, ours = _numbered(libbpf.calls), _numbered(purebpf.calls)
    found = [Difference(title, "only libbpf makes this call") for title in theirs if title not in ours]
    found += [Difference(title, "only purebpf makes this call") for title in ours if title not in theirs]
    for title in theirs:
        if title in ours:
            found += [Difference(title, how) for how in call_differences(theirs[title], ours[title])]
    if not found and list(theirs) != list(ours):
        first = next(pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1])
        found.append(Difference("order of calls", f"{first[0]} by libbpf, {first[1]} by purebpf"))
    return found


def call_differences(libbpf: Call, purebpf: Call) -> Iterator[str]:
    """The fields in which two calls differ."""
    for name in libbpf.fields | purebpf.fields:
        theirs, ours = libbpf.fields.get(name, 0), purebpf.fields.get(name, 0)
        if theirs == ours:
            continue
        if name == "insns" and isinstance(theirs, bytes) and isinstance(ours, bytes):
            yield f"insns: {_instruction_difference(theirs, ours)}"
        elif isinstance(theirs, bytes) and isinstance(ours, bytes):
            pairs = zip(theirs, ours, strict=False)
            at = next((at for at, pair in enumerate(pairs) if pair[0] != pair[1]), min(len(theirs), len(ours)))
            yield f"{name}: at byte {at} {_show(theirs[at:])} by libbpf, {_show(ours[at:])} by purebpf"
        else:
            yield f"{name}: {_show(theirs)} by libbpf, {_show(ours)} by purebpf"


def one_line(complaint: str) -> str:
    """What a loader complained of first; libbpf's words about what it does next say nothing."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return lines[0] if lines else "for no reason given"


def _numbered(calls: list[Call]) -> dict[str, Call]:
    """The calls by title; a second one with the same title gets a number."""
    count: collections.Counter[str] = collections.Counter()
    numbered = {}
    for call in calls:
        count[call.title] += 1
        numbered[call.title + (f" (time {count[call.title]})" if count[call.title] > 1 else "")] = call
    return numbered


def _instruction_difference(theirs: bytes, ours: bytes) -> str:
    if len(theirs) != len(ours):
        return f"{len(theirs) // 8} slots by libbpf, {len(ours) // 8} by purebpf"
    slots = [
        slot for slot in range(len(theirs) // 8) if theirs[slot * 8 : slot * 8 + 8] != ours[slot * 8 : slot * 8 + 8]
    ]
    first = slots[0]
    return f"{len(slots)} slots, first {_listed(theirs, first)} by libbpf, {_listed(ours, first)} by purebpf"


def _listed(code: bytes, slot: int) -> str:
    """The instruction that covers a slot, as text."""
    lines = {int(line.partition(":")[0]): line.strip() for line in disassemble(decode(code, "little"))}
    return repr(lines[max(number for number in lines if number <= slot)])


def _show(value: Value) -> str:
    if isinstance(value, bytes):
        return value[:16].hex(" ") + (" ..." if len(value) > 16 else "") or "nothing"
    return repr(value)
