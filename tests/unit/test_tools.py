"""The tools' own work, without a kernel: joining, quoting, lines, sessions, output."""

from __future__ import annotations

import io
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import purebpf
from purebpf.btf.value import CharArray
from purebpf.tools import execsnoop, generic, hello, killsnoop, opensnoop, output
from purebpf.tools.execsnoop import Joiner
from purebpf.tools.session import Session
from purebpf.tools.tool import NAMES, Tool, count, error_name, prebuilt, printable, quoted, tool

LAST, UNREADABLE, TRUNCATED = 1, 2, 4


# Execs by hand, after the description in programs/execsnoop.bpf.c.


def piece(offset, text, flags=0, *, cpu=0, time=1, **others):
    record = {"pid": 10, "ppid": 9, "uid": 0, "ret": 0, "comm": CharArray(b"sh".ljust(16, b"\0"))} | others
    return SimpleNamespace(
        time=time,
        cpu=cpu,
        flags=flags,
        offset=offset,
        size=len(text),
        text=CharArray(text + b"rest of the ring"),
        **record,
    )


def cut(text, places, *, cpu=0, time=1):
    """One exec's text, cut at these places, as the pieces that are sent."""
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    pieces = [piece(start, text[start:end], cpu=cpu, time=time) for start, end in itertools.pairwise(ends)]
    pieces[-1].flags = LAST
    return pieces


def join(pieces):
    joiner = Joiner()
    whole = [each for event in pieces for each in joiner.feed(event)]
    return whole + list(joiner.rest())


def text_of(strings):
    return b"".join(string + b"\0" for string in strings)


c_strings = st.lists(st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b"x")), min_size=1, max_size=8)


@given(c_strings, st.lists(st.integers(0, 200), max_size=6))
def test_strings_may_be_cut_anywhere(strings, places):
    (whole,) = join(cut(text_of(strings), places))
    assert whole.strings() == strings
    assert not whole.lost and not whole.truncated


@given(st.lists(st.tuples(c_strings, st.lists(st.integers(0, 200), max_size=4)), min_size=1, max_size=5), st.randoms())
def test_each_cpu_sends_its_own_execs(execs, random):
    """The pieces of several CPUs come interleaved in any way; on one CPU, execs follow one another."""
    queues = {}
    for number, (strings, places) in enumerate(execs):
        queues.setdefault(number % 3, []).extend(cut(text_of(strings), places, cpu=number % 3, time=100 + number))
    pieces = []
    while queues:
        cpu = random.choice(list(queues))
        pieces.append(queues[cpu].pop(0))
        if not queues[cpu]:
            del queues[cpu]
    found = {whole.first.time: whole.strings() for whole in join(pieces)}
    assert found == {100 + number: strings for number, (strings, _) in enumerate(execs)}


@given(c_strings, st.lists(st.integers(0, 200), min_size=1, max_size=6), st.data())
def test_no_loss_goes_unnoticed(strings, places, data):
    pieces = [each for each in cut(text_of(strings), places) if each.size]
    if not pieces:
        return
    pieces[-1].flags = LAST
    gone = data.draw(st.integers(0, len(pieces) - 1))
    kept = pieces[:gone] + pieces[gone + 1 :]
    wholes = join(kept)
    assert [whole.lost for whole in wholes] == [True] * bool(kept)


def test_what_lies_around_a_gap_is_not_glued_together():
    (whole,) = join([piece(0, b"/bin/true\0tr"), piece(20, b"ing\0x\0", LAST)])
    assert whole.lost
    assert whole.strings() == [b"/bin/true", b"tr", None, b"ing", b"x"]


def test_a_lost_beginning_is_not_taken_for_the_file_name():
    (whole,) = join([piece(10, b"argument\0", LAST)])
    assert whole.strings() == [None, b"argument"]


def test_a_lost_end_shows_when_the_next_exec_begins():
    joiner = Joiner()
    assert list(joiner.feed(piece(0, b"/bin/a\0a\0par", time=1))) == []
    (first,) = joiner.feed(piece(0, b"/bin/b\0", time=2))
    assert first.strings() == [b"/bin/a", b"a", b"par"] and first.lost
    (second,) = joiner.feed(piece(7, b"b\0", LAST, time=2))
    assert second.strings() == [b"/bin/b", b"b"] and not second.lost
    assert list(joiner.rest()) == []


