// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Static, global, weak and hidden subprograms, that call each other and are shared by programs. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

volatile int number = 3;

__noinline int global_leaf(int value)
{
	return value * number;
}

__weak __noinline int weak_leaf(int value)
{
	return value + number;
}

__hidden __noinline int hidden_leaf(int value)
{
	return value - number;
}

static __noinline int static_middle(int value)
{
	return global_leaf(value) + weak_leaf(value + 1);
}

__noinline int global_middle(int value)
{
	return hidden_leaf(value) + static_middle(value + 2);
}

static __noinline int unused_by_first(int value)
{
	return hidden_leaf(value) ^ number;
}

SEC("raw_tp/sys_enter")
int first(void *ctx)
{
	return global_middle(1) + static_middle(2);
}

SEC("raw_tp/sys_exit")
int second(void *ctx)
{
	return unused_by_first(1) + weak_leaf(2) + global_middle(3);
}

SEC("raw_tp/sys_exit")
int alone(void *ctx)
{
	return number;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
