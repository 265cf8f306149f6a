"""The executor, with a kernel that only pretends: it notes each call, answers as the test wants, knows what is open."""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass

import pytest
import traced

import purebpf
from purebpf.abi.attr import bpf_map_info
from purebpf.abi.bpf import bpf_cmd, bpf_prog_type
from purebpf.errors import KernelError, PlanError, VerifierError
from purebpf.kernel.facts import KernelFacts
from purebpf.load import execute as executor
from purebpf.load.execute import execute, fill
from purebpf.load.plan import Code, Command, Filled, Handle, LoadPlan, SourceLine
from purebpf.obj.spec import MapSpec, ProgramSpec

FIRST_FD = 100
CREATING = (bpf_cmd.BPF_BTF_LOAD, bpf_cmd.BPF_MAP_CREATE, bpf_cmd.BPF_PROG_LOAD, bpf_cmd.BPF_OBJ_GET)
LOG_LIMIT = 0xFFFFFFFF >> 2  # bpf_verifier_log_attr_valid(): a larger buffer is EINVAL


@dataclass
class Call:
    """What the kernel was handed.  ``read(name)``: the memory that a field points to, as of the call."""

    cmd: bpf_cmd
    fields: dict
    memory: dict


class Owner:
    def __init__(self, kernel, number, what):
        self.kernel, self.number, self.what = kernel, number, what
        kernel.open.add(number)

    def fileno(self):
        assert self.number in self.kernel.open
        return self.number

    def close(self):
        self.kernel.open.remove(self.number)


class PretendedKernel:
    """``answers(call)`` may return an errno, or raise; else the call succeeds."""

    # (length field, unit) of what a pointer field points to
    SIZES = {"insns": ("insn_cnt", 8), "btf": ("btf_size", 1), "func_info": ("func_info_cnt", 8)}  # noqa: RUF012

    def __init__(self, answer=lambda call: 0):
        self.answer = answer
        self.calls = []
        self.open = set()
        self.returned = []
        self.pins = []
        self.mapped = []
        self.infos = {}
        self.asked = []
        self.lack = ""

    def bpf(self, cmd, attr, *, action):
        fields = {name: value for name in names_of(attr) if (value := getattr(attr, name))}
        memory = {
            name: ctypes.string_at(fields[name], fields[length] * unit)
            for name, (length, unit) in self.SIZES.items()
            if fields.get(name) and name in names_of(attr)
        }
        if "license" in fields:
            memory["license"] = ctypes.string_at(fields["license"])
        call = Call(cmd, fields, memory)
        self.calls.append(call)
        log = self.answer(call)
        if isinstance(log, tuple):
            code, text = log
            self.write_log(attr, text)
        else:
            code = log
        if code:
            raise KernelError(code, action)
        if cmd == bpf_cmd.BPF_OBJ_GET_INFO_BY_FD:
            info = bpf_map_info(**self.infos)
            ctypes.memmove(attr.info, ctypes.addressof(info), attr.info_len)
        if cmd not in CREATING:
            return 0
        self.returned.append(FIRST_FD + len(self.returned))
        return self.returned[-1]

    def lacking(self, code, cmd, fields):
        self.asked.append((code, cmd, fields))
        return self.lack

    def write_log(self, attr, text):
        if attr.log_level:
            raw = text[: attr.log_size - 1] + b"\0"
            ctypes.memmove(attr.log_buf, raw, len(raw))

    def own(self, number, what):
        return Owner(self, number, what)

    def prepare_pin(self, path):
        assert path.startswith("/sys/fs/bpf/")

    def note_pin(self, path):
        self.pins.append(path)

    def map_memory(self, handle, fd, mapped):
        self.mapped.append((handle, fd.fileno(), mapped))

    def undo(self):
        self.pins.clear()
        self.mapped.clear()


def names_of(attr):
    """The names of all fields, those of anonymous unions included."""
    found = []
    for name, kind in attr._fields_:
        found += names_of(kind) if name in getattr(attr, "_anonymous_", ()) else [name]
    return found


