/* SPDX-License-Identifier: MIT */
/*
 * Values and registers. Registers whose value is known at a point (set in the initial state or by
 * a MOV, and not written since) become bases and indices, so that most memory operands land in
 * the data area, many of them on its edges; some do not, on purpose.
 */
#include "maker.h"

#include <string.h>

u64 maker_data_base(const struct maker *m)
{
	/* operands of 16-bit code are offsets in segments */
	return layouts[m->seq->mode].data - (m->seq->mode == MODE16 ? SEGMENT_BASE16 : 0);
}

unsigned maker_reg_count(const struct maker *m)
{
	return m->seq->mode == MODE64 ? 16 : 8;
}

/* ---- values ---- */
u64 interesting_value(struct rng *rng)
{
	static const u64 values[] = { 0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff,
		0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
		0x8000000000000000, 0xffffffffffffffff, 0xfffffffffffffff8, 0xffffffff80000000,
		0x5555555555555555, 0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000,
		0x7ff0000000000001, 0x000fffffffffffff, 0x3f8000007f800000, 0x7fc00000ff800001,
		0x00000001007fffff, 0x4059000000000000, 0xc0a80000c2c80000 };

	switch (rng_below(rng, 4)) {
	case 0:
		return values[rng_below(rng, ARRAY_SIZE(values))];
	case 1:
		return rng_next(rng) >> rng_below(rng, 64);
	case 2:
		return (u64)(i64)(i32)rng_next(rng) >> rng_below(rng, 8);
	default:
		return rng_next(rng);
	}
}

/*
 * An address for an access of size bytes: mostly inside, often misaligned, often across the edge
 * of two writable pages, sometimes where it faults.
 */
u64 maker_target(struct maker *m, unsigned size)
{
	struct rng *rng = &m->rng;
	u64 base = maker_data_base(m);
	u32 draw = rng_below(rng, 100);
	static const u8 pages[] = { 0, 0, 0, 1, 1, 4, 6, 7, 2 };
	u64 page = base + PAGE_SIZE * pages[rng_below(rng, ARRAY_SIZE(pages))];

	if (!size)
		size = 1;
	if (draw < 45)
		return page + rng_below(rng, PAGE_SIZE / 64) * 64;
	if (draw < 72)
		return page + rng_below(rng, (u32)(PAGE_SIZE - MIN(size, 2048u)));
	if (draw < 88) /* pages 0 and 1 */
		return base + PAGE_SIZE - rng_below(rng, size + 2);
	if (draw < 92) /* end of writable, start of read-only */
		return base + 2 * PAGE_SIZE - rng_below(rng, size + 2);
	if (draw < 94) /* end of mapped */
		return base + 3 * PAGE_SIZE - rng_below(rng, size + 2);
	if (draw < 96) /* end of unmapped, start of mapped */
		return base + 4 * PAGE_SIZE - rng_below(rng, size + 2);
	if (draw < 98)
		return base + 5 * PAGE_SIZE - rng_below(rng, size + 2);
	return base + 3 * PAGE_SIZE + rng_below(rng, PAGE_SIZE);
}

/* ---- instructions ---- */
struct gen_insn *maker_append(struct maker *m, const u8 *bytes, unsigned len)
{
	struct gen_insn *insn;

	if (m->seq->count >= MAX_INSNS - 2) {
		m->full = true;
		insn = &m->seq->insn[MAX_INSNS - 1]; /* a scratch one, never run */
	} else {
		insn = &m->seq->insn[m->seq->count++];
	}
	memset(insn, 0, sizeof(*insn));
	memcpy(insn->bytes, bytes, len);
	insn->len = (u8)len;
	insn->target = NO_TARGET;
	return insn;
}

struct gen_insn *maker_append_target(struct maker *m, const u8 *bytes, unsigned len, unsigned at,
	unsigned size, unsigned target)
{
	struct gen_insn *insn = maker_append(m, bytes, len);

	insn->target = (u8)target;
	insn->fix_at = (u8)at;
	insn->fix_size = (u8)size;
	return insn;
}

