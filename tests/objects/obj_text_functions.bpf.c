// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Functions that are in no section of their own, and no program that calls them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __noinline int add(int x)
{
	return x + bpf_get_smp_processor_id();
}

int twice(int x)
{
	return add(x) * 2;
}

int thrice(int x)
{
	return add(x) * 3;
}
