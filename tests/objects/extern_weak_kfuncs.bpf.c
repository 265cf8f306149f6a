// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Functions that a kernel may have or not: the program asks before it calls. One has a flavour in its name, and one is
 * declared otherwise than it is.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
};

extern struct task_struct *bpf_task_from_pid___flavoured(int pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;
extern void purebpf_missing(int number) __ksym __weak;
extern int bpf_rcu_read_lock(int not_there, int neither) __ksym __weak;

int pid = 1, found = -1, missing = -1, other = -1;

SEC("syscall")
int call(void *ctx)
{
	struct task_struct *task;

	missing = !bpf_task_from_pid___flavoured + !!purebpf_missing;
	if (purebpf_missing)
		purebpf_missing(1);
	other = !!bpf_rcu_read_lock;
	if (bpf_rcu_read_lock)
		other += bpf_rcu_read_lock(1, 2);
	if (bpf_task_from_pid___flavoured) {
		task = bpf_task_from_pid___flavoured(pid);
		found = !!task;
		if (task)
			bpf_task_release(task);
	}
	return 0;
}

SEC("?syscall")
int unguarded(void *ctx)
{
	purebpf_missing(2);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
