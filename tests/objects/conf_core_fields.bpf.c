// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* CO-RE: every question that can be asked about a field, of kernel structures that differ between kernels. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	unsigned int val;
} kuid_t;

struct list_head {
	struct list_head *next, *prev;
};

struct cred {
	kuid_t uid;
};

struct rlimit {
	unsigned long rlim_cur, rlim_max;
};

struct signal_struct {
	struct rlimit rlim[16];
	unsigned int is_child_subreaper : 1;
	int group_exit_code;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long saved_auxv[4];
};

struct task_struct {
	unsigned int flags;
	int prio;
	unsigned int in_execve : 1;
	unsigned int sched_reset_on_fork : 1;
	int tgid;
	struct task_struct *real_parent, *group_leader;
	const struct cred *cred;
	char comm[16];
	struct mm_struct *mm;
	struct signal_struct *signal;
	struct list_head tasks;
	unsigned long long start_time;
};

struct task_struct___before_5_14 {
	long state;
};

struct task_struct___since_5_14 {
	unsigned int __state;
};

struct net_device {
	int ifindex;
	char name[16];
};

struct sk_buff {
	struct net_device *dev;
	unsigned int len;
	__u8 pkt_type : 3;
	__u8 ip_summed : 2;
	__u32 mark;
	__u16 vlan_tci;
};

struct sock_common {
	__be32 skc_daddr;
	unsigned short skc_family;
	__u8 skc_reuse : 4;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};

struct bpf_array {
	char value[0];
};

struct fdtable {
	unsigned int max_fds;
};

struct files_struct {
	atomic_t count;
	struct fdtable fdtab;
	struct file *fd_array[8];
};

struct css_set {
	atomic_t refcount;
};

#pragma clang attribute pop

#define PROGRAM(name) \
	SEC("raw_tp/sched_switch") \
	unsigned long name(struct bpf_raw_tracepoint_args *ctx)
#define RETURNS(name, expression) \
	PROGRAM(name) \
	{ \
		return expression; \
	}
#define TASK ((struct task_struct *)ctx->args[1])
#define BUFFER ((struct sk_buff *)ctx->args[0])

RETURNS(pointers, BPF_CORE_READ(TASK, group_leader, real_parent, mm, arg_start))
RETURNS(nested, BPF_CORE_READ(TASK, cred, uid.val) + BPF_CORE_READ(TASK, tasks.next, prev, next) == 0)
RETURNS(element, BPF_CORE_READ(TASK, comm[3]) + BPF_CORE_READ(TASK, mm, saved_auxv[2]))
RETURNS(element_of_structures, BPF_CORE_READ(TASK, signal, rlim[7].rlim_max))
RETURNS(flexible, bpf_core_field_offset(struct bpf_array, value[5]))
RETURNS(pointer_element, bpf_core_field_offset(struct files_struct, fd_array[3]))
RETURNS(by_typedef, bpf_core_field_offset(atomic_t, counter) + bpf_core_field_size(kuid_t, val))
RETURNS(bits, BPF_CORE_READ_BITFIELD_PROBED(BUFFER, pkt_type) + BPF_CORE_READ_BITFIELD_PROBED(TASK, in_execve))
RETURNS(other_bits,
	BPF_CORE_READ_BITFIELD_PROBED(BUFFER, ip_summed) +
	__CORE_RELO(TASK, sched_reset_on_fork, BYTE_SIZE))
RETURNS(no_bits, __CORE_RELO(TASK, tgid, LSHIFT_U64) + __CORE_RELO(TASK, tgid, RSHIFT_U64))
RETURNS(is_signed, __CORE_RELO(TASK, prio, SIGNED) + 2 * __CORE_RELO(TASK, flags, SIGNED))
RETURNS(size_of_array, bpf_core_field_size(struct task_struct, comm))
RETURNS(size_of_structure,
	bpf_core_field_size(struct task_struct, tasks) +
	bpf_core_field_size(TASK->signal->rlim[1]))
RETURNS(anonymous,
	BPF_CORE_READ(BUFFER, dev, ifindex) + BPF_CORE_READ(BUFFER, mark) +
	BPF_CORE_READ(BUFFER, vlan_tci))
RETURNS(anonymous_in_member, bpf_core_field_offset(struct sock, __sk_common.skc_daddr))
RETURNS(moved, bpf_core_field_offset(struct sock, sk_protocol) + bpf_core_field_size(struct sock, sk_protocol))
RETURNS(exists, bpf_core_field_exists(struct task_struct, mm) + 2 * bpf_core_field_exists(struct css_set, refcount))

PROGRAM(flavours)
{
	struct task_struct___before_5_14 *before = (void *)TASK;
	struct task_struct___since_5_14 *since = (void *)TASK;

	if (bpf_core_field_exists(before->state))
		return BPF_CORE_READ(before, state);
	return BPF_CORE_READ(since, __state);
}

PROGRAM(text)
{
	char name[16];

	bpf_core_read_str(name, sizeof(name), &BUFFER->dev->name);
	return name[0] + bpf_core_field_offset(BUFFER->dev->name[4]);
}

static __noinline unsigned long start_time(struct task_struct *task)
{
	return BPF_CORE_READ(task, start_time) + BPF_CORE_READ(task, signal, group_exit_code);
}

RETURNS(in_subprogram_too, start_time(TASK) + BPF_CORE_READ(TASK, tgid))

char LICENSE[] SEC("license") = "GPL";
