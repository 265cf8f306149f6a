// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A perf ring of the years before BTF: nothing in this object gets type information, although clang is called with -g. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define OLD __attribute__((nodebug))
#define MAGIC 123456790

struct bpf_map_def {
	unsigned int type;
	unsigned int key_size;
	unsigned int value_size;
	unsigned int max_entries;
	unsigned int map_flags;
};

OLD struct bpf_map_def SEC("maps") events = {
	.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 1024,
};

struct sys_enter_getpgid {
	__u64 common;
	__u64 syscall_nr;
	__u64 pid;
};

OLD SEC("tracepoint/syscalls/sys_enter_getpgid")
int see(struct sys_enter_getpgid *ctx)
{
	__u64 numbers[2] = {0x1122334455667788, ctx->pid};

	if ((__s32)ctx->pid == MAGIC)
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, numbers, sizeof(numbers));
	return 0;
}

OLD char LICENSE[] SEC("license") = "GPL";
