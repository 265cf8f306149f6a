// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A kernel function with other arguments than the kernel's. It is weak, and so counts as missing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int bpf_rcu_read_lock(int *number) __ksym __weak;

SEC("syscall")
int call(void *ctx)
{
	int number = 0;

	return bpf_rcu_read_lock ? bpf_rcu_read_lock(&number) : 5;
}

char LICENSE[] SEC("license") = "GPL";
