// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A legacy map definition that is longer than libbpf's, iproute2's, and asks for something there. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_elf_map {
	__u32 type, key_size, value_size, max_entries, map_flags, id, pinning;
};

struct bpf_elf_map SEC("maps") pinned = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = 4,
	.value_size = 4,
	.max_entries = 1,
	.pinning = 2,
};

char LICENSE[] SEC("license") = "GPL";
