"""Real loads: what is in the kernel afterwards, what a refusal says, and that nothing stays behind."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from kernel_state import RELEASE, THREADS, attach_and_detach, bpftool, descriptors, eventually, nothing_left, parsed

import purebpf
from purebpf.abi.attr import bpf_map_info, bpf_prog_info
from purebpf.errors import AttachError, KernelError, PureBpfError, VerifierError
from purebpf.kernel.bpf import obj_get_info_by_fd
from purebpf.load import execute as executor

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("bpftool")]

OBJECTS = Path(__file__).resolve().parents[1] / "objects"
PREBUILT = OBJECTS.parents[1] / "prebuilt"


def only(name):
    """The object of rejected programs, to load this one of them."""
    spec = parsed("load_rejected")
    spec.programs[name].autoload = True
    return spec


def source_line(name, text):
    """``file:number: text`` of a line in the source of a test object."""
    lines = (OBJECTS / f"{name}.bpf.c").read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if line.strip() == text)
    return f"tests/objects/{name}.bpf.c:{number}: {text}"


def rejection(spec):
    with pytest.raises(VerifierError) as caught:
        spec.load()
    return caught.value


# --- what is in the kernel ---


def map_types():
    """The object, without the types of maps that the running kernel is too old for."""
    spec = parsed("load_map_types")
    for name, since in (("bloom", (5, 16)), ("user_ring", (6, 1))):
        if since > RELEASE:
            del spec.maps[name]
    return spec


def test_what_the_kernel_has():
    with map_types().load() as bpf:
        for name, program in bpf.programs.items():
            info = obj_get_info_by_fd(program.fileno(), bpf_prog_info)
            assert info.name == name.encode()[:15]
            assert info.type == program.spec.type
            assert info.gpl_compatible
        for key, live in bpf.maps.items():
            info = obj_get_info_by_fd(live.fileno(), bpf_map_info)
            definition = bpf.spec.maps[key]
            assert info.name == definition.name.encode()[:15]
            assert (info.type, info.key_size, info.value_size) == (
                live.type,
                definition.key_size,
                definition.value_size,
            )
            assert info.max_entries == live.max_entries
            assert info.map_flags == definition.map_flags


def test_long_names():
    with map_types().load() as bpf:
        long = "a_map_whose_name_is_longer_than_the_kernel_keeps"
        assert obj_get_info_by_fd(bpf.maps[long].fileno(), bpf_map_info).name == b"a_map_whose_nam"
        (program,) = bpf.programs.values()
        assert obj_get_info_by_fd(program.fileno(), bpf_prog_info).name == b"a_program_whose"


def test_constants_are_bound_to_programs_that_use_no_map():
    with parsed("load_subprograms").load() as bpf:
        constants = obj_get_info_by_fd(bpf.maps[".rodata"].fileno(), bpf_map_info).id
        shown = bpftool("prog", "show", "id", str(obj_get_info_by_fd(bpf.programs["alone"].fileno(), bpf_prog_info).id))
        assert shown["map_ids"] == [constants]


def test_constants_are_frozen():
    with parsed("load_variables").load() as bpf:
        with pytest.raises(KernelError) as caught:
            bpf.maps[".rodata"][0] = bytes(bpf.spec.maps[".rodata"].value_size)
        assert caught.value.errno == errno.EPERM


def test_descriptors_are_close_on_exec():
    before = descriptors()
    with parsed("load_maps").load() as bpf:
        bpf.attach()
        opened = set(descriptors()) - set(before)
        assert len(opened) > len(bpf.maps) + len(bpf.programs)
        assert all(fcntl.fcntl(int(number), fcntl.F_GETFD) & fcntl.FD_CLOEXEC for number in opened)
    assert descriptors() == before


def test_an_object_from_bytes():
    data = (OBJECTS / "load_variables.bpf.o").read_bytes()
    with purebpf.load(data, name="given_a_name") as bpf:
        assert bpf.name == "given_a_name"
        assert obj_get_info_by_fd(bpf.maps[".rodata"].fileno(), bpf_map_info).name == b"given_a_.rodata"


def test_subprograms_run():
    """What each program of the object counts tells which functions it has called, and in which order."""
    with parsed("load_subprograms").load() as bpf:
        for program in bpf.programs.values():
            program.spec.attach_to = "syscalls/sys_enter_sched_rr_get_interval"
        bpf.attach()
        os.sched_rr_get_interval(0)
        bpf.detach()
        # last adds 1, left 10 + 1, right 100 + 1
        first, second, third, fourth = bpf.maps["sums"].values()
        hits = first // 113
        assert hits >= 1
        left, right, last = (lambda x: x + 11), (lambda x: x + 101), (lambda x: x + 1)
        assert first == hits * left(right(1))
        assert second == hits * left(right(1))
        assert third == hits * (left(last(0)) + left(last(0) + 1) + last(last(0)))
        assert fourth == hits * left(right(3))
        assert bpf.maps[".bss"][0].runs == 2 * hits


@pytest.mark.needs_kernel("helpers that call back (Linux 5.13)", RELEASE >= (5, 13))
def test_callbacks_run():
    with parsed("load_callbacks").load() as bpf:
        bpf.maps["numbers"].update({7: 1000, 8: 2000, 200: 4000})  # of keys from 100 on only the squares count
        bpf.attach()
        os.sched_rr_get_interval(0)
        bpf.detach()
        assert list(bpf.maps["results"].values()) == [9 + sum(i * i for i in range(10)), 3000 + 3 * (0 + 1)]


# --- rejected programs ---


def test_a_rejected_program():
    error = rejection(only("no_null_check"))
    assert error.errno == errno.EACCES
    assert error.log.rstrip().splitlines()[-2] == "R0 invalid mem access 'map_value_or_null'"
    line = source_line("load_rejected", "return *value; /* the verifier stops here */")
    text = str(error)
    assert text.startswith("loading program 'no_null_check' (section '?tracepoint/syscalls/")
    assert re.search(rf"The verifier stopped at instruction \d+, from {re.escape(line)}\n", text)
    assert all(f"\n  {shown}" in text for shown in error.log.rstrip().splitlines()[-12:])


def test_rejected_in_a_subprogram():
    error = rejection(only("bad_in_subprogram"))
    assert source_line("load_rejected", "return *pointer; /* in the subprogram */") in str(error)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("log_of_100_kilobytes", 1 << 16),
        pytest.param("log_of_megabytes", 1 << 20, marks=pytest.mark.any_kernel),  # which takes a while
    ],
)
def test_the_whole_log(name, size, monkeypatch):
    """It is the one that the kernel writes into a buffer that is large enough from the beginning."""
    grown = rejection(only(name)).log
    assert len(grown) > size
    monkeypatch.setattr(executor, "_FIRST_LOG_SIZE", 16 << 20)
    at_once = rejection(only(name)).log
    assert without_addresses(grown) == without_addresses(at_once)
    assert without_addresses(grown).endswith(
        "R0 invalid mem access 'map_value_or_null'\n" + grown.splitlines()[-1] + "\n"
    )
    assert re.search(r"^0: \(..\) ", grown, re.MULTILINE)


def without_addresses(log):
    return re.sub("0xff[0-9a-f]{14}", "<address>", log)


@pytest.mark.skipif("PUREBPF_ROUNDS" in os.environ, reason="minutes of work for a slow machine (PUREBPF_ROUNDS)")
def test_a_program_that_takes_too_many_steps():
    """A million; the log has 70 MB."""
    error = rejection(only("too_many_steps"))
    assert error.errno == errno.E2BIG
    assert "BPF program is too large. Processed 1000001 insn" in str(error)
    assert re.search(r"^0: \(..\) ", error.log[:1000], re.MULTILINE)
    assert len(str(error)) < 5000


def test_no_license():
    error = rejection(parsed("load_no_license"))
    assert "cannot call GPL" in error.log
    assert 'The object declares no license; add  char LICENSE[] SEC("license") = "GPL";' in str(error)


def test_another_license():
    spec = parsed("load_no_license")
    spec.license = "Proprietary"
    assert "The object's license is 'Proprietary'; the kernel offers this helper" in str(rejection(spec))
    spec.license = "Dual MIT/GPL"
    spec.load().close()


def test_an_unknown_helper():
    error = rejection(only("unknown_helper"))
    assert "invalid func unknown#100000" in str(error)
    assert source_line("load_rejected", "return no_such_helper();") in str(error)


def test_more_instructions_than_the_kernel_takes():
    """It does not come to the verifier, so there is no log."""
    spec = only("fine")
    program = spec.programs["fine"]
    program.insns, program.relocations = program.insns[-8:] * 1_000_001, ()
    spec.btf_ext = None
    with pytest.raises(KernelError, match=r"loading program 'fine'.*E2BIG.*too many") as caught:
        spec.load()
    assert caught.value.errno == errno.E2BIG
    assert not isinstance(caught.value, VerifierError)


def test_types_that_the_kernel_does_not_have():
    """The instruction that depends on them is made invalid, and the message says why it is."""
    spec = parsed("core_local")
    for name, program in spec.programs.items():
        program.autoload = name == "offset_absent"
    error = rejection(spec)
    assert "invalid func unknown#195896080" in error.log  # 0xbad2310, as in libbpf
    assert "struct absent" in error.hint.splitlines()[-1]


# --- refused maps ---


@pytest.mark.parametrize(
    "change, errors",
    [
        ({"max_entries": 0}, {errno.EINVAL}),
        ({"max_entries": 0xFFFFFFFF}, {errno.E2BIG, errno.ENOMEM, errno.EINVAL}),
        ({"key_size": 0}, {errno.EINVAL}),
        ({"key_size": 1 << 31}, {errno.E2BIG, errno.EINVAL}),
        ({"value_size": 0xFFFFFFF0}, {errno.E2BIG, errno.EINVAL}),
        ({"map_flags": 1 << 31}, {errno.EINVAL}),
        ({"type": 9999}, {errno.EINVAL}),
        ({"type": 0}, {errno.EINVAL}),
    ],
)
def test_absurd_maps(change, errors):
    """The message says what was asked for."""
    spec = parsed("load_maps")
    for name, value in change.items():
        setattr(spec.maps["counts"], name, value)
    before = descriptors()
    with pytest.raises(KernelError, match=r"^creating map 'counts': ") as caught:
        spec.load()
    assert caught.value.errno in errors
    for name, value in change.items():
        field = {"type": "map_type"}.get(name, name)
        assert value == 0 or f"{field} = {value}" in str(caught.value)
    assert 'map_name = "counts"' in str(caught.value)
    assert descriptors() == before


# --- nothing stays behind ---


def marked(spec):
    """Give all maps and programs a name that nobody else has, and return it."""
    name = f"t{os.getpid()}"
    for part in (*spec.maps.values(), *spec.programs.values()):
        part.name = name
    return name


def in_kernel(name):
    """How many maps and programs of that name there are."""
    shown = bpftool("map", "show") + bpftool("prog", "show")
    return sum(entry.get("name", "") == name for entry in shown)


def test_in_kernel_sees_what_is_there():
    spec = only("fine")
    name = marked(spec)
    with spec.load():
        assert in_kernel(name) == 3
    assert eventually(lambda: in_kernel(name) == 0)


@pytest.mark.parametrize("what", ["program", "last program", "map", "last map", "live map"])
def test_a_failed_load_leaves_nothing(what, monkeypatch):
    if what == "program":
        spec = only("no_null_check")
    elif what == "last program":
        spec = only("unknown_helper")
        for name in ("fine", "no_null_check"):
            spec.programs[name].autoload = name == "fine"
    elif what == "live map":
        spec = parsed("load_maps")
        monkeypatch.setattr(purebpf.object, "Map", None)
    else:
        spec = parsed("load_maps")
        spec.maps["counts" if what == "map" else ".rodata.cst16"].map_flags = 1 << 31
    name = marked(spec)
    before = descriptors()
    with pytest.raises((PureBpfError, TypeError)):
        spec.load()
    assert descriptors() == before
    assert eventually(lambda: in_kernel(name) == 0)


def test_a_thousand_rounds(rounds):
    """By several threads, of one ObjectSpec."""
    spec = only("fine")
    name = marked(spec)
    in_the_kernel = len(bpftool("prog", "show"))

    def attach():
        bpf = spec.load()
        assert len(bpf.attach()) == 1
        return bpf

    with nothing_left():
        attach_and_detach(rounds(1000), *[attach] * THREADS)
    assert eventually(lambda: in_kernel(name) == 0)
    # Others load programs meanwhile, but hardly hundreds.
    assert eventually(lambda: len(bpftool("prog", "show")) < in_the_kernel + 100)


def test_a_forgotten_object():
    """It closes itself, and says so."""
    before = descriptors()
    bpf = parsed("load_maps").load()
    with pytest.warns(ResourceWarning, match="unclosed <Fd") as caught:
        del bpf
        assert descriptors() == before
    assert {str(warning.message).partition(": ")[2] for warning in caught} >= {"map 'counts'>", "prog 'count_calls'>"}


def test_an_interrupted_load(monkeypatch):
    """Ctrl-C in the middle of it."""
    calls = []

    def interrupted(cmd, attr, *, action):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(cmd)
        return real(cmd, attr, action=action)

    real = purebpf.object.kernel_bpf.bpf
    monkeypatch.setattr(purebpf.object.kernel_bpf, "bpf", interrupted)
    before = descriptors()
    with pytest.raises(KeyboardInterrupt):
        parsed("load_maps").load()
    assert len(calls) == 5
    assert descriptors() == before


def test_without_standard_streams():
    """A daemon may have closed them; then the first descriptors that the kernel gives away are 0, 1 and 2."""
    program = textwrap.dedent(
        """
        import os, sys
        report = os.dup(1)
        for number in range(3):
            os.close(number)
        import purebpf
        os.set_inheritable(report, False)
        with purebpf.load(sys.argv[1]) as bpf:
            bpf.attach()
            bpf.maps["counts"][5] = 6
            assert list(bpf.maps["counts"].items()) == [(5, 6)]
            numbers = [owner.fileno() for owner in (*bpf.maps.values(), *bpf.programs.values())]
            assert min(numbers) > 2
            for number in range(3):  # libffi may keep a file open
                name = f"/proc/self/fd/{number}"
                assert not os.path.lexists(name) or "libffi" in os.readlink(name), os.readlink(name)
        os.write(report, b"fine")
        """
    )
    done = subprocess.run([sys.executable, "-c", program, OBJECTS / "load_maps.bpf.o"], capture_output=True)
    assert (done.stdout, done.returncode) == (b"fine", 0)


# --- attaching ---


def test_attach_all_or_none():
    spec = parsed("load_subprograms")
    spec.programs["third"].attach_to = "syscalls/sys_enter_no_such_call"
    with spec.load() as bpf:
        before = descriptors()
        with pytest.raises(AttachError, match="no tracepoint syscalls/sys_enter_no_such_call"):
            bpf.attach()
        assert bpf.links == []
        assert descriptors() == before


def test_attach_and_detach():
    with parsed("load_subprograms").load() as bpf:
        before = descriptors()
        links = bpf.attach()
        assert len(links) == len(bpf.programs) == 4 and bpf.links == links
        bpf.detach()
        assert bpf.links == [] and all(link.closed for link in links)
        bpf.detach()
        assert descriptors() == before


@pytest.mark.parametrize(
    "name, message",
    [
        ("on_perf_event", r"section 'perf_event' does not say what to attach to; use program.attach_perf_event\("),
        ("on_device", r"section 'cgroup/dev' does not say what to attach to; use program.attach_cgroup\("),
    ],
)
def test_programs_that_do_not_say_where(name, message):
    spec = parsed("load_program_types")
    for key, program in spec.programs.items():
        program.autoload = key == name
    with spec.load() as bpf, pytest.raises(AttachError, match=message):
        bpf.programs[name].attach()


@pytest.mark.parametrize("target, message", [("", "does not say"), ("sched", "CATEGORY/NAME")])
def test_a_section_without_a_tracepoint(target, message):
    with only("fine").load() as bpf:
        bpf.programs["fine"].spec.attach_to = target
        with pytest.raises(AttachError, match=f"program 'fine'.*{message}"):
            bpf.programs["fine"].attach()


def test_closing():
    bpf = parsed("load_maps").load()
    (link,) = bpf.attach()
    bpf.close()
    bpf.close()
    assert link.closed
    with pytest.raises(ValueError, match="map 'counts' is closed"):
        bpf.maps["counts"][1]
    with pytest.raises(ValueError, match="prog 'count_calls' is closed"):
        bpf.attach()


def test_a_program_lives_on_while_it_is_attached():
    with only("fine").load() as bpf:
        number = obj_get_info_by_fd(bpf.programs["fine"].fileno(), bpf_prog_info).id
        link = bpf.programs["fine"].attach()
    with link:
        assert number in [program["id"] for program in bpftool("prog", "show")]
    assert eventually(lambda: number not in [program["id"] for program in bpftool("prog", "show")])


def test_reprs():
    with only("fine").load() as bpf:
        bpf.attach()
        assert repr(bpf) == "<BpfObject 'load_rejected': 2 maps, 1 programs, 1 links>"
        assert repr(bpf.programs["fine"]).startswith("<Program 'fine' from section '?tracepoint/")
        assert repr(bpf.maps["values"]) == "<Map 'values' BPF_MAP_TYPE_HASH>"


# --- facts from elsewhere ---


def test_types_from_a_file():
    """As on a kernel without BTF of its own."""
    kernel = purebpf.KernelFacts.running(core_btf=Path("/sys/kernel/btf/vmlinux").read_bytes())
    with purebpf.load(PREBUILT / "opensnoop.bpf.o", kernel=kernel) as bpf:
        assert bpf.plan.commands == purebpf.parse(PREBUILT / "opensnoop.bpf.o").plan().commands