FACTS = KernelFacts.offline(release="6.1.0", possible_cpus=2)


def plan_of(name):
    return purebpf.parse(traced.HERE / f"objects/{name}.bpf.o").plan(FACTS)


def failing(cmd, code):
    """An answer: this command always fails."""
    return lambda call: code if call.cmd == cmd else 0


def program(*, lines=(), notes=None, license="GPL"):
    """A plan that loads one program of two instructions."""
    fields = {"insns": Code(bytes(16), (), "little"), "insn_cnt": 2, "license": license, "prog_name": "main"}
    command = Command(
        bpf_cmd.BPF_PROG_LOAD, "loading program 'main'", fields, Handle("prog", "main"), lines=lines, notes=notes or {}
    )
    return LoadPlan("made", "6.1.0", (command,))


# --- a plan that succeeds ---


def test_calls_and_descriptors():
    kernel = PretendedKernel()
    plan = plan_of("load_variables")
    owners = execute(plan, kernel)
    assert [call.cmd for call in kernel.calls] == [command.cmd for command in plan]
    created = [command.creates for command in plan if command.creates]
    assert list(owners) == created
    assert [owner.fileno() for owner in owners.values()] == kernel.returned
    assert [owner.what for owner in owners.values()] == [f"{handle.kind} {handle.name!r}" for handle in created]


def test_fields_reach_the_kernel():
    """Numbers as they are, names in place, strings and bytes by pointer, handles as descriptors, also in the code."""
    kernel = PretendedKernel()
    plan = plan_of("load_variables")
    owners = execute(plan, kernel)
    for call, command in zip(kernel.calls, plan, strict=True):
        named = {name for name, value in command.fields.items() if value not in (0, "")}
        assert call.fields.keys() - {"next_key"} == named  # in a union with value
        for name, value in command.fields.items():
            if isinstance(value, Handle):
                assert call.fields[name] == owners[value].number
            elif isinstance(value, str):
                assert call.memory.get(name, call.fields[name]) == value.encode()
            elif isinstance(value, Code):
                expected = bytearray(value.insns)
                for slot, handle in value.handles:
                    struct.pack_into("=i", expected, slot * 8 + 4, owners[handle].number)
                assert value.handles and call.memory[name] == expected
            elif isinstance(value, bytes):
                assert call.memory.get(name, value) == value
            else:
                assert call.fields[name] == value


def test_an_empty_license_is_a_pointer_all_the_same():
    kernel = PretendedKernel()
    execute(program(license=""), kernel)
    assert kernel.calls[0].memory["license"] == b""


# --- a plan that fails ---

STEPS = [(name, step) for name in ("load_variables", "load_map_types") for step in range(len(plan_of(name)))]


TEMPORARY = ("module btf", "inner map")
"""What is closed when all is loaded."""


@pytest.mark.parametrize("name, step", STEPS)
def test_whatever_step_fails_nothing_stays_open(name, step):
    plan = plan_of(name)
    command = plan.commands[step]
    succeeded, failed = [], []

    def answer(call):
        # A command that may be tried again fails again; one that may fail does so once.
        if len(succeeded) == step and not (command.optional and failed):
            failed.append(call)
            return errno.EPERM
        succeeded.append(call)
        return 0

    kernel = PretendedKernel(answer)
    if command.optional:
        owners = execute(plan, kernel)
        assert command.creates not in owners
        assert kernel.open == {owner.number for owner in owners.values()}
        closed = [each.creates for each in plan if each.creates and each.creates.kind in TEMPORARY]
        assert len(kernel.returned) == len(kernel.open) + len(closed)
        return
    with pytest.raises(KernelError) as caught:
        execute(plan, kernel)
    assert (caught.value.errno, caught.value.action) == (errno.EPERM, command.action)
    assert {call.cmd for call in failed} == {command.cmd}
    assert len(kernel.returned) == len([c for c in plan.commands[:step] if c.creates])
    assert kernel.open == set()


