"""``purebpf btf dump``: its listing is bpftool's, word for word, and its header the printer's."""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from btf_making import PTR, STRUCT, VAR, Assembler, compile_c
from test_btf_reader import every_kind

import purebpf
from purebpf.btf.listing import listing
from purebpf.btf.printer import c_header
from purebpf.btf.reader import Btf
from purebpf.cli import btf as cli_btf
from purebpf.errors import ObjectFormatError

KERNEL_BTF = "/sys/kernel/btf/vmlinux"
OBJECTS = sorted((Path(__file__).parents[2] / "prebuilt").glob("*.bpf.o"))
needs_kernel_btf = pytest.mark.skipif(not os.path.exists(KERNEL_BTF), reason="needs /sys/kernel/btf/vmlinux")
needs_bpftool = pytest.mark.needs_tool("bpftool")


def run(*arguments):
    parser = argparse.ArgumentParser()
    cli_btf.add_parser(parser.add_subparsers(required=True))
    options = parser.parse_args(["btf", "dump", *map(str, arguments)])
    return options.command(options)


def bpftool(*arguments, base=None):
    options = ["-B", base] if base else []
    command = ["bpftool", *options, "btf", "dump", "file", *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # bpftool has no word for an integer that is a signed character.
    return text.replace("encoding=UNKN", "encoding=CHAR SIGNED")


@needs_bpftool
@needs_kernel_btf
def test_listing_of_the_kernel_is_that_of_bpftool():
    with open(KERNEL_BTF, "rb") as file:
        btf = Btf.from_bytes(file.read())
    for ours, theirs in zip(listing(btf), bpftool(KERNEL_BTF).splitlines(), strict=True):
        assert ours == theirs


@needs_bpftool
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_listing_of_an_object_is_that_of_bpftool(path, capsys):
    assert run(path) == 0
    assert capsys.readouterr().out == bpftool(path)


@needs_bpftool
@pytest.mark.parametrize("order", ["<", ">"])
def test_listing_of_every_kind_is_that_of_bpftool(order, tmp_path, capsys):
    path = tmp_path / "btf"
    path.write_bytes(every_kind(order).bytes())
    assert run(path, "--format", "raw") == 0
    assert capsys.readouterr().out == bpftool(path)


def test_kind_that_is_not_known():
    a = Assembler()
    a.types += a.words(a.string("new"), 20 << 24, 0)
    layout = bytes([0, 0, 0, 0] * 21)
    assert list(listing(Btf.from_bytes(a.bytes(layout)))) == ["[1] UNKN 'new' kind=20"]


@pytest.fixture
def split(tmp_path):
    base = Assembler()
    inner = base.struct("inner", 4, ("x", base.int(), 0))
    a = Assembler(base=base)
    a.struct("outer", 12, ("x", inner, 0), ("y", a.add(PTR, "", inner), 32))
    a.add(VAR, "variable", inner, 7)
    paths = tmp_path / "base", tmp_path / "split"
    for path, each in zip(paths, (base, a), strict=True):
        path.write_bytes(each.bytes())
    return paths


@needs_bpftool
def test_split_btf(split, capsys):
    base, path = split
    assert run(path, "--base", base) == 0
    assert capsys.readouterr().out == bpftool(path, base=base)
    assert run(path, "--base", base, "--format", "c") == 0
    text = capsys.readouterr().out
    assert re.findall(r"^struct \w+ \{", text, re.MULTILINE) == ["struct inner {", "struct outer {"]
    with pytest.raises(ObjectFormatError, match="opened without its base"):
        run(path)


def test_module_in_sysfs_has_the_running_kernel_as_its_base(split, capsys, monkeypatch):
    base, path = split
    monkeypatch.setattr(cli_btf, "KERNEL_BTF", base)
    assert run(path) == 0
    assert capsys.readouterr().out.startswith("[3] PTR '(anon)' type_id=2\n")


@pytest.mark.needs_tool("clang-19")
def test_header(tmp_path, capsys):
    made = compile_c(tmp_path, "struct s { int x; } s;")
    assert run(made.path, "--format", "c") == 0
    assert capsys.readouterr().out == c_header(made.btf)


def test_standard_input(monkeypatch, capsys):
    a = Assembler()
    a.add(STRUCT, "s", 0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(a.bytes())))
    assert run("-") == 0
    assert capsys.readouterr().out == "[1] STRUCT 's' size=0 vlen=0\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text")))
    with pytest.raises(ObjectFormatError, match="standard input: neither BTF nor an ELF file"):
        run("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(purebpf.KernelError, match="reading standard input"):
        run("-")


@needs_kernel_btf
def test_without_a_file_it_is_the_running_kernel(capsys):
    assert run() == 0
    first = capsys.readouterr().out.splitlines()[0]
    with open(KERNEL_BTF, "rb") as file:
        assert first == next(listing(Btf.from_bytes(file.read())))


def test_wrong_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        run("--format", "json")
    assert ended.value.code == 2
    assert "invalid choice: 'json'" in capsys.readouterr().err
    with pytest.raises(purebpf.KernelError, match="reading types from /nothing/here"):
        run("/nothing/here")
