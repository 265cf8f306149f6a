// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A security hook, by a program that may sleep. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("lsm.s/file_open")
int guard(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
