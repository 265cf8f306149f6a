// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs on functions of the kernel, of other programs, and on security hooks; each counts in `hits`, by `slot`. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

enum slot { ENTER, LEAVE, CHANGE, GUARD, GUARD_SLEEPING, ENTER_COOKIE, SESSION, MANY, MANY_LEAVE, MANY_SESSION, SLOTS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

const volatile __u32 only_tgid = 0;
volatile int refuse = 0;

static int hit(__u32 slot, __u64 worth)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &slot);

	if (count && bpf_get_current_pid_tgid() >> 32 == only_tgid) {
		__sync_fetch_and_add(count, worth);
		return 1;
	}
	return 0;
}

SEC("?fentry/hrtimer_nanosleep")
int BPF_PROG(enter)
{
	hit(ENTER, 1);
	return 0;
}

SEC("?fentry/hrtimer_nanosleep")
int BPF_PROG(enter_cookie)
{
	hit(ENTER_COOKIE, bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("?fexit/hrtimer_nanosleep")
int BPF_PROG(leave)
{
	hit(LEAVE, 1);
	return 0;
}

SEC("?fsession/hrtimer_nanosleep")
int BPF_PROG(session)
{
	hit(SESSION, 1);
	return 0;
}

SEC("?fentry.multi/hrtimer_nano*")
int BPF_PROG(many)
{
	hit(MANY, 1);
	return 0;
}

SEC("?fexit.multi/hrtimer_nano*")
int BPF_PROG(many_leave)
{
	hit(MANY_LEAVE, 1);
	return 0;
}

SEC("?fsession.multi/hrtimer_nano*")
int BPF_PROG(many_session)
{
	hit(MANY_SESSION, 1);
	return 0;
}

SEC("?fmod_ret/security_file_open")
int BPF_PROG(change)
{
	return hit(CHANGE, 1) && refuse ? -85 : 0; /* ERESTART, which nothing else would answer */
}

SEC("?lsm/file_open")
int BPF_PROG(guard)
{
	return hit(GUARD, 1) && refuse ? -85 : 0;
}

SEC("?lsm.s/file_open")
int BPF_PROG(guard_sleeping)
{
	return hit(GUARD_SLEEPING, 1) && refuse ? -85 : 0;
}

SEC("?lsm_cgroup/socket_create")
int BPF_PROG(guard_group)
{
	return 0; /* that is: no */
}

SEC("?freplace/replaceable")
int replacement(struct __sk_buff *skb)
{
	return 7;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
