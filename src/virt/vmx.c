// SPDX-License-Identifier: MIT
/*
 * The instructions of Intel's virtualization unit, SDM3 31.3, but for VMREAD and VMWRITE
 * (vmx_vmcs.c), INVEPT, INVVPID and VMFUNC (vmx_invalidate.c); what VMLAUNCH and VMRESUME do is
 * vmx_entry.c.
 *
 * Not modelled: SMM and its dual-monitor treatment, SMX. VMXON does not care about A20, which the
 * machine has not got.
 */
#include <errno.h>
#include <stdlib.h>

#include "cpu/handlers.h"
#include "cpu/tlb.h"
#include "virt/vmx.h"
#include "virt/vmx_caps.h"

/* ---- how instructions end, SDM3 31.2 ---- */

int vmx_succeed(struct cpu *cpu)
{
	cpu->aflags = aflags_from_rflags(0);
	return OUTCOME_NEXT;
}

int vmx_fail_invalid(struct cpu *cpu)
{
	cpu->aflags = aflags_from_rflags(RFLAGS_CF);
	return OUTCOME_NEXT;
}

int vmx_fail_valid(struct cpu *cpu, enum vmx_error error)
{
	vmx_of(cpu)->vmcs.instruction_error = error;
	cpu->aflags = aflags_from_rflags(RFLAGS_ZF);
	return OUTCOME_NEXT;
}

/* A guest's VMREAD and VMWRITE leave the number in the shadow VMCS, SDM3 25.10. */
int vmx_fail(struct cpu *cpu, enum vmx_error error)
{
	struct vmx *vmx = vmx_of(cpu);

	if (!cpu->in_guest)
		return vmx->current_pa == VMCS_NONE ? vmx_fail_invalid(cpu) :
						      vmx_fail_valid(cpu, error);
	vmx_shadow_write(cpu, &vmx->shadow->instruction_error, error);
	cpu->aflags = aflags_from_rflags(RFLAGS_ZF);
	return OUTCOME_NEXT;
}

/* ---- the instructions ---- */

static bool mode_has_vmx(const struct cpu *cpu)
{
	return (cpu->cr0 & CR0_PE) && !cpu_v86(cpu) && (!cpu_lma(cpu) || cpu_long64(cpu));
}

/* The 64-bit pointer in memory that names a VMCS. */
static int read_pointer(struct cpu *cpu, const struct insn *insn, u64 *pa)
{
	return cpu_read_seg(cpu, insn->seg, cpu_effective_address(cpu, insn), pa, sizeof(*pa));
}

static bool pointer_valid(const struct cpu *cpu, u64 pa)
{
	return !(pa & ~PAGE_MASK) && !(pa >> cpu->phys_bits);
}

/*
 * VMCLEAR's and VMPTRLD's, with the errors of one that cannot be and of the VMXON region. False:
 * the instruction has ended with *outcome.
 */
static bool vmcs_pointer(struct cpu *cpu, const struct insn *insn, enum vmx_error address,
	enum vmx_error vmxon, u64 *pa, int *outcome)
{
	if (read_pointer(cpu, insn, pa))
		*outcome = OUTCOME_FAULT;
	else if (!pointer_valid(cpu, *pa))
		*outcome = vmx_fail(cpu, address);
	else if (*pa == vmx_of(cpu)->vmxon_pa)
		*outcome = vmx_fail(cpu, vmxon);
	else
		return true;
	return false;
}

/* What lies at a region's start; all ones where no RAM is. */
static u32 region_revision(const struct vmcs *memory)
{
	return memory ? __atomic_load_n(&memory->revision, __ATOMIC_RELAXED) : ~0u;
}

static int vmxon(struct cpu *cpu, const struct insn *insn)
{
	struct vmx *vmx = vmx_of(cpu);
	const u64 enabled = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX;
	u64 pa, offset;

	if (!insn->is_mem || !(cpu->cr4 & CR4_VMXE) || !mode_has_vmx(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->in_guest) {
		vmx_exit_insn(cpu, insn, VMX_EXIT_VMXON, vmx_displacement(cpu, insn),
			vmx_instruction_info(insn));
		return OUTCOME_JUMP;
	}
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (vmx->on)
		return vmx_fail(cpu, VMX_ERROR_VMXON_IN_ROOT);
	if ((~cpu->cr0 & VMX_CR0_FIXED0) || (~cpu->cr4 & VMX_CR4_FIXED0) ||
	    (vmx->feature_control & enabled) != enabled)
		return cpu_fault_gp0(cpu);
	if (read_pointer(cpu, insn, &pa))
		return OUTCOME_FAULT;
	if (!pointer_valid(cpu, pa) ||
	    region_revision((struct vmcs *)vmx_page(cpu, pa, &offset)) != VMCS_REVISION)
		return vmx_fail_invalid(cpu);
	vmx->on = true;
	vmx->vmxon_pa = pa;
	cpu->vmx_root = true;
	cpu->cr0_fixed1 = VMX_CR0_FIXED0;
	cpu->cr4_fixed1 = VMX_CR4_FIXED0;
	return vmx_succeed(cpu);
}

static int vmxoff(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	vmx_store_region(cpu);
	vmx_forget_region(cpu);
	vmx->on = false;
	cpu->vmx_root = false;
	cpu->cr0_fixed1 = cpu->cr4_fixed1 = 0;
	/* an INIT that was blocked comes now */
	__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_RELAXED);
	return vmx_succeed(cpu);
}

