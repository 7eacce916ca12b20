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
	/* the new top must be writable, though nothing is written there */
	if (cpu_linear(cpu, SS, rsp & mask, size, true, &linear) ||
	    cpu_probe(cpu, linear, size, ACCESS_WRITE))
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

/* In memory DI is lowest and AX highest. */
int exec_PUSHA(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	u64 mask = stack_mask(cpu);
	u64 top = (cpu->gpr[RSP] - 8 * size) & mask;
	u8 image[32];

	for (unsigned i = 0; i < 8; i++)
		copy_bytes(image + i * size, &cpu->gpr[RDI - i], size);
	if (cpu_write_seg(cpu, SS, top, image, 8 * size))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], top, mask);
	return OUTCOME_NEXT;
}

int exec_POPA(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	u64 mask = stack_mask(cpu);
	u8 image[32];

	if (cpu_read_seg(cpu, SS, cpu->gpr[RSP] & mask, image, 8 * size))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 8 * size, mask);
	for (unsigned i = 0; i < 8; i++) {
		u64 word = 0;

		if (RDI - i == RSP)
			continue;
		copy_bytes(&word, image + i * size, size);
		gpr_write(cpu, RDI - i, size, word);
	}
	return OUTCOME_NEXT;
}
