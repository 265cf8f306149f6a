// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Maps that are pinned by their names, and one that says that it is not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, int);
	__type(value, long);
} conf_pinned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, int);
	__type(value, long);
} conf_pinned_with_a_long_name SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_NONE);
	__type(key, int);
	__type(value, long);
} not_pinned SEC(".maps");

SEC("raw_tp/sys_enter")
int use(void *ctx)
{
	int key = 1;

	return bpf_map_lookup_elem(&conf_pinned, &key) == bpf_map_lookup_elem(&not_pinned, &key);
}

/* Loaded alone after the other, this one finds the maps pinned already. */
SEC("raw_tp/sys_enter")
int use_again(void *ctx)
{
	int key = 1;

	return bpf_map_lookup_elem(&conf_pinned_with_a_long_name, &key) != 0;
}

SEC("?raw_tp/sys_enter")
int not_by_default(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
