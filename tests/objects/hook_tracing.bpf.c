// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Every section of what traces, guards or replaces functions, and of what is run on request. Most count what one process
 * does: it calls sched_rr_get_interval(2), which nobody else is likely to do, nanosleep(2) or open(2), or a function of
 * the library that is compiled from probed.c.
 */
#define __TARGET_ARCH_x86
#include <stdbool.h>
#include <linux/ptrace.h>
#include "hook.h"
#define BPF_USDT_MAX_SPEC_CNT 4
#include <bpf/usdt.bpf.h>

const volatile __u32 only_tgid = 0;
const volatile long system_call = -1;

static __always_inline int note(void)
{
	if (!only_tgid || bpf_get_current_pid_tgid() >> 32 == only_tgid)
		count();
	return 0;
}

#define HOOK(name, section)		\
	SEC("?" section)		\
	int on_##name(void *context)	\
	{				\
		return note();		\
	}

/* Whoever does it. */
#define HOOK_FOR_ALL(name, section)	\
	SEC("?" section)		\
	int on_##name(void *context)	\
	{				\
		count();		\
		return 0;		\
	}

/* Of all system calls only that one counts; each has its number as the second argument. */
#define SYSTEM_CALL_HOOK(name, section)		\
	SEC("?" section "/sys_enter")		\
	int on_##name(__u64 *arguments)		\
	{					\
		if (arguments[1] == system_call)	\
			note();		\
		return 0;			\
	}

/*
 * Functions of the kernel. A program that may sleep needs one in which that is allowed: without
 * CONFIG_FUNCTION_ERROR_INJECTION, that which the kernel has for testing, and calls when a program of fentry is run.
 */

#define FUNCTION "/hrtimer_nanosleep"
#define SYSTEM_CALLS "/__x64_sys_sched_rr_get_int*"
#define SLEEPABLE "/bpf_fentry_test1"
#define SLEEPABLES "/bpf_fentry_tes?1"

HOOK(kprobe, "kprobe" FUNCTION)
HOOK(kretprobe, "kretprobe" FUNCTION)
HOOK(kprobe_multi, "kprobe.multi" SYSTEM_CALLS)
HOOK(kretprobe_multi, "kretprobe.multi" SYSTEM_CALLS)
HOOK(kprobe_session, "kprobe.session" SYSTEM_CALLS)
HOOK(ksyscall, "ksyscall/sched_rr_get_interval")
HOOK(kretsyscall, "kretsyscall/sched_rr_get_interval")
HOOK(fentry, "fentry" FUNCTION)
HOOK(fentry_s, "fentry.s" SLEEPABLE)
HOOK(fexit, "fexit" FUNCTION)
HOOK(fexit_s, "fexit.s" SLEEPABLE)
HOOK(fmod_ret, "fmod_ret/security_file_open")
HOOK(fmod_ret_s, "fmod_ret.s" SLEEPABLE)
HOOK(fsession, "fsession" FUNCTION)
HOOK(fsession_s, "fsession.s" SLEEPABLE)
HOOK(fentry_multi, "fentry.multi" SYSTEM_CALLS)
HOOK(fentry_multi_s, "fentry.multi.s" SLEEPABLES)
HOOK(fexit_multi, "fexit.multi" SYSTEM_CALLS)
HOOK(fexit_multi_s, "fexit.multi.s" SLEEPABLES)
HOOK(fsession_multi, "fsession.multi" SYSTEM_CALLS)
HOOK(fsession_multi_s, "fsession.multi.s" SLEEPABLES)

SEC("?fentry/bpf_fentry_test1")
int calls_test_functions(void *context)
{
	return 0;
}

/* Security hooks. When a program is executed is the only one in which Linux 5.10 lets programs sleep. */

HOOK(lsm, "lsm/file_open")
HOOK_FOR_ALL(lsm_s, "lsm.s/bprm_committed_creds")

SEC("?lsm_cgroup/socket_create")
int on_lsm_cgroup(void *context)
{
	count();
	return 1; /* that is: yes */
}

/* User space: a library that is found by LD_LIBRARY_PATH, and a program that is found by PATH. */

#define LIBRARY "/libhooked.so"

HOOK(uprobe, "uprobe" LIBRARY ":probed_sum")
HOOK(uprobe_s, "uprobe.s" LIBRARY ":probed_sum")
HOOK(uretprobe, "uretprobe" LIBRARY ":probed_sum")
HOOK(uretprobe_s, "uretprobe.s" LIBRARY ":probed_sum")
HOOK(uprobe_multi, "uprobe.multi" LIBRARY ":probed_su*")
HOOK(uprobe_multi_s, "uprobe.multi.s" LIBRARY ":probed_su*")
HOOK(uretprobe_multi, "uretprobe.multi" LIBRARY ":probed_su*")
HOOK(uretprobe_multi_s, "uretprobe.multi.s" LIBRARY ":probed_su*")
HOOK(uprobe_session, "uprobe.session" LIBRARY ":probed_su*")
HOOK(uprobe_session_s, "uprobe.session.s" LIBRARY ":probed_su*")
HOOK_FOR_ALL(usdt, "usdt/hooked:probed:nothing")
HOOK_FOR_ALL(usdt_s, "usdt.s/hooked:probed:nothing")

/* Tracepoints */

HOOK(tracepoint, "tracepoint/syscalls/sys_enter_sched_rr_get_interval")
HOOK(tp, "tp/syscalls/sys_enter_sched_rr_get_interval")
HOOK(tracepoint_s, "tracepoint.s/syscalls/sys_enter_sched_rr_get_interval")
HOOK(tp_s, "tp.s/syscalls/sys_enter_sched_rr_get_interval")
SYSTEM_CALL_HOOK(raw_tracepoint, "raw_tracepoint")
SYSTEM_CALL_HOOK(raw_tp, "raw_tp")
SYSTEM_CALL_HOOK(raw_tracepoint_s, "raw_tracepoint.s")
SYSTEM_CALL_HOOK(raw_tp_s, "raw_tp.s")
SYSTEM_CALL_HOOK(tp_btf, "tp_btf")
SYSTEM_CALL_HOOK(tp_btf_s, "tp_btf.s")
HOOK(raw_tracepoint_w, "raw_tracepoint.w/bpf_test_finish")
HOOK(raw_tp_w, "raw_tp.w/bpf_test_finish")

/* The rest */

HOOK(perf_event, "perf_event")
HOOK(syscall, "syscall")

HOOK_FOR_ALL(iter, "iter/task")
HOOK_FOR_ALL(iter_s, "iter.s/task")

SEC("?freplace/replaceable")
int on_freplace(struct __sk_buff *skb)
{
	count();
	return 0;
}
