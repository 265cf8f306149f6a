/*
 * What libbpf makes of an object, before it is loaded: one JSON object on stdout. An error is libbpf's own, on stderr.
 *
 * libbpf_open FILE               the object's maps and programs
 * libbpf_open --section NAME...  the program and attach type of each section name, or null; for a name that is not known
 *                                libbpf lists those it knows, on stderr
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void print_hex(const void *data, size_t size)
{
	putchar('"');
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)data)[i]);
	putchar('"');
}

static void print_map(struct bpf_map *map)
{
	size_t size = 0;
	const void *content = bpf_map__initial_value(map, &size);
	struct bpf_map *inner = bpf_map__inner_map(map);

	printf("{\"name\": \"%s\", \"type\": %u, \"key_size\": %u, \"value_size\": %u, \"max_entries\": %u, "
	       "\"map_flags\": %u, \"numa_node\": %u, \"map_extra\": %llu, \"key_type_id\": %u, \"value_type_id\": %u, "
	       "\"pinned\": %d, \"contents\": ",
	       bpf_map__name(map), bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map),
	       bpf_map__max_entries(map), bpf_map__map_flags(map), bpf_map__numa_node(map),
	       (unsigned long long)bpf_map__map_extra(map), bpf_map__btf_key_type_id(map), bpf_map__btf_value_type_id(map),
	       bpf_map__pin_path(map) != NULL);
	if (content)
		print_hex(content, size);
	else
		printf("null");
	printf(", \"inner\": ");
	if (inner)
		print_map(inner);
	else
		printf("null");
	putchar('}');
}

static int print_object(const char *path)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	const char *separator = "";
	struct bpf_program *program;
	struct bpf_map *map;

	if (!object)
		return 1;
	printf("{\"name\": \"%s\", \"kern_version\": %u, \"maps\": [", bpf_object__name(object),
	       bpf_object__kversion(object));
	bpf_object__for_each_map(map, object) {
		printf("%s", separator);
		print_map(map);
		separator = ", ";
	}
	printf("], \"programs\": [");
	separator = "";
	bpf_object__for_each_program(program, object) {
		printf("%s{\"name\": \"%s\", \"section\": \"%s\", \"type\": %d, \"attach_type\": %d, \"autoload\": %d, \"insns\": ",
		       separator, bpf_program__name(program), bpf_program__section_name(program), bpf_program__type(program),
		       bpf_program__expected_attach_type(program), bpf_program__autoload(program));
		print_hex(bpf_program__insns(program), 8 * bpf_program__insn_cnt(program));
		putchar('}');
		separator = ", ";
	}
	printf("]}\n");
	bpf_object__close(object);
	return 0;
}

static int print_all(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	return vfprintf(stderr, format, arguments);
}

static int print_sections(char **names)
{
	const char *separator = "{";

	libbpf_set_print(print_all);
	for (; *names; names++) {
		enum bpf_attach_type attach_type = 0;
		enum bpf_prog_type type = 0;

		printf("%s\"%s\": ", separator, *names);
		if (libbpf_prog_type_by_name(*names, &type, &attach_type))
			printf("null");
		else
			printf("[%d, %d]", type, attach_type);
		separator = ", ";
	}
	printf("}\n");
	return 0;
}

int main(int count, char **arguments)
{
	if (count > 2 && !strcmp(arguments[1], "--section"))
		return print_sections(arguments + 2);
	return count == 2 ? print_object(arguments[1]) : 2;
}
