/* SPDX-License-Identifier: MIT */
/*
 * The arithmetic flags. They live in the host's flags between guest instructions; the translator's
 * own checks clobber those, so where flags are live across a check they go to cpu->aflags first
 * (LAHF and SETO) and come back only when an instruction needs them there.
 *
 * At a fault, flags that the program overwrites before it reads them may not be what the last
 * instruction left; see docs/engine.md. The same where a store changes instructions ahead in its
 * block, so that they read flags that those translated overwrote.
 */
#include "translate/translate.h"

void flags_save(struct translator *t)
{
	struct emitter *e = &t->e;

	if (!t->flags_in_host)
		return;
	mov_rr(e, R10, RAX);
	put8(e, 0x9f); /* lahf */
	put8(e, 0x0f); /* seto al */
	put8(e, 0x90);
	put8(e, 0xc0);
	put8(e, 0x66);
	store_gs32(e, RAX, CPU_OFFSET(aflags));
	mov_rr(e, RAX, R10);
	t->flags_in_host = false;
}

static void load_into_host(struct emitter *e)
{
	load_gs32(e, RAX, CPU_OFFSET(aflags));
	put8(e, 0x04); /* add al, 7fh: OF from AL's 0 or 1 */
	put8(e, 0x7f);
	put8(e, 0x9e); /* sahf */
}

void flags_load(struct translator *t)
{
	struct emitter *e = &t->e;

	if (t->flags_in_host)
		return;
	mov_rr(e, R10, RAX);
	load_into_host(e);
	mov_rr(e, RAX, R10);
	t->flags_in_host = true;
}

/* The same where R10 holds an operand of the instruction. */
static void load_keeping_r10(struct translator *t)
{
	struct emitter *e = &t->e;

	if (t->flags_in_host)
		return;
	store_gs(e, RAX, SCRATCH(2));
	load_into_host(e);
	load_gs(e, RAX, SCRATCH(2));
	t->flags_in_host = true;
}

void flags_guard(struct translator *t, unsigned i)
{
	if (t->live_in[i])
		flags_save(t);
	t->flags_in_host = false;
}

void flags_before(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insns[i];
	u32 needed = g->flags_read;

	if (g->flags_written)
		needed |= t->live_after[i] & ~g->flags_written;
	if (!needed)
		return;
	if (g->kind == KIND_PLAIN && !(g->gpr_used & (1u << R10 | 1u << R11)))
		flags_load(t);
	else
		load_keeping_r10(t);
}

/* Whether an instruction goes through flags_guard() before it is executed, or leaves the block. */
static bool is_guarded(const struct guest_insn *g)
{
	switch (g->kind) {
	case KIND_PLAIN:
		return g->insn.is_mem;
	case KIND_NOP:
	case KIND_LEA:
	case KIND_JCC:
	case KIND_LOOP:
		return false;
	default:
		return true;
	}
}

bool flags_guarded_first(const struct translator *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		const struct guest_insn *g = &t->insns[i];

		if (is_guarded(g))
			return true;
		if (g->kind == KIND_JCC || g->flags_read || g->flags_written)
			return false;
	}
	return true;
}

void flags_after(struct translator *t, unsigned i)
{
	if (t->insns[i].flags_written)
		t->flags_in_host = true;
}

void flags_liveness(struct translator *t)
{
	u32 live = RFLAGS_ARITH;

	for (unsigned i = t->count; i-- > 0;) {
		const struct guest_insn *g = &t->insns[i];

		t->live_after[i] = live;
		/* C and what follows a taken branch may read them all. */
		if (g->kind == KIND_EXEC || g->kind == KIND_JCC || g->kind == KIND_LOOP ||
			g->kind == KIND_GATHER)
			live = RFLAGS_ARITH;
		else
			live = (live & ~g->flags_written) | g->flags_read;
		t->live_in[i] = live;
	}
}
