// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Two arenas; an object can have one. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, 33);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
} first SEC(".maps"), second SEC(".maps");

SEC("syscall")
int use(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
