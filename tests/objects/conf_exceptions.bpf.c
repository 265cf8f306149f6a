// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program that throws, and the function that the kernel calls then: libbpf appends it like one that is called. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern void bpf_throw(__u64 cookie) __ksym;

#define EXCEPTION_CALLBACK(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

__noinline int on_exception(__u64 cookie)
{
	return cookie + 1;
}

static __noinline int check(int value)
{
	if (value > 3)
		bpf_throw(5);
	return value;
}

SEC("tc")
EXCEPTION_CALLBACK(on_exception)
int throws(struct __sk_buff *skb)
{
	return check(skb->len);
}

SEC("tc")
int throws_without_callback(struct __sk_buff *skb)
{
	if (skb->len > 100)
		bpf_throw(0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
