"""Which bpf(2) calls a loader really makes: it runs under strace, and what strace prints is read back.

strace prints everything as numbers (``-X raw``) and hexadecimal strings (``-xx``), and structures whole (``-v``):

    4711  bpf(0x5, {prog_type=0x5, insns=[{code=0x7|0|0xb0, ...}], license="\\x47\\x50\\x4c", log_buf=NULL}, 144) = 5

Two loaders are at hand, libbpf (libbpf_reference.c, compiled when first asked for) and purebpf (traced_loader.py).
Both load an object between two marks in the trace, and then print the same things about what is in the kernel.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from with_libbpf import compiled

from purebpf.abi.bpf import bpf_cmd

HERE = Path(__file__).resolve().parent
OBJECTS = sorted([*HERE.parent.glob("prebuilt/*.bpf.o"), *HERE.glob("objects/*.bpf.o")])
OBJECTS = [path for path in OBJECTS if not path.name.startswith(("conf_", "hook_", "link_", "module_", "net_"))]
"""All but those that need a later libbpf than the installed one, which tests/conformance compares."""

MARK = 9999
"""No bpf(2) command has this number; the kernel answers EINVAL, and it shows in the trace."""

_TOKEN = re.compile(
    r'\s+|\.\.\.|"(?P<text>(?:\\x[0-9a-f]{2})*)"|(?P<number>-?(?:0x[0-9a-f]+|\d+))|(?P<null>NULL)'
    r"|(?P<name>[a-z_0-9]+)=|(?P<sign>=>|[][{}|,])"
)


@dataclass
class Call:
    """One system call: its name, arguments as Python values, result (-1 if it failed), and then the error's name."""

    name: str
    args: list
    result: int
    error: str

    @property
    def cmd(self):
        return bpf_cmd(self.args[0])

    @property
    def fields(self):
        """The attributes by name; {} where strace does not know their layout and prints only an address."""
        return self.args[1] if isinstance(self.args[1], dict) else {}


@dataclass
class Run:
    """What a command did: the bpf and perf_event_open calls it made, the lines it printed, whether it succeeded."""

    calls: list[Call]
    lines: list[str]
    succeeded: bool
    errors: str


def trace(command, file, environment=()):
    """Run a command under strace, which writes to ``file``; ``environment`` has more variables, as NAME=VALUE."""
    options = ["-f", "-v", "-xx", "-X", "raw", "-s", "100000000", "-e", "trace=bpf,perf_event_open", "-o", file]
    for variable in environment:
        options += ["-E", variable]
    done = subprocess.run(["strace", *options, *command], capture_output=True, text=True)
    calls = [parse(line) for line in Path(file).read_text().splitlines() if re.match(r"\d+ +\w+\(", line)]
    return Run(calls, done.stdout.splitlines(), done.returncode == 0, done.stderr)


def between_marks(calls):
    """The calls of the load, and those after it."""
    first, second = (i for i, call in enumerate(calls) if call.name == "bpf" and call.args[0] == MARK)
    return calls[first + 1 : second], calls[second + 1 :]


def parse(line):
    """One line of strace's output."""
    name, arguments, result, error = re.fullmatch(r"\d+ +(\w+)\((.*)\) += (-?\d+)(?: (\w+) .*)?", line).groups()
    return Call(name, _items(_tokens(arguments), None), int(result), error or "")


def _tokens(text):
    position = 0
    text = re.sub(r"/\*.*?\*/", "", text)
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match, f"not understood: {text[position : position + 80]}"
        position = match.end()
        if match.lastgroup:
            yield match.lastgroup, match[match.lastgroup]
    yield "sign", None


def _items(tokens, end):
    """What stands up to the closing bracket: a list, or a dict if the values have names."""
    values, names = [], []
    combine = False
    for kind, word in tokens:
        if kind == "sign" and word == end:
            break
        if kind == "name":
            names.append(word)
        elif word == "|":  # flags, and the parts of an opcode
            combine = True
        elif word == "=>":  # what the kernel has written there
            next(tokens)
        elif word != ",":
            value = _value(kind, word, tokens)
            values.append(values.pop() | value if combine else value)
            combine = False
    return dict(zip(names, values, strict=True)) if names else values


def _value(kind, word, tokens):
    if kind == "text":
        return bytes.fromhex(word.replace("\\x", ""))
    if kind == "sign":
        return _items(tokens, {"{": "}", "[": "]"}[word])
    return 0 if kind == "null" else int(word, 0)


def code(insns):
    """The bytes of instructions that strace has taken apart."""
    return b"".join(
        struct.pack("=BBhI", insn["code"], _registers(insn), insn["off"], insn["imm"] & 0xFFFFFFFF) for insn in insns
    )


def _registers(insn):
    first, second = ("dst_reg", "src_reg") if sys.byteorder == "little" else ("src_reg", "dst_reg")
    return insn[first] | insn[second] << 4


PUREBPF = [sys.executable, HERE / "traced_loader.py"]
"""The command that loads an object with purebpf: add its path."""


def libbpf(tmp_path_factory):
    """The program libbpf_reference, compiled."""
    return compiled(tmp_path_factory.mktemp("libbpf"), HERE / "libbpf_reference.c")
