// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program array that refers to a program which is not loaded by default. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int optional(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(int));
	__array(values, int(struct xdp_md *));
} programs SEC(".maps") = {
	.values = {[1] = &optional},
};

SEC("?xdp")
int optional(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &programs, 1);
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
