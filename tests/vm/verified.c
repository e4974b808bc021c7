/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that this kernel's verifier has accepted, for the next process that would load the same.
 * The verifier takes most of a gate's start where the processor is emulated, and the suites start some
 * hundreds of gates, all of the same few kinds. Preloaded (LD_PRELOAD) in the virtual machines only:
 * everywhere else each start is verified. So is, everywhere, who wants to see what the verifier says
 * (a log), who may not load programs, and who goes on with maps of a daemon before.
 *
 * libbpf asks the kernel through syscall(2). Who loads the gate's first program is given a slot: its
 * maps, emptied, in the place of those just made (a program knows its maps, not their descriptors),
 * and its programs, if their instructions are the same. The first of a slot loads them, and pins them
 * for the others. A slot has one owner at a time, and none while something that the owner pinned is
 * still there.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS "/run/verified"	    /* a file each: its owner's pid, and what he has pinned */
#define PINS "/sys/fs/bpf/verified" /* a folder each */
#define SLOTS_MAX 64		    /* of a kind */
#define MAPS_MAX 16
#define CPUS_MAX 512
#define PROBE_BTF_SIZE 256 /* libbpf asks what the kernel can do with less than that */

struct map {
	int fd;
	uint32_t type, key_size, value_size, max_entries, flags;
};

/* What is being loaded. */
static struct object {
	size_t nmaps, nprogs;
	struct map map[MAPS_MAX];
	uint64_t kind; /* of all that makes its maps what they are */
	int slot;      /* 0 = none */
	bool is_new;
	char pins[64];
} object;

/* The C library's own. */
static long kernel(long number, const long a[6])
{
	static long (*real)(long, ...);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int bpf(enum bpf_cmd cmd, union bpf_attr *attr, size_t size)
{
	return (int)kernel(SYS_bpf, (const long[6]){cmd, (long)attr, (long)size});
}

/* FNV-1a */
static uint64_t hash(uint64_t h, const void *p, size_t len)
{
	const uint8_t *byte = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ byte[i]) * 0x100000001b3;
	return h;
}

static uint64_t address(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/* ---- maps ---- */

static int map_element(enum bpf_cmd cmd, const struct map *m, const void *key, const void *value)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)m->fd, .key = address(key), .value = address(value)};

	return bpf(cmd, &attr, sizeof(attr));
}

static void array_clear(const struct map *m, size_t copies)
{
	void *zeros = calloc(copies, (m->value_size + 7U) & ~7U);

	for (uint32_t i = 0; zeros && i < m->max_entries; i++)
		map_element(BPF_MAP_UPDATE_ELEM, m, &i, zeros);
	free(zeros);
}

static void memory_clear(const struct map *m)
{
	size_t len = (size_t)m->max_entries * ((m->value_size + 7U) & ~7U);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);

	if (p == MAP_FAILED)
		return;
	memset(p, 0, len);
	munmap(p, len);
}

static void hash_clear(const struct map *m)
{
	uint8_t key[64];
	union bpf_attr first = {.map_fd = (uint32_t)m->fd, .next_key = address(key)};
	union bpf_attr that = {.map_fd = (uint32_t)m->fd, .key = address(key)};

	while (m->key_size <= sizeof(key) && !bpf(BPF_MAP_GET_NEXT_KEY, &first, sizeof(first)) &&
	       !bpf(BPF_MAP_DELETE_ELEM, &that, sizeof(that)))
		;
}

/* Constants that it was verified with: they are part of a program. */
static bool is_constant(const struct map *m)
{
	return m->flags & BPF_F_RDONLY_PROG;
}

/* What belongs to sockets ended with them. */
static void map_clear(const struct map *m)
{
	if (is_constant(m))
		return;
	if (m->type == BPF_MAP_TYPE_ARRAY && m->flags & BPF_F_MMAPABLE)
		memory_clear(m);
	else if (m->type == BPF_MAP_TYPE_ARRAY)
		array_clear(m, 1);
	else if (m->type == BPF_MAP_TYPE_PERCPU_ARRAY)
		array_clear(m, CPUS_MAX);
	else if (m->type != BPF_MAP_TYPE_SK_STORAGE)
		hash_clear(m);
}

