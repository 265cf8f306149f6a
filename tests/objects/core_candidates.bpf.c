// A target may have several types of one name.  These programs run against the two structs of
// core_candidates_target.bpf.c, in this order.  The last one asks for a bit field that no load can read.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct twin {
	int same_place;
	int other_place;
	int other_size;
	int only_in_first;
	int only_in_second;
} __attribute__((preserve_access_index));

// The same for the target, and a type of its own here.
struct twin___again {
	int other_place;
} __attribute__((preserve_access_index));

struct unreadable {
	unsigned long field : 60;
} __attribute__((preserve_access_index));

#define PROGRAM(name) SEC("socket") unsigned long name

PROGRAM(agree)(void) { return bpf_core_field_offset(struct twin, same_place); }
PROGRAM(conflicting_offsets)(void) { return bpf_core_field_offset(struct twin, other_place); }
PROGRAM(conflicting_sizes)(void) { return bpf_core_field_size(struct twin, other_size); }
PROGRAM(conflicting_ids)(void) { return bpf_core_type_id_kernel(struct twin); }
PROGRAM(both_exist)(void) { return bpf_core_type_exists(struct twin); }
PROGRAM(first_only)(void) { return bpf_core_field_offset(struct twin, only_in_first); }
PROGRAM(after_first_only)(void) { return bpf_core_field_offset(struct twin, other_place); }
PROGRAM(second_after_first_only)(void) { return bpf_core_field_exists(struct twin, only_in_second); }
PROGRAM(again_after_first_only)(void) { return bpf_core_field_offset(struct twin___again, other_place); }
PROGRAM(bits_across_nine_bytes)(struct unreadable *u) { return __CORE_RELO(u, field, BYTE_OFFSET); }

char LICENSE[] SEC("license") = "GPL";