@pytest.mark.parametrize("step", range(len(plan_of("load_variables"))))
def test_whatever_step_is_interrupted_nothing_stays_open(step):
    def answer(call):
        if len(kernel.calls) == step + 1:
            raise KeyboardInterrupt
        return 0

    kernel = PretendedKernel(answer)
    with pytest.raises(KeyboardInterrupt):
        execute(plan_of("load_variables"), kernel)
    assert kernel.open == set()


def test_a_map_that_is_refused_says_what_was_asked_for():
    with pytest.raises(KernelError) as caught:
        execute(plan_of("load_maps"), PretendedKernel(failing(bpf_cmd.BPF_MAP_CREATE, errno.EINVAL)))
    assert str(caught.value) == (
        "creating map 'counts': Invalid argument (EINVAL). It was asked for map_type = BPF_MAP_TYPE_HASH, "
        'key_size = 4, value_size = 8, max_entries = 8, map_name = "counts"'
    )


def test_what_the_kernel_lacks_is_said_instead_of_a_guess():
    def answer(call):
        if call.cmd == bpf_cmd.BPF_MAP_CREATE:
            raise KernelError(errno.E2BIG, "creating a map", "It is too large")
        return 0

    kernel = PretendedKernel(answer)
    kernel.lack = "Linux 3.18 has no maps"
    with pytest.raises(KernelError) as caught:
        execute(plan_of("load_maps"), kernel)
    text = str(caught.value)
    assert text.startswith("creating a map: Argument list too long (E2BIG). Linux 3.18 has no maps. It was asked for")
    ((code, cmd, fields),) = kernel.asked
    assert (code, cmd) == (errno.E2BIG, bpf_cmd.BPF_MAP_CREATE)
    assert fields == {"map_type": 1, "key_size": 4, "value_size": 8, "max_entries": 8}  # not its name


# --- arenas ---


def test_an_arena_is_mapped_when_it_is_created():
    """Before a program is loaded that uses it: from the mapping the verifier knows the arena's address."""
    plan = plan_of("conf_arena_variables")
    kernel = PretendedKernel(lambda call: kernel.calls_when_mapped.append(len(kernel.mapped)) or 0)
    kernel.calls_when_mapped = []
    owners = execute(plan, kernel)
    arena = Handle("map", "arena")
    (mapped,) = (command.mapped for command in plan if command.creates == arena)
    assert kernel.mapped == [(arena, owners[arena].number, mapped)]
    created = next(index for index, command in enumerate(plan) if command.creates == arena)
    assert kernel.calls_when_mapped == [0] * (created + 1) + [1] * (len(plan) - created - 1)


def test_what_is_mapped_is_unmapped_if_loading_fails():
    kernel = PretendedKernel(failing(bpf_cmd.BPF_PROG_LOAD, errno.EPERM))
    with pytest.raises(KernelError):
        execute(plan_of("conf_arena_variables"), kernel)
    assert kernel.mapped == []
    assert kernel.open == set()


def test_an_arena_that_cannot_be_mapped():
    class Kernel(PretendedKernel):
        def map_memory(self, handle, fd, mapped):
            raise KernelError(errno.EEXIST, f"mapping {handle.kind} {handle.name!r}")

    kernel = Kernel()
    with pytest.raises(KernelError, match="mapping map 'arena'"):
        execute(plan_of("conf_arena_variables"), kernel)
    assert kernel.open == set()


# --- without BTF ---


def test_a_kernel_that_refuses_the_objects_types():
    """Then nothing else refers to them."""
    kernel = PretendedKernel(failing(bpf_cmd.BPF_BTF_LOAD, errno.EINVAL))
    plan = plan_of("load_variables")
    owners = execute(plan, kernel)
    assert Handle("btf", "load_variables") not in owners
    types = ("btf_fd", "btf_key_type_id", "btf_value_type_id", "prog_btf_fd", "func_info", "func_info_cnt", "line_info")
    for call, command in list(zip(kernel.calls, plan, strict=True))[1:]:
        assert not any(name in call.fields for name in types)
        assert command.without_btf is None or call.fields.keys() == {n for n, v in command.without_btf.items() if v}


