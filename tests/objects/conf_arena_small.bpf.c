// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* An arena of one page, with more variables than that. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ARENA __attribute__((address_space(1)))

struct {
	__uint(type, 33);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
} arena SEC(".maps");

int ARENA numbers[20000];

SEC("syscall")
int use(void *ctx)
{
	return numbers[19999];
}

char LICENSE[] SEC("license") = "GPL";