static void map_note(int fd, const union bpf_attr *attr)
{
	const struct map m = {fd,
			      attr->map_type,
			      attr->key_size,
			      attr->value_size,
			      attr->max_entries,
			      attr->map_flags};

	if (fd < 0 || !strncmp(attr->map_name, "libbpf_", 7))
		return;
	if (object.nmaps < MAPS_MAX)
		object.map[object.nmaps] = m;
	object.nmaps++;
	object.kind = hash(object.kind, &m.type, sizeof(m) - offsetof(struct map, type));
}

/* ---- pins ---- */

static int pinned(const char *name)
{
	char path[sizeof(object.pins) + 32];
	union bpf_attr attr = {.pathname = address(path)};

	snprintf(path, sizeof(path), "%s/%s", object.pins, name);
	return bpf(BPF_OBJ_GET, &attr, sizeof(attr));
}

static void pin(int fd, const char *name)
{
	char path[sizeof(object.pins) + 32];
	union bpf_attr attr = {.pathname = address(path), .bpf_fd = (uint32_t)fd};

	snprintf(path, sizeof(path), "%s/%s", object.pins, name);
	bpf(BPF_OBJ_PIN, &attr, sizeof(attr));
}

/* ---- slots ---- */

/* Nobody's, and nothing of it is pinned anywhere else. */
static bool is_free(int slot)
{
	bool is = true;
	char line[512];
	FILE *f = fdopen(dup(slot), "r");
	int owner;

	if (!f)
		return false;
	if (fgets(line, sizeof(line), f) && sscanf(line, "%d", &owner) == 1)
		is = kill(owner, 0) != 0; /* it may be on its way out */
	while (is && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		is = access(line, F_OK) != 0;
	}
	fclose(f);
	return is;
}

/* All of its maps or none: they belong together. */
static bool slot_adopt(void)
{
	int fd[MAPS_MAX];
	size_t n = 0;
	char name[16];
	bool all;

	for (; n < object.nmaps; n++) {
		snprintf(name, sizeof(name), "map%zu", n);
		fd[n] = pinned(name);
		if (fd[n] < 0)
			break;
	}
	all = n == object.nmaps;
	while (n--) {
		if (all && dup3(fd[n], object.map[n].fd, O_CLOEXEC) >= 0)
			map_clear(&object.map[n]);
		close(fd[n]);
	}
	return all;
}

static bool slot_try(uint64_t kind, int n)
{
	char name[32], path[64];
	int fd;

	snprintf(name, sizeof(name), "%016" PRIx64 "-%d", kind, n);
	snprintf(path, sizeof(path), SLOTS "/%s", name);
	snprintf(object.pins, sizeof(object.pins), PINS "/%s", name);
	fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	if (!flock(fd, LOCK_EX | LOCK_NB)) {
		object.is_new = !mkdir(object.pins, 0700);
		if ((object.is_new || (is_free(fd) && slot_adopt())) && !ftruncate(fd, 0))
			object.slot = fd; /* locked as long as we live */
	}
	if (object.slot)
		dprintf(fd, "%d\n", getpid());
	else
		close(fd);
	return object.slot;
}

static uint64_t constants_hash(uint64_t h)
{
	for (size_t i = 0; i < object.nmaps; i++) {
		const struct map *m = &object.map[i];
		void *value = calloc(1, m->value_size);

		if (is_constant(m) && value &&
		    !map_element(BPF_MAP_LOOKUP_ELEM, m, &(uint32_t){0}, value))
			h = hash(h, value, m->value_size);
		free(value);
	}
	return h;
}

