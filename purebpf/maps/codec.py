"""How keys and values without BTF look in Python.

A number where the size is one a C integer has, else bytes.
"""

from __future__ import annotations

import sys
from typing import Any


class RawCodec:
    """``size`` bytes as an unsigned integer in the machine's byte order, if 1, 2, 4 or 8, else as bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_integer = size in (1, 2, 4, 8)

    def decode(self, buffer: bytes | bytearray | memoryview, offset: int = 0) -> Any:
        raw = bytes(buffer[offset : offset + self.size])
        return int.from_bytes(raw, sys.byteorder) if self.is_integer else raw

    def encode(self, value: Any) -> bytes:
        """Raises ValueError for what does not fit, TypeError for what is neither a number nor bytes."""
        if isinstance(value, int) and self.is_integer:
            try:
                return value.to_bytes(self.size, sys.byteorder, signed=value < 0)
            except OverflowError:
                raise ValueError(f"{value} does not fit in {self.size} bytes") from None
        if not isinstance(value, (bytes, bytearray, memoryview)):
            wanted = f"an int or {self.size} bytes" if self.is_integer else f"{self.size} bytes"
            raise TypeError(f"expected {wanted}, got {type(value).__name__}")
        raw = bytes(value)
        if len(raw) != self.size:
            raise ValueError(f"{len(raw)} bytes given, {self.size} expected")
        return raw
