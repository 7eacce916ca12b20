/* SPDX-License-Identifier: MIT */
/* ENTER, LEAVE, PUSHA, POPA: APM3 at each mnemonic. */
#include "cpu/descriptor.h"

int exec_ENTER(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize, level = insn->imm2 & 31;
	u64 mask = stack_mask(cpu), rsp = cpu->gpr[RSP], rbp = cpu->gpr[RBP];
	u64 frame, word, linear;

	if (stack_push(cpu, &rsp, rbp, size))
		return OUTCOME_FAULT;
	frame = rsp;
	for (unsigned i = 1; i < level; i++) {
		rbp -= size;
		word = 0;
		if (cpu_read_seg(cpu, SS, rbp & mask, &word, size) ||
		    stack_push(cpu, &rsp, word, size))
			return OUTCOME_FAULT;
	}
	if (level && stack_push(cpu, &rsp, frame, size))
		return OUTCOME_FAULT;
	rsp = stack_wrap(rsp, rsp - (insn->imm & 0xffff), mask);
	/* the new top must be aligned and writable, though nothing is written there */
	if (cpu_linear(cpu, SS, rsp & mask, size, true, &linear) ||
	    cpu_check_aligned(cpu, linear, size) || cpu_probe(cpu, linear, size, ACCESS_WRITE))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	gpr_write(cpu, RBP, size, frame);
	return OUTCOME_NEXT;
}

int exec_LEAVE(struct cpu *cpu, const struct insn *insn)
{
	u64 mask = stack_mask(cpu), word;
	u64 rsp = stack_wrap(cpu->gpr[RSP], cpu->gpr[RBP], mask);

	if (stack_pop(cpu, &rsp, &word, insn->opsize))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	gpr_write(cpu, RBP, insn->opsize, word);
	return OUTCOME_NEXT;
}

/*
 * AX goes first, so that it is highest in memory. What was pushed or popped before a fault stays
 * so, as on AMD's CPUs; RSP moves at the end.
 */
int exec_PUSHA(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	u64 mask = stack_mask(cpu);

	for (unsigned reg = RAX; reg <= RDI; reg++)
		if (cpu_write_seg(cpu, SS, (cpu->gpr[RSP] - (reg + 1) * size) & mask,
			    &cpu->gpr[reg], size))
			return OUTCOME_FAULT;
	cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] - 8 * size, mask);
	return OUTCOME_NEXT;
}

int exec_POPA(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	u64 mask = stack_mask(cpu);

	for (unsigned i = 0; i < 8; i++) {
		u64 word = 0;

		if (cpu_read_seg(cpu, SS, (cpu->gpr[RSP] + i * size) & mask, &word, size))
			return OUTCOME_FAULT;
		if (RDI - i != RSP)
			gpr_write(cpu, RDI - i, size, word);
	}
	cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 8 * size, mask);
	return OUTCOME_NEXT;
}
