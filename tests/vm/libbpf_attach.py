"""Compiles tests/kernel/libbpf_attach.c with the newest libbpf, for the kernel tests here and in guests.

The program is linked statically, as guests have other C libraries.  ``python -m tests.vm.libbpf_attach`` prints
where it is, and compiles it only if it is missing or older than its source.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "kernel" / "libbpf_attach.c"
PROGRAM = SOURCE.parent / ".build" / "libbpf_attach"


def build() -> Path:
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < SOURCE.stat().st_mtime:
        from ..conformance.debian import libbpf  # a guest, which need not build, has not what this takes

        newest = libbpf()
        # Newer libelfs need libzstd, if it is there.
        libraries = [word for word in ("elf", "z", "zstd") if word != "zstd" or _has("libzstd.a")]
        PROGRAM.parent.mkdir(exist_ok=True)
        new = PROGRAM.with_suffix(".new")
        command = ["cc", "-O", "-Wall", "-Werror", "-static", "-I", newest, "-o", new, SOURCE, newest / "libbpf.a"]
        subprocess.run([*command, *(f"-l{name}" for name in libraries)], check=True)
        new.rename(PROGRAM)
    return PROGRAM


def _has(library: str) -> bool:
    """Whether the compiler finds it: it answers with the bare name if not."""
    command = ["cc", f"-print-file-name={library}"]
    return "/" in subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    print(build())
