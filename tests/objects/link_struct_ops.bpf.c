// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* TCP congestion controls. Each counts in `inits` the connections that begin to use it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct sock;

struct tcp_congestion_ops {
	char name[16];
	void (*init)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*ssthresh)(struct sock *sk);
};

enum { PLAIN, FIRST, SECOND, CONTROLS };

__u64 inits[CONTROLS];

#define INIT(name, which)				\
	SEC("struct_ops")				\
	void name(void *context)			\
	{						\
		__sync_fetch_and_add(&inits[which], 1);	\
	}

INIT(plain_init, PLAIN)
INIT(first_init, FIRST)
INIT(second_init, SECOND)

SEC("struct_ops")
__u32 undo_cwnd(void *context)
{
	return 10;
}

SEC("struct_ops")
__u32 ssthresh(void *context)
{
	return 2;
}

SEC("struct_ops")
void cong_avoid(void *context)
{
}

#define CONTROL(section, name_, init_)		\
	SEC(section)				\
	struct tcp_congestion_ops name_ = {	\
		.name = #name_,			\
		.init = (void *)init_,		\
		.undo_cwnd = (void *)undo_cwnd,	\
		.cong_avoid = (void *)cong_avoid,	\
		.ssthresh = (void *)ssthresh,	\
	};

CONTROL(".struct_ops", plain, plain_init)
CONTROL(".struct_ops.link", first, first_init)
CONTROL(".struct_ops.link", second, second_init)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
