// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Variables in named sections, static ones of the same name, pointers in data, sections that user space cannot see. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define HIDDEN __attribute__((visibility("hidden")))

struct aligned {
	char byte;
	long number __attribute__((aligned(32)));
};

int plain = 1;
int in_data_x SEC(".data.x") = 2;
long in_bss_x SEC(".bss.x");
const volatile int in_rodata_x SEC(".rodata.x") = 3;
const volatile struct aligned aligned = {4, 5};
char big[5000] SEC(".bss.big");
int HIDDEN hidden_one SEC(".data.hidden") = 6;
static volatile int hidden_two SEC(".data.hidden") = 7;
int HIDDEN seen_and_hidden SEC(".data.mixed") = 8;
int seen SEC(".data.mixed") = 9;
const char *pointers[] = {"a", "b"};
volatile bool flags[3];

SEC("raw_tp/sys_enter")
int one(void *ctx)
{
	static volatile int counter = 10;

	counter++;
	in_bss_x++;
	return plain + in_data_x + in_rodata_x + aligned.number + hidden_one + hidden_two;
}

SEC("raw_tp/sys_enter")
int two(void *ctx)
{
	static volatile int counter = 11;
	static volatile long zero;

	counter++;
	big[4999] = zero++;
	flags[1] = true;
	return seen + seen_and_hidden + (pointers[0] != pointers[1]);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
