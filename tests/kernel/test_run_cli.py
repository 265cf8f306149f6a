"""`purebpf run` as a process: how far it runs foreign objects, and what it says when something is wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest
from running import ENVIRONMENT, MIXED, OBJECTS, PATIENCE, Run, purebpf, refused, strike

from purebpf.tools.tool import prebuilt

pytestmark = pytest.mark.needs_root

one_kernel = partial(pytest.param, marks=pytest.mark.any_kernel)

LEGACY = OBJECTS / "cli_legacy.bpf.o"
LEGACY_MAGIC = 123456790


@pytest.mark.any_kernel
def test_events_lost_by_a_foreign_object_are_reported():
    total = 2000
    with Run(MIXED, "--json", "--pages", "1") as run:
        run.process.send_signal(signal.SIGSTOP)
        for _ in range(total):
            strike()
        run.process.send_signal(signal.SIGCONT)
        assert run.end() == 0
    assert run.lost() > 0
    assert len(run.rows()) + run.lost() == 2 * total  # two maps


# Foreign objects.


@pytest.mark.any_kernel
def test_a_foreign_object_runs_as_far_as_it_can():
    with Run(MIXED) as run:
        strike()
        run.out.wait_for(lambda lines: len(lines) == 4, "event and hex dump")
        assert run.end() == 0
    with open("/proc/thread-self/comm") as file:
        comm = file.read().rstrip("\n")
    shown = sorted(line.decode() for line in run.out.rest())
    assert shown == sorted(
        [
            f"sightings: pid={os.getpid()} number=-1 colour='RED' flag=False label='none' comm={comm!r}",
            shown[[line.startswith("bytes:") for line in shown].index(True)],
            "  0000  74 77 65 6e 74 79 20 01 ff 20 62 79 74 65 73 20  twenty .. bytes ",
            "  0010  68 65 72 65                                      here",
        ]
    )
    missing, xdp, attached = (line.decode() for line in run.err.rest())
    assert re.match(r"cli_mixed: not attached: this kernel has no tracepoint syscalls/sys_enter_getpgidd; ", missing)
    assert "syscalls/sys_enter_getpgid " in missing
    assert xdp.startswith("cli_mixed: not attached: program 'packet': ") and "'xdp'" in xdp
    assert attached == "cli_mixed: 1 program attached; Ctrl-C ends"


@pytest.mark.any_kernel
def test_a_foreign_object_as_json_with_its_variables_set():
    settings = {"number": "-0x10", "flag": "true", "colour": "GREEN", "label": "a=1"}
    options = [option for name, value in settings.items() for option in ("--set", f"{name}={value}")]
    with Run(MIXED, "--json", *options) as run:
        strike()
        run.wait_for_rows(lambda row: True, 2)
        assert run.end() == 0
    known, unknown = sorted(run.rows(), key=lambda row: row["map"], reverse=True)
    assert known["map"] == "sightings"
    assert known["event"] | {"pid": 0, "comm": ""} == {
        "pid": 0,
        "number": -16,
        "colour": "GREEN",
        "flag": True,
        "label": "a=1",
        "comm": "",
    }
    assert unknown == {"map": "bytes", "cpu": unknown["cpu"], "data": b"twenty \x01\xff bytes here".hex()}


def test_a_legacy_object_without_btf():
    assert b".BTF" not in LEGACY.read_bytes()
    with Run(LEGACY, "--json") as run:
        strike(LEGACY_MAGIC)
        row = run.wait_for_row(lambda row: True)
        assert run.end() == 0
    assert row["map"] == "events"
    data = bytes.fromhex(row["data"])
    assert struct.unpack_from("=QQ", data) == (0x1122334455667788, LEGACY_MAGIC)
    assert len(data) == 20  # the kernel fills up to a multiple of 8, less the 4 bytes of the size before it


@pytest.mark.any_kernel
@pytest.mark.parametrize("tool", ["execsnoop", "opensnoop", "killsnoop", "hello"])
def test_json_is_one_object_a_line(tool):
    with Run(tool, "--json", "--duration", "0.5") as run:
        subprocess.run(["true"], check=True)
        victim = subprocess.Popen(["sleep", "100"])
        victim.kill()
        victim.wait()
        assert run.wait() == 0
    rows = run.rows()
    assert rows
    assert len({tuple(row) for row in rows}) == 1  # the same keys in all of them


@pytest.mark.any_kernel
def test_explain_shows_what_run_would_do():
    done = subprocess.run(purebpf("explain", "killsnoop"), capture_output=True, text=True, timeout=PATIENCE, check=True)
    calls = re.findall(r"bpf\((BPF_\w+)\)", done.stdout)
    assert calls[-1] == "BPF_PROG_LOAD" and "BPF_MAP_CREATE" in calls
    assert 'prog_name = "note_kill"' in done.stdout


# Bad input: one message, exit status 1, and nothing left behind.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        one_kernel("cli_no_tracepoint", "no tracepoint sched/sched_proces_exec; did you mean sched/sched_process_exec"),
        one_kernel(
            "cli_unknown_section", "'tracepiont/sched/sched_process_exec'; the nearest is 'tracepoint/sched/sched_proc"
        ),
        ("cli_rejected", r"(?s)cli_rejected\.bpf\.c:\d+: return \*value;.*R0 invalid mem access 'map_value_or_null'"),
        ("load_no_license", r'(?s)declares no license; add  char LICENSE\[\] SEC\("license"\) = "GPL";.*GPL'),
    ],
)
def test_objects_that_cannot_run(name, message):
    assert re.search(message, refused(purebpf("run", OBJECTS / f"{name}.bpf.o")))


@pytest.mark.any_kernel
def test_rings_that_are_too_large():
    assert "Use fewer pages" in refused(purebpf("run", "execsnoop", "--pages", 1 << 28)), "1 TiB"


# Without the permission.  The command is started as root, and gives up what it has.

GIVE_UP = """
import contextlib, ctypes, importlib, io, os, pkgutil, struct, sys
import purebpf.cli.main
from purebpf.abi import syscalls

