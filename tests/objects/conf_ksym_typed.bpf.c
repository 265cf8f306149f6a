// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Kernel variables with a type: found by BTF. The kernel describes those that each CPU has one of. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct rq {
	int cpu;
} __attribute__((preserve_access_index));

extern const struct rq runqueues __ksym;
extern const int bpf_prog_active __ksym;
extern const struct rq variable_that_does_not_exist __ksym __weak;

SEC("raw_tp/sys_enter")
int of_this_cpu(void *ctx)
{
	const int *active = bpf_this_cpu_ptr(&bpf_prog_active);

	return *active;
}

SEC("raw_tp/sys_enter")
int of_cpu_0(void *ctx)
{
	const struct rq *queue = bpf_per_cpu_ptr(&runqueues, 0);

	return queue ? queue->cpu : -1;
}

SEC("raw_tp/sys_enter")
int weak_variable(void *ctx)
{
	return &variable_that_does_not_exist ? variable_that_does_not_exist.cpu : -1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
