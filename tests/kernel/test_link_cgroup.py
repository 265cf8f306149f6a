"""Programs on control groups: each kind sees what a process in the group does, and nothing else."""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack
from functools import partial

import pytest
from kernel_state import (
    RELEASE,
    THREADS,
    attach_and_detach,
    bpftool,
    eventually,
    id_of,
    killed_later,
    links_of,
    no_children,
    nothing_left,
    refused,
)
from network import cgroup, in_cgroup, loaded, namespace, order, runs
from triggers import IN_CGROUP, create

from purebpf.abi.bpf import bpf_attach_flags, bpf_attach_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.features import Feature, Features
from purebpf.links.cgroup import attach_cgroup, attached

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("ip", "bpftool")]

BY_LINK = Features({Feature.CGROUP_LINK: True})
WITHOUT = Features({Feature.CGROUP_LINK: False})
way = pytest.mark.parametrize("features", [pytest.param(BY_LINK, id="bpf link"), pytest.param(WITHOUT, id="no link")])
# For many kinds of programs: without a link it is the same call for all, which the other tests make on each kernel.
way_of_many = pytest.mark.parametrize(
    "features",
    [
        pytest.param(BY_LINK, id="bpf link"),
        pytest.param(WITHOUT, id="no link", marks=pytest.mark.any_kernel),
    ],
)
needs_order = pytest.mark.needs_kernel("an order of programs in control groups", RELEASE >= (6, 17))


@pytest.fixture
def group():
    with namespace(), cgroup() as path:
        yield path


TRIGGERS = {
    f"on_{section.rpartition('/')[2].replace('sockops', 'sock_ops')}": trigger for section, trigger in IN_CGROUP.items()
}
needs_unix = pytest.mark.needs_kernel("programs for Unix sockets in control groups", RELEASE >= (6, 7))


@way_of_many
@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_unix if "unix" in n else ()) for n in TRIGGERS])
def test_what_a_process_does_is_seen_until_the_link_is_closed(group, name, features):
    trigger = TRIGGERS[name]
    with loaded(name) as bpf:
        program = bpf.programs[name]
        attach_type = bpf_attach_type(program.spec.expected_attach_type)
        trigger()
        link = attach_cgroup(program.fileno(), group, attach_type, features=features)
        assert (link.kind, link.target) == ("cgroup", group)
        assert len(links_of(program)) == (features is BY_LINK)
        assert attached(group, attach_type).prog_ids == [id_of(program)]
        trigger()  # outside of the group
        assert runs(bpf, name) == 0
        in_cgroup(group, trigger)
        before = runs(bpf, name)
        assert before > 0

        link.close()
        in_cgroup(group, trigger)
        assert attached(group, attach_type).prog_ids == []
        assert runs(bpf, name) == before
        link.close()  # harmless
        assert link.closed


def test_by_the_program(group):
    """By a descriptor, and with an attach type that the section does not say."""
    with loaded("on_skb", "on_sock_create") as bpf:
        egress = bpf_attach_type.BPF_CGROUP_INET_EGRESS
        with bpf.programs["on_skb"].attach_cgroup(group, attach_type=egress):
            assert attached(group, egress).prog_ids == [id_of(bpf.programs["on_skb"])]
            if RELEASE >= (6, 1):  # what bpftool asks for, no older kernel answers
                assert [each["id"] for each in bpftool("cgroup", "show", group)] == [id_of(bpf.programs["on_skb"])]
        fd = os.open(group, os.O_RDONLY)
        with bpf.programs["on_sock_create"].attach_cgroup(fd):
            os.close(fd)
            in_cgroup(group, create)
            assert runs(bpf, "on_sock_create") == 1


# Groups below, and flags


CREATE = bpf_attach_type.BPF_CGROUP_INET_SOCK_CREATE
MULTI, OVERRIDE = bpf_attach_flags.BPF_F_ALLOW_MULTI, bpf_attach_flags.BPF_F_ALLOW_OVERRIDE


@pytest.mark.parametrize(("flags", "expected"), [(None, 21), (MULTI, 21), (OVERRIDE, 2)])
def test_groups_below(group, flags, expected):
    with (
        loaded("create_1", "create_2") as bpf,
        cgroup(group) as below,
        bpf.programs["create_1"].attach_cgroup(group, flags=flags),
        bpf.programs["create_2"].attach_cgroup(below, flags=flags),
    ):
        in_cgroup(below, create)
        assert order(bpf, len(str(expected))) == expected
        in_cgroup(group, create)
        assert order(bpf, 1) == 1


