"""purebpf.abi.net against the kernel's headers (linux-libc-dev), by a C compiler."""

from __future__ import annotations

import enum

import pytest
from test_abi import Header

from purebpf.abi import net

HEADERS = ["netlink", "rtnetlink", "if_link", "pkt_cls", "pkt_sched", "tc_act/tc_bpf", "if_ether", "netfilter"]


def constants():
    for name, value in vars(net).items():
        if isinstance(value, type) and issubclass(value, enum.IntEnum | enum.IntFlag):
            yield from ((member.name, int(member)) for member in value)
        elif isinstance(value, int):
            yield name, value


@pytest.mark.needs_tool("cc")
def test_constants_have_the_values_of_the_headers(tmp_path):
    include = "#include <sys/socket.h>\n" + "\n".join(f"#include <linux/{name}.h>" for name in HEADERS)
    names, values = zip(*constants(), strict=True)
    assert len(names) > 50
    found = Header(include, "", frozenset()).numbers(tmp_path, names)
    assert dict(zip(names, found, strict=True)) == {
        name: value % 2**64 for name, value in zip(names, values, strict=True)
    }
