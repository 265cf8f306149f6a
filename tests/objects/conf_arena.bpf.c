// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* An arena: memory that programs and user space share at the same address, which is a 64-bit attribute of the map. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ARENA __attribute__((address_space(1)))

struct {
	__uint(type, 33);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 10);
	enum { arena_address = 0x1ULL << 44 } map_extra;
} arena SEC(".maps");

extern void ARENA *bpf_arena_alloc_pages(void *map, void ARENA *address, __u32 count, int node, __u64 flags)
	__ksym __weak;

int ARENA *page;

SEC("syscall")
int use(void *ctx)
{
	page = bpf_arena_alloc_pages(&arena, NULL, 1, -1, 0);
	if (page)
		*page = 3;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
