"""xdpcount: how many packets of which protocol arrive at a network interface."""

from __future__ import annotations

import argparse
import errno
from collections.abc import Iterator
from typing import Any

import purebpf
from purebpf.tools.session import Session
from purebpf.tools.tool import Row, Tool

# https://www.iana.org/assignments/ieee-802-numbers and .../protocol-numbers: those that are met in practice.
_ETHERTYPES = {
    0x0800: "IPv4",
    0x0806: "ARP",
    0x8035: "RARP",
    0x8100: "VLAN",
    0x86DD: "IPv6",
    0x8809: "LACP",
    0x8847: "MPLS",
    0x8863: "PPPoE discovery",
    0x8864: "PPPoE",
    0x888E: "EAPoL",
    0x88A8: "VLAN",
    0x88CC: "LLDP",
    0x88E5: "MACsec",
    0x88F7: "PTP",
}
_IP = (0x0800, 0x86DD)
_PROTOCOLS = {
    0: "hop-by-hop options",
    1: "ICMP",
    2: "IGMP",
    4: "IPv4",
    6: "TCP",
    17: "UDP",
    41: "IPv6",
    43: "routing header",
    44: "fragment",
    47: "GRE",
    50: "ESP",
    51: "AH",
    58: "ICMPv6",
    60: "destination options",
    89: "OSPF",
    112: "VRRP",
    132: "SCTP",
}

_NOT_THE_DRIVER = (errno.EBUSY, errno.EEXIST, errno.EPERM)
"""Refusals that have nothing to do with what a driver can do: another program is there, or nobody may attach one."""


class Front(Tool):
    name = "xdpcount"
    summary = "packets by protocol that arrive at a network interface"
    header = f"{'PROTOCOL':<24} {'PACKETS':>12} {'BYTES':>16}"
    interface = ""
    full = False

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
        parser.add_argument("interface", metavar="INTERFACE", help="the network interface, by its name")

    def configure(self, options: argparse.Namespace) -> None:
        super().configure(options)
        self.interface = options.interface

    def attach(self, bpf: purebpf.BpfObject) -> None:
        program = bpf.programs["count_packet"]
        try:
            link = program.attach_xdp(self.interface)
        except purebpf.KernelError as error:
            if error.errno in _NOT_THE_DRIVER:
                raise
            link = program.attach_xdp(self.interface, "generic")
        bpf.links.append(link)

    def rows(self, bpf: purebpf.BpfObject, source: Any, session: Session) -> Iterator[Row]:
        while session.wait():
            pass
        bpf.detach()
        counters = list(bpf.maps["counters"].items())
        self.full = len(counters) == bpf.maps["counters"].max_entries
        found = [
            {
                "protocol": _title(key),
                "ethertype": key.ethertype,
                "ip_protocol": key.protocol if key.ethertype in _IP and not key.truncated else None,
                "packets": sum(counter.packets for counter in of_each_cpu),
                "bytes": sum(counter.bytes for counter in of_each_cpu),
            }
            for key, of_each_cpu in counters
        ]
        yield from sorted(found, key=lambda row: row["packets"], reverse=True)

    def line(self, row: Row) -> str:
        return f"{row['protocol']:<24} {row['packets']:>12} {row['bytes']:>16}"

    def remark(self) -> str:
        return "the map of protocols is full: packets of others were not counted" if self.full else ""


def _title(key: Any) -> str:
    if not key.ethertype:
        return "truncated" if key.truncated else "IEEE 802.3"
    network = _ETHERTYPES.get(key.ethertype, f"ethertype {key.ethertype:#06x}")
    if key.truncated:
        return f"{network}, truncated"
    if key.ethertype not in _IP:
        return network
    return f"{network} {_PROTOCOLS.get(key.protocol, f'protocol {key.protocol}')}"
