// The types of core_local.bpf.c as the kernel would have them: this object's BTF stands in for the kernel's.
// For each program there, a constant of the same name holds what its relocation must find, computed by the compiler;
// for a load or store NAME, NAME_width is the number of bytes that it must move.

#include <stddef.h>

struct point {
	long added;
	int y;
	int x;
};

enum shade { SHADE_DARK = -7, SHADE_LIGHT = 3 };

enum wide { WIDE_VALUE = 5ULL << 33 };

struct sample {
	unsigned char added[24];
	struct point at;
	unsigned long grows;
	struct {
		long only_in_target;
		union {
			struct {
				unsigned int added2;
				unsigned int below_zero_before : 9;
				int below_zero : 7;
				unsigned int spread_before : 14;
				unsigned int spread : 18;
				unsigned int narrow : 3;
			};
			long unused[4];
		};
	};
	const int first;
	struct point corners[6];
	union {
		unsigned int word;
		unsigned short halves[2];
		struct {
			unsigned char added3[6];
			unsigned short high;
		};
	};
	unsigned short grid[5][4];
	unsigned int shrinks;
	long signed_grows;
	struct point *pointer;
	enum shade shade;
	unsigned char bytes[4];
	int becomes_signed;
	int gone_by;
	struct point other_kind;
	int becomes_bits : 11;
	double ratio;
	struct point tail[];
};

struct kind_changed {
	int member;
};

struct fewer_members {
	unsigned long added;
	struct point *behind_pointer;
	int a;
	int b;
};

struct other_member_type {
	long a;
};

struct declared_here {
	int member;
};
struct defined_here;

struct matching {
	struct point at;
	union {
		long b;
		int a;
		char c;
	};
	struct defined_here *defined_here;
	struct declared_here *declared_here;
	void *anything;
	void (*call)(struct point *, long);
	int counts[4];
};

struct other_array_length {
	int counts[5];
};

struct other_call {
	void (*call)(long, struct point *);
};

struct other_union {
	struct {
		int a;
	};
};

union matching_union {
	char c;
	int a;
};

typedef long number;
typedef unsigned char pair[3];
typedef struct point *point_pointer;
typedef int handler;
typedef int (*callback)(struct point *, int);
typedef int (*callback_arguments)(struct point *, int, int);

struct sample *sample;
struct kind_changed *kind_changed;
struct fewer_members *fewer_members;
struct other_member_type *other_member_type;
struct matching *matching;
struct other_array_length *other_array_length;
struct other_call *other_call;
struct other_union *other_union;
union matching_union *matching_union;
number a_number;
pair a_pair;
point_pointer a_point_pointer;
handler a_handler;
callback a_callback;
callback_arguments another_callback;
enum shade a_shade;
enum wide a_wide;

#define VALUE(name, value) const unsigned long name = (value)

VALUE(offset_first, offsetof(struct sample, first));
VALUE(offset_nested, offsetof(struct sample, at.y));
VALUE(offset_struct, offsetof(struct sample, at));
VALUE(offset_in_array, offsetof(struct sample, corners[3].y));
VALUE(offset_in_matrix, offsetof(struct sample, grid[1][2]));
VALUE(offset_anonymous, offsetof(struct sample, high));
VALUE(offset_flexible, offsetof(struct sample, tail[5].y));
VALUE(offset_flavour, offsetof(struct sample, only_in_target));
VALUE(offset_float, offsetof(struct sample, ratio));
VALUE(offset_third_element, 2 * sizeof(struct sample) + offsetof(struct sample, at.y));

VALUE(size_nested, sizeof(sample->at));
VALUE(size_array, sizeof(sample->corners));
VALUE(size_element, sizeof(sample->grid[1]));
VALUE(size_grows, sizeof(sample->grows));

VALUE(exists_first, 1);
VALUE(exists_flavour, 1);
VALUE(exists_out_of_bounds, 0);
VALUE(exists_gone, 0);
VALUE(exists_other_kind, 0);
VALUE(exists_absent, 0);
VALUE(exists_kind_changed, 0);

VALUE(signed_first, 1);
VALUE(signed_becomes_signed, 1);
VALUE(signed_enum, 1);

#define LOAD(name, field) \
	VALUE(name, offsetof(struct sample, field)); \
	VALUE(name##_width, sizeof(sample->field))

LOAD(load_nested, at.y);
LOAD(load_grows, grows);
LOAD(load_shrinks, shrinks);
LOAD(load_pointer, pointer);
LOAD(load_byte, bytes[1]);
LOAD(load_becomes_signed, becomes_signed);
LOAD(store_grows, grows);

VALUE(type_exists_struct, 1);
VALUE(type_exists_typedef, 1);
VALUE(type_exists_enum, 1);
VALUE(type_exists_array, 1);
VALUE(type_exists_pointer, 1);
VALUE(type_exists_handler, 0);
VALUE(type_exists_callback, 1);
VALUE(type_exists_callback_arguments, 0);
VALUE(type_exists_absent, 0);
VALUE(type_exists_kind_changed, 0);
VALUE(type_size_struct, sizeof(struct sample));
VALUE(type_size_typedef, sizeof(number));
VALUE(type_size_absent, 0);
VALUE(type_matches_point, 1);
VALUE(type_matches_fewer, 1);
VALUE(type_matches_all, 1);
VALUE(type_matches_union, 1);
VALUE(type_matches_array_length, 0);
VALUE(type_matches_other_call, 0);
VALUE(type_matches_other_union, 0);
VALUE(type_matches_arguments, 0);
VALUE(type_matches_sample, 0);
VALUE(type_matches_other_type, 0);
VALUE(type_matches_shade, 0);
VALUE(type_matches_callback, 1);
VALUE(type_matches_absent, 0);
VALUE(type_id_target_absent, 0);

VALUE(enumval_exists_dark, 1);
VALUE(enumval_exists_gone, 0);
VALUE(enumval_dark, SHADE_DARK);
VALUE(enumval_light, SHADE_LIGHT);
VALUE(enumval_wide, WIDE_VALUE);

// Bit fields are compared by value: extracting NAME from these bytes must give bits_NAME.

#define NARROW 5
#define BELOW_ZERO -42
#define SPREAD 0x2a5a5
#define GROWS 0xfedcba9876543210
#define SIGNED_GROWS -0x123456789abcdef
#define BECOMES_BITS -700

const struct sample bits_sample = {
	.added = {0x55, 0xaa, 0x55, 0xaa},
	.below_zero_before = 0x155,
	.below_zero = BELOW_ZERO,
	.spread_before = 0x2aaa,
	.spread = SPREAD,
	.narrow = NARROW,
	.grows = GROWS,
	.signed_grows = SIGNED_GROWS,
	.becomes_bits = BECOMES_BITS,
};

VALUE(bits_narrow, NARROW);
VALUE(bits_below_zero, BELOW_ZERO);
VALUE(bits_spread, SPREAD);
VALUE(bits_grows, GROWS);
VALUE(bits_signed_grows, SIGNED_GROWS);
VALUE(bits_becomes_bits, BECOMES_BITS);
