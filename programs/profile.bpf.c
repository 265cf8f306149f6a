// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * profile: where the CPUs spend their time.
 *
 * Many times a second, on each CPU, a clock interrupts whatever runs there, and the kernel calls us: "perf
 * event" is its word for such a clock. We note who runs and how it got there: the stack of return addresses in
 * the program, and that in the kernel if the program was in a system call. Where much time is spent, the same
 * stacks are seen again and again; so they are counted here, and only the counts leave the kernel.
 *
 * The addresses become names only in user space, when all is over.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 target_pid = 0;	/* count this process only; 0: all of them */

/*
 * Process ids are those of the reader's pid namespace, since it will look the processes up in its /proc. A
 * namespace is known by the device and inode of the file /proc/self/ns/pid.
 */
const volatile __u64 namespace_dev = 0;
const volatile __u64 namespace_ino = 0;

/*
 * Stacks by number. The kernel gives the same stack the same number, made from a hash of its addresses; when
 * two different stacks want the same number, the later one is refused (EEXIST), and a larger map makes that rarer.
 * 127 addresses is what the kernel follows at most (sysctl kernel.perf_event_max_stack).
 */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

struct key {
	__u32 pid;		/* 0: a process that the reader's namespace does not know */
	__s32 kernel_stack;	/* numbers of stacks, or a negative error; -EFAULT means that there is none */
	__s32 user_stack;
	char comm[16];		/* the thread's name */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct key);
	__type(value, __u64);
} counts SEC(".maps");

/* Samples that found no room in the map of counts, on each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

SEC("perf_event")
int sample(struct bpf_perf_event_data *ctx)
{
	__u64 one = 1, *number;
	__u32 zero = 0;
	struct bpf_pidns_info ids = {};
	struct key key = {};

	if (!(bpf_get_current_pid_tgid() >> 32))	/* an idle CPU */
		return 0;
	bpf_get_ns_current_pid_tgid(namespace_dev, namespace_ino, &ids, sizeof(ids));
	if (target_pid && target_pid != ids.tgid)
		return 0;

	key.pid = ids.tgid;
	key.kernel_stack = bpf_get_stackid(ctx, &stacks, 0);
	key.user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	bpf_get_current_comm(key.comm, sizeof(key.comm));

	number = bpf_map_lookup_elem(&counts, &key);
	if (number) {
		__sync_fetch_and_add(number, 1);
		return 0;
	}
	/* Another CPU may have been faster; then it has put a 1 there. */
	if (bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST) < 0) {
		number = bpf_map_lookup_elem(&counts, &key);
		if (!number)
			number = bpf_map_lookup_elem(&lost, &zero);
		if (number)
			__sync_fetch_and_add(number, 1);
	}
	return 0;
}

/* The kernel keeps stacks for programs under a GPL-compatible licence. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
