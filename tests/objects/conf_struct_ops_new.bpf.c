// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What came for tables of functions after libbpf 1.1: those that a link attaches, those that are not loaded by
 * default, flavours of a type, and members that the kernel does not have, which must be zero.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct sock;

struct tcp_congestion_ops___flavour {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	__u32 (*function_that_does_not_exist)(struct sock *sk);
	int number_that_does_not_exist;
	char name[16];
};

SEC("struct_ops")
__u32 BPF_PROG(on_ssthresh, struct sock *sk)
{
	return 2;
}

SEC("struct_ops")
void BPF_PROG(on_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
}

SEC("struct_ops")
__u32 BPF_PROG(on_undo_cwnd, struct sock *sk)
{
	return 3;
}

SEC("struct_ops")
__u32 BPF_PROG(on_undo_optional, struct sock *sk)
{
	return 4;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops___flavour conf_linked = {
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_cwnd,
	.name = "conf_linked",
};

SEC("?.struct_ops")
struct tcp_congestion_ops___flavour conf_optional = {
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_optional,
	.name = "conf_optional",
};

char LICENSE[] SEC("license") = "GPL";
