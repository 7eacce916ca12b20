/* SPDX-License-Identifier: MIT */
/*
 * IRET in every mode: APM3 IRET, APM2 8.7.5, 8.8.2 and 8.9.4. It ends the blocking of NMIs even
 * where it faults, APM2 8.2.3; its intercept comes before its exceptions, APM2 table 15-7.
 */
#include "cpu/descriptor.h"

/* What IRET of this operand size may change at this level, but for IF, which see. */
static u64 iret_mask(const struct cpu *cpu, unsigned size)
{
	u64 mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	if (size > 2)
		mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
	if (!(cpu->cr0 & CR0_PE) || cpu->cpl <= cpu_iopl(cpu))
		mask |= RFLAGS_IF;
	if (cpu->cpl == 0) {
		mask |= RFLAGS_IOPL;
		if (size > 2 && (cpu->cr0 & CR0_PE))
			mask |= RFLAGS_VIF | RFLAGS_VIP;
	}
	return mask;
}

/* The last step of every form: flags, modes, and interrupts that may come now. */
static int iret_finish(struct cpu *cpu, u64 image, u64 mask)
{
	u64 rflags = (cpu_rflags(cpu) & ~mask) | (image & mask);

	/* RF is of use to breakpoints alone, see event.c */
	if (likely(!(cpu->dr7 & DR7_ENABLE)))
		rflags &= ~RFLAGS_RF;
	cpu->rf_seen = false;
	cpu_set_rflags(cpu, rflags);
	cpu_mode_update(cpu);
	if (rflags & RFLAGS_IF)
		cpu_events_unmasked(cpu);
	return OUTCOME_JUMP;
}

/* APM2 8.9.4. In 64-bit mode SS:RSP is always popped, in compatibility mode for an outer level. */
static int iret_long(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize, cpl;
	bool wide = cpu_long64(cpu);
	struct segment cs, ss;
	u64 words[5], mask;

	if (cpu->rflags_system & RFLAGS_NT)
		return cpu_fault_gp0(cpu);
	if (stack_peek(cpu, 0, wide ? 5 : 3, size, words) ||
	    return_code_segment(cpu, words[1], &cs))
		return OUTCOME_FAULT;
	cpl = SELECTOR_RPL(cs.sel);
	mask = iret_mask(cpu, size);
	if (!wide && cpl == cpu->cpl) {
		if (code_target_check(cpu, &cs, words[0]))
			return OUTCOME_FAULT;
		cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 3 * size,
			stack_mask(cpu));
	} else {
		if ((!wide && stack_peek(cpu, 3 * size, 2, size, &words[3])) ||
		    return_stack_segment(cpu, words[4], &cs, cpl, &ss) ||
		    code_target_check(cpu, &cs, words[0]))
			return OUTCOME_FAULT;
		cpu->gpr[RSP] = return_stack_pointer(cpu, &cs, &ss, words[3]);
		cpu->seg[SS] = ss;
		if (cpl != cpu->cpl) {
			cpu->cpl = cpl;
			segments_leave_inner(cpu);
		}
	}
	cpu->seg[CS] = cs;
	cpu->rip = words[0];
	return iret_finish(cpu, words[2], mask);
}

/* From level 0 to virtual-8086 mode, APM2 8.8.2. The frame: EIP CS EFLAGS ESP SS ES DS FS GS. */
static int iret_to_v86(struct cpu *cpu)
{
	static const u8 order[] = { SS, ES, DS, FS, GS };
	u64 words[9], mask;

	if (stack_peek(cpu, 0, 9, 4, words))
		return OUTCOME_FAULT;
	if (words[0] > 0xffff)
		return cpu_fault_gp0(cpu);
	mask = iret_mask(cpu, 4) | RFLAGS_VM;
	cpu->gpr[RSP] = words[3];
	segment_load_v86(cpu, CS, words[1]);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		segment_load_v86(cpu, order[i], words[4 + i]);
	cpu->cpl = 3;
	cpu->rip = words[0];
	return iret_finish(cpu, words[2], mask);
}

