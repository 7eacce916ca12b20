/* SPDX-License-Identifier: MIT */
/*
 * Interrupts and exceptions through the IDT: gates, inner stacks and frames of real mode (APM2
 * 8.6), protected mode (8.7), virtual-8086 mode (8.8) and long mode (8.9). Which event is due and
 * what becomes of faults on the way is event.c's.
 */
#include "cpu/descriptor.h"
#include "cpu/tlb.h"

/* INT n, INT3 and INTO obey the gate's DPL and set no EXT in error codes, APM2 8.4.1, 8.7.1. */
static bool is_software(const struct event *event)
{
	return event->type == EVENT_SOFT ||
	       (event->by_insn && event->type == EVENT_EXCEPTION && event->vector != VEC_DB);
}

/* RF is set in the frames of faults, so that a breakpoint on the instruction is passed: 13.1.3. */
static u64 frame_rflags(const struct cpu *cpu, const struct event *event)
{
	u64 rflags = cpu_rflags(cpu);

	if (event->type == EVENT_EXCEPTION && !event->by_insn && event->vector != VEC_DB)
		rflags |= RFLAGS_RF;
	return rflags;
}

static int gate_fault(struct cpu *cpu, u8 vector, const struct event *event, u32 ext)
{
	return cpu_fault_code(cpu, vector, event->vector * 8u | ERROR_IDT | ext);
}

/* Privilege and presence of a gate. */
static int gate_check(struct cpu *cpu, u16 attr, const struct event *event, u32 ext)
{
	if (is_software(event) && attr_dpl(attr) < cpu->cpl)
		return gate_fault(cpu, VEC_GP, event, ext);
	if (!(attr & SEG_P))
		return gate_fault(cpu, VEC_NP, event, ext);
	return 0;
}

/* Reads and checks the handler's code segment; *cpl: the level it runs at. APM2 8.7.2. */
static int handler_segment(struct cpu *cpu, u16 sel, u32 ext, struct segment *cs, u8 *cpl)
{
	struct descriptor desc;
	u16 attr;

	if (SELECTOR_NULL(sel))
		return cpu_fault_code(cpu, VEC_GP, ext);
	if (descriptor_read(cpu, sel, VEC_GP, ext, &desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(&desc);
	if (!attr_is_code(attr) || attr_dpl(attr) > cpu->cpl)
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel) | ext);
	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, SELECTOR_ERROR(sel) | ext);
	if (descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	*cpl = attr_is_conforming(attr) ? cpu->cpl : attr_dpl(attr);
	segment_from_descriptor(cs, (sel & ~3) | *cpl, &desc);
	return 0;
}

/* The last step, which cannot fail: flags as the handler finds them, then its code. */
static void enter_handler(struct cpu *cpu, const struct segment *cs, u64 rip, u8 cpl,
	bool interrupt_gate)
{
	u64 clear = RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM;

	if (interrupt_gate)
		clear |= RFLAGS_IF;
	cpu->rflags_system &= ~clear;
	cpu->seg[CS] = *cs;
	cpu->cpl = cpl;
	cpu->rip = rip;
	cpu_mode_update(cpu);
}

/*
 * All that delivery reads and writes is the supervisor's: take its context once and not for each
 * access. Returns the context to go back to where delivery fails.
 */
static struct context *supervisor_context(struct cpu *cpu)
{
	u64 rflags_system = cpu->rflags_system;
	struct context *before;
	u8 cpl = cpu->cpl;

	if (cpu->context_stale)
		tlb_select(cpu);
	before = cpu->context;
	if (before->privilege == PRIV_USER) {
		cpu->cpl = 0;
		cpu->rflags_system &= ~RFLAGS_AC;
		tlb_select(cpu);
		cpu->cpl = cpl;
		cpu->rflags_system = rflags_system;
	}
	return before;
}

