// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Maps that come filled: with other maps, and with programs. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 5);
	__type(key, __u32);
	__array(values, struct inner);
} array_of_maps SEC(".maps") = {
	.values = {[1] = &first, [3] = &second, [4] = &first},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} hash_of_maps SEC(".maps") = {
	.values = {[0] = &second, [2] = &first},
};

int plus_one(struct __sk_buff *skb);
int plus_two(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(struct __sk_buff *));
} programs SEC(".maps") = {
	.values = {[0] = plus_two, [3] = plus_one},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__array(values, int(struct __sk_buff *));
} no_programs SEC(".maps");

static __u64 value_in(void *outer, __u32 key)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(outer, &key);
	__u64 *value = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

	return value ? *value : 0;
}

SEC("tc")
int plus_one(struct __sk_buff *skb)
{
	return value_in(&array_of_maps, 1) + 1;
}

SEC("tc")
int plus_two(struct __sk_buff *skb)
{
	return value_in(&hash_of_maps, 0) + 2;
}

SEC("tc")
int jump_to_plus_one(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, 3);
	return 1000;
}

SEC("tc")
int jump_to_plus_two(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, 0);
	return 1000;
}

SEC("tc")
int jump_nowhere(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, 1);
	bpf_tail_call(skb, &no_programs, 0);
	return 1000;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
