// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Programs that share subprograms, for the linker: static, global, hidden and weak ones, called in another order than
 * they stand in the file, along several ways, and some by one program only. Each adds a digit of its own, so that what
 * a program counts tells which functions ran.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __noinline __attribute__((noinline))

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} sums SEC(".maps");

const volatile __u64 step = 1;
__u64 runs = 0;

static __noinline __u64 last(__u64 x)
{
	return x + step;
}

__noinline int unused(int x)
{
	return x * 3;
}

static __noinline __u64 left(__u64 x)
{
	return last(x) + 10 * step;
}

__noinline __u64 right(__u64 x)
{
	return last(x) + 100 * step;
}

__hidden __noinline int count(__u32 *index, __u64 value)
{
	__u64 *sum;

	if (!index)
		return 1;
	sum = bpf_map_lookup_elem(&sums, index);
	if (sum)
		__sync_fetch_and_add(sum, value);
	return 0;
}

__weak __noinline int note(__u32 index)
{
	__u64 sum = left(right(index));

	__sync_fetch_and_add(&runs, 1);
	return count(&index, sum);
}

SEC("tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int first(void)
{
	__u32 index = 0;

	/* right before left, the other way round than they are defined */
	return count(&index, left(right(1)));
}

SEC("tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int second(void)
{
	return note(1);
}

SEC("tracepoint/syscalls/sys_exit_sched_rr_get_interval")
int third(void)
{
	__u32 index = 2;
	__u64 sum = last(0);

	/* the same function twice, and one that was reached already on the way to another */
	sum = left(sum) + left(sum + 1) + last(sum);
	return count(&index, sum) + note(3);
}

SEC("tracepoint/syscalls/sys_exit_sched_rr_get_interval")
int alone(void)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
