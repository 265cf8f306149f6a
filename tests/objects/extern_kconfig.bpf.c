// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Externs that are values of the kernel's configuration, of every type and size. The program sends them as it reads them.
 * Those that are not weak are in the configuration of every kernel.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_BPF_COOKIE __kconfig __weak;
extern bool LINUX_HAS_SYSCALL_WRAPPER __kconfig __weak;
extern unsigned long long LINUX_UNKNOWN __kconfig __weak;
extern bool CONFIG_BPF_SYSCALL __kconfig;
extern enum libbpf_tristate CONFIG_BPF_JIT __kconfig __weak;
extern enum libbpf_tristate CONFIG_NOT_THERE_TRISTATE __kconfig __weak;
extern char CONFIG_BPF __kconfig __weak;
extern unsigned long long CONFIG_HZ __kconfig;
extern unsigned short CONFIG_NR_CPUS __kconfig __weak;
extern signed char CONFIG_NODES_SHIFT __kconfig __weak;
extern int CONFIG_LOG_BUF_SHIFT __kconfig __weak;
extern long CONFIG_ILLEGAL_POINTER_VALUE __kconfig __weak;
extern char CONFIG_CC_VERSION_TEXT[64] __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[4] __kconfig __weak;
extern const unsigned char CONFIG_NOT_THERE_TEXT[5] __kconfig __weak;

struct seen {
	unsigned long long version, unknown, hz, nr_cpus, cookie, wrapper, syscall, jit, none, letter, illegal;
	long long nodes_shift, log_buf_shift;
	char compiler[64];
	char hostname[4];
};

struct seen seen = {};

SEC("socket")
int see(void *ctx)
{
	seen.version = LINUX_KERNEL_VERSION;
	seen.unknown = LINUX_UNKNOWN;
	seen.hz = CONFIG_HZ;
	seen.nr_cpus = CONFIG_NR_CPUS;
	seen.cookie = LINUX_HAS_BPF_COOKIE;
	seen.wrapper = LINUX_HAS_SYSCALL_WRAPPER;
	seen.syscall = CONFIG_BPF_SYSCALL;
	seen.jit = CONFIG_BPF_JIT;
	seen.none = CONFIG_NOT_THERE_TRISTATE + CONFIG_NOT_THERE_TEXT[1];
	seen.letter = CONFIG_BPF;
	seen.illegal = CONFIG_ILLEGAL_POINTER_VALUE;
	seen.nodes_shift = CONFIG_NODES_SHIFT;
	seen.log_buf_shift = CONFIG_LOG_BUF_SHIFT;
	for (int i = 0; i < sizeof(seen.compiler); i++)
		seen.compiler[i] = CONFIG_CC_VERSION_TEXT[i];
	for (int i = 0; i < sizeof(seen.hostname); i++)
		seen.hostname[i] = CONFIG_DEFAULT_HOSTNAME[i];
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
