/* SPDX-License-Identifier: MIT */
/*
 * The dirty log: which pages of RAM were written since the last look, by vCPUs, devices and page
 * walks. Whoever copies the RAM of a running machine starts it, copies all, and then fetches and
 * copies what changed until little does. Pages count from the start of the RAM (struct ram), not
 * by guest-physical address. It may name a page that was not written, never forget one.
 *
 * One user at a time; any thread but a vCPU's, machine lock not held: vCPUs are waited for.
 */
#ifndef MEM_DIRTY_H
#define MEM_DIRTY_H

#include "mem/space.h"

/* What an engine does for it; vCPUs run meanwhile. */
struct dirty_ops {
	/* From the return on stores of vCPUs are noted. 0 or -errno. */
	int (*start)(void *arg);
	/* dirty_take(), and no store goes unnoted that a copy made after the return does not have. */
	int (*fetch)(void *arg, u64 *bitmap);
	void (*stop)(void *arg);
};

/* u64 words of a bitmap for all of the RAM: page n is bit n % 64 of word n / 64. */
static inline u64 dirty_words(const struct ram *ram)
{
	return (ram->size / PAGE_SIZE + 63) / 64;
}

/* 0, or -errno: it is off then. -EALREADY: it is on. */
int dirty_log_start(struct ram *ram);
/* Overwrites the bitmap with what was written since the start or the last fetch, which is clean from now
 * on. 0; or -errno, and nothing is clean. */
int dirty_log_fetch(struct ram *ram, u64 *bitmap);
void dirty_log_stop(struct ram *ram);

/* ---- for engines ---- */

/* Moves what has been noted into the bitmap. */
void dirty_take(struct ram *ram, u64 *bitmap);

static inline bool dirty_log_on(const struct ram *ram)
{
	return __atomic_load_n(&ram->dirty_on, __ATOMIC_SEQ_CST);
}

/* Who wrote to RAM other than through a space or by DMA says so afterwards. */
static inline void dirty_note(struct ram *ram, u64 offset, u64 len)
{
	if (likely(!dirty_log_on(ram)) || !len)
		return;
	for (u64 page = offset >> PAGE_SHIFT; page <= (offset + len - 1) >> PAGE_SHIFT; page++)
		__atomic_fetch_or(&ram->dirty[page / 64], BIT(page % 64), __ATOMIC_SEQ_CST);
}

/* Whether stores to a page may go unnoted for now. */
static inline bool dirty_noted(const struct ram *ram, u64 offset)
{
	u64 page = offset >> PAGE_SHIFT;

	return !dirty_log_on(ram) ||
	       __atomic_load_n(&ram->dirty[page / 64], __ATOMIC_SEQ_CST) & BIT(page % 64);
}

#endif
