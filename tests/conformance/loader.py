"""Loads BPF objects with purebpf, for the recorder to see; loader.c does the same with libbpf, and says how."""

from __future__ import annotations

import sys

import purebpf
from purebpf.kernel.syscall import syscall

MARK = 9999


def mark(text: str) -> None:
    data = text.encode()
    syscall("bpf", MARK, data, len(data))


def load(kernel: purebpf.KernelFacts, path: str, programs: str) -> None:
    mark(f"begin {path} {programs}")
    names, complaint = [], ""
    try:
        spec = purebpf.parse(path)
        for program in spec.programs.values():
            names.append(f"{'' if program.autoload else '?'}{program.name}")
            if programs != "default":
                program.autoload = programs in ("all", program.name)
        with spec.load(kernel):
            mark("loaded")
    except purebpf.PureBpfError as error:
        complaint = str(error)
        mark("refused")
    except Exception as error:  # noqa: BLE001 - what should not happen counts as a crash, but does not end the run
        complaint = f"{type(error).__name__}: {error}"
    mark("".join(f" {name}" for name in names) + "\n" + complaint)


def main(core_btf: str, *jobs: str) -> None:
    kernel = purebpf.KernelFacts.running(core_btf=core_btf or None)
    for path, programs in zip(jobs[::2], jobs[1::2], strict=True):
        load(kernel, path, programs)


if __name__ == "__main__":
    main(*sys.argv[1:])
