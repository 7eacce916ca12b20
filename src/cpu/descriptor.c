/* SPDX-License-Identifier: MIT */
/*
 * Descriptor tables and stacks: reading descriptors (APM2 4.7, 4.8), their accessed and busy
 * bits, the inner stacks that a TSS names (APM2 8.7.3, 12.2), pushes and pops (APM1 2.4).
 */
#include "cpu/descriptor.h"

int descriptor_read(struct cpu *cpu, u16 sel, u8 vector, u32 ext, struct descriptor *desc)
{
	u64 base = cpu->gdtr.base;
	u32 limit = cpu->gdtr.limit;
	u32 offset = sel & 0xfff8;

	if (sel & SELECTOR_TI) {
		if (!(cpu->seg[LDTR].attr & SEG_P))
			return cpu_fault_code(cpu, vector, SELECTOR_ERROR(sel) | ext);
		base = cpu->seg[LDTR].base;
		limit = cpu->seg[LDTR].limit;
	}
	if (offset + 7 > limit)
		return cpu_fault_code(cpu, vector, SELECTOR_ERROR(sel) | ext);
	desc->sel = sel;
	desc->high = 0;
	desc->linear = base + offset;
	if (!cpu_lma(cpu))
		desc->linear = (u32)desc->linear;
	return cpu_read(cpu, desc->linear, &desc->low, 8, ACCESS_READ | ACCESS_SYSTEM);
}

int descriptor_read_high(struct cpu *cpu, u8 vector, u32 ext, struct descriptor *desc)
{
	u32 limit = desc->sel & SELECTOR_TI ? cpu->seg[LDTR].limit : cpu->gdtr.limit;
	u32 error = SELECTOR_ERROR(desc->sel) | ext;

	if ((desc->sel & 0xfff8u) + 15 > limit)
		return cpu_fault_code(cpu, vector, error);
	if (cpu_read(cpu, desc->linear + 8, &desc->high, 8, ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	/* APM2 4.8.3: type and S of the upper half are zero, so that no selector can name it */
	if ((desc->high >> 40) & 0x1f)
		return cpu_fault_code(cpu, vector, error);
	return 0;
}

/*
 * Atomic, since another CPU may load the same descriptor. cpu_access_begin() goes by CPL, so this
 * is level 0 for its time.
 */
static int descriptor_change_byte5(struct cpu *cpu, u64 linear, u8 set, u8 clear)
{
	u64 rflags_system = cpu->rflags_system;
	u8 cpl = cpu->cpl;
	struct access access;
	int outcome;

	cpu->cpl = 0;
	cpu->rflags_system &= ~RFLAGS_AC;
	cpu->context_stale = true;
	outcome = cpu_access_begin(cpu, &access, linear + 5, 1, ACCESS_WRITE | ACCESS_MODIFY);
	if (!outcome) {
		if (set)
			__atomic_fetch_or(access.host, set, __ATOMIC_SEQ_CST);
		if (clear)
			__atomic_fetch_and(access.host, (u8)~clear, __ATOMIC_SEQ_CST);
		cpu_access_commit(cpu, &access);
	}
	cpu->cpl = cpl;
	cpu->rflags_system = rflags_system;
	cpu->context_stale = true;
	return outcome;
}

int descriptor_set_accessed(struct cpu *cpu, struct descriptor *desc)
{
	if (likely(desc->low & ((u64)SEG_ACCESSED << 40)))
		return 0;
	desc->low |= (u64)SEG_ACCESSED << 40;
	return descriptor_change_byte5(cpu, desc->linear, SEG_ACCESSED, 0);
}

int descriptor_set_busy(struct cpu *cpu, struct descriptor *desc, bool busy)
{
	return descriptor_change_byte5(cpu, desc->linear, busy ? 2 : 0, busy ? 0 : 2);
}

int stack_push(struct cpu *cpu, u64 *rsp, u64 value, unsigned size)
{
	u64 mask = stack_mask(cpu);
	u64 top = (*rsp - size) & mask;

	if (cpu_write_seg(cpu, SS, top, &value, size))
		return OUTCOME_FAULT;
	*rsp = stack_wrap(*rsp, top, mask);
	return 0;
}

int stack_pop(struct cpu *cpu, u64 *rsp, u64 *value, unsigned size)
{
	u64 mask = stack_mask(cpu);

	*value = 0;
	if (cpu_read_seg(cpu, SS, *rsp & mask, value, size))
		return OUTCOME_FAULT;
	*rsp = stack_wrap(*rsp, *rsp + size, mask);
	return 0;
}

int new_stack_write(struct cpu *cpu, struct new_stack *stack, const void *from, unsigned len,
	u32 error)
{
	u64 top = (stack->rsp - len) & stack->mask;
	u64 linear;

	if (!segment_check(cpu, &stack->ss, false, stack->long64, top, len, true, &linear))
		return cpu_fault_code(cpu, VEC_SS, error);
	/* a frame for level 3 is the user's own memory, any other is checked as the supervisor's */
	if (cpu_write(cpu, linear, from, len,
		    stack->cpl == 3 ? ACCESS_WRITE : ACCESS_WRITE | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	stack->rsp = stack_wrap(stack->rsp, top, stack->mask);
	return 0;
}

int tss_inner_stack(struct cpu *cpu, unsigned cpl, u32 ext, struct new_stack *stack)
{
	const struct segment *tr = &cpu->seg[TR];
	bool wide = attr_system_type(tr->attr) & 8;
	unsigned offset = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
	unsigned len = wide ? 6 : 4;
	struct descriptor desc;
	u64 word = 0;
	u16 sel;

	if (offset + len - 1 > tr->limit)
		return cpu_fault_code(cpu, VEC_TS, SELECTOR_ERROR(tr->sel) | ext);
	if (cpu_read(cpu, (u32)(tr->base + offset), &word, len, ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	stack->rsp = wide ? (u32)word : (u16)word;
	sel = wide ? word >> 32 : word >> 16;
	if (SELECTOR_NULL(sel))
		return cpu_fault_code(cpu, VEC_TS, ext);
	if (stack_segment_check(cpu, sel, cpl, VEC_TS, ext, &desc) ||
	    descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(&stack->ss, sel, &desc);
	stack->mask = stack->ss.attr & SEG_DB ? 0xffffffff : 0xffff;
	stack->long64 = false;
	stack->cpl = cpl;
	return 0;
}

int tss_long_stack(struct cpu *cpu, unsigned cpl, unsigned ist, u32 ext, u64 *rsp)
{
	const struct segment *tr = &cpu->seg[TR];
	/* APM2 12.2.5: RSP0..2 from byte 4, IST1..7 from byte 36 */
	unsigned offset = ist ? 28 + 8 * ist : 4 + 8 * cpl;

	if (offset + 7 > tr->limit)
		return cpu_fault_code(cpu, VEC_TS, SELECTOR_ERROR(tr->sel) | ext);
	if (cpu_read(cpu, tr->base + offset, rsp, 8, ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	/* APM2 8.9.3: a stack pointer that is not canonical is #SS(0) */
	if (!is_canonical(*rsp))
		return cpu_fault_code(cpu, VEC_SS, ext);
	return 0;
}

int code_target_check(struct cpu *cpu, const struct segment *cs, u64 rip)
{
	if (cpu_lma(cpu) && (cs->attr & SEG_L) ? !is_canonical(rip) : rip > cs->limit)
		return cpu_fault_gp0(cpu);
	return 0;
}
