/* SPDX-License-Identifier: MIT */
/* The TLB's and the jump cache's look-ups in C; the translator emits the same in machine code. */
#ifndef CPU_TLB_INLINE_H
#define CPU_TLB_INLINE_H

static inline struct tlb_entry *tlb_slot(const struct cpu *cpu, u64 linear)
{
	return &cpu->context->block->tlb[(linear >> PAGE_SHIFT) & (TLB_ENTRIES - 1)];
}

static inline u32 jump_hash(u64 target)
{
	u32 low = (u32)target;
	return (low ^ (low >> 9)) & (JUMP_ENTRIES - 1);
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
