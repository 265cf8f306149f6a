// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The other object of two that are linked into one. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int prio;
	int tgid;
} __attribute__((preserve_access_index));

extern struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, long);
} of_both SEC(".maps");

extern int hidden_of_a(int value);
extern int LINUX_KERNEL_VERSION __kconfig;

int number_of_b = 6;
const volatile int constant_of_b = 7;
static volatile int same_name = 8;

int function_of_both(int value)
{
	return value - same_name;
}

static __noinline int static_of_both(int value)
{
	return value ^ constant_of_b;
}

__noinline int function_of_b(int value)
{
	return static_of_both(value) + hidden_of_a(value);
}

SEC("raw_tp/sched_switch")
int of_b(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[1];
	int key = 0, prio = 0;

	bpf_probe_read_kernel(&key, sizeof(key), &task->tgid);
	bpf_probe_read_kernel(&prio, sizeof(prio), &task->prio);
	bpf_map_lookup_elem(&of_both, &key);
	return function_of_b(prio) + function_of_both(3) + LINUX_KERNEL_VERSION;
}

char LICENSE[] SEC("license") = "GPL";
