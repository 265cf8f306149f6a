// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * killsnoop: who was killed by SIGKILL, and by whom.
 *
 * Kills are rare and nobody has to hear of each at once, so nothing is sent anywhere: the program writes each
 * kill into a hash map, and its reader walks the map when it likes.
 *
 * The tracepoint signal_generate is passed whenever a signal is sent, whatever way it was sent: kill(),
 * tgkill(), pidfd_send_signal(), the end of a pid namespace, cgroup.kill, or the kernel itself when memory
 * runs out. We run on behalf of the sender, and the context tells about the receiver.
 *
 * The program is written the way they were before BTF (kernel 5.2): it needs no type information, neither its
 * own nor the kernel's, and so runs where the others here cannot.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SIGKILL				9
#define TRACE_SIGNAL_DELIVERED		0	/* from the kernel's include/trace/events/signal.h */

/*
 * What the tracepoint hands us: events/signal/signal_generate/format in tracefs. This layout is the same on
 * 32-bit and 64-bit kernels. (Some PREEMPT_RT kernels have more in common: only CO-RE is a match for them.)
 */
struct signal_generate {
	__u64 common;	/* what every tracepoint begins with */
	__s32 sig;
	__s32 error;
	__s32 code;	/* how it was sent: SI_USER (0), SI_TKILL (-6), SI_KERNEL (0x80)... */
	char comm[16];	/* of the receiver, as are the following */
	__s32 pid;
	__s32 group;	/* 1: sent to a process, 0: to one thread */
	__s32 result;
};

/* A value of the map. The key is the victim: the id of the process or thread that the signal was sent to. */
struct kill {
	__u64 time;		/* CLOCK_MONOTONIC, in nanoseconds */
	__u32 killer_pid;	/* the process, outside of all containers; 0: the kernel, on an idle CPU */
	__u32 killer_uid;	/* the real user id, outside of all user namespaces */
	__s32 code;		/* with SI_KERNEL, the killer is merely who was running, or needed memory */
	__s32 group;		/* as above */
	char killer_comm[16];
	char victim_comm[16];
};

/*
 * A legacy map definition: one of these structures, byte by byte in the section "maps", for each map. The
 * structure was a private matter between programs and their loaders, and loaders differed about it. This is
 * libbpf's form, until its version 1.0 dropped it from its headers together with the section, in favour of
 * definitions in BTF. Hence it is defined here.
 */
struct bpf_map_def {
	unsigned int type;
	unsigned int key_size;
	unsigned int value_size;
	unsigned int max_entries;
	unsigned int map_flags;
};

/* When the map is full, further kills are not noted; the reader can tell by the number of entries. */
struct bpf_map_def SEC("maps") kills = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(__u32),
	.value_size = sizeof(struct kill),
	.max_entries = 16384,
};

SEC("tracepoint/signal/signal_generate")
int note_kill(struct signal_generate *ctx)
{
	__u32 victim = ctx->pid;
	struct kill kill = {
		.code = ctx->code,
		.group = ctx->group,
	};

	/*
	 * A signal that is not delivered kills nobody: it was sent to a process that is dying already, or to
	 * the init process of a container from within. So the first killer is the one that stays noted.
	 */
	if (ctx->sig != SIGKILL || ctx->result != TRACE_SIGNAL_DELIVERED)
		return 0;

	kill.time = bpf_ktime_get_ns();
	kill.killer_pid = bpf_get_current_pid_tgid() >> 32;
	kill.killer_uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(kill.killer_comm, sizeof(kill.killer_comm));
	__builtin_memcpy(kill.victim_comm, ctx->comm, sizeof(kill.victim_comm));
	bpf_map_update_elem(&kills, &victim, &kill, BPF_ANY);
	return 0;
}

/* Read by loaders of that time, too; without it the kernel would refuse the helpers above. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
