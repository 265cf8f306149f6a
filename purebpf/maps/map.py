"""Live maps: dictionaries that a BPF program and Python share.

A map knows its kernel object by a file descriptor, and the types of its keys and values by BTF where the object has it.
Every access is one bpf(2) call; nothing is cached.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import Any, Protocol

from purebpf.abi.bpf import bpf_map_type
from purebpf.errors import KernelError
from purebpf.kernel import bpf, cpu
from purebpf.kernel.fd import Fd

_PER_CPU = frozenset(
    (
        bpf_map_type.BPF_MAP_TYPE_PERCPU_HASH,
        bpf_map_type.BPF_MAP_TYPE_PERCPU_ARRAY,
        bpf_map_type.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        bpf_map_type.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
    )
)


class Codec(Protocol):
    """Turns the bytes of a key or value into a Python value and back."""

    @property
    def size(self) -> int: ...
    def decode(self, buffer: bytes, offset: int = 0) -> Any: ...
    def encode(self, value: Any) -> bytes: ...


class Map(MutableMapping[Any, Any]):
    """A map in the kernel, used like a dict.

    Keys and values are Python values of their C types; without BTF they are ints (sizes 1, 2, 4, 8) or bytes.  The
    value of a per-CPU map is a list with one value for each possible CPU.  Iteration is in the kernel's order; keys
    that the program adds or removes meanwhile may be missed or come twice.

    A missing key raises KeyError; what the kernel refuses raises KernelError with its errno.
    """

    def __init__(self, fd: Fd, name: str, kind: int, max_entries: int, key: Codec, value: Codec) -> None:
        self._fd = fd
        self.name = name
        self.type = kind
        self.max_entries = max_entries
        self._key = key
        self._value = value
        self._cpus = len(cpu.possible()) if kind in _PER_CPU else 0

    def fileno(self) -> int:
        """The map's file descriptor, which stays the map's own."""
        return self._fd.fileno()

    def close(self) -> None:
        """Let go of the map; the kernel frees it when no program uses it any more.  Closing twice does nothing."""
        self._fd.close()

    def __getitem__(self, key: Any) -> Any:
        stride = -(-self._value.size // 8) * 8
        try:
            raw = bpf.map_lookup_elem(
                self._fd, self._key.encode(key), stride * self._cpus if self._cpus else self._value.size
            )
        except KernelError as error:
            raise self._failed("reading from", error) from None
        if raw is None:
            raise KeyError(key)
        if not self._cpus:
            return self._value.decode(raw)
        return [self._value.decode(raw, stride * index) for index in range(self._cpus)]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.update_element(key, value)

    def update_element(self, key: Any, value: Any, flags: int = 0) -> None:
        """Set a value with flags: BPF_NOEXIST (only if absent, else EEXIST), BPF_EXIST (only if present, else ENOENT).

        Raises KernelError, E2BIG when the map is full.
        """
        if self._cpus:
            if len(value) != self._cpus:
                raise ValueError(
                    f"map {self.name!r} takes {self._cpus} values, one for each possible CPU, not {len(value)}"
                )
            stride = -(-self._value.size // 8) * 8
            raw = b"".join(self._value.encode(each).ljust(stride, b"\0") for each in value)
        else:
            raw = self._value.encode(value)
        try:
            bpf.map_update_elem(self._fd, self._key.encode(key), raw, flags)
        except KernelError as error:
            raise self._failed("writing to", error) from None

    def __delitem__(self, key: Any) -> None:
        try:
            found = bpf.map_delete_elem(self._fd, self._key.encode(key))
        except KernelError as error:
            raise self._failed("deleting from", error) from None
        if not found:
            raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        key = self._next(None)
        while key is not None:
            following = self._next(key)  # asked for first, so that the caller may delete the key it is given
            yield self._key.decode(key)
            key = following

    def _next(self, key: bytes | None) -> bytes | None:
        try:
            return bpf.map_get_next_key(self._fd, key, self._key.size)
        except KernelError as error:
            raise self._failed("walking", error) from None

    def items(self) -> ItemsView[Any, Any]:
        """The keys with their values; a key that goes away between the two is left out."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values, as ``items()`` finds them."""
        return _Values(self)

    def read(
        self,
        type_name: str | None = None,
        *,
        pages: int | None = None,
        on_lost: Callable[[int, int], object] | None = None,
    ) -> Any:
        """Read a ring of events.  Maps that are rings have this; any other raises TypeError."""
        raise TypeError(f"{self!r} is no ring of events; its elements are read like those of a dict")

    def __len__(self) -> int:
        """How many keys there are now; the kernel has no counter, so they are walked."""
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        try:
            kind = bpf_map_type(self.type).name
        except ValueError:
            kind = f"type {self.type}"
        return f"<{type(self).__name__} {self.name!r} {kind}>"

    # A live map is a resource, not a value: two maps are equal if they are the same one.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _failed(self, what: str, error: KernelError) -> KernelError:
        return KernelError(error.errno or 0, f"{what} map {self.name!r}", error.hint)


class _Items(ItemsView[Any, Any]):
    def __init__(self, owner: Map) -> None:
        super().__init__(owner)
        self._owner = owner

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for key in self._owner:
            try:
                yield key, self._owner[key]
            except KeyError:  # the program, or somebody else, was faster
                continue


class _Values(ValuesView[Any]):
    def __init__(self, owner: Map) -> None:
        super().__init__(owner)
        self._owner = owner

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._owner.items())
