"""What holds without a tracefs: the mount table's format, and which names can be a tracepoint."""

from __future__ import annotations

import os

import pytest

from purebpf.errors import AttachError
from purebpf.kernel import tracefs
from purebpf.kernel.fd import Fd
from purebpf.kernel.tracefs import Tracefs


def test_mount_table():
    """The fields are those of proc_pid_mountinfo(5); optional ones stand before the hyphen."""
    text = (
        r"36 35 98:0 / /mnt/with\040space\134 rw,noatime master:1 shared:7 - tracefs /dev/root rw" + "\n"
        "37 35 98:0 /events /only/a/part rw - tracefs tracefs rw\n"
        "38 35 0:7 / /sys/kernel/debug rw shared:2 - debugfs debugfs rw\n"
    )
    assert list(tracefs._mounts(text)) == [("/mnt/with space\\", "tracefs"), ("/sys/kernel/debug", "debugfs")]


BAD_NAMES = ["", ".", "..", "../../etc", "a/b", "/etc/passwd", "a\0b", "a b", "\udcff", "ä", "-x", "a\n"]


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_names_that_are_no_names(bad, tmp_path):
    with Tracefs(Fd(os.open(tmp_path, os.O_RDONLY), "a folder")) as fake:
        for category, name in ((bad, "sched_switch"), ("sched", bad)):
            with pytest.raises(AttachError, match="cannot be a tracepoint") as caught:
                fake.tracepoint_id(category, name)
            str(caught.value).encode()  # printable, whatever it was


@pytest.fixture
def fake(tmp_path):
    """A folder that looks like a tracefs."""
    known = [
        "sched:sched_switch",
        "sched:sched_wakeup",
        "irq:irq_handler_entry",
        "task:newtask",
        "syscalls:sys_enter_openat",
    ]
    (tmp_path / "available_events").write_text("\n".join(known) + "\n")
    for number, line in enumerate(known):
        folder = tmp_path / "events" / line.replace(":", "/")
        folder.mkdir(parents=True)
        (folder / "id").write_text(f"{number}\n")
    with Tracefs(Fd(os.open(tmp_path, os.O_PATH), "a folder")) as fake:
        yield fake


def test_the_number(fake):
    assert fake.tracepoint_id("irq", "irq_handler_entry") == 2
    assert fake.listdir("events") == ["irq", "sched", "syscalls", "task"]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("sched/sched_swich", "sched/sched_switch"),  # a typo in the name
        ("shced/sched_switch", "sched/sched_switch"),  # in the category
        ("schd/sched_wakep", "sched/sched_wakeup"),  # in both
        ("sched/newtask", "task/newtask"),  # the right name elsewhere
        ("nonsense/newtask", "task/newtask"),
        ("syscall/sys_enter_openat", "syscalls/sys_enter_openat"),
    ],
)
def test_the_nearest_is_named_first(fake, wanted, meant):
    with pytest.raises(AttachError, match=rf"no tracepoint {wanted}; did you mean {meant}\b"):
        fake.tracepoint_id(*wanted.split("/"))


def test_nothing_is_near(fake):
    with pytest.raises(AttachError, match=r"no tracepoint nonsense/qqq$"):
        fake.tracepoint_id("nonsense", "qqq")
