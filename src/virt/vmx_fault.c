// SPDX-License-Identifier: MIT
/*
 * What EPT and the APIC-access page refuse: exits, or virtualization exceptions, SDM3 26.5.7 and
 * 28.2.1; and the page-modification log, 29.3.6.
 */
#include "cpu/handlers.h"
#include "virt/vmx.h"

/* Layout of the virtualization-exception information area, table 26-1. */
struct ve_information {
	u32 reason;
	u32 busy;
	u64 qualification, guest_linear, guest_physical;
	u16 eptp_index;
};

/* 26.5.7: an EPT violation that may become a #VE does. */
static bool virtualization_exception(struct cpu *cpu, const struct fault *fault)
{
	const struct vmx *vmx = vmx_of(cpu);
	struct ve_information *area;
	u64 offset;

	if (!(vmx->secondary & SEC_EPT_VE) || fault->suppress_ve || cpu->event.valid ||
	    !(cpu->cr0 & CR0_PE))
		return false;
	area = (struct ve_information *)vmx_page(cpu, vmx->vmcs.ve_information_address, &offset);
	if (!area || __atomic_load_n(&area->busy, __ATOMIC_RELAXED))
		return false;
	area->reason = VMX_EXIT_EPT_VIOLATION;
	area->busy = 0xffffffff;
	area->qualification = fault->qualification;
	area->guest_linear = fault->address;
	area->guest_physical = fault->gpa;
	area->eptp_index = vmx->vmcs.eptp_index;
	vmx_page_written(cpu, offset, sizeof(*area));
	return true;
}

void vmx_nested_fault(struct cpu *cpu, const struct fault *fault)
{
	/* 28.2.1: the same bit as in the interruption information, and not in what others tell */
	u64 nmi_unblocked = cpu->iret_unblocked && !cpu->event.valid ? INTR_INFO_NMI_UNBLOCKED : 0;
	struct vmx_exit exit = {
		.guest_linear = fault->linear_valid ? fault->address : 0,
		.guest_physical = fault->gpa,
		.fault = !cpu->event.valid,
	};

	switch (fault->kind) {
	case FAULT_EPT_VIOLATION:
		if (virtualization_exception(cpu, fault)) {
			cpu_fault(cpu, VEC_VE);
			cpu_deliver_fault(cpu);
			return;
		}
		exit.reason = VMX_EXIT_EPT_VIOLATION;
		exit.qualification = fault->qualification | nmi_unblocked;
		break;
	case FAULT_EPT_MISCONFIGURATION:
		exit.reason = VMX_EXIT_EPT_MISCONFIGURATION;
		break;
	case FAULT_PML_FULL:
		exit.reason = VMX_EXIT_PML_FULL;
		exit.qualification = nmi_unblocked;
		exit.guest_physical = 0;
		break;
	default:
		exit.reason = VMX_EXIT_APIC_ACCESS;
		exit.qualification = vmx_apic_access_qualification(cpu, fault->gpa, fault->access,
			fault->in_walk);
		exit.guest_physical = 0;
		break;
	}
	vmx_exit(cpu, &exit);
}

/* SDM3 29.3.6: the log grows downwards from entry 511. */
#define PML_ENTRIES 512

bool vmx_log_dirty(struct cpu *cpu, u64 gpa)
{
	struct vmcs *v = &vmx_of(cpu)->vmcs;
	u64 offset, *log;

	if (v->pml_index >= PML_ENTRIES)
		return false;
	log = (u64 *)vmx_page(cpu, v->pml_address, &offset);
	if (log) {
		__atomic_store_n(&log[v->pml_index], gpa & PAGE_MASK, __ATOMIC_RELAXED);
		vmx_page_written(cpu, offset, PAGE_SIZE);
	}
	v->pml_index = (u16)(v->pml_index - 1);
	return true;
}
