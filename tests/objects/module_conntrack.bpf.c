// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Functions that a kernel module has, or the kernel where it is built in: connections are noted and looked up. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct nf_conn {
	unsigned long status;
} __attribute__((preserve_access_index));

struct nf_conn___init {
	struct nf_conn ct;
} __attribute__((preserve_access_index));

/* include/net/netfilter/nf_conntrack_bpf.h, as far as all kernels have it */
struct bpf_ct_opts {
	int netns_id;
	int error;
	unsigned char l4proto;
	unsigned char dir;
	unsigned char reserved[2];
};

extern struct nf_conn___init *bpf_xdp_ct_alloc(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					       struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct bpf_ct_opts *opts, __u32 opts_size) __ksym;
extern struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *connection) __ksym;
extern void bpf_ct_set_timeout(struct nf_conn___init *connection, __u32 milliseconds) __ksym;
extern void bpf_ct_release(struct nf_conn *connection) __ksym;

const volatile __u16 port = 0;
int error = 0;

static void name(struct bpf_sock_tuple *tuple, struct bpf_ct_opts *opts)
{
	__builtin_memset(opts, 0, sizeof(*opts));
	opts->netns_id = BPF_F_CURRENT_NETNS;
	opts->l4proto = 17; /* IPPROTO_UDP */
	__builtin_memset(tuple, 0, sizeof(*tuple));
	tuple->ipv4.saddr = __builtin_bswap32(0xc0000201); /* 192.0.2.1 */
	tuple->ipv4.daddr = __builtin_bswap32(0xc0000202);
	tuple->ipv4.sport = tuple->ipv4.dport = port;
}

SEC("xdp")
int insert(struct xdp_md *ctx)
{
	struct bpf_sock_tuple tuple;
	struct bpf_ct_opts opts;
	struct nf_conn___init *made;
	struct nf_conn *connection;

	name(&tuple, &opts);
	made = bpf_xdp_ct_alloc(ctx, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	error = opts.error;
	if (!made)
		return 0;
	bpf_ct_set_timeout(made, 10000);
	connection = bpf_ct_insert_entry(made);
	if (!connection)
		return 0;
	bpf_ct_release(connection);
	return 1;
}

SEC("xdp")
int look_up(struct xdp_md *ctx)
{
	struct bpf_sock_tuple tuple;
	struct bpf_ct_opts opts;
	struct nf_conn *connection;

	name(&tuple, &opts);
	connection = bpf_xdp_ct_lookup(ctx, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	error = opts.error;
	if (!connection)
		return 0;
	bpf_ct_release(connection);
	return 1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
