/*
 * Loads and attaches one program of an object with libbpf, to see whether the running kernel lets it.
 *
 *	libbpf_attach OBJECT PROGRAM [as TYPE ATTACH_TYPE FLAGS TARGET] WAY [ARGUMENT...]
 *
 * "as" is what to do if this libbpf does not know the section; TARGET is a function of the kernel, or "". WAY is one of these:
 *
 *	auto			by the name of the section
 *	load			not at all
 *	struct_ops		the map that has the program
 *	freplace OBJECT PROGRAM FUNCTION
 *	xdp INTERFACE, tc INTERFACE ingress|egress, tcx INTERFACE, netkit INTERFACE
 *	cgroup PATH, netns, netfilter, perf_event
 *	sockmap MAP ATTACH_TYPE
 *
 * Prints two numbers, the errno of loading and of attaching (0: it was possible), then libbpf's version, and what it
 * complained of. Nothing stays attached.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static char complaints[1 << 16];

static int collect(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t used = strlen(complaints);

	if (level == LIBBPF_WARN)
		vsnprintf(complaints + used, sizeof(complaints) - used, format, arguments);
	return 0;
}

static struct bpf_program *find(struct bpf_object *object, const char *name)
{
	struct bpf_program *program, *found = NULL;

	bpf_object__for_each_program(program, object) {
		int is_it = !strcmp(bpf_program__name(program), name);

		/* The programs that a struct_ops map has are loaded with it. */
		if (bpf_program__type(program) != BPF_PROG_TYPE_STRUCT_OPS)
			bpf_program__set_autoload(program, is_it);
		if (is_it)
			found = program;
	}
	return found;
}

static int attach_tc(int fd, const char *interface, const char *direction)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(interface),
		    .attach_point = strcmp(direction, "egress") ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = fd);
	int error = bpf_tc_hook_create(&hook);

	if (!error)
		error = bpf_tc_attach(&hook, &options);
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_destroy(&hook);
	return error;
}

static int open_counter(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.freq = 1,
		.sample_freq = 100,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static int attach(struct bpf_object *object, struct bpf_program *program, char **words)
{
	LIBBPF_OPTS(bpf_netfilter_opts, netfilter, .pf = 2 /* IPv4 */, .hooknum = 1 /* input */, .priority = -7);
	int fd = bpf_program__fd(program);
	const char *way = words[0];
	struct bpf_link *link = NULL;

	if (!strcmp(way, "load"))
		return 0;
	else if (!strcmp(way, "auto") || !strcmp(way, "freplace"))
		link = bpf_program__attach(program);
	else if (!strcmp(way, "struct_ops"))
		link = bpf_map__attach_struct_ops(bpf_object__find_map_by_name(object, "hook_ops"));
	else if (!strcmp(way, "xdp"))
		link = bpf_program__attach_xdp(program, if_nametoindex(words[1]));
	else if (!strcmp(way, "tc"))
		return attach_tc(fd, words[1], words[2]);
	else if (!strcmp(way, "tcx"))
		link = bpf_program__attach_tcx(program, if_nametoindex(words[1]), NULL);
	else if (!strcmp(way, "netkit"))
		link = bpf_program__attach_netkit(program, if_nametoindex(words[1]), NULL);
	else if (!strcmp(way, "cgroup"))
		link = bpf_program__attach_cgroup(program, open(words[1], O_RDONLY | O_CLOEXEC));
	else if (!strcmp(way, "netns"))
		link = bpf_program__attach_netns(program, open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	else if (!strcmp(way, "netfilter"))
		link = bpf_program__attach_netfilter(program, &netfilter);
	else if (!strcmp(way, "perf_event"))
		link = bpf_program__attach_perf_event(program, open_counter());
	else if (!strcmp(way, "sockmap"))
		return bpf_prog_attach(fd, bpf_object__find_map_fd_by_name(object, words[1]), atoi(words[2]), 0);
	else
		exit(2);
	if (!link)
		return -errno;
	bpf_link__destroy(link); /* struct_ops would stay */
	return 0;
}

int main(int count, char **words)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct bpf_object *object, *target;
	int loading = 0, attaching = 0;
	struct bpf_program *program;
	char **way = words + 3;

	if (count < 4)
		return 2;
	setrlimit(RLIMIT_MEMLOCK, &unlimited); /* where it is not permitted, kernels do not need it either */
	libbpf_set_print(collect);
	object = bpf_object__open(words[1]);
	program = object ? find(object, words[2]) : NULL;
	if (!program)
		return 2;
	if (!strcmp(way[0], "as") && bpf_program__type(program) != BPF_PROG_TYPE_UNSPEC)
		way += 5;
	if (!strcmp(way[0], "as")) {
		bpf_program__set_type(program, atoi(way[1]));
		bpf_program__set_expected_attach_type(program, atoi(way[2]));
		bpf_program__set_flags(program, atoi(way[3]));
		if (*way[4])
			loading = bpf_program__set_attach_target(program, 0, way[4]);
		way += 5;
	}
	if (!strcmp(way[0], "freplace")) {
		target = bpf_object__open(way[1]);
		find(target, way[2]);
		loading = bpf_object__load(target);
		if (!loading)
			loading = bpf_program__set_attach_target(
				program, bpf_program__fd(bpf_object__find_program_by_name(target, way[2])), way[3]);
	}
	if (!loading)
		loading = bpf_object__load(object);
	if (!loading)
		attaching = attach(object, program, way);
	printf("%d %d %s\n%s", -loading, -attaching, libbpf_version_string(), complaints);
	return 0;
}
