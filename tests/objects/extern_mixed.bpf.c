// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Externs of all kinds in one object, with subprograms and variables of its own, and a string "dummy_ksym" in its BTF. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
};

extern void bpf_rcu_read_lock(void) __ksym;
extern const void _stext __ksym;
extern struct task_struct *bpf_task_from_pid(int) __ksym;
extern bool CONFIG_BPF_SYSCALL __kconfig;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_task_release(struct task_struct *) __ksym;
extern unsigned int CONFIG_HZ __kconfig;

const volatile int dummy_ksym = 3;
static volatile int calls;
unsigned long long stext;
int result;

static __attribute__((noinline)) int ticks(int seconds)
{
	calls++;
	bpf_rcu_read_lock();
	stext = (unsigned long long)&_stext;
	bpf_rcu_read_unlock();
	return seconds * CONFIG_HZ;
}

SEC("syscall")
int first(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(dummy_ksym);

	if (task)
		bpf_task_release(task);
	result = ticks(2) + CONFIG_BPF_SYSCALL;
	return result;
}

SEC("syscall")
int second(void *ctx)
{
	return ticks(3);
}

char LICENSE[] SEC("license") = "GPL";
