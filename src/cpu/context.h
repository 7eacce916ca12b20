/* SPDX-License-Identifier: MIT */
/*
 * Contexts between the two files that keep them: context.c, which knows their tags, and tlb.c, which
 * knows what is in one. The offer to others stands in tlb.h.
 */
#ifndef CPU_CONTEXT_H
#define CPU_CONTEXT_H

#include "cpu/tlb.h"

#define CONTEXT_INDEX 256 /* a power of two, no less than CONTEXTS: of bytes that name one */

_Static_assert(CONTEXTS <= CONTEXT_INDEX, "a byte names a context");

/* cpu->nested_tag: bits 51:12 are the EP4TA or nCR3, EPTP_ACCESSED_DIRTY is where the EPTP has it. */
#define TAG_EPT BIT(0)
#define TAG_NESTED BIT(1) /* AMD's nested paging */
#define TAG_MODE_BASED BIT(2)
#define TAG_APIC_ACCESS BIT(3)
#define TAG_ACCESSED_DIRTY BIT(6)
#define TAG_ROOT MASK(51, 12)

/* What a context is found by, apart from it so that a search reads few cache lines. */
struct context_tags {
	u64 key; /* KEY_*; 0: never used */
	u64 tag; /* cpu->nested_tag */
	u64 used; /* for replacement */
};

struct context_pool {
	struct context contexts[CONTEXTS];
	struct context_tags tags[CONTEXTS];
	unsigned count; /* no context from this one on was ever used */
	u8 index[CONTEXT_INDEX]; /* by hash of key and tag: where it was last */
	u8 *area; /* the vCPU's pages again and again, then CONTEXTS of struct context_block */
	struct trail_entry *trails; /* the same of TRAIL_ENTRIES */
	u64 clock;
};

static inline struct context_pool *pool_of(const struct cpu *cpu)
{
	return cpu->contexts;
}

/* Whether a context has anything in it that may be used. */
static inline bool context_filled(const struct context_pool *pool, unsigned i)
{
	return pool->tags[i].key && !pool->contexts[i].flush_due;
}

/* ---- tlb.c: one context ---- */

/* Memory that is all zeroes: empties the jump slots, whose rest zeroes are, and has the next
 * context_clear() visit every slot of the TLB. */
void context_fresh(struct context *context);
void context_clear(struct cpu *cpu, struct context *context);
/* Drops what is not of a global page. */
void context_keep_global(struct cpu *cpu, struct context *context);
/* Global pages are the same under every PCID, APM2 5.5.2: a new context starts with them. */
void context_copy_global(struct context *to, const struct context *from);
/* Drops a linear page; of a large page every piece. */
void context_drop_page(struct cpu *cpu, struct context *context, u64 page);
/* The same of these 4 KiB alone. */
void context_drop_piece(struct context *context, u64 page);
void context_protect(struct context *context, u64 host);
void context_protect_watched(struct context *context, const struct ram *ram);
void context_clear_jumps(struct context *context);

#endif
