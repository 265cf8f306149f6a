"""Mapped memory: that what is written is there, and nothing beside it is touched.  What is mapped here is a file."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

import pytest

from purebpf.errors import KernelError
from purebpf.kernel.memory import Memory

SIZE = 2 * mmap.PAGESIZE


@pytest.fixture
def file():
    fd = os.memfd_create("purebpf")
    os.ftruncate(fd, SIZE)
    yield fd
    os.close(fd)


@pytest.fixture
def memory(file):
    memory = Memory(file, SIZE, what="test")
    yield memory
    memory.close()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 4000])
@pytest.mark.parametrize("offset", [0, 1, 4, 8, 4090])
def test_bytes_on_both_sides(file, memory, offset, size):
    data = os.urandom(size)
    memory.write(offset, data)
    assert os.pread(file, size, offset) == data == memory.read(offset, size)
    os.pwrite(file, data[::-1], offset)
    assert memory.read(offset, size) == data[::-1]


def test_nothing_beside_it_is_written(file, memory):
    os.pwrite(file, b"\xff" * SIZE, 0)
    memory.write(8, bytes(8))
    memory.write(21, bytes(3))
    assert os.pread(file, 32, 0) == b"\xff" * 8 + bytes(8) + b"\xff" * 5 + bytes(3) + b"\xff" * 8


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, SIZE + 1), (SIZE, 1), (SIZE - 3, 4), (4, -1)])
def test_beyond_its_end(memory, offset, size):
    with pytest.raises(ValueError, match=f"test has {SIZE} bytes, none from {offset} to"):
        memory.read(offset, size)
    if size > 0:
        with pytest.raises(ValueError, match="none from"):
            memory.write(offset, bytes(size))


def test_after_the_end_of_it(file):
    memory = Memory(file, SIZE, what="test")
    memory.close()
    memory.close()
    for use in (lambda: memory.read(0, 1), lambda: memory.write(0, b"x")):
        with pytest.raises(ValueError, match="test is closed"):
            use()
    assert repr(memory) == f"<Memory closed: test, {SIZE} bytes>"


def test_at_an_address(file):
    """Never in place of what is there."""
    with mmap.mmap(-1, SIZE) as free:
        address = ctypes.addressof(ctypes.c_char.from_buffer(free))
        with pytest.raises(KernelError, match=f"mapping test: .*At {address:#x}, this process has something") as caught:
            Memory(file, SIZE, address, what="test")
        assert caught.value.errno == errno.EEXIST
    memory = Memory(file, SIZE, address, what="test")
    assert memory.address == address
    memory.close()


def test_what_cannot_be_mapped():
    with pytest.raises(KernelError, match="mapping test") as caught:
        Memory(-1, SIZE, what="test")
    assert caught.value.errno == errno.EBADF


def test_forgotten(file):
    memory = Memory(file, SIZE, what="test")
    with pytest.warns(ResourceWarning, match="unclosed <Memory at 0x.*: test, "):
        del memory
