/* SPDX-License-Identifier: MIT */
/*
 * Which memory accesses of a block can share one check.
 *
 * Pushes, pops and the fields of one structure lie close together: their addresses are the same
 * registers plus constants. The first of such a group checks the whole range at once, leaves the
 * host address in cpu->group_host[], and the others need no check at all. Where the range does not
 * pass (it crosses a page, or a later write may not be made yet) the rest of the block runs as
 * VARIANT_UNGROUPED, which is exact about who faults: see rt_access().
 *
 * Values of registers are numbered; adding a constant keeps the number and moves the offset.
 */
#include "translate/translate.h"

/* The farther a group reaches, the likelier it crosses a page: about this many bytes for each
 * check that is saved, and never more than the maximum. */
#define REACH_PER_CHECK 48
#define REACH_MAX 192

struct value {
	u32 number;
	i64 offset;
};

struct planner {
	struct translator *t;
	struct value regs[16];
	u32 next;
	bool closed[MAX_GROUPS]; /* these may not grow any more */
};

static void forget(struct planner *p, unsigned reg)
{
	p->regs[reg] = (struct value){ .number = p->next++ };
}

static struct group *find_group(struct planner *p, const struct address_key *key, i64 from, i64 to)
{
	struct translator *t = p->t;

	for (unsigned n = t->group_count; n-- > 0;) {
		struct group *group = &t->groups[n];

		if (p->closed[n] || group->key.base != key->base || group->key.index != key->index ||
			group->key.scale != key->scale)
			continue;
		if (MAX(group->max, to) - MIN(group->min, from) <= REACH_MAX)
			return group;
	}
	return NULL;
}

static void add_access(struct planner *p, unsigned i, unsigned which, struct address_key key,
	i64 offset, unsigned size, bool write)
{
	struct translator *t = p->t;
	struct access_plan *plan = &t->plans[i][which];
	struct group *group = find_group(p, &key, offset, offset + size);

	if (!group) {
		if (t->group_count == MAX_GROUPS)
			return;
		group = &t->groups[t->group_count++];
		*group = (struct group){ .key = key, .min = offset, .max = offset + size,
			.slot = NO_GROUP };
		p->closed[group - t->groups] = false;
	}
	group->min = MIN(group->min, offset);
	group->max = MAX(group->max, offset + size);
	group->write |= write;
	group->count++;
	plan->group = group - t->groups;
	plan->offset = offset;
}

static void add_operand(struct planner *p, unsigned i, unsigned size, bool write)
{
	const struct guest_insn *g = &p->t->insns[i];
	const struct insn *insn = &g->insn;
	struct address_key key = { .scale = insn->index == INSN_NO_REG ? 0 : insn->scale };
	i64 offset = insn->disp;

	if (insn->seg >= FS || insn->addrsize != 8 || insn->base == INSN_NO_REG || g->masked || !size)
		return;
	key.base = p->regs[insn->base].number;
	offset += p->regs[insn->base].offset;
	if (insn->index != INSN_NO_REG) {
		key.index = p->regs[insn->index].number;
		offset += p->regs[insn->index].offset * insn->scale;
	}
	add_access(p, i, 0, key, offset, size, write);
}

static void add_stack(struct planner *p, unsigned i, i32 delta, unsigned size, bool write)
{
	struct address_key key = { .base = p->regs[RSP].number };

	add_access(p, i, 1, key, p->regs[RSP].offset + delta, size, write);
}

