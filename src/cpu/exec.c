/* SPDX-License-Identifier: MIT */
/*
 * One instruction of enum op, executed in C: the table of handlers, and how each records a fault.
 * The handlers themselves stand by subject in the other files of this folder.
 */
#include "cpu/handlers.h"

/* VMRUN, VMXON and their kin belong to the virtualization unit; without one they do not exist. */
static int exec_virt(struct cpu *cpu, const struct insn *insn)
{
	return cpu->virt ? cpu->virt->execute(cpu, insn) : cpu_fault(cpu, VEC_UD);
}

static int (*const handlers[OP_COUNT])(struct cpu *, const struct insn *) = {
#define OP(name, comment) [OP_##name] = exec_##name,
#define OP_VIRT(name, comment) [OP_##name] = exec_virt,
#include "cpu/ops.def"
#undef OP
};

int cpu_exec(struct cpu *cpu, const struct insn *insn)
{
	return handlers[insn->op](cpu, insn);
}

int cpu_fault(struct cpu *cpu, u8 vector)
{
	cpu->fault = (struct fault){ .kind = FAULT_EXCEPTION, .vector = vector };
	return OUTCOME_FAULT;
}

int cpu_fault_code(struct cpu *cpu, u8 vector, u32 error)
{
	cpu->fault = (struct fault){
		.kind = FAULT_EXCEPTION, .vector = vector, .has_error = true, .error = error,
	};
	return OUTCOME_FAULT;
}

int cpu_fault_page(struct cpu *cpu, u64 address, u32 error)
{
	cpu->fault = (struct fault){
		.kind = FAULT_EXCEPTION, .vector = VEC_PF, .has_error = true, .error = error,
		.address = address, .linear_valid = true,
	};
	return OUTCOME_FAULT;
}

/* Rows that are an exception and nothing else. */

int exec_UD(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault(cpu, VEC_UD);
}

int exec_NM(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault(cpu, VEC_NM);
}

int exec_GP(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault_gp0(cpu);
}
