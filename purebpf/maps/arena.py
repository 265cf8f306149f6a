"""Arenas: memory that BPF programs and this process share.

A program has its pages from ``bpf_arena_alloc_pages()``, and pointers in it mean the same on both sides.  The object's
variables with ``__attribute__((address_space(1)))`` are in it as well, and can be read and written while programs run.
Linux 6.9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from purebpf.kernel.fd import Fd
from purebpf.kernel.memory import Memory
from purebpf.maps.codec import RawCodec
from purebpf.maps.map import Codec, Map


class ArenaVariables(MutableMapping[str, Any]):
    """The variables in an arena by name, as Python values of their BTF types.  A change is at once the program's."""

    def __init__(self, memory: Memory, places: Mapping[str, tuple[int, Codec]]) -> None:
        """``places`` are their byte offsets in the memory and their types, by name."""
        self._memory = memory
        self._places = dict(places)

    def __getitem__(self, name: str) -> Any:
        offset, codec = self._places[name]
        return codec.decode(self._memory.read(offset, codec.size))

    def __setitem__(self, name: str, value: Any) -> None:
        offset, codec = self._places[name]
        self._memory.write(offset, codec.encode(value))

    def __delitem__(self, name: str) -> None:
        raise TypeError("a variable of an object cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<ArenaVariables {', '.join(self._places) or 'none'}>"


class Arena(Map):
    """A BPF_MAP_TYPE_ARENA of ``max_entries`` pages.  It has no keys; there is ``memory``, and ``variables`` in it.

    ``memory.address`` is where pointers of programs into the arena point to.  To read a page that no program has
    allocated allocates it; with the map flag BPF_F_SEGV_ON_FAULT, it kills the process.
    """

    def __init__(
        self,
        fd: Fd,
        name: str,
        kind: int,
        max_entries: int,
        memory: Memory,
        variables: Mapping[str, tuple[int, Codec]],
    ) -> None:
        super().__init__(fd, name, kind, max_entries, RawCodec(0), RawCodec(0))
        self.memory = memory
        self.variables = ArenaVariables(memory, variables)

    def close(self) -> None:
        """Unmap the memory, and let go of the map.  Closing twice does nothing."""
        self.memory.close()
        super().close()
