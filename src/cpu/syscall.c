/* SPDX-License-Identifier: MIT */
/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT: APM2 6.1, APM3 and SDM2 at each mnemonic, where the vendors
 * differ. AMD has SYSCALL in every mode but no SYSENTER in long mode; Intel has SYSCALL in 64-bit
 * mode only and SYSENTER everywhere.
 */
#include "cpu/descriptor.h"

#define FLAT_CODE (SEG_P | SEG_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED | SEG_G)
#define FLAT_DATA (SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB)

/* The pair of fixed segments that all four load: nothing is read from the tables. */
static void load_flat(struct cpu *cpu, u16 cs, u16 ss, unsigned cpl, bool wide)
{
	u16 dpl = cpl << SEG_DPL_SHIFT;

	cpu->seg[CS] = (struct segment){
		.sel = cs, .limit = 0xffffffff, .attr = FLAT_CODE | dpl | (wide ? SEG_L : SEG_DB),
	};
	cpu->seg[SS] = (struct segment){ .sel = ss, .limit = 0xffffffff, .attr = FLAT_DATA | dpl };
	cpu->cpl = cpl;
}

/* A single step after SYSCALL, SYSENTER and SYSRET follows TF as it is now, not as it was. */
static int flags_loaded(struct cpu *cpu)
{
	cpu->step_after = cpu->rflags_system & RFLAGS_TF;
	cpu_mode_update(cpu);
	if (cpu->rflags_system & RFLAGS_IF)
		cpu_events_unmasked(cpu);
	return OUTCOME_JUMP;
}

int exec_SYSCALL(struct cpu *cpu, const struct insn *insn)
{
	u64 rflags = cpu_rflags(cpu) & ~RFLAGS_RF;
	u16 sel = (cpu->star >> 32) & 0xfffc;

	if (!(cpu->efer & EFER_SCE))
		return cpu_fault(cpu, VEC_UD);
	if (unlikely(!cpu_long64(cpu)) && cpu_is_intel(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (likely(cpu_lma(cpu))) {
		cpu->gpr[RCX] = cpu->rip + insn->len;
		cpu->gpr[R11] = rflags;
		cpu->rip = cpu_long64(cpu) ? cpu->lstar : cpu->cstar;
		cpu_set_rflags(cpu, rflags & ~cpu->sfmask);
		load_flat(cpu, sel, sel + 8, 0, true);
		return flags_loaded(cpu);
	}
	cpu->gpr[RCX] = (u32)(cpu->rip + insn->len);
	cpu->rip = (u32)cpu->star;
	cpu->rflags_system &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
	load_flat(cpu, sel, sel + 8, 0, false);
	return flags_loaded(cpu);
}

int exec_SYSRET(struct cpu *cpu, const struct insn *insn)
{
	u16 sel = cpu->star >> 48;
	bool wide = insn->opsize == 8;

	if (!(cpu->efer & EFER_SCE) || !cpu_protected(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (unlikely(!cpu_long64(cpu)) && cpu_is_intel(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl != 0)
		return cpu_fault_gp0(cpu);
	/* SDM2 SYSRET: Intel faults here at level 0, AMD at the target at level 3 */
	if (wide && unlikely(!is_canonical(cpu->gpr[RCX])) && cpu_is_intel(cpu))
		return cpu_fault_gp0(cpu);
	cpu->rip = wide ? cpu->gpr[RCX] : (u32)cpu->gpr[RCX];
	load_flat(cpu, (wide ? sel + 16 : sel) | 3, (sel + 8) | 3, 3, wide);
	if (likely(cpu_lma(cpu)))
		cpu_set_rflags(cpu, cpu->gpr[R11] & ~(RFLAGS_RF | RFLAGS_VM));
	else
		cpu->rflags_system |= RFLAGS_IF;
	return flags_loaded(cpu);
}

int exec_SYSENTER(struct cpu *cpu, const struct insn *insn)
{
	u16 sel = cpu->sysenter_cs & 0xfffc;
	bool lma = cpu_lma(cpu);

	if (lma && !cpu_is_intel(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (!(cpu->cr0 & CR0_PE) || !sel)
		return cpu_fault_gp0(cpu);
	cpu->rflags_system &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
	load_flat(cpu, sel, sel + 8, 0, lma);
	cpu->gpr[RSP] = lma ? cpu->sysenter_esp : (u32)cpu->sysenter_esp;
	cpu->rip = lma ? cpu->sysenter_eip : (u32)cpu->sysenter_eip;
	return flags_loaded(cpu);
}

int exec_SYSEXIT(struct cpu *cpu, const struct insn *insn)
{
	u16 sel = cpu->sysenter_cs & 0xfffc;
	bool wide = insn->opsize == 8;
	u64 rip = cpu->gpr[RDX], rsp = cpu->gpr[RCX];

	if (cpu_lma(cpu) && !cpu_is_intel(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (!cpu_protected(cpu) || cpu->cpl != 0 || !sel)
		return cpu_fault_gp0(cpu);
	if (wide && (!is_canonical(rip) || !is_canonical(rsp)))
		return cpu_fault_gp0(cpu);
	load_flat(cpu, (sel + (wide ? 32 : 16)) | 3, (sel + (wide ? 40 : 24)) | 3, 3, wide);
	cpu->rip = wide ? rip : (u32)rip;
	cpu->gpr[RSP] = wide ? rsp : (u32)rsp;
	cpu_mode_update(cpu);
	return OUTCOME_JUMP;
}
