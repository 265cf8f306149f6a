// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A section name that is like none that stands for a program type, but nearly. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tracepiont/sched/sched_process_exec")
int misspelt(void)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
