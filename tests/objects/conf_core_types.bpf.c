// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* CO-RE: every question that can be asked about a type, and about the values of an enumeration. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct only_here {
	int number;
};

struct pid_namespace {
	unsigned int level;
};

struct pid_namespace___none {
	char level_that_does_not_exist[3];
};

struct list_head {
	struct list_head *next, *prev;
};

struct list_head___other {
	int next, prev;
};

union sigval {
	int sival_int;
};

typedef struct {
	unsigned long pgprot;
} pgprot_t;

typedef unsigned int gfp_t;
typedef int (*notifier_fn_t)(void *block, unsigned long action, void *data);
typedef int typedef_that_does_not_exist;

enum pid_type {
	PIDTYPE_TGID = 77,
	PIDTYPE_PGID = 78,
	PIDTYPE_NEVER = 79,
};

enum enum_that_does_not_exist {
	NO_VALUE_1 = 1,
};

enum perf_callchain_context {
	PERF_CONTEXT_KERNEL = 1ULL << 40,
	PERF_CONTEXT_MAX = 2ULL << 40,
	PERF_CONTEXT_NEVER = 3ULL << 40,
};

enum print_line_t {
	TRACE_TYPE_PARTIAL_LINE = -5,
	TRACE_TYPE_HANDLED = 2,
};

#define RETURNS(name, expression) \
	SEC("socket") \
	unsigned long name(void *ctx) \
	{ \
		return expression; \
	}

RETURNS(id_local, bpf_core_type_id_local(struct only_here) + bpf_core_type_id_local(gfp_t))
RETURNS(id_structure, bpf_core_type_id_kernel(struct pid_namespace))
RETURNS(id_typedef, bpf_core_type_id_kernel(gfp_t) + bpf_core_type_id_kernel(pgprot_t))
RETURNS(id_enum, bpf_core_type_id_kernel(enum pid_type))
RETURNS(id_union, bpf_core_type_id_kernel(union sigval))
RETURNS(id_missing, bpf_core_type_id_kernel(struct only_here))
RETURNS(exists, bpf_core_type_exists(struct list_head) + 2 * bpf_core_type_exists(union sigval))
RETURNS(exists_typedef, bpf_core_type_exists(notifier_fn_t) + 2 * bpf_core_type_exists(typedef_that_does_not_exist))
RETURNS(exists_enum, bpf_core_type_exists(enum pid_type) + 2 * bpf_core_type_exists(enum enum_that_does_not_exist))
RETURNS(exists_missing, bpf_core_type_exists(struct only_here))
RETURNS(size, bpf_core_type_size(struct pid_namespace) + bpf_core_type_size(union sigval))
RETURNS(size_typedef, bpf_core_type_size(gfp_t) + bpf_core_type_size(notifier_fn_t))
RETURNS(size_missing, bpf_core_type_size(struct only_here))
RETURNS(matches, bpf_core_type_matches(struct list_head) + 2 * bpf_core_type_matches(struct list_head___other))
RETURNS(matches_part,
	bpf_core_type_matches(struct pid_namespace) +
	2 * bpf_core_type_matches(struct pid_namespace___none))
RETURNS(matches_enum, bpf_core_type_matches(enum pid_type) + 2 * bpf_core_type_matches(enum print_line_t))
RETURNS(matches_typedef, bpf_core_type_matches(gfp_t) + 2 * bpf_core_type_matches(notifier_fn_t))
RETURNS(matches_missing, bpf_core_type_matches(struct only_here))
RETURNS(value, bpf_core_enum_value(enum pid_type, PIDTYPE_TGID) + bpf_core_enum_value(enum pid_type, PIDTYPE_PGID))
RETURNS(value_exists,
	bpf_core_enum_value_exists(enum pid_type, PIDTYPE_TGID) +
	2 * bpf_core_enum_value_exists(enum pid_type, PIDTYPE_NEVER))
RETURNS(value_missing, bpf_core_enum_value(enum pid_type, PIDTYPE_NEVER))
RETURNS(value_of_missing, bpf_core_enum_value_exists(enum enum_that_does_not_exist, NO_VALUE_1))
RETURNS(value_64, bpf_core_enum_value(enum perf_callchain_context, PERF_CONTEXT_KERNEL))
RETURNS(value_64_max, bpf_core_enum_value(enum perf_callchain_context, PERF_CONTEXT_MAX))
RETURNS(value_64_exists, bpf_core_enum_value_exists(enum perf_callchain_context, PERF_CONTEXT_NEVER))
RETURNS(value_of_signed, bpf_core_enum_value(enum print_line_t, TRACE_TYPE_PARTIAL_LINE))

char LICENSE[] SEC("license") = "GPL";
