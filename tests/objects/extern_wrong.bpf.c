// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A value of the configuration that is a number, and declared as a bool. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern bool CONFIG_HZ __kconfig;

SEC("syscall")
int see(void *ctx)
{
	return CONFIG_HZ;
}

char LICENSE[] SEC("license") = "GPL";
