// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What no kernel has, and the programs need it: each is refused, and the refusal says what is missing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct {
	int tgid;
	int tgidd;
	int group_leader;
	int start_time;
	int never_existed;
	struct task_struct *real_parent;
	struct task_struct *reel_parent;
};

struct task_structt {
	int tgid;
};

struct pt_regs {
	unsigned long never_existed;
};

#pragma clang attribute pop

enum bpf_attach_type___never {
	BPF_NEVER_EXISTED___never = 1,
};

extern int bpf_never_existed(int number) __ksym __weak;

#define PROGRAM(name, result) \
	SEC("raw_tp/sched_switch") \
	int name(struct bpf_raw_tracepoint_args *ctx) \
	{ \
		return result; \
	}
#define TASK ((struct task_struct *)ctx->args[1])
#define TASKK ((struct task_structt *)ctx->args[1])
#define REGISTERS ((struct pt_regs *)ctx->args[1])

static __noinline int in_subprogram(struct task_struct *task)
{
	return BPF_CORE_READ(task, real_parent, tgidd);
}

PROGRAM(no_member, BPF_CORE_READ(TASK, real_parent, tgidd))
PROGRAM(no_member_on_the_way, BPF_CORE_READ(TASK, reel_parent, tgid))
PROGRAM(no_member_in_a_subprogram, in_subprogram(TASK))
PROGRAM(no_member_of_many, BPF_CORE_READ(TASK, never_existed))
PROGRAM(no_member_of_a_few, BPF_CORE_READ(REGISTERS, never_existed))
PROGRAM(no_type, BPF_CORE_READ(TASKK, tgid))
PROGRAM(another_type, BPF_CORE_READ(TASK, group_leader))
PROGRAM(another_size, TASK->start_time)
PROGRAM(no_enumerator, bpf_core_enum_value(enum bpf_attach_type___never, BPF_NEVER_EXISTED___never))
PROGRAM(no_function, bpf_never_existed(1))

char LICENSE[] SEC("license") = "GPL";
