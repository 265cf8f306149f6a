// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A licence that is not the GPL and very long, and a kernel version of the object's own. */
#include <linux/bpf.h>
#include <linux/version.h>
#include <bpf/bpf_helpers.h>

SEC("socket")
int use(struct __sk_buff *skb)
{
	return 0;
}

unsigned int VERSION SEC("version") = KERNEL_VERSION(4, 9, 300);
char LICENSE[] SEC("license") = "A licence whose name has more than the 64 characters that some loader has room for";
