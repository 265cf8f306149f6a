// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Externs of section .kconfig: the kernel's version, its configuration in every type, and what libbpf finds out. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_BPF_COOKIE __kconfig __weak;
extern bool LINUX_HAS_SYSCALL_WRAPPER __kconfig __weak;
extern bool CONFIG_BPF_SYSCALL __kconfig;
extern char CONFIG_BPF_JIT __kconfig;
extern enum libbpf_tristate CONFIG_INET __kconfig;
extern unsigned char CONFIG_PGTABLE_LEVELS __kconfig;
extern short CONFIG_HZ __kconfig;
extern unsigned long CONFIG_PHYSICAL_START __kconfig;
extern long long CONFIG_LOG_BUF_SHIFT __kconfig;
extern char CONFIG_CC_VERSION_TEXT[8] __kconfig;
extern const char CONFIG_DEFAULT_HOSTNAME[32] __kconfig;
extern bool CONFIG_THAT_DOES_NOT_EXIST __kconfig __weak;
extern unsigned int CONFIG_NUMBER_THAT_DOES_NOT_EXIST __kconfig __weak;
extern char CONFIG_TEXT_THAT_DOES_NOT_EXIST[4] __kconfig __weak;

SEC("raw_tp/sys_enter")
int numbers(void *ctx)
{
	if (LINUX_KERNEL_VERSION < 0x50a00 || CONFIG_HZ < 100 || CONFIG_NUMBER_THAT_DOES_NOT_EXIST)
		return 0;
	return CONFIG_PGTABLE_LEVELS + CONFIG_PHYSICAL_START + CONFIG_LOG_BUF_SHIFT;
}

SEC("raw_tp/sys_exit")
int states(void *ctx)
{
	return LINUX_HAS_BPF_COOKIE + 2 * LINUX_HAS_SYSCALL_WRAPPER + 4 * CONFIG_BPF_SYSCALL + 8 * (CONFIG_BPF_JIT == 'y') +
	       16 * (CONFIG_INET == TRI_YES) + 32 * CONFIG_THAT_DOES_NOT_EXIST;
}

SEC("raw_tp/sys_exit")
int texts(void *ctx)
{
	return CONFIG_CC_VERSION_TEXT[2] + CONFIG_DEFAULT_HOSTNAME[1] + CONFIG_TEXT_THAT_DOES_NOT_EXIST[0];
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
