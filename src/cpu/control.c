/* SPDX-License-Identifier: MIT */
/*
 * Control and debug registers: MOV, LMSW, SMSW, CLTS, and what writing one brings with it (checks,
 * flushes, PDPTEs). APM2 3.1, 5.1, 5.5; SDM2 MOV; SDM3 2.5 and 4.10.
 *
 * Exceptions that need no memory come before the hypervisor's intercept, APM2 15.7; the value's own
 * checks come after it.
 */
#include "cpu/descriptor.h"
#include "cpu/tlb.h"

#define CR0_EXIST (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | \
	CR0_NW | CR0_CD | CR0_PG)
#define CR3_NO_FLUSH BIT(63)

static void flush_world(struct cpu *cpu)
{
	tlb_flush_asid(cpu, cpu->nested_asid);
}

static inline u32 current_pcid(const struct cpu *cpu)
{
	return cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

/* PAE paging outside long mode keeps its PDPTEs in the CPU, APM2 5.2.3. */
static bool uses_pdptes(u64 cr0, u64 cr4, u64 efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* Turning paging on with LME enters long mode, turning it off leaves it: APM2 14.6.1, 14.6.2 */
static int long_mode_switch(struct cpu *cpu, u64 cr0, u64 *efer)
{
	bool cs_long = cpu->seg[CS].attr & SEG_L;

	*efer = cpu->efer;
	if ((cr0 ^ cpu->cr0) & CR0_PG) {
		if (!(cr0 & CR0_PG)) {
			/* SDM2 MOV: not from 64-bit mode, not with PCIDs */
			if ((cpu_lma(cpu) && cs_long) || (cpu->cr4 & CR4_PCIDE))
				return cpu_fault_gp0(cpu);
			*efer &= ~EFER_LMA;
		} else if (cpu->efer & EFER_LME) {
			if (!(cpu->cr4 & CR4_PAE) || cs_long)
				return cpu_fault_gp0(cpu);
			*efer |= EFER_LMA;
		}
	}
	return 0;
}

int cpu_write_cr0(struct cpu *cpu, u64 value)
{
	u64 changed, efer;

	/* APM2 3.1.1; what VMX operation fixes, SDM3 24.8 */
	if (value >> 32 || (~value & cpu->cr0_fixed1))
		return cpu_fault_gp0(cpu);
	value = (value & CR0_EXIST) | CR0_ET;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return cpu_fault_gp0(cpu);
	if ((value & CR0_NW) && !(value & CR0_CD))
		return cpu_fault_gp0(cpu);
	if (long_mode_switch(cpu, value, &efer))
		return OUTCOME_FAULT;
	changed = value ^ cpu->cr0;
	/* SDM3 4.4.1 */
	if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && uses_pdptes(value, cpu->cr4, efer) &&
	    mmu_load_pdptes(cpu, cpu->cr3))
		return OUTCOME_FAULT;
	cpu->cr0 = value;
	cpu->efer = efer;
	/* WP is a part of the context's key */
	if (changed & CR0_PG)
		flush_world(cpu);
	cpu_mode_update(cpu);
	return 0;
}

int cpu_write_cr3(struct cpu *cpu, u64 value)
{
	bool keep = false;

	if (cpu->cr4 & CR4_PCIDE) {
		keep = value & CR3_NO_FLUSH;
		value &= ~CR3_NO_FLUSH;
	}
	if (cpu_lma(cpu) && value >> cpu->phys_bits) /* APM2 3.1.2 */
		return cpu_fault_gp0(cpu);
	if (uses_pdptes(cpu->cr0, cpu->cr4, cpu->efer) && mmu_load_pdptes(cpu, value))
		return OUTCOME_FAULT;
	if (current_pcid(cpu) != (cpu->cr4 & CR4_PCIDE ? value & 0xfff : 0))
		cpu->context_stale = true;
	cpu->cr3 = value;
	if (!keep)
		tlb_flush_pcid(cpu, cpu->nested_asid, current_pcid(cpu));
	return 0;
}

int cpu_write_cr4(struct cpu *cpu, u64 value)
{
	const u64 flushing = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_LA57;
	u64 changed = value ^ cpu->cr4;

	if ((value & ~cpu_cr4_valid(cpu)) || (~value & cpu->cr4_fixed1))
		return cpu_fault_gp0(cpu);
	if (cpu_lma(cpu) && !(value & CR4_PAE))
		return cpu_fault_gp0(cpu);
	/* SDM3 4.10.1 */
	if ((changed & value & CR4_PCIDE) && (!cpu_lma(cpu) || (cpu->cr3 & 0xfff)))
		return cpu_fault_gp0(cpu);
	/* SDM3 4.4.1 */
	if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
	    uses_pdptes(cpu->cr0, value, cpu->efer) && mmu_load_pdptes(cpu, cpu->cr3))
		return OUTCOME_FAULT;
	cpu->cr4 = value;
	/* SDM3 4.10.4.1: what one may have cached under the old rules */
	if ((changed & flushing) || (changed & ~value & CR4_PCIDE))
		flush_world(cpu);
	cpu_mode_update(cpu);
	return 0;
}

