/* SPDX-License-Identifier: MIT */
/* What RET (far) and IRET have in common, and RET itself: APM2 4.11.3, APM3 RET (far). */
#include "cpu/descriptor.h"

int stack_peek(struct cpu *cpu, unsigned skip, unsigned n, unsigned size, u64 *words)
{
	u64 top = (cpu->gpr[RSP] + skip) & stack_mask(cpu);
	u8 image[9 * 4];

	if (likely(size == 8))
		return cpu_read_words(cpu, SS, top, words, n * 8, 8);
	if (cpu_read_words(cpu, SS, top, image, n * size, size))
		return OUTCOME_FAULT;
	for (unsigned i = 0; i < n; i++) {
		words[i] = 0;
		copy_bytes(&words[i], image + i * size, size);
	}
	return 0;
}

int return_code_segment(struct cpu *cpu, u16 sel, struct segment *cs)
{
	unsigned rpl = SELECTOR_RPL(sel), dpl;
	struct descriptor desc;
	u16 attr;

	if (SELECTOR_NULL(sel))
		return cpu_fault_gp0(cpu);
	if (descriptor_read(cpu, sel, VEC_GP, 0, &desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(&desc);
	dpl = attr_dpl(attr);
	if (!attr_is_code(attr) || rpl < cpu->cpl ||
	    (attr_is_conforming(attr) ? dpl > rpl : dpl != rpl))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, SELECTOR_ERROR(sel));
	/* APM2 4.8.1: L with D is reserved */
	if (cpu_lma(cpu) && (attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	if (descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(cs, sel, &desc);
	return 0;
}

int return_stack_segment(struct cpu *cpu, u16 sel, const struct segment *cs, unsigned cpl,
	struct segment *ss)
{
	struct descriptor desc;

	if (SELECTOR_NULL(sel)) {
		/* only for 64-bit code of an inner level */
		if (!cpu_lma(cpu) || !(cs->attr & SEG_L) || cpl == 3 || SELECTOR_RPL(sel) != cpl)
			return cpu_fault_gp0(cpu);
		*ss = (struct segment){ .sel = sel, .attr = cpl << SEG_DPL_SHIFT };
		return 0;
	}
	if (stack_segment_check(cpu, sel, cpl, VEC_GP, 0, &desc) ||
	    descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(ss, sel, &desc);
	return 0;
}

u64 return_stack_pointer(const struct cpu *cpu, const struct segment *cs, const struct segment *ss,
	u64 rsp)
{
	if (cpu_lma(cpu) && (cs->attr & SEG_L))
		return rsp;
	/* a 16-bit stack segment gets SP alone */
	return stack_wrap(cpu->gpr[RSP], rsp, ss->attr & SEG_DB ? 0xffffffff : 0xffff);
}

static int ret_real(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	u64 words[2];

	if (stack_peek(cpu, 0, 2, size, words))
		return OUTCOME_FAULT;
	if (words[0] > cpu->seg[CS].limit)
		return cpu_fault_gp0(cpu);
	cpu->gpr[RSP] = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 2 * size + (insn->imm & 0xffff),
		stack_mask(cpu));
	if (cpu_v86(cpu))
		segment_load_v86(cpu, CS, words[1]);
	else
		segment_load_real(cpu, CS, words[1]);
	cpu->rip = words[0];
	cpu_mode_update(cpu);
	return OUTCOME_JUMP;
}

int exec_RET_FAR(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize, release = insn->imm & 0xffff, cpl;
	struct segment cs, ss;
	u64 words[2], outer[2];
	u64 rsp;

	if (!cpu_protected(cpu))
		return ret_real(cpu, insn);
	if (stack_peek(cpu, 0, 2, size, words) || return_code_segment(cpu, words[1], &cs) ||
	    code_target_check(cpu, &cs, words[0]))
		return OUTCOME_FAULT;
	cpl = SELECTOR_RPL(cs.sel);
	if (cpl == cpu->cpl) {
		rsp = stack_wrap(cpu->gpr[RSP], cpu->gpr[RSP] + 2 * size + release, stack_mask(cpu));
	} else {
		if (stack_peek(cpu, 2 * size + release, 2, size, outer) ||
		    return_stack_segment(cpu, outer[1], &cs, cpl, &ss))
			return OUTCOME_FAULT;
		rsp = return_stack_pointer(cpu, &cs, &ss, outer[0] + release);
		cpu->seg[SS] = ss;
		cpu->cpl = cpl;
		segments_leave_inner(cpu);
	}
	cpu->gpr[RSP] = rsp;
	cpu->seg[CS] = cs;
	cpu->rip = words[0];
	cpu_mode_update(cpu);
	return OUTCOME_JUMP;
}
