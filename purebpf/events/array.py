"""The live perf event array: the map through which programs send events to user space."""

from __future__ import annotations

from collections.abc import Callable

from purebpf.btf.reader import Btf
from purebpf.btf.types import Struct
from purebpf.btf.value import codec
from purebpf.events.perf import DEFAULT_PAGES, PerfBuffer
from purebpf.kernel.fd import Fd
from purebpf.maps.map import Codec, Map


class PerfEventArray(Map):
    """A BPF_MAP_TYPE_PERF_EVENT_ARRAY; ``read()`` opens its rings."""

    def __init__(
        self, fd: Fd, name: str, kind: int, max_entries: int, key: Codec, value: Codec, btf: Btf | None
    ) -> None:
        super().__init__(fd, name, kind, max_entries, key, value)
        self._btf = btf

    def read(
        self,
        type_name: str | None = None,
        *,
        pages: int | None = None,
        on_lost: Callable[[int, int], object] | None = None,
    ) -> PerfBuffer:
        """Open the rings of this map and iterate over what the programs send.

        ``type_name`` is the object's own struct, "event" for ``struct event``, that each event is decoded as; without
        it events are ``Sample(cpu, data)``.  ``pages``: the size of each CPU's ring in memory pages, a power of two, by
        default 64.  ``on_lost(cpu, count)`` is called when events turn out to be lost.

        Raises KeyError if the object has no struct of that name, KernelError if the kernel refuses the rings.
        """
        decoder = None if type_name is None else codec(*self._find_struct(type_name))
        return PerfBuffer(
            self.fileno(),
            self.max_entries,
            codec=decoder,
            pages=DEFAULT_PAGES if pages is None else pages,
            on_lost=on_lost,
            what=f"map {self.name!r}",
        )

    def has_struct(self, type_name: str) -> bool:
        """Whether the object's BTF has a struct of that name."""
        return self._btf is not None and bool(self._btf.find(type_name, Struct))

    def _find_struct(self, type_name: str) -> tuple[Btf, int]:
        if self._btf is None or not (found := self._btf.find(type_name, Struct)):
            raise KeyError(
                f"the object's BTF has no struct {type_name!r}; clang leaves out what no function or variable uses"
            )
        return self._btf, found[0]
