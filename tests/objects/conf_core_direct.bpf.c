// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * CO-RE in instructions that read and write memory themselves: of every size, and of sizes that differ from the
 * kernel's, which the loader corrects where it can. The kernel need not accept the writes.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct {
	unsigned int flags;
	int prio;
	int tgid;
	unsigned int policy;
	struct task_struct *real_parent;
	unsigned long long start_time;
	unsigned char comm[16];
	unsigned long nvcsw;
	unsigned short migration_disabled;
	unsigned int in_execve : 1;
};

struct task_struct___smaller {
	unsigned int start_time;
	unsigned short flags;
	unsigned char policy;
	unsigned int real_parent;
};

struct task_struct___larger {
	unsigned long long flags;
	unsigned long policy;
	void *tgid;
	unsigned short comm;
};

struct task_struct___signed {
	long prio;
	short tgid;
	int start_time;
};

struct sk_buff {
	__u16 queue_mapping;
	__u8 cloned : 1;
	__u8 pkt_type : 3;
	unsigned int len;
};

#pragma clang attribute pop

#define PROGRAM(name, type) \
	SEC("raw_tp/sched_switch") \
	long name(struct type **ctx)

PROGRAM(read, task_struct) { return ctx[0]->flags + ctx[1]->start_time + ctx[0]->comm[5]; }
PROGRAM(read_nested, task_struct) { return ctx[0]->real_parent->real_parent->tgid; }
PROGRAM(read_bits, sk_buff) { return BPF_CORE_READ_BITFIELD(ctx[0], pkt_type); }
PROGRAM(read_bit, sk_buff) { return BPF_CORE_READ_BITFIELD(ctx[0], cloned); }
PROGRAM(read_half, sk_buff) { return ctx[0]->queue_mapping + ctx[0]->len; }
PROGRAM(read_smaller, task_struct___smaller) { return ctx[0]->start_time + ctx[0]->flags + ctx[0]->policy; }
PROGRAM(read_smaller_pointer, task_struct___smaller) { return ctx[0]->real_parent; }
PROGRAM(read_larger, task_struct___larger) { return ctx[0]->flags + ctx[0]->policy; }
PROGRAM(read_as_pointer, task_struct___larger) { return (long)ctx[0]->tgid; }
PROGRAM(read_array_as_number, task_struct___larger) { return ctx[0]->comm; }
PROGRAM(read_signed, task_struct___signed) { return ctx[0]->prio; }
PROGRAM(read_signed_half, task_struct___signed) { return ctx[0]->tgid; }
PROGRAM(read_signed_word, task_struct___signed) { return ctx[0]->start_time; }

PROGRAM(write, task_struct)
{
	ctx[0]->flags = ctx[1]->flags;
	ctx[0]->nvcsw = ctx[1]->start_time;
	ctx[0]->comm[7] = ctx[1]->prio;
	return 0;
}

PROGRAM(write_constants, task_struct)
{
	ctx[0]->tgid = 5;
	ctx[0]->start_time = 6;
	ctx[0]->comm[3] = 7;
	ctx[0]->migration_disabled = 8;
	return 0;
}

PROGRAM(write_smaller, task_struct___smaller)
{
	ctx[0]->start_time = 5;
	ctx[0]->policy = 6;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
