/* SPDX-License-Identifier: MIT */
/*
 * Instructions on RFLAGS: PUSHF, POPF, CLI, STI, CLD, STD, CLAC, STAC. APM3 at each mnemonic;
 * virtual interrupts by VME and PVI, APM2 8.10 and 10.5. The intercepts of PUSHF and POPF come
 * before their exceptions, APM2 table 15-7.
 */
#include "cpu/descriptor.h"

u64 virtual_flags(const struct cpu *cpu)
{
	u64 rflags = cpu_rflags(cpu) | RFLAGS_IOPL;

	if (rflags & RFLAGS_VIF)
		return rflags | RFLAGS_IF;
	return rflags & ~RFLAGS_IF;
}

/* Who may touch IF: it itself, its virtual image, or nothing (#GP). */
enum if_access { IF_REAL, IF_VIRTUAL, IF_FORBIDDEN };

static enum if_access if_access(const struct cpu *cpu)
{
	if (!(cpu->cr0 & CR0_PE) || cpu->cpl <= cpu_iopl(cpu))
		return IF_REAL;
	if (cpu_v86(cpu))
		return cpu->cr4 & CR4_VME ? IF_VIRTUAL : IF_FORBIDDEN;
	return cpu->cpl == 3 && (cpu->cr4 & CR4_PVI) ? IF_VIRTUAL : IF_FORBIDDEN;
}

int exec_PUSHF(struct cpu *cpu, const struct insn *insn)
{
	u64 rsp = cpu->gpr[RSP];
	u64 image = cpu_rflags(cpu);

	if (cpu_intercepted(cpu, insn, VIRT_PUSHF, 0, 0))
		return OUTCOME_JUMP;
	if (cpu_v86(cpu) && cpu_iopl(cpu) < 3) {
		if (insn->opsize != 2 || !(cpu->cr4 & CR4_VME))
			return cpu_fault_gp0(cpu);
		image = virtual_flags(cpu);
	}
	if (stack_push(cpu, &rsp, image & ~(RFLAGS_VM | RFLAGS_RF), insn->opsize))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	return OUTCOME_NEXT;
}

/* POPF in virtual-8086 mode below IOPL 3: IF goes to VIF, APM2 10.5. */
static int popf_virtual(struct cpu *cpu, const struct insn *insn, u64 *image, u64 *mask)
{
	if (insn->opsize != 2 || !(cpu->cr4 & CR4_VME))
		return cpu_fault_gp0(cpu);
	if ((*image & RFLAGS_TF) || ((*image & RFLAGS_IF) && (cpu->rflags_system & RFLAGS_VIP)))
		return cpu_fault_gp0(cpu);
	*image = (*image & ~RFLAGS_VIF) | (*image & RFLAGS_IF ? RFLAGS_VIF : 0);
	*mask = (*mask & ~(RFLAGS_IF | RFLAGS_IOPL)) | RFLAGS_VIF;
	return 0;
}

/* After RFLAGS changed as a whole: modes and events that hang on it. */
static int flags_changed(struct cpu *cpu, const struct insn *insn, u64 before)
{
	u64 changed = before ^ cpu->rflags_system;
	bool enabled = changed & cpu->rflags_system & RFLAGS_IF;

	if (changed & (RFLAGS_TF | RFLAGS_AC))
		cpu_mode_update(cpu);
	if (enabled)
		cpu_events_unmasked(cpu);
	if (!(changed & (RFLAGS_TF | RFLAGS_AC)) && !enabled)
		return OUTCOME_NEXT;
	return cpu_end_block(cpu, insn);
}

int exec_POPF(struct cpu *cpu, const struct insn *insn)
{
	u64 mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
	u64 before = cpu->rflags_system, rsp = cpu->gpr[RSP], image;

	if (cpu_intercepted(cpu, insn, VIRT_POPF, 0, 0))
		return OUTCOME_JUMP;
	if (stack_pop(cpu, &rsp, &image, insn->opsize))
		return OUTCOME_FAULT;
	if (insn->opsize > 2)
		mask |= RFLAGS_AC | RFLAGS_ID;
	if (cpu->cpl == 0)
		mask |= RFLAGS_IOPL;
	if (!(cpu->cr0 & CR0_PE) || cpu->cpl <= cpu_iopl(cpu))
		mask |= RFLAGS_IF;
	else if (cpu_v86(cpu) && popf_virtual(cpu, insn, &image, &mask))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	/* RF is cleared by every POPF */
	cpu_set_rflags(cpu, (cpu_rflags(cpu) & ~(mask | RFLAGS_RF)) | (image & mask));
	return flags_changed(cpu, insn, before);
}

int exec_CLI(struct cpu *cpu, const struct insn *insn)
{
	switch (if_access(cpu)) {
	case IF_REAL:
		cpu->rflags_system &= ~RFLAGS_IF;
		return OUTCOME_NEXT;
	case IF_VIRTUAL:
		cpu->rflags_system &= ~RFLAGS_VIF;
		return OUTCOME_NEXT;
	default:
		return cpu_fault_gp0(cpu);
	}
}

int exec_STI(struct cpu *cpu, const struct insn *insn)
{
	switch (if_access(cpu)) {
	case IF_REAL:
		if (cpu->rflags_system & RFLAGS_IF)
			return OUTCOME_NEXT;
		cpu->rflags_system |= RFLAGS_IF;
		/* one instruction more without interrupts, so that STI and HLT go together */
		cpu_shadow_begin(cpu, cpu->rip + insn->len, false);
		if (likely(!cpu_events_waiting(cpu)))
			return OUTCOME_NEXT;
		cpu_events_unmasked(cpu);
		return cpu_end_block(cpu, insn);
	case IF_VIRTUAL:
		if (cpu->rflags_system & RFLAGS_VIP)
			return cpu_fault_gp0(cpu);
		cpu->rflags_system |= RFLAGS_VIF;
		return OUTCOME_NEXT;
	default:
		return cpu_fault_gp0(cpu);
	}
}

int exec_CLD(struct cpu *cpu, const struct insn *insn)
{
	cpu->rflags_system &= ~RFLAGS_DF;
	return OUTCOME_NEXT;
}

int exec_STD(struct cpu *cpu, const struct insn *insn)
{
	cpu->rflags_system |= RFLAGS_DF;
	return OUTCOME_NEXT;
}

/* AC decides which context serves accesses. */
static int set_ac(struct cpu *cpu, const struct insn *insn, u64 ac)
{
	u64 before = cpu->rflags_system;

	if (cpu->cpl != 0)
		return cpu_fault(cpu, VEC_UD);
	cpu->rflags_system = (before & ~RFLAGS_AC) | ac;
	return flags_changed(cpu, insn, before);
}

int exec_CLAC(struct cpu *cpu, const struct insn *insn)
{
	return set_ac(cpu, insn, 0);
}

int exec_STAC(struct cpu *cpu, const struct insn *insn)
{
	return set_ac(cpu, insn, RFLAGS_AC);
}
