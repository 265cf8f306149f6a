// Two types that have one name once the flavour is taken off, as in a kernel whose BTF could not be merged to one.

struct twin {
	long padding;
	int same_place;
	int other_place;
	int other_size;
	int only_in_first;
};

struct twin___2 {
	int other_place;
	int same_place __attribute__((aligned(8)));
	int only_in_second;
	long long other_size __attribute__((packed));
};

struct unreadable {
	unsigned long before : 7;
	unsigned long field : 60;
} __attribute__((packed));

_Static_assert(__builtin_offsetof(struct twin, same_place) == __builtin_offsetof(struct twin___2, same_place), "");
_Static_assert(__builtin_offsetof(struct twin, other_size) == __builtin_offsetof(struct twin___2, other_size), "");

const unsigned long same_place = __builtin_offsetof(struct twin, same_place);
const unsigned long only_in_first = __builtin_offsetof(struct twin, only_in_first);
const unsigned long other_place_in_first = __builtin_offsetof(struct twin, other_place);

struct unreadable *unreadable;
struct twin *first;
struct twin___2 *second;
