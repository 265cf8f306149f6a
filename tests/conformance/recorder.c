/*
 * Records the bpf(2) calls that a loader makes: a library to be loaded into it with LD_PRELOAD. Libbpf and Python's
 * ctypes both make system calls through libc's syscall(), which is replaced here.
 *
 * Each call that makes something or fills something in becomes one line of the file $BPF_RECORDING:
 *
 *	COMMAND ERRNO ATTRIBUTES OFFSET=BYTES... DESCRIPTOR:KIND:ID...
 *
 * with bytes as hexadecimal digits. ERRNO is what the kernel answered. Next come the attributes, what the pointers at
 * some offset of them point to, and for each descriptor that the call passed which object of the kernel it stands for:
 * its number says nothing, as loaders duplicate and replace them. One that a map's new value holds is called "value",
 * one that the call returned "new".
 *
 * An arena that is mapped becomes a line "mmap ERRNO ADDRESS SIZE map:map:ID", with the address that was asked for, and
 * after the loading one more with what is in it then: "memory BYTES map:map:ID".
 *
 * A command that does not exist, MARK, puts a line of the loader's own into the file: "mark TEXT".
 *
 * The loader shall go on where this machine's kernel refuses something that another kernel may take, since what matters
 * is what it hands over. So a refused program is replaced by one that returns 0, a refused map by an array.
 *
 * In $UTS_RELEASE and $UTS_VERSION the loader can be given another kernel's version for uname(2). It sees no kernel
 * modules then; and BTF is refused if it has a kind of type above $BTF_LAST_KIND, the last that the other kernel knows.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MARK 9999
#define LOAD_ATTEMPTS 5
#define MAP_TYPE_ARENA 33
/* As much of an arena is recorded as the objects' ones have. */
#define LARGEST_MEMORY (1 << 20)

/* Room for attributes that are newer than the header this is compiled with. */
union attributes {
	union bpf_attr known;
	unsigned char bytes[512];
};

static FILE *line;
static char *line_text;
static size_t line_size;

static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
	static long (*libc_syscall)(long, ...);

	if (!libc_syscall)
		libc_syscall = dlsym(RTLD_NEXT, "syscall");
	return libc_syscall(number, a, b, c, d, e, f);
}

static long kernel_bpf(int command, union attributes *attributes, size_t size)
{
	return kernel(SYS_bpf, command, (long)attributes, size, 0, 0, 0);
}

static void begin_line(void)
{
	line = open_memstream(&line_text, &line_size);
}

