// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Raw tracepoints, iterators, and programs that run when they are told to. What runs counts in `hits`, by `slot`. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

enum slot { RAW, RAW_COOKIE, TYPED, TYPED_COOKIE, SYSCALL, SLOTS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} walked SEC(".maps");

const volatile __u32 only_tgid = 0;
const volatile long system_call = -1;

static int hit(__u32 slot, long number, __u64 worth)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &slot);

	if (count && number == system_call && bpf_get_current_pid_tgid() >> 32 == only_tgid)
		__sync_fetch_and_add(count, worth);
	return 0;
}

SEC("raw_tp/sys_enter")
int raw(struct bpf_raw_tracepoint_args *arguments)
{
	return hit(RAW, arguments->args[1], 1);
}

SEC("?raw_tp/sys_enter")
int raw_cookie(struct bpf_raw_tracepoint_args *arguments)
{
	return hit(RAW_COOKIE, arguments->args[1], bpf_get_attach_cookie(arguments));
}

SEC("?raw_tp.w/bpf_test_finish")
int writes(struct bpf_raw_tracepoint_args *arguments)
{
	int *error = (int *)arguments->args[0];

	if (bpf_get_current_pid_tgid() >> 32 == only_tgid)
		*error = -85; /* ERESTART, which nothing else would answer */
	return 0;
}

SEC("?raw_tp/no_such_tracepoint_enter")
int nowhere(void *context)
{
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(typed, void *registers, long number)
{
	return hit(TYPED, number, 1);
}

SEC("?tp_btf/sys_enter")
int BPF_PROG(typed_cookie, void *registers, long number)
{
	return hit(TYPED_COOKIE, number, bpf_get_attach_cookie(ctx));
}

struct seq_file;
struct bpf_map;

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

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

SEC("iter/task")
int tasks(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;

	if (task)
		BPF_SEQ_PRINTF(context->meta->seq, "%d %d\n", task->tgid, task->pid);
	return 0;
}

SEC("?iter/bpf_map_elem")
int elements(struct bpf_iter__bpf_map_elem *context)
{
	__u32 *key = context->key;
	__u64 *value = context->value;

	if (key && value)
		BPF_SEQ_PRINTF(context->meta->seq, "%d %d\n", *key, *value);
	return 0;
}

struct kernfs_node {
	__u64 id;
} __attribute__((preserve_access_index));

struct cgroup {
	struct kernfs_node *kn;
} __attribute__((preserve_access_index));

struct bpf_iter__cgroup {
	struct bpf_iter_meta *meta;
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));

SEC("?iter/cgroup")
int groups(struct bpf_iter__cgroup *context)
{
	struct cgroup *cgroup = context->cgroup;

	if (cgroup)
		BPF_SEQ_PRINTF(context->meta->seq, "%d\n", cgroup->kn->id);
	return 0;
}

struct request {
	__u32 number, factor;
	__u64 product;
};

SEC("?syscall")
int multiply(struct request *request)
{
	request->product = (__u64)request->number * request->factor;
	return request->factor;
}

SEC("?xdp")
int swap(struct xdp_md *context)
{
	__u8 *packet = (void *)(long)context->data;

	if (packet + 14 > (__u8 *)(long)context->data_end)
		return XDP_DROP;
	packet[0] ^= 0xff;
	return XDP_TX;
}

SEC("?tc")
int mark(struct __sk_buff *skb)
{
	skb->mark = skb->mark + 1;
	return skb->len;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
