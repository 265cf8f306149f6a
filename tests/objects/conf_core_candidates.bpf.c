// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* CO-RE with types that a kernel has several of by the same name: all is well only if they agree. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct syscall_tp_t {
	unsigned long long regs;
	unsigned long syscall_nr;
	unsigned long ret;
	unsigned long args[6];
};

struct elf_note_info {
	struct elf_thread_core_info *thread;
	unsigned long size;
	int thread_notes;
};

struct elf_thread_core_info {
	struct task_struct *task;
	int num_notes;
};

struct getdents_callback {
	char *name;
	int sequence;
	struct linux_dirent *current_dir;
};

struct irq_info {
	unsigned short irq;
	short type;
	void *desc;
};

struct remap_data {
	struct mm_struct *mm;
	void *pgprot;
};

#pragma clang attribute pop

#define RETURNS(name, expression) \
	SEC("socket") \
	unsigned long name(void *ctx) \
	{ \
		return expression; \
	}

RETURNS(offset_agrees, bpf_core_field_offset(struct syscall_tp_t, syscall_nr))
RETURNS(only_one_has_it, bpf_core_field_offset(struct syscall_tp_t, args[2]))
RETURNS(only_the_other_has_it, bpf_core_field_offset(struct syscall_tp_t, ret))
RETURNS(exists_in_one, bpf_core_field_exists(struct syscall_tp_t, ret))
RETURNS(sizes_differ, bpf_core_type_size(struct syscall_tp_t))
RETURNS(ids_differ, bpf_core_type_id_kernel(struct syscall_tp_t))
RETURNS(both_exist, bpf_core_type_exists(struct elf_note_info))
RETURNS(notes_size, bpf_core_field_offset(struct elf_note_info, size))
RETURNS(notes_thread, bpf_core_field_offset(struct elf_note_info, thread_notes))
RETURNS(core_notes, bpf_core_field_offset(struct elf_thread_core_info, num_notes))
RETURNS(callback_name, bpf_core_field_offset(struct getdents_callback, name))
RETURNS(callback_sequence, bpf_core_field_exists(struct getdents_callback, sequence))
RETURNS(irq_type, bpf_core_field_offset(struct irq_info, irq) + bpf_core_field_exists(struct irq_info, desc))
RETURNS(remap, bpf_core_field_exists(struct remap_data, pgprot) + bpf_core_field_offset(struct remap_data, mm))

char LICENSE[] SEC("license") = "GPL";
