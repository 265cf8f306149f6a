// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs bound by BTF to a function, a tracepoint, a security hook or an iterator of the kernel. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(name, section) \
	SEC(section) \
	int name(void *ctx) \
	{ \
		return 0; \
	}

PROGRAM(on_tracepoint, "tp_btf/sched_switch")
PROGRAM(on_entry, "fentry/vfs_read")
PROGRAM(on_exit, "fexit/vfs_read")
PROGRAM(on_sleepable_entry, "fentry.s/security_file_open")
PROGRAM(on_sleepable_exit, "fexit.s/security_file_open")
PROGRAM(modify, "fmod_ret/bpf_modify_return_test")
PROGRAM(modify_sleepable, "fmod_ret.s/security_file_open")
PROGRAM(on_hook, "lsm/file_open")
PROGRAM(on_sleepable_hook, "lsm.s/file_open")
PROGRAM(on_cgroup_hook, "lsm_cgroup/socket_create")
PROGRAM(of_tasks, "iter/task")
PROGRAM(of_tasks_sleepable, "iter.s/task")
PROGRAM(of_maps, "iter/bpf_map_elem")

char LICENSE[] SEC("license") = "GPL";
