// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A map whose name is pinned already (by conf_pinning), for a map of other sizes: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, int);
	__type(value, char);
} conf_pinned SEC(".maps");

SEC("raw_tp/sys_enter")
int use(void *ctx)
{
	int key = 1;

	return bpf_map_lookup_elem(&conf_pinned, &key) != 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
