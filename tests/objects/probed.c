// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What tests set uprobes and static tracepoints on: functions and tracepoints whose arguments are known. It becomes a
 * shared library, and with PROGRAM defined a program that is not relocated when it starts. Neither needs a C library,
 * so that every guest can run them.
 *
 * The program does for each byte that it reads what the byte says, and answers with that byte.
 */

#define NOINLINE __attribute__((noinline, used))

/* Static tracepoints, as <sys/sdt.h> makes them. */

#define NOTE(name, semaphore, arguments)							\
	".pushsection .note.stapsdt, \"\", \"note\"\n"						\
	".balign 4\n"										\
	".4byte 992f - 991f, 994f - 993f, 3\n"							\
	"991: .asciz \"stapsdt\"\n"								\
	"992: .balign 4\n"									\
	"993: .8byte 990b, _.stapsdt.base, " semaphore "\n"					\
	".asciz \"probed\", \"" name "\", \"" arguments "\"\n"					\
	"994: .balign 4\n"									\
	".popsection\n"

#define PROBE_AT(instruction, name, semaphore, arguments, ...)					\
	asm volatile("990: " instruction "\n" NOTE(name, semaphore, arguments) : : __VA_ARGS__)

#define PROBE(name, arguments, ...) PROBE_AT("nop", name, "0", arguments, __VA_ARGS__)

asm(".pushsection .stapsdt.base, \"a\", @progbits\n"
    "_.stapsdt.base: .space 1\n"
    ".popsection\n");

__attribute__((section(".probes"), visibility("hidden"))) volatile unsigned short counted_semaphore;

NOINLINE void trace_nothing(void)
{
	PROBE("nothing", "");
}

NOINLINE void trace_constants(void)
{
	PROBE("constants", "-4@$-9 8@$71 1@$255 -1@$-1 2@$65535 -8@$-9223372036854775808");
}

NOINLINE void trace_registers(void)
{
	register long a asm("rax") = 0x1122334455667788, b asm("rbx") = -2, c asm("rcx") = 0x7fff8001, d asm("rdx") = -1,
		      si asm("rsi") = 0x180, di asm("rdi") = 0xfedcba9876543210, r8 asm("r8") = 8, r9 asm("r9") = 9,
		      r12 asm("r12") = 0x8000000012, r13 asm("r13") = 0x13, r14 asm("r14") = 0xff14, r15 asm("r15") = -15;

	PROBE("registers",
	      "8@%%rax -4@%%ebx -2@%%cx 1@%%dl -1@%%sil 8@%%rdi 4@%%r8d -8@%%r9 4@%%r12d 8@%%r13 1@%%r14b -2@%%r15w",
	      "r"(a), "r"(b), "r"(c), "r"(d), "r"(si), "r"(di), "r"(r8), "r"(r9), "r"(r12), "r"(r13), "r"(r14), "r"(r15));
}

NOINLINE void trace_memory(void)
{
	int numbers[] = { 10, -20, 30, -40 };
	register const int *at asm("rdi") = &numbers[1];

	PROBE("memory", "-4@(%%rdi) -4@4(%%rdi) 4@-4(%%rdi) 8@8(%%rdi)", "r"(at), "m"(numbers));
}

NOINLINE void trace_indexed(void)
{
	int numbers[] = { 10, -20, 30, -40 };
	register const int *at asm("rdi") = numbers;
	register long index asm("rcx") = 1;

	PROBE("indexed", "-4@(%%rdi,%%rcx,4) -4@4(%%rdi,%%rcx,8) 1@-1(%%rdi,%%rcx) -4@8(%%rdi,%%rcx,4)",
	      "r"(at), "r"(index), "m"(numbers));
}

/* One tracepoint in three places; in two of them the argument is in the same. */
NOINLINE void trace_places(long number)
{
	register long at asm("rbx") = number;

	PROBE("places", "8@%%rbx", "r"(at));
	PROBE("places", "8@$1000", "r"(at));
	at += 2;
	PROBE("places", "8@%%rbx", "r"(at));
}

NOINLINE int trace_counted(void)
{
	PROBE_AT("nop", "counted", "counted_semaphore", "4@$5");
	return counted_semaphore;
}

/* A short and a long nop: the kernel may make a call of the latter. */
NOINLINE void trace_nops(void)
{
	PROBE_AT("nop; .byte 0x0f, 0x1f, 0x44, 0, 0", "nops", "0", "4@$6");
}

NOINLINE void trace_refused(void)
{
	PROBE("too_many", "4@$0 4@$1 4@$2 4@$3 4@$4 4@$5 4@$6 4@$7 4@$8 4@$9 4@$10 4@$11 4@$12");
	PROBE("unreadable", "4@$0 8f@%%xmm0");
}

/* Functions */

NOINLINE long probed_sum(long a, long b)
{
	asm volatile("");
	return a + b;
}

NOINLINE long probed_many_one(long a)
{
	return a + 1;
}

NOINLINE long probed_many_two(long a)
{
	return a + 2;
}

NOINLINE long probed_many_three(long a)
{
	return a + 3;
}

extern long probed_many_alias(long) __attribute__((alias("probed_many_one")));

static NOINLINE long probed_static(long a)
{
	asm volatile("");
	return a * 2;
}

NOINLINE long probed_calls_static(long a)
{
	return probed_static(a) + 1;
}

#ifndef PROGRAM

/* Two versions of one function; the second is used by default. */

NOINLINE long versioned_1(long a)
{
	return a + 100;
}

NOINLINE long versioned_2(long a)
{
	return a + 200;
}

asm(".symver versioned_1, versioned@PROBED_1\n"
    ".symver versioned_2, versioned@@PROBED_2\n");

/* A function that the dynamic linker chooses. */

NOINLINE long chosen_now(long a)
{
	return a + 7;
}

static long (*choose(void))(long)
{
	return chosen_now;
}

long chosen(long) __attribute__((ifunc("choose")));

/* A function of another library. */

asm(".type getpid, @function");
int getpid(void);

NOINLINE int calls_another_library(void)
{
	return getpid() + 1;
}

#else

static long system_call(long number, long a, const void *b, long c)
{
	long result;

	asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static char act(char what)
{
	switch (what) {
	case 'f':
		return probed_sum(40, 2) == 42 ? what : '!';
	case 'm':
		return probed_many_one(1) + probed_many_two(1) + probed_many_three(1) + probed_calls_static(1) ? what : '!';
	case 'n':
		trace_nothing();
		return what;
	case 'r':
		trace_registers();
		return what;
	case 'p':
		trace_places(7);
		return what;
	case 's':
		return '0' + trace_counted();
	}
	return '?';
}

__attribute__((force_align_arg_pointer)) void _start(void)
{
	char what;

	while (system_call(0 /* read */, 0, &what, 1) == 1) {
		what = act(what);
		system_call(1 /* write */, 1, &what, 1);
	}
	system_call(60 /* exit */, 0, 0, 0);
	__builtin_unreachable();
}

#endif