static int vmclear(struct cpu *cpu, const struct insn *insn)
{
	struct vmx *vmx = vmx_of(cpu);
	struct vmcs *memory;
	u64 pa, offset;
	int outcome;

	if (!vmcs_pointer(cpu, insn, VMX_ERROR_VMCLEAR_ADDRESS, VMX_ERROR_VMCLEAR_VMXON, &pa,
		    &outcome))
		return outcome;
	if (pa == vmx->current_pa) {
		vmx->vmcs.launched = false;
		vmx_store_region(cpu);
		vmx_forget_region(cpu);
		return vmx_succeed(cpu);
	}
	memory = (struct vmcs *)vmx_page(cpu, pa, &offset);
	if (memory) {
		memory->launched = false;
		vmx_page_written(cpu, offset, sizeof(*memory));
	}
	return vmx_succeed(cpu);
}

static int vmptrld(struct cpu *cpu, const struct insn *insn)
{
	struct vmx *vmx = vmx_of(cpu);
	struct vmcs *memory;
	u64 pa, offset;
	int outcome;

	if (!vmcs_pointer(cpu, insn, VMX_ERROR_VMPTRLD_ADDRESS, VMX_ERROR_VMPTRLD_VMXON, &pa,
		    &outcome))
		return outcome;
	if (pa == vmx->current_pa)
		return vmx_succeed(cpu);
	memory = (struct vmcs *)vmx_page(cpu, pa, &offset);
	if ((region_revision(memory) & ~VMCS_SHADOW) != VMCS_REVISION)
		return vmx_fail(cpu, VMX_ERROR_VMPTRLD_REVISION);
	vmx_store_region(cpu);
	vmx_load_region(cpu, pa, memory, offset);
	return vmx_succeed(cpu);
}

static int vmptrst(struct cpu *cpu, const struct insn *insn)
{
	u64 pa = vmx_of(cpu)->current_pa;

	if (cpu_write_seg(cpu, insn->seg, cpu_effective_address(cpu, insn), &pa, sizeof(pa)))
		return OUTCOME_FAULT;
	return vmx_succeed(cpu);
}

/* The exit of each instruction, by which a guest leaves whatever its CPL. */
static u32 exit_of(unsigned op)
{
	switch (op) {
	case OP_VMCLEAR:
		return VMX_EXIT_VMCLEAR;
	case OP_VMLAUNCH:
		return VMX_EXIT_VMLAUNCH;
	case OP_VMPTRLD:
		return VMX_EXIT_VMPTRLD;
	case OP_VMPTRST:
		return VMX_EXIT_VMPTRST;
	case OP_VMREAD:
		return VMX_EXIT_VMREAD;
	case OP_VMRESUME:
		return VMX_EXIT_VMRESUME;
	case OP_VMWRITE:
		return VMX_EXIT_VMWRITE;
	case OP_VMXOFF:
		return VMX_EXIT_VMXOFF;
	case OP_INVEPT:
		return VMX_EXIT_INVEPT;
	default:
		return VMX_EXIT_INVVPID;
	}
}

/* SDM3 26.1.3: VMREAD and VMWRITE of a field whose bit is clear reach the shadow VMCS. */
static bool shadowed(struct cpu *cpu, const struct insn *insn)
{
	const struct vmx *vmx = vmx_of(cpu);
	u64 encoding = gpr_read(cpu, insn->reg, cpu_long64(cpu) ? 8 : 4);
	const u8 *bitmap = insn->op == OP_VMREAD ? vmx->vmread_bitmap : vmx->vmwrite_bitmap;

	if (insn->op != OP_VMREAD && insn->op != OP_VMWRITE)
		return false;
	if (!(vmx->secondary & SEC_SHADOWING) || encoding >> 15 || !bitmap)
		return false;
	return !(__atomic_load_n(&bitmap[encoding >> 3], __ATOMIC_RELAXED) >> (encoding & 7) & 1);
}

