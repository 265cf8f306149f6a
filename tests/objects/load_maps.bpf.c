// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Maps that Python and a program share. For the process target_pid the program counts its calls in each of them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ENTRIES 8

struct place {
	__u32 pid;
	char comm[16];
};

struct seen {
	__u64 times;
	__s32 nice;
	struct {
		__u16 low, high;
	} range;
};

const volatile __u32 target_pid = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct place);
	__type(value, struct seen);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __s32);
} slots SEC(".maps");

/* A value of 12 bytes: each CPU's copy takes 16. */
struct triple {
	__u32 a, b, c;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct triple);
} by_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} hash_by_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} recent_by_cpu SEC(".maps");

/* Sizes only, no types. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__uint(key_size, 2);
	__uint(value_size, 5);
} untyped SEC(".maps");

static __always_inline void add(void *map, __u32 key)
{
	__u64 one = 1, *value = bpf_map_lookup_elem(map, &key);

	if (value)
		*value += 1;
	else
		bpf_map_update_elem(map, &key, &one, BPF_ANY);
}

SEC("tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int count_calls(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, zero = 0, one = 1;
	struct place place = {.pid = pid};
	struct seen *seen, first = {.times = 1, .nice = -5, .range = {.low = 3, .high = 4}};
	struct triple *triple;
	__s32 *slot;

	if (pid != target_pid)
		return 0;
	add(&counts, pid);
	add(&hash_by_cpu, pid);
	add(&recent, pid);
	add(&recent_by_cpu, pid);

	bpf_get_current_comm(place.comm, sizeof(place.comm));
	seen = bpf_map_lookup_elem(&places, &place);
	if (seen)
		seen->times += 1;
	else
		bpf_map_update_elem(&places, &place, &first, BPF_ANY);

	slot = bpf_map_lookup_elem(&slots, &one);
	if (slot)
		*slot -= 1;
	triple = bpf_map_lookup_elem(&by_cpu, &zero);
	if (triple) {
		triple->a += 1;
		triple->b += 2;
		triple->c = bpf_get_smp_processor_id();
	}
	bpf_map_lookup_elem(&untyped, &place);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
