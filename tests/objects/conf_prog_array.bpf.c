// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Program arrays with programs in them from the start. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int last(struct xdp_md *ctx);
int first(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 6);
	__uint(key_size, sizeof(int));
	__array(values, int(struct xdp_md *));
} with_gaps SEC(".maps") = {
	.values = {[1] = &last, [4] = &first},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
	__array(values, int(struct xdp_md *));
} full SEC(".maps") = {
	.values = {&first, &last},
};

SEC("xdp")
int first(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &with_gaps, 1);
	return XDP_DROP;
}

SEC("xdp")
int last(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &full, 0);
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