/* MOV reg, imm of the mode's width, without a change of flags. */
void maker_load_reg(struct maker *m, unsigned reg, u64 value)
{
	u8 b[10];
	unsigned n = 0;

	if (m->seq->mode == MODE64) {
		if (value == (u32)value && reg < 8 && rng_percent(&m->rng, 70)) {
			b[n++] = (u8)(0xb8 + reg);
			memcpy(b + n, &value, 4);
			n += 4;
		} else {
			b[n++] = (u8)(0x48 | reg >> 3);
			b[n++] = (u8)(0xb8 + (reg & 7));
			memcpy(b + n, &value, 8);
			n += 8;
		}
	} else {
		if (m->seq->mode == MODE16)
			b[n++] = 0x66;
		b[n++] = (u8)(0xb8 + reg);
		memcpy(b + n, &value, 4);
		n += 4;
		value = (u32)value;
	}
	maker_append(m, b, n);
	m->known[reg] = value;
	m->is_known[reg] = true;
}

void maker_load_stack(struct maker *m)
{
	maker_load_reg(m, RSP, maker_data_base(m) + 6 * PAGE_SIZE + rng_below(&m->rng, 0x400) * 8);
	m->stack_ok = true;
}

bool maker_looks_like_pointer(const struct maker *m, unsigned reg)
{
	u64 base = maker_data_base(m);

	return m->is_known[reg] && m->known[reg] - (base - 0x10000) < 0x20000;
}

/* A register that points into the data area; makes one where there is none. */
unsigned maker_base_register(struct maker *m, u32 allowed)
{
	unsigned start = rng_below(&m->rng, 16), i;

	for (i = 0; i < 16; i++) {
		unsigned reg = (start + i) & 15;
		if (allowed >> reg & 1 && reg < maker_reg_count(m) &&
		    maker_looks_like_pointer(m, reg))
			return reg;
	}
	do
		start = rng_below(&m->rng, maker_reg_count(m));
	while (!(allowed >> start & 1));
	maker_load_reg(m, start, maker_target(m, 8));
	return start;
}

unsigned maker_index_register(struct maker *m, u32 allowed)
{
	unsigned start = rng_below(&m->rng, 16), i;

	for (i = 0; i < 16; i++) {
		unsigned reg = (start + i) & 15;
		if (allowed >> reg & 1 && reg < maker_reg_count(m) && m->is_known[reg] &&
			m->known[reg] + 0x100000 < 0x200000)
			return reg;
	}
	do
		start = rng_below(&m->rng, maker_reg_count(m));
	while (!(allowed >> start & 1));
	maker_load_reg(m, start, rng_percent(&m->rng, 70) ? rng_below(&m->rng, 64) :
							 -(u64)rng_below(&m->rng, 4096));
	return start;
}

/* Forgets what the instruction writes: registers by Zydis's operands, implicit ones included. */
void maker_forget_written(struct maker *m, const ZydisDecodedInstruction *insn,
	const ZydisDecodedOperand *operands)
{
	for (unsigned i = 0; i < insn->operand_count; i++) {
		const ZydisDecodedOperand *op = &operands[i];
		i8 id;

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER ||
			!(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		id = ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(
			ZYDIS_MACHINE_MODE_LONG_64, op->reg.value));
		if (ZydisRegisterGetClass(ZydisRegisterGetLargestEnclosing(
			    ZYDIS_MACHINE_MODE_LONG_64, op->reg.value)) == ZYDIS_REGCLASS_GPR64)
			m->is_known[id & 15] = false;
		if (id == RSP && op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			m->stack_ok = false;
	}
	if (insn->mnemonic == ZYDIS_MNEMONIC_LEAVE)
		m->stack_ok = false;
	if (insn->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
				       ZYDIS_ATTRIB_HAS_REPNE))
		m->is_known[RCX] = false;
}
