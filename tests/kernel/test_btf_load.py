"""BPF_BTF_LOAD: the kernel takes BTF that was read and written anew, and keeps it as it is."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

import purebpf
from purebpf.abi.attr import bpf_attr_btf_load, bpf_attr_info, bpf_btf_info
from purebpf.abi.bpf import bpf_cmd
from purebpf.btf.types import Const, Int, Member, Ptr, Struct
from purebpf.btf.writer import write
from purebpf.kernel.bpf import address, bpf
from purebpf.kernel.fd import Fd

pytestmark = pytest.mark.needs_root
OBJECTS = sorted((Path(__file__).parents[2] / "prebuilt").glob("*.bpf.o"))


def load(data):
    attr = bpf_attr_btf_load(btf=address(data), btf_size=len(data))
    return Fd(bpf(bpf_cmd.BPF_BTF_LOAD, attr), "test BTF")


def kept(fd, size):
    """The bytes that the kernel has of a BTF."""
    buffer = ctypes.create_string_buffer(size)
    info = bpf_btf_info(btf=ctypes.addressof(buffer), btf_size=size)
    attr = bpf_attr_info(bpf_fd=fd.fileno(), info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
    bpf(bpf_cmd.BPF_OBJ_GET_INFO_BY_FD, attr)
    assert info.btf_size == size
    return buffer.raw


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_btf_of_an_object(path):
    btf = purebpf.parse(path).btf
    data = write([btf.type(type_id) for type_id in range(len(btf))], byteorder=btf.byteorder)
    with load(data) as fd:
        assert kept(fd, len(data)) == data


def test_btf_made_by_hand():
    types = [
        Int(1, "int", 4, is_signed=True, is_char=False, is_bool=False, bit_offset=0, bits=32),
        Struct(2, "node", 16, (Member("a", 1, 0, 3), Member("b", 1, 3, 29), Member("next", 3, 64, 0))),
        Ptr(3, "", 4),
        Const(4, "", 2),
    ]
    data = write(types, byteorder=sys.byteorder)
    with load(data) as fd:
        assert kept(fd, len(data)) == data


def test_kernel_refuses_members_beyond_their_struct():
    """It does check what it is given, or else the tests above would say nothing."""
    types = [
        Int(1, "int", 4, is_signed=True, is_char=False, is_bool=False, bit_offset=0, bits=32),
        Struct(2, "s", 4, (Member("x", 1, 32, 0),)),
    ]
    with pytest.raises(purebpf.KernelError, match="EINVAL"):
        load(write(types, byteorder=sys.byteorder))