def test_a_lost_end_shows_when_all_is_over():
    joiner = Joiner()
    assert list(joiner.feed(piece(0, b"/bin/a\0"))) == []
    (broken,) = joiner.rest()
    assert broken.lost
    assert list(joiner.rest()) == []


def test_unreadable_strings():
    (whole,) = join([piece(0, b"", UNREADABLE), piece(0, b"a\0b\0", UNREADABLE), piece(4, b"c\0", LAST | UNREADABLE)])
    assert whole.strings() == [None, b"a", b"b", None, b"c", None]
    assert not whole.lost


def test_an_unreadable_rest_of_a_string_ends_it():
    (whole,) = join([piece(0, b"f\0long", UNREADABLE), piece(6, b"next\0", LAST)])
    assert whole.strings() == [b"f", b"long", None, b"next"]


def test_truncated():
    (whole,) = join([piece(0, b"f\0a"), piece(3, b"", LAST | TRUNCATED)])
    assert whole.truncated and not whole.lost
    assert whole.strings() == [b"f", b"a"]


def test_nothing_at_all_was_readable():
    (whole,) = join([piece(0, b"", LAST)])
    assert whole.strings() == []
    row = execsnoop._row(whole)
    assert (row["file"], row["args"]) == (None, [])


def test_many_pieces_of_one_string_take_linear_time():
    size = 8192
    pieces = [piece(number * size, b"x" * size) for number in range(2000)]  # 16 MB
    pieces[-1].flags = LAST
    begin = time.perf_counter()
    (whole,) = join(pieces)
    assert len(whole.strings()[0]) == 2000 * size
    assert time.perf_counter() - begin < 2


def test_rows_of_an_exec():
    comm = CharArray(b"a\xffb\0junk".ljust(16, b"\0"))
    (whole,) = join([piece(0, b"/x\xfe\0arg\xff\0", LAST, ret=-2, comm=comm)])
    row = execsnoop._row(whole)
    assert json.loads(json.dumps(row)) == row
    assert (row["ret"], row["error"]) == (-2, "ENOENT")
    assert os.fsencode(row["comm"]) == b"a\xffb"
    assert os.fsencode(row["file"]) == b"/x\xfe"
    assert [os.fsencode(each) for each in row["args"]] == [b"arg\xff"]


ROW = {
    "time": 1,
    "pid": 7341,
    "ppid": 7290,
    "uid": 0,
    "comm": "ls",
    "ret": 0,
    "error": None,
    "file": "/bin/ls",
    "args": ["ls", "-l", "a b", ""],
    "lost": False,
    "truncated": False,
}


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, "ls -l 'a b' ''"),
        ({"args": []}, ""),
        ({"args": ["ls", None]}, "ls (not readable)"),
        ({"args": ["ls", None, "x"], "lost": True}, "ls (lost) x (parts of it were lost)"),
        ({"args": ["ls"], "truncated": True}, "ls (and more, not read)"),
        ({"error": "ENOENT", "ret": -2}, "ls -l 'a b' '' (file /bin/ls)"),
        ({"error": "ENOENT", "ret": -2, "args": ["/bin/ls"]}, "/bin/ls"),
        ({"error": "EFAULT", "ret": -14, "file": None, "args": []}, ""),
        ({"args": ["\x1b[2J\n"]}, r"$'\x1b[2J\n'"),
    ],
)
def test_line_of_an_exec(changes, arguments):
    row = ROW | changes
    line = execsnoop.Front().line(row)
    assert line.isprintable()
    fields = line.split(maxsplit=4)
    assert fields[:4] == ["7341", "7290", "ls", row["error"] or "0"]
    assert (fields[4:] or [""])[0] == arguments


def test_columns_stand_under_the_header():
    front = execsnoop.Front()
    line = front.line(ROW)
    for title, value in (("PPID", "7290"), ("COMM", "ls"), ("RET", "0"), ("ARGS", "ls -l")):
        assert line[front.header.index(title) :].startswith(value)


