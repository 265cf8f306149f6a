// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Maps and variables, but no program. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int number = 5;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, int);
} counts SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
