/* SPDX-License-Identifier: MIT */
/*
 * Instructions on segment registers and selectors: MOV, PUSH, POP, LDS..LGS, LAR, LSL, VERR, VERW,
 * ARPL. APM3, at each mnemonic.
 */
#include "cpu/descriptor.h"

/* APM3 MOV (segment): the next instruction may load RSP undisturbed. */
static int stack_segment_loaded(struct cpu *cpu, const struct insn *insn)
{
	cpu_shadow_begin(cpu, cpu->rip + insn->len, true);
	return cpu_end_block(cpu, insn);
}

/* After a load of ES, DS, FS or GS; the mode changes with them where segments are not flat. */
static int segment_loaded(struct cpu *cpu, const struct insn *insn, u32 mode_before)
{
	return cpu->mode == mode_before ? OUTCOME_NEXT : cpu_end_block(cpu, insn);
}

int exec_MOV_FROM_SEG(struct cpu *cpu, const struct insn *insn)
{
	if (insn->reg > GS)
		return cpu_fault(cpu, VEC_UD);
	return operand_write_rm(cpu, insn, insn->is_mem ? 2 : insn->opsize, cpu->seg[insn->reg].sel) ?
		       OUTCOME_FAULT :
		       OUTCOME_NEXT;
}

int exec_MOV_TO_SEG(struct cpu *cpu, const struct insn *insn)
{
	u32 mode = cpu->mode;
	u64 sel;

	if (insn->reg > GS || insn->reg == CS)
		return cpu_fault(cpu, VEC_UD);
	if (operand_read_rm(cpu, insn, 2, &sel) || cpu_load_segment(cpu, insn->reg, sel))
		return OUTCOME_FAULT;
	if (insn->reg == SS)
		return stack_segment_loaded(cpu, insn);
	return segment_loaded(cpu, insn, mode);
}

int exec_PUSH_SEG(struct cpu *cpu, const struct insn *insn)
{
	u64 rsp = cpu->gpr[RSP], mask = stack_mask(cpu), top = (rsp - insn->opsize) & mask;
	u64 sel = cpu->seg[insn->reg].sel;

	/* of 32 bits Intel's CPUs leave the upper half unwritten, SDM2 PUSH */
	if (insn->opsize == 4 && cpu_is_intel(cpu)) {
		if (cpu_write_seg(cpu, SS, top, &sel, 2))
			return OUTCOME_FAULT;
		rsp = stack_wrap(rsp, top, mask);
	} else if (stack_push(cpu, &rsp, sel, insn->opsize)) {
		return OUTCOME_FAULT;
	}
	cpu->gpr[RSP] = rsp;
	return OUTCOME_NEXT;
}

int exec_POP_SEG(struct cpu *cpu, const struct insn *insn)
{
	u64 rsp = cpu->gpr[RSP];
	u32 mode = cpu->mode;
	u64 sel;

	if (stack_pop(cpu, &rsp, &sel, insn->opsize) || cpu_load_segment(cpu, insn->reg, sel))
		return OUTCOME_FAULT;
	cpu->gpr[RSP] = rsp;
	if (insn->reg == SS)
		return stack_segment_loaded(cpu, insn);
	return segment_loaded(cpu, insn, mode);
}

int exec_LOAD_FAR(struct cpu *cpu, const struct insn *insn)
{
	u64 at = cpu_effective_address(cpu, insn);
	unsigned size = insn->opsize;
	u32 mode = cpu->mode;
	u64 offset = 0;
	u8 image[10];
	u16 sel;

	/* AMD has no 64-bit far pointers: REX.W leaves 32 bits to be read, APM3 LFS */
	if (size == 8 && !cpu_is_intel(cpu))
		size = 4;
	/* not the 8 bytes of a 64-bit offset, as CPUs have it */
	if (cpu_read_words(cpu, insn->seg, at, image, size + 2, MIN(size, 4u)))
		return OUTCOME_FAULT;
	copy_bytes(&offset, image, size);
	copy_bytes(&sel, image + size, 2);
	if (cpu_load_segment(cpu, insn->imm2, sel))
		return OUTCOME_FAULT;
	gpr_write(cpu, insn->reg, insn->opsize, offset);
	/* LSS needs no shadow: it loads RSP too */
	return insn->imm2 == SS ? cpu_end_block(cpu, insn) : segment_loaded(cpu, insn, mode);
}

static void set_zf(struct cpu *cpu, bool zf)
{
	const u32 bit = (u32)RFLAGS_ZF << 8;

	cpu->aflags = zf ? cpu->aflags | bit : cpu->aflags & ~bit;
}

/*
 * Reads the descriptor that LAR, LSL, VERR and VERW look at. Returns OUTCOME_FAULT only where the
 * table itself cannot be read; *visible says whether there is one that CPL and RPL may see.
 */