/* APM2 8.9. The frame is six words at most and always names SS:RSP. */
static int interrupt_long(struct cpu *cpu, const struct event *event, u32 ext)
{
	u64 gate[2], frame[6], rip, rsp = cpu->gpr[RSP];
	u64 *first = &frame[1];
	unsigned type, ist;
	struct segment cs;
	u16 attr;
	u8 cpl;

	if (event->vector * 16u + 15 > cpu->idtr.limit)
		return gate_fault(cpu, VEC_GP, event, ext);
	if (cpu_read(cpu, cpu->idtr.base + event->vector * 16u, gate, 16,
		    ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	attr = (gate[0] >> 40) & 0xff;
	type = attr & (SEG_S | SEG_TYPE);
	if (type != SYS_INTR_GATE32 && type != SYS_TRAP_GATE32)
		return gate_fault(cpu, VEC_GP, event, ext);
	if (gate_check(cpu, attr, event, ext) ||
	    handler_segment(cpu, gate[0] >> 16, ext, &cs, &cpl))
		return OUTCOME_FAULT;
	/* handlers are 64-bit code: APM2 8.9.1 */
	if ((cs.attr & (SEG_L | SEG_DB)) != SEG_L)
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(cs.sel) | ext);
	rip = (gate[0] & 0xffff) | ((gate[0] >> 32) & 0xffff0000) | gate[1] << 32;
	if (!is_canonical(rip))
		return cpu_fault_code(cpu, VEC_GP, ext);

	ist = (gate[0] >> 32) & 7;
	if ((ist || cpl != cpu->cpl) && tss_long_stack(cpu, cpl, ist, ext, &rsp))
		return OUTCOME_FAULT;
	rsp &= ~15ull;
	if (event->has_error) {
		frame[0] = event->error;
		first = &frame[0];
	}
	frame[1] = cpu->rip + event->insn_len;
	frame[2] = cpu->seg[CS].sel;
	frame[3] = frame_rflags(cpu, event);
	frame[4] = cpu->gpr[RSP];
	frame[5] = cpu->seg[SS].sel;
	rsp -= (u64)(&frame[6] - first) * 8;
	if (!is_canonical(rsp))
		return cpu_fault_code(cpu, VEC_SS, ext);
	if (cpu_write(cpu, rsp, first, (&frame[6] - first) * 8,
		    cpl == 3 ? ACCESS_WRITE : ACCESS_WRITE | ACCESS_SYSTEM))
		return OUTCOME_FAULT;

	cpu->gpr[RSP] = rsp;
	/* APM2 8.9.3: an inner level gets a null stack segment */
	if (cpl != cpu->cpl)
		cpu->seg[SS] = (struct segment){ .sel = cpl, .attr = cpl << SEG_DPL_SHIFT };
	enter_handler(cpu, &cs, rip, cpl, type == SYS_INTR_GATE32);
	return 0;
}

/* A frame of 16- or 32-bit words, put together from its highest address down. */
struct frame {
	u8 bytes[48];
	unsigned top;  /* what is in use ends at sizeof(bytes) and starts here */
	unsigned size; /* of a word */
};

static void frame_push(struct frame *frame, u64 value)
{
	frame->top -= frame->size;
	copy_bytes(frame->bytes + frame->top, &value, frame->size);
}

/* Virtual-8086 mode's segments go to the frame and are null in the handler, APM2 8.8.1. */
static void frame_push_v86(const struct cpu *cpu, struct frame *frame)
{
	frame_push(frame, cpu->seg[GS].sel);
	frame_push(frame, cpu->seg[FS].sel);
	frame_push(frame, cpu->seg[DS].sel);
	frame_push(frame, cpu->seg[ES].sel);
}

static void current_stack(const struct cpu *cpu, struct new_stack *stack)
{
	stack->ss = cpu->seg[SS];
	stack->rsp = cpu->gpr[RSP];
	stack->mask = stack_mask(cpu);
	stack->long64 = false;
	stack->cpl = cpu->cpl;
}

/* APM2 8.7 and 8.8, 16- and 32-bit gates. */
static int interrupt_gate(struct cpu *cpu, const struct event *event, u32 ext, u64 gate)
{
	unsigned type = (gate >> 40) & 0xf;
	bool wide = type & 8, v86 = cpu_v86(cpu), inner;
	struct frame frame = { .top = sizeof(frame.bytes), .size = wide ? 4 : 2 };
	struct new_stack stack;
	struct segment cs;
	u64 rip;
	u8 cpl;

	if (handler_segment(cpu, gate >> 16, ext, &cs, &cpl))
		return OUTCOME_FAULT;
	/* out of virtual-8086 mode the way leads to level 0 alone: APM2 8.8.1 */
	if (v86 && cpl != 0)
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(cs.sel) | ext);
	inner = cpl != cpu->cpl;
	if (!inner)
		current_stack(cpu, &stack);
	else if (tss_inner_stack(cpu, cpl, ext, &stack))
		return OUTCOME_FAULT;
	rip = (gate & 0xffff) | (wide ? (gate >> 32) & 0xffff0000 : 0);
	if (rip > cs.limit)
		return cpu_fault_code(cpu, VEC_GP, ext);

	if (v86)
		frame_push_v86(cpu, &frame);
	if (inner) {
		frame_push(&frame, cpu->seg[SS].sel);
		frame_push(&frame, cpu->gpr[RSP]);
	}
	frame_push(&frame, frame_rflags(cpu, event));
	frame_push(&frame, cpu->seg[CS].sel);
	frame_push(&frame, cpu->rip + event->insn_len);
	if (event->has_error)
		frame_push(&frame, event->error);
	if (new_stack_write(cpu, &stack, frame.bytes + frame.top, sizeof(frame.bytes) - frame.top,
		    inner ? SELECTOR_ERROR(stack.ss.sel) | ext : ext))
		return OUTCOME_FAULT;

	cpu->gpr[RSP] = stack.rsp;
	cpu->seg[SS] = stack.ss;
	if (v86)
		for (unsigned i = ES; i <= GS; i++)
			if (i != CS && i != SS)
				cpu->seg[i] = (struct segment){ .sel = 0 };
	enter_handler(cpu, &cs, rip, cpl, !(type & 1));
	return 0;
}

