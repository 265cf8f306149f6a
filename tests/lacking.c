/*
 * An older kernel, as far as loading BPF objects goes: preloaded, it refuses what a kernel without some features would.
 *
 *	LACKS=BTF_FLOAT,PROG_NAME LD_PRELOAD=lacking.so COMMAND
 *
 * The names are those of enum Feature, which are libbpf's. Both libbpf and purebpf make their calls by way of syscall(),
 * which is replaced here. A loader finds out by its own probes what is lacking.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

/* In 32-bit words: what a record has beside struct btf_type, and for each of its elements. */
static const struct {
	int extra, element;
} words[] = {
	[BTF_KIND_INT] = {1, 0},	[BTF_KIND_ARRAY] = {3, 0}, [BTF_KIND_STRUCT] = {0, 3}, [BTF_KIND_UNION] = {0, 3},
	[BTF_KIND_ENUM] = {0, 2},	[BTF_KIND_VAR] = {1, 0},   [BTF_KIND_DATASEC] = {0, 3}, [BTF_KIND_FUNC_PROTO] = {0, 2},
	[BTF_KIND_DECL_TAG] = {1, 0}, [BTF_KIND_ENUM64] = {0, 3},
};

static int lacks(const char *feature)
{
	const char *list = getenv("LACKS");
	size_t length = strlen(feature);

	for (const char *found = list; found && (found = strstr(found, feature)); found += length)
		if ((found == list || found[-1] == ',') && (found[length] == ',' || !found[length]))
			return 1;
	return 0;
}

static int refuses_type(const struct btf_type *type, const char *name)
{
	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_FUNC:
		return lacks("BTF_FUNC") || (BTF_INFO_VLEN(type->info) && lacks("BTF_GLOBAL_FUNC"));
	case BTF_KIND_FUNC_PROTO:
		return lacks("BTF_FUNC");
	case BTF_KIND_VAR:
		return lacks("BTF_DATASEC");
	case BTF_KIND_DATASEC:
		return lacks("BTF_DATASEC") || (*name == '?' && lacks("BTF_QMARK_DATASEC"));
	case BTF_KIND_FLOAT:
		return lacks("BTF_FLOAT");
	case BTF_KIND_DECL_TAG:
		return lacks("BTF_DECL_TAG");
	case BTF_KIND_TYPE_TAG:
		return lacks("BTF_TYPE_TAG");
	case BTF_KIND_ENUM:
		return BTF_INFO_KFLAG(type->info) && lacks("BTF_ENUM64");
	case BTF_KIND_ENUM64:
		return lacks("BTF_ENUM64");
	}
	return 0;
}

static int refuses_btf(const union bpf_attr *attr)
{
	const struct btf_header *header = (void *)attr->btf;
	const char *strings = (char *)header + header->hdr_len + header->str_off;
	const __u32 *at = (void *)((char *)header + header->hdr_len + header->type_off);
	const __u32 *end = (void *)((char *)at + header->type_len);

	while (at < end) {
		const struct btf_type *type = (void *)at;
		int kind = BTF_INFO_KIND(type->info);

		if (refuses_type(type, strings + type->name_off))
			return 1;
		at += 3 + words[kind].extra + BTF_INFO_VLEN(type->info) * words[kind].element;
	}
	return lacks("BTF");
}

static int refuses_call(int helper)
{
	switch (helper) {
	case BPF_FUNC_probe_read_kernel:
	case BPF_FUNC_probe_read_user:
	case BPF_FUNC_probe_read_kernel_str:
	case BPF_FUNC_probe_read_user_str:
		return lacks("PROBE_READ_KERN");
	case BPF_FUNC_ktime_get_coarse_ns:
		return lacks("MEMCG_ACCOUNT");
	case BPF_FUNC_get_attach_cookie:
		return lacks("BPF_COOKIE");
	}
	return 0;
}

static int refuses_program(const union bpf_attr *attr)
{
	const struct bpf_insn *insns = (void *)attr->insns;

	for (unsigned int i = 0; i < attr->insn_cnt; i++) {
		if (insns[i].code == (BPF_JMP | BPF_CALL) && !insns[i].src_reg && refuses_call(insns[i].imm))
			return 1;
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) && insns[i].src_reg == BPF_PSEUDO_MAP_VALUE &&
		    lacks("GLOBAL_DATA"))
			return 1;
	}
	return (attr->prog_name[0] && lacks("PROG_NAME")) || (attr->expected_attach_type && lacks("EXP_ATTACH_TYPE")) ||
	       (attr->prog_btf_fd && lacks("BTF_FUNC")) ||
	       /* That the verifier goes by a tag can't be seen in a call. Loaders call the program that tries it so. */
	       (!strcmp(attr->prog_name, "det_arg_ctx") && lacks("ARG_CTX_TAG"));
}

static int refuses(int cmd, const union bpf_attr *attr)
{
	switch (cmd) {
	case BPF_MAP_CREATE:
		return (attr->map_name[0] && lacks("PROG_NAME")) || (attr->map_flags & BPF_F_MMAPABLE && lacks("ARRAY_MMAP"));
	case BPF_PROG_LOAD:
		return refuses_program(attr);
	case BPF_BTF_LOAD:
		return refuses_btf(attr);
	case BPF_PROG_BIND_MAP:
		return lacks("PROG_BIND_MAP");
	case BPF_LINK_CREATE:
		return attr->link_create.attach_type == BPF_PERF_EVENT && lacks("PERF_LINK");
	}
	return 0;
}

long syscall(long number, ...)
{
	static long (*next)(long, ...);
	long args[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (!next)
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	if (number == SYS_bpf && args[1]) {
		size_t size = (unsigned int)args[2];
		union bpf_attr attr = {};

		memcpy(&attr, (void *)args[1], size < sizeof(attr) ? size : sizeof(attr));
		if (refuses(args[0], &attr)) {
			errno = EINVAL;
			return -1;
		}
	}
	return next(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}
