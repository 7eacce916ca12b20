/* SPDX-License-Identifier: MIT */
/* An instruction of a template: its operands, and what must be so for it to do something. */
#include "maker.h"

#include <string.h>

/* What a memory operand is made of, before it is bytes. */
struct operand {
	u8 mod, rm, sib;
	bool has_sib, rex_x, rex_b;
	unsigned disp_size;
	i64 disp;
	bool rip;
	u64 rip_target;
	bool address67;
	bool gs;
};

static void pick_operand16(struct maker *m, struct operand *op, u64 target)
{
	static const u8 base_of[8] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
	static const u8 index_of[8] = { RSI, RDI, RSI, RDI, 16, 16, 16, 16 };
	u64 sum;

	op->rm = (u8)rng_below(&m->rng, 8);
	if (op->rm == 6 && rng_percent(&m->rng, 50)) {
		op->mod = 0;
		op->disp_size = 2;
		op->disp = (i64)target;
		return;
	}
	if (!m->is_known[base_of[op->rm]])
		maker_load_reg(m, base_of[op->rm], target);
	sum = m->known[base_of[op->rm]];
	if (index_of[op->rm] < 16) {
		if (!m->is_known[index_of[op->rm]])
			maker_load_reg(m, index_of[op->rm], rng_below(&m->rng, 64));
		sum += m->known[index_of[op->rm]];
	}
	op->disp = (i64)(i16)(target - sum);
	op->mod = op->disp == (i8)op->disp ? 1 : 2;
	op->disp_size = op->mod;
}

static void pick_operand(struct maker *m, struct operand *op, unsigned size, bool vsib,
	unsigned vector_index)
{
	struct rng *rng = &m->rng;
	u64 target = maker_target(m, size);
	bool wild = rng_percent(rng, 3);
	unsigned base;
	u64 sum;

	memset(op, 0, sizeof(*op));
	if (m->seq->mode != MODE64)
		op->address67 = !vsib && rng_percent(rng, 12);
	else
		op->address67 = rng_percent(rng, 3);
	if (m->seq->mode == MODE64 && rng_percent(rng, 8)) {
		op->gs = true;
		target -= GS_BASE;
	}
	if ((m->seq->mode == MODE16) != op->address67 && m->seq->mode != MODE64) {
		pick_operand16(m, op, m->seq->mode == MODE16 ? target : rng_below(rng, 0x10000));
		return;
	}
	if (!vsib && m->seq->mode == MODE64 && rng_percent(rng, 15)) {
		op->rm = 5;
		op->rip = true;
		op->rip_target = target;
		op->disp_size = 4;
		return;
	}
	if (!vsib && m->seq->mode != MODE64 && rng_percent(rng, 15)) {
		op->rm = 5;
		op->disp_size = 4;
		op->disp = (i64)target;
		return;
	}
	base = wild ? rng_below(rng, maker_reg_count(m)) : maker_base_register(m, 0xffff);
	sum = m->known[base];
	op->rex_b = base >> 3;
	if (vsib || (base & 7) == RSP || rng_percent(rng, 35)) {
		unsigned scale = rng_below(rng, 4), index = 4;

		op->has_sib = true;
		op->rm = 4;
		if (vsib) {
			index = vector_index;
		} else if (rng_percent(rng, 80)) {
			index = wild ? rng_below(rng, maker_reg_count(m)) :
				       maker_index_register(m, 0xffef & ~(1u << base));
			if (index != 4)
				sum += m->known[index] << scale;
		}
		op->rex_x = index >> 3 & 1;
		op->sib = (u8)(scale << 6 | (index & 7) << 3 | (base & 7));
	} else {
		op->rm = base & 7;
	}
	op->disp = (i64)(target - sum);
	if (wild || op->disp != (i32)op->disp)
		op->disp = (i8)rng_next(rng);
	if (!op->disp && (base & 7) != RBP && rng_percent(rng, 70)) {
		op->mod = 0;
	} else if (op->disp == (i8)op->disp && rng_percent(rng, 80)) {
		op->mod = 1;
		op->disp_size = 1;
	} else {
		op->mod = 2;
		op->disp_size = 4;
	}
}

/* Destinations: R10 and R11 often, since the translator keeps them in memory; RSP seldom. */
unsigned maker_pick_reg(struct maker *m)
{
	unsigned reg;

	if (m->seq->mode == MODE64 && rng_percent(&m->rng, 25))
		return 10 + rng_below(&m->rng, 2);
	reg = rng_below(&m->rng, maker_reg_count(m));
	if (reg == RSP && rng_percent(&m->rng, 85))
		reg = RAX;
	return reg;
}

