// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A type that a kernel module has, or the kernel where the module is built in: the other end of a veth pair. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct net_device {
	int ifindex;
	char name[16];
	unsigned char priv[0];	/* Linux 6.10 */
} __attribute__((preserve_access_index));

struct veth_priv {
	struct net_device *peer;
} __attribute__((preserve_access_index));

#define NETDEV_ALIGN 32

const volatile char only_name[16] = "";
int packets = 0;
int peer = 0;

/* netdev_priv() of <linux/netdevice.h> */
static struct veth_priv *private_part(struct net_device *device)
{
	if (bpf_core_field_exists(device->priv))
		return (void *)device + bpf_core_field_offset(device->priv);
	return (void *)device + ((bpf_core_type_size(struct net_device) + NETDEV_ALIGN - 1) & -NETDEV_ALIGN);
}

SEC("raw_tp/net_dev_start_xmit")
int sent(struct bpf_raw_tracepoint_args *args)
{
	struct net_device *device = (void *)args->args[1];
	char name[16] = "";

	BPF_CORE_READ_INTO(&name, device, name);
	for (int i = 0; i < 16; i++)
		if (name[i] != only_name[i])
			return 0;
	peer = BPF_CORE_READ(private_part(device), peer, ifindex);
	__sync_fetch_and_add(&packets, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