static u32 info_of(const struct insn *insn)
{
	bool operands = insn->op != OP_VMLAUNCH && insn->op != OP_VMRESUME && insn->op != OP_VMXOFF;

	return operands ? vmx_instruction_info(insn) : 0;
}

/* What all but VMXON, VMCALL and VMFUNC check first; SDM3 31.3 at each. OUTCOME_NEXT: go on. */
static int gate(struct cpu *cpu, const struct insn *insn)
{
	if (!vmx_of(cpu)->on || !mode_has_vmx(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->in_guest && !shadowed(cpu, insn)) {
		vmx_exit_insn(cpu, insn, exit_of(insn->op), vmx_displacement(cpu, insn),
			info_of(insn));
		return OUTCOME_JUMP;
	}
	return cpu->cpl ? cpu_fault_gp0(cpu) : OUTCOME_NEXT;
}

/* From a guest in any mode and at any CPL, SDM3 31.3 VMCALL. */
static int vmcall(struct cpu *cpu, const struct insn *insn)
{
	if (!vmx_of(cpu)->on)
		return cpu_fault(cpu, VEC_UD);
	if (cpu->in_guest) {
		vmx_exit_insn(cpu, insn, VMX_EXIT_VMCALL, 0, 0);
		return OUTCOME_JUMP;
	}
	if (!mode_has_vmx(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	return vmx_fail(cpu, VMX_ERROR_VMCALL_IN_ROOT);
}

static int execute(struct cpu *cpu, const struct insn *insn)
{
	int outcome;

	switch (insn->op) {
	case OP_VMXON:
		return vmxon(cpu, insn);
	case OP_VMCALL:
		return vmcall(cpu, insn);
	case OP_VMFUNC:
		return vmx_vmfunc(cpu, insn);
	case OP_VMXOFF:
	case OP_VMCLEAR:
	case OP_VMPTRLD:
	case OP_VMPTRST:
	case OP_VMREAD:
	case OP_VMWRITE:
	case OP_VMLAUNCH:
	case OP_VMRESUME:
	case OP_INVEPT:
	case OP_INVVPID:
		break;
	default: /* AMD's */
		return cpu_fault(cpu, VEC_UD);
	}
	outcome = gate(cpu, insn);
	if (outcome != OUTCOME_NEXT)
		return outcome;
	switch (insn->op) {
	case OP_VMXOFF:
		return vmxoff(cpu);
	case OP_VMCLEAR:
		return vmclear(cpu, insn);
	case OP_VMPTRLD:
		return vmptrld(cpu, insn);
	case OP_VMPTRST:
		return vmptrst(cpu, insn);
	case OP_VMREAD:
		return vmx_vmread(cpu, insn);
	case OP_VMWRITE:
		return vmx_vmwrite(cpu, insn);
	case OP_INVEPT:
		return vmx_invept(cpu, insn);
	case OP_INVVPID:
		return vmx_invvpid(cpu, insn);
	default:
		return vmx_enter(cpu, insn);
	}
}

/* RESET and INIT leave VMX operation; only RESET unlocks FEATURE_CONTROL. */
static void reset(struct cpu *cpu, bool init)
{
	struct vmx *vmx = vmx_of(cpu);

	if (cpu->in_guest) {
		cpu_account(cpu, LEVEL_GUEST);
		cpu_leave_guest_tsc(cpu);
	}
	vmx_leave_world(cpu);
	vmx_forget_region(cpu);
	vmx->on = false;
	cpu->wake_at = 0;
	cpu->vmx_root = false;
	cpu->cr0_fixed1 = cpu->cr4_fixed1 = 0;
	if (!init)
		vmx->feature_control = 0;
}

const struct virt_ops vmx_ops = {
	.intercept = vmx_intercept,
	.nested_fault = vmx_nested_fault,
	.log_dirty = vmx_log_dirty,
	.apic_virtualized = vmx_apic_virtualized,
	.apic_read = vmx_apic_read,
	.apic_write = vmx_apic_write,
	.execute = execute,
	.read_msr = vmx_read_msr,
	.write_msr = vmx_write_msr,
	.poll = vmx_poll,
	.wakes = vmx_wakes,
	.read_cr8 = vmx_apic_read_cr8,
	.write_cr8 = vmx_apic_write_cr8,
	.reset = reset,
};

int vmx_new(struct cpu *cpu)
{
	struct vmx *vmx = calloc(1, sizeof(*vmx));

	if (!vmx)
		return -ENOMEM;
	cpu->virt = &vmx_ops;
	cpu->virt_state = vmx;
	reset(cpu, false);
	return 0;
}

void vmx_free(struct cpu *cpu)
{
	free(cpu->virt_state);
	cpu->virt_state = NULL;
	cpu->virt = NULL;
}
