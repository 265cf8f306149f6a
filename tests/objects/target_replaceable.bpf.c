// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program with a global function, which another program may replace or trace. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__attribute__((noinline)) int replaceable(struct __sk_buff *skb)
{
	volatile int result = 1;

	return result;
}

SEC("tc")
int calls_it(struct __sk_buff *skb)
{
	return replaceable(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
