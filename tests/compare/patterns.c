/* SPDX-License-Identifier: MIT */
/* Instructions that belong together: branches, state images, code that changes itself. */
#include "maker.h"

#include <string.h>

/* ---- branches: targets are instructions further on, so that sequences end ---- */
static void ahead(struct maker *m, const u8 *bytes, unsigned len, unsigned size)
{
	maker_append_target(m, bytes, len, len - size, size,
		m->seq->count + 1 + rng_below(&m->rng, 4));
}

static void forget_all(struct maker *m)
{
	memset(m->is_known, 0, sizeof(m->is_known));
}

static unsigned near_size(const struct maker *m)
{
	return m->seq->mode == MODE16 ? 2 : 4;
}

void make_branch(struct maker *m)
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
		maker_load_reg(m, RCX, rng_below(rng, 3));
		b[0] = (u8)(0xe0 | rng_below(rng, 4));
		ahead(m, b, 2, 1);
		m->is_known[RCX] = false;
		return;
	case 5: /* CALL; its RET may come */
		if (!m->stack_ok)
			maker_load_stack(m);
		b[0] = 0xe8;
		ahead(m, b, 1 + size, size);
		m->is_known[RSP] = false;
		return;
	case 6: { /* the address in a register, then JMP, CALL, or PUSH and RET */
		struct gen_insn *load;
		unsigned n = 0, target = m->seq->count + 3;

		do
			reg = maker_pick_reg(m);
		while (reg == RSP);
		maker_load_reg(m, reg, 0);
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
			maker_append(m, b, n);
			m->is_known[RSP] = false;
			return;
		default:
			if (reg > 7)
				b[n++] = 0x41;
			b[n++] = (u8)(0x50 | (reg & 7));
			maker_append(m, b, n);
			b[0] = 0xc3;
			b[1] = (u8)(rng_below(rng, 5) * 8);
			b[2] = 0;
			if (rng_percent(rng, 30)) {
				b[0] = 0xc2;
				maker_append(m, b, 3);
				m->is_known[RSP] = false;
			} else {
				maker_append(m, b, 1);
			}
			return;
		}
	}
	case 7: { /* JMP or CALL through memory, the address stored before */
		struct gen_insn *load;
		unsigned ptr;

		if (m->seq->mode == MODE16)
			return;
		maker_load_reg(m, RAX, 0);
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
		maker_load_reg(m, ptr, maker_target(m, 8));
		load->target = (u8)(m->seq->count + 3);
		memcpy(b, "\x48\x89\x03", 3);
		maker_append(m, m->seq->mode == MODE64 ? b : b + 1, m->seq->mode == MODE64 ? 3 : 2);
		memcpy(b, "\xff\x23", 2);
		if (rng_percent(rng, 50))
			b[1] = 0x13;
		maker_append(m, b, 2);
		m->is_known[RSP] = false;
		return;
	}
	case 8: { /* a loop: counter, body of simple instructions, back */
		static const u8 body[][3] = { { 0x01, 0xc8 }, { 0x31, 0xd8 }, { 0xff, 0xc0 },
			{ 0xd1, 0xc3 }, { 0x8d, 0x04, 0x58 }, { 0x11, 0xd0 } };
		unsigned first, count = 1 + rng_below(rng, 3);

		if (m->seq->count > MAX_INSNS - 10)
			return;
		maker_load_reg(m, RCX, 1 + rng_below(rng, 30));
		first = m->seq->count;
		while (count--) {
			const u8 *pick = body[rng_below(rng, ARRAY_SIZE(body))];
			if (pick[0] == 0x8d && m->seq->mode == MODE16)
				pick = body[0];
			maker_append(m, pick, pick[0] == 0x8d ? 3 : 2);
		}
		m->is_known[RAX] = m->is_known[RBX] = m->is_known[RCX] = m->is_known[RDX] = false;
		if (rng_percent(rng, 50)) {
			b[0] = 0xe2;
			maker_append_target(m, b, 2, 1, 1, first);
		} else { /* DEC rCX; JNZ */
			maker_append(m, (const u8 *)"\xff\xc9", 2);
			b[0] = 0x75;
			maker_append_target(m, b, 2, 1, 1, first);
		}
		m->loop_load[m->loops] = (u8)(first - 1);
		m->loop_last[m->loops++] = (u8)(m->seq->count - 1);
		return;
	}
	default: /* a RET of whatever is on the stack: mostly a fetch that faults */
		if (rng_percent(rng, 10)) {
			b[0] = 0xc3;
			maker_append(m, b, 1);
		}
	}
}

