/* SPDX-License-Identifier: MIT */
/* A sequence and its initial state from a seed. */
#include "maker.h"

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


/* ---- the initial state ---- */
const u32 xsave_sizes[8] = { [2] = 256, [5] = 64, [6] = 512, [7] = 1024 };

static void fill_vector(struct rng *rng, u8 *area, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		u64 value = interesting_value(rng);
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
	for (i = 0; i < maker_reg_count(m); i++) {
		u32 draw = rng_below(rng, 10);

		in->gpr[i] = draw < 4 ? maker_target(m, 8) : draw < 6 ? rng_below(rng, 4096) :
								       interesting_value(rng);
		if (m->seq->mode != MODE64)
			in->gpr[i] = (u32)in->gpr[i];
	}
	in->gpr[RSP] = maker_data_base(m) + 6 * PAGE_SIZE + rng_below(rng, 0x3f0) * 8 + 64;
	if (rng_percent(rng, 10))
		in->gpr[RSP] = maker_target(m, 8);
	for (i = 0; i < maker_reg_count(m); i++) {
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
		u64 mantissa = interesting_value(rng);
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
		u64 value = interesting_value(&rng);

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
		maker_append(&m, (const u8 *)"\x90", 1);
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
