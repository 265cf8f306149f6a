// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* An object that is compiled without BTF: variables and subprograms need none. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int in_data = 1;
int in_bss;
const volatile int in_rodata = 2;

static __noinline int add(int number)
{
	in_bss += number;
	return in_data;
}

SEC("raw_tp/sys_enter")
int use(void *ctx)
{
	return add(in_rodata);
}

char LICENSE[] SEC("license") = "GPL";
