// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * execsnoop: every program that was started, or that somebody tried to start, with all of its arguments.
 *
 * Arguments are any number of strings of any length: 6 MB at most where the kernel accepts them, and more
 * where it does not. But a BPF program has a stack of 512 bytes, and a record of a perf ring ends at 64 KiB.
 * So the arguments of one exec leave the kernel in pieces, which the reader joins.
 *
 * What is sent
 *	One text for each exec: the file name, then each argument, every string with a NUL at its end.
 *	The text is cut into pieces wherever it suits us, in the middle of a string too. Each piece
 *	says where in the text it begins, and the last one says that it is the last. All pieces of an
 *	exec are sent by one CPU, into its own ring, with nothing else of ours in between. So a gap in
 *	the offsets, or another exec before the last piece, mean that pieces were lost, as happens
 *	when the ring is full.
 *
 * When it is read
 *	At the end of the system call. At its beginning, strings that nobody has touched yet are often
 *	not in memory, and a BPF program cannot wait for them to be read in. So the program at the
 *	beginning only leaves a note for the one at the end: two addresses, in a hash map, under the
 *	id of the thread.
 *
 * Where it is read
 *	If the exec succeeded, the memory of the old program is gone, and the note is of no use. But
 *	the kernel has copied everything to the stack of the new program, one string after the other:
 *
 *	    arg_start                       arg_end                           env_end
 *	    | argv[0] \0 argv[1] \0 ...     | envp[0] \0 envp[1] \0 ...       | file name \0
 *
 *	This is what the new program and ps see, and for a script not quite what was passed: the
 *	kernel puts the interpreter in front, and the path of the script in place of argv[0]. The file
 *	name is the script's.
 *
 *	If the exec failed, the old memory is still there, and we follow the addresses from the note.
 *
 * Not seen: what 32-bit processes start on a 64-bit kernel, and on x86 and arm64 the start of a 32-bit
 * program by anybody. The kernel does not pass these tracepoints for system calls in 32-bit mode.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "kernel_types.h"

/* Settings, which the loader can change before it loads the programs. */
const volatile __s32 target_uid = -1;		/* report this user's execs only; -1: everybody's */
const volatile bool failed_only = false;	/* report only what could not be started */

/* The 6 MB that the kernel accepts are 768 pieces of this size. */
#define PIECE_SIZE	8192
#define MAX_PIECES	2048

/*
 * A failed exec's pieces may be longer: up to so many strings are put into one, as long as it has room for
 * PIECE_SIZE more bytes. The ring must be larger than the largest of them: 8 pages of 4 KiB.
 */
#define STRINGS		128
#define ROOM		(3 * PIECE_SIZE)

enum {
	/* The last piece of this exec. */
	EVENT_LAST = 1,
	/*
	 * Something is missing after this piece: it could not be read, as its address is bad or it is not in
	 * memory. The next piece begins with a new string.
	 */
	EVENT_UNREADABLE = 2,
	/* There are more arguments than we can follow. Set together with EVENT_LAST. */
	EVENT_TRUNCATED = 4,
};

/* A record of the ring, in the machine's own byte order. */
struct event {
	__u64 time;	/* CLOCK_MONOTONIC at the end of the call, in ns; with cpu, it identifies the exec */
	__u32 cpu;
	__u32 pid;	/* the process, by the number that it has outside of all containers */
	__u32 ppid;	/* its parent, likewise */
	__u32 uid;	/* the real user id, outside of all user namespaces */
	__s32 ret;	/* 0, or a negative error number */
	__u32 flags;	/* EVENT_... */
	__u32 offset;	/* where in the text this piece begins */
	__u32 size;	/* how many bytes of text are in this record */
	char comm[16];	/* the thread's name; after a success it is the new program's */
	char text[];	/* only what there is to send */
};

/* The note from the beginning of a call to its end: addresses in the memory of the process. */
struct call {
	__u64 filename;
	__u64 argv;
};

/*
 * Some notes are never taken away again. When an exec succeeds, the thread that called goes on as the only
 * one of its process, and under the id of the process: if it had another id before, the note is not found.
 * Nor is one of a process that is killed in the middle of its call. In a plain hash map they would pile up
 * until nothing fits. So this one is LRU: when it is full, the "least recently used" entry makes room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/* How far we have come. */
struct walk {
	__u64 string;	/* the address of the string to send now; in new memory, of the file name, or 0 */
	__u64 next;	/* where the address of the string after it lies; in new memory, the rest of the arguments */
	__u64 start;	/* what next began with */
	__u64 end;	/* in new memory, where the arguments end */
	__s64 error;	/* from reading an address at next, the last time */
};

/*
 * What is too large for a stack. One for each CPU is enough: while one of these programs runs on a CPU, no
 * other one starts there. 32 KiB are the most that the kernel grants.
 */
struct scratch {
	struct walk walk;
	union {
		struct event event;
		char room[sizeof(struct event) + ROOM];
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

static __always_inline struct scratch *get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch_map, &zero);
}

/*
 * Copies a string, and returns its length with the NUL, or a huge number if it cannot. That is what the
 * helper returns, if its result is taken for unsigned; only that older kernels return 0 for an empty string.
 */
static __always_inline __u64 read_string(char *to, __u32 room, __u64 from)
{
	__u64 length = bpf_probe_read_user_str(to, room, (const void *)from);

	return length ?: 1;
}

