/* SPDX-License-Identifier: MIT */
/*
 * Address spaces: what stands at which guest-physical address or I/O port. A space is a list of
 * ranges, each RAM, ROM or handlers. Sizes are bytes, addresses guest-physical.
 */
#ifndef MEM_SPACE_H
#define MEM_SPACE_H

#include "base/types.h"

/* Handlers of a device's range. `offset` counts from the range's start; size is 1, 2, 4 or 8. */
struct io_ops {
	u64 (*read)(void *device, u64 offset, unsigned size);
	void (*write)(void *device, u64 offset, unsigned size, u64 value);
	/* Access sizes the device takes, as a mask of 1|2|4|8; 0: all. Others are split or widened
	 * by the space. */
	unsigned sizes;
};

/* Flags kept for every page of RAM, why the engine wants to know of writes; set by vCPUs, atomically. */
#define RAM_HAS_CODE 0x01   /* translated code was made from it */
#define RAM_HAS_TABLES 0x02 /* page tables that are believed to be as they were, cpu/trail.h */

struct dirty_ops;

/*
 * The machine's RAM: one anonymous mapping. `host` + offset is a byte of it; offset is not the
 * guest-physical address where RAM lies on both sides of the PCI hole.
 */
struct ram {
	u8 *host;
	u64 size;
	u8 *page_flags; /* size / PAGE_SIZE of them */
	/*
	 * Called before and after a page with flags is changed by someone other than the vCPU's own
	 * store (DMA), from any thread.
	 */
	void (*watched_written)(void *engine, u64 page);
	void *engine;
	/* The dirty log, mem/dirty.h; a bit a page. The engine brings the operations, before a vCPU runs. */
	bool dirty_on;
	u64 *dirty;
	const struct dirty_ops *dirty_ops;
	void *dirty_arg;
};

/* Whether the page of a byte of RAM has flags: whoever writes there says so. */
static inline bool ram_is_watched(const struct ram *ram, u64 offset)
{
	return __atomic_load_n(&ram->page_flags[offset >> PAGE_SHIFT], __ATOMIC_ACQUIRE);
}

struct space;

struct space *space_new(const char *name);
void space_free(struct space *space);

/* Memory of the host, zeroed; -errno when the host cannot back it. ram_free() of a zeroed one is
 * allowed. */
int ram_new(struct ram *ram, u64 size);
/* What this host could give at most now, in bytes; UINT64_MAX where it does not say. */
u64 ram_host_limit(void);
void ram_free(struct ram *ram);

/* Ranges are added while the machine is built or by a device that moves its BAR (machine lock
 * held); a later range hides an earlier one. -errno: no memory, or an empty range. */
int space_add_ram(struct space *space, u64 base, u64 size, struct ram *ram, u64 ram_offset);
int space_add_rom(struct space *space, u64 base, u64 size, struct ram *ram, u64 ram_offset);
int space_add_io(struct space *space, u64 base, u64 size, const struct io_ops *ops, void *device);
void space_remove_io(struct space *space, u64 base, void *device);

/*
 * An access belongs to the range that stands at its first byte, as far as that range was added
 * to reach, also where a later one hides its middle: so a device of bytes may sit at CF9h inside
 * PCI's CF8h-CFBh. RAM is always cut where it is hidden.
 */

/* What stands at an address. */
struct space_hit {
	u8 *host;        /* the byte in RAM; NULL: not RAM */
	u64 ram_offset;  /* of that byte */
	u64 contiguous;  /* bytes from here to the end of the range */
	bool read_only;  /* ROM */
	const struct io_ops *ops; /* NULL with host NULL: nothing there */
	void *device;
	u64 offset;      /* in the device's range */
};
/* Safe from any thread while no range is being added; the vCPU threads are parked for that. */
struct space_hit space_find(struct space *space, u64 address);
struct ram *space_ram(struct space *space);

/* A piece of RAM or ROM as far as nothing hides it. */
struct space_piece {
	u64 base, size;
	u64 ram_offset;
	bool read_only;
};
/* The pieces in ascending order, at most max; how many were put. While no range is being added. */
unsigned space_pieces(struct space *space, struct space_piece *pieces, unsigned max);

/*
 * A doorbell: an address in a device's range where a write of any size and value says "look" and
 * no more. An engine may let the guest run on at such a write and call ring() soon after, once for
 * several writes; where it does not, the write reaches the range's handler as any other does.
 */
struct doorbell {
	u64 address;
	void (*ring)(void *arg); /* machine lock held, any thread */
	void *arg;
};
/* In the range of `device` that stands there now; it goes with the range. -ENOENT: not that
 * device's; -ENOMEM: there are too many. Machine lock held. */
int space_add_doorbell(struct space *space, void *device, const struct doorbell *doorbell);
/* Those whose range shows at their address, at most max; how many were put. */
unsigned space_doorbells(struct space *space, struct doorbell *doorbells, unsigned max);
/* For one who keeps a copy of pieces and doorbells: called after a range or a doorbell came or went,
 * by whoever did it. */
void space_watch(struct space *space, void (*changed)(void *arg), void *arg);

/*
 * Accesses as a CPU makes them: RAM or device, any size up to 8, machine lock held. Reads of
 * nothing give all ones; writes to nothing go nowhere.
 */
u64 space_read(struct space *space, u64 address, unsigned size);
void space_write(struct space *space, u64 address, unsigned size, u64 value);

/*
 * Accesses as a device makes them (DMA): RAM only, any length, from any thread. They tell the
 * engine of pages that hold translated code. -EFAULT: part of it is not RAM; nothing is done.
 */
int dma_read(struct space *space, u64 address, void *to, u64 len);
int dma_write(struct space *space, u64 address, const void *from, u64 len);
/* A host pointer to RAM for as much of len as lies in one piece (*got), for zero copy; NULL:
 * not RAM. With `write`, translated code there is dropped first. */
void *dma_map(struct space *space, u64 address, u64 len, bool write, u64 *got);
/* To be called when a device has written through dma_map(): drops code that the vCPU translated
 * from there meanwhile. */
void dma_map_written(struct space *space, u64 address, u64 len);

#endif