/* Sets up registers that an instruction uses in ways of its own, so that it does not just fault. */
static void prepare(struct maker *m, ZydisMnemonic mnemonic)
{
	struct rng *rng = &m->rng;

	switch (mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		if (rng_percent(rng, 75)) {
			maker_load_reg(m, RDX, 0);
			maker_load_reg(m, RAX, rng_percent(rng, 50) ? rng_below(rng, 100) :
				interesting_value(rng));
		}
		break;
	case ZYDIS_MNEMONIC_MASKMOVQ: /* whether one that faults touches the x87 tags is the CPU's affair */
		maker_load_reg(m, RDI, maker_data_base(m) + rng_below(rng, PAGE_SIZE));
		break;
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		maker_load_reg(m, RDI, maker_target(m, 16));
		break;
	case ZYDIS_MNEMONIC_XLAT:
		maker_load_reg(m, RBX, maker_target(m, 256));
		break;
	case ZYDIS_MNEMONIC_LEAVE:
		if (!maker_looks_like_pointer(m, RBP) || rng_percent(rng, 50))
			maker_load_reg(m, RBP, maker_target(m, 8));
		break;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ:
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ: {
		u32 count = rng_percent(rng, 60) ? rng_below(rng, 24) : rng_below(rng, 700);

		if (rng_percent(rng, 95))
			maker_load_reg(m, RCX, count);
		maker_load_reg(m, RSI, maker_target(m, MIN(count, 200u)));
		maker_load_reg(m, RDI, maker_target(m, MIN(count, 200u)));
		if (rng_percent(rng, 8)) { /* overlapping */
			maker_load_reg(m, RDI, m->known[RSI] + rng_below(rng, 16) - 8);
		}
		break;
	}
	default:
		break;
	}
	if ((mnemonic >= ZYDIS_MNEMONIC_PUSH && mnemonic <= ZYDIS_MNEMONIC_PUSHFQ) ||
		(mnemonic >= ZYDIS_MNEMONIC_POP && mnemonic <= ZYDIS_MNEMONIC_POPFQ) ||
		mnemonic == ZYDIS_MNEMONIC_ENTER) {
		if (!m->stack_ok && rng_percent(rng, 90))
			maker_load_stack(m);
	}
	if (mnemonic == ZYDIS_MNEMONIC_POPF || mnemonic == ZYDIS_MNEMONIC_POPFQ) {
		/* AND DWORD [rSP], mask: TF at times, and AC where the host has it as we do */
		u32 mask = rng_percent(rng, 10) ? ~(u32)RFLAGS_AC : ~(u32)(RFLAGS_AC | RFLAGS_TF);
		u8 and[10] = { 0x81, 0x24, 0x24 };
		unsigned n = 3;

		if (m->seq->mode == MODE16) {
			memcpy(and, "\x67\x66\x81\x24\x24", 5);
			n = 5;
		}
		if (m->options->amd && m->options->way != WAY_SUPERVISOR && m->seq->seed % 8 == 0)
			mask |= RFLAGS_AC;
		memcpy(and + n, &mask, 4);
		maker_append(m, and, n + 4)->keep = true;
	}
}

/* The vector register that a gather's index is in: small numbers, mostly. */
static void prepare_index(struct maker *m, unsigned index)
{
	/* VPSRLD or VPSRLQ ymm, ymm, 26 or 58 */
	u8 shift[6] = { 0xc4, (u8)(index & 8 ? 0xc1 : 0xe1), (u8)((~index & 15) << 3 | 5), 0x72,
		(u8)(0xd0 | (index & 7)), 26 };

	if (m->seq->mode != MODE64)
		shift[1] = 0xe1;
	if (rng_percent(&m->rng, 50)) {
		shift[3] = 0x73;
		shift[5] = 58;
	}
	if (rng_percent(&m->rng, 92))
		maker_append(m, shift, sizeof(shift));
}

