/* SPDX-License-Identifier: MIT */
/*
 * Instructions that interrupt: INT n, INT3, INTO, INT1, BOUND, and HLT, which waits for one. APM3
 * at each mnemonic; INT n in virtual-8086 mode with VME's redirection, APM2 10.4.
 */
#include "cpu/descriptor.h"

/*
 * Delivers and leaves cpu->event valid when that faults, so that cpu_deliver_fault() knows during
 * what it came.
 */
static int deliver(struct cpu *cpu, u8 type, u8 vector, u8 insn_len)
{
	cpu->event = (struct event){
		.valid = true, .type = type, .vector = vector, .insn_len = insn_len,
		.by_insn = type == EVENT_EXCEPTION,
	};
	if (cpu_interrupt(cpu, &cpu->event))
		return OUTCOME_FAULT;
	cpu->event.valid = false;
	return OUTCOME_JUMP;
}

/* Whether VME's bitmap sends INT n of virtual-8086 mode to the 8086's own handler. */
static int redirected(struct cpu *cpu, u8 vector, bool *answer)
{
	const struct segment *tr = &cpu->seg[TR];
	u16 io_map = 0;
	u32 at;
	u8 bits = 0;

	*answer = false;
	if (!(cpu->cr4 & CR4_VME))
		return 0;
	if (tr->limit < 0x67)
		return cpu_fault_gp0(cpu);
	if (cpu_read(cpu, (u32)(tr->base + 0x66), &io_map, 2, ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	at = io_map - 32u + vector / 8;
	if (io_map < 32 || at > tr->limit)
		return cpu_fault_gp0(cpu);
	if (cpu_read(cpu, (u32)(tr->base + at), &bits, 1, ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	*answer = !(bits >> (vector & 7) & 1);
	return 0;
}

/* As real mode would, from the table at linear 0; below IOPL 3 IF is VIF. APM2 10.5. */
static int interrupt_8086(struct cpu *cpu, u8 vector, u8 insn_len)
{
	bool virtual = cpu_iopl(cpu) < 3;
	u64 rsp = cpu->gpr[RSP], from = cpu->rip;
	u32 entry = 0;

	if (cpu_read(cpu, vector * 4u, &entry, 4, ACCESS_READ) ||
	    stack_push(cpu, &rsp, virtual ? virtual_flags(cpu) : cpu_rflags(cpu), 2) ||
	    stack_push(cpu, &rsp, cpu->seg[CS].sel, 2) ||
	    stack_push(cpu, &rsp, cpu->rip + insn_len, 2))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	segment_load_v86(cpu, CS, entry >> 16);
	cpu->rip = entry & 0xffff;
	cpu->rflags_system &= ~(RFLAGS_TF | RFLAGS_RF | (virtual ? RFLAGS_VIF : RFLAGS_IF));
	cpu->step_after = false;
	cpu_record_interrupt(cpu, from);
	cpu_mode_update(cpu);
	return OUTCOME_JUMP;
}

int exec_INT(struct cpu *cpu, const struct insn *insn)
{
	u8 vector = insn->imm;
	bool to_8086;

	if (cpu_intercepted(cpu, insn, VIRT_SWINT, vector, 0))
		return OUTCOME_JUMP;
	if (cpu_v86(cpu)) {
		if (redirected(cpu, vector, &to_8086))
			return OUTCOME_FAULT;
		if (to_8086)
			return interrupt_8086(cpu, vector, insn->len);
		if (cpu_iopl(cpu) < 3)
			return cpu_fault_gp0(cpu);
	}
	return deliver(cpu, EVENT_SOFT, vector, insn->len);
}

/* Intercepted as the exceptions they raise, RIP still at the instruction: APM2 15.12.4, 15.12.5. */
static int software_exception(struct cpu *cpu, const struct insn *insn, u8 vector)
{
	if (cpu_intercepted(cpu, insn, VIRT_EXCEPTION, vector, 0))
		return OUTCOME_JUMP;
	return deliver(cpu, EVENT_EXCEPTION, vector, insn->len);
}

int exec_INT3(struct cpu *cpu, const struct insn *insn)
{
	return software_exception(cpu, insn, VEC_BP);
}

int exec_INTO(struct cpu *cpu, const struct insn *insn)
{
	if (cpu_long64(cpu))
		return cpu_fault(cpu, VEC_UD);
	return cpu->aflags & 1 ? software_exception(cpu, insn, VEC_OF) : OUTCOME_NEXT;
}

/* APM3 INT1; it leaves DR6 as it is but ends general detection as every #DB does. */
int exec_INT1(struct cpu *cpu, const struct insn *insn)
{
	if (cpu_intercepted(cpu, insn, VIRT_ICEBP, 0, 0))
		return OUTCOME_JUMP;
	/* what an exit shows of it, RIP and DR6, is the vendor's affair */
	if (cpu_intercepted(cpu, insn, VIRT_EXCEPTION, VEC_DB, 0))
		return OUTCOME_JUMP;
	/* a trap that MOV SS held back is the same #DB */
	cpu->dr6 |= cpu->pending_db;
	cpu->pending_db = 0;
	cpu_debug_raised(cpu);
	return deliver(cpu, EVENT_EXCEPTION, VEC_DB, insn->len);
}

int exec_BOUND(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	i64 index, low, high;
	u32 image[2] = { 0 };

	if (cpu_long64(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu_read_words(cpu, insn->seg, cpu_effective_address(cpu, insn), image, 2 * size, size))
		return OUTCOME_FAULT;
	index = sign_extend(cpu->gpr[insn->reg], size);
	low = sign_extend(image[0], size);
	high = sign_extend(size == 2 ? image[0] >> 16 : image[1], size);
	if (index < low || index > high)
		return cpu_fault(cpu, VEC_BR);
	return OUTCOME_NEXT;
}

int exec_HLT(struct cpu *cpu, const struct insn *insn)
{
	if (cpu->cpl != 0)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_HLT, 0, 0))
		return OUTCOME_JUMP;
	cpu->activity = CPU_HALTED;
	/* what arrived since the last boundary wakes it at once */
	__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_SEQ_CST);
	return cpu_end_block(cpu, insn);
}
