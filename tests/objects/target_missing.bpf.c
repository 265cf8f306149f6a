// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A tracepoint that no kernel has. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp_btf/purebpf_no_such_tracepoint")
int nowhere(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