def nobody():
    "Import what may be imported later, by its use and by name: the interpreter's files may be readable for root only."
    with contextlib.redirect_stdout(io.StringIO()):
        purebpf.cli.main.main(["explain", sys.argv[2]])
    for module in pkgutil.walk_packages(purebpf.__path__, "purebpf."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    os.setgroups([]); os.setgid(65534); os.setuid(65534)

def without(number, error):
    "A seccomp filter: load the number, jump if equal, return the error; return."
    code = struct.pack("=HBBI", 0x20, 0, 0, 0) + struct.pack("=HBBI", 0x15, 0, 1, number)
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | error)
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    class sock_fprog(ctypes.Structure):
        _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.c_char_p))
    assert ctypes.CDLL(None).prctl(22, 2, ctypes.byref(sock_fprog(len(code) // 8, code)), 0, 0) == 0

exec(sys.argv[1])
sys.exit(purebpf.cli.main.main(["run", *sys.argv[2:]]))
"""


@pytest.fixture(scope="module")
def readable():
    """A folder with the tools' objects that everybody may read."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    for name in ("hello", "execsnoop", "killsnoop"):
        shutil.copy(prebuilt(name), folder)
        (folder / f"{name}.bpf.o").chmod(0o644)
    yield folder
    shutil.rmtree(folder)


def after(giving_up, *arguments):
    """The refusal of a `purebpf run` that first gives something up."""
    return refused([sys.executable, "-c", GIVE_UP, giving_up, *map(str, arguments)], env=UNMEASURED)


# Coverage cannot write its data from a process that has given up the permission.
UNMEASURED = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COVERAGE")}


@pytest.mark.parametrize("name", ["hello", one_kernel("execsnoop"), one_kernel("killsnoop")])
def test_not_root(name, readable):
    message = after("nobody()", readable / f"{name}.bpf.o")
    assert "Operation not permitted (EPERM)" in message
    assert "CAP_BPF" in message and "Run it as root, for example with sudo" in message


@pytest.mark.any_kernel
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", ["bpf", "perf_event_open"])
def test_blocked_by_seccomp(call, error):
    message = after(f"without(syscalls.number({call!r}), {getattr(errno, error)})", "killsnoop")
    assert f"({error})" in message
    assert f"A seccomp filter blocks {call}" in message
    assert "--cap-add BPF --cap-add PERFMON" in message
    assert "--security-opt seccomp=unconfined or a seccomp profile that allows bpf and perf_event_open" in message


@pytest.mark.needs_tool("unshare")
def test_in_a_user_namespace():
    message = refused(["unshare", "-U", "-r", *purebpf("run", "killsnoop")], env=UNMEASURED)
    assert "user namespace" in message
    assert "(EPERM)" in message


WITHOUT_TRACEFS = 'umount -a -l -t tracefs,debugfs 2>/dev/null; exec "$@"'
WITH_TRACEFS = 'umount -a -l -t tracefs,debugfs 2>/dev/null; mount -t tracefs t /mnt; exec "$@"'


def with_capabilities(names, *command):
    kept = ",".join(f"+{name}" for name in names)
    return ["setpriv", f"--bounding-set=-all,{kept}".rstrip(","), "--inh-caps=-all", *command]


def in_mount_namespace(script, *command):
    return ["unshare", "-m", "sh", "-c", script, "sh", *command]


@pytest.mark.needs_tool("unshare", "setpriv")
def test_without_capabilities():
    message = refused(with_capabilities([], *purebpf("run", "killsnoop")), env=UNMEASURED)
    assert "bpf needs CAP_BPF" in message
    assert "--cap-add BPF --cap-add PERFMON" in message


@pytest.mark.needs_tool("unshare", "setpriv")
def test_without_tracefs_and_without_the_right_to_mount_it():
    command = with_capabilities(["bpf", "perfmon"], *purebpf("run", "killsnoop"))
    message = refused(in_mount_namespace(WITHOUT_TRACEFS, *command), env=UNMEASURED)
    assert "No tracefs is mounted here" in message
    assert "mount -t tracefs tracefs /sys/kernel/tracing" in message
    assert "--cap-add SYS_ADMIN" in message


@pytest.mark.any_kernel
@pytest.mark.needs_tool("unshare", "setpriv")
def test_nothing_of_a_foreign_object_can_be_attached():
    """All reasons in one message, each once."""
    command = with_capabilities(["bpf", "perfmon", "net_admin"], *purebpf("run", MIXED))
    message = refused(in_mount_namespace(WITHOUT_TRACEFS, *command), env=UNMEASURED)
    assert message.startswith("no program of object 'cli_mixed' can be attached:\n")
    for reason in ("No tracefs is mounted here", "'xdp'"):
        assert message.count(reason) == 1
    assert "has no program that is loaded" in refused(purebpf("run", OBJECTS / "load_rejected.bpf.o"))


@pytest.mark.needs_tool("unshare", "setpriv")
def test_two_capabilities_are_enough():
    """Where tracefs is mounted; although without CAP_IPC_LOCK there may not be memory for the rings it would like."""
    command = with_capabilities(["bpf", "perfmon"], *purebpf("run", "execsnoop", "--json"))
    with Run(command=in_mount_namespace(WITH_TRACEFS, *command), env=UNMEASURED) as run:
        mark = f"two-capabilities-{os.getpid()}"
        subprocess.run(["true", mark], check=True)
        run.wait_for_row(lambda row: row["args"] == ["true", mark])
        assert run.end() == 0


@pytest.mark.needs_tool("bpftool")
def test_nothing_is_left_behind():
    """No program and no map of a run that ended, in whatever way, is in the kernel."""

    def programs():
        shown = subprocess.run(["bpftool", "-j", "prog", "show"], stdout=subprocess.PIPE, check=True).stdout
        return [each for each in json.loads(shown) if each.get("name") == "note_kill"]

    with Run("killsnoop") as run:
        ids = {program["id"] for program in programs()}
        assert ids
        run.process.kill()
        assert run.wait() == -signal.SIGKILL
    end = time.monotonic() + PATIENCE
    while {program["id"] for program in programs()} & ids:  # the kernel frees programs a little later
        assert time.monotonic() < end