def test_a_map_whose_types_are_refused():
    """It is created without; other maps and the programs keep theirs."""

    def answer(call):
        return errno.EINVAL if call.fields.get("map_name") == b"places" and "btf_fd" in call.fields else 0

    kernel = PretendedKernel(answer)
    execute(plan_of("load_maps"), kernel)
    creations = [call.fields for call in kernel.calls if call.cmd == bpf_cmd.BPF_MAP_CREATE]
    with_types = [(fields["map_name"], "btf_value_type_id" in fields) for fields in creations]
    assert with_types.count((b"places", True)) == with_types.count((b"places", False)) == 1
    assert [name for name, typed in with_types if not typed] == [b"places", b"untyped", b".rodata.cst16"]
    assert all(call.fields["prog_btf_fd"] == FIRST_FD for call in kernel.calls if call.cmd == bpf_cmd.BPF_PROG_LOAD)


def test_a_map_without_types_is_tried_once():
    kernel = PretendedKernel(lambda call: errno.ENOMEM if call.fields.get("map_name") == b"untyped" else 0)
    with pytest.raises(KernelError, match="creating map 'untyped'"):
        execute(plan_of("load_maps"), kernel)
    assert [call.fields.get("map_name") for call in kernel.calls].count(b"untyped") == 1


def test_a_map_refused_with_and_without_types():
    errors = iter([errno.EINVAL, errno.EPERM])
    kernel = PretendedKernel(lambda call: next(errors) if call.cmd == bpf_cmd.BPF_MAP_CREATE else 0)
    with pytest.raises(KernelError) as caught:
        execute(plan_of("load_maps"), kernel)
    assert caught.value.errno == errno.EPERM


# --- programs ---


def test_an_interrupted_verifier_is_asked_again():
    """It answers EAGAIN when a signal is pending."""
    answers = iter([errno.EAGAIN] * 4 + [0])
    kernel = PretendedKernel(lambda call: next(answers))
    assert list(execute(program(), kernel)) == [Handle("prog", "main")]
    assert len(kernel.calls) == 5


def test_but_not_for_ever():
    """libbpf tries 5 times, and 5 times more for the log."""
    kernel = PretendedKernel(lambda call: errno.EAGAIN)
    with pytest.raises(KernelError) as caught:
        execute(program(), kernel)
    assert caught.value.errno == errno.EAGAIN
    assert [call.fields.get("log_level", 0) for call in kernel.calls] == [0] * 5 + [1] * 5


def test_a_rejected_program_is_loaded_again_for_its_log():
    kernel = PretendedKernel(lambda call: (errno.EACCES, b"0: (95) exit\nR0 !read_ok\n"))
    with pytest.raises(VerifierError) as caught:
        execute(program(), kernel)
    first, second = kernel.calls
    assert not first.fields.keys() & {"log_level", "log_size", "log_buf"}
    assert (second.fields["log_level"], second.fields["log_size"]) == (1, 1 << 16)
    assert second.fields["insn_cnt"] == first.fields["insn_cnt"] == 2
    assert caught.value.errno == errno.EACCES
    assert caught.value.log == "0: (95) exit\nR0 !read_ok\n"


def test_what_the_kernel_lacks_comes_before_what_the_log_means():
    kernel = PretendedKernel(lambda call: (errno.EINVAL, b"cannot call GPL-restricted function\n"))
    kernel.lack = "Linux 5.10 has no such programs"
    with pytest.raises(VerifierError) as caught:
        execute(program(license=""), kernel)
    assert caught.value.hint.startswith("Linux 5.10 has no such programs\nThe object declares no license")
    assert caught.value.log == "cannot call GPL-restricted function\n"
    ((code, cmd, fields),) = kernel.asked
    assert (code, cmd, fields) == (errno.EINVAL, bpf_cmd.BPF_PROG_LOAD, {"insn_cnt": 2})


