"""The types of kernel modules.

Each module with BTF has a BTF object in the kernel, which continues the kernel's own (split BTF).  It is found by
walking the ids of all BTF objects, those of programs too.  The kernel lends a file descriptor for an id; through it
comes the BTF, as the kernel relocated it if the module brought a base of its own.  /sys/kernel/btf/MODULE shows the
same, but not its id, by which programs refer to it.
"""

from __future__ import annotations

import ctypes
import errno

from purebpf.abi.attr import bpf_attr_get_id, bpf_attr_info, bpf_btf_info
from purebpf.abi.bpf import bpf_cmd
from purebpf.btf.reader import Btf
from purebpf.errors import KernelError
from purebpf.kernel.bpf import bpf
from purebpf.kernel.fd import Fd
from purebpf.load.facts import ModuleBtf

_NAME_SIZE = 64
"""Bytes for a name; MODULE_NAME_LEN of <linux/module.h> is smaller."""


def running_modules(kernel: Btf) -> list[ModuleBtf]:
    """The modules of the running kernel, whose own types are ``kernel``, in the order of their BTF's ids.

    Without CAP_SYS_ADMIN, which the walk needs, none; nor before Linux 5.11, where BTF has no name.
    """
    found = []
    for id in _ids():
        try:
            with open_btf(id) as fd:
                name, of_kernel, size = _describe(fd)
                if of_kernel and name != "vmlinux":
                    btf = Btf.from_bytes(_content(fd, size), base=kernel, where=f"BTF of module {name!r}")
                    found.append(ModuleBtf(name, id, btf))
        except KernelError as error:
            if error.errno == errno.E2BIG:  # it does not know all of bpf_btf_info
                return []
            if error.errno != errno.ENOENT:  # gone since
                raise
    return found


def open_btf(id: int) -> Fd:
    """A descriptor of the BTF object with this id.  Raises KernelError."""
    attr = bpf_attr_get_id(btf_id=id)
    return Fd(bpf(bpf_cmd.BPF_BTF_GET_FD_BY_ID, attr, action=f"opening BTF {id}"), f"BTF {id}")


def read_content(fd: Fd) -> bytes:
    """The bytes of a BTF object.  Raises KernelError."""
    return _content(fd, _info(fd, bpf_btf_info()).btf_size)


def _ids() -> list[int]:
    ids: list[int] = []
    attr = bpf_attr_get_id()
    while True:
        try:
            bpf(bpf_cmd.BPF_BTF_GET_NEXT_ID, attr, action="looking for the types of kernel modules")
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.EPERM):
                return ids
            raise
        ids.append(attr.next_id)
        attr = bpf_attr_get_id(start_id=attr.next_id)


def _describe(fd: Fd) -> tuple[str, bool, int]:
    """Name, whether it is the kernel's or a module's, and the size in bytes.  Linux 5.11."""
    name = ctypes.create_string_buffer(_NAME_SIZE)
    info = _info(fd, bpf_btf_info(name=ctypes.addressof(name), name_len=_NAME_SIZE))
    return name.value.decode("utf-8", "backslashreplace"), bool(info.kernel_btf), info.btf_size


def _content(fd: Fd, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    _info(fd, bpf_btf_info(btf=ctypes.addressof(buffer), btf_size=size))
    return buffer.raw


def _info(fd: Fd, info: bpf_btf_info) -> bpf_btf_info:
    attr = bpf_attr_info(bpf_fd=fd.fileno(), info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
    bpf(bpf_cmd.BPF_OBJ_GET_INFO_BY_FD, attr, action="reading a BTF object")
    return info
