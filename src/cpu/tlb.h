/* SPDX-License-Identifier: MIT */
/*
 * Contexts: for each address-space tag and privilege class of a vCPU one block of memory that
 * holds its software TLB and its indirect-jump cache. Translated code reaches it through gs:, so
 * that a switch of address space, CPL or world is one WRGSBASE and flushes nothing.
 *
 * A context block is: struct cpu (the same pages at the head of every block), then the TLB, then
 * the jump cache.
 */
#ifndef CPU_TLB_H
#define CPU_TLB_H

#include "cpu/cpu.h"

#define TLB_BITS 12
#define TLB_ENTRIES (1u << TLB_BITS)
#define JUMP_BITS 12
#define JUMP_ENTRIES (1u << JUMP_BITS)
#define EXEC_ENTRIES 64
#define TLB_LIST 1024
#define JUMP_LIST 1024
#define JUMP_PAGE_BITS 12
#define CONTEXTS 48
#define CODE_IDS 1024
#define WALK_HINTS 64

/*
 * A linear page that may be accessed without further checks. A tag is the page's address; an
 * invalid one names a page of another slot, so that no address whatever can match it.
 */
struct tlb_entry {
	u64 read_tag;
	u64 write_tag;
	u64 host; /* address of the page in our memory */
	u64 gpa;  /* guest-physical page, for C; bit 0: global */
};

struct jump_entry {
	u64 target; /* linear address */
	u64 code;   /* host address; the miss stub where the entry is empty */
};

#define CPU_PAGES_SIZE 0x4000ull /* sizeof(struct cpu) rounded up; asserted in tlb.c */

struct context_block {
	u8 cpu_pages[CPU_PAGES_SIZE];
	struct tlb_entry tlb[TLB_ENTRIES];
	struct jump_entry jump[JUMP_ENTRIES];
	/* By linear page: which code page (the engine's numbers) is mapped there; 0: unknown. Jumps
	 * that are linked across pages compare it. */
	u32 code_ids[CODE_IDS];
};

/* Who accesses: user code, supervisor with SMAP in force, supervisor without. */
enum privilege { PRIV_USER, PRIV_SUPERVISOR, PRIV_SUPERVISOR_AC, PRIV_COUNT };

struct context {
	struct context_block *block;
	u32 asid;     /* cpu->nested_asid */
	u32 pcid;
	enum privilege privilege;
	bool live;
	bool empty;   /* flushed, and not current since */
	u64 used;     /* for replacement */
	struct context *peer[PRIV_COUNT]; /* where this address space's others were last */
	u64 large_base, large_mask; /* a range that covers every large page cached here */
	bool large_all;             /* they lie too far apart for one range */
	u32 tlb_filled, jump_filled; /* slots in the lists; beyond them all slots are cleared */
	u16 tlb_list[TLB_LIST], jump_list[JUMP_LIST];
	/* which linear pages have jump entries: a Bloom filter */
	u64 jump_pages[(1 << JUMP_PAGE_BITS) / 64];
	/* which of them are of global pages, and outlive a change of CR3 */
	u64 jump_global[JUMP_ENTRIES / 64], code_global[CODE_IDS / 64];
	struct exec_entry {
		u64 linear; /* of the page; all ones: empty */
		u8 *host;
		bool global;
	} exec[EXEC_ENTRIES];
	/*
	 * Where walks of each stage ended, by 2 MiB regions, so that the next one there reads only
	 * the last entry: what the manuals call paging-structure caches, APM2 5.5.1. mmu.c's.
	 */
	struct walk_hint {
		u64 region;  /* address and generation; 0: empty */
		u64 *table;  /* the last level's, in RAM */
		u64 rights;  /* of the levels above it */
		u8 shift;    /* of the pages it holds */
	} hints[2][WALK_HINTS];
	u32 hint_generation; /* never 0 */
};

int tlb_init(struct cpu **cpu);   /* allocates the vCPU and its contexts; -errno */
void tlb_free(struct cpu *cpu);

/* Paging-structure caches go with any invalidation, whatever address it names. */
static inline void walk_hints_flush(struct context *context)
{
	if (!++context->hint_generation) {
		zero_bytes(context->hints, sizeof(context->hints));
		context->hint_generation = 1;
	}
}

/* Picks cpu->context by asid, PCID, CPL, SMAP and AC; makes one where there is none. */
void tlb_select(struct cpu *cpu);

/* What a flush drops. PCID and ASID are tags of the current world unless named. */
void tlb_flush_all(struct cpu *cpu);                     /* everything, every world */
void tlb_flush_asid(struct cpu *cpu, u32 asid);          /* one world */
void tlb_flush_pcid(struct cpu *cpu, u32 asid, u32 pcid); /* all but global pages */
void tlb_flush_page(struct cpu *cpu, u32 asid, u32 pcid, u64 linear, bool every_pcid);
/* A host page became write-protected (translated code, dirty log): no entry may write to it. */
void tlb_protect_ram_page(struct cpu *cpu, u64 host);
/* Jump caches name blocks that are about to go: empty them all. */
void tlb_flush_jumps(struct cpu *cpu);

/* The jump cache of the current context learns that linear's code is at `code`. */
void tlb_add_jump(struct cpu *cpu, u64 linear, u64 code);
/* The page at `linear`, just fetched, is the one with this number. */
void tlb_set_code_id(struct cpu *cpu, u64 linear, u32 id);
/* The page at `linear` is no longer the one with this number, in any context. */
void tlb_forget_code_id(struct cpu *cpu, u64 linear, u32 id);
/* Where the code at linear lies in our memory. 0 or OUTCOME_FAULT; *host NULL: not RAM. */
int tlb_fetch(struct cpu *cpu, u64 linear, u8 **host);

/* Walks and fills the current context. 0 or OUTCOME_FAULT. *host NULL: not RAM, *gpa says where.
 * A page with translated code or under dirty logging gets no write tag. */
int tlb_fill(struct cpu *cpu, u64 linear, unsigned access, u8 **host, u64 *gpa);

#include "cpu/tlb_inline.h"

#endif
