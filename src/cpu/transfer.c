/* SPDX-License-Identifier: MIT */
/*
 * JMP and CALL (far): to segments, through call gates with their stack switch, and to tasks. APM2
 * 4.11, 4.8.3 (long mode), 12.4 (tasks); APM3 JMP (far), CALL (far).
 */
#include "cpu/descriptor.h"

struct far_pointer {
	u64 offset;
	u16 sel;
};

/* Direct: in the instruction. Indirect: in memory, offset first. */
static int far_operand(struct cpu *cpu, const struct insn *insn, struct far_pointer *to)
{
	unsigned size = insn->opsize;
	u8 image[10];

	if (!insn->is_mem) {
		to->offset = low_bytes(insn->imm, size);
		to->sel = insn->imm2;
		return 0;
	}
	/* AMD has no 64-bit far pointers: REX.W leaves 32 bits to be read */
	if (size == 8 && !cpu_is_intel(cpu))
		size = 4;
	if (cpu_read_words(cpu, insn->seg, cpu_effective_address(cpu, insn), image, size + 2,
		    MIN(size, 4u)))
		return OUTCOME_FAULT;
	to->offset = 0;
	copy_bytes(&to->offset, image, size);
	copy_bytes(&to->sel, image + size, 2);
	return 0;
}

/* CS and the return address onto the current stack, CS above. */
static int push_return(struct cpu *cpu, const struct insn *insn, unsigned size, u64 *rsp)
{
	u64 mask = stack_mask(cpu), top = (*rsp - 2 * size) & mask;
	u64 next = cpu->rip + insn->len;
	u8 image[16] = { 0 };

	copy_bytes(image, &next, size);
	copy_bytes(image + size, &cpu->seg[CS].sel, 2);
	if (cpu_write_words(cpu, SS, top, image, 2 * size, size))
		return OUTCOME_FAULT;
	*rsp = stack_wrap(*rsp, top, mask);
	return 0;
}

static int enter(struct cpu *cpu, const struct segment *cs, u64 rip)
{
	cpu->seg[CS] = *cs;
	cpu->rip = rip;
	cpu_mode_update(cpu);
	return OUTCOME_JUMP;
}

static int transfer_real(struct cpu *cpu, const struct insn *insn, const struct far_pointer *to,
	bool call)
{
	u64 rsp = cpu->gpr[RSP];

	if (to->offset > cpu->seg[CS].limit)
		return cpu_fault_gp0(cpu);
	if (call && push_return(cpu, insn, insn->opsize, &rsp))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	if (cpu_v86(cpu))
		segment_load_v86(cpu, CS, to->sel);
	else
		segment_load_real(cpu, CS, to->sel);
	cpu->rip = to->offset;
	cpu_mode_update(cpu);
	return OUTCOME_JUMP;
}

/* Presence and form of a code segment whose privilege has been checked; loads it at `cpl`. */
static int load_code(struct cpu *cpu, struct descriptor *desc, unsigned cpl, struct segment *cs)
{
	u16 attr = descriptor_attr(desc);

	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, SELECTOR_ERROR(desc->sel));
	/* APM2 4.8.1: L with D is reserved */
	if (cpu_lma(cpu) && (attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(desc->sel));
	if (descriptor_set_accessed(cpu, desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(cs, (desc->sel & ~3) | cpl, desc);
	return 0;
}

/* Straight to a code segment: the level stays, APM2 4.11.2. */
static int transfer_code(struct cpu *cpu, const struct insn *insn, const struct far_pointer *to,
	struct descriptor *desc, bool call)
{
	u16 attr = descriptor_attr(desc);
	unsigned dpl = attr_dpl(attr);
	u64 rsp = cpu->gpr[RSP];
	struct segment cs;

	if (!attr_is_code(attr) ||
	    (attr_is_conforming(attr) ? dpl > cpu->cpl :
					dpl != cpu->cpl || SELECTOR_RPL(to->sel) > cpu->cpl))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(to->sel));
	if (load_code(cpu, desc, cpu->cpl, &cs) || code_target_check(cpu, &cs, to->offset) ||
	    (call && push_return(cpu, insn, insn->opsize, &rsp)))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	return enter(cpu, &cs, to->offset);
}

/* A call gate, taken apart. */
struct call_gate {
	u16 target;
	u64 offset;
	unsigned size;   /* of the words pushed */
	unsigned params; /* to be copied to the inner stack */
};

static int read_gate(struct cpu *cpu, struct descriptor *desc, struct call_gate *gate)
{
	u16 attr = descriptor_attr(desc);
	bool wide = attr_system_type(attr) == SYS_CALL_GATE32;
	u32 error = SELECTOR_ERROR(desc->sel);

	if (attr_dpl(attr) < cpu->cpl || SELECTOR_RPL(desc->sel) > attr_dpl(attr))
		return cpu_fault_code(cpu, VEC_GP, error);
	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, error);
	gate->target = desc->low >> 16;
	gate->offset = (desc->low & 0xffff) | (wide ? (desc->low >> 32) & 0xffff0000 : 0);
	gate->size = wide ? 4 : 2;
	gate->params = (desc->low >> 32) & 0x1f;
	if (cpu_lma(cpu)) {
		if (descriptor_read_high(cpu, VEC_GP, 0, desc))
			return OUTCOME_FAULT;
		gate->offset |= desc->high << 32;
		gate->size = 8;
		gate->params = 0;
	}
	return 0;
}

