"""netfilter: programs at the hooks of the packet filter, among the rules of iptables and nftables (Linux 6.4).

They see IPv4 or IPv6 packets at one place on their way through the machine, and let them pass or drop them.  Programs
and tables at one hook run in the order of their priorities, the lowest first; each program has a priority of its own.
"""

from __future__ import annotations

import errno
from typing import Literal

from purebpf.abi.attr import bpf_attr_link_create
from purebpf.abi.bpf import bpf_attach_type, bpf_netfilter_flags, bpf_prog_type
from purebpf.abi.net import nf_inet_hooks, nfproto
from purebpf.errors import AttachError
from purebpf.kernel.bpf import link_create
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.link import Link
from purebpf.links.refusal import explained

Family = Literal["ipv4", "ipv6"]
Hook = Literal["prerouting", "input", "forward", "output", "postrouting"]

_FAMILIES = {"ipv4": nfproto.NFPROTO_IPV4, "ipv6": nfproto.NFPROTO_IPV6}
_HOOKS = {
    "prerouting": nf_inet_hooks.NF_INET_PRE_ROUTING,
    "input": nf_inet_hooks.NF_INET_LOCAL_IN,
    "forward": nf_inet_hooks.NF_INET_FORWARD,
    "output": nf_inet_hooks.NF_INET_LOCAL_OUT,
    "postrouting": nf_inet_hooks.NF_INET_POST_ROUTING,
}
"""The names are those of nftables."""

# bpf_nf_link_attach() in net/netfilter/nf_bpf_link.c
_WHY_NOT = {
    errno.EBUSY: "Another program at this hook has this priority",
    errno.ERANGE: (
        "The priority is the first or the last of all, which the kernel keeps for itself, or with defrag one that"
        " comes before the packets are put together (-400)"
    ),
    errno.EOPNOTSUPP: "defrag takes Linux 6.6",
    errno.ENOENT: "This kernel cannot put fragments together (CONFIG_NF_DEFRAG_IPV4, CONFIG_NF_DEFRAG_IPV6)",
    errno.E2BIG: "This kernel's netfilter has no more room at this hook",
}


def attach_netfilter(prog_fd: Fd | int, family: Family, hook: Hook, *, priority: int = 0, defrag: bool = False) -> Link:
    """Run a loaded program at a netfilter hook of the calling thread's network namespace.

    ``priority`` is from -2**31 + 1 to 2**31 - 2; 0 is that of nftables' "filter".  With ``defrag``, packets come whole:
    fragments are put together before (Linux 6.6).

    Raises AttachError if there is no such hook, KernelError if the kernel refuses; nothing stays behind then.
    """
    for what, word, choices in (("family", family, _FAMILIES), ("hook", hook, _HOOKS)):
        if word not in choices:
            raise AttachError(f"netfilter has no {what} {word!r}; it is one of {', '.join(choices)}")
    attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), attach_type=bpf_attach_type.BPF_NETFILTER)
    attr.netfilter.pf = _FAMILIES[family]
    attr.netfilter.hooknum = _HOOKS[hook]
    attr.netfilter.priority = priority
    attr.netfilter.flags = bpf_netfilter_flags.BPF_F_NETFILTER_IP_DEFRAG if defrag else 0
    target = f"{family} {hook} {priority}"
    with explained(_WHY_NOT, prog_fd, bpf_prog_type.BPF_PROG_TYPE_NETFILTER):
        link = link_create(attr, f"link to netfilter {target}", action=f"attaching a program to netfilter {target}")
    return Link("netfilter", target, link, bpf_link=link)
