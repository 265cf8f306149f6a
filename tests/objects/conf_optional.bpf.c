// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs that are not loaded by default, beside one that is; they share a subprogram, a map and a section. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, int);
} used_by_optional SEC(".maps");

static __noinline int shared(int key)
{
	int *value = bpf_map_lookup_elem(&used_by_optional, &key);

	return value ? *value : key;
}

SEC("raw_tp/sys_enter")
int usual(void *ctx)
{
	return shared(1);
}

SEC("?raw_tp/sys_enter")
int optional(void *ctx)
{
	return shared(2);
}

SEC("?kprobe/no_such_function")
int other(void *ctx)
{
	return shared(3);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