@pytest.mark.parametrize("cpus", [1, 2, 3, 6, 8, 9, 12, 24, 48, 96, 200, 1000])
def test_rings_have_a_power_of_two_pages_on_any_machine(cpus):
    pages = execsnoop._ring_pages(cpus)
    assert pages.bit_count() == 1
    assert cpus * pages * 4096 <= 64 << 20


# Text for terminals.


def shell_words(line):
    """What bash reads: the words of a line, as bytes."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], stdout=subprocess.PIPE, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    return done.stdout.split(b"\0")[:-1]


NASTY = [
    b"",
    b"plain",
    b"two words",
    b"it's",
    b"a\nb",
    b"\t\r\x1b[31m\x07\x7f",
    b"back\\slash\nand 'quote'",
    b'$HOME `id` "x" *',
    b"\xff\xfe\n",
    "grüße €".encode(),
    "\u202eright to left".encode(),
    "\u2028line".encode(),
    b"\xe2\x80",
    b"-n",
    b"\x01" + b"1",
]


@pytest.mark.needs_tool("bash")
def test_a_shell_reads_back_what_was_quoted():
    line = " ".join(quoted(os.fsdecode(each)) for each in NASTY)
    assert shell_words(line) == NASTY


@given(st.binary(max_size=20))
def test_quoted_text_is_one_printable_line(raw):
    text = raw.decode("utf-8", "surrogateescape")
    assert quoted(text).isprintable()
    assert printable(text).isprintable()
    if text.isprintable():
        assert shlex.split(quoted(text)) == [text]
        assert printable(text) == text


def test_printable():
    assert printable("a\n\x1b\udcff\u202e\\") == "a\\n\\x1b\\xff\\xe2\\x80\\xae\\"


def test_error_names():
    assert [error_name(each) for each in (0, 3, -2, -13)] == [None, None, "ENOENT", "EACCES"]
    assert [error_name(each) for each in (-512, -600)] == ["ERESTARTSYS", "-600"]


def test_count():
    assert [count(number, "event") for number in (0, 1, 2)] == ["0 events", "1 event", "2 events"]


# The other tools.


def test_line_of_an_open(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    row = {"time": 3723.000042, "comm": "c\nat", "pid": 5, "result": 3, "error": None, "file": "a b"}
    assert opensnoop.Front().line(row).split(maxsplit=4) == ["01:02:03.000042", "c\\nat", "5", "3", "'a b'"]
    row |= {"error": "ENOENT", "file": None}
    assert opensnoop.Front().line(row).endswith("ENOENT   (name not readable)")


def test_line_of_a_kill():
    row = {"pid": 5, "comm": "a\x1bb", "killer_pid": 6, "killer_comm": "k", "killer_uid": 1000}
    assert killsnoop.Front().line(row).split() == ["5", "a\\x1bb", "6", "k", "1000"]


def test_a_full_map_of_kills_is_remarked():
    kill = killsnoop._KILL.pack(1, 2, 3, 0, 1, b"killer", b"victim")

    class Map(dict):
        max_entries = 2

    bpf = SimpleNamespace(maps={"kills": Map({1: kill})}, detach=lambda: None)
    front, session = killsnoop.Front(), SimpleNamespace(wait=lambda *sources: False)
    assert [row["comm"] for row in front.rows(bpf, None, session)] == ["victim"]
    assert front.remark() == ""
    bpf.maps["kills"][2] = kill
    assert len(list(front.rows(bpf, None, session))) == 2
    assert "full" in front.remark()


TRACE_PIPE = """\
             cat-4711    [001] ...21  1234.567890: bpf_trace_printk: purebpf-hello[77]: /etc/passwd
 kworker/0:1-ev-12      [000] d..2.  1234.600000: bpf_trace_printk: purebpf-hello[77]: /a b
          tmux: -server-99      (     99) [000] .....  1235.000001: bpf_trace_printk: purebpf-hello[77]: in a group
            bash-5       [000]  1236.5: bpf_trace_printk: purebpf-hello[77]: no flags
           <...>-6       [000] .....  1237.5: bpf_trace_printk: purebpf-hello[78]: another instance
           other-7       [000] .....  1238.5: bpf_trace_printk: somebody else's line
