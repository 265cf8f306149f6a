// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Calls of kernel functions. All are weak, so that the object also loads where they do not exist; what follows three
 * underscores is no part of a function's name.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;
extern struct task_struct *bpf_task_from_pid(int pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;
extern struct task_struct *bpf_task_from_pid___other(int pid) __ksym __weak;
extern int function_that_does_not_exist(int number) __ksym __weak;

SEC("syscall")
int call(void *ctx)
{
	struct task_struct *task;
	int tgid = 0;

	bpf_rcu_read_lock();
	task = bpf_task_from_pid(1);
	if (task) {
		tgid = task->tgid;
		bpf_task_release(task);
	}
	bpf_rcu_read_unlock();
	return tgid;
}

SEC("syscall")
int call_if_it_exists(void *ctx)
{
	return function_that_does_not_exist ? function_that_does_not_exist(3) : 4;
}

SEC("syscall")
int call_unguarded(void *ctx)
{
	return function_that_does_not_exist(3);
}

SEC("syscall")
int call_flavour(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid___other ? bpf_task_from_pid___other(1) : NULL;

	if (task)
		bpf_task_release(task);
	return 0;
}

static __noinline int subprogram(int pid)
{
	struct task_struct *task = bpf_task_from_pid(pid);

	if (!task)
		return 0;
	bpf_task_release(task);
	return 1;
}

SEC("syscall")
int call_in_subprogram(void *ctx)
{
	return subprogram(1);
}

char LICENSE[] SEC("license") = "GPL";
