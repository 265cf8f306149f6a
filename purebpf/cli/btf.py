"""``purebpf btf``: look at the types of a kernel, a module or an object."""

from __future__ import annotations

import argparse
import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from purebpf.errors import KernelError
from purebpf.kernel.facts import KERNEL_BTF
from purebpf.tools import output

if TYPE_CHECKING:
    from purebpf.btf.reader import Btf

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add ``btf`` to the commands of ``purebpf``."""
    parser = commands.add_parser(
        "btf", help="show the types of a kernel, a module or an object", description="Look at BTF, the kernel's types."
    )
    dumping = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "dump",
        help="print types, as a C header or record by record",
        description="Print the types of a BTF: as a C header (vmlinux.h) for programs that clang compiles for BPF, or "
        "record by record.",
    )
    dumping.set_defaults(command=_dump)
    dumping.add_argument(
        "file",
        nargs="?",
        default=str(KERNEL_BTF),
        metavar="FILE",
        help="bare BTF or an ELF file (vmlinux, module.ko, object.bpf.o); - reads standard input; "
        "without one, the running kernel's",
    )
    dumping.add_argument("--format", choices=["c", "raw"], default="raw", help="a C header, or records (the default)")
    dumping.add_argument(
        "--base",
        metavar="FILE",
        help="the kernel's types, which a module's types build on; for files in /sys/kernel/btf, the running kernel's",
    )


def _dump(options: argparse.Namespace) -> int:
    # Imported here, for the other commands of purebpf to start without it.
    from purebpf.btf.listing import listing
    from purebpf.btf.printer import c_header

    btf = _open(options.file, options.base)
    if options.format == "c":
        output.write(c_header(btf).removesuffix("\n"))
    else:
        for line in listing(btf):
            output.write(line)
    return 0


def _open(file: str, base_file: str | None) -> Btf:
    from purebpf.obj.btf_file import read_btf

    path = Path(file)
    if base_file is None and path.parent == KERNEL_BTF.parent and path != KERNEL_BTF:
        base_file = str(KERNEL_BTF)
    base = None if base_file is None else read_btf(base_file)
    if file == "-":
        if sys.stdin is None:  # the shell's <&-
            raise KernelError(errno.EBADF, "reading standard input")
        return read_btf(sys.stdin.buffer.read(), base=base, where="standard input")
    return read_btf(path, base=base)
