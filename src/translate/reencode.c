/* SPDX-License-Identifier: MIT */
/*
 * Writes a guest instruction again for 64-bit mode, with other registers in its operand fields or
 * its memory operand replaced by [register]. SDM2 2.1-2.7 for the prefixes.
 */
#include "translate/translate.h"

/* Whether bytes can be taken as they are. */
static bool verbatim(const struct translator *t, const struct guest_insn *g,
	const struct encoding_slots *s)
{
	if (s->mem_base != INSN_NO_REG || !t->code64)
		return false;
	for (unsigned i = 0; i < SLOT_COUNT; i++)
		if (s->slot[i] != INSN_NO_REG && s->slot[i] != g->slot[i])
			return false;
	return true;
}

static unsigned chosen(const struct guest_insn *g, const struct encoding_slots *s, unsigned slot,
	unsigned original)
{
	if (g->slot[slot] == INSN_NO_REG)
		return original;
	if (g->high_byte)
		return original; /* AH and its like: the field's own value */
	return s->slot[slot] != INSN_NO_REG ? s->slot[slot] : g->slot[slot];
}

static void put_modrm(struct translator *t, const struct guest_insn *g,
	const struct encoding_slots *s, unsigned reg, unsigned rm)
{
	struct emitter *e = &t->e;

	if (s->mem_base != INSN_NO_REG)
		put_address(e, reg, s->mem_base, NO_INDEX, 0, s->mem_disp);
	else
		put8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* 66h is part of the opcode, or means nothing: MOVNTI, fences and CLFLUSH, CMPXCHG8B, ADCX. */
static bool has_operand_size(const struct guest_insn *g)
{
	const u8 *opcode = g->insn.bytes + g->opcode_at;

	if (g->vector)
		return false;
	if (opcode[0] != 0x0f)
		return true;
	if (opcode[1] == 0x38)
		return opcode[2] != 0xf6;
	return opcode[1] != 0xae && opcode[1] != 0xc3 && (opcode[1] != 0xc7 || !g->insn.is_mem);
}

static void put_legacy(struct translator *t, const struct guest_insn *g,
	const struct encoding_slots *s)
{
	struct emitter *e = &t->e;
	const u8 *bytes = g->insn.bytes;
	bool mem = s->mem_base != INSN_NO_REG;
	unsigned modrm = g->has_modrm ? bytes[g->modrm_at] : 0;
	unsigned reg = chosen(g, s, SLOT_REG, (modrm >> 3 & 7) | (g->rex & 4 ? 8 : 0));
	unsigned rm = chosen(g, s, SLOT_RM, (modrm & 7) | (g->rex & 1 ? 8 : 0));
	unsigned opreg = chosen(g, s, SLOT_OPCODE, (bytes[g->opcode_at] & 7) | (g->rex & 1 ? 8 : 0));
	bool default_map = bytes[g->opcode_at] != 0x0f;
	bool prefix_66 = g->prefix_66;
	/* A0-A3: the accumulator and an absolute address; as 88-8B with modrm */
	bool moffs = default_map && (bytes[g->opcode_at] & 0xfc) == 0xa0 && mem;
	unsigned rex = g->rex & 0x48;

	if (!t->code64 && !(t->mode & MODE_CODE32) && has_operand_size(g))
		prefix_66 = g->insn.opsize == 2;
	if (g->prefix_lock)
		put8(e, 0xf0);
	if (prefix_66)
		put8(e, 0x66);
	/* Without a meaning of its own it could only be a hint to elide a lock. */
	if (g->prefix_rep && (!default_map || bytes[g->opcode_at] == 0x90) && !g->prefix_lock)
		put8(e, g->prefix_rep);
	if (g->has_modrm || moffs) {
		if (moffs)
			reg = 0;
		if (reg & 8)
			rex |= 0x44;
		if (mem ? s->mem_base & 8 : rm & 8)
			rex |= 0x41;
	} else if (g->slot[SLOT_OPCODE] != INSN_NO_REG && opreg & 8) {
		rex |= 0x41;
	}
	if (g->rex)
		rex |= 0x40;
	if (rex)
		put8(e, rex);
	if (moffs) {
		put8(e, (bytes[g->opcode_at] & 3) < 2 ? 0x8a | (bytes[g->opcode_at] & 1)
						      : 0x88 | (bytes[g->opcode_at] & 1));
		put_modrm(t, g, s, reg, 0);
		return;
	}
	if (!t->code64 && !g->has_modrm && default_map && (bytes[g->opcode_at] & 0xf0) == 0x40) {
		/* INC and DEC's short form is REX here */
		put8(e, 0xff);
		put8(e, 0xc0 | (bytes[g->opcode_at] & 8) | (bytes[g->opcode_at] & 7));
		return;
	}
	if (g->has_modrm) {
		u8 first = bytes[g->opcode_at];

		/* 82h is 80h's alias outside 64-bit mode */
		put8(e, default_map && first == 0x82 ? 0x80 : first);
		put_bytes(e, bytes + g->opcode_at + 1, g->modrm_at - g->opcode_at - 1);
		put_modrm(t, g, s, reg, rm);
	} else if (g->slot[SLOT_OPCODE] != INSN_NO_REG) {
		put_bytes(e, bytes + g->opcode_at, g->imm_at - g->opcode_at - 1);
		put8(e, (bytes[g->imm_at - 1] & 0xf8) | (opreg & 7));
	} else {
		put_bytes(e, bytes + g->opcode_at, g->imm_at - g->opcode_at);
	}
	put_bytes(e, bytes + g->imm_at, g->insn.len - g->imm_at);
}

/* The fields R, X, B and vvvv are stored inverted. */
static void put_vex(struct translator *t, const struct guest_insn *g, const struct encoding_slots *s)
{
	struct emitter *e = &t->e;
	const u8 *p = g->insn.bytes + g->opcode_at;
	bool mem = s->mem_base != INSN_NO_REG;
	bool three = p[0] == 0xc4;
	unsigned map = three ? p[1] & 0x1f : 1;
	u8 last = three ? p[2] & ~(g->w_ignored ? 0x80 : 0) : p[1] & 0x7f;
	unsigned modrm = g->insn.bytes[g->modrm_at];
	/* outside 64-bit mode there are eight registers, SDM2 2.3.5 */
	unsigned names = t->code64 ? 15 : 7;
	unsigned original_b = three && !(p[1] & 0x20) ? 8 : 0;
	unsigned reg = chosen(g, s, SLOT_REG, (modrm >> 3 & 7) | (p[1] & 0x80 ? 0 : 8));
	unsigned rm = chosen(g, s, SLOT_RM, ((modrm & 7) | original_b) & names);
	unsigned vvvv = chosen(g, s, SLOT_VVVV, ~last >> 3 & names);
	unsigned b = mem ? s->mem_base : rm;

	put8(e, 0xc4);
	put8(e, map | (reg & 8 ? 0 : 0x80) | 0x40 | (b & 8 ? 0 : 0x20));
	put8(e, (last & 0x87) | (~vvvv & 15) << 3);
	put8(e, p[three ? 3 : 2]);
	if (g->has_modrm)
		put_modrm(t, g, s, reg, rm);
	if (g->imm_is_register)
		put8(e, g->insn.bytes[g->imm_at] & (names << 4 | 15));
	else
		put_bytes(e, g->insn.bytes + g->imm_at, g->insn.len - g->imm_at);
}

static void put_evex(struct translator *t, const struct guest_insn *g,
	const struct encoding_slots *s)
{
	struct emitter *e = &t->e;
	const u8 *p = g->insn.bytes + g->opcode_at;
	bool mem = s->mem_base != INSN_NO_REG;
	unsigned modrm = g->insn.bytes[g->modrm_at];
	unsigned reg = chosen(g, s, SLOT_REG, (modrm >> 3 & 7) | (p[1] & 0x80 ? 0 : 8));
	unsigned rm = chosen(g, s, SLOT_RM, (modrm & 7) | (p[1] & 0x20 ? 0 : 8));
	/* outside 64-bit mode there are eight registers: R', V' and vvvv's upper bit are not heeded */
	u8 p0 = (p[1] & 0x1f) | (t->code64 ? 0 : 0x10), p1 = p[2] | (t->code64 ? 0 : 0x40);

	if (!t->code64) {
		reg &= 7;
		rm &= 7;
	}
	p0 |= reg & 8 ? 0 : 0x80;
	/* For a vector in rm, X is its fifth bit; for memory it would be the index's fourth. */
	p0 |= mem || !t->code64 ? 0x40 : p[1] & 0x40;
	p0 |= (mem ? s->mem_base : rm) & 8 ? 0 : 0x20;
	put8(e, 0x62);
	put8(e, p0);
	put8(e, p1 & ~(g->w_ignored ? 0x80 : 0));
	put8(e, p[3] | (t->code64 ? 0 : 8));
	put8(e, p[4]);
	if (mem && s->mem_disp) {
		/* a short displacement would be scaled: [base + disp32] */
		put8(e, 0x80 | (reg & 7) << 3 | (s->mem_base & 7));
		put32(e, s->mem_disp);
	} else {
		put_modrm(t, g, s, reg, rm);
	}
	put_bytes(e, g->insn.bytes + g->imm_at, g->insn.len - g->imm_at);
}

void reencode(struct translator *t, const struct guest_insn *g, const struct encoding_slots *s)
{
	if (verbatim(t, g, s)) {
		put_bytes(&t->e, g->insn.bytes, g->insn.len);
		return;
	}
	switch (g->encoding) {
	case ENCODING_VEX:
		put_vex(t, g, s);
		break;
	case ENCODING_EVEX:
		put_evex(t, g, s);
		break;
	default:
		put_legacy(t, g, s);
		break;
	}
}