/* ADD, SUB, INC, DEC of a constant, register moves: what a value's number survives. */
static bool follow(struct planner *p, const struct guest_insn *g)
{
	const struct insn *insn = &g->insn;
	unsigned rm = g->slot[SLOT_RM], reg = g->slot[SLOT_REG];
	bool default_map = insn->bytes[g->opcode_at] != 0x0f;

	if (g->encoding != ENCODING_LEGACY || !default_map || insn->opsize != 8)
		return false;
	if (g->kind == KIND_LEA && insn->addrsize == 8 && insn->base != INSN_NO_REG &&
		insn->index == INSN_NO_REG) {
		p->regs[reg] = p->regs[insn->base];
		p->regs[reg].offset += insn->disp;
		return true;
	}
	if (g->kind != KIND_PLAIN || insn->is_mem || g->high_byte)
		return false;
	switch (insn->opcode) {
	case 0x81:
	case 0x83:
		if (insn->modrm_ext == 0)
			p->regs[rm].offset += (i64)insn->imm;
		else if (insn->modrm_ext == 5)
			p->regs[rm].offset -= (i64)insn->imm;
		else
			return insn->modrm_ext == 7; /* CMP writes nothing */
		return true;
	case 0xff:
		p->regs[rm].offset += insn->modrm_ext == 0 ? 1 : -1;
		return insn->modrm_ext <= 1;
	case 0x89:
		p->regs[rm] = p->regs[reg];
		return true;
	case 0x8b:
		p->regs[reg] = p->regs[rm];
		return true;
	default:
		return false;
	}
}

static void forget_written(struct planner *p, u16 written)
{
	for (unsigned reg = 0; reg < 16; reg++)
		if (written & 1u << reg)
			forget(p, reg);
}

static void plan_insn(struct planner *p, unsigned i)
{
	const struct guest_insn *g = &p->t->insns[i];
	const struct insn *insn = &g->insn;
	unsigned size = insn->opsize;
	unsigned reg;

	switch (g->kind) {
	case KIND_PLAIN:
		if (insn->is_mem)
			add_operand(p, i, g->mem_size, g->mem_write);
		if (!follow(p, g))
			forget_written(p, g->gpr_written);
		break;
	case KIND_LEA:
		if (!follow(p, g))
			forget_written(p, g->gpr_written);
		break;
	case KIND_PUSH:
		if (insn->is_mem)
			add_operand(p, i, size, false);
		add_stack(p, i, -(i32)size, size, true);
		p->regs[RSP].offset -= size;
		break;
	case KIND_POP:
		add_stack(p, i, 0, size, false);
		p->regs[RSP].offset += size;
		reg = g->slot[SLOT_OPCODE] != INSN_NO_REG ? g->slot[SLOT_OPCODE] : g->slot[SLOT_RM];
		if (!insn->is_mem)
			forget(p, reg);
		break;
	case KIND_LEAVE:
		p->regs[RSP] = p->regs[RBP];
		p->regs[RSP].offset += 8;
		forget(p, RBP);
		break;
	case KIND_CALL:
		if (insn->is_mem)
			add_operand(p, i, size, false);
		add_stack(p, i, -8, 8, true);
		break;
	case KIND_RET:
		add_stack(p, i, 0, 8, false);
		break;
	case KIND_JMP:
		if (insn->is_mem)
			add_operand(p, i, size, false);
		break;
	case KIND_NOP:
	case KIND_JCC:
		break;
	case KIND_LOOP:
		forget(p, RCX);
		break;
	default:
		/* C may change any register, and what is mapped where */
		forget_written(p, 0xffff);
		for (unsigned n = 0; n < MAX_GROUPS; n++)
			p->closed[n] = true;
		break;
	}
}

void plan_groups(struct translator *t)
{
	struct planner p = { .t = t, .next = 1 };

	t->group_count = 0;
	t->slots_used = 0;
	t->r11_group = NO_GROUP;
	t->rsp_owed = 0;
	for (unsigned i = 0; i < t->count; i++)
		t->plans[i][0].group = t->plans[i][1].group = NO_GROUP;
	if (!t->code64 || t->count < 2 ||
		t->mode & (VARIANT_ONE | VARIANT_SLOW | VARIANT_UNGROUPED | MODE_STEP))
		return;
	forget_written(&p, 0xffff);
	for (unsigned i = 0; i < t->count; i++)
		plan_insn(&p, i);
	/* Those that are not worth it are no groups. */
	for (unsigned i = 0; i < t->count; i++) {
		for (unsigned which = 0; which < 2; which++) {
			struct access_plan *plan = &t->plans[i][which];
			const struct group *group = &t->groups[plan->group % MAX_GROUPS];

			if (plan->group != NO_GROUP &&
				(group->count < 2 || group->max - group->min > 
					MAX(16, REACH_PER_CHECK * (group->count - 1))))
				plan->group = NO_GROUP;
		}
	}
}