CPU:1 [LOST 1017 EVENTS]
           evil-8       [000] .....  1239.5: bpf_trace_printk: x purebpf-hello[77]: forged
           evil-8       [000] .....  1239.5: sys_openat: purebpf-hello[77]: forged
"""


def test_hello_finds_its_own_lines():
    """The lines are those of Documentation/trace/ftrace.rst, with the options irq-info and record-tgid on and off."""
    bpf = SimpleNamespace(spec=SimpleNamespace(variables={"instance": 77}), detach=lambda: None)
    batches, turns = iter([TRACE_PIPE.splitlines(), []]), iter([True, False])
    pipe = SimpleNamespace(lines=lambda: next(batches))
    session = SimpleNamespace(wait=lambda *sources: next(turns), over=False)
    front = hello.Front()
    rows = list(front.rows(bpf, pipe, session))
    assert [(row["comm"], row["pid"], row["time"], row["text"]) for row in rows] == [
        ("cat", 4711, 1234.56789, "/etc/passwd"),
        ("kworker/0:1-ev", 12, 1234.6, "/a b"),
        ("tmux: -server", 99, 1235.000001, "in a group"),
        ("bash", 5, 1236.5, "no flags"),
    ]
    assert front.remark().startswith("1017 lines lost")
    assert front.line(rows[0]).split() == ["1234.567890", "4711", "cat", "/etc/passwd"]


def test_hello_marks_each_run_anew():
    marks = []
    for _ in range(2):
        spec = SimpleNamespace(variables={})
        hello.Front().prepare(spec)
        marks.append(spec.variables["instance"])
    assert marks[0] != marks[1]


def test_hex_dump_of_an_unknown_event():
    raw = bytes(range(0x1E, 0x30)) + b"\x7f\xff"
    lines = generic.Front().line({"map": "events", "cpu": 3, "data": raw.hex()}).splitlines()
    assert lines[0] == "events: 20 bytes on CPU 3"
    assert lines[1] == "  0000  1e 1f 20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d  .. !\"#$%&'()*+,-"
    assert lines[2] == "  0010  2e 2f 7f ff                                      ./.."


def test_line_of_a_known_event():
    line = generic.Front().line({"map": "events", "event": {"pid": 1, "comm": "a\n'", "list": [1, 2]}})
    assert line == 'events: pid=1 comm="a\\n\'" list=[1, 2]'


@pytest.mark.parametrize("name", NAMES)
def test_each_tool_has_a_summary_and_an_object(name):
    front = tool(name)
    assert front.name == name
    assert front.summary
    assert prebuilt(name).exists()
    assert front.optional <= set(purebpf.parse(prebuilt(name)).programs)


def test_what_was_lost_is_remarked():
    front = Tool()
    assert front.remark() == ""
    front._count_lost(0, 2)
    front._count_lost(1, 1)
    assert front.remark().startswith("3 events lost")


class Rings:
    """A map that gives rings of so many pages at most."""

    def __init__(self, limit, errno):
        self.limit, self.errno, self.asked = limit, errno, []

    def read(self, type_name, *, pages, on_lost):
        self.asked.append(pages)
        if pages > self.limit:
            raise purebpf.KernelError(self.errno, "mapping a ring")
        return pages


def test_smaller_rings_are_taken_where_memory_is_limited():
    assert Tool().ring(Rings(128, 1), "event", 2048) == 128  # EPERM
    assert Tool().ring(Rings(1, 12), None, 2) == 1  # ENOMEM
    never = Rings(0, 1)
    with pytest.raises(purebpf.KernelError):
        Tool().ring(never, None, 8)
    assert never.asked == [8, 4, 2, 1]
    other = Rings(0, 22)
    with pytest.raises(purebpf.KernelError):
        Tool().ring(other, None, 8)
    assert other.asked == [8]


def test_rings_of_the_size_asked_for_or_none():
    rings = Rings(128, 1)
    front = Tool()
    front.configure(SimpleNamespace(pages=256))
    with pytest.raises(purebpf.KernelError):
        front.ring(rings, "event", 64)
    assert rings.asked == [256]
    front.configure(SimpleNamespace(pages=2))
    assert front.ring(rings, "event", 64) == 2


# Sessions.


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as reading, open(writer, "wb", buffering=0) as writing:
        yield reading, writing


def test_wait_returns_when_there_is_something(pipe):
    with Session() as session:
        session.start()
        pipe[1].write(b"x")
        assert session.wait(pipe[0])
        assert not session.over


def test_the_duration_counts_from_the_start(pipe):
    with Session() as session:
        time.sleep(0.05)
        session.start(0.05)
        begin = time.monotonic()
        assert not session.wait(pipe[0])
        assert time.monotonic() - begin >= 0.04
        assert session.over


def test_no_duration_is_too_long(pipe):
    with Session() as session:
        session.start(1e15)
        pipe[1].write(b"x")
        assert session.wait(pipe[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_a_second_one_interrupts(number, pipe):
    before = signal.getsignal(number)
    with Session() as session:
        session.start()
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.kill(os.getpid(), number)
        assert session.over
        assert not session.wait(pipe[0])
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_signal_ends_a_wait_that_sleeps(pipe):
    child = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -INT {os.getpid()}"])
    with Session() as session:
        session.start(30)
        begin = time.monotonic()
        assert not session.wait(pipe[0])
        assert time.monotonic() - begin < 20
        assert child.wait() == 0


def test_other_signals_do_not_end_it(pipe):
    """Nor do they make it spin: what they leave in the wakeup pipe is taken out."""
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    try:
        with Session() as session:
            session.start(0.3)
            os.kill(os.getpid(), signal.SIGUSR1)
            begin = time.process_time()
            assert not session.wait(pipe[0])
            assert time.process_time() - begin < 0.2
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught == [1]


def test_a_session_puts_the_wakeup_descriptor_back(pipe):
    os.set_blocking(pipe[1].fileno(), False)
    signal.set_wakeup_fd(pipe[1].fileno())
    try:
        with Session():
            pass
    finally:
        assert signal.set_wakeup_fd(-1) == pipe[1].fileno()


def test_a_reader_that_goes_away_ends_it(monkeypatch):
    reader, writer = os.pipe()
    with open(writer, "w") as stdout, Session() as session:
        monkeypatch.setattr(sys, "stdout", stdout)
        session.start(30)
        os.close(reader)
        assert not session.wait()
        assert session.over


def test_written_lines_are_handed_over_before_waiting(monkeypatch):
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as reading, open(writer, "w") as stdout, Session() as session:
        monkeypatch.setattr(sys, "stdout", stdout)
        output.write("prompt")
        session.start(0.001)
        session.wait()
        assert reading.read(100) == b"prompt\n"


# Output.


def test_output_that_cannot_be_written(monkeypatch):
    with open("/dev/full", "w") as stdout:  # whose end writes what is still in the buffer
        monkeypatch.setattr(sys, "stdout", stdout)
        output.write("x")
        with pytest.raises(purebpf.KernelError, match="writing to standard output: No space left on device"):
            output.flush()
        with pytest.raises(purebpf.KernelError, match="writing to standard output"):
            for _ in range(100):
                output.write("x" * 1000)
        output.discard()


def test_closed_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(purebpf.KernelError, match="EBADF"):
        output.write("x")
    output.flush()
    output.discard()
    assert output.fileno() is None


def test_output_that_nobody_reads(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        output.write("x")
        with pytest.raises(BrokenPipeError):
            output.flush()
        output.discard()


def test_output_in_any_encoding(monkeypatch):
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    output.prepare()
    output.write("é\udcff")
    output.flush()
    assert raw.getvalue() == b"\\xe9\\udcff\n"


def test_output_that_is_no_file(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    output.prepare()
    output.write("x")
    output.flush()
    assert output.fileno() is None
    assert sys.stdout.getvalue() == "x\n"


def test_messages_to_nobody(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    output.say("lost")
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        output.say("lost")
