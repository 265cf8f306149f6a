/*
 * What libbpf makes of a BPF object, for tests that compare purebpf with it.
 *
 *	libbpf_reference link OBJECT    relocate the programs, but load nothing. Needs neither root nor a kernel.
 *	libbpf_reference load OBJECT    load the object; and before that once in vain, after which libbpf knows the kernel's
 *	                                features and asks no more. A call bpf(9999) before and after the second load marks
 *	                                it in a trace. What the first load pins is removed.
 *	libbpf_reference again OBJECT   the same, but what the first load pins stays for the second.
 *
 * prints lines "program NAME INSTRUCTIONS", with the instructions' bytes in hexadecimal digits; after a load also
 * "functions NAME RECORDS" and "lines NAME RECORDS", as the kernel has them, and "map - VALUE" with the content of each
 * map that holds global variables.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void print(const char *kind, const char *name, const void *data, size_t size)
{
	printf("%s %s ", kind, name);
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)data)[i]);
	printf("\n");
}

static void print_debug_info(const char *name, int fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		fail("program info");
	__u32 functions = info.nr_func_info * info.func_info_rec_size, lines = info.nr_line_info * info.line_info_rec_size;
	struct bpf_prog_info records = {
		.nr_func_info = info.nr_func_info,
		.func_info_rec_size = info.func_info_rec_size,
		.func_info = (unsigned long)calloc(1, functions + 1),
		.nr_line_info = info.nr_line_info,
		.line_info_rec_size = info.line_info_rec_size,
		.line_info = (unsigned long)calloc(1, lines + 1),
	};
	size = sizeof(records);
	if (bpf_obj_get_info_by_fd(fd, &records, &size))
		fail("program info");
	print("functions", name, (void *)(unsigned long)records.func_info, functions);
	print("lines", name, (void *)(unsigned long)records.line_info, lines);
}

static void mark(void)
{
	int before = errno;

	syscall(SYS_bpf, 9999, NULL, 0);
	errno = before;
}

static struct bpf_object *open_object(const char *path)
{
	struct bpf_object *object = bpf_object__open(path);

	if (!object)
		fail("open");
	return object;
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(gen_loader_opts, generated);
	struct bpf_program *program;
	struct bpf_object *object;
	struct bpf_map *map;
	__u32 zero = 0;

	if (argc != 3)
		return 2;
	int again = strcmp(argv[1], "again") == 0, for_real = again || strcmp(argv[1], "load") == 0, refused;

	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	object = open_object(argv[2]);
	if (for_real) {
		if (bpf_object__load(object) == 0 && !again)
			bpf_object__unpin_maps(object, NULL);
		bpf_object__close(object);
		object = open_object(argv[2]);
		mark();
	} else if (bpf_object__gen_loader(object, &generated)) {
		fail("gen_loader");
	}
	refused = bpf_object__load(object);
	if (for_real)
		mark();
	if (refused)
		fail("load");

	bpf_object__for_each_program(program, object) {
		const char *name = bpf_program__name(program);

		if (!bpf_program__autoload(program))
			continue;
		print("program", name, bpf_program__insns(program), bpf_program__insn_cnt(program) * sizeof(struct bpf_insn));
		if (for_real)
			print_debug_info(name, bpf_program__fd(program));
	}
	bpf_object__for_each_map(map, object) {
		if (!for_real || !bpf_map__is_internal(map))
			continue;
		char *value = calloc(1, bpf_map__value_size(map));

		if (bpf_map_lookup_elem(bpf_map__fd(map), &zero, value))
			fail("map lookup");
		print("map", "-", value, bpf_map__value_size(map));
	}
	return 0;
}
