// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A TCP congestion control, in members that are not in the kernel's order, and only some of them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct sock;

struct tcp_congestion_ops {
	char name[16];
	__u32 (*undo_cwnd)(struct sock *sk);
	__u32 flags;
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*release)(struct sock *sk);
	__u32 (*ssthresh)(struct sock *sk);
};

SEC("struct_ops/purebpf_ssthresh")
__u32 purebpf_ssthresh(void *context)
{
	return 2;
}

SEC("struct_ops/purebpf_cong_avoid")
void purebpf_cong_avoid(void *context)
{
}

SEC("struct_ops")
__u32 purebpf_undo_cwnd(void *context)
{
	return 10;
}

SEC(".struct_ops")
struct tcp_congestion_ops congestion = {
	.name = "purebpf_test",
	.undo_cwnd = (void *)purebpf_undo_cwnd,
	.cong_avoid = (void *)purebpf_cong_avoid,
	.ssthresh = (void *)purebpf_ssthresh,
};

/* Another one by the same programs. */
SEC(".struct_ops")
struct tcp_congestion_ops congestion_too = {
	.name = "purebpf_too",
	.undo_cwnd = (void *)purebpf_undo_cwnd,
	.cong_avoid = (void *)purebpf_cong_avoid,
	.ssthresh = (void *)purebpf_ssthresh,
};

char LICENSE[] SEC("license") = "Dual MIT/GPL";
