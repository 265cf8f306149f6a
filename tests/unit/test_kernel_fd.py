"""Ownership of file descriptors: who closes, how often, and who complains."""

from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import sys

import pytest

from purebpf.kernel.fd import Fd, number_of


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def opened():
    return os.open("/dev/null", os.O_RDONLY)


def test_close_is_idempotent_and_closes_only_its_own():
    number = opened()
    fd = Fd(number, "thing")
    assert fd.fileno() == number_of(fd) == number_of(number) == number
    fd.close()
    assert fd.closed and not is_open(number)
    other = opened()  # the kernel hands out the same number again
    assert other == number
    fd.close()
    assert is_open(other)
    os.close(other)


def test_with_closes_also_on_an_error():
    number = opened()
    with pytest.raises(RuntimeError), Fd(number, "thing"):
        raise RuntimeError
    assert not is_open(number)


def test_a_closed_one_has_no_number():
    fd = Fd(opened(), "map 'events'")
    fd.close()
    with pytest.raises(ValueError, match="map 'events' is closed"):
        fd.fileno()
    assert "closed" in repr(fd)


def test_a_forgotten_one_is_closed_with_a_warning_that_names_it():
    number = opened()
    fd = Fd(number, "map 'events'")
    with pytest.warns(ResourceWarning, match="map 'events'"):
        del fd
        gc.collect()
    assert not is_open(number)


def test_descriptors_0_to_2_are_moved_out_of_the_way():
    script = """
import os, sys
from purebpf.kernel.fd import Fd
os.close(0)
number = os.open("/dev/null", os.O_RDONLY)
with Fd(number, "thing") as fd:
    print(number, fd.fileno(), os.get_inheritable(fd.fileno()), os.readlink(f"/proc/self/fd/{fd.fileno()}"))
    try:
        os.fstat(0)
    except OSError:
        print("0 is free")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    number, moved, inheritable, *rest = done.stdout.split()
    assert number == "0" and int(moved) > 2 and inheritable == "False"
    assert rest == ["/dev/null", "0", "is", "free"]
    assert done.stderr == ""


def test_fcntl_takes_one():
    with Fd(opened(), "thing") as fd:
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
