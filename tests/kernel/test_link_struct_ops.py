"""struct_ops: the kernel calls their programs from when they are registered until they are no more.

The functions are those of a TCP congestion control, which a socket can ask for by a name.
"""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial
from pathlib import Path

import pytest
from kernel_state import (
    RELEASE,
    THREADS,
    attach_and_detach,
    bpftool,
    eventually,
    has_symbol,
    killed_later,
    nothing_left,
    parsed,
    running_kernel,
)
from triggers import congestion_control

import purebpf
from purebpf.abi.attr import bpf_map_info
from purebpf.kernel.bpf import obj_get_info_by_fd
from purebpf.links import info

CONTROLS = ["plain", "first", "second"]
NAMES = {"plain": f"pbp{os.getpid()}", "first": f"pbl{os.getpid()}", "second": f"pbl{os.getpid()}"}
"""The two that are registered by a link have one name, as one takes the other's place."""

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_tool("bpftool"),
    pytest.mark.needs_kernel("struct_ops of TCP (Linux 5.6)", lambda: has_symbol("bpf_tcp_ca_reg")),
]
needs_links = pytest.mark.needs_kernel("links of struct_ops (Linux 6.4)", RELEASE >= (6, 4))


def loaded(*controls, number=""):
    """The object with only these of its congestion controls, whose names end with the number."""
    spec = parsed("link_struct_ops")
    for control in CONTROLS:
        definition = spec.maps[control]
        definition.autocreate = control in controls
        definition.contents[:16] = f"{NAMES[control]}{number}".encode().ljust(16, b"\0")
    return spec.load(running_kernel())


def registered():
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text()


def is_registered(control):
    return NAMES[control] in registered().split()


def inits(bpf):
    return list(bpf.maps[".bss"][0].inits)


def use(control):
    congestion_control(NAMES[control].encode())


def map_id(bpf, control):
    return obj_get_info_by_fd(bpf.maps[control].fileno(), bpf_map_info).id


def test_they_are_called():
    with loaded("plain") as bpf:
        assert not is_registered("plain")
        (link,) = bpf.attach()
        assert (link.kind, link.target) == ("struct_ops", "plain")
        use("plain")
        assert inits(bpf) == [1, 0, 0]
        bpf.detach()
        assert not is_registered("plain")
        with pytest.raises(FileNotFoundError):
            use("plain")
        assert inits(bpf) == [1, 0, 0]


def test_a_name_that_is_taken():
    with loaded("plain") as one, loaded("plain") as other, one.attach_struct_ops("plain"):
        with pytest.raises(purebpf.KernelError, match=r"'plain'.* registered already") as error:
            other.attach()
        assert error.value.errno == errno.EEXIST
        assert is_registered("plain")


def test_a_map_is_registered_once_only():
    with loaded("plain") as bpf:
        bpf.attach_struct_ops("plain").close()
        with pytest.raises(purebpf.KernelError, match="registered already, or has been"):
            bpf.attach_struct_ops("plain")


def test_no_such_map():
    with loaded("plain") as bpf, pytest.raises(KeyError):
        bpf.attach_struct_ops("undo_cwnd")


def test_left_out():
    with loaded("plain") as bpf:
        bpf.spec.maps["plain"].autoattach = False
        assert bpf.attach() == []
        assert not is_registered("plain")


@needs_links
def test_by_link():
    with loaded("first") as bpf:
        (link,) = bpf.attach()
        use("first")
        assert inits(bpf) == [0, 1, 0]
        told = link.info
        assert told.attached_to == info.StructOps(map_id(bpf, "first"))
        assert told.id in [each["id"] for each in bpftool("link", "show")]
        bpf.detach()
        assert eventually(lambda: not is_registered("first"))


@needs_links
def test_another_map_takes_its_place():
    with loaded("first", "second") as bpf, bpf.attach_struct_ops("first") as link:
        use("first")
        bpf.update_struct_ops(link, "second")
        use("first")
        assert inits(bpf) == [0, 1, 1]
        with pytest.raises(purebpf.KernelError) as error:
            link.update(bpf.maps["second"], old=bpf.maps["first"])  # which is not the one that is there
        assert error.value.errno == errno.EPERM
        with pytest.raises(KeyError):
            bpf.update_struct_ops(link, "third")


@needs_links
def test_pinned(bpffs):
    path = bpffs / f"struct_ops{os.getpid()}"
    with loaded("first") as bpf:
        (link,) = bpf.attach()
        link.pin(path)
        bpf.detach()
        use("first")
        assert inits(bpf) == [0, 1, 0]
        with purebpf.Link.from_pin(path) as again:
            again.unpin()
        assert eventually(lambda: not is_registered("first"))


@pytest.mark.parametrize("control", ["plain", pytest.param("first", marks=needs_links)])
def test_a_killed_process_leaves_nothing(control):
    with loaded(control) as bpf:
        with killed_later(lambda: bpf.attach_struct_ops(control)):
            assert is_registered(control)
            use(control)
            assert sum(inits(bpf)) == 1
        assert eventually(lambda: not is_registered(control))


def test_all_or_nothing():
    """The last cannot be registered: then none is."""
    with loaded("plain") as other, other.attach_struct_ops("plain"), contextlib.ExitStack() as stack:
        controls = ["plain", "first"] if RELEASE >= (6, 4) else ["plain"]
        bpf = stack.enter_context(loaded(*controls))
        bpf.struct_ops = dict(reversed(bpf.struct_ops.items()))
        with pytest.raises(purebpf.KernelError, match="registered already"):
            bpf.attach()
        assert bpf.links == []
        assert eventually(lambda: not is_registered("first"))


def test_500_rounds_leave_nothing(rounds):
    """Each registers a map of its own, as that can be done once."""
    maps = set()

    def attach(number):
        bpf = loaded("plain", number=number)
        bpf.attach()
        maps.add(map_id(bpf, "plain"))
        return bpf

    with nothing_left():
        attach_and_detach(rounds(500), *(partial(attach, number) for number in range(THREADS)))
    assert len(maps) == len(rounds(500))
    assert NAMES["plain"] not in registered()
    assert eventually(lambda: not maps & {each["id"] for each in bpftool("map", "show")})


@needs_links
def test_500_rounds_by_link_leave_nothing(rounds):
    with contextlib.ExitStack() as stack:
        objects = [stack.enter_context(loaded("first", number=number)) for number in range(THREADS)]
        with nothing_left():
            attach_and_detach(rounds(500), *(partial(bpf.attach_struct_ops, "first") for bpf in objects))
        maps = {map_id(bpf, "first") for bpf in objects}
        assert eventually(lambda: NAMES["first"] not in registered())
        assert eventually(lambda: not maps & {link.get("map_id") for link in bpftool("link", "show")})
