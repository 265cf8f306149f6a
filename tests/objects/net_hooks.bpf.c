// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program for each networking hook.  Each counts how often it runs, and lets pass what it sees. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define HOOK(name, section, verdict)			\
	__u64 name##_runs;				\
							\
	SEC(section)					\
	int name(void *ctx)				\
	{						\
		__sync_fetch_and_add(&name##_runs, 1);	\
		return verdict;				\
	}

/* Interfaces. */

HOOK(on_xdp, "xdp", XDP_PASS)
HOOK(on_xdp_too, "xdp", XDP_PASS)
HOOK(on_xdp_frags, "xdp.frags", XDP_PASS)
HOOK(on_xdp_devmap, "xdp/devmap", XDP_PASS)
HOOK(on_xdp_devmap_frags, "xdp.frags/devmap", XDP_PASS)
HOOK(on_xdp_cpumap, "xdp/cpumap", XDP_PASS)
HOOK(on_xdp_cpumap_frags, "xdp.frags/cpumap", XDP_PASS)

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

HOOK(to_port, "xdp", bpf_redirect_map(&ports, 0, 0))
HOOK(to_port_frags, "xdp.frags", bpf_redirect_map(&ports, 0, 0))
HOOK(to_cpu, "xdp", bpf_redirect_map(&cpus, 0, 0))
HOOK(to_cpu_frags, "xdp.frags", bpf_redirect_map(&cpus, 0, 0))

#define TO_THE_NEXT (-1) /* TC_ACT_UNSPEC, TCX_NEXT, NETKIT_NEXT */

HOOK(on_tc, "tc", TO_THE_NEXT)
HOOK(on_tc_ingress, "tc/ingress", TO_THE_NEXT)
HOOK(on_tc_egress, "tc/egress", TO_THE_NEXT)
HOOK(on_tcx_ingress, "tcx/ingress", TO_THE_NEXT)
HOOK(on_tcx_egress, "tcx/egress", TO_THE_NEXT)
HOOK(on_classifier, "classifier", TO_THE_NEXT)
HOOK(on_action, "action", TO_THE_NEXT)
HOOK(on_netkit_primary, "netkit/primary", TO_THE_NEXT)
HOOK(on_netkit_peer, "netkit/peer", TO_THE_NEXT)

/* Those that tell in what order they ran: as the digits of a number. */
__u64 sequence;

#define IN_ORDER(name, section, number, verdict)	\
	SEC(section)					\
	int name(void *ctx)				\
	{						\
		sequence = sequence * 10 + number;	\
		return verdict;				\
	}

IN_ORDER(tc_1, "tc", 1, TO_THE_NEXT)
IN_ORDER(tc_2, "tc", 2, TO_THE_NEXT)
IN_ORDER(tc_3, "tc", 3, TO_THE_NEXT)
IN_ORDER(create_1, "cgroup/sock_create", 1, 1)
IN_ORDER(create_2, "cgroup/sock_create", 2, 1)
IN_ORDER(create_3, "cgroup/sock_create", 3, 1)

/* Control groups. */

HOOK(on_ingress, "cgroup_skb/ingress", 1)
HOOK(on_egress, "cgroup_skb/egress", 1)
HOOK(on_skb, "cgroup/skb", 1)
HOOK(on_sock_create, "cgroup/sock_create", 1)
HOOK(on_sock_release, "cgroup/sock_release", 1)
HOOK(on_sock, "cgroup/sock", 1)
HOOK(on_post_bind4, "cgroup/post_bind4", 1)
HOOK(on_post_bind6, "cgroup/post_bind6", 1)
HOOK(on_bind4, "cgroup/bind4", 1)
HOOK(on_bind6, "cgroup/bind6", 1)
HOOK(on_connect4, "cgroup/connect4", 1)
HOOK(on_connect6, "cgroup/connect6", 1)
HOOK(on_connect_unix, "cgroup/connect_unix", 1)
HOOK(on_sendmsg4, "cgroup/sendmsg4", 1)
HOOK(on_sendmsg6, "cgroup/sendmsg6", 1)
HOOK(on_sendmsg_unix, "cgroup/sendmsg_unix", 1)
HOOK(on_recvmsg4, "cgroup/recvmsg4", 1)
HOOK(on_recvmsg6, "cgroup/recvmsg6", 1)
HOOK(on_recvmsg_unix, "cgroup/recvmsg_unix", 1)
HOOK(on_getpeername4, "cgroup/getpeername4", 1)
HOOK(on_getpeername6, "cgroup/getpeername6", 1)
HOOK(on_getpeername_unix, "cgroup/getpeername_unix", 1)
HOOK(on_getsockname4, "cgroup/getsockname4", 1)
HOOK(on_getsockname6, "cgroup/getsockname6", 1)
HOOK(on_getsockname_unix, "cgroup/getsockname_unix", 1)
HOOK(on_sysctl, "cgroup/sysctl", 1)
HOOK(on_getsockopt, "cgroup/getsockopt", 1)
HOOK(on_setsockopt, "cgroup/setsockopt", 1)
HOOK(on_dev, "cgroup/dev", 1)
HOOK(on_sock_ops, "sockops", 1)

/* Sockets. */

HOOK(on_socket, "socket", -1 /* all of the packet */)
HOOK(on_reuseport, "sk_reuseport", SK_PASS)
HOOK(on_reuseport_migrate, "sk_reuseport/migrate", SK_PASS)

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, __u64);
} sockets SEC(".maps");

HOOK(on_stream_parser, "sk_skb/stream_parser", ((struct __sk_buff *)ctx)->len)
HOOK(on_stream_verdict, "sk_skb/stream_verdict", SK_PASS)
HOOK(on_verdict, "sk_skb/verdict", SK_PASS)
HOOK(on_any_verdict, "sk_skb", SK_PASS)
HOOK(on_msg, "sk_msg", SK_PASS)

/* Network namespaces, and the rest. */

HOOK(on_lookup, "sk_lookup", SK_PASS)
HOOK(on_flow, "flow_dissector", BPF_DROP)
HOOK(on_netfilter, "netfilter", 1 /* NF_ACCEPT */)
HOOK(on_pulse, "lirc_mode2", 0)
HOOK(on_route_in, "lwt_in", BPF_OK)
HOOK(on_route_out, "lwt_out", BPF_OK)
HOOK(on_route_xmit, "lwt_xmit", BPF_OK)
HOOK(on_route_seg6, "lwt_seg6local", BPF_OK)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
