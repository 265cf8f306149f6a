// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A configuration value that does not fit the type it is declared with: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern signed char CONFIG_HZ __kconfig;

SEC("raw_tp/sys_enter")
int too_small(void *ctx)
{
	return CONFIG_HZ;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