def test_none_below(group):
    with (
        loaded("create_1", "create_2") as bpf,
        cgroup(group) as below,
        bpf.programs["create_1"].attach_cgroup(group, flags=0),
    ):
        for where in (group, below):
            with refused(KernelError, "EPERM.*attached with other flags"):
                bpf.programs["create_2"].attach_cgroup(where)
        assert attached(group, CREATE).prog_ids == [id_of(bpf.programs["create_1"])]


def test_another_program_in_its_place_is_left_alone(group):
    """Without BPF_F_ALLOW_MULTI a program takes the place of another, and the kernel would detach whatever is there."""
    with loaded("create_1", "create_2") as bpf:
        first = bpf.programs["create_1"].attach_cgroup(group, flags=OVERRIDE)
        second = bpf.programs["create_2"].attach_cgroup(group, flags=OVERRIDE)
        first.close()
        assert attached(group, CREATE).prog_ids == [id_of(bpf.programs["create_2"])]
        second.close()
        assert attached(group, CREATE).prog_ids == []


def test_replacing_a_program(group):
    one, two, three = "create_1", "create_2", "create_3"
    with loaded(one, two, three) as bpf:
        one, two, three = (bpf.programs[name] for name in (one, two, three))
        with one.attach_cgroup(group, flags=MULTI) as first, two.attach_cgroup(group, flags=MULTI):
            link = three.attach_cgroup(group, replace=one)
            in_cgroup(group, create)
            assert order(bpf, 2) == 32
            first.close()
            assert attached(group, CREATE).prog_ids == [id_of(three), id_of(two)]
            link.close()
            with refused(KernelError, "ENOENT.*to replace, is not attached there"):
                three.attach_cgroup(group, replace=one)
        assert attached(group, CREATE).prog_ids == []


# The order of programs


@needs_order
def test_the_order_of_programs(group):
    """One with a link has its place among those with links, and one without among those without."""
    with loaded("create_1", "create_2", "create_3") as bpf:
        one, two, three = (bpf.programs[f"create_{number}"] for number in (1, 2, 3))
        with one.attach_cgroup(group) as first, two.attach_cgroup(group, flags=MULTI):
            link_id = links_of(one)[0]["id"]
            for options, expected in [
                ({}, 123),
                ({"before": "all"}, 312),
                ({"after": "all"}, 123),
                ({"before": first}, 312),
                ({"after": first}, 132),
                ({"before": ("link", link_id)}, 312),
                ({"after": ("link", link_id)}, 132),
                ({"flags": MULTI}, 123),
                ({"flags": MULTI, "before": "all"}, 312),
                ({"flags": MULTI, "before": two}, 132),
                ({"flags": MULTI, "after": two}, 123),
                ({"flags": MULTI, "before": ("prog", id_of(two))}, 132),
            ]:
                with three.attach_cgroup(group, **options):
                    in_cgroup(group, create)
                    assert order(bpf, 3) == expected, options
            with refused(KernelError, "EINVAL.*a link goes before or after links only"):
                three.attach_cgroup(group, before=two)


@needs_order
def test_the_revision(group):
    with loaded("create_1", "create_2") as bpf:
        one, two = bpf.programs["create_1"], bpf.programs["create_2"]
        with one.attach_cgroup(group, expected_revision=attached(group, CREATE).revision):
            revision = attached(group, CREATE).revision
            two.attach_cgroup(group, expected_revision=revision).close()
            with refused(KernelError, "ESTALE.*revision is not the expected one"):
                two.attach_cgroup(group, expected_revision=revision)


@pytest.mark.needs_kernel("no order of programs in control groups", RELEASE < (6, 17))
def test_a_kernel_that_knows_no_order(group):
    with loaded("create_1") as bpf, refused(KernelError, "EINVAL.*order, which takes Linux 6.17"):
        bpf.programs["create_1"].attach_cgroup(group, before="all")


# Nothing stays behind


@way
def test_a_killed_process_leaves_nothing(group, features):
    with loaded("on_sock_create") as bpf:
        program = bpf.programs["on_sock_create"]
        with killed_later(lambda: attach_cgroup(program.fileno(), group, CREATE, features=features)):
            assert attached(group, CREATE).prog_ids == [id_of(program)]
        assert eventually(lambda: attached(group, CREATE).prog_ids == [])


