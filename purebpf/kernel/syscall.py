"""System calls that Python's standard library has no function for, through libc's ``syscall``.

glibc and musl both export ``syscall(2)``; none of the calls purebpf needs has a wrapper there that exists
on every system. Going through this one symbol, as libbpf does, also lets an LD_PRELOAD library see the
calls of both.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from typing import Any

from purebpf.abi import syscalls

Argument = int | bytes | ctypes.Structure | ctypes.Array[Any] | None


@functools.cache
def _libc_syscall() -> Callable[..., int]:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function


_number = functools.cache(syscalls.number)


def syscall(name: str, *args: Argument) -> int:
    """Make the system call ``name`` (the kernel's name: "bpf", "fsopen", ...) and return its result.

    An int is passed by value, bytes as a pointer to a NUL-terminated string, a ctypes structure or array as
    a pointer to it, None as NULL.  Raises OSError with the kernel's errno.

    A call that a signal interrupted (EINTR) is made again, after Python has run its signal handlers.
    bpf(2) is the exception: with EINTR its batch commands report a partial result in the attributes, which
    only the caller understands.
    """
    call = _libc_syscall()
    number = ctypes.c_long(_number(name))
    words = [_word(arg) for arg in args]
    while True:
        result: int = call(number, *words)
        if result != -1:
            return result
        code = ctypes.get_errno()
        if code != errno.EINTR or name == "bpf":
            raise OSError(code, os.strerror(code), name)


def _word(arg: Argument) -> Any:
    """One argument as C passes it.  ``syscall`` is variadic: that an int fills a register must be said."""
    if arg is None:
        return ctypes.c_void_p()
    if isinstance(arg, int):
        return ctypes.c_long(arg)
    if isinstance(arg, bytes):
        return ctypes.c_char_p(arg)
    return ctypes.byref(arg)
