"""On a kernel that lacks a feature, purebpf loads an object with the same calls as libbpf.

The lack is played by lacking.c, which is preloaded into both loaders and refuses what such a kernel would; the calls
that it lets through are made.  How they are compared stands in test_libbpf_agrees.py.  Not all can be loaded without
the feature: then both are refused after the same calls.
"""

from __future__ import annotations

import subprocess

import pytest
import traced
from test_libbpf_agrees import comparable, kernel_side

from purebpf.load.features import Feature

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("strace", "cc")]

# What libbpf 1.1 asks for when it loads an object.
ASKED = [
    Feature.PROG_NAME,
    Feature.BTF,
    Feature.BTF_FUNC,
    Feature.BTF_DATASEC,
    Feature.BTF_GLOBAL_FUNC,
    Feature.BTF_FLOAT,
    Feature.BTF_DECL_TAG,
    Feature.BTF_TYPE_TAG,
    Feature.BTF_ENUM64,
    Feature.ARRAY_MMAP,
    Feature.EXP_ATTACH_TYPE,
    Feature.PROBE_READ_KERN,
    Feature.PROG_BIND_MAP,
    Feature.MEMCG_ACCOUNT,
]
LINUX_5_4 = [feature for feature in ASKED if not feature.in_version(0x050400)]
TYPICAL = ["old_kernels", "load_program_types", "load_variables", "load_subprograms"]
LOADED = [
    path
    for path in [*traced.HERE.glob("objects/load_*.bpf.o"), *traced.HERE.parent.glob("prebuilt/*.bpf.o")]
    # Not what libbpf 1.1 refuses on any kernel; and without ARRAY_MMAP it gives maps the flag that should not have it.
    if path.name not in ("load_no_license.bpf.o", "killsnoop.bpf.o", "load_maps.bpf.o")
]


@pytest.fixture(scope="module")
def libbpf(tmp_path_factory):
    return traced.libbpf(tmp_path_factory)


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    library = tmp_path_factory.mktemp("lacking") / "lacking.so"
    source = traced.HERE / "lacking.c"
    subprocess.run(["cc", "-O", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)

    def environment(features):
        return [f"LD_PRELOAD={library}", "LACKS=" + ",".join(feature.name for feature in features)]

    return environment


def calls_of_both(path, features, libbpf, lacking, tmp_path):
    environment = lacking(features)
    theirs = traced.trace([libbpf, "load", path], tmp_path / "libbpf", environment)
    ours = traced.trace([*traced.PUREBPF, path], tmp_path / "purebpf", environment)
    assert ours.succeeded == theirs.succeeded, ours.errors + theirs.errors
    _, *their_calls = traced.between_marks(theirs.calls)[0]  # the first is libbpf's trial of whether it may load at all
    our_calls = traced.between_marks(ours.calls)[0]
    assert kernel_side(ours.lines) == kernel_side(theirs.lines)
    return list(comparable(our_calls)), list(comparable(their_calls))


@pytest.mark.parametrize("name", TYPICAL)
@pytest.mark.parametrize("feature", ASKED, ids=lambda feature: feature.name)
def test_one_feature_is_missing(feature, name, libbpf, lacking, tmp_path):
    path = traced.HERE / "objects" / f"{name}.bpf.o"
    ours, theirs = calls_of_both(path, [feature], libbpf, lacking, tmp_path)
    for our, their in zip(ours, theirs, strict=True):
        assert our == their


@pytest.mark.parametrize("path", LOADED, ids=lambda path: path.name)
def test_as_on_linux_5_4(path, libbpf, lacking, tmp_path):
    ours, theirs = calls_of_both(path, LINUX_5_4, libbpf, lacking, tmp_path)
    for our, their in zip(ours, theirs, strict=True):
        assert our == their


def test_each_lack_shows(libbpf, lacking, tmp_path):
    """The comparisons above would be worth nothing if a lack changed nothing."""
    path = traced.HERE / "objects" / "old_kernels.bpf.o"
    usual, _ = calls_of_both(path, [], libbpf, lacking, tmp_path)
    for feature in set(ASKED) - {Feature.MEMCG_ACCOUNT}:  # which sets a limit, and changes no call
        ours, _ = calls_of_both(path, [feature], libbpf, lacking, tmp_path)
        assert ours != usual, feature


@pytest.mark.parametrize("name", ["load_maps", "load_callbacks"])
def test_global_variables_are_missing(name, libbpf, lacking, tmp_path):
    """Their maps are not created.  A program that uses them is refused, one that does not is loaded."""
    path = traced.HERE / "objects" / f"{name}.bpf.o"
    ours, theirs = calls_of_both(path, [Feature.GLOBAL_DATA], libbpf, lacking, tmp_path)
    assert ours == theirs
