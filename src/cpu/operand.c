/* SPDX-License-Identifier: MIT */
/* The register and memory operands of instructions that C executes, APM1 3.2 and APM3 1.4. */
#include "cpu/handlers.h"

static u64 byte_register(const struct cpu *cpu, unsigned reg, bool high)
{
	return (cpu->gpr[reg] >> (high ? 8 : 0)) & 0xff;
}

static void byte_register_set(struct cpu *cpu, unsigned reg, bool high, u64 value)
{
	unsigned shift = high ? 8 : 0;

	cpu->gpr[reg] = (cpu->gpr[reg] & ~(0xffull << shift)) | ((value & 0xff) << shift);
}

int operand_read_rm(struct cpu *cpu, const struct insn *insn, unsigned size, u64 *value)
{
	if (insn->is_mem) {
		*value = 0;
		return cpu_read_seg(cpu, insn->seg, cpu_effective_address(cpu, insn), value, size);
	}
	*value = size == 1 ? byte_register(cpu, insn->rm, insn->rm_high) :
			     gpr_read(cpu, insn->rm, size);
	return 0;
}

int operand_write_rm(struct cpu *cpu, const struct insn *insn, unsigned size, u64 value)
{
	if (insn->is_mem)
		return cpu_write_seg(cpu, insn->seg, cpu_effective_address(cpu, insn), &value, size);
	if (size == 1)
		byte_register_set(cpu, insn->rm, insn->rm_high, value);
	else
		gpr_write(cpu, insn->rm, size, value);
	return 0;
}

u64 operand_read_reg(const struct cpu *cpu, const struct insn *insn, unsigned size)
{
	return size == 1 ? byte_register(cpu, insn->reg, insn->reg_high) :
			   gpr_read(cpu, insn->reg, size);
}

void operand_write_reg(struct cpu *cpu, const struct insn *insn, unsigned size, u64 value)
{
	if (size == 1)
		byte_register_set(cpu, insn->reg, insn->reg_high, value);
	else
		gpr_write(cpu, insn->reg, size, value);
}
