/* SPDX-License-Identifier: MIT */
/*
 * Memory operands. The operand's offset is computed into R11, made linear, and looked up in the
 * software TLB of the current context; then R11 is a host address and R10 is free. One compare
 * catches a wrong tag and the crossing of a page. What the TLB does not say goes out of line to
 * rt_access(). Flags must have been guarded.
 */
#include "cpu/tlb.h"
#include "translate/translate.h"

#define TLB_OFFSET offsetof(struct context_block, tlb)

struct site *emit_site(struct translator *t, unsigned i, const struct insn *insn)
{
	struct emitter *e = &t->e;
	struct pending_site *pending = &t->sites[t->site_count];
	const struct guest_insn *g = &t->insns[i];

	if (t->site_count == MAX_SITES) {
		e->overflow = true;
		pending = &t->sites[0];
	} else {
		t->site_count++;
	}
	/* lea r10, [rip + site] */
	put8(e, 0x4c);
	put8(e, 0x8d);
	put8(e, 0x15);
	put32(e, 0);
	pending->lea = e->at - 4;
	pending->insn = insn;
	pending->site = (struct site){
		.block = cache_offset(t, (u8 *)t->block),
		.offset = g->offset,
		.len = g->insn.len,
		.ends_block = g->ends_block,
	};
	return &pending->site;
}

/* What the program sees of one operand of an access. */
static void fill_site(struct site *site, unsigned seg, bool is_offset, unsigned size, bool read,
	bool write, bool masked)
{
	site->seg = seg;
	site->is_offset = is_offset;
	site->size = size;
	site->read = read;
	site->write = write;
	site->masked = masked;
}

/* Loads a guest register into a host register where it does not already live there. */
static unsigned in_host(struct translator *t, unsigned reg, unsigned scratch)
{
	if (!is_stolen(reg))
		return reg;
	load_gs(&t->e, scratch, GPR(reg));
	return scratch;
}

void emit_operand_address(struct translator *t, unsigned i, i32 extra)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	const struct insn *insn = &g->insn;
	bool wide = insn->addrsize == 8;
	i64 disp = insn->disp + extra;
	unsigned base = insn->base, index = insn->index;

	if (insn->rip_relative) {
		emit_page_address(t, R11, (i64)g->offset + insn->len + disp);
		if (!wide)
			mov_rr32(e, R11, R11);
		return;
	}
	if (base == INSN_NO_REG && index == INSN_NO_REG) {
		if (disp == (i32)disp && wide) {
			put8(e, 0x49); /* mov r11, imm32 sign-extended */
			put8(e, 0xc7);
			put8(e, 0xc3);
			put32(e, disp);
		} else if (!wide) {
			mov_imm32(e, R11, insn->addrsize == 2 ? (u16)disp : (u32)disp);
		} else {
			put8(e, 0x49);
			put8(e, 0xbb);
			put64(e, disp);
		}
		return;
	}
	if (base != INSN_NO_REG)
		base = in_host(t, base, R11);
	if (index != INSN_NO_REG)
		index = in_host(t, index, R10);
	if (index == INSN_NO_REG && disp == 0 && wide)
		mov_rr(e, R11, base);
	else
		put_mem(e, wide, 0x8d, R11, base == INSN_NO_REG ? 0xff : base,
			index == INSN_NO_REG ? NO_INDEX : index, __builtin_ctz(insn->scale), disp);
	if (insn->addrsize == 2) {
		put8(e, 0x45); /* movzx r11d, r11w */
		put8(e, 0x0f);
		put8(e, 0xb7);
		put8(e, 0xdb);
	}
}

static struct pending_access *new_access(struct translator *t, unsigned i)
{
	struct pending_access *access = &t->accesses[t->access_count];
	const struct guest_insn *g = &t->insns[i];

	if (t->access_count == MAX_STUBS) {
		t->e.overflow = true;
		access = &t->accesses[0];
	} else {
		t->access_count++;
	}
	access->site = (struct site){
		.block = cache_offset(t, (u8 *)t->block),
		.offset = g->offset,
		.len = g->insn.len,
	};
	return access;
}

