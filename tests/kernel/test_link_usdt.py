"""Static tracepoints of user space: the program reads the arguments that the traced code had, whatever kernel it is.

Each way is taken that the kernel has: one link for all places, a uprobe for each with a cookie, and uprobes without
cookies, as before Linux 5.15.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from kernel_state import RELEASE, eventually, id_of, links_of, refused
from probing import OBJECTS, library, loaded, needs_cookies, needs_uprobe_multi, program_file, start, x86_64_only
from running import OUTER_PIDS

from purebpf import KernelFacts
from purebpf.errors import AttachError
from purebpf.kernel.features import Feature, Features
from purebpf.links.usdt import attach_usdt

pytestmark = [pytest.mark.needs_root, x86_64_only]
__all__ = ["library", "program_file", "start"]

WAYS = {
    "one link": {Feature.UPROBE_MULTI_LINK: True},
    "links": {Feature.UPROBE_MULTI_LINK: False, Feature.PERF_LINK: True, Feature.BPF_COOKIE: True},
    "no cookies": {Feature.UPROBE_MULTI_LINK: False, Feature.PERF_LINK: False, Feature.BPF_COOKIE: False},
}
SINCE = {"one link": (6, 10), "links": (5, 15), "no cookies": (4, 20)}


class Attacher:
    """Attaches an object's programs in one of these ways; the object must be loaded for it."""

    def __init__(self, way):
        self.features = Features(WAYS[way])
        self.has_cookies = way != "no cookies"

    @contextmanager
    def loaded(self, name="link_usdt"):
        facts = KernelFacts.running()
        facts._features = self.features.has
        with loaded(name, "on_usdt", "on_another_usdt", kernel=facts) as bpf:
            yield bpf

    def __call__(self, program, *where, **options):
        return attach_usdt(program.fileno(), program._usdt(), *where, features=self.features, **options)


@pytest.fixture(params=WAYS)
def attach(request):
    if SINCE[request.param] > RELEASE:
        pytest.skip(f"needs a kernel with this way to attach ({request.param}: Linux {SINCE[request.param]})")
    return Attacher(request.param)


ARGUMENTS = {
    "nothing": (),
    "constants": (-9, 71, 255, -1, 65535, -(1 << 63)),
    "registers": (
        *(0x1122334455667788, -2, -32767, 0xFF, -128, 0xFEDCBA9876543210 - (1 << 64)),
        *(8, 9, 0x12, 0x13, 0x14, -15),
    ),
    "memory": (-20, 30, 10, (1 << 32) - 40),
    "counted": (5,),
    "nops": (6,),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name, attach, library):
    expected = ARGUMENTS[name]
    trace = getattr(library, f"trace_{name}")
    with attach.loaded() as bpf:
        program = bpf.programs["on_usdt"]
        trace()
        with attach(program, library.path, "probed", name, pid=0, cookie=-5 & (1 << 64) - 1) as link:
            trace(), trace()
            assert (link.kind, link.target) == ("usdt", f"{library.path}:probed:{name}")
            assert len(links_of(id_of(program))) == attach.has_cookies
        trace()
        seen = bpf.maps["seen"][0]
        assert (seen.count, seen.cookie, seen.number) == (2, -5, len(expected))
        assert seen.arguments[: len(expected)] == expected
        assert seen.status == (0,) * len(expected) + (-2,) * (12 - len(expected))  # 2: ENOENT
        assert seen.pid == os.getpid() or not OUTER_PIDS
        assert eventually(lambda: not links_of(id_of(program)))


def test_one_tracepoint_in_many_places(attach, library):
    with attach.loaded() as bpf:
        with attach(bpf.programs["on_usdt"], library.path, "probed", "places", pid=0):
            library.trace_places(7)
        seen = bpf.maps["seen"][0]
        assert (seen.count, seen.sum) == (3, 7 + 1000 + 9)
        # Those with the same arguments share one description.
        described = [spec.arg_cnt for spec in bpf.maps["__bpf_usdt_specs"].values()]
        assert sorted(described) == [0, 0, 1, 1]


