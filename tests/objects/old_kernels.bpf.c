/*
 * What kernels have learned one after the other: each thing here has to be kept from those before it.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>

#define SEEN_AS(name) __attribute__((btf_type_tag(name)))
#define TAGGED(name) __attribute__((btf_decl_tag(name)))

/* BTF_KIND_ENUM with signed values, and BTF_KIND_ENUM64 of either sign. */
enum small { SMALL_NEGATIVE = -1, SMALL_ONE = 1 };
enum large { LARGE_ZERO, LARGE = 0x123456789abcdef0 };
enum large_signed { LARGE_NEGATIVE = -0x123456789abcdef0, LARGE_SIGNED_ONE = 1 };

struct numbers {
	float single;
	double both[2] TAGGED("in pairs");
	enum small small;
	enum large large;
	enum large_signed large_signed;
	int SEEN_AS("user") * from_user;
} TAGGED("of a struct");

/* BTF_KIND_FLOAT and BTF_KIND_VAR, in each kind of data section. */
struct numbers numbers = { .single = 1.5 };
struct numbers zeros;
const volatile double constant = 2.5;
static volatile const char text[] = "text";
int custom SEC(".data.of.its.own") = 7;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, enum large);
	__type(value, struct numbers);
} by_number SEC(".maps");

__attribute__((noinline)) int global_function(int number TAGGED("of a parameter"))
{
	return number + custom;
}

__attribute__((noinline)) static int read(const void *address)
{
	char buffer[8] = {};

	bpf_probe_read_kernel(buffer, sizeof(buffer), address);
	bpf_probe_read_user(buffer, sizeof(buffer), address);
	bpf_probe_read_kernel_str(buffer, sizeof(buffer), address);
	bpf_probe_read_user_str(buffer, sizeof(buffer), address);
	return buffer[0] + text[custom & 3];
}

SEC("kprobe/do_nanosleep")
int a_kprobe(struct pt_regs *context)
{
	enum large key = LARGE;
	struct numbers *found = bpf_map_lookup_elem(&by_number, &key);

	zeros.small = found ? found->small : numbers.small;
	return global_function(1) + read(context);
}

/* Loaded without its attach type where the kernel takes none. */
SEC("cgroup/sock")
int a_cgroup_sock(struct bpf_sock *context)
{
	return *(volatile const long *)&constant != 0;
}

SEC("tracepoint/sched/sched_process_exec")
int a_tracepoint(void *context)
{
	return read(context);
}

char LICENSE[] SEC("license") = "GPL";
