/* SPDX-License-Identifier: MIT */
/*
 * A context's trail: the table entries that all in it was found by. A hypervisor whose guests share an
 * ASID has it flushed whenever it goes from one to the other (Linux' KVM does so at each entry and
 * exit of a nested guest), and as a rule nothing has changed in between. If the entries of the trail
 * are what they were, each walk would end as it did: the flush is done by leaving all as it is.
 *
 * That is told by comparing them, and of one that has held for long by watching their pages for writes
 * (RAM_HAS_TABLES): a program in a guest of a guest has thousands of entries, and ten flushes in each timer tick.
 * Any write to one of them ends that until the trail has been calm again, each time for longer.
 *
 * Kept of guests under AMD's nested paging, whose tables have both stages four levels. For context.c,
 * tlb.c and mmu.c; all of it is the vCPU thread's own.
 */
#ifndef CPU_TRAIL_H
#define CPU_TRAIL_H

#include "cpu/tlb.h"

/* Lines of tables, of eight entries each; touched as far as it is filled. */
#define TRAIL_ENTRIES TLB_ENTRIES

/*
 * A trail only grows, and in time most of it is pages that were used once. One that held at so many
 * comparisons is given up: what is still in use costs fewer fills than they did.
 */
#define TRAIL_HOLDS 1024

/* How many flushes in a row a trail holds at before it is watched, at first. */
#define TRAIL_CALM 16

/* The context was emptied: its trail begins. kept: whether this context has one at all. */
static inline void trail_begin(struct trail *trail, bool kept)
{
	trail->complete = kept;
	trail->count = trail->watched = trail->held = 0;
	trail->calm = 0;
	trail->calm_wanted = MAX(trail->calm_wanted / 2, TRAIL_CALM);
}

/* Something is in the context that the trail does not know of: the next flush empties it. */
static inline void trail_lose(struct trail *trail)
{
	trail->complete = false;
}

/* A walk used an entry of 4-level tables, or 32-bit or read-only ones: then `at` is NULL. `value` is as
 * the walk left it, A and D set. */
void trail_add(struct cpu *cpu, const u64 *at, u64 value);

/* Whether walks from where the vCPU is now would find in the tables what the context has. In the end it may take
 * write tags from every context's TLB. */
bool trail_holds(struct cpu *cpu, struct trail *trail);

/* Whoever writes to a page of RAM that has flags, before or after: a number of a page. Any thread. */
void trail_page_written(struct cpu *cpu, u64 page);

#endif
