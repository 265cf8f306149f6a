/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's own structures, as far as the programs here use them: each with only the fields we read.
 *
 * That is enough because of CO-RE ("compile once, run everywhere"). preserve_access_index makes clang note,
 * beside every instruction that touches a field, the name of the structure and of the field. The loader looks
 * the names up in the running kernel's BTF and writes the true offset into the instruction before it loads
 * the program. So order, size and offsets below mean nothing, while names must be the kernel's. The usual
 * alternative is a generated vmlinux.h: 3 MB that hold every type of one particular kernel.
 */
#ifndef PUREBPF_KERNEL_TYPES_H
#define PUREBPF_KERNEL_TYPES_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/*
 * What programs on the tracepoints syscalls/sys_enter_* and syscalls/sys_exit_* get as their context. The
 * files events/syscalls/.../format in tracefs show the same layout. It differs between 32-bit and 64-bit
 * kernels, and a PREEMPT_RT kernel can have a longer header; CO-RE finds the fields on all of them.
 */
struct trace_event_raw_sys_enter {
	unsigned long args[6];
};

struct trace_event_raw_sys_exit {
	long ret;
};

struct mm_struct {
	/* Where a program's arguments and environment were put when it started. */
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_end;
};

struct task_struct {
	/* The kernel's "tgid" is what user space calls the process id, and its "pid" is a thread's id. */
	int tgid;
	struct task_struct *real_parent;
	struct mm_struct *mm;
};

#pragma clang attribute pop

#endif
