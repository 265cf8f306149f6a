"""What the planner has to know about a kernel, as a value.

A plan is pure computation: everything it depends on beside the object comes in here.  `Facts` holds small numbers as
they are, and the kernel's BTF as a function that is called at most once, because reading it is expensive and most
objects need none.  ``purebpf.kernel.facts`` fills one in from the running kernel.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from purebpf.btf.reader import Btf
from purebpf.errors import PureBpfError
from purebpf.load.core import CoreTarget


class Facts:
    """Facts about one kernel.

    ``release``: what ``uname -r`` prints there.  ``version``: its LINUX_VERSION_CODE, derived from ``release`` if not
    given.  ``byteorder``: "little" or "big".  ``possible_cpus``: how many CPUs can ever be online.  ``page_size``: in
    bytes.  ``read_btf``: returns the kernel's BTF, or raises PureBpfError with the reason why there is none.
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
    ) -> None:
        self.release = release
        self.version = version_code(release) if version is None else version
        self.byteorder = byteorder
        self.possible_cpus = possible_cpus
        self.page_size = page_size
        self._read_btf = read_btf

    @functools.cached_property
    def btf(self) -> Btf:
        """The kernel's BTF.  Raises PureBpfError where there is none."""
        return self._read_btf()

    @functools.cached_property
    def core_target(self) -> CoreTarget:
        """The types that CO-RE relocations are matched against."""
        return CoreTarget(self.btf)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of Linux {self.release}>"


def version_code(release: str) -> int:
    """``"6.1.0-28-cloud-amd64"`` -> 0x060100, the kernel's LINUX_VERSION_CODE (the last part is capped at 255)."""
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if numbers is None:
        raise PureBpfError(f"{release!r} is no kernel release such as 6.1.0")
    major, minor, patch = (int(number or 0) for number in numbers.groups())
    return major << 16 | minor << 8 | min(patch, 255)
