/* SPDX-License-Identifier: MIT */
/*
 * Memory operands. The operand's offset is computed into R11, made linear, and looked up in the
 * software TLB of the current context; then R11 is a host address and R10 is free. One compare
 * catches a wrong tag and the crossing of a page. What the TLB does not say goes out of line to
 * rt_access(). Members of a group (groups.c) share one check; an address that is a constant names
 * its TLB slot by itself.
 */
#include "base/log.h"
#include "translate/translate.h"

#define TLB_OFFSET CONTEXT_OFFSET(tlb)

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
		.align = g->align,
		.waits = g->waits,
		.align_waived = g->align_waived,
		.any_alignment = g->insn.any_alignment,
		.ends_block = g->ends_block,
		.fixed = t->fixed,
		.target = t->fixed ? t->vpage + g->offset : 0,
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

void emit_operand_address(struct translator *t, unsigned i, i64 extra)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	const struct insn *insn = &g->insn;
	bool wide = insn->addrsize == 8;
	i64 disp = insn->disp + extra;
	unsigned base = insn->base, index = insn->index;

	release_r11(t);
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
	*access = (struct pending_access){ .site = {
		.block = cache_offset(t, (u8 *)t->block),
		.offset = g->offset,
		.len = g->insn.len,
		.align = g->align,
		.waits = g->waits,
		.align_waived = g->align_waived,
		.any_alignment = g->insn.any_alignment,
	} };
	return access;
}

static u32 tag_offset(bool write)
{
	return TLB_OFFSET + (write ? offsetof(struct tlb_entry, write_tag)
				   : offsetof(struct tlb_entry, read_tag));
}

/* For engine_second(): an access that begins at most so far from the page's start is in it. */
static void name_second(struct pending_access *access, unsigned last, bool write)
{
	access->site.last = last;
	access->site.tag = tag_offset(write) - TLB_OFFSET;
}

/* R11: linear address of size bytes, then of the host. */
static struct pending_access *emit_lookup(struct translator *t, unsigned i, unsigned size,
	bool write)
{
	struct emitter *e = &t->e;
	struct pending_access *access = new_access(t, i);

	/* tlb_hash() of cpu/tlb_inline.h, times 32 */
	if (t->has_bmi2) {
		rorx32(e, R10, R11, PAGE_SHIFT - 5);
	} else {
		mov_rr32(e, R10, R11);
		shift_imm(e, false, 5, R10, PAGE_SHIFT - 5);
	}
	and_imm32(e, R10, (TLB_ENTRIES - 1) * sizeof(struct tlb_entry));
	put_gs_r10(e, 0x2b, R11, tag_offset(write));
	cmp_imm32(e, R11, PAGE_SIZE - size);
	access->jump = jcc_rel32(e, CC_A);
	access->has_tag = true;
	access->write = write;
	name_second(access, PAGE_SIZE - size, write);
	put_gs_r10(e, 0x03, R11, TLB_OFFSET + offsetof(struct tlb_entry, host));
	return access;
}

void emit_access(struct translator *t, unsigned i, unsigned seg, unsigned size, bool read,
	bool write)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	/* code segments are never written to in protected mode, and not always read */
	bool flat = t->mode & MODE_FLAT && seg < FS && seg != CS;
	bool checked = !t->code64 && !flat;
	struct pending_access *by_segment = NULL, *by_tag;

	release_r11(t);
	flags_guard(t, i);
	if (!size)
		size = 1;
	if (t->mode & VARIANT_SLOW) {
		struct site *site;

		if (t->code64 && seg >= FS)
			add_gs(e, R11, CPU_OFFSET(seg[0].base) + seg * sizeof(struct segment));
		site = emit_site(t, i, g->masked ? &g->insn : NULL);
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
		fill_site(&by_segment->site, seg, true, size, read, write, g->masked);
		add_gs(e, R11, CPU_OFFSET(seg[0].base) + seg * sizeof(struct segment));
		mov_rr32(e, R11, R11);
	} else if (t->code64 && seg >= FS) {
		add_gs(e, R11, CPU_OFFSET(seg[0].base) + seg * sizeof(struct segment));
	}
	by_tag = emit_lookup(t, i, size, write);
	fill_site(&by_tag->site, seg, false, size, read, write, g->masked);
	by_tag->site.resume = cache_offset(t, e->at);
	if (by_segment)
		by_segment->site.resume = cache_offset(t, e->at);
}

