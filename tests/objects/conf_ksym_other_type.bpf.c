// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A kernel variable declared with a structure of another name: the loader does not mind. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int tgid;
};

extern const struct task_struct runqueues __ksym;

SEC("raw_tp/sys_enter")
int other_type(void *ctx)
{
	const struct task_struct *task = bpf_this_cpu_ptr(&runqueues);

	return task->tgid;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
