// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program for static tracepoints, which keeps the arguments that it saw last, and counts. */
#define __TARGET_ARCH_x86
#include <stdbool.h>
#include <linux/ptrace.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define BPF_USDT_MAX_SPEC_CNT 4
#include <bpf/usdt.bpf.h>

struct seen {
	__u64 count, pid;
	__s64 cookie;
	__s64 arguments[BPF_USDT_MAX_ARG_CNT];
	__s32 status[BPF_USDT_MAX_ARG_CNT];
	__s32 number;
	__s64 sum; /* of the first arguments of all hits */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

static __always_inline int note(struct pt_regs *ctx, __u32 which)
{
	struct seen *place = bpf_map_lookup_elem(&seen, &which);
	long value;
	int i;

	if (!place)
		return 0;
	__sync_fetch_and_add(&place->count, 1);
	place->pid = bpf_get_current_pid_tgid() >> 32;
	place->cookie = bpf_usdt_cookie(ctx);
	place->number = bpf_usdt_arg_cnt(ctx);
	for (i = 0; i < BPF_USDT_MAX_ARG_CNT; i++) {
		place->status[i] = bpf_usdt_arg(ctx, i, &value);
		place->arguments[i] = value;
		if (!i)
			place->sum += value;
	}
	return 0;
}

SEC("usdt")
int on_usdt(struct pt_regs *ctx)
{
	return note(ctx, 0);
}

SEC("usdt")
int on_another_usdt(struct pt_regs *ctx)
{
	return note(ctx, 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
