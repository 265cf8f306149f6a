// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * String constants: the compiler puts them into .rodata.str1.1, which BTF does not describe. Pointers to them in other
 * data (.rel.rodata) no loader fills in.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 choice = 1;

SEC("tracepoint/sched/sched_switch")
int copy_string(void)
{
	static const char *names[] = {"first", "second"};
	char name[8];

	bpf_probe_read_kernel(name, sizeof(name), names[choice & 1]);
	return bpf_trace_printk("literal %d", 11, name[0]);
}

char LICENSE[] SEC("license") = "GPL";