static void end_line(void)
{
	static int file = -1;

	fputc('\n', line);
	fclose(line);
	if (file < 0)
		file = open(getenv("BPF_RECORDING"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (write(file, line_text, line_size) != (ssize_t)line_size)
		abort();
	free(line_text);
}

static void put_bytes(const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		fprintf(line, "%02x", ((const unsigned char *)bytes)[i]);
}

static void put_buffer(size_t offset, __u64 address, size_t size)
{
	if (!address)
		return;
	fprintf(line, " %zu=", offset);
	put_bytes((const void *)(unsigned long)address, size);
}

#define PUT_BUFFER(field, size) put_buffer(offsetof(union bpf_attr, field), attributes->known.field, size)
#define PUT_STRING(field) \
	PUT_BUFFER(field, attributes->known.field ? strlen((const char *)(unsigned long)attributes->known.field) + 1 : 0)

/* The kernel's information about a map, program or BTF; "" as kind if the number is none. */
static const char *object(int fd, __u32 *id, struct bpf_map_info *map)
{
	union {
		struct bpf_map_info map;
		struct bpf_prog_info prog;
		struct bpf_btf_info btf;
	} info = {};
	union attributes query = {};
	char path[64], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		return "";
	const char *kind = strstr(target, "bpf-map") ? "map" : strstr(target, "bpf-prog") ? "prog" :
			   strstr(target, "btf") ? "btf" : "";
	query.known.info.bpf_fd = fd;
	query.known.info.info_len = sizeof(info);
	query.known.info.info = (unsigned long)&info;
	if (!*kind || kernel_bpf(BPF_OBJ_GET_INFO_BY_FD, &query, sizeof(query.known)) < 0)
		return "";
	*id = !strcmp(kind, "map") ? info.map.id : !strcmp(kind, "prog") ? info.prog.id : info.btf.id;
	if (map && !strcmp(kind, "map"))
		*map = info.map;
	return kind;
}

static void put_object_as(const char *label, int fd)
{
	__u32 id = 0;
	const char *kind = object(fd, &id, NULL);

	if (*kind)
		fprintf(line, " %s:%s:%u", label, kind, id);
}

static void put_object(int fd)
{
	char label[16];

	snprintf(label, sizeof(label), "%d", fd);
	put_object_as(label, fd);
}

/* Instructions hold descriptors of maps, and of the BTF that an address of a variable belongs to. */
static void put_instruction_objects(const struct bpf_insn *insns, __u32 count, const int *fd_array)
{
	int last = -1;

	for (__u32 i = 0; i < count; i++) {
		int is_load = insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) && i + 1 < count;

		if (is_load && (insns[i].src_reg == BPF_PSEUDO_MAP_FD || insns[i].src_reg == BPF_PSEUDO_MAP_VALUE))
			put_object(insns[i].imm);
		if (is_load && insns[i].src_reg == BPF_PSEUDO_BTF_ID && insns[i + 1].imm)
			put_object(insns[i + 1].imm);
		if (insns[i].code == (BPF_JMP | BPF_CALL) && insns[i].src_reg == BPF_PSEUDO_KFUNC_CALL && insns[i].off > last)
			last = insns[i].off;
		i += is_load;
	}
	if (!fd_array)
		return;
	put_buffer(offsetof(union bpf_attr, fd_array), (unsigned long)fd_array, (last + 1) * sizeof(int));
	for (int i = 0; i <= last; i++)
		put_object(fd_array[i]);
}

static int holds_descriptors(__u32 map_type)
{
	return map_type == BPF_MAP_TYPE_PROG_ARRAY || map_type == BPF_MAP_TYPE_ARRAY_OF_MAPS ||
	       map_type == BPF_MAP_TYPE_HASH_OF_MAPS;
}

static void put_pointed_to(int command, union attributes *attributes)
{
	const union bpf_attr *known = &attributes->known;
	struct bpf_map_info map = {};
	__u32 id;

	switch (command) {
	case BPF_BTF_LOAD:
		PUT_BUFFER(btf, known->btf_size);
		break;
	case BPF_MAP_CREATE:
		put_object(known->btf_fd);
		put_object(known->inner_map_fd);
		break;
	case BPF_MAP_UPDATE_ELEM:
		object(known->map_fd, &id, &map);
		put_object(known->map_fd);
		PUT_BUFFER(key, map.key_size);
		PUT_BUFFER(value, map.value_size);
		if (holds_descriptors(map.type))
			put_object_as("value", *(const int *)(unsigned long)known->value);
		break;
	case BPF_MAP_FREEZE:
		put_object(known->map_fd);
		break;
	case BPF_PROG_LOAD:
		PUT_BUFFER(insns, known->insn_cnt * sizeof(struct bpf_insn));
		PUT_STRING(license);
		PUT_BUFFER(func_info, known->func_info_cnt * known->func_info_rec_size);
		PUT_BUFFER(line_info, known->line_info_cnt * known->line_info_rec_size);
		put_object(known->prog_btf_fd);
		put_object(known->attach_prog_fd);
		put_instruction_objects((const void *)(unsigned long)known->insns, known->insn_cnt,
					(const void *)(unsigned long)known->fd_array);
		break;
	case BPF_PROG_BIND_MAP:
		put_object(known->prog_bind_map.prog_fd);
		put_object(known->prog_bind_map.map_fd);
		break;
	case BPF_OBJ_PIN:
	case BPF_OBJ_GET:
		PUT_STRING(pathname);
		put_object(known->bpf_fd);
		break;
	}
}

/* Whether BTF has a type of a kind that is newer than the kernel to load for. */
static int is_btf_too_new(const union bpf_attr *asked)
{
	static const unsigned char fixed[32] = {
		[BTF_KIND_INT] = 4, [BTF_KIND_ARRAY] = sizeof(struct btf_array), [BTF_KIND_VAR] = 4, [BTF_KIND_DECL_TAG] = 4,
	};
	static const unsigned char each[32] = {
		[BTF_KIND_STRUCT] = sizeof(struct btf_member),
		[BTF_KIND_UNION] = sizeof(struct btf_member),
		[BTF_KIND_ENUM] = sizeof(struct btf_enum),
		[BTF_KIND_FUNC_PROTO] = sizeof(struct btf_param),
		[BTF_KIND_DATASEC] = sizeof(struct btf_var_secinfo),
		[BTF_KIND_ENUM64] = sizeof(struct btf_enum64),
	};
	const struct btf_header *header = (const void *)(unsigned long)asked->btf;
	const char *last_kind = getenv("BTF_LAST_KIND"), *type, *end;

	if (!last_kind)
		return 0;
	type = (const char *)header + header->hdr_len + header->type_off;
	for (end = type + header->type_len; type < end;) {
		__u32 info = ((const struct btf_type *)type)->info;

		if ((int)BTF_INFO_KIND(info) > atoi(last_kind))
			return 1;
		type += sizeof(struct btf_type) + fixed[BTF_INFO_KIND(info)] + BTF_INFO_VLEN(info) * each[BTF_INFO_KIND(info)];
	}
	return 0;
}

static long stand_in_program(const union bpf_attr *asked)
{
	static const struct bpf_insn return_0[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union attributes trivial = {};
	long fd;

	trivial.known.prog_type = asked->prog_type;
	trivial.known.expected_attach_type = asked->expected_attach_type;
	trivial.known.insns = (unsigned long)return_0;
	trivial.known.insn_cnt = 2;
	trivial.known.license = (unsigned long)"GPL";
	fd = kernel_bpf(BPF_PROG_LOAD, &trivial, sizeof(trivial.known));
	if (fd >= 0)
		return fd;
	trivial.known.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	trivial.known.expected_attach_type = 0;
	return kernel_bpf(BPF_PROG_LOAD, &trivial, sizeof(trivial.known));
}

static long stand_in_map(const union bpf_attr *asked)
{
	union attributes array = {};

	array.known.map_type = BPF_MAP_TYPE_ARRAY;
	array.known.key_size = 4;
	array.known.value_size = asked->value_size ? asked->value_size : 4;
	array.known.max_entries = 1;
	return kernel_bpf(BPF_MAP_CREATE, &array, sizeof(array.known));
}

/* Programs and maps without a name, and those with a name of libbpf's, find out what the kernel can do. */
static int is_the_objects(const char *name)
{
	return *name && strncmp(name, "libbpf_", 7) && strcmp(name, "det_arg_ctx") && strcmp(name, "global_reloc");
}

/* The stand-ins, as numbers of the kernel's: those of maps are negative. */
static long stand_ins[1 << 16];
static size_t stand_in_count;

static long identity(int fd)
{
	__u32 id = 0;
	const char *kind = object(fd, &id, NULL);

	return !*kind ? 0 : !strcmp(kind, "map") ? -(long)id : (long)id;
}

static int is_stand_in(int fd)
{
	long identity_of_fd = identity(fd);

	for (size_t i = 0; i < stand_in_count; i++)
		if (stand_ins[i] == identity_of_fd)
			return 1;
	return 0;
}

/* What takes the place of something refused; negative if nothing does. */
static long stand_in(int command, const union bpf_attr *asked)
{
	long fd = -1;

	if (command == BPF_PROG_LOAD && is_the_objects(asked->prog_name))
		fd = stand_in_program(asked);
	/* A map that is refused with BTF for its keys and values is asked for again without it. */
	if (command == BPF_MAP_CREATE && is_the_objects(asked->map_name) && !asked->btf_key_type_id &&
	    !asked->btf_value_type_id)
		fd = stand_in_map(asked);
	if (fd >= 0) {
		if (stand_in_count == sizeof(stand_ins) / sizeof(*stand_ins))
			abort();
		stand_ins[stand_in_count++] = identity(fd);
	}
	/* A stand-in does not fit where the true one would; a program or map in another map is given by its descriptor. */
	if (command == BPF_MAP_UPDATE_ELEM) {
		struct bpf_map_info map = {};
		__u32 id;

		object(asked->map_fd, &id, &map);
		if (is_stand_in(asked->map_fd) ||
		    (holds_descriptors(map.type) && is_stand_in(*(const int *)(unsigned long)asked->value)))
			fd = 0;
	}
	return fd;
}

/* What the kernel answers, or one that knows less would answer. */
static long ask(int command, const union attributes *attributes, void *theirs, size_t size)
{
	int tries = 0;
	long result;

	if (command == BPF_BTF_LOAD && is_btf_too_new(&attributes->known)) {
		errno = EINVAL;
		return -1;
	}
	do
		result = kernel(SYS_bpf, command, (long)theirs, size, 0, 0, 0);
	while (result < 0 && errno == EAGAIN && command == BPF_PROG_LOAD && ++tries < LOAD_ATTEMPTS);
	return result;
}

static long recorded(int command, union attributes *attributes, void *theirs, size_t size)
{
	long result = ask(command, attributes, theirs, size);
	int answer = result < 0 ? errno : 0;

	begin_line();
	fprintf(line, "%d %d ", command, answer);
	put_bytes(attributes->bytes, size);
	put_pointed_to(command, attributes);
	if (result < 0)
		result = stand_in(command, &attributes->known);
	if (result > 0)
		put_object_as("new", result);
	end_line();
	errno = answer;
	return result;
}

/* The arena that is mapped; an object has one at most. */
static struct {
	const void *address;
	size_t size;
	int fd;
} arena;

static void put_memory(void)
{
	if (!arena.address || arena.size > LARGEST_MEMORY)
		return;
	begin_line();
	fprintf(line, "memory ");
	put_bytes(arena.address, arena.size);
	put_object_as("map", arena.fd);
	end_line();
}

static long mark(const char *text, size_t size)
{
	if (size == strlen("loaded") && !strncmp(text, "loaded", size))
		put_memory();
	else
		arena.address = NULL;
	begin_line();
	fprintf(line, "mark ");
	for (size_t i = 0; i < size; i++)
		if (text[i] == '\n')
			fputs("\\n", line);
		else
			fputc(text[i], line);
	end_line();
	return 0;
}

static long bpf(int command, void *theirs, size_t size)
{
	union attributes attributes = {};

	switch (command) {
	case MARK:
		return mark(theirs, size);
	case BPF_BTF_GET_NEXT_ID:
		if (!getenv("UTS_RELEASE"))
			break;
		errno = ENOENT;
		return -1;
	case BPF_BTF_LOAD:
	case BPF_MAP_CREATE:
	case BPF_MAP_UPDATE_ELEM:
	case BPF_MAP_FREEZE:
	case BPF_PROG_LOAD:
	case BPF_PROG_BIND_MAP:
	case BPF_OBJ_PIN:
	case BPF_OBJ_GET:
		if (size > sizeof(attributes))
			break;
		memcpy(&attributes, theirs, size);
		return recorded(command, &attributes, theirs, size);
	}
	return kernel(SYS_bpf, command, (long)theirs, size, 0, 0, 0);
}

long syscall(long number, ...)
{
	va_list list;
	long word[6];

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		word[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_bpf)
		return bpf(word[0], (void *)word[1], word[2]);
	return kernel(number, word[0], word[1], word[2], word[3], word[4], word[5]);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	static void *(*libc_mmap)(void *, size_t, int, int, int, off_t);
	struct bpf_map_info map = {};
	void *result;
	__u32 id;

	if (!libc_mmap)
		libc_mmap = dlsym(RTLD_NEXT, "mmap");
	result = libc_mmap(address, size, protection, flags, fd, offset);
	int answer = result == MAP_FAILED ? errno : 0;

	if (fd >= 0 && *object(fd, &id, &map) && map.type == MAP_TYPE_ARENA) {
		begin_line();
		fprintf(line, "mmap %d %lu %zu", answer, (unsigned long)address, size);
		put_object_as("map", fd);
		end_line();
		if (!answer) {
			arena.address = result;
			arena.size = size;
			arena.fd = fd;
		}
	}
	errno = answer;
	return result;
}

/* The same, by the name that it has for who is compiled for large files. */
void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

int uname(struct utsname *names)
{
	const char *release = getenv("UTS_RELEASE"), *version = getenv("UTS_VERSION");

	if (kernel(SYS_uname, (long)names, 0, 0, 0, 0, 0) < 0)
		return -1;
	if (release && version) {
		snprintf(names->release, sizeof(names->release), "%s", release);
		snprintf(names->version, sizeof(names->version), "%s", version);
	}
	return 0;
}
