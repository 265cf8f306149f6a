// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Functions whose address is taken: callbacks of bpf_loop and bpf_for_each_map_elem. A callback can call subprograms and
 * take the address of further callbacks. They are static, since the verifier takes only static ones.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __noinline __attribute__((noinline))

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} results SEC(".maps");

static __noinline __u64 square(__u64 x)
{
	return x * x;
}

static long add_square(__u32 index, __u64 *sum)
{
	*sum += square(index);
	return 0;
}

static long add_value(void *map, __u32 *key, __u64 *value, __u64 *sum)
{
	if (map && *key < 100)
		*sum += *value;
	bpf_loop(2, add_square, sum, 0);
	return 0;
}

static __noinline void keep(__u32 index, __u64 sum)
{
	bpf_map_update_elem(&results, &index, &sum, BPF_ANY);
}

SEC("tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int sum_squares(void)
{
	__u64 sum = square(3);

	bpf_loop(10, add_square, &sum, 0);
	keep(0, sum);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int sum_numbers(void)
{
	__u64 sum = 0;

	bpf_for_each_map_elem(&numbers, add_value, &sum, 0);
	keep(1, sum);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