def test_what_fails_before_the_call_keeps_its_own_words():
    def prepare_pin(path):
        raise KernelError(errno.EROFS, f"preparing to pin at {path!r}", "It is read-only")

    kernel = PretendedKernel()
    kernel.prepare_pin = prepare_pin
    command = Command(bpf_cmd.BPF_OBJ_PIN, "pinning map 'counts'", {"pathname": "/sys/fs/bpf/counts"})
    with pytest.raises(KernelError, match=r"^preparing to pin at '/sys/fs/bpf/counts': .*\. It is read-only$"):
        execute(LoadPlan("made", "6.1.0", (command,)), kernel)


def test_the_kernel_is_not_asked_what_it_lacks_for_what_may_fail():
    command = program().commands[0]._replace(optional=True)
    kernel = PretendedKernel(lambda call: errno.EINVAL)
    assert execute(LoadPlan("made", "6.1.0", (command,)), kernel) == {}
    assert kernel.asked == []


def rejecting(log, *, tells_length):
    """A kernel that rejects with this log.  Linux 6.4 and later say how long it is when it did not fit."""

    class Kernel(PretendedKernel):
        def bpf(self, cmd, attr, *, action):
            self.calls.append(attr.log_size)
            if not attr.log_level:
                raise KernelError(errno.EACCES, action)
            if tells_length:
                attr.log_true_size = len(log) + 1
            self.write_log(attr, log)
            if attr.log_size > LOG_LIMIT:
                raise KernelError(errno.EINVAL, action)
            raise KernelError(errno.EACCES if attr.log_size > len(log) else errno.ENOSPC, action)

    return Kernel()


@pytest.mark.parametrize("length", [(1 << 16) - 1, 1 << 16, 300_000, 5_000_000])
@pytest.mark.parametrize("tells_length", [False, True])
def test_the_log_buffer_grows_until_the_log_fits(length, tells_length):
    log = b"x" * (length - 4) + b"end\n"
    kernel = rejecting(log, tells_length=tells_length)
    with pytest.raises(VerifierError) as caught:
        execute(program(), kernel)
    assert caught.value.log == log.decode()
    assert caught.value.errno == errno.EACCES
    if tells_length:
        assert len(kernel.calls) <= 3
    else:
        assert kernel.calls == [0] + [1 << bits for bits in range(16, 24) if 1 << bits < 2 * (length + 1)]


@pytest.mark.parametrize("tells_length", [False, True])
def test_the_log_buffer_is_never_larger_than_the_kernel_allows(tells_length, monkeypatch):
    """What fits in it then is better than nothing, and the error that of the program."""
    monkeypatch.setattr(executor, "_LARGEST_LOG_SIZE", 100_000)

    class Kernel(PretendedKernel):
        def bpf(self, cmd, attr, *, action):
            self.calls.append(attr.log_size)
            if tells_length:
                attr.log_true_size = 0xFFFFFFFF
            self.write_log(attr, b"y" * 200_000)
            raise KernelError(errno.ENOSPC if attr.log_level else errno.EACCES, action)

    kernel = Kernel()
    with pytest.raises(VerifierError) as caught:
        execute(program(), kernel)
    assert kernel.calls == [0, 1 << 16, 100_000]
    assert caught.value.errno == errno.EACCES
    assert caught.value.log == "y" * 99_999


def test_the_largest_buffer():
    assert executor._LARGEST_LOG_SIZE == LOG_LIMIT


def test_a_refusal_without_a_log():
    """Such as EPERM: the verifier was never asked."""
    with pytest.raises(KernelError, match=r"^loading program 'main': ") as caught:
        execute(program(), PretendedKernel(lambda call: errno.EPERM))
    assert not isinstance(caught.value, VerifierError)
    assert caught.value.errno == errno.EPERM


