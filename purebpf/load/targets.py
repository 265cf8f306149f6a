"""What a program is bound to when it is loaded: a function or a tracepoint of the kernel, or a function of a program.

``fentry/do_exit`` and its like name their target in the section.  The kernel wants it as the id of a type in its BTF:
the verifier then knows the types of the arguments.  Some targets go there by another name: the tracepoint
``sched_switch`` is a typedef ``btf_trace_sched_switch``, the hook ``file_open`` of the security modules a function
``bpf_lsm_file_open``, and the iterator ``task`` a function ``bpf_iter_task``.  The rules are libbpf's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from purebpf.abi.bpf import bpf_attach_type, bpf_prog_type
from purebpf.btf.reader import Btf
from purebpf.btf.types import BtfType, Func, Struct, Typedef
from purebpf.errors import PlanError, PureBpfError
from purebpf.load.facts import Facts, ModuleBtf
from purebpf.load.nearest import nearest, suggestion
from purebpf.obj.spec import ProgramSpec

_FUNCTION: tuple[str, type[Func | Typedef]] = ("", Func)
_BY_ATTACH_TYPE: dict[int, tuple[str, type[Func | Typedef]]] = {
    bpf_attach_type.BPF_TRACE_RAW_TP: ("btf_trace_", Typedef),
    bpf_attach_type.BPF_LSM_MAC: ("bpf_lsm_", Func),
    bpf_attach_type.BPF_LSM_CGROUP: ("bpf_lsm_", Func),
    bpf_attach_type.BPF_TRACE_ITER: ("bpf_iter_", Func),
}
_MULTI = (
    bpf_attach_type.BPF_TRACE_FENTRY_MULTI,
    bpf_attach_type.BPF_TRACE_FEXIT_MULTI,
    bpf_attach_type.BPF_TRACE_FSESSION_MULTI,
)


class Found(NamedTuple):
    """A type of the kernel: its id, the BTF it is in, and the module that the BTF is of, None for the kernel proper."""

    type_id: int
    btf: Btf
    module: ModuleBtf | None = None


def find_target(program: ProgramSpec, facts: Facts) -> Found | None:
    """What ``program`` is to be bound to; None if programs of its kind are bound to nothing.

    For all functions that match a pattern (``fentry.multi``), the type id is 0.  Raises PlanError if there is no such
    target.
    """
    if program.definition is None or program.type == bpf_prog_type.BPF_PROG_TYPE_STRUCT_OPS:
        return None
    if program.expected_attach_type in _MULTI:
        module, colon, _ = program.attach_to.partition(":")
        return _in_module(program, module, facts) if colon else None
    if not program.definition.needs_btf_target:
        return None
    if not program.attach_to:
        raise PlanError(
            f"program {program.name!r}: section {program.section!r} does not say which function to bind it to; write "
            f"{program.definition.name.rstrip('+')}/FUNCTION, or set the program's attach_to before loading"
        )
    if program.type == bpf_prog_type.BPF_PROG_TYPE_EXT or program.attach_prog_fd:
        return _in_program(program, facts)
    prefix, kind = _BY_ATTACH_TYPE.get(program.expected_attach_type, _FUNCTION)
    module, colon, name = program.attach_to.rpartition(":")
    try:
        for btf, of_module in _kernel_types(facts, module, colon):
            ids = btf.find(prefix + name, kind)
            if ids:
                return Found(ids[0], btf, of_module)
        names = _names(facts, module, colon, kind)
    except PlanError:
        raise
    except PureBpfError as error:
        raise PlanError(
            f"program {program.name!r} is bound to {program.attach_to!r} of the kernel, and its types cannot be had: "
            f"{error}"
        ) from error
    if names is None:
        raise _no_module(program, module, facts)
    known = [known.removeprefix(prefix) for known in names if known.startswith(prefix)]
    lacking = ""
    if not known and program.type == bpf_prog_type.BPF_PROG_TYPE_LSM:
        lacking = ", nor any other: it is built without CONFIG_BPF_LSM"
    raise PlanError(
        f"program {program.name!r}: Linux {facts.release} has no {_what(program, kind)} {name!r}"
        + (f" in module {module!r}" if colon else "")
        + (lacking or suggestion(nearest(name, known)))
    )


def find_struct(name: str, facts: Facts) -> Found | None:
    """A struct of the kernel, or else of one of its modules."""
    for btf, module in _kernel_types(facts, "", ""):
        ids = btf.find(name, Struct)
        if ids:
            return Found(ids[0], btf, module)
    return None


def _kernel_types(facts: Facts, module: str, colon: str) -> Iterator[tuple[Btf, ModuleBtf | None]]:
    """The kernel's types, then its modules', or only those of the module that a target names before a colon."""
    if not colon or module == "vmlinux":
        yield facts.btf, None
    for other in facts.modules:
        if not colon or other.name == module:
            yield other.btf, other


def _names(facts: Facts, module: str, colon: str, kind: type[BtfType]) -> Iterable[str] | None:
    """The names of what may be meant; None if a module is named that is not there."""
    if not colon:
        return facts.names(kind)
    if module == "vmlinux":
        return facts.btf.names(kind)
    return next((other.names(kind) for other in facts.modules if other.name == module), None)


def _in_module(program: ProgramSpec, module: str, facts: Facts) -> Found | None:
    for other in facts.modules:
        if other.name == module:
            return Found(0, other.btf, other)
    raise _no_module(program, module, facts)


def _no_module(program: ProgramSpec, module: str, facts: Facts) -> PlanError:
    near = suggestion(nearest(module, [other.name for other in facts.modules]))
    return PlanError(
        f"program {program.name!r}: Linux {facts.release} has no types of a kernel module {module!r}{near}"
    )


def _in_program(program: ProgramSpec, facts: Facts) -> Found:
    if not program.attach_prog_fd:
        raise PlanError(
            f"program {program.name!r} replaces function {program.attach_to!r} of another program; set the program's "
            "attach_prog_fd to that one's file descriptor before loading"
        )
    try:
        btf = facts.program_btf(program.attach_prog_fd)
    except PureBpfError as error:
        raise PlanError(f"program {program.name!r}: the types of the program it is bound to: {error}") from error
    ids = btf.find(program.attach_to, Func)
    if not ids:
        raise PlanError(
            f"program {program.name!r}: the program it is bound to has no function {program.attach_to!r}"
            + suggestion(nearest(program.attach_to, btf.names(Func)))
        )
    return Found(ids[0], btf)


def _what(program: ProgramSpec, kind: type[BtfType]) -> str:
    if kind is Typedef:
        return "tracepoint"
    if program.expected_attach_type == bpf_attach_type.BPF_TRACE_ITER:
        return "iterator"
    return "security hook" if program.type == bpf_prog_type.BPF_PROG_TYPE_LSM else "function"
