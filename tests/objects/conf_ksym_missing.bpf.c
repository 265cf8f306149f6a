// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A kernel symbol that no kernel has, and that is not weak: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern const void symbol_that_does_not_exist __ksym;

SEC("raw_tp/sys_enter")
int missing(void *ctx)
{
	return (long)&symbol_that_does_not_exist;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
