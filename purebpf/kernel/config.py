"""The kernel's configuration: the ``CONFIG_...`` lines that it was built from.

Distributions install it as /boot/config-RELEASE, or (Debian since 14, Fedora) beside the kernel's modules; a kernel
with CONFIG_IKCONFIG_PROC shows its own in /proc/config.gz.
Both are text, perhaps compressed, with lines ``CONFIG_HZ=250``, ``CONFIG_BPF=y`` and ``CONFIG_CC_VERSION_TEXT="gcc"``,
and with comments for what is not set.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from purebpf.errors import KernelError, PlanError, PureBpfError
from purebpf.load.facts import Config

PathOrText = str | os.PathLike[str] | bytes

_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31  # of zlib.decompressobj
_LARGEST = 16 << 20  # bytes; those of distributions have 300 KB


def read_config(source: PathOrText) -> Config:
    """A configuration from a file, or from its content in bytes; either may be compressed with gzip.

    Raises KernelError if the file cannot be read, PlanError if it is no configuration.
    """
    if isinstance(source, bytes):
        return _parse(source, "the given configuration")
    try:
        return _parse(Path(source).read_bytes(), os.fspath(source))
    except OSError as error:
        raise KernelError(error.errno or 0, f"reading the kernel's configuration from {os.fspath(source)!r}") from error


def running_config() -> Config:
    """The configuration of the running kernel.  Raises PureBpfError if it is nowhere to be found."""
    release = os.uname().release
    return first_of((f"/boot/config-{release}", "/proc/config.gz", f"/lib/modules/{release}/config"))


def built_without(*options: str) -> str:
    """A sentence for messages: which of these options the running kernel lacks that something needs; "" if none."""
    try:
        values = running_config().values
    except PureBpfError:
        return f"That takes a kernel with {' and '.join(options)}"
    lacking = [option for option in options if values.get(option) not in ("y", "m")]
    return f"The kernel was built without {' and '.join(lacking)}" if lacking else ""


def first_of(paths: Sequence[str]) -> Config:
    """The first of these files that exists."""
    for path in paths:
        if Path(path).exists():
            return read_config(path)
    raise PureBpfError(
        f"there is neither {' nor '.join(paths)}; give a file with the lines that are asked for: "
        "KernelFacts.running(config=...)"
    )


def _parse(data: bytes, where: str) -> Config:
    if data.startswith(_GZIP):
        try:
            unpacking = zlib.decompressobj(_GZIP_FORMAT)
            data = unpacking.decompress(data, _LARGEST)
        except zlib.error as error:
            raise PlanError(f"{where}: damaged gzip data: {error}") from error
        if not unpacking.eof:
            raise PlanError(f"{where}: gzip data that is cut off, or has more than {_LARGEST >> 20} MiB")
    values: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        if line.startswith("CONFIG_"):
            name, _, value = line.partition("=")
            if not value:
                raise PlanError(f"{where}, line {number}: {line!r} should read NAME=VALUE")
            values.setdefault(name, value)
    return Config(values, where)
