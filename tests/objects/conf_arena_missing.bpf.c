// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A variable that is to be in an arena, and no arena. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, int);
} array SEC(".maps");

int __attribute__((address_space(1))) number;

SEC("syscall")
int use(void *ctx)
{
	return number;
}

char LICENSE[] SEC("license") = "GPL";
