/* SPDX-License-Identifier: MIT */
/*
 * Accesses of devices to the guest's RAM, from any thread. The addresses are the guest's: each
 * is looked up before a byte moves. The guest may change the memory meanwhile, so callers copy
 * what they check.
 */
#include <errno.h>
#include <string.h>

#include "mem/dirty.h"

/* Tells the engine and the dirty log that [offset, offset + len) of the RAM is written. */
static void tell_engine(struct ram *ram, u64 offset, u64 len)
{
	dirty_note(ram, offset, len);
	if (!ram->watched_written || !len)
		return;
	for (u64 page = offset >> PAGE_SHIFT; page <= (offset + len - 1) >> PAGE_SHIFT; page++) {
		if (ram_is_watched(ram, page << PAGE_SHIFT))
			ram->watched_written(ram->engine, page);
	}
}

static bool is_ram(struct space *space, u64 address, u64 len, bool write)
{
	while (len) {
		struct space_hit hit = space_find(space, address);
		u64 piece = MIN(len, hit.contiguous);

		if (!hit.host || (write && hit.read_only))
			return false;
		len -= piece;
		address += piece;
		/* The end of the address space is not followed by its start. */
		if (len && !address)
			return false;
	}
	return true;
}

int dma_read(struct space *space, u64 address, void *to, u64 len)
{
	u8 *out = to;

	if (!is_ram(space, address, len, false))
		return -EFAULT;
	while (len) {
		struct space_hit hit = space_find(space, address);
		u64 piece = MIN(len, hit.contiguous);

		/* A range that another thread took away since the check. */
		if (!hit.host)
			return -EFAULT;
		memcpy(out, hit.host, piece);
		out += piece;
		address += piece;
		len -= piece;
	}
	return 0;
}

int dma_write(struct space *space, u64 address, const void *from, u64 len)
{
	struct ram *ram = space_ram(space);
	const u8 *in = from;

	if (!is_ram(space, address, len, true))
		return -EFAULT;
	while (len) {
		struct space_hit hit = space_find(space, address);
		u64 piece = MIN(len, hit.contiguous);

		if (!hit.host || hit.read_only)
			return -EFAULT;
		tell_engine(ram, hit.ram_offset, piece);
		memcpy(hit.host, in, piece);
		/* Again, for what a vCPU translated from the old bytes meanwhile. */
		tell_engine(ram, hit.ram_offset, piece);
		in += piece;
		address += piece;
		len -= piece;
	}
	return 0;
}

void *dma_map(struct space *space, u64 address, u64 len, bool write, u64 *got)
{
	struct space_hit hit = space_find(space, address);

	if (!hit.host || (write && hit.read_only))
		return NULL;
	*got = MIN(len, hit.contiguous);
	if (write)
		tell_engine(space_ram(space), hit.ram_offset, *got);
	return hit.host;
}

void dma_map_written(struct space *space, u64 address, u64 len)
{
	while (len) {
		struct space_hit hit = space_find(space, address);
		u64 piece = MIN(len, hit.contiguous);

		if (!hit.host)
			return;
		tell_engine(space_ram(space), hit.ram_offset, piece);
		address += piece;
		len -= piece;
	}
}
