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

    ``since``: the version of libbpf with which purebpf agrees, if it is a difference from older ones only.
    """

    pattern: str
    reason: str
    since: str = ""

    def covers(self, libbpf: str, name: str, difference: Difference) -> bool:
        text = f"{name} {difference.what}: {difference.how}"
        return self.is_about(libbpf) and re.search(self.pattern, text) is not None

    def is_about(self, libbpf: str) -> bool:
        return not self.since or version(libbpf) < version(self.since)

    def __str__(self) -> str:
        return f"{self.reason} [libbpf before {self.since}]" if self.since else f"{self.reason} [any libbpf]"


def version(name: str) -> tuple[int, ...]:
    """``"libbpf 1.1"`` -> (1, 1)"""
    return tuple(int(number) for number in re.findall(r"\d+", name))


# Where versions of libbpf differ, purebpf does as the newest does.
EXPLANATIONS = [
    Explanation(
        r"refused by libbpf: .*legacy map definitions",
        'libbpf 1.0 dropped maps in SEC("maps"); purebpf loads them on purpose',
    ),
    Explanation(
        r" BPF_PROG_LOAD .*: kern_version: | BPF_MAP_UPDATE_ELEM map \S*\.kconfig: value: ",
        "The patch level of Debian's kernels before 6.12, which stands elsewhere than in their release, was unknown",
        "1.2",
    ),
    Explanation(
        r" BPF_PROG_LOAD \w+: insns: .*'\d+:\\tcall 0x0' by libbpf, '\d+:\\tcall 0x7754[0-9a-f]{4}' by purebpf",
        "The call of a kernel function that is missing was one of function 0, not of a number that tells which it is",
        "1.2",
    ),
    Explanation(
        r"^hook_struct_ops_s refused by libbpf: .*on_struct_ops_s is not struct_ops BPF program",
        "The section struct_ops.s was not known",
        "1.2",
    ),
    Explanation(
        r"^conf_kfunc BPF_PROG_LOAD call_flavour: insns: ",
        "Flavours of kernel functions were not known",
        "1.3",
    ),
    Explanation(
        r"^(extern_weak_kfuncs|conf_kfunc_wrong_type) refused by libbpf: .*func_proto \[\d+\] incompatible with kernel",
        "A weak kernel function of another type than declared was an error, and did not count as missing",
        "1.3",
    ),
    Explanation(
        r"expected_attach_type: 0 by libbpf, 48 by purebpf",
        "USDT programs were not loaded for links to many places at once",
        "1.3",
    ),
    Explanation(
        r"^conf_exceptions BPF_PROG_LOAD throws: |^target_exceptions BPF_PROG_LOAD with_callback: ",
        "There were no functions for exceptions: the tag exception_callback was ignored, and the function left out",
        "1.3",
    ),
    Explanation(
        r"^(conf_arg_tags|old_kernels_context) (BPF_BTF_LOAD : btf(_size)?|BPF_PROG_LOAD \w+: func_info): ",
        "For kernels that do not know the tag arg:ctx, the types of such arguments were not replaced",
        "1.4",
    ),
    Explanation(
        r"^(conf_struct_ops_new|mapinit_struct_ops_link|link_struct_ops) BPF_\w+ \w+: ",
        "Maps in .struct_ops.link, those that are created on demand only, flavours of their type, and members that the "
        "kernel does not have, were not known",
        "1.4",
    ),
    Explanation(r"attr '\w+': expected PTR, got enum", "Maps had no attributes of 64 bits", "1.4"),
    Explanation(
        r"^conf_arena_variables refused by libbpf: .*'\.addr_space\.1'|^conf_arenas refused by purebpf: ",
        "Arenas were not known; neither that they hold variables, nor that an object can have only one",
        "1.4",
    ),
    Explanation(
        r"failed to find kernel BTF type ID of 'vmlinux:",
        '"vmlinux:" before a function\'s name, which says that it is in no module, was not known',
        "1.5",
    ),
    Explanation(
        r"^obj_text_program refused by libbpf: .*missing BPF prog type",
        "A function alone in .text counted as a program, and as one of no known type",
        "1.5",
    ),
    Explanation(
        r" refused by libbpf: .*missing BPF prog type, check .* name '(f\w+\.multi|(raw_)?tp|(raw_)?tracepoint)",
        "Tracing of many functions, and tracepoints by programs that may sleep, were not known",
        "1.8",
    ),
    Explanation(
        r" refused by libbpf: .*missing BPF prog type",
        "Some sections were not known; fsession is the newest",
        "1.7",
    ),
]


def differences(libbpf: Load, purebpf: Load) -> list[Difference]:
    """How purebpf's loading differs from libbpf's; a refusal that both share is no difference."""
    for loader, load in (("libbpf", libbpf), ("purebpf", purebpf)):
        if load.outcome == "crashed":
            return [Difference(f"{loader} crashed", load.complaint or load.selected)]
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
    """The fields in which two calls differ; what the kernel answers counts if it was told the same."""
    pairs = {name: (libbpf.fields.get(name, 0), purebpf.fields.get(name, 0)) for name in libbpf.fields | purebpf.fields}
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    for name, (theirs, ours) in differing.items():
        if name == "errno" and len(differing) > 1:
            continue
        if name == "insns" and isinstance(theirs, bytes) and isinstance(ours, bytes):
            yield f"insns: {_instruction_difference(theirs, ours)}"
        elif isinstance(theirs, bytes) and isinstance(ours, bytes):
            both = enumerate(zip(theirs, ours, strict=False))
            at = next((at for at, pair in both if pair[0] != pair[1]), min(len(theirs), len(ours)))
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
