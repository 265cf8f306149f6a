// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * xdpcount: how many packets of which protocol arrive at a network interface.
 *
 * XDP ("eXpress Data Path") runs a program in the driver of the network card, on a packet that has just
 * arrived and that the rest of the kernel does not know of yet. The program can throw it away, send it back or
 * elsewhere; this one counts it and lets it pass. Where a driver cannot do that, the kernel runs the program a
 * little later ("generic" XDP): that works on every interface, and is slower.
 *
 * Packets that are sent do not come by here.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct key {
	__u16 ethertype;	/* ETH_P_IP and so on; below 1536 it is the length of an IEEE 802.3 packet, and 0 here */
	__u8 protocol;		/* of IPv4: IPPROTO_TCP and so on; of IPv6: the header that follows IPv6's; else 0 */
	__u8 truncated;		/* the packet ended before that could be read */
};

struct counter {
	__u64 packets;
	__u64 bytes;	/* with the Ethernet header, without the checksum at the end */
};

/*
 * Each CPU has values of its own, and no other CPU writes them: so counting takes no lock. Whoever reads the map
 * gets those of all CPUs. It has room for more protocols than anybody sees; anybody could make some up, though.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, struct counter);
} counters SEC(".maps");

struct vlan_header {
	__be16 tag;
	__be16 ethertype;	/* of what follows */
};

/*
 * The verifier lets us read a packet only up to where we have compared the address with its end. It follows each
 * comparison, and would refuse the program otherwise.
 */
static __always_inline void classify(void *data, void *end, struct key *key)
{
	struct ethhdr *ethernet = data;
	struct vlan_header *vlan;
	struct ipv6hdr *ipv6;
	struct iphdr *ip;
	__be16 ethertype;

	key->truncated = 1;
	data = ethernet + 1;
	if (data > end)
		return;
	ethertype = ethernet->h_proto;

	/* A packet of a VLAN, or of one inside another, says so, and then what it is. */
	for (int depth = 0; depth < 2; depth++) {
		if (ethertype != bpf_htons(ETH_P_8021Q) && ethertype != bpf_htons(ETH_P_8021AD))
			break;
		vlan = data;
		data = vlan + 1;
		if (data > end)
			return;
		ethertype = vlan->ethertype;
	}

	key->ethertype = bpf_ntohs(ethertype);
	if (key->ethertype < ETH_P_802_3_MIN)
		key->ethertype = 0;
	if (key->ethertype == ETH_P_IP) {
		ip = data;
		if ((void *)(ip + 1) > end)
			return;
		key->protocol = ip->protocol;
	} else if (key->ethertype == ETH_P_IPV6) {
		ipv6 = data;
		if ((void *)(ipv6 + 1) > end)
			return;
		key->protocol = ipv6->nexthdr;
	}
	key->truncated = 0;
}

SEC("xdp")
int count_packet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct counter *counter, none = {};
	struct key key = {};

	classify(data, end, &key);
	counter = bpf_map_lookup_elem(&counters, &key);
	if (!counter) {
		/* BPF_NOEXIST: if another CPU was faster, it is counting already. */
		bpf_map_update_elem(&counters, &key, &none, BPF_NOEXIST);
		counter = bpf_map_lookup_elem(&counters, &key);
		if (!counter)	/* the map is full */
			return XDP_PASS;
	}
	counter->packets++;
	counter->bytes += end - data;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
