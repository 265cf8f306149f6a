"""Single kprobes, system calls, uprobes, and tracepoints with cookies: the event arrives, with what the program reads.

Each way to attach is taken that the kernel has: as perf events, with a bpf link or the ioctl, and as events that
tracefs defines.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from kernel_state import RELEASE, bpftool, descriptors, events_of, eventually, has_symbol, id_of, links_of, refused
from probing import (
    library,
    loaded,
    needs_cookies,
    needs_kprobes,
    needs_sleepable_uprobes,
    program_file,
    start,
    x86_64_only,
)
from running import OUTER_PIDS

from purebpf.errors import AttachError, KernelError, ObjectFormatError
from purebpf.kernel.features import Feature, Features
from purebpf.kernel.tracefs import Tracefs
from purebpf.links.kprobe import attach_kprobe, attach_ksyscall
from purebpf.links.uprobe import attach_uprobe

pytestmark = [pytest.mark.needs_root, x86_64_only]
__all__ = ["library", "program_file", "start"]

KPROBE, KRETPROBE, KSYSCALL, KRETSYSCALL, UPROBE, URETPROBE, SLEEPABLE_UPROBE, SLEEPABLE_URETPROBE, TRACEPOINT = range(
    9
)

SYSTEM_CALL = "sched_get_priority_max"
FUNCTION = f"__x64_sys_{SYSTEM_CALL}"
HIGHEST = 99


def hit():
    assert os.sched_get_priority_max(os.SCHED_FIFO) == HIGHEST


WAYS = {
    "link": {Feature.PERF_LINK: True},
    "ioctl": {Feature.PERF_LINK: False},
    "tracefs, link": {Feature.PERF_LINK: True, Feature.KPROBE_PMU: False, Feature.UPROBE_PMU: False},
    "tracefs, ioctl": {Feature.PERF_LINK: False, Feature.KPROBE_PMU: False, Feature.UPROBE_PMU: False},
}


@pytest.fixture(params=WAYS)
def features(request):
    """The features that make purebpf take this way."""
    if "link" in request.param and RELEASE < (5, 15):
        pytest.skip("needs a kernel with links to perf events (Linux 5.15)")
    return Features(WAYS[request.param])


def defined():
    """The events that purebpf has had defined for this process."""
    with Tracefs.open() as tracefs:
        files = [file for file in ("kprobe_events", "uprobe_events") if file in tracefs.listdir()]
        return re.findall(rf"\bpurebpf_{os.getpid()}_\w+", "".join(map(tracefs.read, files)))


def check_attached(number, features, probes=1):
    """The kernel's own view of a program that is attached."""
    assert len(links_of(number)) == probes * features.has(Feature.PERF_LINK)
    assert len(events_of(number)) == probes
    assert len(defined()) == probes * (not features.has(Feature.UPROBE_PMU))


def check_detached(number):
    assert eventually(lambda: not events_of(number))
    assert links_of(number) == defined() == []


# --- kprobes ---


