// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* One of two objects that are linked into one: it uses what the other has, and the other what it has. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, long);
} of_both SEC(".maps");

extern int number_of_b;
extern int function_of_b(int value);
extern int LINUX_KERNEL_VERSION __kconfig;

int number_of_a = 3;
const volatile int constant_of_a = 4;
static volatile int same_name = 5;

__weak int function_of_both(int value)
{
	return value + same_name;
}

__hidden int hidden_of_a(int value)
{
	return value + number_of_a;
}

static __noinline int static_of_both(int value)
{
	return value * number_of_b;
}

SEC("raw_tp/sched_switch")
int of_a(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[1];
	int key = constant_of_a;

	bpf_probe_read_kernel(&key, sizeof(key), &task->tgid);
	bpf_map_lookup_elem(&of_both, &key);
	return function_of_b(key) + static_of_both(1) + function_of_both(2) + LINUX_KERNEL_VERSION;
}

char LICENSE[] SEC("license") = "GPL";
