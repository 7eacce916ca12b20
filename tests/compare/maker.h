/* SPDX-License-Identifier: MIT */
/*
 * A sequence while it is made: what is known at its end, and the pieces that put instructions there.
 * Once an instruction does not fit, m->full is set, and it and those behind it are dropped.
 */
#ifndef COMPARE_MAKER_H
#define COMPARE_MAKER_H

#include "compare.h"

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


/* ---- maker.c: values, registers, single instructions ---- */

/* Where operands find the data area: offsets in segments for 16-bit code. */
u64 maker_data_base(const struct maker *m);
unsigned maker_reg_count(const struct maker *m);
u64 interesting_value(struct rng *rng);
/* An address for an operand of so many bytes, most of them in the data area. */
u64 maker_target(struct maker *m, unsigned size);
struct gen_insn *maker_append(struct maker *m, const u8 *bytes, unsigned len);
/* An instruction whose `size` bytes at `at` lead to instruction number `target`. */
struct gen_insn *maker_append_target(struct maker *m, const u8 *bytes, unsigned len, unsigned at,
	unsigned size, unsigned target);
void maker_load_reg(struct maker *m, unsigned reg, u64 value);
void maker_load_stack(struct maker *m);
bool maker_looks_like_pointer(const struct maker *m, unsigned reg);
/* One of the registers in `allowed`, loaded if need be. */
unsigned maker_base_register(struct maker *m, u32 allowed);
unsigned maker_index_register(struct maker *m, u32 allowed);
void maker_forget_written(struct maker *m, const ZydisDecodedInstruction *insn,
	const ZydisDecodedOperand *operands);

/* ---- encode.c: an instruction of a template ---- */

unsigned maker_pick_reg(struct maker *m);
/* False: this template makes none here. */
bool make_template(struct maker *m, const struct template *t);

/* ---- patterns.c: several instructions that belong together ---- */

void make_branch(struct maker *m);
void make_xsave(struct maker *m);
void make_smc(struct maker *m);

#endif
