// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Maps of maps: with and without maps in them from the start, with gaps, and defined in each notation. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, long);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, int);
	__array(values, struct inner);
} filled SEC(".maps") = {
	.values = {[1] = &second, [5] = &first},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__uint(key_size, sizeof(int));
	__array(values, struct inner);
} filled_hash SEC(".maps") = {
	.values = {&first, &second},
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 3);
		__uint(map_flags, BPF_F_INNER_MAP);
		__type(key, int);
		__type(value, int);
	});
} empty SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, int);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, 5000);
	});
} of_rings SEC(".maps");

SEC("raw_tp/sys_enter")
int use(void *ctx)
{
	int key = 1, inner_key = 2;
	void *map = bpf_map_lookup_elem(&filled, &key);

	if (map)
		bpf_map_lookup_elem(map, &inner_key);
	map = bpf_map_lookup_elem(&filled_hash, &key);
	return bpf_map_lookup_elem(&empty, &key) != map;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
