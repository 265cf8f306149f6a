"""The tools on this kernel: what real processes do is what is printed."""

from __future__ import annotations

import collections
import ctypes
import errno
import itertools
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from running import OUTER_PIDS, Run, mount_table, purebpf

import purebpf as library
from purebpf.tools.tool import prebuilt

pytestmark = pytest.mark.needs_root

TRUE = shutil.which("true")
QUIET_UID = 54321  # nobody's: what runs as this user was started here

libc = ctypes.CDLL(None, use_errno=True)
numbers = itertools.count(1)


def marker():
    """A word that nobody else uses."""
    return f"marker-{os.getpid()}-{next(numbers)}"


def check_pid(shown, pid):
    if OUTER_PIDS:
        assert shown == pid


# execsnoop


@pytest.fixture(scope="module")
def execsnoop():
    with Run("execsnoop", "--json") as run:
        yield run
        assert run.end() == 0
        assert run.lost() == 0


def c_strings(strings):
    return (ctypes.c_char_p * (len(strings) + 1))(*map(os.fsencode, strings), None)


def spawn(path, arguments, *, wait=True):
    """Start a program and wait for it; the process id, or the errno as a negative number if it cannot be started.

    By the C library's function: Python's refuses an empty first argument.
    """
    pid = ctypes.c_int()
    environment = c_strings([f"PATH={os.environ['PATH']}"])
    error = libc.posix_spawn(ctypes.byref(pid), os.fsencode(path), None, None, c_strings(arguments), environment)
    if error:
        return -error
    if wait:
        os.waitpid(pid.value, 0)
    return pid.value


def seen(run, arguments, path=TRUE):
    """Start a program, and return the row of it when that arrives, and what ``spawn`` says.

    The last argument is a marker.
    """
    mark = os.fsdecode(arguments[-1])
    result = spawn(path, arguments)
    row = run.wait_for_row(lambda row: row["args"][-1:] == [mark], f"exec of {path} with {mark}")
    assert not row["lost"] and not row["truncated"]
    check_pid(row["ppid"], os.getpid())
    return row, result


def arguments_of(row):
    return [os.fsencode(argument) for argument in row["args"]]


LISTS = {
    "one": lambda: [b"true"],
    "300 of 200 bytes": lambda: [f"{number:03}".encode() + b"x" * 197 for number in range(300)],
    "one of 130,000 bytes": lambda: [b"true", bytes(range(1, 251)) * 520],
    "1.5 MB": lambda: [b"%02d" % number * 50_000 for number in range(15)],
    "40,000 short": lambda: [b"%d" % number for number in range(40_000)],
    "empty": lambda: [b"", b"", b"x", b"", b""],
    "odd bytes": lambda: [
        b"true",
        b"two\nlines",
        b"'\"`$\\",
        b"\x1b[2J\r\x07\x7f",
        b"\xff\xfe\x80",
        "ü€\u202e".encode(),
    ],
}


@pytest.mark.parametrize("kind", LISTS)
def test_an_exec_has_all_its_arguments(kind, execsnoop):
    arguments = [*LISTS[kind](), marker().encode()]
    row, pid = seen(execsnoop, arguments)
    assert arguments_of(row) == arguments
    assert (row["ret"], row["error"], row["file"], row["comm"]) == (0, None, TRUE, "true")
    check_pid(row["pid"], pid)


@pytest.mark.parametrize("kind", LISTS)
def test_a_failed_exec_has_all_its_arguments(kind, execsnoop):
    arguments = [*LISTS[kind](), marker().encode()]
    row, result = seen(execsnoop, arguments, "/no/such/program")
    assert arguments_of(row) == arguments
    assert (row["ret"], row["error"], row["file"]) == (result, "ENOENT", "/no/such/program")
    assert result == -errno.ENOENT


@pytest.mark.parametrize(
    ("arguments", "what"),
    [([b"x" * 100_000] * 40, "more than the kernel accepts in all"), ([b"y" * 200_000], "more than it accepts in one")],
)
def test_too_many_arguments(arguments, what, execsnoop):
    arguments = [*arguments, marker().encode()]
    row, result = seen(execsnoop, arguments)
    assert (row["error"], result) == ("E2BIG", -errno.E2BIG), what
    assert arguments_of(row) == arguments


