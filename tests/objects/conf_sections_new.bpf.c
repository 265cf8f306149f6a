// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program of every section that came after libbpf 1.1, and of names that are almost sections, or not at all. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(name, section) \
	SEC("?" section) \
	int name(void *ctx) \
	{ \
		return 0; \
	}

PROGRAM(on_kprobe_session_vfs_read, "kprobe.session/vfs_read")
PROGRAM(on_uprobe_multi_main, "uprobe.multi//bin/true:main")
PROGRAM(on_uretprobe_multi, "uretprobe.multi")
PROGRAM(on_uprobe_session, "uprobe.session")
PROGRAM(on_uprobe_multi_s, "uprobe.multi.s")
PROGRAM(on_uretprobe_multi_s, "uretprobe.multi.s")
PROGRAM(on_uprobe_session_s, "uprobe.session.s")
PROGRAM(on_usdt_s, "usdt.s")
PROGRAM(on_tc_ingress, "tc/ingress")
PROGRAM(on_tc_egress, "tc/egress")
PROGRAM(on_tcx_ingress, "tcx/ingress")
PROGRAM(on_tcx_egress, "tcx/egress")
PROGRAM(on_netkit_primary, "netkit/primary")
PROGRAM(on_netkit_peer, "netkit/peer")
PROGRAM(on_sk_skb_verdict, "sk_skb/verdict")
PROGRAM(on_netfilter, "netfilter")
PROGRAM(on_cgroup_connect_unix, "cgroup/connect_unix")
PROGRAM(on_cgroup_sendmsg_unix, "cgroup/sendmsg_unix")
PROGRAM(on_cgroup_recvmsg_unix, "cgroup/recvmsg_unix")
PROGRAM(on_cgroup_getpeername_unix, "cgroup/getpeername_unix")
PROGRAM(on_cgroup_getsockname_unix, "cgroup/getsockname_unix")
PROGRAM(on_xdp_anything, "xdp/anything")
PROGRAM(on_tcx, "tcx")
PROGRAM(on_kprobes_vfs_read, "kprobes/vfs_read")
PROGRAM(on_cgroup_connect4_more, "cgroup/connect4/more")
PROGRAM(on_tracepoint_x, "tracepoint.x")
PROGRAM(on_my_section, "my_section")

char LICENSE[] SEC("license") = "GPL";
