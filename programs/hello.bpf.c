// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * hello: the smallest BPF program that shows something.
 *
 * A tracepoint is a place in the kernel's source where its authors let others listen in. The one used here is
 * passed each time a process calls openat(2), before the kernel has done anything about the call. Our
 * function then runs, inside the kernel, on behalf of that process, and writes one line of text into the
 * kernel's trace buffer, which a file of tracefs shows:
 *
 *     # cat /sys/kernel/tracing/trace_pipe
 *               sh-4711    [000] ...21  1234.567890: bpf_trace_printk: purebpf-hello[0]: /etc/passwd
 *
 * The command, the thread id, the CPU and the time are the trace buffer's; what follows "bpf_trace_printk:"
 * is ours.
 *
 * The machine has one such buffer, and everybody's lines are mixed in it. That is good for a first program
 * and for debugging; the other programs here show how data reaches its own reader and nobody else.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/*
 * A part of every line, so that a reader knows its own program's lines from those of another that runs at the
 * same time.
 *
 * "const volatile" is how a BPF program takes its settings. const: the variable lies in the section .rodata,
 * whose content the loader may change, and then freezes, before it loads the program. volatile: the compiler
 * may not count on the 0.
 */
const volatile __u32 instance = 0;

/*
 * What the tracepoint hands us, as events/syscalls/sys_enter_openat/format in tracefs shows it on a 64-bit
 * kernel. On a 32-bit one the fields are 4 bytes wide, and this would read the wrong one. opensnoop relies on
 * no layout: there the loader finds the fields in the kernel's own description of its types. A first program
 * should need nothing of the kind.
 */
struct sys_enter_openat {
	__u64 common;	/* what every tracepoint begins with */
	__u64 syscall_nr;
	__u64 dfd;
	__u64 filename;
};

SEC("tracepoint/syscalls/sys_enter_openat")
int hello_openat(struct sys_enter_openat *ctx)
{
	/*
	 * Longer names are cut: a program's stack is 512 bytes in all. Kernels before 5.13 print only 63 of
	 * them.
	 */
	char name[256];

	/*
	 * The file name lies in the memory of the process. A BPF program cannot just follow a pointer there:
	 * it asks the kernel for a copy, and is refused if the address is bad, or if its page happens not to
	 * be in memory. To read the page in would mean to wait, which a program at this place must not do.
	 */
	if (bpf_probe_read_user_str(name, sizeof(name), (const void *)ctx->filename) < 0)
		bpf_printk("purebpf-hello[%u]: (a name that is not in memory yet)", instance);
	else
		bpf_printk("purebpf-hello[%u]: %s", instance, name);
	return 0;
}

/* The kernel keeps the two functions called above for programs under a GPL-compatible licence. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
