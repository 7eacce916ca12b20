/* SPDX-License-Identifier: MIT */
/*
 * The decoded form of an instruction that C executes: system instructions, control transfers of
 * the complicated kind, string instructions. translate/decode.c fills it from Zydis; cpu/ and
 * virt/ execute it. All else the host CPU runs itself.
 */
#ifndef CPU_INSN_H
#define CPU_INSN_H

#include "base/types.h"

enum op {
#define OP(name, comment) OP_##name,
#include "cpu/ops.def"
#undef OP
	OP_COUNT
};

#define INSN_NO_REG 0xff

/* What tells which elements of a vector are accessed. */
enum insn_mask {
	INSN_MASK_NONE,
	INSN_MASK_OPMASK, /* bits of K1 to K7 */
	INSN_MASK_VECTOR, /* the elements' sign bits in a vector register */
};

/* Gathers, scatters and operands under a mask: their elements are accessed one by one. */
struct insn_vector {
	u8 mask_kind, mask; /* register number */
	u8 mask_count;      /* elements that the mask speaks of */
	u8 element;         /* bytes of one in memory */
	u8 count;           /* in memory; fewer than mask_count where it is broadcast */
	bool packed;        /* compress and expand: only those whose bit is set are in memory */
	bool store;         /* scatter */
	u8 reg, index;      /* gathers: registers of the data and of the indices */
	u8 index_size;      /* bytes of an index */
};

struct insn {
	u16 op;        /* enum op */
	u8 len;        /* bytes, 1..15 */
	u8 opsize;     /* effective operand size in bytes: 1, 2, 4, 8 (16..64 for vectors) */
	u8 addrsize;   /* effective address size in bytes: 2, 4, 8 */
	u8 rep;        /* 0, 0xf2 or 0xf3 */
	bool lock;
	bool is_mem;   /* the r/m operand is memory */
	bool any_alignment; /* and is not checked under MODE_ALIGN */
	u8 reg;        /* modrm.reg with REX.R: general, control, debug or segment register */
	u8 rm;         /* modrm.rm with REX.B when !is_mem; opcode's register for short forms */
	bool rm_high;  /* rm is AH, CH, DH or BH: rm holds 0..3, the byte is bits 15:8 */
	bool reg_high; /* the same for reg */
	u8 seg;        /* segment of the memory operand, overrides applied */
	u8 base, index; /* INSN_NO_REG: none */
	u8 scale;      /* 1, 2, 4, 8 */
	u8 modrm_ext;  /* modrm.reg without REX: the opcode's extension */
	u8 code_size;  /* of the mode it was decoded in: 2, 4 or 8 */
	u8 opcode;     /* last opcode byte */
	i64 disp;      /* RIP-relative: base is INSN_NO_REG and rip_relative is set */
	bool rip_relative;
	u64 imm;       /* sign-extended to 64 bits where the manual does; port, vector, selector */
	u16 imm2;      /* selector of a far pointer, nesting level of ENTER */
	struct insn_vector vector;
	u8 bytes[15];  /* as fetched, for decode assists and dumps */
};

/* What executing an instruction came to. */
enum outcome {
	OUTCOME_NEXT,  /* done; the engine advances RIP by len and goes on in the block */
	OUTCOME_JUMP,  /* done; RIP (or the whole world) was set by the instruction */
	OUTCOME_FAULT, /* cpu->fault says what; nothing was committed; the engine delivers it */
	OUTCOME_AGAIN, /* a REP instruction or a gather stopped midway: RIP stays, no fault */
};

#endif
