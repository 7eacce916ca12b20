/* SPDX-License-Identifier: MIT */
/*
 * Descriptor-table registers, LDTR, TR and the machine status word: LGDT, LIDT, SGDT, SIDT, LLDT,
 * LTR, SLDT, STR, SMSW. APM3; UMIP in APM2 3.1.3; intercepts in APM2 15.9, asked after the checks
 * of privilege.
 */
#include "cpu/descriptor.h"

/* CR4.UMIP: what these store is no business of user code. */
static bool umip_forbids(const struct cpu *cpu)
{
	return (cpu->cr4 & CR4_UMIP) && cpu->cpl != 0;
}

static int store_table(struct cpu *cpu, const struct insn *insn, const struct table_register *table,
	enum virt_event event)
{
	unsigned len = cpu_long64(cpu) ? 10 : 6;
	u8 image[10];

	if (umip_forbids(cpu))
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, event, 0, 0))
		return OUTCOME_JUMP;
	copy_bytes(image, &table->limit, 2);
	copy_bytes(image + 2, &table->base, 8);
	if (cpu_write_words(cpu, insn->seg, cpu_effective_address(cpu, insn), image, len, 4))
		return OUTCOME_FAULT;
	return OUTCOME_NEXT;
}

static int load_table(struct cpu *cpu, const struct insn *insn, struct table_register *table,
	enum virt_event event)
{
	unsigned len = cpu_long64(cpu) ? 10 : 6;
	u8 image[10];
	u64 base = 0;

	if (cpu->cpl != 0)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, event, 0, 0))
		return OUTCOME_JUMP;
	if (cpu_read_words(cpu, insn->seg, cpu_effective_address(cpu, insn), image, len, 4))
		return OUTCOME_FAULT;
	copy_bytes(&base, image + 2, len - 2);
	if (insn->opsize == 2 && !cpu_long64(cpu))
		base &= 0xffffff;
	if (!is_canonical(base))
		return cpu_fault_gp0(cpu);
	copy_bytes(&table->limit, image, 2);
	table->base = base;
	return OUTCOME_NEXT;
}

int exec_SGDT(struct cpu *cpu, const struct insn *insn)
{
	return store_table(cpu, insn, &cpu->gdtr, VIRT_GDTR_READ);
}

int exec_SIDT(struct cpu *cpu, const struct insn *insn)
{
	return store_table(cpu, insn, &cpu->idtr, VIRT_IDTR_READ);
}

int exec_LGDT(struct cpu *cpu, const struct insn *insn)
{
	return load_table(cpu, insn, &cpu->gdtr, VIRT_GDTR_WRITE);
}

int exec_LIDT(struct cpu *cpu, const struct insn *insn)
{
	return load_table(cpu, insn, &cpu->idtr, VIRT_IDTR_WRITE);
}

static int store_selector(struct cpu *cpu, const struct insn *insn, unsigned seg,
	enum virt_event event)
{
	if (!cpu_protected(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (umip_forbids(cpu))
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, event, 0, 0))
		return OUTCOME_JUMP;
	if (operand_write_rm(cpu, insn, insn->is_mem ? 2 : insn->opsize, cpu->seg[seg].sel))
		return OUTCOME_FAULT;
	return OUTCOME_NEXT;
}

int exec_SLDT(struct cpu *cpu, const struct insn *insn)
{
	return store_selector(cpu, insn, LDTR, VIRT_LDTR_READ);
}

int exec_STR(struct cpu *cpu, const struct insn *insn)
{
	return store_selector(cpu, insn, TR, VIRT_TR_READ);
}

/*
 * What LLDT and LTR share: the selector must name a present descriptor of one of the types in the
 * GDT, 16 bytes long in 64-bit mode.
 */
static int read_system_descriptor(struct cpu *cpu, u16 sel, u32 types, struct descriptor *desc,
	struct segment *seg)
{
	u16 attr;

	if (sel & SELECTOR_TI)
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	if (descriptor_read(cpu, sel, VEC_GP, 0, desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(desc);
	if ((attr & SEG_S) || !(types >> (attr & SEG_TYPE) & 1))
		return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, SELECTOR_ERROR(sel));
	segment_from_descriptor(seg, sel, desc);
	if (cpu_long64(cpu)) {
		if (descriptor_read_high(cpu, VEC_GP, 0, desc))
			return OUTCOME_FAULT;
		seg->base |= desc->high << 32;
		if (!is_canonical(seg->base))
			return cpu_fault_code(cpu, VEC_GP, SELECTOR_ERROR(sel));
	}
	return 0;
}

int exec_LLDT(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor desc;
	struct segment seg;
	u64 sel;

	if (!cpu_protected(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl != 0)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_LDTR_WRITE, 0, 0))
		return OUTCOME_JUMP;
	if (operand_read_rm(cpu, insn, 2, &sel))
		return OUTCOME_FAULT;
	if (SELECTOR_NULL(sel)) {
		cpu->seg[LDTR] = (struct segment){ .sel = sel };
		return OUTCOME_NEXT;
	}
	if (read_system_descriptor(cpu, sel, BIT(SYS_LDT), &desc, &seg))
		return OUTCOME_FAULT;
	cpu->seg[LDTR] = seg;
	return OUTCOME_NEXT;
}

int exec_LTR(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor desc;
	struct segment seg;
	u64 sel;

	if (!cpu_protected(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl != 0)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_TR_WRITE, 0, 0))
		return OUTCOME_JUMP;
	if (operand_read_rm(cpu, insn, 2, &sel))
		return OUTCOME_FAULT;
	if (SELECTOR_NULL(sel))
		return cpu_fault_gp0(cpu);
	/* a 16-bit TSS does not exist in long mode, APM2 table 4-6 */
	if (read_system_descriptor(cpu, sel, cpu_lma(cpu) ? BIT(SYS_TSS32) :
		    BIT(SYS_TSS16) | BIT(SYS_TSS32), &desc, &seg) ||
	    descriptor_set_busy(cpu, &desc, true))
		return OUTCOME_FAULT;
	seg.attr |= 2;
	cpu->seg[TR] = seg;
	return OUTCOME_NEXT;
}