/* The operand's address is a constant of this block: its page's slot is too. */
static bool constant_address(const struct translator *t, unsigned i, u64 *address)
{
	const struct guest_insn *g = &t->insns[i];
	const struct insn *insn = &g->insn;

	if (!t->fixed || insn->seg >= FS || insn->addrsize != 8 || t->mode & VARIANT_SLOW)
		return false;
	*address = insn->disp;
	if (insn->rip_relative)
		*address += t->vpage + g->offset + insn->len;
	else if (insn->base != INSN_NO_REG || insn->index != INSN_NO_REG)
		return false;
	/* its page must be an immediate */
	return (u64)(i64)(i32)*address == *address;
}

static i32 emit_constant(struct translator *t, unsigned i, u64 address, unsigned size, bool read,
	bool write)
{
	struct emitter *e = &t->e;
	u32 slot = tlb_hash(address) * sizeof(struct tlb_entry);
	struct pending_access *access;

	release_r11(t);
	flags_guard(t, i);
	/* cmp qword gs:[slot's tag], page */
	put_gs(e, true, 0x81, 7, tag_offset(write) + slot);
	put32(e, (u32)(address & PAGE_MASK));
	access = new_access(t, i);
	access->jump = jcc_rel32(e, CC_NE);
	access->has_constant = true;
	access->constant = address & PAGE_MASK;
	name_second(access, PAGE_SIZE - 1, write);
	access->site.delta = address & (PAGE_SIZE - 1);
	fill_site(&access->site, t->insns[i].insn.seg, false, size, read, write,
		t->insns[i].masked);
	load_gs(e, R11, TLB_OFFSET + offsetof(struct tlb_entry, host) + slot);
	access->site.resume = cache_offset(t, e->at);
	return address & (PAGE_SIZE - 1);
}

/* The group's check, made by its first member: R11 holds the offset of the group's first byte. */
static void emit_group_check(struct translator *t, unsigned i, struct group *group,
	const struct access_plan *plan, unsigned seg, unsigned size, bool read, bool write)
{
	struct emitter *e = &t->e;
	unsigned span = group->max - group->min;
	struct pending_access *access;

	flags_guard(t, i);
	access = emit_lookup(t, i, span, group->write);
	fill_site(&access->site, seg, false, size, read, write, false);
	access->site.group_size = span;
	access->site.delta = plan->offset - group->min;
	access->site.group_write = group->write;
	access->site.resume = cache_offset(t, e->at);
	group->slot = __builtin_ctz(~t->slots_used);
	t->slots_used |= 1u << group->slot;
}

void release_r11(struct translator *t)
{
	struct group *group = &t->groups[t->r11_group % MAX_GROUPS];

	if (t->r11_group != NO_GROUP && group->done < group->count && !group->stored) {
		store_gs(&t->e, R11, CPU_OFFSET(group_host) + 8 * group->slot);
		group->stored = true;
	}
	t->r11_group = NO_GROUP;
}

static bool group_can_start(const struct translator *t, const struct group *group)
{
	return group->slot == NO_GROUP && group->done + 1 < group->count &&
	       t->slots_used != (1u << GROUP_SLOTS) - 1;
}

