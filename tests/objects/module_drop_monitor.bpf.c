// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Symbols that a kernel module has: a variable of each CPU, by its type, and a function, by its address. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct sk_buff_head {
	void *next;
} __attribute__((preserve_access_index));

struct per_cpu_dm_data {
	struct sk_buff_head drop_queue;
} __attribute__((preserve_access_index));

extern const struct per_cpu_dm_data dm_cpu_data __ksym;
extern const void sched_send_work __ksym;

unsigned long queue = 0;
unsigned long next = 0;
unsigned long address = 0;

SEC("xdp")
int read(struct xdp_md *ctx)
{
	const struct per_cpu_dm_data *data = bpf_per_cpu_ptr(&dm_cpu_data, 0);

	if (data) {
		queue = (unsigned long)&data->drop_queue;
		next = (unsigned long)data->drop_queue.next;
	}
	address = (unsigned long)&sched_send_work;
	return 1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
