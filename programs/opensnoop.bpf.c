// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * opensnoop: every file that was opened, or that somebody tried to open.
 *
 * An open is two events. When the system call begins, its arguments are known; when it ends, its result. So
 * each system call gets two programs, and the first leaves a note for the second in a hash map, under the
 * thread's id: a thread is in one system call at a time.
 *
 * The name itself is read at the end. The note holds only its address, because a page of the process that
 * nobody has touched yet is not in memory, and a BPF program cannot wait for it. The kernel can, and by the
 * end of the call it has read the name, so the page is there. (The price: another thread may have written
 * over the name meanwhile.)
 *
 * Records leave through a perf ring: one ring buffer for each CPU, written by the kernel and mapped into the
 * memory of the reader. A record that finds its ring full is dropped, and the kernel counts it.
 *
 * Four system calls open files. Newer machines (arm64, riscv64, loongarch64) do without open and creat; the
 * programs on these cannot be attached there, and nothing is missed.
 *
 * Not seen: 32-bit processes on a 64-bit kernel, for which the kernel does not pass these tracepoints, and
 * io_uring.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "kernel_types.h"

/* Settings, which the loader can change before it loads the programs. */
const volatile __u32 target_pid = 0;		/* report this process only; 0: all of them */
const volatile bool failed_only = false;	/* report only what could not be opened */

#define PATH_MAX	4096	/* with the NUL; to longer names the kernel answers ENAMETOOLONG */
#define AT_FDCWD	-100

/* What creat() stands for; on mips, sparc, alpha and parisc the numbers are others. */
#define O_WRONLY	00000001
#define O_CREAT		00000100
#define O_TRUNC		00001000

/* A record of the ring, in the machine's own byte order. */
struct event {
	__u64 time;	/* when the call ended: CLOCK_MONOTONIC, in nanoseconds */
	__u64 flags;	/* O_RDONLY, O_CREAT and so on, as passed */
	__u32 pid;	/* the process, by the number that it has outside of all containers */
	__u32 tid;	/* the thread, likewise */
	__u32 uid;	/* the real user id, outside of all user namespaces */
	__s32 dfd;	/* where a relative name starts: a directory's file descriptor, or AT_FDCWD */
	__s32 ret;	/* the new file descriptor, or a negative error number */
	__u32 size;	/* bytes in name, with the NUL at its end; 0 if the name could not be read */
	char comm[16];	/* the thread's name */
	char name[];	/* as passed; only what the name needs is sent */
};

/* The note from a call's beginning to its end. Both addresses are in the memory of the process. */
struct call {
	__u64 name;
	__u64 how;	/* openat2 passes its flags in a struct open_how, here; 0 for the others */
	__u64 flags;
	__s32 dfd;
};

/*
 * LRU, "least recently used": when the map is full, the oldest note makes room for a new one. A note is left
 * behind if the end of a call is not seen, and in a plain hash map such notes would pile up until nothing new
 * fits.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/*
 * Room to put a record together, as it is larger than the 512 bytes of a program's stack. One for each CPU is
 * enough: while one of these programs runs on a CPU, no other one starts there.
 */
union scratch {
	struct event event;
	char room[sizeof(struct event) + PATH_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union scratch);
} scratch_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

static __always_inline int begin(__s32 dfd, __u64 name, __u64 flags, __u64 how)
{
	__u64 pid_tid = bpf_get_current_pid_tgid();
	__u32 tid = pid_tid;
	struct call call = {.name = name, .how = how, .flags = flags, .dfd = dfd};

	if (target_pid && target_pid != pid_tid >> 32)
		return 0;
	bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
	return 0;
}

static __always_inline int end(struct trace_event_raw_sys_exit *ctx)
{
	__u64 pid_tid = bpf_get_current_pid_tgid();
	__u32 tid = pid_tid, zero = 0;
	struct call *call = bpf_map_lookup_elem(&calls, &tid);
	struct event *event = bpf_map_lookup_elem(&scratch_map, &zero);
	long size;

	/*
	 * No note: the call began before we were attached, or it is not target_pid's. The scratch room is
	 * always there, but the verifier wants to see the test.
	 */
	if (!call || !event)
		return 0;
	if (failed_only && ctx->ret >= 0)
		goto forget;

	event->time = bpf_ktime_get_ns();
	event->pid = pid_tid >> 32;
	event->tid = tid;
	event->uid = bpf_get_current_uid_gid();
	event->dfd = call->dfd;
	event->ret = ctx->ret;
	event->flags = call->flags;
	if (call->how)	/* flags is the first field of struct open_how; 0 if it cannot be read */
		bpf_probe_read_user(&event->flags, sizeof(event->flags), (const void *)call->how);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	size = bpf_probe_read_user_str(event->name, PATH_MAX, (const void *)call->name);
	if (size < 0)
		size = 0;
	else if (size == 0)	/* older kernels forget to count the NUL of an empty string */
		size = 1;
	event->size = size;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event) + size);
forget:
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(struct trace_event_raw_sys_enter *ctx)
{
	return begin(ctx->args[0], ctx->args[1], ctx->args[2], 0);
}

SEC("tracepoint/syscalls/sys_exit_openat")
int exit_openat(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

SEC("tracepoint/syscalls/sys_enter_openat2")
int enter_openat2(struct trace_event_raw_sys_enter *ctx)
{
	return begin(ctx->args[0], ctx->args[1], 0, ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_openat2")
int exit_openat2(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

SEC("tracepoint/syscalls/sys_enter_open")
int enter_open(struct trace_event_raw_sys_enter *ctx)
{
	return begin(AT_FDCWD, ctx->args[0], ctx->args[1], 0);
}

SEC("tracepoint/syscalls/sys_exit_open")
int exit_open(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

SEC("tracepoint/syscalls/sys_enter_creat")
int enter_creat(struct trace_event_raw_sys_enter *ctx)
{
	return begin(AT_FDCWD, ctx->args[0], O_CREAT | O_WRONLY | O_TRUNC, 0);
}

SEC("tracepoint/syscalls/sys_exit_creat")
int exit_creat(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
