/*
 * Global functions whose arguments are the context of whatever program calls them. Kernels before Linux 6.8 do not know the
 * tag that says so. A helper that needs the context is refused if the verifier takes it for something else.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>

#define __arg_context __attribute__((btf_decl_tag("arg:ctx")))
#define GLOBAL __attribute__((noinline))

GLOBAL int stack_of(void *context __arg_context, int number)
{
	char stack[8] = {};

	return bpf_get_stack(context, stack, sizeof(stack), 0) + number;
}

GLOBAL int both(int number, void *one __arg_context, void *other __arg_context)
{
	return stack_of(one, number) + stack_of(other, 1);
}

GLOBAL int registers(struct pt_regs *registers __arg_context)
{
	return stack_of(registers, 2);
}

/* The tag of a function that is not global says nothing. */
__attribute__((noinline)) static int hidden(void *context __arg_context)
{
	return stack_of(context, 3);
}

SEC("kprobe/do_nanosleep")
int a_kprobe(struct pt_regs *context)
{
	return both(1, context, context) + registers(context) + hidden(context);
}

SEC("perf_event")
int a_perf_event(struct bpf_perf_event_data *context)
{
	return both(2, context, context) + hidden(context);
}

/* Tracepoints have no struct for their context. */
SEC("tracepoint/sched/sched_process_exec")
int a_tracepoint(void *context)
{
	return 0;
}

SEC("raw_tracepoint/sched_process_exec")
int a_raw_tracepoint(struct bpf_raw_tracepoint_args *context)
{
	return stack_of(context, 4);
}

char LICENSE[] SEC("license") = "GPL";