int cpu_write_efer(struct cpu *cpu, u64 value)
{
	u64 changed;

	value = (value & ~EFER_LMA) | (cpu->efer & EFER_LMA); /* hardware's own, APM2 3.1.7 */
	changed = value ^ cpu->efer;
	if (value & ~cpu_efer_valid(cpu))
		return cpu_fault_gp0(cpu);
	if ((changed & EFER_LME) && (cpu->cr0 & CR0_PG))
		return cpu_fault_gp0(cpu);
	cpu->efer = value;
	cpu_mode_update(cpu);
	return 0;
}

/* CR8 is the local APIC's TPR, or the one a hypervisor virtualizes. */
static u64 read_cr8(struct cpu *cpu)
{
	u64 value = 0;

	if (cpu->virtual_tpr)
		return cpu->virt->read_cr8(cpu);
	if (cpu->intc_ops) {
		cpu_park_fpu(cpu);
		machine_lock(cpu->machine);
		value = cpu->intc_ops->read_cr8(cpu->intc);
		machine_unlock(cpu->machine);
	}
	return value;
}

static int write_cr8(struct cpu *cpu, u64 value)
{
	if (value & ~0xfull)
		return cpu_fault_gp0(cpu);
	if (cpu->virtual_tpr) {
		cpu->virt->write_cr8(cpu, value);
	} else if (cpu->intc_ops) {
		cpu_park_fpu(cpu);
		machine_lock(cpu->machine);
		cpu->intc_ops->write_cr8(cpu->intc, value);
		machine_unlock(cpu->machine);
	}
	return 0;
}

static bool control_register_exists(unsigned number)
{
	return number == 0 || (number >= 2 && number <= 4) || number == 8;
}

/* CR0 and CR4 as a guest reads and writes them: some bits may be its hypervisor's, SDM3 26.3. */
static u64 visible_cr0(const struct cpu *cpu)
{
	return (cpu->cr0 & ~cpu->cr0_mask) | (cpu->cr0_shadow & cpu->cr0_mask);
}

static u64 visible_cr4(const struct cpu *cpu)
{
	return (cpu->cr4 & ~cpu->cr4_mask) | (cpu->cr4_shadow & cpu->cr4_mask);
}

static int write_own_cr0(struct cpu *cpu, u64 value)
{
	return cpu_write_cr0(cpu, (value & ~cpu->cr0_mask) | (cpu->cr0 & cpu->cr0_mask));
}

static int write_own_cr4(struct cpu *cpu, u64 value)
{
	return cpu_write_cr4(cpu, (value & ~cpu->cr4_mask) | (cpu->cr4 & cpu->cr4_mask));
}

