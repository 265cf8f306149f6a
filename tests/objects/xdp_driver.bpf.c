// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program for the driver of one network interface: it calls a function of that, which other programs may not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum xdp_rss_hash_type {
	XDP_RSS_TYPE_NONE,
};

extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *, __u32 *, enum xdp_rss_hash_type *) __ksym;

int packets, answer = -1;

SEC("xdp")
int in_driver(struct xdp_md *packet)
{
	enum xdp_rss_hash_type type;
	__u32 hash;

	answer = bpf_xdp_metadata_rx_hash(packet, &hash, &type);
	__sync_fetch_and_add(&packets, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
