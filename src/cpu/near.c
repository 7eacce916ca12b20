/* SPDX-License-Identifier: MIT */
/*
 * Near transfers where segments are not flat, so that targets are checked against CS's limit and
 * stacks go through SS: CALL, RET, JMP, Jcc, LOOP, JCXZ. APM3 at each mnemonic.
 */
#include "cpu/descriptor.h"

/* A target by displacement or operand, cut to the operand size; checked but not yet taken. */
static int near_target(struct cpu *cpu, const struct insn *insn, u64 target, u64 *rip)
{
	*rip = low_bytes(target, insn->opsize);
	return code_target_check(cpu, &cpu->seg[CS], *rip);
}

static u64 relative(const struct cpu *cpu, const struct insn *insn)
{
	return cpu->rip + insn->len + insn->imm;
}

static int jump_relative(struct cpu *cpu, const struct insn *insn)
{
	u64 rip;

	if (near_target(cpu, insn, relative(cpu, insn), &rip))
		return OUTCOME_FAULT;
	cpu->rip = rip;
	return OUTCOME_JUMP;
}

int exec_CALL_NEAR(struct cpu *cpu, const struct insn *insn)
{
	u64 rsp = cpu->gpr[RSP], target = relative(cpu, insn), rip;

	if (insn->opcode != 0xe8 && operand_read_rm(cpu, insn, insn->opsize, &target))
		return OUTCOME_FAULT;
	if (near_target(cpu, insn, target, &rip) ||
	    stack_push(cpu, &rsp, cpu->rip + insn->len, insn->opsize))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	cpu->rip = rip;
	return OUTCOME_JUMP;
}

int exec_RET_NEAR(struct cpu *cpu, const struct insn *insn)
{
	u64 rsp = cpu->gpr[RSP], target, rip;

	if (stack_pop(cpu, &rsp, &target, insn->opsize) || near_target(cpu, insn, target, &rip))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = stack_wrap(rsp, rsp + (insn->imm & 0xffff), stack_mask(cpu));
	cpu->rip = rip;
	return OUTCOME_JUMP;
}

int exec_JMP_NEAR(struct cpu *cpu, const struct insn *insn)
{
	u64 target, rip;

	if (insn->opcode != 0xff)
		return jump_relative(cpu, insn);
	if (operand_read_rm(cpu, insn, insn->opsize, &target) ||
	    near_target(cpu, insn, target, &rip))
		return OUTCOME_FAULT;
	cpu->rip = rip;
	return OUTCOME_JUMP;
}

/* Conditions by the low nibble of the opcode; odd ones negate the one before. */
static bool condition(const struct cpu *cpu, unsigned code)
{
	u64 f = aflags_to_rflags(cpu->aflags);
	bool less = !(f & RFLAGS_SF) != !(f & RFLAGS_OF);
	bool taken;

	switch (code >> 1 & 7) {
	case 0:
		taken = f & RFLAGS_OF;
		break;
	case 1:
		taken = f & RFLAGS_CF;
		break;
	case 2:
		taken = f & RFLAGS_ZF;
		break;
	case 3:
		taken = f & (RFLAGS_CF | RFLAGS_ZF);
		break;
	case 4:
		taken = f & RFLAGS_SF;
		break;
	case 5:
		taken = f & RFLAGS_PF;
		break;
	case 6:
		taken = less;
		break;
	default:
		taken = less || (f & RFLAGS_ZF);
		break;
	}
	return taken != (code & 1);
}

int exec_JCC(struct cpu *cpu, const struct insn *insn)
{
	return condition(cpu, insn->opcode) ? jump_relative(cpu, insn) : OUTCOME_NEXT;
}

int exec_LOOP(struct cpu *cpu, const struct insn *insn)
{
	bool zf = cpu->aflags & (u32)RFLAGS_ZF << 8;
	u64 count = gpr_read(cpu, RCX, insn->addrsize), rip;
	bool jcxz = (insn->opcode & 3) == 3, taken;

	if (!jcxz)
		count = low_bytes(count - 1, insn->addrsize);
	switch (insn->opcode & 3) {
	case 0:
		taken = count && !zf;
		break;
	case 1:
		taken = count && zf;
		break;
	case 2:
		taken = count;
		break;
	default:
		taken = !count;
		break;
	}
	/* the counter is not touched when the target faults */
	if (taken && near_target(cpu, insn, relative(cpu, insn), &rip))
		return OUTCOME_FAULT;
	if (!jcxz)
		gpr_write(cpu, RCX, insn->addrsize, count);
	if (!taken)
		return OUTCOME_NEXT;
	cpu->rip = rip;
	return OUTCOME_JUMP;
}
