// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Global functions whose arguments are tagged for the verifier. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CONTEXT __attribute__((btf_decl_tag("arg:ctx")))
#define NONNULL __attribute__((btf_decl_tag("arg:nonnull")))

__noinline int with_context(void *ctx CONTEXT)
{
	return bpf_get_stackid(ctx, NULL, 0);
}

__noinline int with_pointer(int *number NONNULL)
{
	return *number;
}

SEC("raw_tp/sys_enter")
int for_raw_tracepoint(void *ctx)
{
	int number = 1;

	return with_pointer(&number);
}

SEC("perf_event")
int for_perf_event(void *ctx)
{
	return with_context(ctx);
}

SEC("kprobe/do_nanosleep")
int for_kprobe(void *ctx)
{
	return with_context(ctx);
}

char LICENSE[] SEC("license") = "GPL";