void emit_access(struct translator *t, unsigned i, unsigned seg, unsigned size, bool read,
	bool write)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	bool flat = t->mode & MODE_FLAT && seg < FS;
	bool checked = !t->code64 && !flat;
	struct pending_access *by_segment = NULL, *by_tag;
	u32 tag = TLB_OFFSET + (write ? offsetof(struct tlb_entry, write_tag)
				      : offsetof(struct tlb_entry, read_tag));

	if (!size)
		size = 1;
	if (t->mode & VARIANT_SLOW) {
		struct site *site;

		if (t->code64 && seg >= FS)
			add_gs(e, R11, CPU_OFFSET(seg[0].base) + seg * sizeof(struct segment));
		site = emit_site(t, i, NULL);
		fill_site(site, seg, checked, size, read, write, g->masked);
		jmp_gs(e, RUNTIME(RT_ACCESS));
		site->resume = cache_offset(t, e->at);
		return;
	}
	if (checked) {
		/* the last byte within the segment? */
		lea(e, true, R10, R11, size);
		put_gs(e, true, 0x3b, R10,
			(write ? CPU_OFFSET(seg_write_end) : CPU_OFFSET(seg_read_end)) + 8 * seg);
		by_segment = new_access(t, i);
		by_segment->jump = jcc_rel32(e, CC_A);
		by_segment->has_tag = false;
		fill_site(&by_segment->site, seg, true, size, read, write, g->masked);
		add_gs(e, R11, CPU_OFFSET(seg[0].base) + seg * sizeof(struct segment));
		mov_rr32(e, R11, R11);
	} else if (t->code64 && seg >= FS) {
		add_gs(e, R11, CPU_OFFSET(seg[0].base) + seg * sizeof(struct segment));
	}
	mov_rr(e, R10, R11);
	shift_imm(e, true, 5, R10, PAGE_SHIFT - 5); /* entries of 32 bytes */
	and_imm32(e, R10, (TLB_ENTRIES - 1) * sizeof(struct tlb_entry));
	put_gs_r10(e, 0x2b, R11, tag);
	cmp_imm32(e, R11, PAGE_SIZE - size);
	by_tag = new_access(t, i);
	by_tag->jump = jcc_rel32(e, CC_A);
	by_tag->has_tag = true;
	by_tag->write = write;
	fill_site(&by_tag->site, seg, false, size, read, write, g->masked);
	put_gs_r10(e, 0x03, R11, TLB_OFFSET + offsetof(struct tlb_entry, host));
	by_tag->site.resume = cache_offset(t, e->at);
	if (by_segment)
		by_segment->site.resume = cache_offset(t, e->at);
}

void emit_access_done(struct translator *t, unsigned i, bool write)
{
	struct site *site;

	if (!write || !(t->mode & VARIANT_SLOW))
		return;
	flags_save(t);
	site = emit_site(t, i, NULL);
	jmp_gs(&t->e, RUNTIME(RT_COMMIT));
	site->resume = cache_offset(t, t->e.at);
}

void emit_stack_address(struct translator *t, i32 delta)
{
	lea(&t->e, t->code64, R11, RSP, delta);
	if (!t->code64 && !(t->mode & MODE_STACK32)) {
		put8(&t->e, 0x45); /* movzx r11d, r11w */
		put8(&t->e, 0x0f);
		put8(&t->e, 0xb7);
		put8(&t->e, 0xdb);
	}
}

void emit_stack_adjust(struct translator *t, i32 delta)
{
	struct emitter *e = &t->e;

	if (t->code64 || t->mode & MODE_STACK32) {
		lea(e, t->code64, RSP, RSP, delta);
	} else {
		lea(e, false, R10, RSP, delta);
		put8(e, 0x66); /* mov sp, r10w */
		put_rr(e, false, 0x89, RSP, R10);
	}
}
