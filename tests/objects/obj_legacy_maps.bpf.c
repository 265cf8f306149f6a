// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Legacy map definitions, of all the sizes that the structure has had in the samples of the kernel, in iproute2, BCC,
 * gobpf and libbpf. Where it has more members than libbpf's, the additional ones are 0.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct four_members {
	__u32 type, key_size, value_size, max_entries;
};

struct five_members {
	__u32 type, key_size, value_size, max_entries, map_flags;
};

struct with_inner_map {
	__u32 type, key_size, value_size, max_entries, map_flags, inner_map_idx, numa_node;
};

struct with_pinning {
	__u32 type, key_size, value_size, max_entries, map_flags, pinning;
	char namespace[256];
};

struct with_pinning SEC("maps") pinnable = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = 4,
	.value_size = 24,
	.max_entries = 7,
};

struct four_members SEC("maps") short_one = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = 4,
	.value_size = 8,
	.max_entries = 16,
};

struct five_members SEC("maps") usual = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = 6,
	.value_size = 3,
	.max_entries = 1000000,
	.map_flags = BPF_F_NO_PREALLOC,
};

struct with_inner_map SEC("maps") with_numa_node = {
	.type = BPF_MAP_TYPE_LRU_HASH,
	.key_size = 8,
	.value_size = 16,
	.max_entries = 5,
};

/* What BPF_ANNOTATE_KV_PAIR made: the types of keys and values. */
struct ____btf_map_usual {
	char key[6];
	struct {
		__u8 a, b, c;
	} value;
};
struct ____btf_map_usual __attribute__((section(".maps.usual"), used)) ____btf_map_usual = {};

SEC("tracepoint/sched/sched_switch")
int use_all(void)
{
	char key[8] = {};

	bpf_map_lookup_elem(&usual, key);
	bpf_map_lookup_elem(&short_one, key);
	bpf_map_lookup_elem(&with_numa_node, key);
	bpf_map_lookup_elem(&pinnable, key);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
