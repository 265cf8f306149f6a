"""The classes of BTF types are values: equal by their fields, and by their kind."""

from __future__ import annotations

import copy

import pytest
from test_btf_reader import every_kind

from purebpf.btf import types

CLASSES = {each for each in vars(types).values() if isinstance(each, type) and each.__module__ == types.__name__}


@pytest.fixture(scope="module")
def found():
    btf = every_kind("<").btf()
    return [btf.type(type_id) for type_id in range(len(btf))]


def test_equal_by_fields(found):
    again = copy.deepcopy(found)
    assert again == found
    assert [hash(each) for each in again] == [hash(each) for each in found]
    assert len(set(found) | set(again)) == len(found)


def test_a_difference_in_one_field():
    assert types.Var(1, "a", 2, 0) != types.Var(1, "a", 2, 1)
    assert types.Struct(1, "s", 4, ()) != types.Struct(1, "s", 8, ())
    assert types.Ptr(1, "", 2) != types.Ptr(2, "", 2)


def test_kinds_differ():
    references = (types.Ptr, types.Typedef, types.Volatile, types.Const, types.Restrict)
    assert len({cls(1, "x", 2) for cls in references}) == len(references)
    assert types.Struct(1, "s", 4, ()) != types.Union(1, "s", 4, ())
    assert types.Void(0, "void") != "void"


def test_shown_as_it_is_made(found):
    names = {cls.__name__: cls for cls in CLASSES}
    for each in found:
        assert eval(repr(each), names) == each


def test_no_field_is_added_by_mistake(found):
    for each in found:
        with pytest.raises(AttributeError):
            each.nmae = "x"
