// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A function that no kernel has, and the program cannot do without. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
};

extern struct task_struct *bpf_task_from_pids(int pid) __ksym;

SEC("syscall")
int call(void *ctx)
{
	return !!bpf_task_from_pids(1);
}

char LICENSE[] SEC("license") = "GPL";
