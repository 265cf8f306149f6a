// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Global variables of every kind. The program acts for one process only, target_pid, and sends what it sees in them.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct limits {
	__u32 low;
	__s64 high;
};

enum mode {
	MODE_OFF,
	MODE_ON = 7,
};

struct event {
	__u64 number;
	struct limits limits;
	enum mode mode;
	__s32 small;
	char label[8];
	__u32 data;
	__u32 bss;
	__u8 flag;
	__u16 custom;
	__u16 custom_constant;
};

/* clang describes the types of functions and variables only, not those that a function uses inside. */
struct event *described_event;

const volatile __u32 target_pid = 0;
const volatile __u64 number = 5;
const volatile struct limits limits = {.low = 1, .high = -2};
const volatile enum mode mode = MODE_OFF;
const volatile __s8 small = -3;
const volatile char label[8] = "label";
const volatile bool flag = false;
static const volatile __u32 hidden_constant = 9;

volatile __u32 data = 11;
volatile __u32 bss;
static volatile __u32 hidden_runs;
volatile __u64 runs = 0;

volatile __u16 custom SEC(".data.custom") = 13;
const volatile __u16 custom_constant SEC(".rodata.custom") = 17;

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_sched_rr_get_interval")
int send_variables(void *ctx)
{
	struct event event = {};

	if (bpf_get_current_pid_tgid() >> 32 != target_pid)
		return 0;
	hidden_runs += hidden_constant;
	runs += 1;
	event.number = number;
	event.limits.low = limits.low;
	event.limits.high = limits.high;
	event.mode = mode;
	event.small = small;
	for (int i = 0; i < 8; i++)
		event.label[i] = label[i];
	event.data = data++;
	event.bss = bss--;
	event.flag = flag;
	event.custom = custom;
	event.custom_constant = custom_constant;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
