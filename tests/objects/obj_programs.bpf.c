// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Programs and functions in all the places where an object can have them: several in one section, in a section with a
 * "?", in sections of other types, and in .text, where the static and global subprograms are. The version is that of the
 * kernel that kprobe programs once had to name.
 */
#include <linux/bpf.h>
#include <linux/version.h>
#include <bpf/bpf_helpers.h>

static __noinline int static_function(int x)
{
	return x * 3 + bpf_get_smp_processor_id();
}

__noinline int global_function(int x)
{
	return static_function(x) + 1;
}

__hidden __noinline int hidden_function(int x)
{
	return static_function(x) + 2;
}

__weak __noinline int weak_function(int x)
{
	return x ^ bpf_get_prandom_u32();
}

SEC("tracepoint/sched/sched_switch")
int second_alphabetically(void)
{
	return global_function(1) & 1;
}

SEC("tracepoint/sched/sched_switch")
int first_alphabetically(void)
{
	return hidden_function(2) & 1;
}

SEC("?tracepoint/sched/sched_switch")
int not_unless_asked(void)
{
	return weak_function(3) & 1;
}

SEC("?tp/sched/sched_wakeup")
int not_either(void)
{
	return 0;
}

SEC("xdp")
int network(void)
{
	return XDP_PASS;
}

SEC("?fentry.s/do_unlinkat")
int sleepable(void)
{
	return 0;
}

SEC("cgroup/connect4")
int with_attach_type(void)
{
	return 1;
}

SEC("tracepoint/sched/sched_switch")
int third_of_one_section(void)
{
	return 0;
}

SEC("?uprobe//usr/lib/libc.so.6:malloc")
int slashes(void)
{
	return 0;
}

unsigned int VERSION SEC("version") = KERNEL_VERSION(4, 14, 7);
char LICENSE[] SEC("license") = "GPL v2";
