/* SPDX-License-Identifier: MIT */
/*
 * Decimal adjustments and other instructions that 64-bit mode lacks, so that the host cannot run
 * them: APM3 chapter 3. Flags that the manual leaves undefined are clear, or as the result has them.
 */
#include "cpu/handlers.h"

static u64 flags_of(const struct cpu *cpu)
{
	return aflags_to_rflags(cpu->aflags);
}

static void set_al(struct cpu *cpu, u8 al)
{
	gpr_write(cpu, RAX, 1, al);
}

/* SF, ZF and PF as a byte gives them. */
static u64 result_flags(u8 value)
{
	u64 flags = 0;

	if (value & 0x80)
		flags |= RFLAGS_SF;
	if (!value)
		flags |= RFLAGS_ZF;
	if (!__builtin_parity(value))
		flags |= RFLAGS_PF;
	return flags;
}

static int set_flags(struct cpu *cpu, u64 flags)
{
	cpu->aflags = aflags_from_rflags(flags);
	return OUTCOME_NEXT;
}

/* DAA adds, DAS subtracts: 6 for the low digit, 60h for the high one. */
static int decimal_adjust(struct cpu *cpu, bool add)
{
	u64 old = flags_of(cpu), flags = 0;
	u8 al = cpu->gpr[RAX], result = al;

	if ((al & 15) > 9 || (old & RFLAGS_AF)) {
		flags |= RFLAGS_AF;
		if (add ? al > 0xf9 : al < 6)
			flags |= RFLAGS_CF;
		result += add ? 6 : -6;
	}
	/* DAA's carry of the low digit does not survive a high digit that needs none */
	if (al > 0x99 || (old & RFLAGS_CF)) {
		result += add ? 0x60 : -0x60;
		flags |= RFLAGS_CF;
	} else if (add) {
		flags &= ~RFLAGS_CF;
	}
	set_al(cpu, result);
	return set_flags(cpu, flags | result_flags(result));
}

int exec_DAA(struct cpu *cpu, const struct insn *insn)
{
	return decimal_adjust(cpu, true);
}

int exec_DAS(struct cpu *cpu, const struct insn *insn)
{
	return decimal_adjust(cpu, false);
}

/* AAA and AAS: AX by 106h when the low digit is none, then the high digit of AL goes. */
static int ascii_adjust(struct cpu *cpu, bool add)
{
	u16 ax = cpu->gpr[RAX];
	u64 flags = 0;

	if ((ax & 15) > 9 || (flags_of(cpu) & RFLAGS_AF)) {
		ax += add ? 0x106 : -0x106;
		flags = RFLAGS_AF | RFLAGS_CF;
	}
	ax &= 0xff0f;
	gpr_write(cpu, RAX, 2, ax);
	return set_flags(cpu, flags | result_flags(ax));
}

int exec_AAA(struct cpu *cpu, const struct insn *insn)
{
	return ascii_adjust(cpu, true);
}

int exec_AAS(struct cpu *cpu, const struct insn *insn)
{
	return ascii_adjust(cpu, false);
}

int exec_AAM(struct cpu *cpu, const struct insn *insn)
{
	u8 base = insn->imm, al = cpu->gpr[RAX];

	if (!base)
		return cpu_fault(cpu, VEC_DE);
	gpr_write(cpu, RAX, 2, (al / base) << 8 | al % base);
	return set_flags(cpu, result_flags(al % base));
}

int exec_AAD(struct cpu *cpu, const struct insn *insn)
{
	u8 al = cpu->gpr[RAX], ah = cpu->gpr[RAX] >> 8, result = al + ah * (u8)insn->imm;

	gpr_write(cpu, RAX, 2, result);
	return set_flags(cpu, result_flags(result));
}

int exec_SALC(struct cpu *cpu, const struct insn *insn)
{
	set_al(cpu, flags_of(cpu) & RFLAGS_CF ? 0xff : 0);
	return OUTCOME_NEXT;
}

int exec_XLAT(struct cpu *cpu, const struct insn *insn)
{
	u64 offset = low_bytes(cpu->gpr[RBX] + (u8)cpu->gpr[RAX], insn->addrsize);
	u8 value;

	if (cpu_read_seg(cpu, insn->seg, offset, &value, 1))
		return OUTCOME_FAULT;
	set_al(cpu, value);
	return OUTCOME_NEXT;
}
