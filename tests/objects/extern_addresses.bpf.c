// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Externs that are symbols of the kernel of which only the address is asked for, and weak ones that are missing. Those
 * are of code; what is data, a kernel lists only if it is built with CONFIG_KALLSYMS_ALL.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern const void _stext __ksym;
extern const void bpf_link_put __ksym;
extern const void bpf_link_inc __ksym __weak;
extern const void purebpf_missing_address __ksym __weak;
extern const int purebpf_missing_variable __ksym __weak;

unsigned long long stext, link_put, link_inc, missing_address = 1, missing_variable = 1;

static __attribute__((noinline)) void find_missing(void)
{
	missing_address = (unsigned long long)&purebpf_missing_address;
	missing_variable = (unsigned long long)&purebpf_missing_variable;
}

SEC("socket")
int see(void *ctx)
{
	stext = (unsigned long long)&_stext;
	link_put = (unsigned long long)&bpf_link_put;
	link_inc = (unsigned long long)&bpf_link_inc;
	find_missing();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