/* ---- state images: made, something changed, loaded again; then wiped, since they are not equal
 * on all CPUs ---- */
void make_xsave(struct maker *m)
{
	struct rng *rng = &m->rng;
	bool second = rng_percent(rng, 50);
	u64 area = maker_data_base(m) + PAGE_SIZE * (second ? 4 : 0);
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
	maker_load_reg(m, RDI, area);
	maker_load_reg(m, RCX, 0xf80);
	maker_load_reg(m, RAX, 0);
	maker_append(m, (const u8 *)"\xfc\xf3\xaa", 1);
	maker_append(m, (const u8 *)"\xf3\xaa", 2);
	maker_load_reg(m, RSI, area);
	maker_load_reg(m, RAX, mask);
	maker_load_reg(m, RDX, 0);
	if (kind == 3)
		op[1] = 0xc7;
	op[2] = save[kind];
	if (m->seq->mode == MODE16)
		op[2] = (u8)((op[2] & 0x38) | 4); /* [si] */
	if (code64 && rng_percent(rng, 50)) {
		u8 rex[4] = { 0x48, op[0], op[1], op[2] };
		maker_append(m, rex, 4);
	} else {
		maker_append(m, op, 3);
	}
	/* XORPS xmm0, xmm1; PXOR; FLD1 */
	maker_append(m, (const u8 *)"\x0f\x57\xc1", 3);
	maker_append(m, (const u8 *)"\x0f\x57\xda", 3);
	if (rng_percent(rng, 50))
		maker_append(m, (const u8 *)"\xd9\xe8", 2);
	op[1] = 0xae;
	op[2] = image ? 0x0e : 0x2e;
	if (m->seq->mode == MODE16)
		op[2] = (u8)((op[2] & 0x38) | 4);
	maker_append(m, op, 3);
	maker_load_reg(m, RDI, area);
	maker_load_reg(m, RCX, 0xf80);
	maker_append(m, (const u8 *)"\xf3\xaa", 2);
	/* Where the sequence comes here again, XSAVEOPT would leave out what has not changed since
	 * XRSTOR read this area, if the CPU cares to: the last one read was another, of nothing. */
	if (kind == 2) {
		static const u8 restore[2][4] = { { 0x0f, 0xae, 0x6e, 0x40 },
			{ 0x0f, 0xae, 0x6c, 0x40 } };

		maker_load_reg(m, RAX, 0);
		maker_append(m, restore[m->seq->mode == MODE16], 4);
	}
	for (; before < m->seq->count; before++)
		m->seq->insn[before].keep = true;
	forget_all(m);
}

/* A store into the immediate of an instruction ahead, which then runs. */
void make_smc(struct maker *m)
{
	struct rng *rng = &m->rng;
	struct gen_insn *load;
	unsigned victim, i;
	u8 b[16];

	if (m->seq->mode == MODE16)
		return;
	maker_load_reg(m, RBX, 0);
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
	maker_append(m, b, 3);
	i = rng_below(rng, 3);
	while (i--)
		maker_append(m, (const u8 *)"\x01\xc2", 2); /* ADD EDX, EAX */
	victim = m->seq->count;
	b[0] = 0xb8; /* MOV EAX, imm32: the low byte changes */
	memset(b + 1, 0x11, 4);
	maker_append(m, b, 5);
	if (!m->full) {
		load->target = (u8)victim;
	} else {
		load->target = NO_TARGET;
	}
	m->is_known[RAX] = m->is_known[RDX] = false;
}
