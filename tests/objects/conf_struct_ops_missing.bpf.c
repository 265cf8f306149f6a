// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A table of functions of a type that no kernel has: the object cannot be loaded. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct operations_that_do_not_exist {
	int (*call)(void);
};

SEC("struct_ops")
int BPF_PROG(on_call)
{
	return 0;
}

SEC(".struct_ops")
struct operations_that_do_not_exist conf_missing = {.call = (void *)on_call};

char LICENSE[] SEC("license") = "GPL";