int exec_MOV_FROM_CR(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = cpu_long64(cpu) ? 8 : 4;
	u64 value;

	if (!control_register_exists(insn->reg))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_CR_READ, insn->reg, insn->rm))
		return OUTCOME_JUMP;
	switch (insn->reg) {
	case 0:
		value = visible_cr0(cpu);
		break;
	case 2:
		value = cpu->cr2;
		break;
	case 3:
		value = cpu->cr3;
		break;
	case 4:
		value = visible_cr4(cpu);
		break;
	default:
		value = read_cr8(cpu);
		break;
	}
	gpr_write(cpu, insn->rm, size, value);
	return OUTCOME_NEXT;
}

int exec_MOV_TO_CR(struct cpu *cpu, const struct insn *insn)
{
	u64 value = gpr_read(cpu, insn->rm, cpu_long64(cpu) ? 8 : 4);

	if (!control_register_exists(insn->reg))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_CR_WRITE, insn->reg, value))
		return OUTCOME_JUMP;
	switch (insn->reg) {
	case 0:
		return write_own_cr0(cpu, value);
	case 2:
		cpu->cr2 = value;
		return OUTCOME_NEXT;
	case 3:
		return cpu_write_cr3(cpu, value);
	case 4:
		return write_own_cr4(cpu, value);
	default:
		return write_cr8(cpu, value) ? OUTCOME_FAULT : cpu_end_block(cpu, insn);
	}
}

int exec_CLTS(struct cpu *cpu, const struct insn *insn)
{
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_CR_WRITE, 0, cpu->cr0 & ~CR0_TS))
		return OUTCOME_JUMP;
	cpu->cr0 &= ~(CR0_TS & ~cpu->cr0_mask);
	cpu_mode_update(cpu);
	return OUTCOME_NEXT;
}

/* APM3 LMSW: the low four bits, PE only upwards. */
int exec_LMSW(struct cpu *cpu, const struct insn *insn)
{
	const u64 low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
	u64 value;

	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (operand_read_rm(cpu, insn, 2, &value))
		return OUTCOME_FAULT;
	if (cpu_intercepted(cpu, insn, VIRT_CR_WRITE, 0, value))
		return OUTCOME_JUMP;
	return write_own_cr0(cpu, (cpu->cr0 & ~(low & ~CR0_PE)) | (value & low));
}

int exec_SMSW(struct cpu *cpu, const struct insn *insn)
{
	if (cpu->cpl && (cpu->cr4 & CR4_UMIP)) /* APM2 3.1.3 */
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_CR_READ, 0, insn->is_mem ? 0 : insn->rm))
		return OUTCOME_JUMP;
	return operand_write_rm(cpu, insn, insn->is_mem ? 2 : insn->opsize, visible_cr0(cpu)) ?
		OUTCOME_FAULT : OUTCOME_NEXT;
}

/* ---- debug registers, APM2 13.1 ---- */

/*
 * Number, privilege, general detection, and the hypervisor's question, whose turn is the vendor's:
 * first of all but for the number in SDM3 26.1.3, last in APM2 15.7. DR4 and DR5 are DR6 and DR7
 * without CR4.DE. OUTCOME_NEXT: go on.
 */
static int debug_register_check(struct cpu *cpu, const struct insn *insn, enum virt_event event,
	unsigned *number)
{
	bool intel = cpu_is_intel(cpu);

	*number = insn->reg;
	if (*number > 7)
		return cpu_fault(cpu, VEC_UD);
	if (intel && cpu_intercepted(cpu, insn, event, insn->reg, insn->rm))
		return OUTCOME_JUMP;
	if (*number == 4 || *number == 5) {
		if (cpu->cr4 & CR4_DE)
			return cpu_fault(cpu, VEC_UD);
		*number += 2;
	}
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu->dr7 & DR7_GD) {
		cpu_fault(cpu, VEC_DB);
		cpu->fault.dr6 = DR6_BD;
		return OUTCOME_FAULT;
	}
	if (!intel && cpu_intercepted(cpu, insn, event, insn->reg, insn->rm))
		return OUTCOME_JUMP;
	return OUTCOME_NEXT;
}

