// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Types of every kind of BTF that clang writes. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define TYPE_TAG(text) __attribute__((btf_type_tag(text)))
#define DECL_TAG(text) __attribute__((btf_decl_tag(text)))

struct declared_only;

enum small { SMALL_NEGATIVE = -1, SMALL = 1 };
enum large { LARGE = 1ULL << 40 };
enum large_negative { LARGE_NEGATIVE = -(1LL << 40) };

union choice {
	float real;
	double more_real;
	int bits : 5;
};

typedef const volatile struct many {
	int TYPE_TAG("user") *tagged;
	int *restrict restricted;
	struct declared_only *declared;
	enum small small : 4;
	enum large large;
	enum large_negative negative;
	union choice choice;
	int matrix[2][3];
	int (*function)(int, const char *, ...);
	int named DECL_TAG("member tag");
	struct {
		int in_anonymous;
	};
	_Bool flag;
	__int128 wide;
} many_t DECL_TAG("typedef tag");

many_t *many DECL_TAG("variable tag");

__noinline int with_tags(struct many *value DECL_TAG("argument tag")) DECL_TAG("function tag");
__noinline int with_tags(struct many *value)
{
	return value ? value->flag : 1;
}

SEC("raw_tp/sys_enter")
int use(void *ctx)
{
	return with_tags(NULL) + (many != NULL);
}

char LICENSE[] SEC("license") = "GPL";