def test_a_program_that_is_accepted_the_second_time():
    answers = iter([errno.ENOMEM, 0])
    kernel = PretendedKernel(lambda call: next(answers))
    assert list(execute(program(), kernel)) == [Handle("prog", "main")]


def test_a_log_that_is_no_text():
    kernel = PretendedKernel(lambda call: (errno.EINVAL, b"bad \xff\xfe name"))
    with pytest.raises(VerifierError) as caught:
        execute(program(), kernel)
    assert caught.value.log == r"bad \xff\xfe name"


# --- what the log means ---


def rejection(log, **options):
    with pytest.raises(VerifierError) as caught:
        execute(program(**options), PretendedKernel(lambda call: (errno.EINVAL, log.encode())))
    return caught.value


def test_the_source_line_of_the_last_instruction():
    lines = [SourceLine(0, "a.c:1: first"), SourceLine(5, "a.c:2: second"), SourceLine(9, "a.c:3: third")]
    log = "0: (b7) r0 = 0\n9: (95) exit\nfrom 3 to 6: R0=0\n6: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access\n"
    assert rejection(log, lines=lines).hint == "The verifier stopped at instruction 6, from a.c:2: second"
    assert rejection("unreachable insn 5\n", lines=lines).hint == ""
    assert rejection(log).hint == ""


def test_the_reason_for_an_instruction_that_was_made_invalid():
    log = "7: (85) call unknown#195896080\ninvalid func unknown#195896080\n"
    hint = "The verifier stopped at instruction 7\nthe kernel has no struct x"
    assert rejection(log, notes={7: "the kernel has no struct x"}).hint == hint
    assert rejection(log, notes={6: "the kernel has no struct x"}).hint == ""


@pytest.mark.parametrize(
    "log",
    [
        "4: (85) call bpf_ktime_get_ns#5\ncannot call GPL-restricted function from non-GPL compatible program\n",
        "4: (85) call bpf_ktime_get_ns#5\ncannot call GPL only function from proprietary program\n",  # before Linux 5.4
    ],
)
def test_a_license_that_will_not_do(log):
    assert 'no license; add  char LICENSE[] SEC("license") = "GPL";' in rejection(log, license="").hint
    assert (
        "license is 'Proprietary'; the kernel offers this helper to GPL" in rejection(log, license="Proprietary").hint
    )


def test_the_license_in_the_source_is_not_meant():
    """The verifier's log quotes the C source, after a semicolon."""
    log = "; x = 1; // as in the GPL @ a.c:5\n4: (79) r0 = *(u64 *)(r1 +0)\nR1 invalid mem access 'scalar'\n"
    assert rejection(log, license="").hint == ""


def test_the_message_shows_the_end_of_the_log():
    log = "".join(f"{number}: (b7) r0 = 0\n" for number in range(1000)) + "R0 is bad\n"
    text = str(rejection(log))
    assert text.startswith("loading program 'main': Invalid argument (EINVAL)\n")
    assert "\nThe end of the verifier's log (989 lines before it):\n  989: (b7)" in text
    assert text.endswith("\n  999: (b7) r0 = 0\n  R0 is bad")


# --- pins ---

LIKE_THE_OBJECTS = {"type": 1, "key_size": 4, "value_size": 8, "max_entries": 16}
GET, INFO, CREATE, PIN, LOAD = "OBJ_GET", "OBJ_GET_INFO_BY_FD", "MAP_CREATE", "OBJ_PIN", "PROG_LOAD"


