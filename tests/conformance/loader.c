/*
 * Loads BPF objects with libbpf, for the recorder to see; loader.py does the same with purebpf.
 *
 *	loader version
 *	loader load CORE_BTF {OBJECT PROGRAMS}...    CORE_BTF: a file of types for CO-RE, or "" for the kernel's
 *	loader link OUTPUT OBJECT...                 link several objects into one
 *
 * PROGRAMS is "default" for those that libbpf would load by itself, "all", or the name of a single one. For each object
 * there is a mark "begin OBJECT PROGRAMS", and at its end "loaded" or "refused", the programs' names, with a "?" before
 * those not loaded by default, and last what libbpf complained of.
 */
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MARK 9999

static char complaints[1 << 16];

static int collect(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t used = strlen(complaints);

	if (level == LIBBPF_WARN)
		vsnprintf(complaints + used, sizeof(complaints) - used, format, arguments);
	return 0;
}

static void mark(const char *text)
{
	syscall(SYS_bpf, MARK, text, strlen(text));
}

static void load(const char *core_btf, const char *path, const char *programs)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = *core_btf ? core_btf : NULL);
	struct bpf_program *program;
	struct bpf_object *object;
	int is_refused = 1;
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	complaints[0] = 0;
	fprintf(stream, "begin %s %s", path, programs);
	fflush(stream);
	mark(text);
	rewind(stream);
	object = bpf_object__open_file(path, &options);
	if (object) {
		bpf_object__for_each_program(program, object) {
			const char *name = bpf_program__name(program);

			fprintf(stream, " %s%s", bpf_program__autoload(program) ? "" : "?", name);
			if (strcmp(programs, "default"))
				bpf_program__set_autoload(program, !strcmp(programs, "all") || !strcmp(programs, name));
		}
		is_refused = bpf_object__load(object);
	}
	fprintf(stream, "\n%s", complaints);
	fclose(stream);
	mark(is_refused ? "refused" : "loaded");
	mark(text);
	free(text);
	bpf_object__close(object);
}

static int link_objects(const char *output, char **objects)
{
	struct bpf_linker *linker = bpf_linker__new(output, NULL);

	for (; *objects; objects++)
		if (bpf_linker__add_file(linker, *objects, NULL))
			return 1;
	return bpf_linker__finalize(linker) ? 1 : 0;
}

int main(int count, char **arguments)
{
	libbpf_set_print(collect);
	if (count == 2 && !strcmp(arguments[1], "version"))
		puts(libbpf_version_string());
	else if (count > 3 && !strcmp(arguments[1], "link"))
		return link_objects(arguments[2], arguments + 3);
	else if (count > 4 && !strcmp(arguments[1], "load"))
		for (int i = 3; i + 1 < count; i += 2)
			load(arguments[2], arguments[i], arguments[i + 1]);
	else
		return 2;
	return 0;
}
