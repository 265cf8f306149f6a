// Every kind of CO-RE relocation, one per program, against types as this program believes them to be.
// core_target.bpf.c has them as they "really" are, and for each program the value that relocation must find.
// A program that has no value there cannot be satisfied: it must become poison.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct point {
	int x;
	int y;
} __attribute__((preserve_access_index));

enum shade { SHADE_LIGHT, SHADE_DARK, SHADE_GONE };

enum wide { WIDE_VALUE = 1ULL << 40 };

struct sample {
	int first;
	struct point at;
	struct point corners[4];
	int grid[2][3];
	union {
		unsigned int word;
		struct {
			unsigned short low;
			unsigned short high;
		};
	};
	unsigned int narrow : 5;
	int below_zero : 7;
	unsigned int spread : 20;
	unsigned int grows;
	unsigned long shrinks;
	int signed_grows;
	const void *pointer;
	enum shade shade;
	unsigned char bytes[8];
	unsigned int becomes_signed;
	int gone;
	int other_kind;
	int becomes_bits;
	float ratio;
	struct point tail[];
} __attribute__((preserve_access_index));

// A flavour: the same target type, seen with other members.
struct sample___later {
	long only_in_target;
} __attribute__((preserve_access_index));

struct absent {
	int member;
} __attribute__((preserve_access_index));

union kind_changed {
	int member;
} __attribute__((preserve_access_index));

struct fewer_members {
	int a;
	struct point *behind_pointer;
};

struct other_member_type {
	int a;
};

struct declared_here;
struct defined_here {
	int member;
};

struct matching {
	int counts[4];
	struct declared_here *declared_here;
	struct defined_here *defined_here;
	void *anything;
	void (*call)(struct point *, long);
	union {
		int a;
		long b;
	};
	struct point at;
};

struct other_array_length {
	int counts[4];
};

struct other_call {
	void (*call)(struct point *, long);
};

struct other_union {
	union {
		int a;
	};
};

union matching_union {
	int a;
};

typedef int number;
typedef int pair[2];
typedef struct point *point_pointer;
typedef void (*handler)(void);
typedef int (*callback)(struct point *, int);
typedef int (*callback_arguments)(struct point *, int);

#define PROGRAM(name) SEC("socket") unsigned long name

// offset, size, existence and signedness of fields

PROGRAM(offset_first)(void) { return bpf_core_field_offset(struct sample, first); }
PROGRAM(offset_nested)(void) { return bpf_core_field_offset(struct sample, at.y); }
PROGRAM(offset_struct)(void) { return bpf_core_field_offset(struct sample, at); }
PROGRAM(offset_in_array)(void) { return bpf_core_field_offset(struct sample, corners[3].y); }
PROGRAM(offset_in_matrix)(void) { return bpf_core_field_offset(struct sample, grid[1][2]); }
PROGRAM(offset_anonymous)(void) { return bpf_core_field_offset(struct sample, high); }
PROGRAM(offset_flexible)(void) { return bpf_core_field_offset(struct sample, tail[5].y); }
PROGRAM(offset_flavour)(void) { return bpf_core_field_offset(struct sample___later, only_in_target); }
PROGRAM(offset_out_of_bounds)(void) { return bpf_core_field_offset(struct sample, bytes[7]); }
PROGRAM(offset_float)(void) { return bpf_core_field_offset(struct sample, ratio); }
PROGRAM(offset_gone)(void) { return bpf_core_field_offset(struct sample, gone); }
PROGRAM(offset_other_kind)(void) { return bpf_core_field_offset(struct sample, other_kind); }
PROGRAM(offset_absent)(void) { return bpf_core_field_offset(struct absent, member); }
PROGRAM(offset_kind_changed)(void) { return bpf_core_field_offset(union kind_changed, member); }
PROGRAM(offset_third_element)(struct sample *s) { return (unsigned long)&s[2].at.y; }

PROGRAM(size_nested)(void) { return bpf_core_field_size(struct sample, at); }
PROGRAM(size_array)(void) { return bpf_core_field_size(struct sample, corners); }
PROGRAM(size_element)(void) { return bpf_core_field_size(struct sample, grid[1]); }
PROGRAM(size_grows)(void) { return bpf_core_field_size(struct sample, grows); }
PROGRAM(size_gone)(void) { return bpf_core_field_size(struct sample, gone); }

PROGRAM(exists_first)(void) { return bpf_core_field_exists(struct sample, first); }
PROGRAM(exists_flavour)(void) { return bpf_core_field_exists(struct sample___later, only_in_target); }
PROGRAM(exists_out_of_bounds)(void) { return bpf_core_field_exists(struct sample, bytes[7]); }
PROGRAM(exists_gone)(void) { return bpf_core_field_exists(struct sample, gone); }
PROGRAM(exists_other_kind)(void) { return bpf_core_field_exists(struct sample, other_kind); }
PROGRAM(exists_absent)(void) { return bpf_core_field_exists(struct absent, member); }
PROGRAM(exists_kind_changed)(void) { return bpf_core_field_exists(union kind_changed, member); }

PROGRAM(signed_first)(struct sample *s) { return __CORE_RELO(s, first, SIGNED); }
PROGRAM(signed_becomes_signed)(struct sample *s) { return __CORE_RELO(s, becomes_signed, SIGNED); }
PROGRAM(signed_enum)(struct sample *s) { return __CORE_RELO(s, shade, SIGNED); }

// bit fields: the five facts that together extract one