/* The code segment behind a gate and the level it runs at. */
static int gate_target(struct cpu *cpu, const struct call_gate *gate, bool call, struct segment *cs,
	unsigned *cpl)
{
	u32 error = SELECTOR_ERROR(gate->target);
	struct descriptor desc;
	unsigned dpl;
	u16 attr;

	if (SELECTOR_NULL(gate->target))
		return cpu_fault_gp0(cpu);
	if (descriptor_read(cpu, gate->target, VEC_GP, 0, &desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(&desc);
	dpl = attr_dpl(attr);
	if (!attr_is_code(attr) || dpl > cpu->cpl ||
	    (!call && !attr_is_conforming(attr) && dpl != cpu->cpl))
		return cpu_fault_code(cpu, VEC_GP, error);
	/* long-mode gates lead to 64-bit code: APM2 4.8.3 */
	if (cpu_lma(cpu) && !(attr & SEG_L))
		return cpu_fault_code(cpu, VEC_GP, error);
	*cpl = attr_is_conforming(attr) ? cpu->cpl : dpl;
	return load_code(cpu, &desc, *cpl, cs);
}

static void put_word(u8 *image, unsigned *at, u64 value, unsigned size)
{
	copy_bytes(image + *at, &value, size);
	*at += size;
}

/* The frame of a call to an inner level: RIP, CS, parameters, RSP, SS from low to high. */
static int call_inner(struct cpu *cpu, const struct insn *insn, const struct call_gate *gate,
	struct new_stack *stack)
{
	unsigned size = gate->size, at = 0, params = gate->params * size;
	u8 image[4 * 8 + 31 * 4];

	put_word(image, &at, cpu->rip + insn->len, size);
	put_word(image, &at, cpu->seg[CS].sel, size);
	if (params &&
	    cpu_read_words(cpu, SS, cpu->gpr[RSP] & stack_mask(cpu), image + at, params, size))
		return OUTCOME_FAULT;
	at += params;
	put_word(image, &at, cpu->gpr[RSP], size);
	put_word(image, &at, cpu->seg[SS].sel, size);
	return new_stack_write(cpu, stack, image, at, SELECTOR_ERROR(stack->ss.sel));
}

static int gate_stack(struct cpu *cpu, unsigned cpl, struct new_stack *stack)
{
	if (!cpu_lma(cpu))
		return tss_inner_stack(cpu, cpl, 0, stack);
	*stack = (struct new_stack){
		.ss = { .sel = cpl, .attr = cpl << SEG_DPL_SHIFT },
		.mask = ~0ull, .long64 = true, .cpl = cpl,
	};
	return tss_long_stack(cpu, cpl, 0, 0, &stack->rsp);
}

static int transfer_gate(struct cpu *cpu, const struct insn *insn, struct descriptor *desc,
	bool call)
{
	struct new_stack stack;
	struct call_gate gate;
	struct segment cs;
	unsigned cpl;
	u64 rsp = cpu->gpr[RSP];

	if (read_gate(cpu, desc, &gate) || gate_target(cpu, &gate, call, &cs, &cpl) ||
	    code_target_check(cpu, &cs, gate.offset))
		return OUTCOME_FAULT;
	if (cpl == cpu->cpl) {
		if (call && push_return(cpu, insn, gate.size, &rsp))
			return OUTCOME_FAULT;
		cpu->gpr[RSP] = rsp;
	} else {
		if (gate_stack(cpu, cpl, &stack) || call_inner(cpu, insn, &gate, &stack))
			return OUTCOME_FAULT;
		cpu->gpr[RSP] = stack.rsp;
		cpu->seg[SS] = stack.ss;
		cpu->cpl = cpl;
	}
	return enter(cpu, &cs, gate.offset);
}

static int transfer_task(struct cpu *cpu, const struct insn *insn, const struct descriptor *desc,
	bool call)
{
	u16 attr = descriptor_attr(desc), sel = desc->sel;

	if (attr_dpl(attr) < cpu->cpl || SELECTOR_RPL(sel) > attr_dpl(attr))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	if (attr_system_type(attr) == SYS_TASK_GATE) {
		if (!(attr & SEG_P))
			return cpu_fault_code(cpu, VEC_NP, SELECTOR_ERROR(sel));
		sel = desc->low >> 16;
	}
	return task_switch(cpu, insn, sel, call ? TASK_CALL : TASK_JMP, cpu->rip + insn->len, NULL);
}

static int transfer(struct cpu *cpu, const struct insn *insn, bool call)
{
	struct descriptor desc;
	struct far_pointer to;
	unsigned type;

	if (far_operand(cpu, insn, &to))
		return OUTCOME_FAULT;
	if (!cpu_protected(cpu))
		return transfer_real(cpu, insn, &to, call);
	if (SELECTOR_NULL(to.sel))
		return cpu_fault_gp0(cpu);
	if (descriptor_read(cpu, to.sel, VEC_GP, 0, &desc))
		return OUTCOME_FAULT;
	if (descriptor_attr(&desc) & SEG_S)
		return transfer_code(cpu, insn, &to, &desc, call);
	type = attr_system_type(descriptor_attr(&desc));
	if (type == SYS_CALL_GATE32)
		return transfer_gate(cpu, insn, &desc, call);
	/* the others do not exist in long mode: APM2 table 4-6 */
	if (!cpu_lma(cpu)) {
		if (type == SYS_CALL_GATE16)
			return transfer_gate(cpu, insn, &desc, call);
		if (type == SYS_TASK_GATE || type == SYS_TSS16 || type == SYS_TSS32)
			return transfer_task(cpu, insn, &desc, call);
	}
	return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(to.sel));
}

int exec_JMP_FAR(struct cpu *cpu, const struct insn *insn)
{
	return transfer(cpu, insn, false);
}

int exec_CALL_FAR(struct cpu *cpu, const struct insn *insn)
{
	return transfer(cpu, insn, true);
}