int exec_MOV_FROM_DR(struct cpu *cpu, const struct insn *insn)
{
	unsigned number;
	int outcome = debug_register_check(cpu, insn, VIRT_DR_READ, &number);

	if (outcome != OUTCOME_NEXT)
		return outcome;
	gpr_write(cpu, insn->rm, cpu_long64(cpu) ? 8 : 4,
		number < 4 ? cpu->dr[number] : number == 6 ? cpu->dr6 : cpu->dr7);
	return OUTCOME_NEXT;
}

int exec_MOV_TO_DR(struct cpu *cpu, const struct insn *insn)
{
	u64 value = gpr_read(cpu, insn->rm, cpu_long64(cpu) ? 8 : 4);
	unsigned number;
	int outcome = debug_register_check(cpu, insn, VIRT_DR_WRITE, &number);

	if (outcome != OUTCOME_NEXT)
		return outcome;
	if (number < 4) {
		cpu->dr[number] = value;
		cpu_mode_update(cpu); /* breakpoints may be armed */
		return OUTCOME_NEXT;
	}
	if (value >> 32) /* APM2 13.1.1.3, 13.1.1.4 */
		return cpu_fault_gp0(cpu);
	if (number == 6) {
		cpu->dr6 = (value & (MASK(3, 0) | DR6_BD | DR6_BS | DR6_BT)) | DR6_FIXED1;
	} else {
		cpu->dr7 = (value & (MASK(31, 16) | DR7_GD | DR7_LE_GE | DR7_ENABLE)) | DR7_FIXED1;
		cpu_mode_update(cpu);
	}
	return cpu_end_block(cpu, insn);
}

/* ---- invalidation, APM2 5.5 ---- */

int exec_INVLPG(struct cpu *cpu, const struct insn *insn)
{
	u64 linear = cpu_effective_address(cpu, insn);

	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (!cpu_long64(cpu))
		linear = (u32)(linear + cpu->seg[insn->seg].base);
	else if (insn->seg == FS || insn->seg == GS)
		linear += cpu->seg[insn->seg].base;
	if (cpu_intercepted(cpu, insn, VIRT_INVLPG, linear, 0))
		return OUTCOME_JUMP;
	/* a global page is dropped for every PCID, SDM3 4.10.4.1 */
	if (is_canonical(linear))
		tlb_flush_page(cpu, cpu->nested_asid, current_pcid(cpu), linear,
			(cpu->cr4 & (CR4_PCIDE | CR4_PGE)) == (CR4_PCIDE | CR4_PGE));
	return OUTCOME_NEXT;
}

int exec_INVPCID(struct cpu *cpu, const struct insn *insn)
{
	enum { ONE_ADDRESS, ONE_PCID, ALL_AND_GLOBAL, ALL };
	u64 type = gpr_read(cpu, insn->reg, cpu_long64(cpu) ? 8 : 4), descriptor[2];
	u64 base = cpu_long64(cpu) && insn->seg < FS ? 0 : cpu->seg[insn->seg].base;

	if (unlikely(cpu->guest_lacks & LACKS_INVPCID))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_INVPCID, base + cpu_effective_address(cpu, insn), type))
		return OUTCOME_JUMP;
	if (type > ALL)
		return cpu_fault_gp0(cpu);
	if (cpu_read_seg(cpu, insn->seg, cpu_effective_address(cpu, insn), descriptor,
		    sizeof(descriptor)))
		return OUTCOME_FAULT;
	/* SDM2 INVPCID */
	if (descriptor[0] >> 12)
		return cpu_fault_gp0(cpu);
	if (type <= ONE_PCID && !(cpu->cr4 & CR4_PCIDE) && descriptor[0])
		return cpu_fault_gp0(cpu);
	if (type == ONE_ADDRESS && !is_canonical(descriptor[1]))
		return cpu_fault_gp0(cpu);
	if (type == ONE_ADDRESS)
		tlb_flush_page(cpu, cpu->nested_asid, descriptor[0], descriptor[1], false);
	else if (type == ONE_PCID)
		tlb_flush_pcid(cpu, cpu->nested_asid, descriptor[0]);
	else
		flush_world(cpu);
	return OUTCOME_NEXT;
}