#define BITFIELD(field) \
	PROGRAM(bits_##field##_offset)(struct sample *s) { return __CORE_RELO(s, field, BYTE_OFFSET); } \
	PROGRAM(bits_##field##_size)(struct sample *s) { return __CORE_RELO(s, field, BYTE_SIZE); } \
	PROGRAM(bits_##field##_signed)(struct sample *s) { return __CORE_RELO(s, field, SIGNED); } \
	PROGRAM(bits_##field##_lshift)(struct sample *s) { return __CORE_RELO(s, field, LSHIFT_U64); } \
	PROGRAM(bits_##field##_rshift)(struct sample *s) { return __CORE_RELO(s, field, RSHIFT_U64); }

BITFIELD(narrow)
BITFIELD(below_zero)
BITFIELD(spread)
BITFIELD(grows)
BITFIELD(signed_grows)
BITFIELD(becomes_bits)

// loads and stores: the offset is in the instruction, and so is the size

PROGRAM(load_nested)(struct sample *s) { return s->at.y; }
PROGRAM(load_grows)(struct sample *s) { return s->grows; }
PROGRAM(load_shrinks)(struct sample *s) { return s->shrinks; }
PROGRAM(load_pointer)(struct sample *s) { return (unsigned long)s->pointer; }
PROGRAM(load_byte)(struct sample *s) { return s->bytes[1]; }
PROGRAM(load_signed_grows)(struct sample *s) { return s->signed_grows; }
PROGRAM(load_becomes_signed)(struct sample *s) { return s->becomes_signed; }
PROGRAM(load_becomes_bits)(struct sample *s) { return s->becomes_bits; }
PROGRAM(load_gone)(struct sample *s) { return s->gone; }

PROGRAM(store_grows)(struct sample *s, unsigned int value)
{
	s->grows = value;
	return 0;
}

PROGRAM(store_signed_grows)(struct sample *s, int value)
{
	s->signed_grows = value;
	return 0;
}

// types

PROGRAM(type_exists_struct)(void) { return bpf_core_type_exists(struct sample); }
PROGRAM(type_exists_typedef)(void) { return bpf_core_type_exists(number); }
PROGRAM(type_exists_enum)(void) { return bpf_core_type_exists(enum shade); }
PROGRAM(type_exists_array)(void) { return bpf_core_type_exists(pair); }
PROGRAM(type_exists_pointer)(void) { return bpf_core_type_exists(point_pointer); }
PROGRAM(type_exists_handler)(void) { return bpf_core_type_exists(handler); }
PROGRAM(type_exists_callback)(void) { return bpf_core_type_exists(callback); }
PROGRAM(type_exists_callback_arguments)(void) { return bpf_core_type_exists(callback_arguments); }
PROGRAM(type_exists_absent)(void) { return bpf_core_type_exists(struct absent); }
PROGRAM(type_exists_kind_changed)(void) { return bpf_core_type_exists(union kind_changed); }

PROGRAM(type_size_struct)(void) { return bpf_core_type_size(struct sample); }
PROGRAM(type_size_typedef)(void) { return bpf_core_type_size(number); }
PROGRAM(type_size_absent)(void) { return bpf_core_type_size(struct absent); }

PROGRAM(type_matches_point)(void) { return bpf_core_type_matches(struct point); }
PROGRAM(type_matches_fewer)(void) { return bpf_core_type_matches(struct fewer_members); }
PROGRAM(type_matches_all)(void) { return bpf_core_type_matches(struct matching); }
PROGRAM(type_matches_union)(void) { return bpf_core_type_matches(union matching_union); }
PROGRAM(type_matches_array_length)(void) { return bpf_core_type_matches(struct other_array_length); }
PROGRAM(type_matches_other_call)(void) { return bpf_core_type_matches(struct other_call); }
PROGRAM(type_matches_other_union)(void) { return bpf_core_type_matches(struct other_union); }
PROGRAM(type_matches_arguments)(void) { return bpf_core_type_matches(callback_arguments); }
PROGRAM(type_matches_sample)(void) { return bpf_core_type_matches(struct sample); }
PROGRAM(type_matches_other_type)(void) { return bpf_core_type_matches(struct other_member_type); }
PROGRAM(type_matches_shade)(void) { return bpf_core_type_matches(enum shade); }
PROGRAM(type_matches_callback)(void) { return bpf_core_type_matches(callback); }
PROGRAM(type_matches_absent)(void) { return bpf_core_type_matches(struct absent); }

PROGRAM(type_id_local)(void) { return bpf_core_type_id_local(struct sample); }
PROGRAM(type_id_target)(void) { return bpf_core_type_id_kernel(struct sample); }
PROGRAM(type_id_target_absent)(void) { return bpf_core_type_id_kernel(struct absent); }

// enumerators

PROGRAM(enumval_exists_dark)(void) { return bpf_core_enum_value_exists(enum shade, SHADE_DARK); }
PROGRAM(enumval_exists_gone)(void) { return bpf_core_enum_value_exists(enum shade, SHADE_GONE); }
PROGRAM(enumval_dark)(void) { return bpf_core_enum_value(enum shade, SHADE_DARK); }
PROGRAM(enumval_light)(void) { return bpf_core_enum_value(enum shade, SHADE_LIGHT); }
PROGRAM(enumval_gone)(void) { return bpf_core_enum_value(enum shade, SHADE_GONE); }
PROGRAM(enumval_wide)(void) { return bpf_core_enum_value(enum wide, WIDE_VALUE); }

// what a real program does: the reads that cannot be satisfied are behind a check

PROGRAM(guarded)(struct sample *s)
{
	if (bpf_core_field_exists(s->gone))
		return s->gone;
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
