"""Memory that a process shares with BPF programs: a map, mapped with mmap(2).

Python's own ``mmap`` takes no address, and an arena may ask for one, so libc is called here.  The memory is not given
out as a buffer: who held on to one after ``close()`` would read what is no longer mapped.  It is read and written in
copies; a number of 1, 2, 4 or 8 bytes that lies at a multiple of its size in one piece, so that neither side sees half
of what the other one writes.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import sys
import warnings

from purebpf.errors import KernelError

_MAP_FIXED_NOREPLACE = 0x100000  # include/uapi/asm-generic/mman-common.h: never in place of something else
_FAILED = ctypes.c_void_p(-1).value
_NATIVE: dict[int, type[ctypes.c_uint8 | ctypes.c_uint16 | ctypes.c_uint32 | ctypes.c_uint64]] = {
    1: ctypes.c_uint8,
    2: ctypes.c_uint16,
    4: ctypes.c_uint32,
    8: ctypes.c_uint64,
}


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


class Memory:
    """``size`` bytes, readable and writable, until ``close()``.

    ``fd`` is the descriptor of what is mapped, which need not stay open.  ``address`` is where the memory is to be in
    this process; 0 leaves that to the kernel.  ``what`` names it in messages.  Raises KernelError.
    """

    def __init__(self, fd: int, size: int, address: int = 0, *, what: str) -> None:
        self.what = what
        self.size = size
        self.address = 0
        fixed = _MAP_FIXED_NOREPLACE if address else 0
        found = _libc().mmap(address or None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | fixed, fd, 0)
        if found == _FAILED:
            code = ctypes.get_errno()
            hint = f"At {address:#x}, this process has something else already" if code == errno.EEXIST else ""
            raise KernelError(code, f"mapping {what}", hint)
        self.address = found

    def read(self, offset: int, size: int) -> bytes:
        """A copy of ``size`` bytes.  Raises ValueError if they are not all inside, or after ``close()``."""
        place = self._place(offset, size)
        if size in _NATIVE and place % size == 0:
            return int(_NATIVE[size].from_address(place).value).to_bytes(size, sys.byteorder)
        return ctypes.string_at(place, size)

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` there.  Raises ValueError if there is no room for it, or after ``close()``."""
        size = len(data)
        place = self._place(offset, size)
        if size in _NATIVE and place % size == 0:
            _NATIVE[size].from_address(place).value = int.from_bytes(data, sys.byteorder)
        else:
            ctypes.memmove(place, data, size)

    def _place(self, offset: int, size: int) -> int:
        if not self.address:
            raise ValueError(f"{self.what} is closed")
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"{self.what} has {self.size} bytes, none from {offset} to {offset + size}")
        return self.address + offset

    def close(self) -> None:
        """Unmap it.  Closing twice does nothing."""
        address, self.address = self.address, 0
        if address and _libc().munmap(address, self.size):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), "munmap")

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<Memory {f'at {self.address:#x}' if self.address else 'closed'}: {self.what}, {self.size} bytes>"