def pinning(*answers, **infos):
    """Execute a plan with one pinned map and a program, and a kernel that answers the calls so, one after the other.

    Returns the kernel, the names of the calls made, and what execute() returned or raised.
    """
    spec = purebpf.ObjectSpec("made", "little")
    spec.maps["m"] = MapSpec("m", 1, 4, 8, 16, pinning=1)
    spec.programs["main"] = ProgramSpec("main", "tp/a/b", 0, bytes(8), type=bpf_prog_type.BPF_PROG_TYPE_TRACEPOINT)
    left = iter(answers)
    kernel = PretendedKernel(lambda call: next(left, 0))
    kernel.infos = LIKE_THE_OBJECTS | infos
    try:
        result = execute(spec.plan(FACTS), kernel)
    except (KernelError, PlanError) as error:
        result = error
    return kernel, [call.cmd.name.removeprefix("BPF_") for call in kernel.calls], result


def test_no_pin_there():
    kernel, calls, owners = pinning(errno.ENOENT)
    assert calls == [GET, CREATE, PIN, LOAD]
    assert kernel.pins == ["/sys/fs/bpf/m"]
    assert kernel.calls[2].fields["bpf_fd"] == owners[Handle("map", "m")].fileno()


def test_a_pin_there():
    kernel, calls, owners = pinning()
    assert calls == [GET, INFO, LOAD]
    assert kernel.pins == []
    assert kernel.calls[1].fields["bpf_fd"] == owners[Handle("map", "m")].fileno() == FIRST_FD


def test_a_pin_made_meanwhile():
    """The own map is given up for the other one."""
    kernel, calls, owners = pinning(errno.ENOENT, 0, errno.EEXIST)
    assert calls == [GET, CREATE, PIN, GET, INFO, LOAD]
    assert kernel.pins == []
    assert owners[Handle("map", "m")].fileno() == FIRST_FD + 1
    assert kernel.open == {FIRST_FD + 1, FIRST_FD + 2}


@pytest.mark.parametrize("answers", [(), (errno.ENOENT, 0, errno.EEXIST)])
@pytest.mark.parametrize("field", ["type", "key_size", "value_size", "max_entries", "map_flags", "map_extra"])
def test_another_map_is_pinned_there(field, answers):
    kernel, _, error = pinning(*answers, **{field: 3})
    assert isinstance(error, PlanError)
    assert str(error).startswith("comparing map 'm' with the one pinned at '/sys/fs/bpf/m': " + field + " is 3 there, ")
    assert not kernel.open


@pytest.mark.parametrize(
    "answers", [(errno.EACCES,), (errno.ENOENT, 0, errno.EPERM), (errno.ENOENT, 0, 0, errno.EPERM, errno.EPERM)]
)
def test_what_fails_leaves_no_pin(answers):
    kernel, _, error = pinning(*answers)
    assert isinstance(error, KernelError)
    assert error.errno == answers[-1]
    assert not kernel.open
    assert not kernel.pins


def test_flags_that_the_kernel_sets():
    """dev_map_init_map() in kernel/bpf/devmap.c adds BPF_F_RDONLY_PROG; it does not count."""
    devmap, read_only = 14, 1 << 7
    spec = purebpf.ObjectSpec("made", "little")
    spec.maps["m"] = MapSpec("m", devmap, 4, 4, 1, pinning=1)
    kernel = PretendedKernel()
    kernel.infos = {"type": devmap, "key_size": 4, "value_size": 4, "max_entries": 1, "map_flags": read_only}
    execute(spec.plan(FACTS), kernel)
    kernel.infos["map_flags"] |= 1
    with pytest.raises(PlanError, match="map_flags is 129 there, and 0 in the object"):
        execute(spec.plan(FACTS), kernel)


def test_descriptors_inside_of_values():
    data = fill(
        Filled(bytes(range(16)), ((0, 4, Handle("map", "m")), (8, 8, Handle("prog", "p")))),
        {
            Handle("map", "m"): Owner(PretendedKernel(), 0x0102, ""),
            Handle("prog", "p"): Owner(PretendedKernel(), 0x0304, ""),
        },
    )
    assert struct.unpack("=I4sQ", data) == (0x0102, bytes(range(4, 8)), 0x0304)
