// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Map attributes of 64 bits, which later versions of bpf_helpers.h let one write with __ulong. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __ulong(name, val) enum { UNIQUE(__LINE__) = val } name
#define UNIQUE(line) UNIQUE_(line)
#define UNIQUE_(line) value_in_line_##line

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 16);
	__type(value, __u64);
	__ulong(map_extra, 6);
} fits_32_bits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 16);
	__type(value, __u64);
	__ulong(map_extra, 0xfedcba9876543210);
} needs_64_bits SEC(".maps");
