/* SPDX-License-Identifier: MIT */
/*
 * One instruction of enum op, executed in C: the table of handlers, and how a fault is recorded.
 * The handlers themselves stand by subject in the other files of this folder.
 */
#include "cpu/descriptor.h"

#define KVM_ENOSYS 1000

/* VMRUN, VMXON and their kin belong to the virtualization unit; without one they do not exist. */
static int exec_virt(struct cpu *cpu, const struct insn *insn)
{
	/* L1 calls us, who look like KVM: there is no call that we know */
	if (!cpu->in_guest && !cpu->vmx_root && (insn->op == OP_VMMCALL || insn->op == OP_VMCALL)) {
		cpu->gpr[RAX] = 0 - (u64)KVM_ENOSYS;
		return OUTCOME_NEXT;
	}
	int outcome;

	if (!cpu->virt)
		return cpu_fault(cpu, VEC_UD);
	outcome = cpu->virt->execute(cpu, insn);
	/* a VM entry may begin in a shadow */
	if (outcome == OUTCOME_JUMP && cpu->intr_shadow)
		cpu->shadow_rip = cpu->rip;
	return outcome;
}

static int (*const handlers[OP_COUNT])(struct cpu *, const struct insn *) = {
#define OP(name, comment) [OP_##name] = exec_##name,
#define OP_VIRT(name, comment) [OP_##name] = exec_virt,
#include "cpu/ops.def"
#undef OP
};

/* Branches, as DEBUGCTL knows them; interrupts record themselves. */
static bool is_branch(unsigned op)
{
	switch (op) {
	case OP_CALL_NEAR:
	case OP_RET_NEAR:
	case OP_JMP_NEAR:
	case OP_JCC:
	case OP_LOOP:
	case OP_CALL_FAR:
	case OP_RET_FAR:
	case OP_JMP_FAR:
	case OP_IRET:
	case OP_SYSCALL:
	case OP_SYSRET:
	case OP_SYSENTER:
	case OP_SYSEXIT:
		return true;
	default:
		return false;
	}
}

int cpu_exec(struct cpu *cpu, const struct insn *insn)
{
	bool in_guest = cpu->in_guest;
	int outcome;

	if (unlikely(cpu->intr_shadow) && cpu->rip != cpu->shadow_rip)
		cpu_shadow_end(cpu);
	if (likely(!(cpu->mode & MODE_STEP)))
		return handlers[insn->op](cpu, insn);
	outcome = handlers[insn->op](cpu, insn);
	/* an intercept ends in a jump as well */
	if (outcome == OUTCOME_JUMP && is_branch(insn->op) && cpu->in_guest == in_guest)
		cpu->branched = true;
	/* what comes between the steps of one instruction finds RF set: SDM3 18.3.1.1 */
	if (outcome == OUTCOME_AGAIN) {
		cpu->rflags_system |= RFLAGS_RF;
		cpu->rf_seen = false;
	}
	return outcome;
}

void cpu_raise(struct cpu *cpu, u8 vector, bool has_error, u32 error, u64 address)
{
	cpu->fault = (struct fault){
		.kind = FAULT_EXCEPTION, .vector = vector, .has_error = has_error, .error = error,
		.address = address, .linear_valid = vector == VEC_PF,
	};
}

/* Rows that are an exception and nothing else. */

int exec_UD(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault(cpu, VEC_UD);
}

/* Whether the opcode is an x87 instruction's or FWAIT, prefixes passed over. */
static bool is_x87(const struct insn *insn)
{
	for (unsigned i = 0; i < insn->len; i++) {
		u8 byte = insn->bytes[i];

		switch (byte) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64 ... 0x67:
		case 0xf0:
		case 0xf2:
		case 0xf3:
			continue;
		}
		if (insn->code_size == 8 && (byte & 0xf0) == 0x40)
			continue;
		return (byte & 0xf8) == 0xd8 || byte == 0x9b;
	}
	return false;
}

/* With EM set x87 is emulated by #NM, all that came later does not exist: APM2 3.1.1, table 8-7. */
int exec_NM(struct cpu *cpu, const struct insn *insn)
{
	if ((cpu->cr0 & CR0_EM) && !is_x87(insn))
		return cpu_fault(cpu, VEC_UD);
	/* imm: an SSE instruction, to which CR0.EM means #UD, APM2 8.2.7 */
	return cpu_fault(cpu, insn->imm && (cpu->cr0 & CR0_EM) ? VEC_UD : VEC_NM);
}

int exec_GP(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault_gp0(cpu);
}
