/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the hook_*.bpf.c share: a program for each section name that a loader knows, named after it. A test loads one of
 * them alone, so that only this one can count in `runs`.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 runs;

static __always_inline void count(void)
{
	__sync_fetch_and_add(&runs, 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
