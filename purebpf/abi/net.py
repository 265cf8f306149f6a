"""What the kernel's networking interfaces need beside bpf(2): rtnetlink messages, socket options, netfilter hooks.

Named after, and defined in, the headers under include/uapi/linux that each part names.  Only what purebpf uses is here.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

# --- netlink.h ------------------------------------------------------------------------------------

NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10  # an answer quotes only the header of the request
NETLINK_EXT_ACK = 11  # an answer explains an error in words

NLMSG_ERROR = 2  # also says that there was no error
NLMSG_DONE = 3

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100  # of an answer
NLM_F_ACK_TLVS = 0x200  # of an answer
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

NLA_F_NESTED = 1 << 15
NLA_TYPE_MASK = ~(1 << 15 | 1 << 14)

NLMSGERR_ATTR_MSG = 1

# --- rtnetlink.h ----------------------------------------------------------------------------------

RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWQDISC = 36
RTM_DELQDISC = 37
RTM_GETQDISC = 38
RTM_NEWTFILTER = 44
RTM_DELTFILTER = 45
RTM_GETTFILTER = 46

TCA_KIND = 1
TCA_OPTIONS = 2

# --- if_link.h ------------------------------------------------------------------------------------

IFLA_XDP = 43

IFLA_XDP_FD = 1
IFLA_XDP_FLAGS = 3
IFLA_XDP_DRV_PROG_ID = 5
IFLA_XDP_SKB_PROG_ID = 6
IFLA_XDP_HW_PROG_ID = 7
IFLA_XDP_EXPECTED_FD = 8


class xdp_flags(IntFlag):
    """``IFLA_XDP_FLAGS``, and ``flags`` of BPF_LINK_CREATE for BPF_XDP (only the three modes)."""

    XDP_FLAGS_UPDATE_IF_NOEXIST = 1 << 0  # do not replace a program
    XDP_FLAGS_SKB_MODE = 1 << 1  # generic: in the network stack, of any driver
    XDP_FLAGS_DRV_MODE = 1 << 2  # native: in the driver
    XDP_FLAGS_HW_MODE = 1 << 3  # offload: in the device
    XDP_FLAGS_REPLACE = 1 << 4  # replace the program of IFLA_XDP_EXPECTED_FD, and no other


# --- pkt_sched.h, pkt_cls.h, tc_act/tc_bpf.h, if_ether.h ------------------------------------------

TC_H_CLSACT = 0xFFFFFFF1
TC_H_MAJ_MASK = 0xFFFF0000
TC_H_MIN_INGRESS = 0xFFF2
TC_H_MIN_EGRESS = 0xFFF3

TCA_BPF_FD = 6
TCA_BPF_NAME = 7
TCA_BPF_FLAGS = 8
TCA_BPF_ID = 11
TCA_BPF_FLAG_ACT_DIRECT = 1  # what the program returns is the action

TCA_MATCHALL_ACT = 2

TCA_ACT_KIND = 1
TCA_ACT_OPTIONS = 2
TCA_ACT_BPF_PARMS = 2
TCA_ACT_BPF_FD = 5
TCA_ACT_BPF_NAME = 6
TCA_ACT_BPF_ID = 9
TC_ACT_UNSPEC = -1  # go on with the next filter

ETH_P_ALL = 3

# --- asm/socket.h: the same numbers on every machine that purebpf knows ---------------------------

SO_DETACH_FILTER = 27
SO_ATTACH_BPF = 50
SO_ATTACH_REUSEPORT_EBPF = 52
SO_DETACH_REUSEPORT_BPF = 68

# --- netfilter.h ----------------------------------------------------------------------------------


class nfproto(IntEnum):
    """``netfilter.pf`` of BPF_LINK_CREATE.  An anonymous enum in C."""

    NFPROTO_IPV4 = 2
    NFPROTO_IPV6 = 10


class nf_inet_hooks(IntEnum):
    """``netfilter.hooknum`` of BPF_LINK_CREATE: where on a packet's way through the machine."""

    NF_INET_PRE_ROUTING = 0
    NF_INET_LOCAL_IN = 1
    NF_INET_FORWARD = 2
    NF_INET_LOCAL_OUT = 3
    NF_INET_POST_ROUTING = 4
