// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Programs bound by BTF to what is not there, or not said. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(name, section) \
	SEC("?" section) \
	int name(void *ctx) \
	{ \
		return 0; \
	}

PROGRAM(no_function, "fentry/no_such_function")
PROGRAM(no_tracepoint, "tp_btf/no_such_tracepoint")
PROGRAM(no_hook, "lsm/no_such_hook")
PROGRAM(no_iterator, "iter/no_such_iterator")
PROGRAM(not_said, "fentry")
PROGRAM(empty, "fentry/")
PROGRAM(not_a_function, "fentry/task_struct")
PROGRAM(no_module, "fentry/no_such_module:vfs_read")
PROGRAM(not_of_a_module, "fentry/vmlinux:vfs_read")
PROGRAM(session, "fsession/vfs_read")
PROGRAM(sleepable_session, "fsession.s/security_file_open")
PROGRAM(replacement, "freplace/some_function")
PROGRAM(writable, "tp_btf.w/sched_switch")

char LICENSE[] SEC("license") = "GPL";
