/* SPDX-License-Identifier: MIT */
/*
 * What the walkers of page tables have in common, mmu.c and ept.c: entries in RAM, A and D bits, and
 * the hints where walks ended. For these two files alone; the offer to others stands in cpu.h.
 */
#ifndef CPU_WALK_H
#define CPU_WALK_H

#include "cpu/tlb.h"
#include "mem/dirty.h"

struct step {
	void *entry; /* in RAM; NULL: nothing to set bits in */
	u64 value;
};

enum walk_end {
	WALK_LEAF,
	WALK_ABSENT,
	WALK_RESERVED,
	WALK_FAULT, /* of the second stage, recorded */
};

/* How a guest-physical address came about that the second stage is to translate. */
struct origin {
	u64 linear;
	bool linear_valid;
	bool in_walk;   /* of a table's entry, not what `linear` translates to */
	bool user_page; /* `linear` is a user-mode address: U/S is 1 in all of its entries */
};

/* ept.c: 0 or OUTCOME_FAULT with cpu->fault set. access: one of ACCESS_READ, WRITE, EXEC. */
int ept_translate(struct cpu *cpu, u64 gpa, unsigned access, const struct origin *origin,
	struct translation *out);

/* SDM3 29.3.5 */
#define EPTP_ACCESSED_DIRTY BIT(6)

static inline bool ept_has_flags(const struct cpu *cpu)
{
	return cpu->nested_root & EPTP_ACCESSED_DIRTY;
}

/* mmu.c: the bytes of RAM at an address that is not in its window; moves the window there. */
u8 *walk_find_ram(struct cpu *cpu, u64 gpa, bool *read_only);

static inline u8 *walk_ram(struct cpu *cpu, u64 gpa, bool *read_only)
{
	const struct ram_window *window = &cpu->ram_window[gpa >> 32 != 0];
	u64 offset = gpa - window->gpa;

	return likely(offset < window->size) ? window->host + offset :
					       walk_find_ram(cpu, gpa, read_only);
}

/* An 8-byte entry at an address of the machine's own space. */
static inline struct step walk_read(struct cpu *cpu, u64 address)
{
	bool read_only = false;
	u8 *host = walk_ram(cpu, address, &read_only);

	return (struct step){
		.entry = read_only ? NULL : host,
		.value = host ? __atomic_load_n((u64 *)host, __ATOMIC_RELAXED) : ~0ull,
	};
}

/* An entry was written. */
static inline void walk_note(struct cpu *cpu, const struct step *step)
{
	struct ram *ram = space_ram(cpu->memory);

	dirty_note(ram, (u8 *)step->entry - ram->host, 1);
}

/* False: the entry changed meanwhile, walk again. */
static inline bool walk_set_bits(struct cpu *cpu, struct step *step, u64 bits)
{
	u64 old = step->value;
	bool set;

	if ((old & bits) == bits || !step->entry)
		return true;
	step->value |= bits;
	set = __atomic_compare_exchange_n((u64 *)step->entry, &old, old | bits, false,
		__ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	walk_note(cpu, step);
	return set;
}

/* ---- hints: where walks in 4-level tables ended ---- */

enum stage { STAGE_FIRST, STAGE_SECOND };

/* The context is the one that the walk is for. */
static inline bool hints_usable(const struct cpu *cpu)
{
	return cpu->context && !cpu->context_stale;
}

static inline u64 hint_region(const struct cpu *cpu, u64 address)
{
	return (address >> 21 & MASK(26, 0)) | (u64)cpu->context->hint_generation << 32;
}

static inline struct walk_hint *hint_slot(const struct cpu *cpu, enum stage stage, u64 address)
{
	return &cpu->context->hints[stage][address >> 21 & (WALK_HINTS - 1)];
}

/* The last entry of the walk for an address; false: there is no hint. */
static inline bool hint_entry(const struct cpu *cpu, const struct walk_hint *hint, u64 address,
	struct step *step)
{
	u64 *at;

	if (hint->region != hint_region(cpu, address))
		return false;
	at = hint->table + (address >> hint->shift & 511);
	*step = (struct step){ at, __atomic_load_n(at, __ATOMIC_RELAXED) };
	return true;
}

static inline void hint_leave(struct cpu *cpu, enum stage stage, u64 address, void *entry,
	u64 rights, unsigned shift)
{
	*hint_slot(cpu, stage, address) = (struct walk_hint){
		.region = hint_region(cpu, address),
		.table = (u64 *)((u64)entry & PAGE_MASK),
		.rights = rights,
		.shift = shift,
	};
}

#endif
