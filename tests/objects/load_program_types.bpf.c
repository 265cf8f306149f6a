// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs of many types, each with the attach type and the flags that its section name stands for. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(name, section, result)	\
	SEC(section)			\
	int name(void)			\
	{				\
		return result;		\
	}

PROGRAM(on_socket, "socket", 0)
PROGRAM(on_reuseport, "sk_reuseport", 1)
PROGRAM(on_reuseport_migrate, "sk_reuseport/migrate", 1)
PROGRAM(on_classifier, "tc", 0)
PROGRAM(on_old_classifier, "classifier", 0)
PROGRAM(on_action, "action", 0)
PROGRAM(on_tracepoint, "tp/syscalls/sys_enter_sched_rr_get_interval", 0)
PROGRAM(on_raw_tracepoint, "raw_tp/sys_enter", 0)
PROGRAM(on_raw_tracepoint_writable, "raw_tp.w/nbd_send_request", 0)
PROGRAM(on_kernel_probe, "kprobe/do_nanosleep", 0)
PROGRAM(on_kernel_return_probe, "kretprobe/do_nanosleep", 0)
PROGRAM(on_sleepable_user_probe, "uprobe.s//proc/self/exe:main", 0)
PROGRAM(on_xdp, "xdp", 2)
PROGRAM(on_xdp_frags, "xdp.frags", 2)
PROGRAM(on_xdp_devmap, "xdp/devmap", 2)
PROGRAM(on_xdp_cpumap_frags, "xdp.frags/cpumap", 2)
PROGRAM(on_perf_event, "perf_event", 0)
PROGRAM(on_lwt_in, "lwt_in", 0)
PROGRAM(on_lwt_seg6local, "lwt_seg6local", 0)
PROGRAM(on_sock_ops, "sockops", 1)
PROGRAM(on_parser, "sk_skb/stream_parser", 0)
PROGRAM(on_verdict, "sk_skb/stream_verdict", 1)
PROGRAM(on_message, "sk_msg", 1)
PROGRAM(on_dissector, "flow_dissector", 0)
PROGRAM(on_ingress, "cgroup_skb/ingress", 1)
PROGRAM(on_egress, "cgroup_skb/egress", 1)
PROGRAM(on_any_skb, "cgroup/skb", 1)
PROGRAM(on_sock_create, "cgroup/sock_create", 1)
PROGRAM(on_post_bind, "cgroup/post_bind6", 1)
PROGRAM(on_connect, "cgroup/connect4", 1)
PROGRAM(on_recvmsg, "cgroup/recvmsg6", 1)
PROGRAM(on_sysctl, "cgroup/sysctl", 1)
PROGRAM(on_getsockopt, "cgroup/getsockopt", 1)
PROGRAM(on_device, "cgroup/dev", 1)
PROGRAM(on_lookup, "sk_lookup", 1)
PROGRAM(on_by_system_call, "syscall", 0)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
