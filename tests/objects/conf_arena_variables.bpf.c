// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Variables in an arena, which the kernel maps where it likes: global and static ones, a struct, and a large array. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ARENA __attribute__((address_space(1)))

struct counts {
	__u64 calls, sum;
};

struct {
	__uint(type, 33);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 10);
} arena SEC(".maps");

int ARENA number = 7;
static long ARENA hidden_number = 5;
struct counts ARENA counts = {1, 2};
struct counts ARENA history[300];
int ordinary = 3;

static __noinline int count(int at)
{
	if (at >= 0 && at < 300)
		history[at].calls++;
	return ordinary;
}

SEC("syscall")
int use(void *ctx)
{
	number += 1;
	hidden_number += number;
	counts.calls++;
	counts.sum += hidden_number;
	count(299);
	return number;
}

SEC("syscall")
int address(void *ctx)
{
	counts.sum = (__u64)&history[299].sum;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