def test_a_semaphore_is_raised(attach, library):
    assert library.trace_counted() == 0
    with attach.loaded() as bpf:
        one, other = bpf.programs["on_usdt"], bpf.programs["on_another_usdt"]
        with attach(one, library.path, "probed", "counted", pid=0):
            assert library.trace_counted() == 1
            if attach.has_cookies:
                with attach(other, library.path, "probed", "counted", pid=0):
                    assert library.trace_counted() == 1  # once for the place, however many programs run there
                assert library.trace_counted() == 1
        assert library.trace_counted() == 0


def test_two_programs_and_the_room_that_they_leave(attach, library):
    """The object has room for four descriptions."""
    with attach.loaded() as bpf:
        one, other = bpf.programs["on_usdt"], bpf.programs["on_another_usdt"]
        for _ in range(5):
            with attach(one, library.path, "probed", "places", pid=0):
                with attach(other, library.path, "probed", "constants", pid=0, cookie=8):
                    with attach(other, library.path, "probed", "counted", pid=0, cookie=9):
                        library.trace_places(1), library.trace_constants(), library.trace_counted()
                        with refused(AttachError, "^attaching to usdt .*:memory: map __bpf_usdt_specs is full with 4"):
                            attach(other, library.path, "probed", "memory", pid=0)
        first, second = bpf.maps["seen"].values()
        assert (first.count, second.count, second.cookie, second.arguments[0]) == (15, 10, 9, 5)
        assert dict(bpf.maps["__bpf_usdt_ip_to_spec_id"]) == {}


def test_a_program_that_is_not_relocated(attach, program_file, start):
    """Its addresses are known before it runs."""
    with attach.loaded() as bpf, attach(bpf.programs["on_usdt"], program_file, "probed", "places"):
        one, other = start(), start()
        one("p"), other("p"), other("n")
        seen = bpf.maps["seen"][0]
        assert (seen.count, seen.sum) == (6, 2 * (7 + 1000 + 9))
        assert seen.pid == other.pid or not OUTER_PIDS


def test_one_process(attach, program_file, start):
    one, other = start(), start()
    with attach.loaded() as bpf, attach(bpf.programs["on_usdt"], program_file, "probed", "counted", pid=one.pid):
        assert (one("s"), other("s")) == ("1", "0")
        seen = bpf.maps["seen"][0]
        assert seen.count == 1
        assert seen.pid == one.pid or not OUTER_PIDS


def test_a_file_seen_from_outside_of_a_container(library):
    """/proc/PID/root/... is the same file; in the memory map it stands without that."""
    attach = Attacher("no cookies")
    path = f"/proc/{os.getpid()}/root{library.path}"
    with attach.loaded() as bpf, attach(bpf.programs["on_usdt"], path, "probed", "constants", pid=os.getpid()):
        library.trace_constants()
        assert bpf.maps["seen"][0].count == 1


def test_without_cookies_a_library_needs_a_process(library, program_file, start):
    attach = Attacher("no cookies")
    process = start()
    with attach.loaded() as bpf:
        program, other = bpf.programs["on_usdt"], bpf.programs["on_another_usdt"]
        with refused(AttachError, r"only known once a process has loaded it, so say which, pid=.*5\.15"):
            attach(program, library.path, "probed", "constants")
        with refused(AttachError, f"process {process.pid} has not loaded it"):
            attach(program, library.path, "probed", "constants", pid=process.pid)
        with attach(program, library.path, "probed", "constants", pid=0):
            with refused(AttachError, "a program of this object is attached there already"):
                attach(other, library.path, "probed", "constants", pid=0)
            library.trace_constants()
        assert bpf.maps["seen"][0].count == 1


def test_the_object_may_be_closed_before_the_link(attach, library):
    with attach.loaded() as bpf:
        program, number = bpf.programs["on_usdt"], id_of(bpf.programs["on_usdt"])
        link = attach(program, library.path, "probed", "counted", pid=0)
    assert library.trace_counted() == 1
    link.close()
    assert library.trace_counted() == 0
    assert eventually(lambda: not links_of(number))


