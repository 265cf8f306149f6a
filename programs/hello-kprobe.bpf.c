// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * hello-kprobe: a BPF program inside a function of the kernel, the first example of most introductions.
 *
 * A kprobe ("kernel probe") stops at an instruction of the kernel; here at the first one of a function, by
 * that function's name. do_sys_openat2() is what open(), openat(), openat2() and creat() all come down to, so
 * we run whenever somebody opens a file.
 *
 * Nobody promises that the function keeps its name, its arguments, or exists at all: other than tracepoints
 * (see hello), kprobes look into the kernel as it happens to be. This function came with Linux 5.6.
 *
 * There are two programs, and one is enough. The first does what the first program always does. The second
 * sends what it has seen to its own reader, and nobody else: that is how tools are made.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* A part of every line, so that a reader knows its own program's lines from those of another. */
const volatile __u32 instance = 0;

SEC("kprobe/do_sys_openat2")
int hello(void *ctx)
{
	bpf_printk("purebpf-hello-kprobe[%u]: Hello, world!", instance);
	return 0;
}

/*
 * What a kprobe hands us are the registers of the processor, as they were when the function was entered. Its
 * arguments are among them; in which ones, is a convention of each machine. So each has its own structure,
 * all called "struct pt_regs" in the kernel (the name up to the ___ is what the loader looks for), and the
 * loader tells us which fields there are: see kernel_types.h.
 */
struct pt_regs___x86_64 {
	unsigned long si;
} __attribute__((preserve_access_index));

struct pt_regs___arm64 {
	unsigned long regs[31];
} __attribute__((preserve_access_index));

struct pt_regs___riscv {
	unsigned long a1;
} __attribute__((preserve_access_index));

static __always_inline const void *second_argument(void *ctx)
{
	struct pt_regs___x86_64 *x86_64 = ctx;
	struct pt_regs___arm64 *arm64 = ctx;
	struct pt_regs___riscv *riscv = ctx;

	if (bpf_core_field_exists(x86_64->si))
		return (const void *)BPF_CORE_READ(x86_64, si);
	if (bpf_core_field_exists(arm64->regs))
		return (const void *)BPF_CORE_READ(arm64, regs[1]);
	if (bpf_core_field_exists(riscv->a1))
		return (const void *)BPF_CORE_READ(riscv, a1);
	return NULL;
}

/* A record of the ring, in the machine's own byte order. */
struct event {
	__u32 pid;	/* the process, by the number that it has outside of all containers */
	__s32 size;	/* bytes in name, with the NUL at its end; negative if the name could not be read */
	char comm[16];	/* the thread's name */
	char name[256];	/* what is longer is cut */
};

/* clang describes in BTF only what lies in memory, or is passed. With this, readers find the fields by their names. */
const struct event *const record = NULL;

/* A perf ring: one ring buffer for each CPU, written by the kernel and mapped into the memory of the reader. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

/* do_sys_openat2(int dfd, const char __user *filename, struct open_how *how) */
SEC("kprobe/do_sys_openat2")
int hello_ring(void *ctx)
{
	struct event event = {.pid = bpf_get_current_pid_tgid() >> 32};

	bpf_get_current_comm(event.comm, sizeof(event.comm));
	event.size = bpf_probe_read_user_str(event.name, sizeof(event.name), second_argument(ctx));
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}

/* The kernel keeps the functions that read memory and send records for programs under a GPL-compatible licence. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
