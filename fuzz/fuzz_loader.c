/* SPDX-License-Identifier: MIT */
/*
 * Kernel loaders with any file: the first byte chooses what comes with the kernel, the rest is
 * the kernel. Guest RAM is a heap block, so that a write beside it is seen. A load that only
 * checks must come to the same answer as one that writes.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "board/board.h"

#define RAM_SIZE (4 * MIB)
#define WITH_INITRD 1
#define WITH_MODULE 2

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const char text[] = "the content of an initrd or a module";
	struct boot_file extra = { .option = "--initrd", .path = "extra", .size = sizeof(text) };
	struct boot_module module;
	struct boot_source source = { .append = "words", .modules = &module };
	struct memory_map map;
	struct boot check, load;
	int checked, loaded;

	if (!size)
		return 0;
	extra.fd = memfd_create("extra", MFD_CLOEXEC);
	source.kernel = (struct boot_file){ .option = "--kernel", .path = "kernel",
		.fd = memfd_create("kernel", MFD_CLOEXEC), .size = size - 1 };
	if (extra.fd < 0 || source.kernel.fd < 0 ||
	    write(extra.fd, text, sizeof(text)) != sizeof(text) ||
	    write(source.kernel.fd, data + 1, size - 1) != (ssize_t)size - 1)
		abort();
	module = (struct boot_module){ .file = extra, .args = "a b" };
	source.initrd = data[0] & WITH_INITRD ? extra : (struct boot_file){ .fd = -1 };
	source.module_count = !!(data[0] & WITH_MODULE);

	board_memory_map(&map, RAM_SIZE);
	check = (struct boot){ .source = &source, .map = &map, .low_size = RAM_SIZE,
		.rsdp = BOARD_RSDP };
	load = check;
	load.low = calloc(1, RAM_SIZE);
	checked = boot_load(&check);
	loaded = boot_load(&load);
	if (checked != loaded || (checked && !check.problem[0]) ||
	    strcmp(check.problem, load.problem) || memcmp(&check.entry, &load.entry,
		sizeof(check.entry)))
		abort();
	free(load.low);
	close(source.kernel.fd);
	close(extra.fd);
	return 0;
}
