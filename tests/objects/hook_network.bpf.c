// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Every section of the network's and control groups' hooks. All let pass what they see. */
#include "hook.h"

#define HOOK(name, section, verdict)	\
	SEC("?" section)		\
	int on_##name(void *context)	\
	{				\
		count();		\
		return verdict;		\
	}

/* Interfaces */

HOOK(xdp, "xdp", XDP_PASS)
HOOK(xdp_frags, "xdp.frags", XDP_PASS)
HOOK(xdp_devmap, "xdp/devmap", XDP_PASS)
HOOK(xdp_frags_devmap, "xdp.frags/devmap", XDP_PASS)
HOOK(xdp_cpumap, "xdp/cpumap", XDP_PASS)
HOOK(xdp_frags_cpumap, "xdp.frags/cpumap", XDP_PASS)

#define TO_THE_NEXT (-1) /* TC_ACT_UNSPEC, TCX_NEXT, NETKIT_NEXT */

HOOK(tc, "tc", TO_THE_NEXT)
HOOK(tc_ingress, "tc/ingress", TO_THE_NEXT)
HOOK(tc_egress, "tc/egress", TO_THE_NEXT)
HOOK(tcx_ingress, "tcx/ingress", TO_THE_NEXT)
HOOK(tcx_egress, "tcx/egress", TO_THE_NEXT)
HOOK(classifier, "classifier", TO_THE_NEXT)
HOOK(action, "action", TO_THE_NEXT)
HOOK(netkit_primary, "netkit/primary", TO_THE_NEXT)
HOOK(netkit_peer, "netkit/peer", TO_THE_NEXT)

/* Maps that hold programs, and programs that send packets there, which do not count. */

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct bpf_devmap_val);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

#define SENDS(name, section, result)	\
	SEC("?" section)		\
	int name(void *context)		\
	{				\
		return result;		\
	}

SENDS(to_port, "xdp", bpf_redirect_map(&ports, 0, 0))
SENDS(to_port_frags, "xdp.frags", bpf_redirect_map(&ports, 0, 0))
SENDS(to_cpu, "xdp", bpf_redirect_map(&cpus, 0, 0))
SENDS(to_cpu_frags, "xdp.frags", bpf_redirect_map(&cpus, 0, 0))
SENDS(pass, "xdp", XDP_PASS)
SENDS(pass_frags, "xdp.frags", XDP_PASS)

/* Control groups */

HOOK(cgroup_skb_ingress, "cgroup_skb/ingress", 1)
HOOK(cgroup_skb_egress, "cgroup_skb/egress", 1)
HOOK(cgroup_skb, "cgroup/skb", 1)
HOOK(cgroup_sock_create, "cgroup/sock_create", 1)
HOOK(cgroup_sock_release, "cgroup/sock_release", 1)
HOOK(cgroup_sock, "cgroup/sock", 1)
HOOK(cgroup_post_bind4, "cgroup/post_bind4", 1)
HOOK(cgroup_post_bind6, "cgroup/post_bind6", 1)
HOOK(cgroup_bind4, "cgroup/bind4", 1)
HOOK(cgroup_bind6, "cgroup/bind6", 1)
HOOK(cgroup_connect4, "cgroup/connect4", 1)
HOOK(cgroup_connect6, "cgroup/connect6", 1)
HOOK(cgroup_connect_unix, "cgroup/connect_unix", 1)
HOOK(cgroup_sendmsg4, "cgroup/sendmsg4", 1)
HOOK(cgroup_sendmsg6, "cgroup/sendmsg6", 1)
HOOK(cgroup_sendmsg_unix, "cgroup/sendmsg_unix", 1)
HOOK(cgroup_recvmsg4, "cgroup/recvmsg4", 1)
HOOK(cgroup_recvmsg6, "cgroup/recvmsg6", 1)
HOOK(cgroup_recvmsg_unix, "cgroup/recvmsg_unix", 1)
HOOK(cgroup_getpeername4, "cgroup/getpeername4", 1)
HOOK(cgroup_getpeername6, "cgroup/getpeername6", 1)
HOOK(cgroup_getpeername_unix, "cgroup/getpeername_unix", 1)
HOOK(cgroup_getsockname4, "cgroup/getsockname4", 1)
HOOK(cgroup_getsockname6, "cgroup/getsockname6", 1)
HOOK(cgroup_getsockname_unix, "cgroup/getsockname_unix", 1)
HOOK(cgroup_sysctl, "cgroup/sysctl", 1)
HOOK(cgroup_getsockopt, "cgroup/getsockopt", 1)
HOOK(cgroup_setsockopt, "cgroup/setsockopt", 1)
HOOK(cgroup_dev, "cgroup/dev", 1)
HOOK(sockops, "sockops", 1)

/* Sockets */

HOOK(socket, "socket", -1 /* all of the packet */)
HOOK(sk_reuseport, "sk_reuseport", SK_PASS)

/* Counts when a connection that one socket has not accepted yet has to go to another. */
SEC("?sk_reuseport/migrate")
int on_sk_reuseport_migrate(struct sk_reuseport_md *context)
{
	if (context->migrating_sk)
		count();
	return SK_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, __u64);
} sockets SEC(".maps");

HOOK(sk_skb_stream_parser, "sk_skb/stream_parser", ((struct __sk_buff *)context)->len)
HOOK(sk_skb_stream_verdict, "sk_skb/stream_verdict", SK_PASS)
HOOK(sk_skb_verdict, "sk_skb/verdict", SK_PASS)
HOOK(sk_skb, "sk_skb", SK_PASS)
HOOK(sk_msg, "sk_msg", SK_PASS)

/* One that parses and one that decides work together only. */

SEC("?sk_skb/stream_parser")
int any_parser(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("?sk_skb/stream_verdict")
int any_verdict(struct __sk_buff *skb)
{
	return SK_PASS;
}

/* Network namespaces, routes, and the rest */

HOOK(sk_lookup, "sk_lookup", SK_PASS)
HOOK(flow_dissector, "flow_dissector", BPF_DROP /* that is: not dissected */)
HOOK(netfilter, "netfilter", 1 /* NF_ACCEPT */)
HOOK(lwt_in, "lwt_in", BPF_OK)
HOOK(lwt_out, "lwt_out", BPF_OK)
HOOK(lwt_xmit, "lwt_xmit", BPF_OK)
HOOK(lwt_seg6local, "lwt_seg6local", BPF_OK)
HOOK(lirc_mode2, "lirc_mode2", 0)
