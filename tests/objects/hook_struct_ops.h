/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A TCP congestion control. The kernel calls `init` when a socket asks for it. SECTION is that of its programs. */
#include "hook.h"

struct sock;

struct tcp_congestion_ops {
	char name[16];
	void (*init)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*ssthresh)(struct sock *sk);
};

SEC(SECTION "/init")
void PROGRAM(void *context)
{
	count();
}

SEC("struct_ops/required")
__u32 hook_undo_cwnd(void *context)
{
	return 10;
}

SEC("struct_ops/required")
__u32 hook_ssthresh(void *context)
{
	return 2;
}

SEC("struct_ops/required")
void hook_cong_avoid(void *context)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops hook_ops = {
	.name = "purebpf_hook",
	.init = (void *)PROGRAM,
	.undo_cwnd = (void *)hook_undo_cwnd,
	.cong_avoid = (void *)hook_cong_avoid,
	.ssthresh = (void *)hook_ssthresh,
};
