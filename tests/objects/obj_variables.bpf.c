// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Global variables in every kind of section, global, static, hidden and weak, with holes between them. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum colour {
	RED = 1,
	BLUE = -5,
};

struct point {
	__s16 x;
	__s64 y;
	char label[6];
};

struct flexible {
	__u32 size;
	char bytes[];
};

volatile __u8 byte = 0xab;
volatile __u64 aligned_to_8 = 0x1122334455667788;
volatile __s32 negative = -7;
volatile struct point point = {.x = -1, .y = 1LL << 40, .label = "abc"};
volatile struct flexible flexible = {.size = 4, .bytes = {1, 2, 3, 4}};
static volatile __u32 static_in_data = 5;
__hidden volatile __u32 hidden_in_data = 6;
__weak volatile __u32 weak_in_data = 7;

volatile __u32 zero;
volatile char text[32];
static volatile __u64 static_in_bss;
__hidden volatile __u16 hidden_in_bss;

const volatile enum colour colour = BLUE;
const volatile bool flag = true;
const volatile double fraction = 0.5;
const volatile __u32 numbers[3] = {1, 20, 300};

volatile __u32 custom SEC(".data.custom") = 8;
static volatile __u32 custom_static SEC(".data.all_static") = 9;
__hidden volatile __u32 custom_hidden SEC(".data.all_hidden") = 9;
const volatile __u32 custom_constant SEC(".rodata.a_name_beyond_what_fits") = 10;
volatile __u32 custom_zero SEC(".bss.custom");
volatile __u32 odd_name SEC(".data.odd-name+") = 11;
volatile __u32 elsewhere SEC("not_a_data_section") = 12;

SEC("tracepoint/sched/sched_switch")
int use_them(void)
{
	if (flag)
		zero += byte + static_in_data + hidden_in_data + weak_in_data + custom + custom_static + custom_hidden;
	static_in_bss += numbers[zero & 1] + colour + custom_constant + hidden_in_bss++ + custom_zero + odd_name;
	point.y += negative + aligned_to_8 + flexible.size + text[3] + *(const volatile __u64 *)&fraction;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
