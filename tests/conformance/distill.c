// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What libbpf makes of split BTF.  All arguments are files of raw BTF.
 *
 *	distill KERNEL MODULE NEW_BASE NEW_MODULE	gives a module's types a base of their own, as its build can
 *	relocate BASE MODULE KERNEL NEW_MODULE		puts such types on a kernel's, as loading the module does
 */
#include <bpf/btf.h>
#include <stdio.h>
#include <string.h>

static struct btf *read_btf(const char *path, struct btf *base)
{
	struct btf *btf = btf__parse_split(path, base);

	if (!btf)
		perror(path);
	return btf;
}

static int write_btf(const struct btf *btf, const char *path)
{
	__u32 size = 0;
	const void *data = btf__raw_data(btf, &size);
	FILE *file = fopen(path, "w");

	if (!data || !file || fwrite(data, 1, size, file) != size || fclose(file)) {
		perror(path);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct btf *base, *module, *kernel, *new_base = NULL, *new_module = NULL;

	if (argc != 6)
		return 2;
	base = read_btf(argv[2], NULL);
	module = base ? read_btf(argv[3], base) : NULL;
	if (!module)
		return 2;
	if (!strcmp(argv[1], "distill")) {
		if (btf__distill_base(module, &new_base, &new_module))
			return 1;
		return write_btf(new_base, argv[4]) || write_btf(new_module, argv[5]);
	}
	kernel = read_btf(argv[4], NULL);
	if (!kernel)
		return 2;
	return btf__relocate(module, kernel) ? 1 : write_btf(module, argv[5]);
}
