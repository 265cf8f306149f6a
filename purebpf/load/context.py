"""Context arguments of global functions, for kernels that do not know their tag.

The verifier checks a global function by itself, by the types of its arguments.  An argument marked
``void *ctx __arg_ctx``, which is the declaration tag ``arg:ctx``, it takes for the context that the program's type has.
Before Linux 6.8 it did not know the tag, and went by the name of the pointed-to struct.  So that a function may be
shared by programs of several types, each program gets a copy of its prototype in the BTF, in which the tagged argument
points to the struct of the right name.  The copies and their order are libbpf's (bpf_program_fixup_func_info).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from purebpf.abi.bpf import bpf_prog_type
from purebpf.btf.edit import BtfEditor
from purebpf.btf.reader import Btf
from purebpf.btf.types import BtfKind, DeclTag, Func, FuncProto, Int, Ptr, Struct, Void

_TAG = "arg:ctx"
_GLOBAL = 1  # BTF_FUNC_GLOBAL

_CONTEXTS: dict[int, str] = {
    bpf_prog_type[f"BPF_PROG_TYPE_{name}"]: context
    for context, names in {
        "bpf_cgroup_dev_ctx": "CGROUP_DEVICE",
        "__sk_buff": "CGROUP_SKB FLOW_DISSECTOR LWT_IN LWT_OUT LWT_SEG6LOCAL LWT_XMIT SCHED_ACT SCHED_CLS SK_SKB"
        " SOCKET_FILTER",
        "bpf_sock": "CGROUP_SOCK",
        "bpf_sock_addr": "CGROUP_SOCK_ADDR",
        "bpf_sockopt": "CGROUP_SOCKOPT",
        "bpf_sysctl": "CGROUP_SYSCTL",
        "bpf_user_pt_regs_t": "KPROBE",
        "bpf_nf_ctx": "NETFILTER",
        "bpf_perf_event_data": "PERF_EVENT",
        "bpf_raw_tracepoint_args": "RAW_TRACEPOINT RAW_TRACEPOINT_WRITABLE",
        "bpf_sk_lookup": "SK_LOOKUP",
        "sk_msg_md": "SK_MSG",
        "sk_reuseport_md": "SK_REUSEPORT",
        "bpf_sock_ops": "SOCK_OPS",
        "xdp_md": "XDP",
    }.items()
    for name in names.split()
}
"""The struct behind the context of each program type that has a name for it; other types cannot be helped."""

_REGISTERS = ("pt_regs", "user_pt_regs", "user_regs_struct")
"""What a perf event's program may take for its context instead; which one it is differs by machine."""


class Functions(NamedTuple):
    """Of a program with its subprograms, the BTF ids of the functions, in order."""

    name: str
    type: int
    ids: Sequence[int]


def has_context_tags(btf: Btf) -> bool:
    """Whether any argument is marked as the context."""
    return bool(btf.find(_TAG, DeclTag))


def replace_context_arguments(btf: Btf, programs: Sequence[Functions]) -> tuple[Btf, list[dict[int, int]]]:
    """BTF with the copies that the programs need, and for each program its functions' new ids by their old ones."""
    edit = BtfEditor(btf)
    new_ids = [_replace(btf, edit, program) for program in programs]
    return edit.to_btf(), new_ids


def _replace(btf: Btf, edit: BtfEditor, program: Functions) -> dict[int, int]:
    context = _CONTEXTS.get(program.type)
    copies: dict[int, int] = {}
    pointer = 0
    for tag_id in btf.find(_TAG, DeclTag) if context else ():
        tag = btf.type(tag_id)
        assert isinstance(tag, DeclTag)
        function = btf.type(tag.type_id)
        if not isinstance(function, Func) or function.linkage != _GLOBAL or function.id not in program.ids:
            continue
        prototype = btf.type(function.type_id)
        assert isinstance(prototype, FuncProto) and context
        argument = tag.component_idx
        if not 0 <= argument < len(prototype.params):
            continue
        if not _replaceable(btf, prototype.params[argument].type_id, program.type, context):
            continue
        if function.id not in copies:
            copies[function.id] = _copy_function(edit, function, program.name)
        if not pointer:
            struct = edit.add_type(BtfKind.BTF_KIND_STRUCT, edit.add_string(context), 0)
            pointer = edit.add_type(BtfKind.BTF_KIND_PTR, 0, struct)
        copy = copies[function.id]
        edit.add_type(BtfKind.BTF_KIND_DECL_TAG, edit.add_string(_TAG), copy, argument)
        copied_prototype = edit.words[edit.position(copy) + 2]
        edit.words[edit.position(copied_prototype) + 3 + 2 * argument + 1] = pointer
    return copies


def _replaceable(btf: Btf, type_id: int, prog_type: int, context: str) -> bool:
    """Whether the argument is a pointer that may stand for the context, and is not the context by its name already."""
    pointer = btf.resolve(type_id)
    if not isinstance(pointer, Ptr):
        return False
    target = btf.resolve(pointer.type_id)
    if isinstance(target, Void):
        return True
    if isinstance(target, Struct):
        names: dict[int, tuple[str, ...]] = {
            bpf_prog_type.BPF_PROG_TYPE_KPROBE: ("pt_regs",),
            bpf_prog_type.BPF_PROG_TYPE_PERF_EVENT: _REGISTERS,
        }
        return target.name != context and target.name in names.get(prog_type, ())
    raw = (bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT, bpf_prog_type.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE)
    return prog_type in raw and isinstance(target, Int) and target.size == 8


def _copy_function(edit: BtfEditor, function: Func, program: str) -> int:
    at, vlen = edit.position(function.type_id), edit.vlen(function.type_id)
    returned, params = edit.words[at + 2], edit.words[at + 3 : at + 3 + 2 * vlen]
    prototype = edit.add_type(BtfKind.BTF_KIND_FUNC_PROTO, 0, returned, *params, vlen=vlen)
    edit.add_string(program)  # as libbpf does, whose strings are then the same
    name = edit.words[edit.position(function.id)]
    return edit.add_type(BtfKind.BTF_KIND_FUNC, name, prototype, vlen=function.linkage)