static void slot_take(uint64_t program)
{
	uint64_t kind = constants_hash(hash(object.kind, &program, sizeof(program)));

	mkdir(SLOTS, 0700);
	mkdir(PINS, 0700);
	for (int n = 0; n < SLOTS_MAX && !slot_try(kind, n); n++)
		;
}

/* ---- programs ---- */

static int map_index(int fd)
{
	for (size_t i = 0; i < object.nmaps; i++) {
		if (object.map[i].fd == fd)
			return (int)i;
	}
	return -1;
}

/* Of what it does, whatever the descriptors of its maps are; 0 where one is not the object's own. */
static uint64_t program_hash(const union bpf_attr *attr)
{
	const struct bpf_insn *insn = (const struct bpf_insn *)(uintptr_t)attr->insns;
	uint64_t h = hash(0xcbf29ce484222325, &attr->expected_attach_type, sizeof(uint32_t));

	for (uint32_t i = 0; i < attr->insn_cnt; i++) {
		struct bpf_insn one = insn[i];

		if (one.code == (BPF_LD | BPF_IMM | BPF_DW) && one.src_reg) {
			if (one.src_reg == BPF_PSEUDO_MAP_FD || one.src_reg == BPF_PSEUDO_MAP_VALUE)
				one.imm = map_index(one.imm);
			else if (one.src_reg != BPF_PSEUDO_FUNC)
				return 0;
			if (one.imm < 0)
				return 0;
		}
		h = hash(h, &one, sizeof(one));
	}
	return h;
}

/* Whoever may not load a program may not have one either. */
static bool may_load(void)
{
	const uint32_t want = 1U << (CAP_BPF - 32) | 1U << (CAP_PERFMON - 32);
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};

	return !kernel(SYS_capget, (const long[6]){(long)&head, (long)caps}) &&
	       (caps[1].effective & want) == want && caps[0].effective & 1U << CAP_NET_ADMIN;
}

static bool is_gate(const union bpf_attr *attr, size_t size)
{
	return size > offsetof(union bpf_attr, prog_btf_fd) &&
	       (attr->prog_type == BPF_PROG_TYPE_SOCK_OPS ||
		attr->prog_type == BPF_PROG_TYPE_SK_MSG) &&
	       attr->prog_btf_fd && !attr->log_level && object.nmaps && object.nmaps <= MAPS_MAX;
}

static int program_load(union bpf_attr *attr, size_t size)
{
	uint64_t program = is_gate(attr, size) && may_load() ? program_hash(attr) : 0;
	char name[32];
	int fd = -1;

	if (program && !object.nprogs++)
		slot_take(program);
	if (!program || !object.slot)
		return bpf(BPF_PROG_LOAD, attr, size);
	snprintf(name, sizeof(name), "prog%016" PRIx64, program);
	fd = pinned(name);
	if (fd >= 0)
		return fd;
	fd = bpf(BPF_PROG_LOAD, attr, size);
	if (fd < 0)
		return fd;
	pin(fd, name);
	for (size_t i = 0; object.is_new && i < object.nmaps; i++) {
		snprintf(name, sizeof(name), "map%zu", i);
		pin(object.map[i].fd, name);
	}
	object.is_new = false;
	return fd;
}

/* ---- what the kernel is asked ---- */

static int bpf_asked(enum bpf_cmd cmd, union bpf_attr *attr, size_t size)
{
	int ret;

	if (cmd == BPF_PROG_LOAD)
		return program_load(attr, size);
	if (cmd == BPF_BTF_LOAD && attr->btf_size > PROBE_BTF_SIZE)
		object = (struct object){0};
	ret = bpf(cmd, attr, size);
	if (cmd == BPF_MAP_CREATE)
		map_note(ret, attr);
	if (cmd == BPF_OBJ_PIN && !ret && object.slot)
		dprintf(object.slot, "%s\n", (const char *)(uintptr_t)attr->pathname);
	return ret;
}

long syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_bpf)
		return bpf_asked((enum bpf_cmd)a[0], (union bpf_attr *)a[1], (size_t)a[2]);
	return kernel(number, a);
}
