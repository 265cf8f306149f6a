"""Facts about a kernel, read from the machine that runs it or from files of another one."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from purebpf.abi.attr import bpf_prog_info
from purebpf.btf.reader import Btf
from purebpf.errors import KernelError, PureBpfError
from purebpf.kernel import cpu
from purebpf.kernel.bpf import obj_get_info_by_fd
from purebpf.kernel.config import PathOrText, read_config, running_config
from purebpf.kernel.features import running as features_of_running_kernel
from purebpf.kernel.kallsyms import Kallsyms, PathOrSymbols, read_kallsyms
from purebpf.kernel.modules import open_btf, read_content, running_modules
from purebpf.load.facts import Config, Facts, ModuleBtf, version_code
from purebpf.load.features import Feature
from purebpf.obj.btf_file import read_btf

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
PathOrBtf = str | os.PathLike[str] | bytes | Btf


class KernelFacts(Facts):
    """What a load plan depends on beside the object.  See `Facts` for the attributes."""

    @classmethod
    def running(cls, *, core_btf: PathOrBtf | None = None, config: PathOrText | None = None) -> KernelFacts:
        """The kernel that this process runs on.

        ``core_btf`` replaces the kernel's own types for CO-RE relocation, for kernels built without
        CONFIG_DEBUG_INFO_BTF: a file of raw BTF or an ELF file with a section .BTF, as a path or bytes, or a Btf.
        ``config``: lines of kernel configuration that go before those of /boot/config-RELEASE or /proc/config.gz, as a
        path or as the text in bytes.
        """
        release = os.uname().release
        return cls(
            release=release,
            version=_running_version(release, os.uname().version, _ubuntu_signature()),
            read_btf=_running_types,
            read_core_btf=None if core_btf is None else lambda: _types(core_btf, "core_btf", sys.byteorder),
            read_modules=running_modules,
            read_configs=[running_config] if config is None else [lambda: read_config(config), running_config],
            read_symbols=read_kallsyms,
            byteorder=sys.byteorder,
            possible_cpus=len(cpu.possible()),
            page_size=cpu.page_size(),
            features=features_of_running_kernel().has,
            read_program_btf=_program_btf,
        )

    @classmethod
    def offline(
        cls,
        *,
        release: str,
        btf: PathOrBtf | None = None,
        modules: Mapping[str, PathOrBtf] | None = None,
        config: PathOrText | None = None,
        symbols: PathOrSymbols | None = None,
        byteorder: str = "little",
        possible_cpus: int = 1,
        page_size: int = 4096,
        features: Mapping[Feature, bool] | None = None,
    ) -> KernelFacts:
        """A kernel that runs elsewhere, to plan for it.

        ``release``: what ``uname -r`` prints there.  ``btf``: a copy of its /sys/kernel/btf/vmlinux, or an ELF file
        with a section .BTF, as a path, bytes or a Btf; only objects need it that refer to the kernel's types or
        functions.  ``modules``: likewise of its modules, by name: copies of /sys/kernel/btf/MODULE, or .ko files.
        ``config``: a copy of its /boot/config-RELEASE or /proc/config.gz, as a path or bytes.
        ``symbols``: a copy of its /proc/kallsyms, or addresses by name.  ``features``: what is known about the kernel's
        features; of any other it is taken to have what mainline of that release has (`Feature.since`).
        """
        version = version_code(release)
        known = dict(features or {})

        def has(feature: Feature) -> bool:
            return known.get(feature, feature.in_version(version))

        def read() -> Btf:
            if btf is None:
                raise PureBpfError(
                    "no BTF was given; pass offline(btf=...) a copy of that kernel's /sys/kernel/btf/vmlinux"
                )
            return _types(btf, "the kernel's BTF", byteorder)

        def read_configuration() -> Config:
            if config is None:
                raise PureBpfError(
                    "no configuration was given; pass offline(config=...) a copy of that kernel's /boot/config-RELEASE"
                )
            return read_config(config)

        def read_symbols() -> Kallsyms:
            if symbols is None:
                raise PureBpfError(
                    "no symbols were given; pass offline(symbols=...) a copy of that kernel's /proc/kallsyms"
                )
            return read_kallsyms(symbols)

        def read_modules(kernel: Btf) -> list[ModuleBtf]:
            return [
                ModuleBtf(name, 0, _types(source, f"BTF of module {name!r}", byteorder, kernel))
                for name, source in (modules or {}).items()
            ]

        return cls(
            release=release,
            version=version,
            read_btf=read,
            read_modules=read_modules,
            read_configs=[read_configuration],
            read_symbols=read_symbols,
            byteorder=byteorder,
            possible_cpus=possible_cpus,
            page_size=page_size,
            features=has,
        )


def _running_types() -> Btf:
    try:
        return read_btf(KERNEL_BTF)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        why = (
            "the kernel was built without CONFIG_DEBUG_INFO_BTF; for CO-RE alone, a file with its types will do: "
            "running(core_btf=...)"
        )
        raise KernelError(errno.ENOENT, f"reading types from {KERNEL_BTF}", why) from None


def _types(source: PathOrBtf, what: str, byteorder: str, kernel: Btf | None = None) -> Btf:
    """The types in a file, of a kernel or of one of its modules; ``what`` names those that come without a file."""
    if isinstance(source, Btf):
        btf = source
    elif isinstance(source, bytes):
        btf = read_btf(source, base=kernel, where=what)
    else:
        btf = read_btf(source, base=kernel)
    if btf.byteorder != byteorder:
        raise btf.error(f"{btf.byteorder}-endian types, and the kernel is {byteorder}-endian")
    return btf


def _program_btf(fd: int) -> Btf:
    """The types of a loaded program."""
    id = obj_get_info_by_fd(fd, bpf_prog_info).btf_id
    if not id:
        raise PureBpfError("it was loaded without BTF")
    with open_btf(id) as btf:
        return Btf.from_bytes(read_content(btf), where=f"BTF {id}")


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