static int inspect(struct cpu *cpu, u16 sel, struct descriptor *desc, bool *visible)
{
	const struct segment *ldt = &cpu->seg[LDTR];
	u32 limit = sel & SELECTOR_TI ? ldt->limit : cpu->gdtr.limit;
	unsigned dpl;
	u16 attr;

	*visible = false;
	if (SELECTOR_NULL(sel) || (sel & 0xfff8u) + 7 > limit ||
	    ((sel & SELECTOR_TI) && !(ldt->attr & SEG_P)))
		return 0;
	if (descriptor_read(cpu, sel, VEC_GP, 0, desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(desc);
	dpl = attr_dpl(attr);
	*visible = attr_is_conforming(attr) || (cpu->cpl <= dpl && SELECTOR_RPL(sel) <= dpl);
	return 0;
}

/* APM3 LAR, LSL: the system descriptors that they know, in legacy and in long mode. */
static bool known_to_lar(const struct cpu *cpu, u16 attr)
{
	u32 legacy = BIT(SYS_TSS16) | BIT(SYS_LDT) | BIT(SYS_TSS16_BUSY) | BIT(SYS_CALL_GATE16) |
		     BIT(SYS_TASK_GATE) | BIT(SYS_TSS32) | BIT(SYS_TSS32_BUSY) |
		     BIT(SYS_CALL_GATE32);
	u32 wide = BIT(SYS_LDT) | BIT(SYS_TSS32) | BIT(SYS_TSS32_BUSY) | BIT(SYS_CALL_GATE32);

	return (attr & SEG_S) || ((cpu_lma(cpu) ? wide : legacy) >> (attr & SEG_TYPE) & 1);
}

static bool known_to_lsl(const struct cpu *cpu, u16 attr)
{
	unsigned type = attr & SEG_TYPE;

	return known_to_lar(cpu, attr) &&
	       ((attr & SEG_S) ||
		       (type != SYS_CALL_GATE16 && type != SYS_TASK_GATE && type != SYS_CALL_GATE32));
}

/* The selector and descriptor of the r/m operand; #UD where selectors name nothing. */
static int inspect_operand(struct cpu *cpu, const struct insn *insn, struct descriptor *desc,
	bool *visible)
{
	u64 sel;

	if (!cpu_protected(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (operand_read_rm(cpu, insn, 2, &sel))
		return OUTCOME_FAULT;
	return inspect(cpu, sel, desc, visible);
}

int exec_LAR(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor desc;
	bool visible;

	if (inspect_operand(cpu, insn, &desc, &visible))
		return OUTCOME_FAULT;
	visible = visible && known_to_lar(cpu, descriptor_attr(&desc));
	if (visible) {
		u32 rights = (desc.low >> 32) & (insn->opsize == 2 ? 0xff00 : 0x00f0ff00);

		gpr_write(cpu, insn->reg, insn->opsize, rights);
	}
	set_zf(cpu, visible);
	return OUTCOME_NEXT;
}

int exec_LSL(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor desc;
	bool visible;

	if (inspect_operand(cpu, insn, &desc, &visible))
		return OUTCOME_FAULT;
	visible = visible && known_to_lsl(cpu, descriptor_attr(&desc));
	if (visible) {
		struct segment seg;

		segment_from_descriptor(&seg, 0, &desc);
		gpr_write(cpu, insn->reg, insn->opsize, seg.limit);
	}
	set_zf(cpu, visible);
	return OUTCOME_NEXT;
}

int exec_VERR(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor desc;
	bool visible;
	u16 attr;

	if (inspect_operand(cpu, insn, &desc, &visible))
		return OUTCOME_FAULT;
	if (visible) {
		attr = descriptor_attr(&desc);
		visible = (attr & SEG_S) && (!(attr & SEG_CODE) || (attr & SEG_READABLE));
	}
	set_zf(cpu, visible);
	return OUTCOME_NEXT;
}

int exec_VERW(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor desc;
	bool visible;

	if (inspect_operand(cpu, insn, &desc, &visible))
		return OUTCOME_FAULT;
	set_zf(cpu, visible && attr_is_writable(descriptor_attr(&desc)));
	return OUTCOME_NEXT;
}

int exec_ARPL(struct cpu *cpu, const struct insn *insn)
{
	u64 sel, rpl = SELECTOR_RPL(cpu->gpr[insn->reg]);

	if (!cpu_protected(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (operand_read_rm(cpu, insn, 2, &sel))
		return OUTCOME_FAULT;
	if (SELECTOR_RPL(sel) >= rpl) {
		set_zf(cpu, false);
		return OUTCOME_NEXT;
	}
	if (operand_write_rm(cpu, insn, 2, (sel & ~3ull) | rpl))
		return OUTCOME_FAULT;
	set_zf(cpu, true);
	return OUTCOME_NEXT;
}
