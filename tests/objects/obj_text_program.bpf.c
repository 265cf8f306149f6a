// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A single function that is in no section of its own, and no license. It is no program. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int lonely(void)
{
	return bpf_get_smp_processor_id();
}
