// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program for a tracepoint that does not exist. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp/sched/sched_proces_exec")
int misspelt(void)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