@pytest.mark.parametrize("flags", [0, OVERRIDE])
def test_a_killed_process_leaves_others_programs(group, flags):
    with loaded("create_1", "create_2") as bpf:
        with killed_later(lambda: bpf.programs["create_1"].attach_cgroup(group, flags=flags)):
            other = bpf.programs["create_2"].attach_cgroup(group, flags=flags)
        with other:
            assert eventually(lambda: not links_of(bpf.programs["create_1"]))
            assert attached(group, CREATE).prog_ids == [id_of(bpf.programs["create_2"])]


@way
def test_a_forgotten_link_detaches(group, features):
    with loaded("on_sock_create") as bpf:
        link = attach_cgroup(bpf.programs["on_sock_create"].fileno(), group, CREATE, features=features)
        with pytest.warns(ResourceWarning):
            del link
            gc.collect()
        assert eventually(lambda: attached(group, CREATE).prog_ids == [])
        assert no_children()


@way
def test_a_group_that_is_removed(group, features):
    with loaded("on_sock_create") as bpf, cgroup(group) as below:
        link = attach_cgroup(bpf.programs["on_sock_create"].fileno(), below, CREATE, features=features)
        os.rmdir(below)
        link.close()


@way
def test_the_program_may_be_closed_before_the_link(group, features):
    with loaded("on_sock_create") as bpf:
        link = attach_cgroup(bpf.programs["on_sock_create"].fileno(), group, CREATE, features=features)
    with link:
        assert len(attached(group, CREATE).prog_ids) == 1
    assert attached(group, CREATE).prog_ids == []


@way
def test_500_rounds_leave_nothing(group, features, rounds):
    """In several groups, as a program without a link can be attached to each once."""
    with loaded("on_sock_create") as bpf, ExitStack() as stack:
        program = bpf.programs["on_sock_create"]
        groups = [stack.enter_context(cgroup(group)) for _ in range(THREADS)]
        attach = partial(attach_cgroup, program.fileno(), attach_type=CREATE, features=features)
        with nothing_left(program):
            attach_and_detach(rounds(500), *(partial(attach, each) for each in groups))
            assert [attached(each, CREATE).prog_ids for each in groups] == [[]] * THREADS


# Refusals


def test_no_such_group(group):
    missing = f"{group}x"
    with loaded("on_sock_create") as bpf:
        program = bpf.programs["on_sock_create"]
        with refused(AttachError, f"no cgroup {missing}; did you mean {group}?"):
            program.attach_cgroup(missing)
        with refused(AttachError, "no cgroup /no/such; cgroups are the directories below /"):
            program.attach_cgroup("/no/such")
        with refused(AttachError, "/dev/null is no cgroup, as it is no directory; cgroups are"):
            program.attach_cgroup("/dev/null")
        with refused(
            KernelError, "EBADF.*cgroup /tmp is no directory of a file system of type cgroup2, .*; cgroups are"
        ):
            program.attach_cgroup("/tmp")


@way
def test_a_program_of_another_kind(group, features):
    with (
        loaded("on_xdp") as bpf,
        refused(
            KernelError,
            "EINVAL.*CGROUP_SOCK, and this one is of type BPF_PROG_TYPE_XDP",
        ),
    ):
        attach_cgroup(bpf.programs["on_xdp"].fileno(), group, CREATE, features=features)


def test_attached_twice(group):
    with loaded("on_sock_create") as bpf:
        program = bpf.programs["on_sock_create"]
        with program.attach_cgroup(group, flags=MULTI):
            with refused(KernelError, "(EINVAL|EEXIST).*attached there already"):
                program.attach_cgroup(group, flags=MULTI)
            assert attached(group, CREATE).prog_ids == [id_of(program)]


def test_more_programs_than_there_can_be(group):
    with refused(KernelError, r"E2BIG.*as the kernel allows \(64\)"), ExitStack() as stack:
        for _ in range(65):
            bpf = stack.enter_context(loaded("on_sock_create"))
            stack.enter_context(bpf.programs["on_sock_create"].attach_cgroup(group))


def test_by_its_section():
    with loaded("on_sock_create", "on_sock_ops") as bpf:
        for program in bpf.programs.values():
            with refused(AttachError, r"does not say .*; use program.attach_cgroup\(PATH\)"):
                program.attach()
