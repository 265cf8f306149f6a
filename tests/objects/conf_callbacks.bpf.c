// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Functions whose address is taken: for loops, for walks over maps and for timers. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_map;

struct value {
	struct bpf_timer timer;
	int count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct value);
} values SEC(".maps");

int total;

static __noinline int add(int number)
{
	total += number;
	return 0;
}

static int on_index(unsigned int index, void *context)
{
	return add(index);
}

static long on_element(struct bpf_map *map, const int *key, struct value *value, void *context)
{
	return bpf_loop(2, on_index, NULL, 0) < 0;
}

static int on_timer(void *map, int *key, struct value *value)
{
	return add(*key);
}

SEC("tc")
int loops(struct __sk_buff *skb)
{
	bpf_loop(3, on_index, NULL, 0);
	bpf_for_each_map_elem(&values, on_element, NULL, 0);
	return 0;
}

SEC("tc")
int timers(struct __sk_buff *skb)
{
	int key = 0;
	struct value *value = bpf_map_lookup_elem(&values, &key);

	if (value && !bpf_timer_init(&value->timer, &values, 1))
		bpf_timer_set_callback(&value->timer, on_timer);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
