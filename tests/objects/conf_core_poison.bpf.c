// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* CO-RE that no kernel can satisfy: the loader puts in an instruction which must not be reached. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct inner {
	int never;
};

struct task_struct {
	int tgid;
	int never_existed;
	int never_bits : 3;
	struct inner comm;
	struct inner real_parent;
};

struct no_such_structure {
	int member;
	unsigned char byte;
};

#pragma clang attribute pop

#define PROGRAM(name) \
	SEC("raw_tp/sched_switch") \
	unsigned long name(struct bpf_raw_tracepoint_args *ctx)
#define RETURNS(name, expression) \
	PROGRAM(name) \
	{ \
		return expression; \
	}
#define TASK ((struct task_struct *)ctx->args[1])
#define NONE ((struct no_such_structure *)ctx->args[1])

RETURNS(guarded, bpf_core_field_exists(TASK->never_existed) ? BPF_CORE_READ(TASK, never_existed) : 3)
RETURNS(unguarded, BPF_CORE_READ(TASK, never_existed))
RETURNS(unguarded_size, bpf_core_field_size(TASK->never_existed))
RETURNS(unguarded_bits, BPF_CORE_READ_BITFIELD_PROBED(TASK, never_bits))
RETURNS(unguarded_type, BPF_CORE_READ(NONE, member))
RETURNS(unguarded_load, NONE->byte + NONE->member)
RETURNS(other_kind, BPF_CORE_READ(TASK, comm.never))
RETURNS(other_kind_pointer, BPF_CORE_READ(TASK, real_parent.never))

PROGRAM(unguarded_store)
{
	NONE->member = 5;
	return 0;
}

static __noinline int subprogram(struct task_struct *task)
{
	return BPF_CORE_READ(task, never_existed);
}

RETURNS(in_subprogram, bpf_core_field_exists(TASK->never_existed) ? subprogram(TASK) : BPF_CORE_READ(TASK, tgid))

char LICENSE[] SEC("license") = "GPL";
