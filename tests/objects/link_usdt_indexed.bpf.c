// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A program for a static tracepoint whose arguments are in memory at two registers' sum. Its maps are as those of the
 * usdt.bpf.h that came with libbpf 1.7.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum arg_type {
	ARG_CONST,
	ARG_REG,
	ARG_REG_DEREF,
	ARG_SIB,
};

struct arg_spec {
	__u64 val_off;
	enum arg_type arg_type : 8;
	__u16 idx_reg_off : 12;
	__u16 scale_bitshift : 4;
	__u8 __reserved : 8;
	short reg_off;
	_Bool arg_signed;
	char arg_bitshift;
};

struct spec {
	struct arg_spec args[12];
	__u64 usdt_cookie;
	short arg_cnt;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, struct spec);
} __bpf_usdt_specs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, long);
	__type(value, __u32);
} __bpf_usdt_ip_to_spec_id SEC(".maps");

struct seen {
	__u64 count;
	__s64 arguments[4];
};

struct seen seen = {};

SEC("usdt")
int on_usdt(void *ctx)
{
	int number = bpf_get_attach_cookie(ctx), i;
	struct spec *spec = bpf_map_lookup_elem(&__bpf_usdt_specs, &number);

	if (!spec)
		return 0;
	__sync_fetch_and_add(&seen.count, 1);
	for (i = 0; i < 4; i++) {
		struct arg_spec *arg = &spec->args[i];
		__u64 base, index, value = 0;

		if (i >= spec->arg_cnt || arg->arg_type != ARG_SIB)
			continue;
		bpf_probe_read_kernel(&base, sizeof(base), ctx + arg->reg_off);
		bpf_probe_read_kernel(&index, sizeof(index), ctx + arg->idx_reg_off);
		bpf_probe_read_user(&value, sizeof(value), (void *)base + (index << arg->scale_bitshift) + arg->val_off);
		value <<= arg->arg_bitshift;
		seen.arguments[i] = arg->arg_signed ? (__s64)value >> arg->arg_bitshift : value >> arg->arg_bitshift;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
