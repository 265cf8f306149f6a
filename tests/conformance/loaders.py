"""The loaders under comparison: built here, and run where they see the kernel that they are to load for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import debian, recording

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

_LONGEST_RUN = 900
"""Seconds, for a loader and all objects."""

# A BPF file system of its own, for pinned maps; and where a kernel is given, that one's types and configuration. They
# are seen by this process only.
_PREPARE = """
mount -t bpf bpf /sys/fs/bpf
if [ -n "${UTS_RELEASE-}" ]; then
    mount -t tmpfs tmpfs /sys/kernel/btf
    cp "$1" /sys/kernel/btf/vmlinux
    mount -t tmpfs tmpfs /boot
    cp "$2" "/boot/config-$UTS_RELEASE"
fi
shift 3
LD_PRELOAD=$0 exec "$@"
"""


@dataclass(frozen=True)
class Target:
    """What to load for: ``kernel``, if it is not the running one; ``core_btf``, types to use instead for CO-RE only."""

    name: str
    kernel: debian.Kernel | None = None
    core_btf: Path | None = None


@dataclass(frozen=True)
class Job:
    """An object to load, and which programs of it: "default", "all" or a name."""

    path: Path
    selected: str

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(".bpf.o")


@dataclass(frozen=True)
class Loader:
    """``command`` loads objects as loader.c says; ``name`` is that of a libbpf, or "purebpf"."""

    name: str
    command: tuple[str | Path, ...]
    recorder: Path

    def run(self, target: Target, jobs: Sequence[Job], directory: Path) -> dict[Job, recording.Load]:
        """Load every object.  A loader that crashes is started again with what is left."""
        results: dict[Job, recording.Load] = {}
        while len(results) < len(jobs):
            left = jobs[len(results) :]
            loads = self._run_once(target, left, directory)
            if not loads:
                raise RuntimeError(f"{self.name} could not be started")
            results |= dict(zip(left, loads))  # noqa: B905 - it may have crashed before the last
        return results

    def _run_once(self, target: Target, jobs: Sequence[Job], directory: Path) -> list[recording.Load]:
        file = directory / f"{self.name.replace(' ', '-')}.recording"
        file.unlink(missing_ok=True)
        environment = os.environ | {"BPF_RECORDING": str(file)}
        files: list[str | Path] = ["", ""]
        if target.kernel is not None:
            environment |= {
                "UTS_RELEASE": target.kernel.release,
                "UTS_VERSION": target.kernel.build,
                "BTF_LAST_KIND": str(target.kernel.last_btf_kind),
            }
            files = [target.kernel.btf, target.kernel.config]
        arguments = [word for job in jobs for word in (job.path, job.selected)]
        sandbox = ["unshare", "--mount", "sh", "-euc", _PREPARE, self.recorder, *files, "--"]
        command = [*sandbox, *self.command, target.core_btf or "", *arguments]
        run = subprocess.run(command, env=environment, cwd=ROOT, timeout=_LONGEST_RUN)
        loads = recording.read(file) if file.exists() else []
        if run.returncode and len(loads) == len(jobs) and loads[-1].outcome != "crashed":
            raise RuntimeError(f"{self.name} ended with status {run.returncode}")
        return loads


def build(directory: Path) -> list[Loader]:
    """Compile the recorder and the loaders; the newest libbpf comes last but for purebpf."""
    recorder = directory / "recorder.so"
    _compile("-shared", "-fPIC", "-o", recorder, HERE / "recorder.c")
    newest = debian.libbpf()
    installed, own = directory / "loader-installed", directory / "loader-newest"
    _compile("-o", installed, HERE / "loader.c", "-lbpf")
    _compile("-I", newest, "-o", own, HERE / "loader.c", newest / "libbpf.a", "-lelf", "-lz")
    return [
        *(Loader(f"libbpf {_version(program)}", (program, "load"), recorder) for program in (installed, own)),
        Loader("purebpf", (sys.executable, HERE / "loader.py"), recorder),
    ]


def link(loader: Loader, output: Path, objects: Sequence[Path]) -> Path:
    """Link objects into one, with libbpf."""
    subprocess.run([loader.command[0], "link", output, *objects], check=True)
    return output


def _compile(*arguments: str | Path) -> None:
    subprocess.run(["cc", "-O", "-Wall", "-Werror", *arguments], check=True)


def _version(program: Path) -> str:
    return subprocess.run([program, "version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip(" v\n")