static unsigned operand_size(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *operands)
{
	for (unsigned i = 0; i < insn->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return operands[i].size / 8;
	return 0;
}

/* Writes the template with random free fields. Returns its length as Zydis sees it, or 0. */
static unsigned encode(struct maker *m, const struct template *t, const struct operand *op,
	u8 *bytes, struct rng *fields, bool plain, unsigned *modrm_at, unsigned *disp_at)
{
	static const u8 pp_of[256] = { [0x66] = 1, [0xf3] = 2, [0xf2] = 3 };
	bool code64 = m->seq->mode == MODE64;
	unsigned reg = t->reg < 8 ? t->reg : maker_pick_reg(m);
	unsigned rm = op ? op->rm : t->rm < 8 ? t->rm : maker_pick_reg(m);
	bool r = reg >> 3, x = op && op->rex_x, b = op ? op->rex_b : rm >> 3;
	bool w = rng_percent(fields, 35);
	unsigned n = 0, vvvv = rng_below(fields, code64 ? 16 : 8);

	if (t->encoding != ENC_LEGACY && t->reg >= 8 && code64)
		r = rng_next(fields) & 1;
	if (op && op->address67)
		bytes[n++] = 0x67;
	if (op && op->gs)
		bytes[n++] = 0x65;
	if (!plain && rng_percent(fields, 4)) {
		/* ES, CS, SS, DS: no meaning in 64-bit mode; elsewhere the same base */
		static const u8 segments[] = { 0x26, 0x2e, 0x36, 0x3e };
		bytes[n++] = segments[rng_below(fields, 4)];
	}
	if (t->encoding == ENC_LEGACY) {
		if (!plain && op && (rng_percent(fields, m->seq->class == CLASS_atomic ? 60 : 2)))
			bytes[n++] = 0xf0;
		if (!plain && t->prefix != 0x66 && rng_percent(fields, 18))
			bytes[n++] = 0x66;
		if (t->prefix)
			bytes[n++] = t->prefix;
		if (code64 && (w || r || x || b || rng_percent(fields, 15)))
			bytes[n++] = (u8)(0x40 | w << 3 | r << 2 | x << 1 | b);
		if (t->map)
			bytes[n++] = 0x0f;
		if (t->map > 1)
			bytes[n++] = t->map == 2 ? 0x38 : 0x3a;
	} else if (t->encoding == ENC_VEX) {
		if (!code64)
			r = x = b = false;
		if (plain)
			vvvv = 0;
		if (t->map == 1 && !t->w && !x && !b && rng_percent(fields, 60)) {
			bytes[n++] = 0xc5;
			bytes[n++] = (u8)(!r << 7 | (~vvvv & 15) << 3 | t->l << 2 | pp_of[t->prefix]);
		} else {
			bytes[n++] = 0xc4;
			bytes[n++] = (u8)(!r << 7 | !x << 6 | !b << 5 | t->map);
			bytes[n++] = (u8)(t->w << 7 | (~vvvv & 15) << 3 | t->l << 2 |
				pp_of[t->prefix]);
		}
	} else {
		bool r2 = code64 && !plain && rng_percent(fields, 40);
		bool v2 = code64 && !plain && rng_percent(fields, 40);
		unsigned mask = rng_percent(fields, 40) ? 0 : rng_below(fields, 8);
		bool zero = mask && !plain && rng_percent(fields, 40);
		bool broadcast = !plain && rng_percent(fields, 20);
		unsigned l = t->l;

		if (!code64)
			r = x = b = false;
		/* RSP named with an X that says nothing of it: Zen 5 then misses what pushes before have done */
		if (!op && code64)
			x = !plain && rm != 4 && (rng_next(fields) & 1);
		if (plain)
			vvvv = 0;
		if (!op && broadcast)
			l = rng_below(fields, 4); /* rounding */
		bytes[n++] = 0x62;
		bytes[n++] = (u8)(!r << 7 | !x << 6 | !b << 5 | !r2 << 4 | t->map);
		bytes[n++] = (u8)(t->w << 7 | (~vvvv & 15) << 3 | 4 | pp_of[t->prefix]);
		bytes[n++] = (u8)(zero << 7 | l << 5 | broadcast << 4 | !v2 << 3 | mask);
	}
	bytes[n++] = t->opcode;
	*modrm_at = n;
	*disp_at = 0;
	if (t->reg != 0xfe) {
		bytes[n++] = (u8)((op ? op->mod << 6 : 0xc0) | (reg & 7) << 3 | (rm & 7));
		if (op && op->has_sib)
			bytes[n++] = op->sib;
		*disp_at = n;
		if (op) {
			memcpy(bytes + n, &op->disp, op->disp_size);
			n += op->disp_size;
		}
	}
	return n;
}

/* One instruction of a template. False: Zydis or the classes do not like what came out. */
bool make_template(struct maker *m, const struct template *t)
{
	struct rng *rng = &m->rng;
	struct operand op;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	u8 bytes[32];
	unsigned modrm_at, disp_at, n, size = 8;
	bool vsib = m->seq->class == CLASS_gather;
	unsigned vector_index = rng_below(rng, m->seq->mode == MODE64 ? 16 : 8);
	struct gen_insn *out;

	prepare(m, t->mnemonic);
	for (unsigned attempt = 0; attempt < 6; attempt++) {
		if (t->memory)
			pick_operand(m, &op, size, vsib, vector_index);
		if (t->memory && t->encoding == ENC_EVEX && op.mod == 1 && rng_percent(rng, 75)) {
			op.mod = 2; /* the one-byte form is scaled */
			op.disp_size = 4;
		}
		n = encode(m, t, t->memory ? &op : NULL, bytes, rng, attempt > 2, &modrm_at, &disp_at);
		u64 tail = interesting_value(rng), tail2 = rng_next(rng);
		memcpy(bytes + n, &tail, 8);
		memcpy(bytes + n + 8, &tail2, 2);
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoders[m->seq->mode], bytes, 15, &insn,
			    operands)))
			continue;
		if (classify(&insn, m->seq->mode) != m->seq->class)
			continue;
		/* once more, now that the operand's size is known */
		if (t->memory && attempt == 0 && operand_size(&insn, operands) != size) {
			size = operand_size(&insn, operands);
			continue;
		}
		break;
	}
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoders[m->seq->mode], bytes, 15, &insn, operands)) ||
	    classify(&insn, m->seq->mode) != m->seq->class)
		return false;
	/* behind a CALL or PUSH Zen 4 may convert the RSP of before it */
	if ((insn.mnemonic == ZYDIS_MNEMONIC_VCVTUSI2SD || insn.mnemonic == ZYDIS_MNEMONIC_VCVTUSI2SS) &&
		(operands[2].reg.value == ZYDIS_REGISTER_RSP || operands[2].reg.value == ZYDIS_REGISTER_ESP))
		return false;
	/* what does more at CPL 0; POPF changes IF and IOPL there */
	if (m->options->way == WAY_SUPERVISOR && (insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED ||
		    (insn.mnemonic >= ZYDIS_MNEMONIC_POPF && insn.mnemonic <= ZYDIS_MNEMONIC_POPFQ)))
		return false;
	/* absolute addresses of MOV and an immediate size of ENTER that does not leave the stack */
	if (insn.mnemonic == ZYDIS_MNEMONIC_ENTER && rng_percent(rng, 85)) {
		bytes[n + 1] &= 1;
		bytes[n + 2] &= rng_percent(rng, 60) ? 3 : 31;
	}
	if (t->opcode >= 0xa0 && t->opcode <= 0xa3 && !t->map && t->encoding == ENC_LEGACY) {
		u64 target = maker_target(m, 8);
		memcpy(bytes + n, &target, insn.address_width / 8);
	}
	if (vsib)
		prepare_index(m, vector_index);
	/* BT and its like reach far by a register's value: let it be small, mostly */
	if (t->memory && m->seq->class == CLASS_bit && operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		insn.mnemonic != ZYDIS_MNEMONIC_BSF && insn.mnemonic != ZYDIS_MNEMONIC_BSR &&
		(insn.mnemonic == ZYDIS_MNEMONIC_BT || insn.mnemonic == ZYDIS_MNEMONIC_BTS ||
			insn.mnemonic == ZYDIS_MNEMONIC_BTR || insn.mnemonic == ZYDIS_MNEMONIC_BTC)) {
		unsigned reg = (bytes[modrm_at] >> 3 & 7) |
			(unsigned)(insn.raw.rex.R && m->seq->mode == MODE64) << 3;
		bool in_address = reg == (bytes[modrm_at] & 7u) || op.has_sib || reg == RSP;
		if (!in_address && rng_percent(rng, 90))
			maker_load_reg(m, reg, (u64)(i64)(i16)rng_next(rng) >> rng_below(rng, 8));
	}
	out = maker_append(m, bytes, insn.length);
	if (t->memory && op.rip) {
		out->rip_mem = true;
		out->fix_at = (u8)disp_at;
		out->fix_size = 4;
		out->rip_target = op.rip_target;
	}
	maker_forget_written(m, &insn, operands);
	return true;
}
