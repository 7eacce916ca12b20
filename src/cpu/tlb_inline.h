/* SPDX-License-Identifier: MIT */
/* The TLB's and the jump cache's look-ups in C; the translator emits the same in machine code. */
#ifndef CPU_TLB_INLINE_H
#define CPU_TLB_INLINE_H

/* The slot of a page: what translated code computes at every check, so two instructions must do. */
static inline u32 tlb_hash(u64 linear)
{
	return (linear >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
}

/*
 * Where it may be instead, having given way to another there. Programs go through arrays that lie a multiple of
 * 32 MiB apart, so that they meet in every slot: the bits above take part here.
 */
static inline u32 tlb_second(u64 linear)
{
	return ((linear >> PAGE_SHIFT) ^ (linear >> (PAGE_SHIFT + TLB_BITS)) ^ TLB_ENTRIES / 2) &
	       (TLB_ENTRIES - 1);
}

static inline u32 code_id_slot(u64 linear)
{
	return (linear >> PAGE_SHIFT) & (CODE_IDS - 1);
}

static inline struct tlb_entry *tlb_slot(const struct cpu *cpu, u64 linear)
{
	return &cpu->context->block->tlb[tlb_hash(linear)];
}

/* One instruction that mixes all bits; SSE4.2, but of general registers. */
static inline u64 crc_hash(u64 value)
{
	u64 hash = 0;

	__asm__("crc32q %1, %0" : "+r"(hash) : "r"(value));
	return hash;
}

/* The first of the JUMP_WAYS slots of a target, next to each other: one line of the host's caches. */
static inline u32 jump_hash(u64 target)
{
	return crc_hash(target) / sizeof(struct jump_entry) & (JUMP_SLOTS - JUMP_WAYS);
}

/* Where the jump cache of the current context has linear's code; 0: it has not. */
static inline u64 tlb_jump(const struct cpu *cpu, u64 target)
{
	const struct jump_entry *jump = &cpu->context->block->jump[jump_hash(target)];

	for (unsigned way = 0; way < JUMP_WAYS; way++)
		if (jump[way].target == target)
			return jump[way].code;
	return 0;
}

/* Host pointer when the current context may read len bytes there without ado; else NULL. */
static inline u8 *tlb_read_hit(const struct cpu *cpu, u64 linear, unsigned len)
{
	const struct tlb_entry *entry = tlb_slot(cpu, linear);
	u64 offset = linear - entry->read_tag;
	return offset <= PAGE_SIZE - len ? (u8 *)entry->host + offset : NULL;
}

static inline u8 *tlb_write_hit(const struct cpu *cpu, u64 linear, unsigned len)
{
	const struct tlb_entry *entry = tlb_slot(cpu, linear);
	u64 offset = linear - entry->write_tag;
	return offset <= PAGE_SIZE - len ? (u8 *)entry->host + offset : NULL;
}

#endif
