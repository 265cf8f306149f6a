// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Maps with every field that a definition can have, and the kinds of storage that belong to kernel objects. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct;

struct value {
	struct bpf_spin_lock lock;
	int number;
	struct bpf_timer timer;
};

struct with_pointer {
	struct task_struct __kptr *task;
};

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 100);
	__uint(map_extra, 7);
	__type(value, int);
} bloom SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_NUMA_NODE | BPF_F_NO_COMMON_LRU);
	__uint(numa_node, 0);
	__type(key, int);
	__type(value, int);
} flags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG | BPF_F_MMAPABLE);
	__type(key, unsigned int);
	__type(value, int);
} read_only SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct value);
} lock_and_timer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct with_pointer);
} kernel_pointer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, long);
} of_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, long);
} of_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, long);
} of_inodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, long);
} of_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct bpf_devmap_val);
} devices SEC(".maps");

SEC("raw_tp/sys_enter")
int use(void *ctx)
{
	int key = 0;

	return bpf_map_lookup_elem(&read_only, &key) == bpf_map_lookup_elem(&flags, &key);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
