// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A kernel variable, which is a structure, declared as a number: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern const int runqueues __ksym;

SEC("raw_tp/sys_enter")
int wrong_type(void *ctx)
{
	const int *number = bpf_this_cpu_ptr(&runqueues);

	return *number;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