def test_errors_have_names(execsnoop, tmp_path):
    no_permission = tmp_path / "not-executable"
    no_permission.write_text("#!/bin/sh\n")
    no_format = tmp_path / "no-format"
    no_format.write_bytes(b"\x01\x02\x03\x04")
    no_format.chmod(0o755)
    for path, name in ((no_permission, "EACCES"), (no_format, "ENOEXEC"), (tmp_path / "no" / "such", "ENOENT")):
        row, result = seen(execsnoop, ["x", marker()], str(path))
        assert (row["error"], row["file"]) == (name, str(path))
        assert row["ret"] == result == -getattr(errno, name)


def test_a_script(execsnoop, tmp_path):
    """The kernel starts its interpreter, with the script's path for the first argument."""
    script = tmp_path / "script"
    script.write_text(f"#!{TRUE} option\n")
    script.chmod(0o755)
    mark = marker()
    row, _ = seen(execsnoop, ["script", mark], str(script))
    assert row["args"] == [TRUE, "option", str(script), mark]
    assert row["file"] == str(script)


def python(code, *arguments):
    """Run Python code in a process of its own that ends up as another program; its process id."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL)
    assert process.wait() == 0
    return process.pid


FROM_A_THREAD = """
import os, sys, threading
def start():
    try:
        os.execv("/no/such/program", ["failed", sys.argv[2]])
    except FileNotFoundError:
        os.execv(sys.argv[1], ["started", sys.argv[2]])
threading.Thread(target=start).start()
threading.Event().wait()
"""


def test_an_exec_from_a_thread(execsnoop):
    mark = marker()
    pid = python(FROM_A_THREAD, TRUE, mark)
    rows = execsnoop.wait_for_rows(lambda row: row["args"][1:] == [mark], 2)
    assert [(row["args"][0], row["error"], row["file"]) for row in rows] == [
        ("failed", "ENOENT", "/no/such/program"),
        ("started", None, TRUE),
    ]
    for row in rows:
        check_pid(row["pid"], pid)
        check_pid(row["ppid"], os.getpid())


BY_DESCRIPTOR = """
import os, sys
not_executable = os.open(sys.argv[2], os.O_RDONLY)
try:
    os.execve(not_executable, ["failed", sys.argv[3]], {})
except PermissionError:
    os.execve(os.open(sys.argv[1], os.O_RDONLY), ["started", sys.argv[3]], {})
