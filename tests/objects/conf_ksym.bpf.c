// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Kernel symbols without a type: their addresses come from /proc/kallsyms. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern const void schedule __ksym;
extern const void _stext __ksym;
extern const void symbol_that_does_not_exist __ksym __weak;

SEC("raw_tp/sys_enter")
int addresses(void *ctx)
{
	return &schedule > &_stext;
}

SEC("raw_tp/sys_enter")
int weak_address(void *ctx)
{
	return &symbol_that_does_not_exist ? 1 : 2;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