static __always_inline void new_memory_piece(struct walk *walk, struct event *event)
{
	__u64 size = 0, part = walk->end - walk->next;
	__u32 flags = EVENT_LAST;

	if (walk->string) {
		size = read_string(event->text, PIECE_SIZE, walk->string);
		walk->string = 0;
		if (size > PIECE_SIZE) {
			event->size = 0;
			event->flags = EVENT_UNREADABLE;
			return;
		}
	}
	if (part > PIECE_SIZE) {
		part = PIECE_SIZE;
		flags = 0;
	}
	if (bpf_probe_read_user(&event->text[size], part, (const void *)walk->next))
		flags |= EVENT_UNREADABLE;
	else
		size += part;
	walk->next += part;
	event->size = size;
	event->flags = flags;
}

static __always_inline void next_string(struct walk *walk)
{
	/* When the helper fails it leaves 0 behind. So 0 is the end in any case, and error tells which. */
	walk->error = bpf_probe_read_user(&walk->string, sizeof(walk->string), (const void *)walk->next);
	walk->next += sizeof(walk->string);
}

static __always_inline void old_memory_piece(struct walk *walk, struct event *event)
{
	__u64 size = 0;
	__u32 flags = 0;

	for (int i = 0; i < STRINGS && size <= ROOM - PIECE_SIZE; i++) {
		__u64 length = read_string(&event->text[size], PIECE_SIZE, walk->string);

		if (length < PIECE_SIZE) {
			size += length;
			next_string(walk);
		} else if (length == PIECE_SIZE) {
			/* There is more of it. It goes on where the helper has put its NUL. */
			size += PIECE_SIZE - 1;
			walk->string += PIECE_SIZE - 1;
		} else if (walk->string) {
			flags = EVENT_UNREADABLE;
			next_string(walk);
			break;
		} else {
			/* Either the 0 at the end of argv, or what the helper left; argv may be 0, too. */
			flags = walk->error && walk->start ? EVENT_LAST | EVENT_UNREADABLE : EVENT_LAST;
			break;
		}
	}
	event->size = size;
	event->flags = flags;
}

/*
 * Puts the next piece together in the scratch room, by the state of the walk there.
 *
 * A global function of its own, because the verifier checks one of these once, for whatever it may find in
 * the room, and trusts it wherever it is called. Were it inlined, the verifier would walk through it in each
 * of the 2048 turns of the loop that calls it, and give up.
 */
__noinline int next_piece(void)
{
	struct scratch *scratch = get_scratch();

	if (!scratch)	/* it is always there, but the verifier wants to see the test */
		return 0;
	scratch->event.offset += scratch->event.size;
	if (scratch->event.ret == 0)
		new_memory_piece(&scratch->walk, &scratch->event);
	else
		old_memory_piece(&scratch->walk, &scratch->event);
	return 0;
}

static __always_inline int begin(__u64 filename, __u64 argv)
{
	struct call call = {.filename = filename, .argv = argv};
	__u32 tid = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
	return 0;
}

static __always_inline int end(struct trace_event_raw_sys_exit *ctx)
{
	__u64 pid_tid = bpf_get_current_pid_tgid();
	__u32 tid = pid_tid, uid = bpf_get_current_uid_gid();
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct call *found = bpf_map_lookup_elem(&calls, &tid), call = {};
	struct scratch *scratch = get_scratch();
	struct mm_struct *mm;
	struct event *event;
	__u64 size;

	if (found) {
		call = *found;
		bpf_map_delete_elem(&calls, &tid);
	}
	if (!scratch)
		return 0;
	if (target_uid != -1 && (__u32)target_uid != uid)
		return 0;
	if (failed_only && ctx->ret == 0)
		return 0;

	event = &scratch->event;
	event->time = bpf_ktime_get_ns();
	event->cpu = bpf_get_smp_processor_id();
	event->pid = pid_tid >> 32;
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = uid;
	event->ret = ctx->ret;
	event->offset = 0;
	event->size = 0;
	bpf_get_current_comm(event->comm, sizeof(event->comm));

	if (ctx->ret == 0) {
		mm = BPF_CORE_READ(task, mm);
		scratch->walk.string = BPF_CORE_READ(mm, env_end);
		scratch->walk.next = BPF_CORE_READ(mm, arg_start);
		scratch->walk.end = BPF_CORE_READ(mm, arg_end);
	} else {
		/* Without a note the call began before we were attached, and all that is known is its end. */
		scratch->walk = (struct walk){.string = call.filename, .next = call.argv, .start = call.argv};
	}
	for (int piece = 0; piece < MAX_PIECES; piece++) {
		next_piece();
		size = event->size;
		if (size > ROOM)	/* it never is; again, the verifier wants to see the test */
			return 0;
		/* A full ring is no reason to stop: the reader may make room, and can tell what is missing. */
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event) + size);
		if (event->flags & EVENT_LAST)
			return 0;
	}
	event->offset += event->size;
	event->size = 0;
	event->flags = EVENT_LAST | EVENT_TRUNCATED;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event));
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_execve")
int enter_execve(struct trace_event_raw_sys_enter *ctx)
{
	return begin(ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_exit_execve")
int exit_execve(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

SEC("tracepoint/syscalls/sys_enter_execveat")
int enter_execveat(struct trace_event_raw_sys_enter *ctx)
{
	return begin(ctx->args[1], ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_execveat")
int exit_execveat(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
