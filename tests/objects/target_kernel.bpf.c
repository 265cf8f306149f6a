// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs bound to the kernel by its BTF: a tracepoint with types, and iterators. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct seq_file;

struct task_struct {
	int pid;
	int tgid;
} __attribute__((preserve_access_index));

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, int);
	__type(value, long);
} seen SEC(".maps");

const volatile int only_tgid = 0;
const volatile long system_call = -1;

SEC("tp_btf/sys_enter")
int BPF_PROG(on_sys_enter, void *registers, long number)
{
	int tgid = bpf_get_current_pid_tgid() >> 32;

	if (number == system_call && only_tgid == tgid)
		bpf_map_update_elem(&seen, &tgid, &number, BPF_ANY);
	return 0;
}

SEC("iter/task")
int dump_task(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;

	if (task)
		BPF_SEQ_PRINTF(context->meta->seq, "%d %d\n", task->tgid, task->pid);
	return 0;
}

SEC("iter.s/task")
int dump_task_sleeping(struct bpf_iter__task *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
