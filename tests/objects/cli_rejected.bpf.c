// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program that the verifier rejects: it follows a pointer that may be NULL. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} values SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getpgid")
int no_null_check(void)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&values, &zero);

	return *value;
}

char LICENSE[] SEC("license") = "GPL";
