/* SPDX-License-Identifier: MIT */
/*
 * A guest instruction as the translator sees it: what Zydis says of it, reduced to what emission
 * needs. Instructions that C executes carry the struct insn of cpu/insn.h.
 */
#ifndef TRANSLATE_DECODE_H
#define TRANSLATE_DECODE_H

#include "cpu/cpu.h"
#include "cpu/insn.h"

/* How an instruction is translated. */
enum guest_kind {
	KIND_PLAIN,   /* the host runs it as it is, its memory operand redirected */
	KIND_EXEC,    /* C runs it: insn.op */
	KIND_NOP,     /* nothing to do: prefetches, hints */
	KIND_LEA,
	KIND_PUSH,    /* register, immediate or memory */
	KIND_POP,
	KIND_LEAVE,
	KIND_CALL,    /* near, relative or indirect */
	KIND_RET,
	KIND_JMP,
	KIND_JCC,
	KIND_LOOP,    /* LOOP, LOOPE, LOOPNE, JCXZ */
	KIND_BIT,     /* BT, BTS, BTR, BTC with memory and register index */
	KIND_MASKMOV, /* MASKMOVQ, MASKMOVDQU: memory at (R)DI */
	KIND_GATHER,  /* many addresses: becomes KIND_EXEC once the CPU is known to have it */
};

enum { ENCODING_LEGACY, ENCODING_VEX, ENCODING_EVEX };

/* Places in an encoding that name a general register. */
enum { SLOT_REG, SLOT_RM, SLOT_VVVV, SLOT_OPCODE, SLOT_COUNT };

struct guest_insn {
	struct insn insn;
	u16 offset;       /* in its page */
	u8 kind;
	bool ends_block;
	bool relative;    /* branch by displacement (insn.imm) */
	bool mem_read, mem_write;
	bool masked;      /* the memory operand is accessed under a mask */
	u16 mem_size;     /* bytes */
	u8 align;         /* what the memory operand must be aligned to, else #GP(0); 0: nothing */
	bool waits;       /* a pending x87 exception comes before its memory operand */
	bool align_waived; /* MXCSR.MM waives that, where the CPU has it */
	u8 slot[SLOT_COUNT]; /* general register numbers; INSN_NO_REG: none */
	bool high_byte;   /* an operand is AH, CH, DH or BH */
	u32 flags_read, flags_written; /* of RFLAGS_ARITH; written: surely overwritten */
	u16 gpr_used, gpr_written; /* masks; hidden operands included */
	/* the encoding */
	u8 encoding;      /* ENCODING_* */
	bool vector;      /* MMX, SSE and later: 66 is part of the opcode, not the operand size */
	bool w_ignored;   /* VEX.W or EVEX.W, outside 64-bit mode */
	bool imm_is_register; /* its upper half names one */
	bool has_modrm;
	bool prefix_66, prefix_lock;
	u8 prefix_rep;    /* f2, f3 or 0 */
	u8 rex;           /* 0: none */
	u8 opcode_at, modrm_at, imm_at, imm_len; /* offsets in bytes[] */
};

struct decoder;

/* mode: MODE_*, the block's. bytes: at least `available` of them. 0; -1: more bytes are needed
 * than available (the instruction crosses into the next page). An instruction that the guest's
 * CPU does not have decodes as OP_UD. */
int decode_guest(const struct cpu *cpu, u32 mode, const u8 *bytes, unsigned available,
	struct guest_insn *out);

#endif
