/* SPDX-License-Identifier: MIT */
/*
 * The assembler of the translator: one function an instruction form, each appends bytes. Only the
 * forms that translated code needs around the guest's own instructions; the guest's are re-encoded
 * in reencode.c. `gs` forms reach struct cpu and the TLB, which every context block maps.
 */
#ifndef TRANSLATE_EMIT_H
#define TRANSLATE_EMIT_H

#include <string.h>

#include "base/types.h"
#include "x86/regs.h"

/* A growing piece of code. `at` is in the writable view; `exec_delta` added gives the address at
 * which it will run. Running past `end` only sets overflow; the translator checks once a block. */
struct emitter {
	u8 *at, *end;
	bool overflow;
	i64 exec_delta;
};

static inline void put8(struct emitter *e, u8 byte)
{
	if (likely(e->at < e->end))
		*e->at++ = byte;
	else
		e->overflow = true;
}

static inline void put_bytes(struct emitter *e, const void *bytes, unsigned len)
{
	if (unlikely(e->at + len > e->end)) {
		e->overflow = true;
		return;
	}
	memcpy(e->at, bytes, len);
	e->at += len;
}

static inline void put16(struct emitter *e, u16 value)
{
	put_bytes(e, &value, 2);
}

static inline void put32(struct emitter *e, u32 value)
{
	put_bytes(e, &value, 4);
}

static inline void put64(struct emitter *e, u64 value)
{
	put_bytes(e, &value, 8);
}

static inline void align8(struct emitter *e)
{
	while ((u64)e->at & 7 && !e->overflow)
		put8(e, 0xcc);
}

/* To the next multiple of 64 by NOPs of up to 11 bytes, SDM2 "NOP": 0F 1F /0 with a displacement of four. */
static inline void align64(struct emitter *e)
{
	static const u8 nop8[] = { 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 };
	unsigned room;

	while ((room = -(u64)e->at & 63) && !e->overflow) {
		bool is_long = room >= sizeof(nop8);

		for (unsigned i = MIN(room - (is_long ? sizeof(nop8) : 1), 3); i; i--)
			put8(e, 0x66);
		if (is_long)
			put_bytes(e, nop8, sizeof(nop8));
		else
			put8(e, 0x90);
	}
}

/* Operation with a general register and gs:[offset]: [65] REX op modrm sib disp32. */
static inline void put_gs(struct emitter *e, bool wide, u8 opcode, unsigned reg, u32 offset)
{
	u8 rex = 0x40 | (wide ? 8 : 0) | (reg & 8 ? 4 : 0);

	put8(e, 0x65);
	if (rex != 0x40)
		put8(e, rex);
	put8(e, opcode);
	put8(e, 0x04 | (reg & 7) << 3);
	put8(e, 0x25);
	put32(e, offset);
}

/* The same of a two-byte opcode, 0F op, on 32 bits. */
static inline void put_gs_0f(struct emitter *e, u8 opcode, unsigned reg, u32 offset)
{
	put8(e, 0x65);
	put8(e, 0x0f);
	put8(e, opcode);
	put8(e, 0x04 | (reg & 7) << 3);
	put8(e, 0x25);
	put32(e, offset);
}

static inline void load_gs(struct emitter *e, unsigned reg, u32 offset)
{
	put_gs(e, true, 0x8b, reg, offset);
}

static inline void load_gs32(struct emitter *e, unsigned reg, u32 offset)
{
	put_gs(e, false, 0x8b, reg, offset);
}

static inline void store_gs(struct emitter *e, unsigned reg, u32 offset)
{
	put_gs(e, true, 0x89, reg, offset);
}

static inline void store_gs32(struct emitter *e, unsigned reg, u32 offset)
{
	put_gs(e, false, 0x89, reg, offset);
}

static inline void add_gs(struct emitter *e, unsigned reg, u32 offset)
{
	put_gs(e, true, 0x03, reg, offset);
}

static inline void jmp_gs(struct emitter *e, u32 offset)
{
	put_gs(e, false, 0xff, 4, offset);
}

static inline void mov_gs_imm32(struct emitter *e, u32 offset, u32 value)
{
	put_gs(e, false, 0xc7, 0, offset);
	put32(e, value);
}

/* cmp dword gs:[offset], imm8 / imm32 */
static inline void cmp_gs_imm8(struct emitter *e, u32 offset, i8 value)
{
	put_gs(e, false, 0x83, 7, offset);
	put8(e, value);
}

static inline void cmp_gs_imm32(struct emitter *e, u32 offset, u32 value)
{
	put_gs(e, false, 0x81, 7, offset);
	put32(e, value);
}


/* A 32- or 64-bit operation between two registers: op r/m=to, reg=from. */
static inline void put_rr(struct emitter *e, bool wide, u8 opcode, unsigned to, unsigned from)
{
	u8 rex = 0x40 | (wide ? 8 : 0) | (from & 8 ? 4 : 0) | (to & 8 ? 1 : 0);

	if (rex != 0x40)
		put8(e, rex);
	put8(e, opcode);
	put8(e, 0xc0 | (from & 7) << 3 | (to & 7));
}

static inline void mov_rr(struct emitter *e, unsigned to, unsigned from)
{
	put_rr(e, true, 0x89, to, from);
}

static inline void mov_rr32(struct emitter *e, unsigned to, unsigned from)
{
	put_rr(e, false, 0x89, to, from);
}