"""


def test_execveat(execsnoop, tmp_path):
    file = tmp_path / "file"
    file.touch(0o644)
    mark = marker()
    pid = python(BY_DESCRIPTOR, TRUE, str(file), mark)
    failed, started = execsnoop.wait_for_rows(lambda row: row["args"][1:] == [mark], 2)
    assert (failed["args"][0], failed["error"], failed["file"]) == ("failed", "EACCES", "")
    assert (started["args"][0], started["error"]) == ("started", None)
    assert started["file"].startswith("/dev/fd/")  # how the kernel names it
    check_pid(started["pid"], pid)


RAW = """
import ctypes, sys
libc = ctypes.CDLL(None)
path = ctypes.c_char_p(b"/no/such/program")
mark = sys.argv[1].encode()
libc.execve(path, (ctypes.c_void_p * 4)(ctypes.cast(ctypes.c_char_p(mark), ctypes.c_void_p), 8, 0, 0), None)
libc.execve(path, None, None)
libc.execve(8, (ctypes.c_char_p * 2)(mark, None), None)
"""


def test_what_cannot_be_read(execsnoop):
    """Bad addresses: of an argument, of the list, of the file name."""
    mark = marker()
    pid = python(RAW, mark)
    end = execsnoop.wait_for_row(lambda row: row["args"] == [mark] and row["file"] is None)
    assert end["error"] == "EFAULT"
    rows = [row for row in execsnoop.rows() if row["pid"] == end["pid"] and row["ret"] < 0]
    check_pid(end["pid"], pid)
    assert [(row["file"], row["args"]) for row in rows] == [
        ("/no/such/program", [mark, None]),
        ("/no/such/program", []),
        (None, [mark]),
    ]


def test_a_name_that_is_no_text(execsnoop, tmp_path):
    name = b"n\n\x1b[31m\xff"
    path = os.fsencode(tmp_path) + b"/" + name
    shutil.copy(TRUE, path)
    row, _ = seen(execsnoop, [b"x", marker().encode()], path)
    assert os.fsencode(row["comm"]) == name
    assert os.fsencode(row["file"]) == path


@pytest.mark.any_kernel
def test_text_is_one_clean_line_for_each_exec(tmp_path):
    nasty = [b"a\nb\tc\r", b"\x1b[2J", b"it's", b"", b"\xff\xfe", "\u202e\u2028ü".encode(), b"$HOME *", b"\\"]
    path = os.fsencode(tmp_path) + b"/n\n\x1b[31m"
    shutil.copy(TRUE, path)
    marks = [marker() for _ in range(3)]
    with Run("execsnoop") as run:
        spawn(path, [*nasty, marks[0].encode()])
        spawn("/no/such\n/program", [*nasty, marks[1].encode()])
        spawn(TRUE, [b"%d" % number for number in range(300)] + [marks[2].encode()])
        run.out.wait_for(lambda lines: any(marks[2].encode() in line for line in lines), "exec")
        assert run.end() == 0
    lines = [line.decode() for line in run.out.rest()]
    assert all(line.isprintable() for line in lines)
    assert lines[0].split() == ["PID", "PPID", "COMM", "RET", "ARGS"]
    (first,), (failed,), (last,) = ([line for line in lines if mark in line] for mark in marks)
    pid, ppid, comm, result, words = first.split(maxsplit=4)
    assert (comm, result) == (r"n\n\x1b[31m", "0")
    check_pid(int(ppid), os.getpid())
    assert int(pid) > 0
    if shutil.which("bash"):
        read = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], stdout=subprocess.PIPE, check=True)
        assert read.stdout.split(b"\0")[:-1] == [*nasty, marks[0].encode()]
    assert failed.split()[3] == "ENOENT"
    assert failed.endswith(rf"{marks[1]} (file $'/no/such\n/program')")
    assert shlex.split(last)[4:] == [*map(str, range(300)), marks[2]]


@pytest.mark.needs_tool("unshare")
def test_without_tracefs_and_without_a_trace(tmp_path):
    """No tracefs is mounted before, while execsnoop runs, or after; the mount table stays as it was, here and there."""
    here = mount_table()
    before = tmp_path / "mounts"
    script = 'umount -a -l -t tracefs,debugfs 2>/dev/null; cat /proc/self/mountinfo >"$0"; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, str(before), *purebpf("run", "execsnoop", "--json")]
    with Run(command=command) as run:
        there = before.read_text()
        assert "tracefs" not in there
        assert mount_table(run.process.pid) == there
        seen(run, ["x", marker()])
        assert mount_table(run.process.pid) == there
        assert run.end() == 0
    assert mount_table() == here


@pytest.mark.any_kernel
def test_a_thousand_processes_in_five_seconds(rounds):
    mark, total = marker(), len(rounds(1000))
    started = collections.Counter()
    pids = []
    with Run("execsnoop", "--json", "--duration", "5") as run:
        end = time.monotonic() + 4.5  # on a busy machine it is fewer
        while len(started) < total and time.monotonic() < end:
            word = f"{mark}-{len(started)}"
            pids.append(spawn(TRUE, ["true", word], wait=False))
            started[word] += 1
        assert run.wait() == 0
    for pid in pids:
        os.waitpid(pid, 0)
    assert len(started) > total / 2
    printed = collections.Counter(row["args"][1] for row in run.rows() if mark in "".join(row["args"][1:2]))
    assert printed <= started
    missing = started - printed
    assert missing.total() <= run.lost()


@pytest.mark.any_kernel
def test_what_is_lost_is_counted():
    """The smallest rings, and a burst while nobody reads: each exec was printed or is counted."""
    total = 100
    with Run("execsnoop", "--json", "--pages", "1", "--set", f"target_uid={QUIET_UID}") as run:
        run.process.send_signal(signal.SIGSTOP)
        for _ in range(total):
            subprocess.run([TRUE, "x" * 500], user=QUIET_UID, check=True)
        run.process.send_signal(signal.SIGCONT)
        assert run.end(signal.SIGTERM) == 0
    rows = run.rows()
    assert rows and run.lost()
    assert {row["uid"] for row in rows} == {QUIET_UID}
    assert len(rows) + run.lost() == total
    assert b"more --pages make it larger" in run.err.rest()[-1]


# opensnoop


@pytest.fixture(scope="module")
def opensnoop():
    only_us = ["--set", f"target_pid={os.getpid()}"] if OUTER_PIDS else []
    with Run("opensnoop", "--json", *only_us) as run:
        yield run
        assert run.end() == 0
        assert run.lost() == 0
        if only_us:
            assert {row["pid"] for row in run.rows()} == {os.getpid()}


def answer(result):
    """What a system call returned; the errno as a negative number."""
    return result if result >= 0 else -ctypes.get_errno()


def opened(run, name):
    return run.wait_for_row(
        lambda row: row["file"] is not None and os.fsencode(row["file"]) == name, f"open of {name!r}"
    )


def test_opens(opensnoop, tmp_path):
    folder = os.fsencode(tmp_path)
    names = [f"/{marker()}".encode(), b"/new\nline " + marker().encode(), b"/\xff\xfe" + marker().encode()]
    for name in names:
        before = time.time()
        fd = os.open(folder + name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC)
        os.close(fd)
        row = opened(opensnoop, folder + name)
        assert (row["result"], row["error"]) == (fd, None)
        assert row["flags"] & (os.O_CREAT | os.O_WRONLY) == os.O_CREAT | os.O_WRONLY
        assert abs(row["time"] - before) < 5
        assert row["uid"] == os.getuid()
        with open("/proc/thread-self/comm", "rb") as comm:
            assert os.fsencode(row["comm"]) == comm.read().rstrip(b"\n")
        check_pid(row["pid"], os.getpid())


def test_failed_opens(opensnoop, tmp_path):
    missing = f"{tmp_path}/{marker()}"
    for path, flags, name in (
        (missing, os.O_RDONLY, "ENOENT"),
        (f"{tmp_path}//", os.O_WRONLY, "EISDIR"),
        (f"/dev/null/{marker()}", os.O_RDONLY, "ENOTDIR"),
        (f"/{marker()}/" + "x" * 4000, os.O_RDONLY, "ENOENT"),
    ):
        with pytest.raises(OSError) as failure:
            os.open(path, flags)
        row = opened(opensnoop, path.encode())
        assert (row["error"], row["result"]) == (name, -failure.value.errno)
        assert failure.value.errno == getattr(errno, name)


def test_relative_names(opensnoop, tmp_path):
    name = marker()
    (tmp_path / name).touch()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fd = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(fd)
    finally:
        os.close(folder)
    row = opened(opensnoop, name.encode())
    assert (row["dfd"], row["result"]) == (folder, fd)
    with pytest.raises(FileNotFoundError):
        os.open(f"./{name}", os.O_RDONLY)
    assert opened(opensnoop, f"./{name}".encode())["dfd"] == -100  # AT_FDCWD


OPENAT2 = 5437 if platform.machine().startswith("mips") else 437  # the kernel's scripts/syscall.tbl


def test_openat2(opensnoop, tmp_path):
    name = f"{tmp_path}/{marker()}".encode()
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600, 0)  # struct open_how
    result = answer(libc.syscall(OPENAT2, -100, name, how, ctypes.sizeof(how)))
    assert result >= 0
    os.close(result)
    row = opened(opensnoop, name)
    assert (row["result"], row["flags"]) == (result, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="this machine's numbers of open and creat are not known here"
)
def test_open_and_creat(opensnoop, tmp_path):
    name = f"{tmp_path}/{marker()}".encode()
    created = answer(libc.syscall(85, name, 0o600))  # arch/x86/entry/syscalls/syscall_64.tbl
    os.close(created)
    row = opened(opensnoop, name)
    assert (row["result"], row["flags"]) == (created, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    with_slash = name + b"/"
    assert answer(libc.syscall(2, with_slash, os.O_RDONLY, 0)) == -errno.ENOTDIR
    assert opened(opensnoop, with_slash)["error"] == "ENOTDIR"


def test_a_name_at_a_bad_address(opensnoop):
    assert answer(libc.openat(-100, ctypes.c_void_p(8), 0)) == -errno.EFAULT
    row = opensnoop.wait_for_row(lambda row: row["file"] is None)
    assert row["error"] == "EFAULT"


# killsnoop


def test_killsnoop_names_victim_and_killer():
    with Run("killsnoop", "--json") as run, Run("killsnoop") as text:
        victim, spared = (subprocess.Popen(["sleep", "100"]) for _ in range(2))
        # The victim is "sleep" only when it has come to be it.
        while (comm := open_text(f"/proc/{victim.pid}/comm")) != "sleep\n":
            assert comm
        killer = subprocess.Popen(["sh", "-c", f"kill -9 {victim.pid}; kill -TERM {spared.pid}"])
        assert killer.wait() == 0
        assert victim.wait() == -signal.SIGKILL
        assert spared.wait() == -signal.SIGTERM
        assert run.end() == 0
        assert text.end() == 0
    if not OUTER_PIDS:
        assert any(row["comm"] == "sleep" and row["killer_comm"] == "sh" for row in run.rows())
        return
    (row,) = (row for row in run.rows() if row["pid"] == victim.pid)
    assert (row["comm"], row["killer_comm"], row["killer_pid"]) == ("sleep", "sh", killer.pid)
    assert (row["killer_uid"], row["code"], row["group"]) == (os.getuid(), 0, True)
    assert not any(row["pid"] == spared.pid for row in run.rows())
    lines = [line.decode().split() for line in text.out.rest()]
    assert lines[0] == ["PID", "COMM", "KILLER", "COMM", "UID"]
    assert [str(victim.pid), "sleep", str(killer.pid), "sh", str(os.getuid())] in lines


def open_text(path):
    with open(path) as file:
        return file.read()


# hello


def test_hello_shows_its_own_lines_only():
    """Another program prints about the same opens into the same buffer."""
    spec = library.parse(prebuilt("hello"))
    spec.variables["instance"] = 4711
    with spec.load() as other, Run("hello", "--json") as run:
        other.attach()
        names = [f"/{marker()}" for _ in range(20)]
        for name in names:
            with pytest.raises(FileNotFoundError):
                os.open(name, os.O_RDONLY)
        run.wait_for_row(lambda row: row["text"] == names[-1])
        second = subprocess.run(
            purebpf("run", "hello", "--duration", "0.1"), capture_output=True, text=True, check=False
        )
        assert run.end() == 0
    rows = [row for row in run.rows() if row["text"] in names]
    assert [row["text"] for row in rows] == names
    check_pid(rows[0]["pid"], os.getpid())
    with open("/proc/thread-self/comm") as comm:
        assert rows[0]["comm"] == comm.read().rstrip("\n")
    if library.KernelFacts.running().version >= 0x060700:  # the kernel lets only one process read
        assert second.returncode == 1
        assert second.stderr.startswith("purebpf: opening trace_pipe: Device or resource busy (EBUSY). Somebody else")
        assert second.stderr.count("\n") == 1


@pytest.mark.any_kernel
def test_hello_in_text():
    name = f"/{marker()}"
    with Run("hello") as run:
        with pytest.raises(FileNotFoundError):
            os.open(f"{name}\x1b[2J", os.O_RDONLY)
        run.out.wait_for(lambda lines: any(name.encode() in line for line in lines), "line")
        assert run.end() == 0
    lines = [line.decode() for line in run.out.rest()]
    assert all(line.isprintable() for line in lines)
    assert sum(line.endswith(rf"{name}\x1b[2J") for line in lines) == 1


@pytest.mark.any_kernel
def test_hello_shows_what_is_left_at_the_end():
    names = [f"/{marker()}" for _ in range(500)]
    with Run("hello", "--json") as run:
        for name in names:
            with pytest.raises(FileNotFoundError):
                os.open(name, os.O_RDONLY)
        assert run.end() == 0
    shown = {row["text"] for row in run.rows()}
    assert set(names) <= shown or b"lines lost" in run.err.rest()[-1]
