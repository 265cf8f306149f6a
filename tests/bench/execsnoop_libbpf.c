/*
 * The job of the bench, with libbpf: load a BPF object and attach all of its programs.
 *
 * Prints "attached WALL USER": milliseconds by the clock, and those of them that the CPU spent in this process outside
 * of the kernel. Then waits until it is terminated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <bpf/libbpf.h>

static double wall(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static double user(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec * 1e3 + usage.ru_utime.tv_usec / 1e3;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int count, char **arguments)
{
	double wall_before = wall(), user_before = user();
	struct bpf_object *object;
	struct bpf_program *program;

	if (count != 2)
		return 2;
	object = bpf_object__open_file(arguments[1], NULL);
	if (!object || bpf_object__load(object))
		fail("load");
	bpf_object__for_each_program(program, object)
		if (!bpf_program__attach(program))
			fail("attach");
	printf("attached %.3f %.3f\n", wall() - wall_before, user() - user_before);
	fflush(stdout);
	pause();
	return 0;
}
