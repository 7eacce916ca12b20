/* SPDX-License-Identifier: MIT */
/* SWAPGS, and the bases of FS and GS as registers: APM3 chapters 3 and 4, APM2 4.5.3. */
#include "cpu/handlers.h"

int exec_SWAPGS(struct cpu *cpu, const struct insn *insn)
{
	u64 base = cpu->seg[GS].base;

	if (!cpu_long64(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	cpu->seg[GS].base = cpu->kernel_gs_base;
	cpu->kernel_gs_base = base;
	return OUTCOME_NEXT;
}

static int read_base(struct cpu *cpu, const struct insn *insn, unsigned seg)
{
	if (!cpu_long64(cpu) || !(cpu->cr4 & CR4_FSGSBASE))
		return cpu_fault(cpu, VEC_UD);
	gpr_write(cpu, insn->rm, insn->opsize, cpu->seg[seg].base);
	return OUTCOME_NEXT;
}

static int write_base(struct cpu *cpu, const struct insn *insn, unsigned seg)
{
	u64 base = gpr_read(cpu, insn->rm, insn->opsize);

	if (!cpu_long64(cpu) || !(cpu->cr4 & CR4_FSGSBASE))
		return cpu_fault(cpu, VEC_UD);
	if (!is_canonical(base))
		return cpu_fault_gp0(cpu);
	cpu->seg[seg].base = base;
	return OUTCOME_NEXT;
}

int exec_RDFSBASE(struct cpu *cpu, const struct insn *insn)
{
	return read_base(cpu, insn, FS);
}

int exec_RDGSBASE(struct cpu *cpu, const struct insn *insn)
{
	return read_base(cpu, insn, GS);
}

int exec_WRFSBASE(struct cpu *cpu, const struct insn *insn)
{
	return write_base(cpu, insn, FS);
}

int exec_WRGSBASE(struct cpu *cpu, const struct insn *insn)
{
	return write_base(cpu, insn, GS);
}