/* Group 1 and shift operations with an immediate: ext is the opcode extension. */
static inline void alu_imm32(struct emitter *e, bool wide, unsigned ext, unsigned reg, u32 value)
{
	u8 rex = 0x40 | (wide ? 8 : 0) | (reg & 8 ? 1 : 0);

	if (rex != 0x40)
		put8(e, rex);
	put8(e, 0x81);
	put8(e, 0xc0 | ext << 3 | (reg & 7));
	put32(e, value);
}

static inline void and_imm32(struct emitter *e, unsigned reg, u32 value)
{
	alu_imm32(e, false, 4, reg, value);
}

static inline void cmp_imm32(struct emitter *e, unsigned reg, u32 value)
{
	alu_imm32(e, true, 7, reg, value);
}

static inline void shift_imm(struct emitter *e, bool wide, unsigned ext, unsigned reg, u8 count)
{
	u8 rex = 0x40 | (wide ? 8 : 0) | (reg & 8 ? 1 : 0);

	if (rex != 0x40)
		put8(e, rex);
	put8(e, 0xc1);
	put8(e, 0xc0 | ext << 3 | (reg & 7));
	put8(e, count);
}

/* BMI2's rotate right of 32 bits: the flags stay */
static inline void rorx32(struct emitter *e, unsigned to, unsigned from, u8 count)
{
	put8(e, 0xc4);
	put8(e, 0x43 | (to & 8 ? 0 : 0x80) | (from & 8 ? 0 : 0x20));
	put8(e, 0x7b);
	put8(e, 0xf0);
	put8(e, 0xc0 | (to & 7) << 3 | (from & 7));
	put8(e, count);
}

static inline void mov_imm32(struct emitter *e, unsigned reg, u32 value)
{
	if (reg & 8)
		put8(e, 0x41);
	put8(e, 0xb8 | (reg & 7));
	put32(e, value);
}

/* mov reg, value in its shortest form that leaves the flags alone */
static inline void mov_imm64(struct emitter *e, unsigned reg, u64 value)
{
	if (value == (u32)value) {
		mov_imm32(e, reg, value);
		return;
	}
	put8(e, 0x48 | (reg & 8 ? 1 : 0));
	if (value == (u64)(i64)(i32)value) {
		put8(e, 0xc7);
		put8(e, 0xc0 | (reg & 7));
		put32(e, value);
	} else {
		put8(e, 0xb8 | (reg & 7));
		put64(e, value);
	}
}

#define NO_INDEX 4
/*
 * modrm, sib and displacement of [base + index * scale + disp] with reg in modrm.reg. base may be
 * INSN-style 0xff for none; index NO_INDEX for none. REX bits are the caller's.
 */
static inline void put_address(struct emitter *e, unsigned reg, unsigned base, unsigned index,
	unsigned scale_log, i32 disp)
{
	bool sib = base == 0xff || index != NO_INDEX || (base & 7) == 4;
	unsigned mod;

	if (base == 0xff)
		mod = 0;
	else if (disp == 0 && (base & 7) != 5)
		mod = 0;
	else if (disp >= -128 && disp < 128)
		mod = 1;
	else
		mod = 2;
	put8(e, mod << 6 | (reg & 7) << 3 | (sib ? 4 : (base & 7)));
	if (sib)
		put8(e, scale_log << 6 | (index & 7) << 3 | (base == 0xff ? 5 : (base & 7)));
	if (base == 0xff || mod == 2)
		put32(e, disp);
	else if (mod == 1)
		put8(e, disp);
}

static inline void put_mem(struct emitter *e, bool wide, u8 opcode, unsigned reg, unsigned base,
	unsigned index, unsigned scale_log, i32 disp)
{
	u8 rex = 0x40 | (wide ? 8 : 0) | (reg & 8 ? 4 : 0);

	if (index != NO_INDEX && index & 8)
		rex |= 2;
	if (base != 0xff && base & 8)
		rex |= 1;
	if (rex != 0x40)
		put8(e, rex);
	put8(e, opcode);
	put_address(e, reg, base, index, scale_log, disp);
}

/* Operation with a general register and gs:[r10 + offset]. */
static inline void put_gs_r10(struct emitter *e, u8 opcode, unsigned reg, u32 offset)
{
	put8(e, 0x65);
	put_mem(e, true, opcode, reg, R10, NO_INDEX, 0, (i32)offset);
}

static inline void lea(struct emitter *e, bool wide, unsigned reg, unsigned base, i32 disp)
{
	put_mem(e, wide, 0x8d, reg, base, NO_INDEX, 0, disp);
}

/* Jumps: each returns where its rel32 stands, for patch_rel32(). */
static inline u8 *jmp_rel32(struct emitter *e)
{
	put8(e, 0xe9);
	put32(e, 0);
	return e->at - 4;
}

static inline u8 *jcc_rel32(struct emitter *e, unsigned condition)
{
	put8(e, 0x0f);
	put8(e, 0x80 | condition);
	put32(e, 0);
	return e->at - 4;
}

static inline void patch_rel32(u8 *field, const u8 *target)
{
	i32 distance = (i32)(target - (field + 4));

	memcpy(field, &distance, 4);
}

/* The same for a jump over a few bytes, which patch_rel8() lets lead to where code goes on. */
static inline u8 *jmp_rel8(struct emitter *e)
{
	put8(e, 0xeb);
	put8(e, 0);
	return e->at - 1;
}

static inline u8 *jcc_rel8(struct emitter *e, unsigned condition)
{
	put8(e, 0x70 | condition);
	put8(e, 0);
	return e->at - 1;
}

static inline void patch_rel8(struct emitter *e, u8 *field)
{
	if (!e->overflow)
		*field = e->at - (field + 1);
}

/* Conditions, as the low nibble of Jcc. */
enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE,
	CC_LE, CC_G };

#endif
