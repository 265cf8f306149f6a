"""An object's BTF, made fit for a kernel that does not know all kinds of types yet.

A kernel refuses BTF as a whole if it meets a kind that it does not know, and with the BTF go the types of maps, and
what the verifier needs of function types.  So each unknown record is replaced by a known one of the same length, with
which no id changes: a variable by an integer, a data section by a struct, a float by a struct without members.  Which
by which is libbpf's choice (bpf_object__sanitize_btf).

The kernel is asked for a feature only if there is something in the object that needs it.
"""

from __future__ import annotations

from collections.abc import Callable

from purebpf.btf.edit import BtfEditor
from purebpf.btf.reader import Btf
from purebpf.btf.types import BtfKind
from purebpf.load.features import Feature

_ONE_BYTE_INT = 8
"""The word that describes an integer of 8 bits.  It stands for a variable of any size: a larger one might not fit."""
_KIND_FLAG = 1 << 31


def sanitize_btf(btf: Btf, has: Callable[[Feature], bool]) -> bytes:
    """The BTF without what a kernel lacks; ``has`` answers for its features."""
    edit = BtfEditor(btf)
    words = edit.words
    if edit.has_layout and not has(Feature.BTF_LAYOUT):
        edit.drop_layout()
    placeholder = 0
    for id in range(1, len(btf)):
        at, kind, vlen = edit.position(id), edit.kind(id), edit.vlen(id)
        match kind:
            case BtfKind.BTF_KIND_VAR if not has(Feature.BTF_DATASEC):
                _make_int(edit, id)
            case BtfKind.BTF_KIND_DECL_TAG if not has(Feature.BTF_DECL_TAG):
                _make_int(edit, id)
            case BtfKind.BTF_KIND_DATASEC if not has(Feature.BTF_DATASEC):
                _replace_in_string(edit, words[at], b".?")
                edit.set_kind(id, BtfKind.BTF_KIND_STRUCT, vlen)
                for element in range(at + 3, at + 3 + 3 * vlen, 3):  # struct btf_var_secinfo becomes btf_member
                    variable, offset = words[element], words[element + 1]
                    words[element] = words[edit.position(variable)] if variable else 0
                    words[element + 1] = variable
                    words[element + 2] = offset * 8 & 0xFFFFFFFF
            case BtfKind.BTF_KIND_DATASEC if edit.strings.startswith(b"?", words[at]):
                if not has(Feature.BTF_QMARK_DATASEC):
                    edit.strings[words[at]] = ord("_")
            case BtfKind.BTF_KIND_FUNC_PROTO if not has(Feature.BTF_FUNC):
                edit.set_kind(id, BtfKind.BTF_KIND_ENUM, vlen)
                words[at + 2] = 4
            case BtfKind.BTF_KIND_FUNC if not has(Feature.BTF_FUNC):
                edit.set_kind(id, BtfKind.BTF_KIND_TYPEDEF)
            case BtfKind.BTF_KIND_FUNC if vlen and not has(Feature.BTF_GLOBAL_FUNC):
                edit.set_kind(id, BtfKind.BTF_KIND_FUNC)
            case BtfKind.BTF_KIND_FLOAT if not has(Feature.BTF_FLOAT):
                words[at] = 0  # "float" is no name for a struct
                edit.set_kind(id, BtfKind.BTF_KIND_STRUCT)
            case BtfKind.BTF_KIND_TYPE_TAG if not has(Feature.BTF_TYPE_TAG):
                words[at] = 0
                edit.set_kind(id, BtfKind.BTF_KIND_CONST)
            case BtfKind.BTF_KIND_ENUM if words[at + 1] & _KIND_FLAG and not has(Feature.BTF_ENUM64):
                words[at + 1] &= ~_KIND_FLAG  # which says that its values are signed
            case BtfKind.BTF_KIND_ENUM64 if not has(Feature.BTF_ENUM64):
                if not placeholder:
                    name = edit.add_string("enum64_placeholder")
                    placeholder = edit.add_type(BtfKind.BTF_KIND_INT, name, 1, _ONE_BYTE_INT)
                edit.set_kind(id, BtfKind.BTF_KIND_UNION, vlen)
                for element in range(at + 3, at + 3 + 3 * vlen, 3):  # struct btf_enum64 becomes btf_member
                    words[element + 1] = placeholder
                    words[element + 2] = 0
    return edit.to_bytes()


def _make_int(edit: BtfEditor, id: int) -> None:
    edit.set_kind(id, BtfKind.BTF_KIND_INT)
    at = edit.position(id)
    edit.words[at + 2] = 1
    edit.words[at + 3] = _ONE_BYTE_INT


def _replace_in_string(edit: BtfEditor, offset: int, unwanted: bytes) -> None:
    """Make characters of a name that the kernel does not take in a struct's underscores."""
    end = edit.strings.index(0, offset)
    table = bytes.maketrans(unwanted, b"_" * len(unwanted))
    edit.strings[offset:end] = edit.strings[offset:end].translate(table)
