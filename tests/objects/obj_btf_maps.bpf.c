// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Map definitions in BTF, with every attribute that libbpf 1.1 knows and every way to write it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __u32 pid;

struct key {
	pid pid;
	__u16 port;
	char name[10];
};

struct value {
	__u64 count;
	struct key last;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, const struct key);
	__type(value, struct value);
} types SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16);
	__uint(key_size, 12);
	__uint(value_size, sizeof(struct value));
} sizes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(key_size, sizeof(pid));
	__type(key, pid);
	__type(value, struct value[3]);
	__uint(value_size, 3 * sizeof(struct value));
} types_and_sizes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 16);
	__type(value, __u64);
	__uint(map_extra, 5);
} extra SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, pid);
	__type(value, pid);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE);
	__uint(numa_node, 1);
} flags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, pid);
	__type(value, pid);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} pinned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, pid);
	__type(value, pid);
	__uint(pinning, LIBBPF_PIN_NONE);
} not_pinned SEC(".maps");

/* A type by name, and two maps of it. */
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__uint(map_flags, BPF_F_INNER_MAP);
	__type(key, __u32);
	__type(value, struct value);
} inner_one SEC(".maps"), inner_two SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u64);
	__array(values, struct inner);
} of_maps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__array(values, struct inner);
} of_maps_filled SEC(".maps") = {
	.values = {[0] = &inner_one, [3] = &inner_two, [4] = &inner_one},
};

extern int tail(void *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(void *));
} of_programs SEC(".maps") = {
	.values = {[1] = tail},
};

SEC("tracepoint/sched/sched_switch")
int tail(void *ctx)
{
	struct key key = {};

	bpf_map_lookup_elem(&types, &key);
	bpf_map_lookup_elem(&pinned, &key);
	bpf_tail_call(ctx, &of_programs, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