@needs_cookies
def test_by_their_section(library):
    with loaded("link_usdt", "on_usdt") as bpf:
        bpf.programs["on_usdt"].spec.attach_to = f"{library.path}:probed:constants"
        bpf.attach()
        library.trace_constants()
        assert bpf.maps["seen"][0].arguments[:2] == (-9, 71)


@needs_cookies
def test_arguments_at_the_sum_of_two_registers(library):
    with loaded("link_usdt_indexed", "on_usdt") as bpf:
        with bpf.programs["on_usdt"].attach_usdt(library.path, "probed", "indexed"):
            library.trace_indexed()
        assert bpf.maps[".bss"][0].seen.arguments == (-20, -40, 10, -40)
        assert bpf.maps[".bss"][0].seen.count == 1
    with loaded("link_usdt", "on_usdt") as bpf:
        with refused(AttachError, "two registers' sum, .*usdt.bpf.h of libbpf 1.7"):
            bpf.programs["on_usdt"].attach_usdt(library.path, "probed", "indexed")


def calls_from_long_nops():
    """Whether there is the system call that a nop of 5 bytes becomes.  Newer kernels say EPROTO, and want 10 bytes."""
    return ctypes.CDLL(None, use_errno=True).syscall(336) == -1 and ctypes.get_errno() == errno.ENXIO


@needs_uprobe_multi
@pytest.mark.needs_kernel("uprobes that make a call of a nop of 5 bytes (Linux 6.18)", calls_from_long_nops)
def test_a_long_nop_is_where_the_probe_is(library):
    """After the first call the kernel has made a call of the long nop, 5 bytes e8 ...; it is the second instruction."""
    with loaded("link_usdt", "on_usdt") as bpf:
        place = ctypes.cast(library.trace_nops, ctypes.c_void_p).value
        assert ctypes.string_at(place, 6) == b"\x90\x0f\x1f\x44\x00\x00"
        with bpf.programs["on_usdt"].attach_usdt(library.path, "probed", "nops", pid=0):
            library.trace_nops(), library.trace_nops()
            code = ctypes.string_at(place, 6)
            assert code[:1] == b"\x90" and code[1:2] in (b"\xcc", b"\xe8")
        assert bpf.maps["seen"][0].count == 2


def test_no_such_tracepoint(attach, library, tmp_path):
    with attach.loaded() as bpf:
        program = bpf.programs["on_usdt"]
        path = re.escape(library.path)
        for provider, name, message in (
            ("probed", "plases", f"{path} has no static tracepoint probed:plases; did you mean probed:places"),
            ("prob", "memory", "has no static tracepoint prob:memory; did you mean probed:memory"),
            ("probed", "too_many", "has more than 12 arguments"),
            ("probed", "unreadable", "argument 1 is '8f@%xmm0', which purebpf cannot read"),
        ):
            with refused(AttachError, f"^attaching to usdt .*{message}"):
                attach(program, library.path, provider, name, pid=0)
        with refused(AttachError, "there is no file /no/such/file"):
            attach(program, "/no/such/file", "probed", "places")
        without = tmp_path / "without"
        without.write_bytes(Path(library.path).read_bytes().replace(b".note.stapsdt", b".note.another"))
        with refused(AttachError, r"has no static tracepoints \(no section .note.stapsdt\)"):
            attach(program, str(without), "probed", "places")
        with refused(AttachError, "is no 64-bit program or shared library of this machine's byte order"):
            attach(program, str(OBJECTS / "link_usdt.bpf.o"), "probed", "places")
        for target in ("a:b", "a:b:c:d", "a::c"):
            program.spec.attach_to = target
            with refused(AttachError, "program 'on_usdt': section 'usdt'.*usdt/FILE:PROVIDER:NAME"):
                program.attach()


def test_an_object_without_the_maps(library):
    with loaded("link_probes", "on_uprobe") as bpf:
        with refused(AttachError, "no map __bpf_usdt_specs; .*#include <bpf/usdt.bpf.h>"):
            bpf.programs["on_uprobe"].attach_usdt(library.path, "probed", "places", pid=0)
