/* SPDX-License-Identifier: MIT */
/*
 * Decimal adjustments and other instructions that 64-bit mode lacks, so that the host cannot run
 * them: APM3 chapter 3. Flags that the manuals leave undefined come out as the vendor's CPUs have
 * them, and the two differ: on AMD's Zen they are those of the addition that makes the result, on
 * Intel's Xeons (Sapphire Rapids) those of AL at the end, with OF clear. AAM and AAD are the same.
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

/* What an addition or subtraction of that many bits does to PF, ZF, SF and OF. */
static u64 adjust(u32 a, u32 by, bool add, unsigned bits, u32 *result)
{
	u32 sign = BIT(bits - 1), sum = (add ? a + by : a - by) & (2 * sign - 1);
	u64 flags = 0;

	if (sum & sign)
		flags |= RFLAGS_SF;
	if (!sum)
		flags |= RFLAGS_ZF;
	if (!__builtin_parity(sum & 0xff))
		flags |= RFLAGS_PF;
	if ((add ? ~(a ^ by) : a ^ by) & (a ^ sum) & sign)
		flags |= RFLAGS_OF;
	*result = sum;
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
	u8 al = cpu->gpr[RAX], by = 0;
	u32 result;

	if ((al & 15) > 9 || (old & RFLAGS_AF)) {
		by = 6;
		flags |= RFLAGS_AF;
		if (!add && al < 6)
			flags |= RFLAGS_CF;
	}
	if (al > 0x99 || (old & RFLAGS_CF)) {
		by += 0x60;
		flags |= RFLAGS_CF;
	}
	flags |= adjust(al, by, add, 8, &result);
	if (cpu_is_intel(cpu))
		flags &= ~RFLAGS_OF;
	set_al(cpu, result);
	return set_flags(cpu, flags);
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
	u16 ax = cpu->gpr[RAX], by = 0;
	u64 flags = 0, undefined;
	u32 result, al;

	if ((ax & 15) > 9 || (flags_of(cpu) & RFLAGS_AF)) {
		by = 0x106;
		flags = RFLAGS_AF | RFLAGS_CF;
	}
	undefined = adjust(ax, by, add, 16, &result);
	result &= 0xff0f;
	if (cpu_is_intel(cpu))
		undefined = adjust(result & 0xff, 0, true, 8, &al);
	gpr_write(cpu, RAX, 2, result);
	return set_flags(cpu, flags | undefined);
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
	u64 flags;
	u32 low;

	if (!base)
		return cpu_fault(cpu, VEC_DE);
	flags = adjust(al % base, 0, true, 8, &low);
	gpr_write(cpu, RAX, 2, (al / base) << 8 | low);
	return set_flags(cpu, flags);
}

int exec_AAD(struct cpu *cpu, const struct insn *insn)
{
	u8 al = cpu->gpr[RAX], by = (cpu->gpr[RAX] >> 8) * insn->imm;
	u64 flags;
	u32 result;

	flags = adjust(al, by, true, 8, &result);
	if (al + by > 0xff)
		flags |= RFLAGS_CF;
	if ((al & 15) + (by & 15) > 15)
		flags |= RFLAGS_AF;
	gpr_write(cpu, RAX, 2, result);
	return set_flags(cpu, flags);
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
