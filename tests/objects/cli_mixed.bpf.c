// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What a foreign object may bring along: a ring of a known struct and a ring of bytes, variables of several types, and,
 * besides the program that works, one for a tracepoint that does not exist and one that is attached to no tracepoint.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAGIC 123456789	/* getpgid(MAGIC) is seen; no process has this number, and nobody else asks for it */

enum colour { RED, GREEN = 7 };

const volatile __s32 number = -1;
const volatile bool flag = false;
const volatile enum colour colour = RED;
const volatile char label[8] = "none";
const volatile __u32 numbers[2] = {1, 2};

struct sighting {
	__u32 pid;
	__s32 number;
	enum colour colour;
	bool flag;
	char label[8];
	char comm[16];
};

/* So that the object's BTF has the struct. */
const struct sighting *unused_sighting __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} sightings SEC(".maps"), bytes SEC(".maps");

struct sys_enter_getpgid {
	__u64 common;
	__u64 syscall_nr;
	__u64 pid;
};

SEC("tracepoint/syscalls/sys_enter_getpgid")
int see(struct sys_enter_getpgid *ctx)
{
	struct sighting sighting = {};
	char text[20] = "twenty \x01\xff bytes here";

	if ((__s32)ctx->pid != MAGIC)
		return 0;
	sighting.pid = bpf_get_current_pid_tgid() >> 32;
	sighting.number = number;
	sighting.colour = colour;
	sighting.flag = flag;
	for (unsigned int i = 0; i < sizeof(label); i++)
		sighting.label[i] = label[i];
	bpf_get_current_comm(sighting.comm, sizeof(sighting.comm));
	bpf_perf_event_output(ctx, &sightings, BPF_F_CURRENT_CPU, &sighting, sizeof(sighting));
	bpf_perf_event_output(ctx, &bytes, BPF_F_CURRENT_CPU, text, sizeof(text));
	return numbers[0];
}

SEC("tracepoint/syscalls/sys_enter_getpgidd")
int no_such_tracepoint(void)
{
	return 0;
}

SEC("xdp")
int packet(void)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
