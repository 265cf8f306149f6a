/*
 * What libbpf tells programs about the arguments of a static tracepoint.
 *
 *	libbpf_usdt OBJECT PROGRAM FILE PROVIDER NAME COOKIE
 *
 * attaches a program to it in this process, and prints the descriptions in map __bpf_usdt_specs, one a line, as bytes in
 * hexadecimal digits; or libbpf's error number, negative.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 7)
		return 2;
	libbpf_set_print(silent);
	dlopen(argv[3], RTLD_NOW);
	LIBBPF_OPTS(bpf_usdt_opts, options, .usdt_cookie = strtoull(argv[6], NULL, 0));
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	int error = object ? bpf_object__load(object) : -1;

	if (error)
		return 1;
	struct bpf_program *program = bpf_object__find_program_by_name(object, argv[2]);
	struct bpf_map *map = bpf_object__find_map_by_name(object, "__bpf_usdt_specs");
	struct bpf_link *link = bpf_program__attach_usdt(program, 0, argv[3], argv[4], argv[5], &options);

	if (libbpf_get_error(link)) {
		printf("%ld\n", libbpf_get_error(link));
		return 0;
	}
	unsigned char value[bpf_map__value_size(map)];

	for (unsigned int key = 0; key < bpf_map__max_entries(map); key++) {
		if (bpf_map_lookup_elem(bpf_map__fd(map), &key, value))
			return 1;
		for (unsigned int i = 0; i < sizeof(value); i++)
			printf("%02x", value[i]);
		printf("\n");
	}
	bpf_link__destroy(link);
	bpf_object__close(object);
	return 0;
}
