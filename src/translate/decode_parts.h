/* SPDX-License-Identifier: MIT */
/* What decode.c and its parts, opcodes.c and vectors.c, share. */
#ifndef TRANSLATE_DECODE_PARTS_H
#define TRANSLATE_DECODE_PARTS_H

#include <Zydis/Zydis.h>

#include "translate/decode.h"

/* ---- opcodes.c ---- */
/* The enum op of an instruction that C executes; -1: it does not, or the mnemonic does not tell. */
int op_of_mnemonic(ZydisMnemonic mnemonic);
bool op_ends_block(unsigned op, unsigned code_size);

/* Which state an instruction set works on, and which sets this CPU never has. */
enum fpu_need { NEED_NONE, NEED_X87, NEED_SSE, NEED_AVX, NEED_AVX512, NEED_ABSENT };
enum fpu_need need_of_isa(ZydisISASet isa);
/* CPUID's word on the sets that not every host has. */
bool cpu_offers(const struct cpu *cpu, ZydisISASet isa);

/* ---- vectors.c ---- */
void set_gather(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops);
/* Finds out which mask says what of the memory operand is accessed. */
void set_mask(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops);
/* Which alignment the memory operand must have. */
void find_alignment(const struct cpu *cpu, struct guest_insn *g, const ZydisDecodedInstruction *z);

/* ---- decode.c ---- */
void set_exec(struct guest_insn *g, unsigned op);

#endif
