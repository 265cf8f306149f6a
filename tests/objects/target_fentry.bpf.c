// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Each kind of program that traces a kernel function or guards a security hook. Which are loaded, the test says. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(name, section)	\
	SEC(section)		\
	int name(void *context)	\
	{			\
		return 0;	\
	}

PROGRAM(enter, "fentry/do_nanosleep")
PROGRAM(enter_sleeping, "?fentry.s/security_file_open")
PROGRAM(leave, "?fexit/vmlinux:do_nanosleep")
PROGRAM(leave_sleeping, "?fexit.s/security_file_open")
PROGRAM(change, "?fmod_ret/security_file_open")
PROGRAM(change_sleeping, "?fmod_ret.s/security_file_open")
PROGRAM(guard, "?lsm/file_open")
PROGRAM(guard_sleeping, "?lsm.s/file_open")
PROGRAM(guard_group, "?lsm_cgroup/socket_create")
PROGRAM(trace_point, "?tp_btf/sched_switch")
PROGRAM(replace, "?freplace/replaceable")
PROGRAM(misspelt, "?fentry/do_nanoslep")
PROGRAM(misspelt_point, "?tp_btf/sched_swich")
PROGRAM(misspelt_hook, "?lsm/file_opne")
PROGRAM(misspelt_iterator, "?iter/tasks")
PROGRAM(nameless, "?fentry")
PROGRAM(in_module, "?fentry/no_such_module:do_nanosleep")

char LICENSE[] SEC("license") = "Dual MIT/GPL";
