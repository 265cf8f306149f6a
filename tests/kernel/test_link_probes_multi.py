"""Many functions at once, of the kernel and of user space: events arrive from each, with its cookie."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

import pytest
from kernel_state import RELEASE, eventually, has_symbol, id_of, links_of, refused
from probing import (
    library,
    loaded,
    needs_fprobes,
    needs_kprobe_sessions,
    needs_uprobe_multi,
    needs_uprobe_sessions,
    program_file,
    start,
    x86_64_only,
)
from running import OUTER_PIDS

from purebpf.errors import AttachError, KernelError
from purebpf.kernel.tracefs import Tracefs
from purebpf.links import kprobe_multi

pytestmark = [pytest.mark.needs_root, x86_64_only]
__all__ = ["library", "program_file", "start"]

KPROBE, KRETPROBE, KSESSION, UPROBE, URETPROBE, USESSION = range(6)
SLEEPABLE_UPROBE, SLEEPABLE_URETPROBE, SLEEPABLE_USESSION = range(6, 9)

HIGHEST, LOWEST = 99, 1
MAX, MIN = "__x64_sys_sched_get_priority_max", "__x64_sys_sched_get_priority_min"


def hit():
    assert os.sched_get_priority_max(os.SCHED_FIFO) == HIGHEST
    assert os.sched_get_priority_min(os.SCHED_FIFO) == LOWEST


def addresses():
    text = Path("/proc/kallsyms").read_text()
    return [int(re.search(rf"^(\S+) [tT] {name}$", text, re.MULTILINE)[1], 16) for name in (MAX, MIN)]


def multi(*programs, **variables):
    return loaded("link_probes_multi", *programs, wanted_pid=os.getpid() * OUTER_PIDS, **variables)


# --- kprobes ---


@needs_fprobes
@pytest.mark.parametrize(
    "functions", ["__x64_sys_sched_get_priority_m*", "__x64_sys_sched_get_priority_m??", [MAX, MIN]]
)
def test_kernel_functions(functions):
    with multi("on_kprobe", "on_kretprobe") as bpf:
        one, other = bpf.programs["on_kprobe"], bpf.programs["on_kretprobe"]
        with one.attach_kprobe_multi(functions) as link, other.attach_kprobe_multi(functions):
            hit()
            assert len(links_of(id_of(one))) == 1
            assert link.kind == "kprobe.multi"
        hit()
        assert bpf.maps["seen"][KPROBE].count == 2
        back = bpf.maps["seen"][KRETPROBE]
        assert (back.count, back.result) == (2, LOWEST)
        assert links_of(id_of(one)) == []


@needs_fprobes
def test_kernel_functions_by_address():
    with multi("on_kprobe") as bpf, bpf.programs["on_kprobe"].attach_kprobe_multi(addresses(), cookies=[3, 4]):
        hit()
        assert bpf.maps["seen"][KPROBE].count == 2
        assert dict(bpf.maps["cookies"]) == {3: 1, 4: 1}


@needs_fprobes
def test_cookies_of_kernel_functions():
    with (
        multi("on_kprobe") as bpf,
        bpf.programs["on_kprobe"].attach_kprobe_multi([MIN, MAX], cookies=[(1 << 64) - 1, 4]),
    ):
        hit()
        hit()
        assert dict(bpf.maps["cookies"]) == {(1 << 64) - 1: 2, 4: 2}


@needs_fprobes
def test_kernel_functions_by_their_section():
    with multi("on_kprobe", "on_kretprobe") as bpf:
        bpf.programs["on_kprobe"].spec.attach_to = MAX
        bpf.programs["on_kretprobe"].spec.attach_to = "__x64_sys_sched_get_priority_*"
        assert [link.kind for link in bpf.attach()] == ["kprobe.multi", "kretprobe.multi"]
        hit()
        assert (bpf.maps["seen"][KPROBE].count, bpf.maps["seen"][KRETPROBE].count) == (1, 2)


@needs_kprobe_sessions
@pytest.mark.parametrize("result, runs", [(0, 2), (1, 1)])
def test_kernel_sessions(result, runs):
    """The program runs again at the return unless it says no."""
    with multi("on_ksession", session_result=result) as bpf:
        bpf.programs["on_ksession"].spec.attach_to = MAX
        (link,) = bpf.attach()
        assert link.kind == "kprobe.session"
        hit()
        assert bpf.maps["seen"][KSESSION].count == runs


@needs_fprobes
def test_both_lists_of_traceable_functions():
    """That with addresses, since Linux 6.5, has what the older one and the list of symbols have together.

    Its addresses may be those of what comes after an ENDBR instruction, of four bytes.
    """
    with Tracefs.open() as tracefs:
        older = kprobe_multi._by_name(tracefs, "__x64_sys_sched_*", "testing")
        assert set(addresses()) <= set(older)
        newer = kprobe_multi.traceable(tracefs, "__x64_sys_sched_*", "testing")
        assert {new - old for new, old in zip(sorted(newer), sorted(older), strict=True)} in ({0}, {4})


@needs_fprobes
def test_no_such_kernel_functions():
    with multi("on_kprobe") as bpf:
        attach = bpf.programs["on_kprobe"].attach_kprobe_multi
        with refused(AttachError, r"kprobe.multi no_such\*: no function that can be traced fits the pattern"):
            attach("no_such*")
        with refused(AttachError, "no function do_nanoslep; did you mean do_nanosleep"):
            attach(["do_exit", "do_nanoslep"])
        with refused(KernelError, "Not every one of these functions can be traced"):
            attach("exc_int3")
        with refused(KernelError, "(EINVAL|ENOENT).*where (a function begins|functions begin)"):
            attach([0x1234])
        for functions in (["do_exit"], [1, 2], "do_ex*"):
            with pytest.raises(ValueError, match="one for each entry"):
                attach(functions, cookies=[1, 2, 3])
        with pytest.raises(ValueError, match="names, or of addresses"):
            attach([])


@pytest.mark.needs_kernel("no CONFIG_FPROBE", lambda: not has_symbol("register_fprobe"))
@pytest.mark.parametrize("program, needed", [("on_kprobe", "5.18"), ("on_ksession", "6.10")])
def test_a_kernel_without_fprobes(program, needed):
    with multi(program) as bpf, refused((KernelError, AttachError), rf"{MAX}.*Linux {needed} with CONFIG_FPROBE"):
        bpf.programs[program].attach_kprobe_multi(MAX)


# --- uprobes ---


@needs_uprobe_multi
@pytest.mark.parametrize("by", ["pattern", "names", "offsets"])
def test_functions_of_a_library(by, library):
    names = ["probed_many_one", "probed_many_two", "probed_many_three"]
    if by == "offsets":
        text = Path("/proc/self/maps").read_text()
        start, offset = re.search(rf"^(\w+)-\w+ r-xp (\w+) .* {re.escape(library.path)}$", text, re.MULTILINE).groups()
        places = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]
        functions = [place - int(start, 16) + int(offset, 16) for place in places]
    else:
        functions = "probed_many_*" if by == "pattern" else names
    with multi("on_uprobe", "on_uretprobe") as bpf:
        one, other = bpf.programs["on_uprobe"], bpf.programs["on_uretprobe"]
        cookies = [] if by == "pattern" else [5, 6, 7]
        with one.attach_uprobe_multi(library.path, functions, cookies=cookies) as link:
            with other.attach_uprobe_multi(library.path, functions):
                for name in names:
                    getattr(library, name)(10)
                library.probed_sum(1, 2)
            assert len(links_of(id_of(one))) == 1
            assert link.kind == "uprobe.multi"
        library.probed_many_one(1)
        entry, back = bpf.maps["seen"][UPROBE], bpf.maps["seen"][URETPROBE]
        assert (entry.count, entry.first) == (3, 10)  # once each, though one of them has a second name
        assert (back.count, back.result) == (3, 13)
        assert dict(bpf.maps["cookies"]) == ({0: 6} if by == "pattern" else {0: 3, 5: 1, 6: 1, 7: 1})
        assert eventually(lambda: not links_of(id_of(one)))


@needs_uprobe_multi
def test_functions_by_their_section(library, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(Path(library.path).parent))
    with multi("on_uprobe", "on_uretprobe", "on_sleepable_uprobe", "on_sleepable_uretprobe") as bpf:
        for program in bpf.programs.values():
            program.spec.attach_to = "libprobed.so.1:probed_many_t*"
        bpf.attach()
        library.probed_many_one(1), library.probed_many_two(1), library.probed_many_three(1)
        kinds = (UPROBE, URETPROBE, SLEEPABLE_UPROBE, SLEEPABLE_URETPROBE)
        assert [bpf.maps["seen"][kind].count for kind in kinds] == [2] * 4


@needs_uprobe_sessions
@pytest.mark.parametrize("result, runs", [(0, 2), (1, 1)])
def test_sessions(result, runs, library):
    with multi("on_usession", "on_sleepable_usession", session_result=result) as bpf:
        for program in bpf.programs.values():
            program.spec.attach_to = f"{library.path}:probed_sum"
        assert [link.kind for link in bpf.attach()] == ["uprobe.session"] * 2
        library.probed_sum(1, 2)
        assert [bpf.maps["seen"][kind].count for kind in (USESSION, SLEEPABLE_USESSION)] == [runs] * 2


@needs_uprobe_multi
@pytest.mark.needs_kernel("links to uprobes of one process (Linux 6.10)", RELEASE >= (6, 10))
def test_functions_in_one_process(program_file, start):
    one, other = start(), start()
    with loaded("link_probes_multi", "on_uprobe") as bpf:
        attach = bpf.programs["on_uprobe"].attach_uprobe_multi
        for pid, expected in ((one.pid, 1), (other.pid, 2), (-1, 3), (0, 0)):
            before = bpf.maps["seen"][UPROBE].count
            with attach(program_file, ["probed_sum"], pid=pid):
                one("f"), other("f"), other("f")
            assert bpf.maps["seen"][UPROBE].count - before == expected


@needs_uprobe_multi
def test_counters_are_raised(library):
    from purebpf.obj import usdt
    from purebpf.obj.binary import Binary

    with Binary.open(library.path) as binary:
        place = usdt.sites(binary, "probed", "counted")[0].semaphore
    with loaded("link_probes_multi", "on_uprobe") as bpf:
        attach = bpf.programs["on_uprobe"].attach_uprobe_multi
        with attach(library.path, ["trace_counted", "probed_sum"], ref_ctr_offsets=[place, 0]):
            assert library.trace_counted() == 1
        assert library.trace_counted() == 0


@needs_uprobe_multi
def test_no_such_functions(library):
    with loaded("link_probes_multi", "on_uprobe") as bpf:
        attach = bpf.programs["on_uprobe"].attach_uprobe_multi
        with refused(AttachError, r"^attaching to uprobe.multi .*: .* has no function no_such\*$"):
            attach(library.path, "no_such*")
        with refused(AttachError, "has no function probed_sun; did you mean probed_sum?"):
            attach(library.path, ["probed_sum", "probed_sun"])
        with refused(AttachError, "there is no file /no/such.so"):
            attach("/no/such.so", "probed*")
        with refused(KernelError, "EINVAL.*offsets within the file"):
            attach(library.path, [1 << 40])
        with refused(KernelError, "ESRCH.*There is no such process"):
            attach(library.path, "probed_sum", pid=0x3FFFFFFF)
        with pytest.raises(ValueError, match="one for each entry"):
            attach(library.path, ["probed_sum"], cookies=[1, 2])
        for target in ("probed", "/a/file:", ":main"):
            bpf.programs["on_uprobe"].spec.attach_to = target
            with refused(AttachError, "program 'on_uprobe': section 'uprobe.multi'.*uprobe.multi/FILE:PATTERN"):
                bpf.attach()


@pytest.mark.needs_kernel("no links to many uprobes", lambda: not has_symbol("bpf_uprobe_multi_link_attach"))
def test_a_kernel_without_links_to_uprobes(library):
    with loaded("link_probes_multi", "on_uprobe") as bpf, refused(KernelError, "EINVAL.*It takes Linux 6.6"):
        bpf.programs["on_uprobe"].attach_uprobe_multi(library.path, "probed_*")
