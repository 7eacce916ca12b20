/* SPDX-License-Identifier: MIT */
/*
 * Segments: effective and linear addresses, the checks of limit, type and canonical form (APM2
 * 4.5 to 4.12, 5.3.1), and loading of data and stack segment registers (APM2 4.11, 4.12).
 *
 * EFER.LMSLE (limits in 64-bit mode) is not modelled: no CPU that the guest could take us for has
 * it.
 */
#include "cpu/descriptor.h"

u64 cpu_effective_address(const struct cpu *cpu, const struct insn *insn)
{
	u64 address = insn->disp;

	if (insn->rip_relative)
		address += cpu->rip + insn->len;
	if (insn->base != INSN_NO_REG)
		address += cpu->gpr[insn->base];
	if (insn->index != INSN_NO_REG)
		address += cpu->gpr[insn->index] * insn->scale;
	return low_bytes(address, insn->addrsize);
}

/* APM2 4.12: offsets of an expand-down segment are valid above the limit. */
static bool within_limit(const struct segment *seg, bool expand_down, u64 offset, u64 len)
{
	u64 last = offset + len - 1;

	if (offset > 0xffffffff || last < offset)
		return false;
	if (!expand_down)
		return last <= seg->limit;
	return offset > seg->limit && last <= (seg->attr & SEG_DB ? 0xffffffff : 0xffff);
}

bool segment_check(const struct cpu *cpu, const struct segment *seg, bool has_base, bool long64,
	u64 offset, u64 len, bool write, u64 *linear)
{
	bool data = (seg->attr & (SEG_S | SEG_CODE)) == SEG_S;

	if (long64) {
		*linear = has_base ? seg->base + offset : offset;
		return is_canonical(*linear) && is_canonical(*linear + len - 1);
	}
	*linear = (u32)(seg->base + offset);
	if (cpu_protected(cpu)) {
		if (!(seg->attr & SEG_P))
			return false;
		if (write ? !attr_is_writable(seg->attr) :
			    attr_is_code(seg->attr) && !(seg->attr & SEG_READABLE))
			return false;
	}
	return within_limit(seg, data && (seg->attr & SEG_EXPAND_DOWN), offset, len);
}

int cpu_linear(struct cpu *cpu, unsigned seg, u64 offset, u64 len, bool write, u64 *linear)
{
	bool has_base = seg == FS || seg == GS;

	if (likely(segment_check(cpu, &cpu->seg[seg], has_base, cpu_long64(cpu), offset, len, write,
		    linear)))
		return 0;
	return cpu_fault_code(cpu, seg == SS ? VEC_SS : VEC_GP, 0);
}

void segment_load_v86(struct cpu *cpu, unsigned index, u16 sel)
{
	/* APM2 10.2: limits and attributes are fixed, DPL is 3 */
	cpu->seg[index] = (struct segment){
		.sel = sel, .base = (u64)sel << 4, .limit = 0xffff,
		.attr = SEG_P | SEG_DPL | SEG_S | SEG_WRITABLE | SEG_ACCESSED,
	};
}

/* A null selector: APM2 4.12.1; the base is cleared, as CPUID Fn8000_0021 has it today. */
static void load_null(struct cpu *cpu, unsigned seg, u16 sel)
{
	cpu->seg[seg] = (struct segment){ .sel = sel };
}

int stack_segment_check(struct cpu *cpu, u16 sel, unsigned cpl, u8 vector, u32 ext,
	struct descriptor *desc)
{
	u32 error = SELECTOR_ERROR(sel) | ext;
	u16 attr;

	if (descriptor_read(cpu, sel, vector, ext, desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(desc);
	if (SELECTOR_RPL(sel) != cpl || !attr_is_writable(attr) || attr_dpl(attr) != cpl)
		return cpu_fault_code(cpu, vector, error);
	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_SS, error);
	return 0;
}

static int load_stack(struct cpu *cpu, u16 sel)
{
	struct descriptor desc;

	if (SELECTOR_NULL(sel)) {
		/* APM2 4.12.1: good in 64-bit mode, but not for level 3 */
		if (!cpu_long64(cpu) || cpu->cpl == 3 || SELECTOR_RPL(sel) != cpu->cpl)
			return cpu_fault_gp0(cpu);
		load_null(cpu, SS, sel);
		cpu->seg[SS].attr = cpu->cpl << SEG_DPL_SHIFT;
		return 0;
	}
	if (stack_segment_check(cpu, sel, cpu->cpl, VEC_GP, 0, &desc) ||
	    descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(&cpu->seg[SS], sel, &desc);
	return 0;
}

static int load_data(struct cpu *cpu, unsigned seg, u16 sel)
{
	struct descriptor desc;
	unsigned dpl;
	u16 attr;

	if (SELECTOR_NULL(sel)) {
		load_null(cpu, seg, sel);
		return 0;
	}
	if (descriptor_read(cpu, sel, VEC_GP, 0, &desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(&desc);
	dpl = attr_dpl(attr);
	/* data or readable code, APM2 4.12.1; rights, APM2 4.11.1 */
	if (!(attr & SEG_S) || (attr_is_code(attr) && !(attr & SEG_READABLE)))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	if (!attr_is_conforming(attr) && (SELECTOR_RPL(sel) > dpl || cpu->cpl > dpl))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, SELECTOR_ERROR(sel));
	if (descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(&cpu->seg[seg], sel, &desc);
	return 0;
}

int cpu_load_segment(struct cpu *cpu, unsigned seg, u16 selector)
{
	if (cpu_protected(cpu)) {
		if (seg == SS ? load_stack(cpu, selector) : load_data(cpu, seg, selector))
			return OUTCOME_FAULT;
		/* in 64-bit mode no mode bit depends on what was loaded */
		if (!cpu_long64(cpu))
			cpu_mode_update(cpu);
		return 0;
	}
	if (cpu_v86(cpu))
		segment_load_v86(cpu, seg, selector);
	else
		segment_load_real(cpu, seg, selector);
	cpu_mode_update(cpu);
	return 0;
}

void segments_leave_inner(struct cpu *cpu)
{
	static const u8 data[] = { ES, DS, FS, GS };

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct segment *seg = &cpu->seg[data[i]];

		/* null ones stay as they are: FS and GS have a base of their own */
		if (SELECTOR_NULL(seg->sel) || attr_is_conforming(seg->attr))
			continue;
		if (attr_dpl(seg->attr) < cpu->cpl) {
			seg->sel = 0;
			seg->attr &= ~SEG_P;
		}
	}
}
