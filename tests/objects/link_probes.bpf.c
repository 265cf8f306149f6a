// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs for single probes of all kinds. What each of them has seen last, and how often it ran, is in map `seen`. */
#define __TARGET_ARCH_x86
#define __VMLINUX_H__ /* the registers by the kernel's names */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct pt_regs {
	unsigned long di, si, dx, cx, r8, r10, ax, ip, bp, sp;
} __attribute__((preserve_access_index));

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

extern const _Bool LINUX_HAS_BPF_COOKIE __kconfig;

struct seen {
	__u64 count, pid, cookie, first, second, result, ip;
};

enum {
	KPROBE,
	KRETPROBE,
	KSYSCALL,
	KRETSYSCALL,
	UPROBE,
	URETPROBE,
	SLEEPABLE_UPROBE,
	SLEEPABLE_URETPROBE,
	TRACEPOINT,
	PERF_EVENT,
	KINDS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KINDS);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

/* If this is not 0, only what this process does counts. */
const volatile __u32 wanted_pid = 0;

static __always_inline struct seen *note(void *ctx, __u32 kind)
{
	__u64 pid = bpf_get_current_pid_tgid() >> 32;
	struct seen *place;

	if (wanted_pid && pid != wanted_pid)
		return 0;
	place = bpf_map_lookup_elem(&seen, &kind);
	if (!place)
		return 0;
	__sync_fetch_and_add(&place->count, 1);
	place->pid = pid;
	if (LINUX_HAS_BPF_COOKIE)
		place->cookie = bpf_get_attach_cookie(ctx);
	return place;
}

static __always_inline int note_entry(struct pt_regs *ctx, __u32 kind)
{
	struct seen *place = note(ctx, kind);

	if (place) {
		place->first = PT_REGS_PARM1(ctx);
		place->second = PT_REGS_PARM2(ctx);
		place->ip = PT_REGS_IP(ctx);
	}
	return 0;
}

static __always_inline int note_return(struct pt_regs *ctx, __u32 kind)
{
	struct seen *place = note(ctx, kind);

	if (place)
		place->result = PT_REGS_RC(ctx);
	return 0;
}

SEC("kprobe")
int on_kprobe(struct pt_regs *ctx)
{
	return note_entry(ctx, KPROBE);
}

SEC("kretprobe")
int on_kretprobe(struct pt_regs *ctx)
{
	return note_return(ctx, KRETPROBE);
}

SEC("ksyscall/sched_get_priority_max")
int BPF_KSYSCALL(on_ksyscall, int policy)
{
	struct seen *place = note(ctx, KSYSCALL);

	if (place)
		place->first = policy;
	return 0;
}

SEC("kretsyscall/sched_get_priority_max")
int on_kretsyscall(struct pt_regs *ctx)
{
	return note_return(ctx, KRETSYSCALL);
}

SEC("uprobe")
int on_uprobe(struct pt_regs *ctx)
{
	return note_entry(ctx, UPROBE);
}

SEC("uretprobe")
int on_uretprobe(struct pt_regs *ctx)
{
	return note_return(ctx, URETPROBE);
}

SEC("uprobe.s")
int on_sleepable_uprobe(struct pt_regs *ctx)
{
	return note_entry(ctx, SLEEPABLE_UPROBE);
}

SEC("uretprobe.s")
int on_sleepable_uretprobe(struct pt_regs *ctx)
{
	return note_return(ctx, SLEEPABLE_URETPROBE);
}

SEC("tracepoint")
int on_tracepoint(void *ctx)
{
	note(ctx, TRACEPOINT);
	return 0;
}

SEC("perf_event")
int on_perf_event(void *ctx)
{
	note(ctx, PERF_EVENT);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
