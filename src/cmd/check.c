/* SPDX-License-Identifier: MIT */
/*
 * Looks at what the options of `nestbox run` name, before anything is created: files, the kernel
 * and whether it fits, disks and their locks.
 */
#include "cmd/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int open_file(struct run_options *o, struct boot_file *file)
{
	const char *why = NULL;
	struct stat st;

	if (!file->path)
		return 0;
	file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0)
		why = strerror(errno);
	else if (fstat(file->fd, &st))
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = S_ISDIR(st.st_mode) ? "Is a directory" : "Is no regular file";
	if (why) {
		snprintf(o->problem, sizeof(o->problem), "%s %.160s: %s; give a file that can be read",
			file->option, file->path, why);
		return -1;
	}
	file->size = st.st_size;
	return 0;
}

/* A load that writes nothing finds all that is wrong with the image. */
static int check_image(struct run_options *o)
{
	struct memory_map map;
	struct boot boot = { .source = &o->source, .map = &map,
		.low_size = board_low_memory(o->board.memory), .rsdp = BOARD_RSDP };

	board_memory_map(&map, o->board.memory);
	if (!boot_load(&boot))
		return 0;
	snprintf(o->problem, sizeof(o->problem), "%s", boot.problem);
	return -1;
}

static const char *disk_advice(int error, bool read_only)
{
	switch (error) {
	case -EAGAIN:
		return "end that one, or give a copy of the image";
	case -EACCES:
	case -EPERM:
	case -EROFS:
		if (!read_only)
			return "give one that can be written, or add ,readonly";
		/* fallthrough */
	default:
		return "give a raw disk image, such as truncate -s 4G makes, or a block device";
	}
}

static int open_disks(struct run_options *o)
{
	for (unsigned i = 0; i < o->board.disk_count; i++) {
		const char *why = NULL;
		int error = disk_open(&o->board.disks[i], o->disk_text[i], o->disk_read_only[i], &why);

		if (!error)
			continue;
		snprintf(o->problem, sizeof(o->problem), "--disk %.120s: %s; %s", o->disk_text[i],
			why ? why : strerror(-error), disk_advice(error, o->disk_read_only[i]));
		/* Nobody else closes those before */
		while (i-- > 0)
			disk_close(&o->board.disks[i]);
		return -1;
	}
	return 0;
}

/* Asks the host for the memory and gives it back at once. */
static int check_memory(struct run_options *o)
{
	struct ram ram;
	int error = ram_new(&ram, o->board.memory);

	if (!error) {
		ram_free(&ram);
		return 0;
	}
	snprintf(o->problem, sizeof(o->problem), "--memory: the host cannot give %llu MiB (%s); ask "
		"for less", (unsigned long long)(o->board.memory / MIB), strerror(-error));
	return -1;
}

int run_options_check(struct run_options *o)
{
	if (!o->source.kernel.path) {
		snprintf(o->problem, sizeof(o->problem),
			"--kernel: is missing; give the file of a kernel");
		return -1;
	}
	if (open_file(o, &o->source.kernel) || open_file(o, &o->source.initrd))
		return -1;
	for (unsigned i = 0; i < o->source.module_count; i++)
		if (open_file(o, &o->modules[i].file))
			return -1;
	if (check_image(o) || check_memory(o))
		return -1;
	return open_disks(o);
}
