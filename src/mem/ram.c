/* SPDX-License-Identifier: MIT */
/*
 * The guest's RAM: one memfd, mapped once, whose pages the host gives when they are first
 * touched. A size the host cannot back is refused here rather than by the OOM killer later.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/space.h"

/* The first number after `key` in a file of /proc or /sys; UINT64_MAX: there is none. */
static u64 number_in_file(const char *path, const char *key)
{
	unsigned long long value;
	u64 found = UINT64_MAX;
	size_t len = strlen(key);
	char line[128];
	FILE *file = fopen(path, "re");

	if (!file)
		return found;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, len) && sscanf(line + len, "%llu", &value) == 1) {
			found = value;
			break;
		}
	}
	fclose(file);
	return found;
}

u64 ram_host_limit(void)
{
	u64 available = number_in_file("/proc/meminfo", "MemAvailable:");
	u64 swap = number_in_file("/proc/meminfo", "SwapFree:");
	/* A container's own limit, by version 2 and 1; "max" or a huge number where there is none. */
	u64 limit = MIN(number_in_file("/sys/fs/cgroup/memory.max", ""),
		number_in_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", ""));

	if (available == UINT64_MAX)
		return limit;
	available *= KIB;
	if (swap != UINT64_MAX)
		available += swap * KIB;
	return MIN(available, limit);
}

/*
 * -EINVAL: not a number of pages; -ENOMEM: the host has not got that much; or what memfd_create,
 * ftruncate and mmap say.
 */
int ram_new(struct ram *ram, u64 size)
{
	int error;

	*ram = (struct ram){ .fd = -1 };
	if (!size || size % PAGE_SIZE || size > INT64_MAX)
		return -EINVAL;
	if (size > ram_host_limit())
		return -ENOMEM;
	ram->fd = memfd_create("nestbox-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ram->fd < 0)
		goto fail;
	if (ftruncate(ram->fd, size) < 0)
		goto fail;
	/* Nobody who gets this descriptor can make an access of ours a SIGBUS. */
	if (fcntl(ram->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		goto fail;
	ram->host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		ram->fd, 0);
	if (ram->host == MAP_FAILED) {
		ram->host = NULL;
		goto fail;
	}
	ram->size = size;
	/* Only takes effect where the host's administrator lets shared memory have huge pages. */
	madvise(ram->host, size, MADV_HUGEPAGE);
	/* A core dump is for our own state; a guest's secrets stay out of it. */
	madvise(ram->host, size, MADV_DONTDUMP);
	ram->page_flags = mmap(NULL, size / PAGE_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram->page_flags == MAP_FAILED) {
		ram->page_flags = NULL;
		goto fail;
	}
	return 0;
fail:
	error = errno;
	ram_free(ram);
	return -error;
}

void ram_free(struct ram *ram)
{
	if (ram->page_flags)
		munmap(ram->page_flags, ram->size / PAGE_SIZE);
	if (ram->host)
		munmap(ram->host, ram->size);
	if (ram->fd >= 0)
		close(ram->fd);
	*ram = (struct ram){ .fd = -1 };
}
