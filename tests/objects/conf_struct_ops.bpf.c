// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A table of functions for the kernel, described with its members in another order than the kernel's. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct sock {
	int sk_rcvbuf;
} __attribute__((preserve_access_index));

struct tcp_congestion_ops {
	char name[16];
	__u32 flags;
	__u32 (*undo_cwnd)(struct sock *sk);
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*init)(struct sock *sk);
	void (*set_state)(struct sock *sk, __u8 state);
};

SEC("struct_ops/init")
void BPF_PROG(on_init, struct sock *sk)
{
}

SEC("struct_ops")
__u32 BPF_PROG(on_ssthresh, struct sock *sk)
{
	return sk->sk_rcvbuf;
}

SEC("struct_ops")
void BPF_PROG(on_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
}

SEC("struct_ops")
__u32 BPF_PROG(on_undo_cwnd, struct sock *sk)
{
	return 2;
}

SEC(".struct_ops")
struct tcp_congestion_ops conf_first = {
	.init = (void *)on_init,
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_cwnd,
	.name = "conf_first",
};

/* Two tables can share functions. */
SEC(".struct_ops")
struct tcp_congestion_ops conf_second = {
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_cwnd,
	.flags = 1,
	.name = "conf_second",
};

char LICENSE[] SEC("license") = "GPL";
