// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A configuration value declared as a number, where the kernel's is a text: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int CONFIG_CC_VERSION_TEXT __kconfig;

SEC("raw_tp/sys_enter")
int wrong_type(void *ctx)
{
	return CONFIG_CC_VERSION_TEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
