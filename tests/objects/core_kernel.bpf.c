// CO-RE against the kernel that runs the test, with types that every kernel has and some that none has.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct pid_namespace {
	unsigned int level;
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
	struct task_struct *real_parent;
	unsigned int in_execve : 1;
	int exit_code;
	char comm[16];
	int never_existed;
} __attribute__((preserve_access_index));

struct task_struct___renamed {
	long state;
} __attribute__((preserve_access_index));

struct no_such_struct {
	int member;
} __attribute__((preserve_access_index));

enum bpf_map_type___mine {
	BPF_MAP_TYPE_HASH___mine = 100,
	BPF_MAP_TYPE_NEVER___mine = 101,
};

#define PROGRAM(name) SEC("socket") unsigned long name

PROGRAM(offset_tgid)(void) { return bpf_core_field_offset(struct task_struct, tgid); }
PROGRAM(offset_real_parent)(void) { return bpf_core_field_offset(struct task_struct, real_parent); }
PROGRAM(offset_exit_code)(void) { return bpf_core_field_offset(struct task_struct, exit_code); }
PROGRAM(offset_comm)(void) { return bpf_core_field_offset(struct task_struct, comm); }
PROGRAM(offset_level)(void) { return bpf_core_field_offset(struct pid_namespace, level); }
PROGRAM(size_task)(void) { return bpf_core_type_size(struct task_struct); }
PROGRAM(id_task)(void) { return bpf_core_type_id_kernel(struct task_struct); }
PROGRAM(exists_never)(void) { return bpf_core_field_exists(struct task_struct, never_existed); }
PROGRAM(exists_state)(void) { return bpf_core_field_exists(struct task_struct___renamed, state); }
PROGRAM(exists_type)(void) { return bpf_core_type_exists(struct no_such_struct); }
PROGRAM(bits_offset)(struct task_struct *t) { return __CORE_RELO(t, in_execve, BYTE_OFFSET); }
PROGRAM(bits_lshift)(struct task_struct *t) { return __CORE_RELO(t, in_execve, LSHIFT_U64); }
PROGRAM(map_hash)(void) { return bpf_core_enum_value(enum bpf_map_type___mine, BPF_MAP_TYPE_HASH___mine); }
PROGRAM(map_never)(void) { return bpf_core_enum_value_exists(enum bpf_map_type___mine, BPF_MAP_TYPE_NEVER___mine); }

SEC("tracepoint/syscalls/sys_enter_execve")
int parent_pid(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	(void)ctx;
	if (bpf_core_field_exists(task->never_existed))
		return task->never_existed;
	return BPF_CORE_READ(task, real_parent, tgid);
}

char LICENSE[] SEC("license") = "GPL";
