// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What libbpf learned after 1.1: struct_ops that a link registers, flavours, and maps that are created only on demand. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct sock;

struct tcp_congestion_ops___flavor {
	__u32 (*ssthresh)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	char name[16];
	long not_in_the_kernel;
	void (*nor_this)(struct sock *sk);
};

SEC("struct_ops")
__u32 link_ssthresh(void *context)
{
	return 2;
}

SEC("struct_ops")
void link_cong_avoid(void *context)
{
}

SEC("struct_ops")
__u32 link_undo_cwnd(void *context)
{
	return 10;
}

SEC("struct_ops")
__u32 other_undo_cwnd(void *context)
{
	return 11;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops___flavor by_link = {
	.name = "purebpf_link",
	.undo_cwnd = (void *)link_undo_cwnd,
	.cong_avoid = (void *)link_cong_avoid,
	.ssthresh = (void *)link_ssthresh,
};

SEC("?.struct_ops")
struct tcp_congestion_ops___flavor on_demand = {
	.name = "purebpf_demand",
	.undo_cwnd = (void *)other_undo_cwnd,
	.cong_avoid = (void *)link_cong_avoid,
	.ssthresh = (void *)link_ssthresh,
};

char LICENSE[] SEC("license") = "Dual MIT/GPL";
