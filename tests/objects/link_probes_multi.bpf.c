// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs for many probes at once. Map `seen` has what each of them has seen, `cookies` all cookies with their counts. */
#define __TARGET_ARCH_x86
#define __VMLINUX_H__ /* the registers by the kernel's names */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct pt_regs {
	unsigned long di, ax, ip;
} __attribute__((preserve_access_index));

#include <bpf/bpf_tracing.h>

extern const _Bool LINUX_HAS_BPF_COOKIE __kconfig;

struct seen {
	__u64 count, pid, first, result;
};

enum {
	KPROBE,
	KRETPROBE,
	KSESSION,
	UPROBE,
	URETPROBE,
	USESSION,
	SLEEPABLE_UPROBE,
	SLEEPABLE_URETPROBE,
	SLEEPABLE_USESSION,
	KINDS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KINDS);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__type(key, __u64);
	__type(value, __u64);
} cookies SEC(".maps");

/* If this is not 0, only what this process does counts. */
const volatile __u32 wanted_pid = 0;

/* What a session returns when a function is entered: 0 for being called when it returns. */
const volatile int session_result = 0;

static __always_inline int note(struct pt_regs *ctx, __u32 kind)
{
	__u64 pid = bpf_get_current_pid_tgid() >> 32, cookie = 0, *count, one = 1;
	struct seen *place;

	if (wanted_pid && pid != wanted_pid)
		return 0;
	place = bpf_map_lookup_elem(&seen, &kind);
	if (!place)
		return 0;
	__sync_fetch_and_add(&place->count, 1);
	place->pid = pid;
	place->first = PT_REGS_PARM1(ctx);
	place->result = PT_REGS_RC(ctx);
	if (LINUX_HAS_BPF_COOKIE)
		cookie = bpf_get_attach_cookie(ctx);
	count = bpf_map_lookup_elem(&cookies, &cookie);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&cookies, &cookie, &one, BPF_ANY);
	return 0;
}

#define PROGRAM(name, section, kind, returned)	\
	SEC(section)				\
	int name(struct pt_regs *ctx)		\
	{					\
		note(ctx, kind);		\
		return returned;		\
	}

PROGRAM(on_kprobe, "kprobe.multi", KPROBE, 0)
PROGRAM(on_kretprobe, "kretprobe.multi", KRETPROBE, 0)
PROGRAM(on_ksession, "kprobe.session", KSESSION, session_result)
PROGRAM(on_uprobe, "uprobe.multi", UPROBE, 0)
PROGRAM(on_uretprobe, "uretprobe.multi", URETPROBE, 0)
PROGRAM(on_usession, "uprobe.session", USESSION, session_result)
PROGRAM(on_sleepable_uprobe, "uprobe.multi.s", SLEEPABLE_UPROBE, 0)
PROGRAM(on_sleepable_uretprobe, "uretprobe.multi.s", SLEEPABLE_URETPROBE, 0)
PROGRAM(on_sleepable_usession, "uprobe.session.s", SLEEPABLE_USESSION, session_result)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