/* A member of a group that was checked: R11 and what is returned name it. */
static i32 emit_member(struct translator *t, struct group *group, const struct access_plan *plan)
{
	if (t->r11_group != plan->group) {
		if (!group->stored)
			bug("group %u of a block at page %x is in no place", plan->group, t->block->page);
		release_r11(t);
		load_gs(&t->e, R11, CPU_OFFSET(group_host) + 8 * group->slot);
	}
	t->r11_group = plan->group;
	if (++group->done == group->count)
		t->slots_used &= ~(1u << group->slot);
	return plan->offset - group->min;
}

i32 emit_operand(struct translator *t, unsigned i, unsigned size, bool read, bool write, i32 extra)
{
	const struct guest_insn *g = &t->insns[i];
	const struct access_plan *plan = &t->plans[i][0];
	u64 address;

	if (plan->group != NO_GROUP && !extra) {
		struct group *group = &t->groups[plan->group];

		if (group_can_start(t, group)) {
			emit_operand_address(t, i, group->min - plan->offset);
			emit_group_check(t, i, group, plan, g->insn.seg, size, read, write);
			t->r11_group = plan->group;
		}
		if (group->slot != NO_GROUP)
			return emit_member(t, group, plan);
		group->done++;
	}
	if (!extra && !g->masked && constant_address(t, i, &address) &&
		(address & (PAGE_SIZE - 1)) + size <= PAGE_SIZE)
		return emit_constant(t, i, address, size, read, write);
	emit_operand_address(t, i, extra);
	emit_access(t, i, g->insn.seg, size, read, write);
	return 0;
}

i32 emit_stack(struct translator *t, unsigned i, i32 delta, unsigned size, bool read, bool write)
{
	const struct access_plan *plan = &t->plans[i][1];

	if (plan->group != NO_GROUP) {
		struct group *group = &t->groups[plan->group];

		if (group_can_start(t, group)) {
			emit_stack_address(t, delta + (i32)(group->min - plan->offset));
			emit_group_check(t, i, group, plan, SS, size, read, write);
			t->r11_group = plan->group;
		}
		if (group->slot != NO_GROUP)
			return emit_member(t, group, plan);
		group->done++;
	}
	emit_stack_address(t, delta);
	emit_access(t, i, SS, size, read, write);
	return 0;
}

void emit_access_done(struct translator *t, unsigned i, bool write)
{
	struct site *site;

	if (!write || !(t->mode & VARIANT_SLOW))
		return;
	release_r11(t);
	flags_save(t);
	site = emit_site(t, i, NULL);
	jmp_gs(&t->e, RUNTIME(RT_COMMIT));
	site->resume = cache_offset(t, t->e.at);
}

void emit_stack_address(struct translator *t, i32 delta)
{
	release_r11(t);
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

	delta += t->rsp_owed;
	t->rsp_owed = 0;
	if (t->code64 || t->mode & MODE_STACK32) {
		lea(e, t->code64, RSP, RSP, delta);
	} else {
		lea(e, false, R10, RSP, delta);
		put8(e, 0x66); /* mov sp, r10w */
		put_rr(e, false, 0x89, RSP, R10);
	}
}

void emit_stack_owe(struct translator *t, i32 delta)
{
	if (t->code64)
		t->rsp_owed += delta;
	else
		emit_stack_adjust(t, delta);
}

/* A push, pop, call or return whose stack access is of a group that was checked cannot fault, and finds its
 * place without RSP. */
static bool goes_without_rsp(const struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insns[i];
	u8 group = t->plans[i][1].group;

	if (group == NO_GROUP || t->groups[group].slot == NO_GROUP || g->insn.is_mem ||
		g->slot[SLOT_OPCODE] == RSP || g->slot[SLOT_RM] == RSP)
		return false;
	return g->kind == KIND_PUSH || g->kind == KIND_POP || g->kind == KIND_RET ||
	       (g->kind == KIND_CALL && g->relative);
}

void emit_stack_settle(struct translator *t, unsigned i)
{
	if (t->rsp_owed && (i == t->count || !goes_without_rsp(t, i)))
		emit_stack_adjust(t, 0);
}
