// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A configuration value that no kernel has, and that is not weak: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int CONFIG_THAT_DOES_NOT_EXIST __kconfig;

SEC("raw_tp/sys_enter")
int missing(void *ctx)
{
	return CONFIG_THAT_DOES_NOT_EXIST;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
