"""Keys and values without BTF: integers of the sizes that C has, else bytes."""

from __future__ import annotations

import sys

import pytest

from purebpf.maps.codec import RawCodec


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_integers(size):
    codec = RawCodec(size)
    largest = (1 << 8 * size) - 1
    for value in (0, 1, largest):
        raw = value.to_bytes(size, sys.byteorder)
        assert codec.encode(value) == raw
        assert codec.encode(raw) == raw
        assert codec.decode(raw) == value
        assert codec.decode(b"\xaa\xbb" + raw + b"\xcc", 2) == value
    assert codec.encode(-1) == codec.encode(largest)
    for wrong in (largest + 1, -(largest // 2) - 2):
        with pytest.raises(ValueError, match=rf"^{wrong} does not fit in {size} bytes"):
            codec.encode(wrong)


@pytest.mark.parametrize("size", [0, 3, 5, 16])
def test_bytes(size):
    codec = RawCodec(size)
    raw = bytes(range(size))
    assert codec.encode(raw) == codec.encode(bytearray(raw)) == codec.encode(memoryview(raw)) == raw
    assert codec.decode(b"\xff" + raw + b"\xff", 1) == raw
    with pytest.raises(TypeError, match=f"expected {size} bytes, got int"):
        codec.encode(0)


@pytest.mark.parametrize("size", [1, 4, 5])
def test_wrong_length(size):
    for raw in (b"", bytes(size - 1), bytes(size + 1)):
        with pytest.raises(ValueError, match=f"{len(raw)} bytes given, {size} expected"):
            RawCodec(size).encode(raw)


@pytest.mark.parametrize("value", ["text", None, 1.5, [1]])
def test_wrong_type(value):
    with pytest.raises(TypeError, match=f"expected an int or 4 bytes, got {type(value).__name__}"):
        RawCodec(4).encode(value)
