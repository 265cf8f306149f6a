// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Functions of the kernel that programs may call. The parameters of the declarations have no names, which the kernel's
 * verification of BTF wants.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
};

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern struct task_struct *bpf_task_from_pid(int) __ksym;
extern void bpf_task_release(struct task_struct *) __ksym;
extern const int bpf_prog_active __ksym __weak;

int pid = 1, found = -1;

SEC("syscall")
int call(void *ctx)
{
	struct task_struct *task;

	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	task = bpf_task_from_pid(pid);
	found = 0;
	if (task) {
		found = 1;
		bpf_task_release(task);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
