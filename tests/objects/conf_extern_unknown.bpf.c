// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* An extern function in no section that says who provides it: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int provided_by_nobody(int number);

SEC("syscall")
int call(void *ctx)
{
	return provided_by_nobody(1);
}

char LICENSE[] SEC("license") = "GPL";
