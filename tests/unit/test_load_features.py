"""Which kernel has which feature, as far as its release tells; and that a plan asks only for what an object needs."""

from __future__ import annotations

import pytest
import traced

import purebpf
from purebpf.kernel.facts import KernelFacts
from purebpf.load.facts import Facts
from purebpf.load.features import Feature
from purebpf.load.plan import make_plan

# What the probes found on Debian's kernels of these releases.
ON_5_10 = {
    *(Feature.PROG_NAME, Feature.GLOBAL_DATA, Feature.BTF, Feature.BTF_FUNC, Feature.BTF_DATASEC),
    *(Feature.BTF_GLOBAL_FUNC, Feature.ARRAY_MMAP, Feature.EXP_ATTACH_TYPE, Feature.PROBE_READ_KERN),
    *(Feature.PROG_BIND_MAP, Feature.SYSCALL_WRAPPER, Feature.CGROUP_LINK, Feature.XDP_LINK),
    *(Feature.KPROBE_PMU, Feature.UPROBE_PMU),
}
ON_6_1 = set(Feature) - {
    *(Feature.BTF_QMARK_DATASEC, Feature.BTF_LAYOUT, Feature.UPROBE_MULTI_LINK, Feature.ARG_CTX_TAG),
    *(Feature.TCX_LINK, Feature.SOCKMAP_LINK, Feature.LDIMM64_FULL_RANGE_OFF, Feature.UPROBE_SYSCALL),
}


@pytest.mark.parametrize(("release", "features"), [("5.10.0-46-cloud-amd64", ON_5_10), ("6.1.0", ON_6_1)])
def test_by_release(release, features):
    facts = KernelFacts.offline(release=release)
    assert {feature for feature in Feature if facts.has(feature)} == features


def test_what_is_known_counts_more():
    facts = KernelFacts.offline(release="5.10.0", features={Feature.BTF_FLOAT: True, Feature.BTF: False})
    assert facts.has(Feature.BTF_FLOAT)
    assert not facts.has(Feature.BTF)
    assert facts.has(Feature.BTF_FUNC)


def asked(path):
    """The features that planning an object's load asks for."""
    found = set()

    def has(feature):
        found.add(feature)
        return True

    facts = Facts(
        release="6.1.0",
        read_btf=lambda: pytest.fail("needs no kernel types"),
        byteorder="little",
        possible_cpus=1,
        page_size=4096,
        features=has,
    )
    make_plan(purebpf.parse(path), facts)
    return found


def test_only_what_the_object_needs_is_asked():
    hello = asked(traced.HERE.parent / "prebuilt" / "hello.bpf.o")
    assert hello == {
        *(Feature.PROG_NAME, Feature.GLOBAL_DATA, Feature.ARRAY_MMAP, Feature.PROG_BIND_MAP, Feature.PROBE_READ_KERN),
        *(Feature.BTF, Feature.BTF_FUNC, Feature.BTF_GLOBAL_FUNC, Feature.BTF_DATASEC),
    }
    everything = asked(traced.HERE / "objects" / "old_kernels.bpf.o")
    assert everything >= {
        *(Feature.BTF_FLOAT, Feature.BTF_DECL_TAG, Feature.BTF_TYPE_TAG, Feature.BTF_ENUM64, Feature.PROBE_READ_KERN),
        *(Feature.EXP_ATTACH_TYPE, Feature.GLOBAL_DATA, Feature.ARRAY_MMAP, Feature.PROG_BIND_MAP),
    }
    assert Feature.ARG_CTX_TAG in asked(traced.HERE / "objects" / "old_kernels_context.bpf.o")
    assert Feature.ARG_CTX_TAG not in everything
