"""Facts about a kernel, read from the machine that runs it or from files of another one."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from purebpf.btf.reader import Btf
from purebpf.errors import KernelError, PureBpfError
from purebpf.kernel import cpu
from purebpf.load.facts import Facts, version_code

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
PathOrBtf = str | os.PathLike[str] | bytes | Btf


class KernelFacts(Facts):
    """What a load plan depends on beside the object.  See `Facts` for the attributes."""

    @classmethod
    def running(cls, *, core_btf: PathOrBtf | None = None) -> KernelFacts:
        """The kernel that this process runs on.

        ``core_btf`` replaces the kernel's own types for CO-RE relocation: a file of raw BTF, its bytes, or a Btf; for
        kernels built without CONFIG_DEBUG_INFO_BTF.
        """
        release = os.uname().release
        return cls(
            release=release,
            version=_running_version(release, os.uname().version, _ubuntu_signature()),
            read_btf=lambda: _read_btf(KERNEL_BTF if core_btf is None else core_btf),
            byteorder=sys.byteorder,
            possible_cpus=len(cpu.possible()),
            page_size=cpu.page_size(),
        )

    @classmethod
    def offline(
        cls,
        *,
        release: str,
        btf: PathOrBtf | None = None,
        byteorder: str = "little",
        possible_cpus: int = 1,
        page_size: int = 4096,
    ) -> KernelFacts:
        """A kernel that runs elsewhere, to plan for it.

        ``release``: what ``uname -r`` prints there.  ``btf``: a copy of its /sys/kernel/btf/vmlinux, as a path, bytes
        or a Btf; only objects with CO-RE relocations need it.
        """

        def read() -> Btf:
            if btf is None:
                raise PureBpfError(
                    "no BTF was given; pass offline(btf=...) a copy of that kernel's /sys/kernel/btf/vmlinux"
                )
            return _read_btf(btf)

        return cls(
            release=release, read_btf=read, byteorder=byteorder, possible_cpus=possible_cpus, page_size=page_size
        )


def _read_btf(source: PathOrBtf) -> Btf:
    if isinstance(source, Btf):
        return source
    if isinstance(source, bytes):
        return Btf.from_bytes(source, where="kernel BTF")
    path = Path(source)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        why = "the kernel was built without CONFIG_DEBUG_INFO_BTF" if path == KERNEL_BTF else ""
        raise KernelError(error.errno or 0, f"reading kernel types from {path}", why) from error
    except OSError as error:
        raise KernelError(error.errno or 0, f"reading kernel types from {path}") from error
    return Btf.from_bytes(data, where=str(path))


def _ubuntu_signature() -> str:
    """The text of a file that only Ubuntu's kernels have: ``Ubuntu 5.15.0-91.101-generic 5.15.131``."""
    try:
        return Path("/proc/version_signature").read_text()
    except OSError:
        return ""


def _running_version(release: str, build: str, signature: str) -> int:
    """The LINUX_VERSION_CODE.  Debian and Ubuntu tell their kernel's patch level elsewhere than in ``uname -r``.

    ``build`` is what ``uname -v`` prints.
    """
    ubuntu = re.match(r"\S+ \S+ (\d+\.\d+\.\d+)", signature)
    debian = re.search(r"Debian (\d+\.\d+\.\d+)", build)
    known = ubuntu or debian
    return version_code(known[1] if known else release)
