// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * An object without a license section, and a program that calls a helper for GPL-compatible programs only.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int calls_gpl_helper(void *ctx)
{
	char byte;

	return bpf_probe_read_kernel(&byte, sizeof(byte), ctx);
}
