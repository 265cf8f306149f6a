// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Externs that are variables of the kernel with a type, which its BTF has of those that each CPU has for itself. A kernel
 * without CONFIG_KALLSYMS_ALL does not find their addresses, and refuses the program.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct rq {
	int cpu;
} __attribute__((preserve_access_index));

extern const struct rq runqueues __ksym;
extern const int bpf_prog_active __ksym __weak;

int active = -1, cpu_of_queue = -1;

SEC("raw_tp/sys_enter")
int see(void *ctx)
{
	const struct rq *queue = bpf_per_cpu_ptr(&runqueues, 0);

	if (queue)
		cpu_of_queue = queue->cpu;
	if (&bpf_prog_active)
		active = *(const int *)bpf_this_cpu_ptr(&bpf_prog_active);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
