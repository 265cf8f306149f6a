/*
 * What libbpf takes from lines of kernel configuration.
 *
 *	libbpf_kconfig OBJECT TEXT...    load the object with each text as its configuration, which goes before the kernel's
 *	                                 own; prints a line with the content of its map .kconfig, or "refused".
 */
#include <stdio.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static void try(const char *path, const char *text)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .kconfig = text);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	unsigned char value[4096];
	struct bpf_map *map;
	int zero = 0;

	if (!object || bpf_object__load(object)) {
		printf("refused");
	} else {
		bpf_object__for_each_map(map, object) {
			const char *name = bpf_map__name(map);

			if (strstr(name, ".kconfig") &&
			    !bpf_map_lookup_elem(bpf_map__fd(map), &zero, value))
				for (unsigned int i = 0; i < bpf_map__value_size(map); i++)
					printf("%02x", value[i]);
		}
	}
	printf("\n");
	bpf_object__close(object);
}

int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		try(argv[1], argv[i]);
	return 0;
}
