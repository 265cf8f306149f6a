// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Programs that the verifier rejects, each for a reason of its own. None is loaded unless asked for.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* A hash: since Linux 6.14 the verifier knows that element 0 of an array is always there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} values SEC(".maps");

const volatile __u32 constant = 1;

SEC("?tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int fine(void)
{
	return constant;
}

SEC("?tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int no_null_check(void)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&values, &zero);

	return *value; /* the verifier stops here */
}

static __attribute__((noinline)) int read_through(__u64 *pointer)
{
	return *pointer; /* in the subprogram */
}

SEC("?tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int bad_in_subprogram(void)
{
	__u32 zero = 0;

	return read_through(bpf_map_lookup_elem(&values, &zero));
}

/* The verifier walks through each turn, and writes some hundred bytes about it. */
#define LONG_LOG(name, turns)								\
	SEC("?tracepoint/syscalls/sys_enter_sched_rr_get_interval")			\
	int name(void)								\
	{										\
		__u32 zero = 0;								\
		volatile __u64 sum = 0;							\
		__u64 *value;								\
											\
		for (int i = 0; i < turns; i++)						\
			sum += i;							\
		value = bpf_map_lookup_elem(&values, &zero);				\
		return *value + sum;							\
	}

LONG_LOG(log_of_100_kilobytes, 400)
LONG_LOG(log_of_megabytes, 10000)

static long (*no_such_helper)(void) = (void *)100000;

SEC("?tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int unknown_helper(void)
{
	return no_such_helper();
}

/* One instruction for each; the kernel takes a million, and the verifier no more steps. */
SEC("?tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int too_many_steps(void)
{
	volatile __u64 sum = 0;

	for (int i = 0; i < 1000000; i++)
		sum += i;
	return sum;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
