/* SPDX-License-Identifier: MIT */
/*
 * The guest's RAM: anonymous memory, whose pages the host gives when they are first touched, large
 * ones where it can. A size the host cannot back is refused here rather than by the OOM killer
 * later.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/huge_file.h"
#include "mem/dirty.h"

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

/* Costs nothing until it is touched. NULL: errno. */
static void *lazy_zeroes(u64 size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/*
 * At a multiple of 2 MiB, as the guest sees it too: only then can a large page of the host be one
 * of the second stage, which spares a nested guest 511 of 512 faults. NULL: errno.
 */
static u8 *map_aligned(u64 size)
{
	u8 *area = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	u8 *start;

	if (area == MAP_FAILED)
		return NULL;
	start = huge_page_from(area);
	if (start > area)
		munmap(area, start - area);
	munmap(start + size, area + HUGE_PAGE - start);
	return start;
}

/* -EINVAL: not a number of pages; -ENOMEM: the host has not got that much; or what mmap says. */
int ram_new(struct ram *ram, u64 size)
{
	int error;

	*ram = (struct ram){ 0 };
	if (!size || size % PAGE_SIZE || size > INT64_MAX - HUGE_PAGE)
		return -EINVAL;
	if (size > ram_host_limit())
		return -ENOMEM;
	ram->host = map_aligned(size);
	if (!ram->host)
		goto fail;
	ram->size = size;
	madvise(ram->host, size, MADV_HUGEPAGE); /* without them it works too */
	/* A core dump is for our own state; a guest's secrets stay out of it. */
	madvise(ram->host, size, MADV_DONTDUMP);
	ram->page_flags = lazy_zeroes(size / PAGE_SIZE);
	ram->dirty = lazy_zeroes(dirty_words(ram) * sizeof(u64));
	if (!ram->page_flags || !ram->dirty)
		goto fail;
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
	if (ram->dirty)
		munmap(ram->dirty, dirty_words(ram) * sizeof(u64));
	if (ram->host)
		munmap(ram->host, ram->size);
	*ram = (struct ram){ 0 };
}
