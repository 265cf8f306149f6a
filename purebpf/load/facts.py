"""What the planner has to know about a kernel, as a value.

A plan is pure computation: everything it depends on beside the object comes in here.  `Facts` holds small numbers as
they are, and what is long, the kernel's BTF, configuration and symbols, as functions that are called at most once:
reading them is expensive, and most objects need none.  ``purebpf.kernel.facts`` fills one in from the running kernel.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from purebpf.btf.reader import Btf
from purebpf.btf.types import BtfType
from purebpf.errors import PureBpfError
from purebpf.load.core import CoreTarget
from purebpf.load.features import Feature


class Config(NamedTuple):
    """A kernel's configuration: the values of its lines ``CONFIG_...=VALUE`` as written, and where they stand."""

    values: Mapping[str, str]
    where: str


class Symbols(Protocol):
    """The symbols of a kernel: /proc/kallsyms.  ``where`` names the list in messages."""

    @property
    def where(self) -> str: ...

    def addresses(self, name: str) -> set[int]:
        """All addresses that symbols of this name have."""

    def near(self, name: str) -> list[str]:
        """The names that look most like this one."""


class ModuleBtf(NamedTuple):
    """The types of a kernel module.  ``id`` is that of its BTF object in the running kernel, 0 if that is not known."""

    name: str
    id: int
    btf: Btf

    def names(self, kind: type[BtfType]) -> Iterator[str]:
        """The names of the module's own types of this kind."""
        first = len(self.btf.base) if self.btf.base else 1
        own = (self.btf.type(type_id) for type_id in range(first, len(self.btf)))
        return (found.name for found in own if isinstance(found, kind))


class _ModuleTypes:
    """The BTF of a kernel's modules, which is not read before it is iterated over."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __iter__(self) -> Iterator[Btf]:
        return (module.btf for module in self._facts.modules)


class Facts:
    """Facts about one kernel.

    ``release``: what ``uname -r`` prints there.  ``version``: its LINUX_VERSION_CODE, derived from ``release`` if not
    given.  ``byteorder``: "little" or "big".  ``possible_cpus``: how many CPUs can ever be online.  ``page_size``: in
    bytes.  ``read_btf``: returns the kernel's BTF, or raises PureBpfError with the reason why there is none.
    ``read_core_btf``: returns types that CO-RE relocations are matched against in place of the kernel's own.
    ``read_modules``: returns the types of its modules, as split BTF on the kernel's, which it is given.
    ``read_configs``: each returns a configuration; the first that has a line counts.  ``read_symbols``: returns its
    symbols, with their addresses.
    ``read_program_btf``: returns the BTF of the loaded program with this file descriptor.
    ``features``: answers whether the kernel has a feature; by default, whether mainline of that version has it.
    """

    def __init__(
        self,
        *,
        release: str,
        read_btf: Callable[[], Btf],
        byteorder: str,
        possible_cpus: int,
        page_size: int,
        version: int | None = None,
        features: Callable[[Feature], bool] | None = None,
        read_core_btf: Callable[[], Btf] | None = None,
        read_modules: Callable[[Btf], Sequence[ModuleBtf]] | None = None,
        read_configs: Sequence[Callable[[], Config]] = (),
        read_symbols: Callable[[], Symbols] | None = None,
        read_program_btf: Callable[[int], Btf] | None = None,
    ) -> None:
        self.release = release
        self.version = version_code(release) if version is None else version
        self.byteorder = byteorder
        self.possible_cpus = possible_cpus
        self.page_size = page_size
        self._read_btf = read_btf
        self._read_core_btf = read_core_btf
        self._read_modules = read_modules
        self._read_configs = [functools.cache(read) for read in read_configs]
        self._read_symbols = read_symbols
        self._read_program_btf = read_program_btf
        self._features = features

    @functools.cached_property
    def btf(self) -> Btf:
        """The kernel's BTF.  Raises PureBpfError where there is none."""
        return self._read_btf()

    @functools.cached_property
    def core_target(self) -> CoreTarget:
        """The types that CO-RE relocations are matched against."""
        if self._read_core_btf is not None:
            return CoreTarget(self._read_core_btf())
        return CoreTarget(self.btf, _ModuleTypes(self))

    @functools.cached_property
    def modules(self) -> Sequence[ModuleBtf]:
        """The types of kernel modules, in the order in which they are searched."""
        if self._read_modules is None or not self.has(Feature.MODULE_BTF):
            return ()
        return self._read_modules(self.btf)

    def names(self, kind: type[BtfType]) -> Iterator[str]:
        """The names of all types of this kind, the kernel's and then its modules'."""
        yield from self.btf.names(kind)
        for module in self.modules:
            yield from module.names(kind)

    def configs(self) -> Iterator[Config]:
        """The kernel's configuration.  What the first one does not have may be in the next, which is read only then."""
        return (read() for read in self._read_configs)

    @functools.cached_property
    def symbols(self) -> Symbols:
        """The kernel's symbols.  Raises PureBpfError where they are not known."""
        if self._read_symbols is None:
            raise PureBpfError("the kernel's symbols are not known")
        return self._read_symbols()

    def program_btf(self, fd: int) -> Btf:
        """The types of a program that is loaded.  Raises PureBpfError where they cannot be had."""
        if self._read_program_btf is None:
            raise PureBpfError("programs are loaded only in a running kernel")
        return self._read_program_btf(fd)

    def has(self, feature: Feature) -> bool:
        """Whether the kernel has the feature.  Raises KernelError if a running kernel does not let itself be asked."""
        return feature.in_version(self.version) if self._features is None else self._features(feature)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of Linux {self.release}>"


def version_code(release: str) -> int:
    """``"6.1.0-28-cloud-amd64"`` -> 0x060100, the kernel's LINUX_VERSION_CODE (the last part is capped at 255)."""
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if numbers is None:
        raise PureBpfError(f"{release!r} is no kernel release such as 6.1.0")
    major, minor, patch = (int(number or 0) for number in numbers.groups())
    return major << 16 | minor << 8 | min(patch, 255)