static int iret_protected(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize, cpl;
	struct segment cs, ss;
	u64 words[3], outer[2], mask;

	if (cpu->rflags_system & RFLAGS_NT) {
		u16 link;

		if (cpu_read(cpu, (u32)cpu->seg[TR].base, &link, 2, ACCESS_READ | ACCESS_SYSTEM))
			return OUTCOME_FAULT;
		return task_switch(cpu, insn, link, TASK_IRET, cpu->rip + insn->len, NULL);
	}
	if (stack_peek(cpu, 0, 3, size, words))
		return OUTCOME_FAULT;
	if (size == 4 && (words[2] & RFLAGS_VM) && cpu->cpl == 0)
		return iret_to_v86(cpu);
	if (return_code_segment(cpu, words[1], &cs))
		return OUTCOME_FAULT;
	cpl = SELECTOR_RPL(cs.sel);
	mask = iret_mask(cpu, size);
	if (cpl == cpu->cpl) {
		if (code_target_check(cpu, &cs, words[0]))
			return OUTCOME_FAULT;
		cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 3 * size,
			stack_mask(cpu));
	} else {
		if (stack_peek(cpu, 3 * size, 2, size, outer) ||
		    return_stack_segment(cpu, outer[1], &cs, cpl, &ss) ||
		    code_target_check(cpu, &cs, words[0]))
			return OUTCOME_FAULT;
		cpu->gpr[RSP] = return_stack_pointer(cpu, &cs, &ss, outer[0]);
		cpu->seg[SS] = ss;
		cpu->cpl = cpl;
		segments_leave_inner(cpu);
	}
	cpu->seg[CS] = cs;
	cpu->rip = words[0];
	return iret_finish(cpu, words[2], mask);
}

/* Within virtual-8086 mode; below IOPL 3 only with VME, IF going to VIF: APM2 10.5. */
static int iret_v86(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	bool virtual = cpu_iopl(cpu) < 3;
	u64 words[3], mask = iret_mask(cpu, size);

	if (virtual && (size != 2 || !(cpu->cr4 & CR4_VME)))
		return cpu_fault_gp0(cpu);
	if (stack_peek(cpu, 0, 3, size, words))
		return OUTCOME_FAULT;
	if (words[0] > cpu->seg[CS].limit)
		return cpu_fault_gp0(cpu);
	if (virtual) {
		if ((words[2] & RFLAGS_TF) ||
		    ((words[2] & RFLAGS_IF) && (cpu->rflags_system & RFLAGS_VIP)))
			return cpu_fault_gp0(cpu);
		words[2] |= words[2] & RFLAGS_IF ? RFLAGS_VIF : 0;
		mask |= RFLAGS_VIF;
	}
	cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 3 * size, stack_mask(cpu));
	segment_load_v86(cpu, CS, words[1]);
	cpu->rip = words[0];
	return iret_finish(cpu, words[2], mask);
}

static int iret_real(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	u64 words[3];

	if (stack_peek(cpu, 0, 3, size, words))
		return OUTCOME_FAULT;
	if (words[0] > cpu->seg[CS].limit)
		return cpu_fault_gp0(cpu);
	cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 3 * size, stack_mask(cpu));
	segment_load_real(cpu, CS, words[1]);
	cpu->rip = words[0];
	return iret_finish(cpu, words[2], iret_mask(cpu, size));
}

static int iret(struct cpu *cpu, const struct insn *insn)
{
	if (likely(cpu_lma(cpu)))
		return iret_long(cpu, insn);
	if (!(cpu->cr0 & CR0_PE))
		return iret_real(cpu, insn);
	return cpu_v86(cpu) ? iret_v86(cpu, insn) : iret_protected(cpu, insn);
}

int exec_IRET(struct cpu *cpu, const struct insn *insn)
{
	if (cpu_intercepted(cpu, insn, VIRT_IRET, 0, 0))
		return OUTCOME_JUMP;
	if (unlikely(cpu->nmi_blocked) && !(cpu->in_guest && cpu->nmi_iret_blind)) {
		int outcome;

		/* also where it faults, SDM3 6.7.1 */
		cpu->nmi_blocked = false;
		cpu->virt_pending |= cpu->in_guest; /* an NMI window may have opened */
		cpu_events_unmasked(cpu);
		outcome = iret(cpu, insn);
		cpu->iret_unblocked = outcome == OUTCOME_FAULT;
		return outcome;
	}
	return iret(cpu, insn);
}