@needs_kprobes
@pytest.mark.needs_tool("bpftool")
def test_kprobe(features):
    with loaded("link_probes", "on_kprobe", wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        program, number = bpf.programs["on_kprobe"], id_of(bpf.programs["on_kprobe"])
        link = attach_kprobe(program.fileno(), FUNCTION, features=features)
        for _ in range(10):
            hit()
        assert bpf.maps["seen"][KPROBE].count == 10
        check_attached(number, features)
        assert [event["func"] for event in events_of(number)] == [FUNCTION]
        link.close()
        hit()
        assert bpf.maps["seen"][KPROBE].count == 10
        check_detached(number)
        link.close()  # harmless


@needs_kprobes
def test_kretprobe(features):
    with loaded("link_probes", "on_kretprobe", wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        with attach_kprobe(bpf.programs["on_kretprobe"].fileno(), FUNCTION, retprobe=True, features=features) as link:
            hit()
            assert (link.kind, link.target) == ("kretprobe", FUNCTION)
        hit()
        seen = bpf.maps["seen"][KRETPROBE]
        assert (seen.count, seen.result) == (1, HIGHEST)


def address_of(function):
    (address,) = re.findall(rf"^(\S+) [tT] {function}$", Path("/proc/kallsyms").read_text(), re.MULTILINE)
    return int(address, 16)


def second_instruction(program):
    """The offset of an instruction in FUNCTION that is not its first: the kernel refuses a place within one."""
    for offset in count(1):
        try:
            program.attach_kprobe(FUNCTION, offset=offset).close()
        except KernelError as error:
            assert error.errno == errno.EILSEQ
        else:
            return offset


@needs_kprobes
@pytest.mark.parametrize("by", ["offset", "section", "address"])
def test_kprobe_within_a_function(by):
    with loaded("link_probes", "on_kprobe", wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        program = bpf.programs["on_kprobe"]
        offset = second_instruction(program)
        if by == "offset":
            link = program.attach_kprobe(FUNCTION, offset=offset)
        elif by == "section":
            program.spec.attach_to = f"{FUNCTION}+{offset:#x}"
            link = program.attach()
        else:
            link = program.attach_kprobe(address_of(FUNCTION) + offset)
        with link:
            hit()
        seen = bpf.maps["seen"][KPROBE]
        assert seen.count == 1
        assert seen.ip - address_of(FUNCTION) in (offset, offset + 1)  # at the instruction, or after the int3 there


@needs_kprobes
def test_system_calls_by_their_section():
    programs = ("on_ksyscall", "on_kretsyscall")
    with loaded("link_probes", *programs, wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        assert [link.target for link in bpf.attach()] == [FUNCTION] * 2
        hit()
        bpf.detach()
        hit()
        entry, back = bpf.maps["seen"][KSYSCALL], bpf.maps["seen"][KRETSYSCALL]
        assert (entry.count, entry.first) == (1, os.SCHED_FIFO)
        assert (back.count, back.result) == (1, HIGHEST)


def test_the_function_of_a_system_call(monkeypatch):
    """Without a wrapper it has another name."""
    names = []
    monkeypatch.setattr("purebpf.links.kprobe.attach_kprobe", lambda fd, name, **_: names.append(name))
    for wrapper in (True, False):
        attach_ksyscall(-1, "openat", features=Features({Feature.SYSCALL_WRAPPER: wrapper}))
    assert names == ["__x64_sys_openat", "__se_sys_openat"]


@needs_kprobes
@needs_cookies
@pytest.mark.parametrize("pmu", [True, False])
def test_cookies_of_kprobes(pmu):
    features = Features({Feature.KPROBE_PMU: pmu, Feature.PERF_LINK: True})
    with loaded("link_probes", "on_kprobe", "on_kretprobe", wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        one, other = (program.fileno() for program in bpf.programs.values())
        with attach_kprobe(one, FUNCTION, cookie=(1 << 64) - 5, features=features):
            with attach_kprobe(other, FUNCTION, retprobe=True, cookie=6, features=features):
                hit()
        assert [bpf.maps["seen"][kind].cookie for kind in (KPROBE, KRETPROBE)] == [(1 << 64) - 5, 6]


@needs_kprobes
@pytest.mark.parametrize("pmu", [True, False])
def test_no_such_function(pmu):
    features = Features({Feature.KPROBE_PMU: pmu})
    with loaded("link_probes", "on_kprobe") as bpf:
        program = bpf.programs["on_kprobe"]
        with refused(
            AttachError, "^attaching to kprobe do_nanoslep: .*no function do_nanoslep; did you mean do_nanosl"
        ):
            attach_kprobe(program.fileno(), "do_nanoslep", features=features)
        with refused(KernelError, r"do_nanosleep\+0x1: .*EILSEQ.*No instruction begins there"):
            attach_kprobe(program.fileno(), "do_nanosleep", offset=1, features=features)
        with refused(AttachError, "no function __x64_sys_openatt; did you mean .*__x64_sys_openat"):
            program.attach_ksyscall("openatt")
        assert defined() == []


@needs_kprobes
def test_what_is_not_to_be_probed():
    with loaded("link_probes", "on_kprobe", "on_tracepoint") as bpf:
        with refused(KernelError, "kprobe exc_int3: .*EINVAL.*does not let itself be probed there"):
            bpf.programs["on_kprobe"].attach_kprobe("exc_int3")
        with refused(KernelError, "kprobe 0x1234: .*There is no code|kprobe 0x1234: .*does not let itself be probed"):
            bpf.programs["on_kprobe"].attach_kprobe(0x1234)
        with refused(KernelError, "EINVAL.*BPF_PROG_TYPE_KPROBE"):
            bpf.programs["on_tracepoint"].attach_kprobe(FUNCTION)


@pytest.mark.needs_kernel("no CONFIG_KPROBES", lambda: not has_symbol("register_kprobe"))
def test_a_kernel_without_kprobes():
    with loaded("link_probes", "on_kprobe", "on_ksyscall") as bpf:
        for function in ("do_nanosleep", 0xFFFFFFFF81000000):
            with refused(AttachError, "this kernel has no kprobes. .*CONFIG_KPROBES"):
                bpf.programs["on_kprobe"].attach_kprobe(function)
        with refused(AttachError, "this kernel has no kprobes. .*CONFIG_KPROBES"):
            bpf.attach()


# --- uprobes ---


@pytest.mark.needs_tool("bpftool")
def test_uprobe(features, library):
    with loaded("link_probes", "on_uprobe") as bpf:
        program, number = bpf.programs["on_uprobe"], id_of(bpf.programs["on_uprobe"])
        library.probed_sum(1, 2)
        link = attach_uprobe(program.fileno(), library.path, "probed_sum", features=features)
        assert library.probed_sum(40, 2) == 42
        assert library.probed_sum(50, 3) == 53
        library.probed_many_one(4)
        seen = bpf.maps["seen"][UPROBE]
        assert (seen.count, seen.first, seen.second) == (2, 50, 3)
        assert seen.pid == os.getpid() or not OUTER_PIDS
        check_attached(number, features)
        link.close()
        library.probed_sum(1, 2)
        assert bpf.maps["seen"][UPROBE].count == 2
        check_detached(number)
        link.close()  # harmless


def test_uretprobe(features, library):
    with loaded("link_probes", "on_uretprobe") as bpf:
        program = bpf.programs["on_uretprobe"]
        with attach_uprobe(program.fileno(), library.path, "probed_sum", retprobe=True, features=features) as link:
            library.probed_sum(40, 2)
            assert (link.kind, link.target) == ("uretprobe", f"{library.path}:probed_sum")
        library.probed_sum(40, 2)
        seen = bpf.maps["seen"][URETPROBE]
        assert (seen.count, seen.result) == (1, 42)


@needs_sleepable_uprobes
def test_sleepable_uprobes(library):
    programs = ("on_sleepable_uprobe", "on_sleepable_uretprobe")
    with loaded("link_probes", *programs) as bpf:
        for program in bpf.programs.values():
            program.spec.attach_to = f"{library.path}:probed_sum"
        bpf.attach()
        library.probed_sum(40, 2)
        entry, back = bpf.maps["seen"][SLEEPABLE_UPROBE], bpf.maps["seen"][SLEEPABLE_URETPROBE]
        assert (entry.count, entry.first, back.count, back.result) == (1, 40, 1, 42)


def nth_address(library, name):
    """Where a function is in this process."""
    import ctypes

    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value


@pytest.mark.parametrize("place", ["function+4", "offset in file", "static", "old version", "default version"])
def test_places(place, library):
    base = nth_address(library, "probed_sum")
    with loaded("link_probes", "on_uprobe") as bpf:
        program = bpf.programs["on_uprobe"]
        if place == "function+4":  # the first instruction, lea (%rdi,%rsi,1),%rax, has 4 bytes
            link, expected = program.attach_uprobe(library.path, "probed_sum", offset=4), base + 4
        elif place == "offset in file":
            mapped = re.search(
                rf"^(\w+)-\w+ r-xp (\w+) .* {re.escape(library.path)}$", Path("/proc/self/maps").read_text(), re.M
            )
            start, offset = (int(number, 16) for number in mapped.groups())
            link, expected = program.attach_uprobe(library.path, offset=base - start + offset), base
        elif place == "static":
            link, expected = program.attach_uprobe(library.path, "probed_static"), None
        else:
            version = "versioned@PROBED_1" if place == "old version" else "versioned@@PROBED_2"
            function = "versioned_1" if place == "old version" else "versioned_2"
            link, expected = program.attach_uprobe(library.path, version), nth_address(library, function)
        with link:
            library.probed_sum(40, 2)
            library.probed_calls_static(21)
            library.versioned_1(5)
            library.versioned_2(6)
        seen = bpf.maps["seen"][UPROBE]
        assert seen.count == 1
        assert seen.ip == expected or expected is None
        if place == "static":
            assert seen.first == 21


@pytest.mark.parametrize("name", ["libprobed.so.1", "libprobed"])
def test_a_library_by_its_name(name, library, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{Path(library.path).parent}")
    with loaded("link_probes", "on_uprobe") as bpf:
        bpf.programs["on_uprobe"].spec.attach_to = f"{name}:probed_sum+0"
        bpf.attach()
        library.probed_sum(40, 2)
        assert bpf.maps["seen"][UPROBE].count == 1


def test_a_program_by_its_name(program_file, start, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(program_file).parent}:{os.environ['PATH']}")
    with loaded("link_probes", "on_uprobe") as bpf, bpf.programs["on_uprobe"].attach_uprobe("probed", "probed_sum"):
        process = start()
        assert process("f") == "f"
        seen = bpf.maps["seen"][UPROBE]
        assert (seen.count, seen.first, seen.second) == (1, 40, 2)
        assert seen.pid == process.pid or not OUTER_PIDS


def test_the_libc_of_this_process():
    """By name; the function has several versions in many of them."""
    import ctypes

    libc = ctypes.CDLL(None)
    with loaded("link_probes", "on_uprobe") as bpf:
        with bpf.programs["on_uprobe"].attach_uprobe("libc", "labs", pid=0):
            libc.labs(-7)
        seen = bpf.maps["seen"][UPROBE]
        assert (seen.count, seen.first & 0xFFFFFFFF) == (1, 0xFFFFFFF9)


def test_one_process_or_all(features, program_file, start):
    one, other = start(), start()
    with loaded("link_probes", "on_uprobe") as bpf:
        program = bpf.programs["on_uprobe"].fileno()

        def counted(pid):
            before = bpf.maps["seen"][UPROBE].count
            with attach_uprobe(program, program_file, "probed_sum", pid=pid, features=features):
                one("f"), one("f"), other("f")
                third = start()
                third("f")
            return bpf.maps["seen"][UPROBE].count - before

        assert counted(one.pid) == 2
        assert counted(other.pid) == 1
        assert counted(0) == 0
        assert counted(-1) == 4


def test_this_process(features, library):
    with loaded("link_probes", "on_uprobe") as bpf:
        with attach_uprobe(bpf.programs["on_uprobe"].fileno(), library.path, "probed_sum", pid=0, features=features):
            library.probed_sum(1, 2)
            child = os.fork()
            if child == 0:
                library.probed_sum(1, 2)
                os._exit(0)
            os.waitpid(child, 0)
        assert bpf.maps["seen"][UPROBE].count == 1


def semaphore_offset(library):
    """Of the counter that the library's function trace_counted() returns, in its file."""
    from purebpf.obj import usdt
    from purebpf.obj.binary import Binary

    with Binary.open(library.path) as binary:
        return usdt.sites(binary, "probed", "counted")[0].semaphore


def test_a_counter_is_raised(library):
    """It is while the probe is there, and in that process only."""
    offset = semaphore_offset(library)
    assert library.trace_counted() == 0
    with loaded("link_probes", "on_uprobe") as bpf:
        program = bpf.programs["on_uprobe"]
        with program.attach_uprobe(library.path, "trace_counted", ref_ctr_offset=offset):
            assert library.trace_counted() == 1
        assert library.trace_counted() == 0
        with refused(AttachError, "a counter to be raised needs"):
            features = Features({Feature.UPROBE_PMU: False})
            attach_uprobe(program.fileno(), library.path, "trace_counted", ref_ctr_offset=offset, features=features)


@needs_cookies
@pytest.mark.parametrize("pmu", [True, False])
def test_cookies_of_uprobes(pmu, library):
    features = Features({Feature.UPROBE_PMU: pmu, Feature.PERF_LINK: True})
    with loaded("link_probes", "on_uprobe", "on_uretprobe") as bpf:
        one, other = (program.fileno() for program in bpf.programs.values())
        with attach_uprobe(one, library.path, "probed_sum", cookie=7, features=features):
            with attach_uprobe(other, library.path, "probed_sum", retprobe=True, cookie=8, features=features):
                library.probed_sum(1, 2)
        assert [bpf.maps["seen"][kind].cookie for kind in (UPROBE, URETPROBE)] == [7, 8]


def test_cookies_need_links(library):
    with loaded("link_probes", "on_uprobe") as bpf:
        features = Features({Feature.PERF_LINK: False})
        with refused(AttachError, "^attaching to uprobe .*a cookie needs .*Linux 5.15"):
            attach_uprobe(bpf.programs["on_uprobe"].fileno(), library.path, "probed_sum", cookie=7, features=features)


@pytest.mark.needs_tool("bpftool")
def test_a_killed_process_leaves_no_uprobe(library):
    with loaded("link_probes", "on_uprobe") as bpf:
        program, number = bpf.programs["on_uprobe"], id_of(bpf.programs["on_uprobe"])
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            with program.attach_uprobe(library.path, "probed_sum"):
                os.write(writer, b"x")
                signal.pause()
        os.read(reader, 1)
        assert len(events_of(number)) == 1
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        check_detached(number)
        library.probed_sum(1, 2)
        assert bpf.maps["seen"][UPROBE].count == 0


@contextmanager
def uprobe_program():
    with loaded("link_probes", "on_uprobe") as bpf:
        yield bpf.programs["on_uprobe"]


def test_no_such_place(library, tmp_path):
    with uprobe_program() as program:
        path = re.escape(library.path)
        for function, message in (
            ("probed_sun", f"{path}:probed_sun: {path} has no function probed_sun; did you mean probed_sum?"),
            ("versioned", f"{path} has 2 functions versioned; name one: versioned@PROBED_1, versioned@PROBED_2"),
            ("versioned@PROBED_3", "has no versioned@PROBED_3; it has versioned in version PROBED_1, PROBED_2"),
            ("chosen", "chosen .* one of several functions, which the dynamic linker chooses.*: chosen_now"),
            ("getpid", "only calls getpid, which is in a shared library; probe that one"),
        ):
            with refused(AttachError, f"^attaching to uprobe .*{message}"):
                program.attach_uprobe(library.path, function)
        for file, message in (
            (f"{tmp_path}/libprobd.so.1", "there is no file .*libprobd.so.1; did you mean libprobed.so.1?"),
            (f"{tmp_path}/no/such.so", "there is no file .*/no/such.so$"),
            ("libprobed.so.77", "there is no shared library libprobed.so.77 in .*/usr/lib"),
            ("no_such_program", "there is no program no_such_program in .*/usr/bin"),
        ):
            with refused(AttachError, message):
                program.attach_uprobe(file, "probed_sum")


def test_no_such_file_format(tmp_path):
    (tmp_path / "text").write_text("#!/bin/sh\n")
    (tmp_path / "empty").write_bytes(b"")
    with uprobe_program() as program:
        for name in ("text", "empty"):
            with refused(ObjectFormatError, f"{name}: not an ELF file"):
                program.attach_uprobe(f"{tmp_path}/{name}", "main")
        with refused(KernelError, "EISDIR"):
            program.attach_uprobe(str(tmp_path), "main")


def test_places_that_the_kernel_refuses(library):
    with uprobe_program() as program:
        with refused(KernelError, "0x40000000: .*EINVAL.*beyond the end of the file"):
            program.attach_uprobe(library.path, offset=1 << 30)
        with refused(KernelError, "ESRCH.*There is no process"):
            program.attach_uprobe(library.path, "probed_sum", pid=0x3FFFFFFF)
        with pytest.raises(ValueError, match="offset 4"):
            program.attach_uprobe(library.path, "probed_sum", offset=4, retprobe=True)
    with loaded("link_probes", "on_tracepoint") as bpf, refused(KernelError, "EINVAL.*BPF_PROG_TYPE_KPROBE"):
        bpf.programs["on_tracepoint"].attach_uprobe(library.path, "probed_sum")


@pytest.mark.parametrize("target", ["", "libprobed.so.1", "libprobed.so.1:", ":probed_sum"])
def test_sections_that_do_not_say(target):
    with uprobe_program() as program:
        program.spec.attach_to = target
        with refused(AttachError, "^program 'on_uprobe': section 'uprobe'.*uprobe/"):
            program.attach()


# --- tracepoints ---


@needs_cookies
def test_cookies_of_tracepoints():
    with loaded("link_probes", "on_tracepoint", wanted_pid=os.getpid() * OUTER_PIDS) as bpf:
        program = bpf.programs["on_tracepoint"]
        with program.attach_tracepoint("syscalls", f"sys_enter_{SYSTEM_CALL}", cookie=9):
            hit()
        assert bpf.maps["seen"][TRACEPOINT].cookie == 9


def test_bpftool_is_asked_in_json():
    """What the checks above rely on: that a program which is attached to nothing has no entry."""
    with loaded("link_probes", "on_uprobe") as bpf:
        number = id_of(bpf.programs["on_uprobe"])
        assert any(program["id"] == number for program in bpftool("prog", "show"))
        assert events_of(number) == links_of(number) == []
        assert descriptors()
