"""The command line without a kernel: options, messages, exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import purebpf
from purebpf.cli.main import main
from purebpf.cli.run import SettingError, _value, open_target

OBJECTS = Path(__file__).parent.parent / "objects"
MIXED = str(OBJECTS / "cli_mixed.bpf.o")


def test_list(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["execsnoop", "hello", "hello-kprobe", "killsnoop", "opensnoop", "profile", "runqlat", "xdpcount"]
    assert [line.split()[0] for line in lines] == names
    assert all(len(line.split()) > 3 for line in lines)


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"purebpf {purebpf.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["walk"], "invalid choice: 'walk'"),
        (["run"], "required: NAME|FILE.bpf.o"),
        (["run", "hello", "--duration", "soon"], "--duration: 'soon' is no positive number of seconds"),
        (["run", "hello", "--duration", "0"], "--duration: '0' is no positive number of seconds"),
        (["run", "hello", "--duration", "nan"], "--duration: 'nan' is no positive number of seconds"),
        (["run", "hello", "--duration", "inf"], "--duration: 'inf' is no positive number of seconds"),
        (["run", "hello", "--count", "0"], "--count: '0' is no whole number from 1 on"),
        (["run", "hello", "--count", "many"], "--count: 'many' is no whole number from 1 on"),
        (["run", "hello", "--pages", "3"], "--pages: '3' is no power of two"),
        (["run", "hello", "--pages", "-4"], "--pages: '-4' is no whole number from 1 on"),
        (["run", "hello", "--set", "x"], "--set: 'x' is not VARIABLE=VALUE"),
        (["run", "hello", "--set", "=1"], "--set: '=1' is not VARIABLE=VALUE"),
        (["run", "hello", "--ring"], "unrecognized arguments: --ring"),
        (["run", "hello", "eth0"], "unrecognized arguments: eth0"),
        (["run", "xdpcount"], "required: INTERFACE"),
        (["run", "xdpcount", "eth0", "eth1"], "unrecognized arguments: eth1"),
        (["run", "profile", "--pid", "me"], "--pid: 'me' is no whole number from 1 on"),
        (["run", "profile", "--frequency", "0"], "--frequency: '0' is no whole number from 1 on"),
        (["explain", "profile", "--folded"], "unrecognized arguments: --folded"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "option"), [("profile", "--folded"), ("xdpcount", "INTERFACE"), ("hello-kprobe", "--ring")]
)
def test_the_options_of_a_tool(name, option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"options of {name}:" in text and option in text and "--duration" in text


def test_no_options_of_tools_for_a_foreign_object(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    assert "--folded" not in text and "purebpf run NAME --help" in text


def only_message(capsys):
    """The one message on standard error, without its beginning."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("purebpf: ")
    assert captured.err.count("purebpf: ") == 1
    return captured.err.removeprefix("purebpf: ").rstrip("\n")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("execsnop", "did you mean execsnoop?"),
        ("nothing-like-it", "The tools are execsnoop, hello, hello-kprobe, killsnoop, opensnoop, profile"),
        ("gone.bpf.o", "reading object file 'gone.bpf.o': No such file or directory (ENOENT)"),
        ("./gone", "reading object file 'gone': No such file or directory (ENOENT)"),
        ("x" * 300, "File name too long"),
        (".", "directory"),
        ("empty", "not an ELF file"),
        ("text", "not an ELF file"),
        (sys.executable, "built for ELF machine"),
        ("/dev/zero", "device"),
    ],
)
def test_no_such_object(target, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    Path("text").write_text("#!/bin/sh\n" * 100)
    for command in ("run", "explain"):
        assert main([command, target]) == 1
        assert message in only_message(capsys)


def test_a_tool_whose_object_is_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("purebpf.cli.run.prebuilt", lambda name: tmp_path / f"{name}.bpf.o")
    assert main(["run", "hello"]) == 1
    assert "make prebuilt" in only_message(capsys)


@pytest.mark.parametrize("size", [1, 63, 64, 500, 1000, -1])
def test_a_truncated_object(size, capsys, tmp_path):
    path = tmp_path / "short.bpf.o"
    path.write_bytes(Path(MIXED).read_bytes()[:size])
    assert main(["explain", str(path)]) == 1
    assert only_message(capsys)


def values(*settings):
    spec, _ = open_target(MIXED, [tuple(setting.split("=", 1)) for setting in settings])
    return {name: spec.variables[name] for name in ("number", "flag", "colour", "label")}


def test_set():
    assert values() == {"number": -1, "flag": False, "colour": 0, "label": "none"}
    assert values("number=-5", "flag=true", "colour=GREEN", "label=12=3") == {
        "number": -5,
        "flag": True,
        "colour": 7,
        "label": "12=3",
    }
    assert values("number=0x10", "flag=1", "colour=7", "label=") == {
        "number": 16,
        "flag": True,
        "colour": 7,
        "label": "",
    }
    assert values("flag=true", "flag=False")["flag"] is False


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("nosuch=1", "no variable 'nosuch'; its variables: number, flag, colour, label, numbers"),
        ("number=abc", "whole number"),
        ("number=true", "whole number"),
        ("number=1.5", "whole number"),
        ("number=2147483648", "does not fit"),
        ("flag=2", "true or false"),
        ("flag=", "true or false"),
        ("colour=BLUE", "'BLUE'"),
        ("label=123456789", "9 bytes"),
        ("numbers=1", "only numbers, truth values and text"),
    ],
)
def test_wrong_settings(setting, message, capsys):
    with pytest.raises(SettingError):
        values(setting)
    assert main(["run", MIXED, "--set", setting]) == 1
    assert message in only_message(capsys)


def test_fractions():
    assert _value("1.5", 0.0) == 1.5
    with pytest.raises(ValueError, match="number"):
        _value("half", 0.0)


def test_tools_set_their_own_variables_first():
    spec, front = open_target("hello", [("instance", "5")])
    assert front.name == "hello"
    assert spec.variables["instance"] == 5


def run_module(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "purebpf", *arguments], stderr=subprocess.PIPE, text=True, check=False, **options
    )


def test_output_on_a_full_disk():
    with open("/dev/full", "w") as full:
        done = run_module("list", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "purebpf: writing to standard output: No space left on device (ENOSPC)\n"


def test_output_that_nobody_reads():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        done = run_module("list", stdout=closed)
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_output():
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m purebpf list >&-'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "purebpf: writing to standard output: Bad file descriptor (EBADF)\n"


def test_no_output_at_all():
    """Started with neither input, output nor errors: there is no place for a message, but the status tells."""
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m purebpf list <&- >&- 2>&-; echo $?'], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout == b"1\n"


def test_the_command_starts_quickly():
    """`list` needs no heavy module: what takes long to import is imported where it is used."""
    code = "import sys; from purebpf.cli.main import main; main(['list']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"elftools", "asyncio", "numpy"} & set(done.stderr.split())
