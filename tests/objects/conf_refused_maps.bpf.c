// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Maps that the kernel refuses, with types for keys and values and without: the loader tries again without types. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, char);
	__type(value, int);
} key_too_small SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, 4);
	__uint(value_size, 4);
} no_entries SEC(".maps");

SEC("raw_tp/sys_enter")
int use(void *ctx)
{
	char key = 0;

	return bpf_map_lookup_elem(&key_too_small, &key) == bpf_map_lookup_elem(&no_entries, &key);
}

char LICENSE[] SEC("license") = "GPL";
