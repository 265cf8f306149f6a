"""Guests that go wrong end, and it is said why; what they report becomes a table.  Here QEMU is a shell script."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

# The suite is a package of its own, run from the root of the tree.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.vm.image import CHECKOUT, Cpio
from tests.vm.machine import run
from tests.vm.table import Table

PORTS = """\
#!/bin/sh
for word; do case "$word" in file:*) set -- "$@" "${word#file:}";; esac; done
while [ $# -gt 3 ]; do shift; done
console=$1 output=$2 results=$3
"""


@pytest.fixture
def guest(tmp_path):
    """A function that runs a guest, of which the shell commands are given instead of a kernel."""
    program = tmp_path / "emulator"

    def run_guest(commands, limit=20, silence=20, show=None):
        program.write_text(PORTS + commands)
        program.chmod(0o755)
        directory = tmp_path / "guest"
        directory.mkdir()
        return run([program], Path("kernel"), Path("initramfs"), directory, limit=limit, silence=silence, show=show)

    return run_guest


def test_a_guest_that_gets_to_its_end(guest):
    shown = []
    found = guest(
        """
        echo booting >$console
        echo running >$output
        echo '{"start": "a"}' >>$results
        echo '{"exit": 3}' >>$results
        """,
        show=shown.append,
    )
    assert (found.failure, found.exit, found.results) == (None, 3, [{"start": "a"}])
    assert found.output == b"".join(shown).decode() == "running\n"
    assert found.console == "booting\n"


@pytest.mark.parametrize(
    "line",
    [
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000000",
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "watchdog: BUG: soft lockup - CPU#1 stuck for 61s! [python3:120]",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    ],
)
def test_a_kernel_that_says_that_it_is_over(guest, line):
    """Whether it then stops or not."""
    start = time.monotonic()
    found = guest(f"echo '[   12.345678] {line}' >$console; printf '{{\"exit' >$results; sleep 100")
    assert found.failure.startswith("the kernel said: ")
    assert line.endswith(found.failure.removeprefix("the kernel said: "))
    assert found.exit is None and found.results == []
    assert time.monotonic() - start < 15


def test_a_panic_that_ends_the_machine(guest):
    found = guest("echo 'Kernel panic - not syncing: Fatal exception' >$console; echo '{\"start\": \"b\"}' >$results")
    assert found.failure == "the kernel said: Kernel panic - not syncing: Fatal exception"
    assert found.results == [{"start": "b"}]


def test_a_guest_that_falls_silent(guest):
    found = guest("echo working >$output; sleep 100", silence=1)
    assert found.failure == "nothing was heard for 1 seconds"
    assert found.seconds < 10


def test_a_guest_that_talks_for_ever(guest):
    found = guest("while :; do echo working >>$output; sleep 0.1; done", limit=2, silence=1)
    assert found.failure == "the time was over, 2 seconds"
    assert found.seconds < 10


def test_a_machine_that_does_not_start(guest):
    found = guest("echo 'could not load kernel' >&2; exit 1")
    assert found.failure == "the machine ended by itself: could not load kernel"


def test_nothing_runs_on_when_the_watcher_fails(guest, tmp_path):
    def fail(data):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        guest(f"echo $$ >{tmp_path}/pid; echo working >$output; exec sleep 100", show=fail)
    command_line = Path("/proc", (tmp_path / "pid").read_text().strip(), "cmdline")
    end = time.monotonic() + 10
    while command_line.exists() and command_line.read_bytes():  # nobody may have waited for it yet
        assert time.monotonic() < end
        time.sleep(0.1)


TESTS = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_passes(number, record_property):
    record_property("number", number)

def test_fails():
    assert 1 == 2

def test_skips():
    pytest.skip("needs luck")

@pytest.fixture
def broken():
    yield
    raise ValueError("afterwards")

def test_fails_afterwards(broken):
    pass
"""


def test_what_pytest_reports_becomes_a_table(guest, tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "pytest.ini").touch()
    (tests / "test_a.py").write_text(TESTS)
    (tests / "test_b.py").write_text("import nothing_of_this_name\n")
    pytest_command = f"{sys.executable} -m pytest -p tests.vm.reporter -p no:cacheprovider --rootdir {tests} {tests}"
    found = guest(f"""
        export PUREBPF_VM_RESULTS=$results PYTHONPATH={CHECKOUT}
        : >$results
        {pytest_command} --continue-on-collection-errors >$output
        echo '{{"start": "test_a.py::test_never_ends"}}' >>$results
        echo 'Kernel panic - not syncing: hung' >$console
    """)
    table = Table.of({"6.1": found})
    tests = json.loads(table.json())["6.1"]["tests"]
    assert {name.removeprefix("test_a.py::test_"): test["outcome"] for name, test in tests.items()} == {
        "passes[1]": "passed",
        "passes[2]": "passed",
        "fails": "failed",
        "skips": "skipped",
        "fails_afterwards": "failed",
        "test_b.py": "failed",
        "never_ends": "lost",
    }
    assert tests["test_a.py::test_passes[2]"]["properties"] == {"number": 2}
    assert "assert 1 == 2" in tests["test_a.py::test_fails"]["reason"]
    assert "ValueError: afterwards" in tests["test_a.py::test_fails_afterwards"]["reason"]
    assert "nothing_of_this_name" in tests["test_b.py"]["reason"]
    lines = table.text().splitlines()
    assert ["test_a.py::test_skips", "skip", "1"] in [line.split() for line in lines]
    assert "skip 1: needs luck" in lines
    assert ["failed", "3"] in [line.split() for line in lines]


def test_an_archive_is_what_busybox_reads(tmp_path):
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").write_bytes(b"12345")
    (tree / "link").symlink_to("inner/file")
    output = io.BytesIO()
    cpio = Cpio(output)
    cpio.add_tree(tree, "a")
    cpio.end()
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["busybox", "cpio", "-i"], input=output.getvalue(), cwd=unpacked, check=True, capture_output=True)
    assert (unpacked / "a" / "link").read_bytes() == b"12345"