static int interrupt_protected(struct cpu *cpu, const struct event *event, u32 ext)
{
	struct descriptor gate = { 0 };
	unsigned type;
	u16 attr, sel;
	int outcome;

	if (event->vector * 8u + 7 > cpu->idtr.limit)
		return gate_fault(cpu, VEC_GP, event, ext);
	if (cpu_read(cpu, (u32)(cpu->idtr.base + event->vector * 8u), &gate.low, 8,
		    ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	attr = descriptor_attr(&gate);
	type = attr_system_type(attr);
	switch (type) {
	case SYS_TASK_GATE:
	case SYS_INTR_GATE16:
	case SYS_TRAP_GATE16:
	case SYS_INTR_GATE32:
	case SYS_TRAP_GATE32:
		break;
	default:
		return gate_fault(cpu, VEC_GP, event, ext);
	}
	if (gate_check(cpu, attr, event, ext))
		return OUTCOME_FAULT;
	if (type != SYS_TASK_GATE)
		return interrupt_gate(cpu, event, ext, gate.low);
	sel = gate.low >> 16;
	outcome = task_switch(cpu, NULL, sel, TASK_EVENT, cpu->rip + event->insn_len, event);
	return outcome == OUTCOME_FAULT ? OUTCOME_FAULT : 0;
}

/* APM2 8.6: vectors of four bytes, frames of three 16-bit words, no error codes. */
static int interrupt_real(struct cpu *cpu, const struct event *event, u32 ext)
{
	u64 rsp = cpu->gpr[RSP];
	u32 entry = 0;

	if (event->vector * 4u + 3 > cpu->idtr.limit)
		return gate_fault(cpu, VEC_GP, event, ext);
	if (cpu_read(cpu, (u32)(cpu->idtr.base + event->vector * 4u), &entry, 4,
		    ACCESS_READ | ACCESS_SYSTEM) ||
	    stack_push(cpu, &rsp, cpu_rflags(cpu), 2) ||
	    stack_push(cpu, &rsp, cpu->seg[CS].sel, 2) ||
	    stack_push(cpu, &rsp, cpu->rip + event->insn_len, 2))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	segment_load_real(cpu, CS, entry >> 16);
	cpu->rip = entry & 0xffff;
	cpu->rflags_system &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
	cpu_mode_update(cpu);
	return 0;
}

int cpu_interrupt(struct cpu *cpu, const struct event *event)
{
	u32 ext = is_software(event) ? 0 : ERROR_EXT;
	u64 from = cpu->rip;
	int fault;

	if (likely(cpu_lma(cpu))) {
		struct context *before = supervisor_context(cpu);

		fault = interrupt_long(cpu, event, ext);
		if (unlikely(fault))
			cpu->context = before;
	} else if (cpu->cr0 & CR0_PE) {
		fault = interrupt_protected(cpu, event, ext);
	} else {
		fault = interrupt_real(cpu, event, ext);
	}
	if (fault)
		return OUTCOME_FAULT;
	cpu_record_interrupt(cpu, from);
	cpu_shadow_end(cpu);
	cpu->step_after = false;
	return 0;
}
