// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * runqlat: how long tasks that could run have to wait for a CPU.
 *
 * A task (a thread) starts to wait when it is woken up, when it is created, or when the scheduler takes the CPU
 * away from it although it could go on. It stops waiting when the scheduler switches to it. We note the time
 * of the former under the task's id, and at the latter count the difference in a histogram.
 *
 * These are raw tracepoints: the kernel hands us the arguments of its own call as they are, pointers to its
 * structures included. That is cheaper than a plain tracepoint, which first copies what it shows into a record;
 * and the scheduler comes by here a hundred thousand times a second.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 target_pid = 0;	/* count the threads of this process only; 0: all of them */

/*
 * Slot 0 counts waits of less than 2 microseconds, slot n those from 2^n to less than 2^(n+1). The last one is for
 * waits that could not be measured, because the map of waiting tasks was full.
 */
#define SLOTS		32
#define NOT_MEASURED	SLOTS

#define TASK_RUNNING	0	/* from the kernel's include/linux/sched.h: the task could go on */

/* See kernel_types.h for how the loader makes these fit. What comes after ___ is not part of the kernel's name. */
struct task_struct {
	int pid;
	int tgid;
	unsigned int __state;
} __attribute__((preserve_access_index));

struct task_struct___before_5_14 {
	long state;
} __attribute__((preserve_access_index));

/* When tasks began to wait: CLOCK_MONOTONIC, in nanoseconds, by the thread's id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} waiting SEC(".maps");

/* One histogram for each CPU: they need not agree on who counts next. Its reader adds them up. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS + 1);
	__type(key, __u32);
	__type(value, __u64);
} histogram SEC(".maps");

static __always_inline void count(__u32 slot)
{
	__u64 *counter = bpf_map_lookup_elem(&histogram, &slot);

	if (counter)
		(*counter)++;
}

/* The number of the highest bit that is set; 0 if none is. */
static __always_inline __u32 log2(__u64 value)
{
	__u32 result = 0;

	for (int bits = 32; bits; bits /= 2)
		if (value >> bits) {
			value >>= bits;
			result += bits;
		}
	return result;
}

static __always_inline int begin(struct task_struct *task)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 pid = BPF_CORE_READ(task, pid);

	/* Each CPU's idle task, with id 0, waits for nothing. */
	if (!pid || (target_pid && target_pid != BPF_CORE_READ(task, tgid)))
		return 0;
	if (bpf_map_update_elem(&waiting, &pid, &now, BPF_ANY) < 0)
		count(NOT_MEASURED);
	return 0;
}

static __always_inline bool could_go_on(struct task_struct *task)
{
	struct task_struct___before_5_14 *old = (void *)task;

	if (bpf_core_field_exists(task->__state))
		return BPF_CORE_READ(task, __state) == TASK_RUNNING;
	return BPF_CORE_READ(old, state) == TASK_RUNNING;
}

/* TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, ...) */
SEC("raw_tp/sched_switch")
int switched(struct bpf_raw_tracepoint_args *ctx)
{
	bool preempted = ctx->args[0];
	struct task_struct *prev = (void *)ctx->args[1], *next = (void *)ctx->args[2];
	__u32 pid = BPF_CORE_READ(next, pid);
	__u64 *since, waited;

	/* Who is preempted can go on, even if it was just about to fall asleep. */
	if (preempted || could_go_on(prev))
		begin(prev);

	since = bpf_map_lookup_elem(&waiting, &pid);
	if (!since)
		return 0;
	waited = bpf_ktime_get_ns() - *since;
	bpf_map_delete_elem(&waiting, &pid);
	waited = log2(waited / 1000);
	count(waited < SLOTS ? waited : SLOTS - 1);
	return 0;
}

/* TP_PROTO(struct task_struct *p) */
SEC("raw_tp/sched_wakeup")
int woken_up(struct bpf_raw_tracepoint_args *ctx)
{
	return begin((void *)ctx->args[0]);
}

/* TP_PROTO(struct task_struct *p) */
SEC("raw_tp/sched_wakeup_new")
int created(struct bpf_raw_tracepoint_args *ctx)
{
	return begin((void *)ctx->args[0]);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
