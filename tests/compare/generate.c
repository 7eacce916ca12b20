/* SPDX-License-Identifier: MIT */
/*
 * A sequence from a seed. Registers whose value is known at a point (set in the initial state or
 * by a MOV, and not written since) become bases and indices, so that most memory operands land in
 * the data area, many of them on its edges; some do not, on purpose.
 */
#include "compare.h"
#include <string.h>

const char data_page_kind[DATA_PAGES + 1] = "wwr-w-ww";
const struct layout layouts[MODE_TOTAL] = {
	[MODE64] = { 0x5a1230000000, 0x5a1238765000 },
	[MODE32] = { 0x20000000, 0x28765000 },
	[MODE16] = { SEGMENT_BASE16 - 0x80000, SEGMENT_BASE16 + 0x3000 },
};

u64 rng_next(struct rng *rng)
{
	u64 z = rng->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

struct maker {
	struct rng rng;
	struct sequence *seq;
	const struct options *options;
	u64 known[16];
	bool is_known[16];
	bool full;
	bool stack_ok; /* RSP points into the data area, as far as one can tell */
	bool saved;    /* an XSAVE pattern has been */
	u8 loop_load[MAX_INSNS], loop_last[MAX_INSNS]; /* loops: the counter's load, the jump back */
	unsigned loops;
};

static u64 data_base(const struct maker *m)
{
	/* operands of 16-bit code are offsets in segments */
	return layouts[m->seq->mode].data - (m->seq->mode == MODE16 ? SEGMENT_BASE16 : 0);
}

static unsigned reg_count(const struct maker *m)
{
	return m->seq->mode == MODE64 ? 16 : 8;
}

/* ---- values ---- */
static u64 interesting(struct rng *rng)
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
static u64 pick_target(struct maker *m, unsigned size)
{
	struct rng *rng = &m->rng;
	u64 base = data_base(m);
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
static struct gen_insn *append(struct maker *m, const u8 *bytes, unsigned len)
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

static struct gen_insn *append_target(struct maker *m, const u8 *bytes, unsigned len, unsigned at,
	unsigned size, unsigned target)
{
	struct gen_insn *insn = append(m, bytes, len);

	insn->target = (u8)target;
	insn->fix_at = (u8)at;
	insn->fix_size = (u8)size;
	return insn;
}

/* MOV reg, imm of the mode's width, without a change of flags. */
static void load_reg(struct maker *m, unsigned reg, u64 value)
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
	append(m, b, n);
	m->known[reg] = value;
	m->is_known[reg] = true;
}

static void load_stack(struct maker *m)
{
	load_reg(m, RSP, data_base(m) + 6 * PAGE_SIZE + rng_below(&m->rng, 0x400) * 8);
	m->stack_ok = true;
}

static bool looks_like_pointer(const struct maker *m, unsigned reg)
{
	u64 base = data_base(m);

	return m->is_known[reg] && m->known[reg] - (base - 0x10000) < 0x20000;
}

/* A register that points into the data area; makes one where there is none. */
static unsigned base_register(struct maker *m, u32 allowed)
{
	unsigned start = rng_below(&m->rng, 16), i;

	for (i = 0; i < 16; i++) {
		unsigned reg = (start + i) & 15;
		if (allowed >> reg & 1 && reg < reg_count(m) && looks_like_pointer(m, reg))
			return reg;
	}
	do
		start = rng_below(&m->rng, reg_count(m));
	while (!(allowed >> start & 1));
	load_reg(m, start, pick_target(m, 8));
	return start;
}

static unsigned index_register(struct maker *m, u32 allowed)
{
	unsigned start = rng_below(&m->rng, 16), i;

	for (i = 0; i < 16; i++) {
		unsigned reg = (start + i) & 15;
		if (allowed >> reg & 1 && reg < reg_count(m) && m->is_known[reg] &&
			m->known[reg] + 0x100000 < 0x200000)
			return reg;
	}
	do
		start = rng_below(&m->rng, reg_count(m));
	while (!(allowed >> start & 1));
	load_reg(m, start, rng_percent(&m->rng, 70) ? rng_below(&m->rng, 64) :
							 -(u64)rng_below(&m->rng, 4096));
	return start;
}

/* Forgets what the instruction writes: registers by Zydis's operands, implicit ones included. */
static void forget_written(struct maker *m, const ZydisDecodedInstruction *insn,
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
		load_reg(m, base_of[op->rm], target);
	sum = m->known[base_of[op->rm]];
	if (index_of[op->rm] < 16) {
		if (!m->is_known[index_of[op->rm]])
			load_reg(m, index_of[op->rm], rng_below(&m->rng, 64));
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
	u64 target = pick_target(m, size);
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
	base = wild ? rng_below(rng, reg_count(m)) : base_register(m, 0xffff);
	sum = m->known[base];
	op->rex_b = base >> 3;
	if (vsib || (base & 7) == RSP || rng_percent(rng, 35)) {
		unsigned scale = rng_below(rng, 4), index = 4;

		op->has_sib = true;
		op->rm = 4;
		if (vsib) {
			index = vector_index;
		} else if (rng_percent(rng, 80)) {
			index = wild ? rng_below(rng, reg_count(m)) :
				       index_register(m, 0xffef & ~(1u << base));
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
static unsigned pick_reg(struct maker *m)
{
	unsigned reg;

	if (m->seq->mode == MODE64 && rng_percent(&m->rng, 25))
		return 10 + rng_below(&m->rng, 2);
	reg = rng_below(&m->rng, reg_count(m));
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
			load_reg(m, RDX, 0);
			load_reg(m, RAX, rng_percent(rng, 50) ? rng_below(rng, 100) : interesting(rng));
		}
		break;
	case ZYDIS_MNEMONIC_MASKMOVQ: /* whether one that faults touches the x87 tags is the CPU's affair */
		load_reg(m, RDI, data_base(m) + rng_below(rng, PAGE_SIZE));
		break;
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		load_reg(m, RDI, pick_target(m, 16));
		break;
	case ZYDIS_MNEMONIC_XLAT:
		load_reg(m, RBX, pick_target(m, 256));
		break;
	case ZYDIS_MNEMONIC_LEAVE:
		if (!looks_like_pointer(m, RBP) || rng_percent(rng, 50))
			load_reg(m, RBP, pick_target(m, 8));
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
			load_reg(m, RCX, count);
		load_reg(m, RSI, pick_target(m, MIN(count, 200u)));
		load_reg(m, RDI, pick_target(m, MIN(count, 200u)));
		if (rng_percent(rng, 8)) { /* overlapping */
			load_reg(m, RDI, m->known[RSI] + rng_below(rng, 16) - 8);
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
			load_stack(m);
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
		append(m, and, n + 4)->keep = true;
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
		append(m, shift, sizeof(shift));
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
	unsigned reg = t->reg < 8 ? t->reg : pick_reg(m);
	unsigned rm = op ? op->rm : t->rm < 8 ? t->rm : pick_reg(m);
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
		if (!op && code64)
			x = !plain && (rng_next(fields) & 1);
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
static bool make_template(struct maker *m, const struct template *t)
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
		u64 tail = interesting(rng), tail2 = rng_next(rng);
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
		u64 target = pick_target(m, 8);
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
			load_reg(m, reg, (u64)(i64)(i16)rng_next(rng) >> rng_below(rng, 8));
	}
	out = append(m, bytes, insn.length);
	if (t->memory && op.rip) {
		out->rip_mem = true;
		out->fix_at = (u8)disp_at;
		out->fix_size = 4;
		out->rip_target = op.rip_target;
	}
	forget_written(m, &insn, operands);
	return true;
}

/* ---- branches: targets are instructions further on, so that sequences end ---- */
static void ahead(struct maker *m, const u8 *bytes, unsigned len, unsigned size)
{
	append_target(m, bytes, len, len - size, size, m->seq->count + 1 + rng_below(&m->rng, 4));
}

static void forget_all(struct maker *m)
{
	memset(m->is_known, 0, sizeof(m->is_known));
}

static unsigned near_size(const struct maker *m)
{
	return m->seq->mode == MODE16 ? 2 : 4;
}

static void make_branch(struct maker *m)
{
	struct rng *rng = &m->rng;
	unsigned size = near_size(m), reg;
	u8 b[16] = { 0 };

	switch (rng_below(rng, 10)) {
	case 0:
	case 1:
		b[0] = (u8)(0x70 | rng_below(rng, 16));
		ahead(m, b, 2, 1);
		return;
	case 2:
		b[0] = 0x0f;
		b[1] = (u8)(0x80 | rng_below(rng, 16));
		ahead(m, b, 2 + size, size);
		return;
	case 3:
		if (rng_percent(rng, 50)) {
			b[0] = 0xeb;
			ahead(m, b, 2, 1);
		} else {
			b[0] = 0xe9;
			ahead(m, b, 1 + size, size);
		}
		return;
	case 4: /* LOOPNE, LOOPE, LOOP, JrCXZ */
		load_reg(m, RCX, rng_below(rng, 3));
		b[0] = (u8)(0xe0 | rng_below(rng, 4));
		ahead(m, b, 2, 1);
		m->is_known[RCX] = false;
		return;
	case 5: /* CALL; its RET may come */
		if (!m->stack_ok)
			load_stack(m);
		b[0] = 0xe8;
		ahead(m, b, 1 + size, size);
		m->is_known[RSP] = false;
		return;
	case 6: { /* the address in a register, then JMP, CALL, or PUSH and RET */
		struct gen_insn *load;
		unsigned n = 0, target = m->seq->count + 3;

		do
			reg = pick_reg(m);
		while (reg == RSP);
		load_reg(m, reg, 0);
		if (m->full)
			return;
		load = &m->seq->insn[m->seq->count - 1];
		if (m->seq->mode == MODE64 && load->len != 10) {
			b[0] = 0x48;
			b[1] = (u8)(0xb8 + reg);
			memcpy(load->bytes, b, 10);
			load->len = 10;
		}
		load->target = (u8)target;
		load->fix_abs = true;
		load->fix_size = m->seq->mode == MODE64 ? 8 : 4;
		load->fix_at = (u8)(load->len - load->fix_size);
		m->is_known[reg] = false;
		switch (rng_below(rng, 3)) {
		case 0: /* JMP and CALL through the register */
		case 1:
			if (reg > 7)
				b[n++] = 0x41;
			b[n++] = 0xff;
			b[n++] = (u8)((rng_percent(rng, 50) ? 0xe0 : 0xd0) | (reg & 7));
			append(m, b, n);
			m->is_known[RSP] = false;
			return;
		default:
			if (reg > 7)
				b[n++] = 0x41;
			b[n++] = (u8)(0x50 | (reg & 7));
			append(m, b, n);
			b[0] = 0xc3;
			b[1] = (u8)(rng_below(rng, 5) * 8);
			b[2] = 0;
			if (rng_percent(rng, 30)) {
				b[0] = 0xc2;
				append(m, b, 3);
				m->is_known[RSP] = false;
			} else {
				append(m, b, 1);
			}
			return;
		}
	}
	case 7: { /* JMP or CALL through memory, the address stored before */
		struct gen_insn *load;
		unsigned ptr;

		if (m->seq->mode == MODE16)
			return;
		load_reg(m, RAX, 0);
		if (m->full)
			return;
		load = &m->seq->insn[m->seq->count - 1];
		if (m->seq->mode == MODE64) {
			memcpy(load->bytes, "\x48\xb8\0\0\0\0\0\0\0\0", 10);
			load->len = 10;
		}
		load->fix_abs = true;
		load->fix_size = m->seq->mode == MODE64 ? 8 : 4;
		load->fix_at = (u8)(load->len - load->fix_size);
		m->is_known[RAX] = false;
		load->target = NO_TARGET;
		ptr = RBX;
		load_reg(m, ptr, pick_target(m, 8));
		load->target = (u8)(m->seq->count + 3);
		memcpy(b, "\x48\x89\x03", 3);
		append(m, m->seq->mode == MODE64 ? b : b + 1, m->seq->mode == MODE64 ? 3 : 2);
		memcpy(b, "\xff\x23", 2);
		if (rng_percent(rng, 50))
			b[1] = 0x13;
		append(m, b, 2);
		m->is_known[RSP] = false;
		return;
	}
	case 8: { /* a loop: counter, body of simple instructions, back */
		static const u8 body[][3] = { { 0x01, 0xc8 }, { 0x31, 0xd8 }, { 0xff, 0xc0 },
			{ 0xd1, 0xc3 }, { 0x8d, 0x04, 0x58 }, { 0x11, 0xd0 } };
		unsigned first, count = 1 + rng_below(rng, 3);

		if (m->seq->count > MAX_INSNS - 10)
			return;
		load_reg(m, RCX, 1 + rng_below(rng, 30));
		first = m->seq->count;
		while (count--) {
			const u8 *pick = body[rng_below(rng, ARRAY_SIZE(body))];
			if (pick[0] == 0x8d && m->seq->mode == MODE16)
				pick = body[0];
			append(m, pick, pick[0] == 0x8d ? 3 : 2);
		}
		m->is_known[RAX] = m->is_known[RBX] = m->is_known[RCX] = m->is_known[RDX] = false;
		if (rng_percent(rng, 50)) {
			b[0] = 0xe2;
			append_target(m, b, 2, 1, 1, first);
		} else { /* DEC rCX; JNZ */
			append(m, (const u8 *)"\xff\xc9", 2);
			b[0] = 0x75;
			append_target(m, b, 2, 1, 1, first);
		}
		m->loop_load[m->loops] = (u8)(first - 1);
		m->loop_last[m->loops++] = (u8)(m->seq->count - 1);
		return;
	}
	default: /* a RET of whatever is on the stack: mostly a fetch that faults */
		if (rng_percent(rng, 10)) {
			b[0] = 0xc3;
			append(m, b, 1);
		}
	}
}

/* ---- state images: made, something changed, loaded again; then wiped, since they are not equal
 * on all CPUs ---- */
static void make_xsave(struct maker *m)
{
	struct rng *rng = &m->rng;
	bool second = rng_percent(rng, 50);
	u64 area = data_base(m) + PAGE_SIZE * (second ? 4 : 0);
	u32 mask = (u32)(rng_next(rng) & 7 & m->options->xfeatures);
	bool code64 = m->seq->mode == MODE64;
	unsigned kind = rng_below(rng, 4);
	u8 op[4] = { 0x0f, 0xae };
	/* /0 FXSAVE /1 FXRSTOR /4 XSAVE /5 XRSTOR /6 XSAVEOPT; 0F C7 /4 XSAVEC */
	static const u8 save[4] = { 0x06, 0x26, 0x36, 0x26 };
	bool image;
	unsigned before = m->seq->count;

	if (m->seq->count > MAX_INSNS - 32)
		return; /* it must end with the wiping */
	if (m->seq->count > MAX_INSNS - 22)
		return;
	if (kind == 2 && m->saved)
		kind = 1; /* what XSAVEOPT leaves out depends on the image loaded last */
	m->saved = true;
	m->seq->images |= second ? BIT(2) : BIT(0); /* rw_pages */
	image = kind == 0;
	area += rng_percent(rng, 10) ? 8 + rng_below(rng, 64) : 0; /* misaligned: #GP */
	/* the header must be zero where XSAVE does not write it */
	load_reg(m, RDI, area);
	load_reg(m, RCX, 0xf80);
	load_reg(m, RAX, 0);
	append(m, (const u8 *)"\xfc\xf3\xaa", 1);
	append(m, (const u8 *)"\xf3\xaa", 2);
	load_reg(m, RSI, area);
	load_reg(m, RAX, mask);
	load_reg(m, RDX, 0);
	if (kind == 3)
		op[1] = 0xc7;
	op[2] = save[kind];
	if (m->seq->mode == MODE16)
		op[2] = (u8)((op[2] & 0x38) | 4); /* [si] */
	if (code64 && rng_percent(rng, 50)) {
		u8 rex[4] = { 0x48, op[0], op[1], op[2] };
		append(m, rex, 4);
	} else {
		append(m, op, 3);
	}
	/* XORPS xmm0, xmm1; PXOR; FLD1 */
	append(m, (const u8 *)"\x0f\x57\xc1", 3);
	append(m, (const u8 *)"\x0f\x57\xda", 3);
	if (rng_percent(rng, 50))
		append(m, (const u8 *)"\xd9\xe8", 2);
	op[1] = 0xae;
	op[2] = image ? 0x0e : 0x2e;
	if (m->seq->mode == MODE16)
		op[2] = (u8)((op[2] & 0x38) | 4);
	append(m, op, 3);
	load_reg(m, RDI, area);
	load_reg(m, RCX, 0xf80);
	append(m, (const u8 *)"\xf3\xaa", 2);
	/* Where the sequence comes here again, XSAVEOPT would leave out what has not changed since
	 * XRSTOR read this area, if the CPU cares to: the last one read was another, of nothing. */
	if (kind == 2) {
		static const u8 restore[2][4] = { { 0x0f, 0xae, 0x6e, 0x40 },
			{ 0x0f, 0xae, 0x6c, 0x40 } };

		load_reg(m, RAX, 0);
		append(m, restore[m->seq->mode == MODE16], 4);
	}
	for (; before < m->seq->count; before++)
		m->seq->insn[before].keep = true;
	forget_all(m);
}

/* A store into the immediate of an instruction ahead, which then runs. */
static void make_smc(struct maker *m)
{
	struct rng *rng = &m->rng;
	struct gen_insn *load;
	unsigned victim, i;
	u8 b[16];

	if (m->seq->mode == MODE16)
		return;
	load_reg(m, RBX, 0);
	if (m->full)
		return;
	m->seq->stores_code = true;
	load = &m->seq->insn[m->seq->count - 1];
	if (m->seq->mode == MODE64) {
		memcpy(load->bytes, "\x48\xbb\0\0\0\0\0\0\0\0", 10);
		load->len = 10;
	}
	load->fix_abs = true;
	load->fix_size = m->seq->mode == MODE64 ? 8 : 4;
	load->fix_at = (u8)(load->len - load->fix_size);
	load->fix_add = 1;
	m->is_known[RBX] = false;
	/* MOV BYTE [rBX], imm8 or ADD DWORD [rBX], imm8 */
	b[0] = 0xc6;
	b[1] = 0x03;
	if (rng_percent(rng, 30))
		b[0] = 0x83;
	b[2] = (u8)rng_next(rng);
	append(m, b, 3);
	i = rng_below(rng, 3);
	while (i--)
		append(m, (const u8 *)"\x01\xc2", 2); /* ADD EDX, EAX */
	victim = m->seq->count;
	b[0] = 0xb8; /* MOV EAX, imm32: the low byte changes */
	memset(b + 1, 0x11, 4);
	append(m, b, 5);
	if (!m->full) {
		load->target = (u8)victim;
	} else {
		load->target = NO_TARGET;
	}
	m->is_known[RAX] = m->is_known[RDX] = false;
}

/* ---- the initial state ---- */
const u32 xsave_sizes[8] = { [2] = 256, [5] = 64, [6] = 512, [7] = 1024 };

static void fill_vector(struct rng *rng, u8 *area, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		u64 value = interesting(rng);
		memcpy(area + from + i, &value, 8);
	}
}

static void initial_state(struct maker *m)
{
	struct rng *rng = &m->rng;
	struct state *in = &m->seq->in;
	u8 *x = in->xsave;
	u64 bv = m->options->xfeatures & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512);
	u16 fcw = rng_percent(rng, 90) ? 0x37f : (u16)(0x340 | (rng_next(rng) & 0xc3f));
	u16 fsw = (u16)(rng_below(rng, 8) << 11);
	u32 mxcsr = 0x1f80;
	unsigned i;

	memset(in, 0, sizeof(*in));
	for (i = 0; i < reg_count(m); i++) {
		u32 draw = rng_below(rng, 10);

		in->gpr[i] = draw < 4 ? pick_target(m, 8) : draw < 6 ? rng_below(rng, 4096) :
								       interesting(rng);
		if (m->seq->mode != MODE64)
			in->gpr[i] = (u32)in->gpr[i];
	}
	in->gpr[RSP] = data_base(m) + 6 * PAGE_SIZE + rng_below(rng, 0x3f0) * 8 + 64;
	if (rng_percent(rng, 10))
		in->gpr[RSP] = pick_target(m, 8);
	for (i = 0; i < reg_count(m); i++) {
		m->known[i] = in->gpr[i];
		m->is_known[i] = true;
	}
	m->stack_ok = true;
	in->rflags = RFLAGS_RESERVED1 | RFLAGS_IF | (rng_next(rng) & RFLAGS_ARITH);
	if (rng_percent(rng, 8))
		in->rflags |= RFLAGS_DF;

	if (rng_percent(rng, 30))
		mxcsr = 0x1f80 | (u32)(rng_next(rng) & 0xe07f);
	if (rng_percent(rng, 5))
		mxcsr &= (u32)rng_next(rng) | ~0x1f80u;
	memcpy(x, &fcw, 2);
	memcpy(x + 2, &fsw, 2);
	x[4] = (u8)rng_next(rng); /* abridged tag */
	memcpy(x + 24, &mxcsr, 4);
	for (i = 0; i < 8; i++) {
		u64 mantissa = interesting(rng);
		u16 exponent = (u16)rng_next(rng);

		if (rng_percent(rng, 60)) {
			exponent = (u16)(0x3fff + rng_below(rng, 70) - 20) | (exponent & 0x8000);
			mantissa |= BIT(63);
		}
		memcpy(x + 32 + 16 * i, &mantissa, 8);
		memcpy(x + 40 + 16 * i, &exponent, 2);
	}
	fill_vector(rng, x, 160, 256);
	if (bv & XCR0_AVX)
		fill_vector(rng, x, 576, 256);
	if (bv & XCR0_OPMASK)
		for (i = 5; i <= 7; i++)
			fill_vector(rng, x, m->options->xsave_offset[i], xsave_sizes[i]);
	if (m->seq->mode != MODE64) { /* XMM8 and above cannot be reached */
		memset(x + 288, 0, 128);
		memset(x + 704, 0, 128);
		if (bv & XCR0_OPMASK) {
			memset(x + m->options->xsave_offset[6] + 256, 0, 256);
			memset(x + m->options->xsave_offset[7], 0, 1024);
		}
	}
	memcpy(x + 512, &bv, 8);
	m->seq->pool_offset = rng_below(rng, POOL_SIZE / 64 - RW_PAGES * 64 - 64) * 64;
}

void pool_init(u8 *pool)
{
	struct rng rng = { 0x6e657374626f7821 };

	for (unsigned i = 0; i < POOL_SIZE; i += 8) {
		u64 value = interesting(&rng);

		if (rng_percent(&rng, 20))
			value = layouts[MODE64].data + rng_below(&rng, 0x2000);
		memcpy(pool + i, &value, 8);
	}
}

static enum class pick_class(struct maker *m)
{
	static const u8 weights[CLASS_COUNT] = {
#define CLASS(name, weight, comment) weight,
		CLASSES
#undef CLASS
	};
	u32 total = 0, draw;
	unsigned i;

	for (i = 0; i < CLASS_COUNT; i++)
		if (m->options->classes >> i & 1)
			total += weights[i];
	draw = rng_below(&m->rng, total);
	for (i = 0; i < CLASS_COUNT; i++) {
		if (!(m->options->classes >> i & 1))
			continue;
		if (draw < weights[i])
			break;
		draw -= weights[i];
	}
	return (enum class)i;
}

static void make_one(struct maker *m, enum class class)
{
	enum class kept = m->seq->class;
	const struct template *t;

	m->seq->class = class;
	switch (class) {
	case CLASS_branch:
		make_branch(m);
		break;
	case CLASS_xsave:
		make_xsave(m);
		break;
	case CLASS_smc:
		make_smc(m);
		break;
	default:
		for (unsigned i = 0; i < 8; i++) {
			t = templates_pick(&m->rng, m->seq->mode, class);
			if (!t || make_template(m, t))
				break;
		}
	}
	m->seq->class = kept;
}

/* A jump from before a loop into it would miss the load of its counter: it goes there instead. */
static void keep_loops_finite(struct maker *m)
{
	for (unsigned i = 0; i < m->loops; i++)
		for (unsigned j = 0; j < m->loop_load[i]; j++) {
			u8 *target = &m->seq->insn[j].target;

			if (*target != NO_TARGET && *target > m->loop_load[i] &&
				*target <= m->loop_last[i])
				*target = m->loop_load[i];
		}
}

void sequence_generate(struct sequence *sequence, const struct options *options, u64 seed)
{
	struct maker m = { .rng = { seed }, .seq = sequence, .options = options };
	unsigned want, i, mode;

	sequence->seed = seed;
	sequence->count = 0;
	sequence->images = 0;
	sequence->stores_code = false;
	rng_next(&m.rng);
	do /* half of all in 64-bit mode */
		mode = rng_percent(&m.rng, 50) ? MODE64 : rng_below(&m.rng, MODE_TOTAL);
	while (!(options->modes >> mode & 1));
	sequence->mode = (enum mode)mode;
	sequence->class = pick_class(&m);
	initial_state(&m);
	want = 1 + rng_below(&m.rng, options->max_insns);
	/* mostly of one class, the others between */
	for (i = 0; i < want && !m.full; i++)
		make_one(&m, rng_percent(&m.rng, 65) ? sequence->class : pick_class(&m));
	keep_loops_finite(&m);
	if (!sequence->count)
		append(&m, (const u8 *)"\x90", 1);
}

void sequence_layout(struct sequence *seq, u32 code_at)
{
	u64 at = code_base(seq) + code_at;
	unsigned i;

	for (i = 0; i < seq->count; i++) {
		seq->start[i] = at;
		at += seq->insn[i].len;
	}
	seq->start[seq->count] = at;
	for (i = 0; i < seq->count; i++) {
		struct gen_insn *insn = &seq->insn[i];
		u64 value;

		if (insn->rip_mem) {
			value = insn->rip_target - seq->start[i + 1];
		} else if (insn->target != NO_TARGET) {
			value = seq->start[MIN(insn->target, seq->count)] + insn->fix_add;
			if (!insn->fix_abs)
				value -= seq->start[i + 1];
		} else {
			continue;
		}
		memcpy(insn->bytes + insn->fix_at, &value, insn->fix_size);
	}
	seq->code_at = code_at;
	seq->code_len = (u32)(at + 1 - seq->start[0]);
	seq->in.rip = seq->start[0];
}

void sequence_emit(const struct sequence *seq, u8 *code)
{
	for (unsigned i = 0; i < seq->count; i++)
		memcpy(code + (seq->start[i] - seq->start[0]), seq->insn[i].bytes, seq->insn[i].len);
	code[seq->code_len - 1] = 0xcc;
}
