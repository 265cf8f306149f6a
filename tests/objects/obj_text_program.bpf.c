// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A single function that is in no section of its own, and no license. It is a program, of no type yet. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int lonely(void)
{
	return bpf_get_smp_processor_id();
}
