// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs whose exceptions the kernel hands to a function of theirs, which nothing calls. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define EXCEPTION_CALLBACK(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

static __attribute__((noinline)) int helper_of_callback(__u64 cookie)
{
	return cookie ? 1 : 2;
}

__attribute__((noinline)) int on_exception(__u64 cookie)
{
	return helper_of_callback(cookie) + 40;
}

__attribute__((noinline)) int called(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("tc")
EXCEPTION_CALLBACK(on_exception)
int with_callback(struct __sk_buff *skb)
{
	return called(skb);
}

SEC("tc")
int without(struct __sk_buff *skb)
{
	return called(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
