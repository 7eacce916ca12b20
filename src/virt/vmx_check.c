// SPDX-License-Identifier: MIT
/*
 * What a VM entry checks before it looks at the guest: the controls, SDM3 27.2.1, and the host-state
 * area, 27.2.2 to 27.2.4. One line a check, in the manual's order; the first that fails is recorded
 * with its section, its words and the fields it looked at, and the instruction ends with
 * VMfailValid.
 *
 * Only the copy of the VMCS is looked at. Not here: what is asked of controls that the capability
 * MSRs do not offer (vmx_caps.h), since those must be zero, and of SMM, which nobody enters.
 */
#include "virt/vmx_check.h"

#include "virt/vmx_caps.h"

u64 vmx_peek(struct cpu *cpu, u64 pa, unsigned size)
{
	struct space_hit hit = space_find(cpu->memory, pa);

	if (!hit.host || hit.contiguous < size)
		return ~0ull;
	return size == 8 ? __atomic_load_n((u64 *)hit.host, __ATOMIC_RELAXED) :
			   __atomic_load_n((u32 *)hit.host, __ATOMIC_RELAXED);
}

u64 vmx_perf_global_reserved(struct cpu *cpu)
{
	unsigned general, fixed;
	u32 leaf[4];

	cpu_cpuid(cpu, 0xa, 0, leaf);
	general = leaf[0] & 0xff ? leaf[0] >> 8 & 0xff : 0;
	fixed = leaf[0] & 0xff ? leaf[3] & 0x1f : 0;
	return ~((BIT(MIN(general, 32u)) - 1) | (BIT(fixed) - 1) << 32);
}

/* ---- 27.2.1.1: VM-execution control fields ---- */

static bool check_reserved_controls(struct vmx *vmx, const struct vmcs *v)
{
	FAIL_IF(VMX_PIN_ALLOWED0 & ~v->pin_controls, "27.2.1.1",
		"a pin-based control that must be 1 is 0", SHOW(pin_controls),
		SHOW_AS("allowed0", VMX_PIN_ALLOWED0));
	FAIL_IF(v->pin_controls & ~VMX_PIN_ALLOWED1, "27.2.1.1",
		"a pin-based control that must be 0 is 1", SHOW(pin_controls),
		SHOW_AS("allowed1", VMX_PIN_ALLOWED1));
	FAIL_IF(VMX_PROC_ALLOWED0 & ~v->cpu_controls, "27.2.1.1",
		"a primary processor-based control that must be 1 is 0", SHOW(cpu_controls),
		SHOW_AS("allowed0", VMX_PROC_ALLOWED0));
	FAIL_IF(v->cpu_controls & ~VMX_PROC_ALLOWED1, "27.2.1.1",
		"a primary processor-based control that must be 0 is 1", SHOW(cpu_controls),
		SHOW_AS("allowed1", VMX_PROC_ALLOWED1));
	FAIL_IF(vmx_secondary(v) & ~VMX_SEC_ALLOWED1, "27.2.1.1",
		"a secondary processor-based control that must be 0 is 1", SHOW(secondary_controls),
		SHOW_AS("allowed1", VMX_SEC_ALLOWED1));
	return true;
}

/* A field that must be a page's address within the width. */
#define FAIL_IF_NO_PAGE(what, name) \
	do { \
		FAIL_IF(v->name & ~PAGE_MASK, "27.2.1.1", "bits 11:0 of the " what " are not 0", \
			SHOW(name)); \
		FAIL_IF(vmx_beyond_width(cpu, v->name), "27.2.1.1", \
			"the " what " is beyond the physical-address width", SHOW(name)); \
	} while (0)

static bool check_bitmaps(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	FAIL_IF(v->cr3_target_count > VMX_CR3_TARGETS, "27.2.1.1",
		"the CR3-target count is greater than 4", SHOW(cr3_target_count));
	if (v->cpu_controls & PROC_IO_BITMAPS) {
		FAIL_IF_NO_PAGE("address of I/O bitmap A", io_bitmap_a);
		FAIL_IF_NO_PAGE("address of I/O bitmap B", io_bitmap_b);
	}
	if (v->cpu_controls & PROC_MSR_BITMAPS) {
		FAIL_IF_NO_PAGE("MSR-bitmap address", msr_bitmap);
	}
	return true;
}

#define VTPR 0x80 /* in the virtual-APIC page, SDM3 30.1.1 */

static bool check_tpr_shadow(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	u64 secondary = vmx_secondary(v), vtpr;

	if (!(v->cpu_controls & PROC_TPR_SHADOW))
		return true;
	FAIL_IF_NO_PAGE("virtual-APIC address", virtual_apic_address);
	if (secondary & SEC_VIRTUAL_INTERRUPTS)
		return true;
	FAIL_IF(v->tpr_threshold & ~0xfull, "27.2.1.1",
		"bits 31:4 of the TPR threshold are not 0, without virtual-interrupt delivery",
		SHOW(tpr_threshold));
	if (secondary & SEC_APIC_ACCESSES)
		return true;
	vtpr = vmx_peek(cpu, v->virtual_apic_address + VTPR, 4) & 0xff;
	FAIL_IF(v->tpr_threshold > vtpr >> 4, "27.2.1.1",
		"the TPR threshold is greater than bits 7:4 of VTPR", SHOW(tpr_threshold),
		SHOW_AS("vtpr", vtpr), SHOW(virtual_apic_address));
	return true;
}

static bool check_nmis(struct vmx *vmx, const struct vmcs *v)
{
	FAIL_IF(!(v->pin_controls & PIN_NMI) && (v->pin_controls & PIN_VIRTUAL_NMIS), "27.2.1.1",
		"\"virtual NMIs\" is 1 and \"NMI exiting\" is 0", SHOW(pin_controls));
	FAIL_IF(!(v->pin_controls & PIN_VIRTUAL_NMIS) && (v->cpu_controls & PROC_NMI_WINDOW),
		"27.2.1.1", "\"NMI-window exiting\" is 1 and \"virtual NMIs\" is 0",
		SHOW(cpu_controls), SHOW(pin_controls));
	return true;
}

static bool check_apic(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	bool tpr_shadow = v->cpu_controls & PROC_TPR_SHADOW;
	u64 secondary = vmx_secondary(v);

	if (secondary & SEC_APIC_ACCESSES) {
		FAIL_IF_NO_PAGE("APIC-access address", apic_access_address);
	}
	FAIL_IF(!tpr_shadow && (secondary & SEC_X2APIC), "27.2.1.1",
		"\"virtualize x2APIC mode\" is 1 and \"use TPR shadow\" is 0",
		SHOW(secondary_controls), SHOW(cpu_controls));
	FAIL_IF(!tpr_shadow && (secondary & SEC_APIC_REGISTERS), "27.2.1.1",
		"\"APIC-register virtualization\" is 1 and \"use TPR shadow\" is 0",
		SHOW(secondary_controls), SHOW(cpu_controls));
	FAIL_IF(!tpr_shadow && (secondary & SEC_VIRTUAL_INTERRUPTS), "27.2.1.1",
		"\"virtual-interrupt delivery\" is 1 and \"use TPR shadow\" is 0",
		SHOW(secondary_controls), SHOW(cpu_controls));
	FAIL_IF((secondary & SEC_X2APIC) && (secondary & SEC_APIC_ACCESSES), "27.2.1.1",
		"\"virtualize x2APIC mode\" and \"virtualize APIC accesses\" are both 1",
		SHOW(secondary_controls));
	FAIL_IF((secondary & SEC_VIRTUAL_INTERRUPTS) && !(v->pin_controls & PIN_EXTERNAL_INTERRUPT),
		"27.2.1.1",
		"\"virtual-interrupt delivery\" is 1 and \"external-interrupt exiting\" is 0",
		SHOW(secondary_controls), SHOW(pin_controls));
	return true;
}

static bool check_posted_interrupts(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	if (!(v->pin_controls & PIN_POSTED_INTERRUPTS))
		return true;
	FAIL_IF(!(vmx_secondary(v) & SEC_VIRTUAL_INTERRUPTS), "27.2.1.1",
		"\"process posted interrupts\" is 1 and \"virtual-interrupt delivery\" is 0",
		SHOW(pin_controls), SHOW(secondary_controls), SHOW(cpu_controls));
	FAIL_IF(!(v->exit_controls & EXIT_ACKNOWLEDGE), "27.2.1.1",
		"\"process posted interrupts\" is 1 and \"acknowledge interrupt on exit\" is 0",
		SHOW(pin_controls), SHOW(exit_controls));
	FAIL_IF(v->posted_interrupt_vector > 0xff, "27.2.1.1",
		"bits 15:8 of the posted-interrupt notification vector are not 0",
		SHOW(posted_interrupt_vector));
	FAIL_IF(v->posted_interrupt_descriptor & MASK(5, 0), "27.2.1.1",
		"bits 5:0 of the posted-interrupt descriptor address are not 0",
		SHOW(posted_interrupt_descriptor));
	FAIL_IF(vmx_beyond_width(cpu, v->posted_interrupt_descriptor), "27.2.1.1",
		"the posted-interrupt descriptor address is beyond the physical-address width",
		SHOW(posted_interrupt_descriptor));
	return true;
}

static bool check_eptp(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	unsigned type = v->eptp & EPTP_MEMORY_TYPE;

	if (!(vmx_secondary(v) & SEC_EPT))
		return true;
	FAIL_IF(type != 0 && type != 6, "27.2.1.1",
		"EPTP's memory type is neither UC (0) nor WB (6)", SHOW(eptp));
	FAIL_IF(EPTP_WALK_LENGTH(v->eptp) != 3, "27.2.1.1",
		"bits 5:3 of EPTP are not 3, a page-walk length of 4", SHOW(eptp));
	FAIL_IF(v->eptp & BIT(7), "27.2.1.1",
		"EPTP enables supervisor shadow-stack control, which is not supported", SHOW(eptp));
	FAIL_IF(v->eptp & MASK(11, 8), "27.2.1.1", "reserved bits 11:8 of EPTP are not 0",
		SHOW(eptp));
	FAIL_IF(vmx_beyond_width(cpu, v->eptp), "27.2.1.1",
		"EPTP has bits beyond the physical-address width", SHOW(eptp));
	return true;
}

static bool check_ept(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	u64 secondary = vmx_secondary(v);
	bool ept = secondary & SEC_EPT;

	FAIL_IF((secondary & SEC_VPID) && !v->vpid, "27.2.1.1",
		"\"enable VPID\" is 1 and the VPID is 0000h", SHOW(vpid), SHOW(secondary_controls));
	if (!check_eptp(cpu, vmx, v))
		return false;
	if (secondary & SEC_PML) {
		FAIL_IF(!ept, "27.2.1.1", "\"enable PML\" is 1 and \"enable EPT\" is 0",
			SHOW(secondary_controls));
		FAIL_IF_NO_PAGE("PML address", pml_address);
	}
	FAIL_IF((secondary & SEC_UNRESTRICTED) && !ept, "27.2.1.1",
		"\"unrestricted guest\" is 1 and \"enable EPT\" is 0", SHOW(secondary_controls));
	FAIL_IF((secondary & SEC_MODE_BASED_EXECUTE) && !ept, "27.2.1.1",
		"\"mode-based execute control for EPT\" is 1 and \"enable EPT\" is 0",
		SHOW(secondary_controls));
	return true;
}

static bool check_vm_functions(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	u64 secondary = vmx_secondary(v);

	if (!(secondary & SEC_VM_FUNCTIONS))
		return true;
	FAIL_IF(v->vm_function_controls & ~VMX_FUNCTIONS, "27.2.1.1",
		"a VM-function control that must be 0 is 1", SHOW(vm_function_controls),
		SHOW_AS("allowed1", VMX_FUNCTIONS));
	if (!(v->vm_function_controls & VM_FUNCTION_EPTP_SWITCHING))
		return true;
	FAIL_IF(!(secondary & SEC_EPT), "27.2.1.1",
		"\"EPTP switching\" is 1 and \"enable EPT\" is 0", SHOW(vm_function_controls),
		SHOW(secondary_controls));
	FAIL_IF_NO_PAGE("EPTP-list address", eptp_list_address);
	return true;
}

static bool check_shadowing(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	u64 secondary = vmx_secondary(v);

	if (secondary & SEC_SHADOWING) {
		FAIL_IF_NO_PAGE("VMREAD-bitmap address", vmread_bitmap);
		FAIL_IF_NO_PAGE("VMWRITE-bitmap address", vmwrite_bitmap);
	}
	if (secondary & SEC_EPT_VE)
		FAIL_IF_NO_PAGE("virtualization-exception information address",
			ve_information_address);
	FAIL_IF((secondary & SEC_TSC_SCALING) && !v->tsc_multiplier, "27.2.1.1",
		"\"use TSC scaling\" is 1 and the TSC multiplier is 0", SHOW(tsc_multiplier),
		SHOW(secondary_controls));
	return true;
}

static bool check_execution_controls(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	return check_reserved_controls(vmx, v) && check_bitmaps(cpu, vmx, v) &&
	       check_tpr_shadow(cpu, vmx, v) && check_nmis(vmx, v) && check_apic(cpu, vmx, v) &&
	       check_posted_interrupts(cpu, vmx, v) && check_ept(cpu, vmx, v) &&
	       check_vm_functions(cpu, vmx, v) && check_shadowing(cpu, vmx, v);
}

/* ---- 27.2.1.2: VM-exit control fields ---- */

/* The last byte of an MSR area is beyond the width, counted with more bits than an address has. */
static bool area_beyond_width(const struct cpu *cpu, u64 address, u64 count)
{
	return vmx_beyond_width(cpu, address + count * sizeof(struct vmx_msr_entry) - 1);
}

/* name: the fields <name>_address and <name>_count */
#define FAIL_IF_AREA(condition, section, text, name) \
	FAIL_IF(v->name##_count && (condition), section, text, SHOW(name##_address), \
		SHOW(name##_count))
#define FAIL_IF_BAD_AREA(section, what, name) \
	do { \
		FAIL_IF_AREA(v->name##_address & 15, section, \
			"bits 3:0 of the " what " address are not 0", name); \
		FAIL_IF_AREA(vmx_beyond_width(cpu, v->name##_address), section, \
			"the " what " address is beyond the physical-address width", name); \
		FAIL_IF_AREA(area_beyond_width(cpu, v->name##_address, v->name##_count), section, \
			"the " what " area ends beyond the physical-address width", name); \
	} while (0)

static bool check_exit_controls(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	FAIL_IF(VMX_EXIT_ALLOWED0 & ~v->exit_controls, "27.2.1.2",
		"a VM-exit control that must be 1 is 0", SHOW(exit_controls),
		SHOW_AS("allowed0", VMX_EXIT_ALLOWED0));
	FAIL_IF(v->exit_controls & ~VMX_EXIT_ALLOWED1, "27.2.1.2",
		"a VM-exit control that must be 0 is 1", SHOW(exit_controls),
		SHOW_AS("allowed1", VMX_EXIT_ALLOWED1));
	FAIL_IF(!(v->pin_controls & PIN_PREEMPTION_TIMER) &&
		(v->exit_controls & EXIT_SAVE_PREEMPTION_TIMER), "27.2.1.2",
		"\"save VMX-preemption timer value\" is 1 and \"activate VMX-preemption timer\" is 0",
		SHOW(exit_controls), SHOW(pin_controls));
	FAIL_IF_BAD_AREA("27.2.1.2", "VM-exit MSR-store", exit_msr_store);
	FAIL_IF_BAD_AREA("27.2.1.2", "VM-exit MSR-load", exit_msr_load);
	return true;
}

/* ---- 27.2.1.3: VM-entry control fields ---- */

/* Exceptions that deliver an error code; #CP, the other one, comes with CET. */
#define ERROR_CODE_VECTORS \
	(BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP) | BIT(VEC_PF) | BIT(VEC_AC))

static bool check_injection(struct vmx *vmx, const struct vmcs *v)
{
	u64 info = v->entry_interruption_info;
	unsigned vector = info & INTR_INFO_VECTOR, type = INTR_INFO_TYPE(info);
	bool protected = !(vmx_secondary(v) & SEC_UNRESTRICTED) || (v->guest_cr0 & CR0_PE);
	bool faults = type == INTR_HARDWARE_EXCEPTION && vector < 32 &&
		(ERROR_CODE_VECTORS & BIT(vector));

	if (!(info & INTR_INFO_VALID))
		return true;
	FAIL_IF(type == 1, "27.2.1.3", "the interruption type to be injected is reserved",
		SHOW(entry_interruption_info));
	FAIL_IF(type == INTR_NMI && vector != VEC_NMI, "27.2.1.3",
		"an NMI to be injected has a vector other than 2", SHOW(entry_interruption_info));
	FAIL_IF(type == INTR_HARDWARE_EXCEPTION && vector > 31, "27.2.1.3",
		"a hardware exception to be injected has a vector above 31",
		SHOW(entry_interruption_info));
	FAIL_IF(type == INTR_OTHER && vector, "27.2.1.3",
		"an \"other event\" to be injected has a vector other than 0",
		SHOW(entry_interruption_info));
	FAIL_IF((info & INTR_INFO_ERROR) && !faults, "27.2.1.3",
		"\"deliver error code\" is 1 for an event that has none",
		SHOW(entry_interruption_info));
	FAIL_IF((info & INTR_INFO_ERROR) && !protected, "27.2.1.3",
		"\"deliver error code\" is 1 and CR0.PE is 0", SHOW(entry_interruption_info),
		SHOW(guest_cr0));
	FAIL_IF(!(info & INTR_INFO_ERROR) && faults && protected, "27.2.1.3",
		"\"deliver error code\" is 0 for an exception that has one",
		SHOW(entry_interruption_info), SHOW(guest_cr0));
	FAIL_IF(info & (MASK(30, 12) | MASK(63, 32)), "27.2.1.3",
		"reserved bits of the VM-entry interruption information are not 0",
		SHOW(entry_interruption_info));
	FAIL_IF((info & INTR_INFO_ERROR) && (v->entry_error_code & ~0xffffull), "27.2.1.3",
		"bits 31:16 of the VM-entry exception error code are not 0", SHOW(entry_error_code),
		SHOW(entry_interruption_info));
	/* that it may be 0 is VMX_MISC's bit 30 */
	FAIL_IF((type == INTR_SOFTWARE || type == INTR_PRIVILEGED_EXCEPTION ||
		type == INTR_SOFTWARE_EXCEPTION) && v->entry_instruction_length > 15, "27.2.1.3",
		"the VM-entry instruction length is greater than 15",
		SHOW(entry_instruction_length), SHOW(entry_interruption_info));
	return true;
}

static bool check_entry_controls(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	FAIL_IF(VMX_ENTRY_ALLOWED0 & ~v->entry_controls, "27.2.1.3",
		"a VM-entry control that must be 1 is 0", SHOW(entry_controls),
		SHOW_AS("allowed0", VMX_ENTRY_ALLOWED0));
	FAIL_IF(v->entry_controls & ~VMX_ENTRY_ALLOWED1, "27.2.1.3",
		"a VM-entry control that must be 0 is 1", SHOW(entry_controls),
		SHOW_AS("allowed1", VMX_ENTRY_ALLOWED1));
	if (!check_injection(vmx, v))
		return false;
	FAIL_IF_BAD_AREA("27.2.1.3", "VM-entry MSR-load", entry_msr_load);
	return true;
}

/* ---- 27.2.2: host control registers and MSRs ---- */

static bool check_host_registers(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	u64 cr4_fixed1 = cpu_cr4_valid(cpu);
	bool host_64 = v->exit_controls & EXIT_HOST_64;

	FAIL_IF(VMX_CR0_FIXED0 & ~v->host_cr0, "27.2.2",
		"host CR0 has a bit 0 that VMX operation fixes to 1", SHOW(host_cr0),
		SHOW_AS("fixed0", VMX_CR0_FIXED0));
	FAIL_IF(v->host_cr0 & ~VMX_CR0_FIXED1, "27.2.2",
		"host CR0 has a bit 1 that VMX operation fixes to 0", SHOW(host_cr0),
		SHOW_AS("fixed1", VMX_CR0_FIXED1));
	FAIL_IF(VMX_CR4_FIXED0 & ~v->host_cr4, "27.2.2",
		"host CR4 has a bit 0 that VMX operation fixes to 1", SHOW(host_cr4),
		SHOW_AS("fixed0", VMX_CR4_FIXED0));
	FAIL_IF(v->host_cr4 & ~cr4_fixed1, "27.2.2",
		"host CR4 has a bit 1 that VMX operation fixes to 0", SHOW(host_cr4),
		SHOW_AS("fixed1", cr4_fixed1));
	FAIL_IF(vmx_beyond_width(cpu, v->host_cr3), "27.2.2",
		"host CR3 has bits beyond the physical-address width", SHOW(host_cr3));
	FAIL_IF(!is_canonical(v->host_sysenter_esp), "27.2.2",
		"host IA32_SYSENTER_ESP is not canonical", SHOW(host_sysenter_esp));
	FAIL_IF(!is_canonical(v->host_sysenter_eip), "27.2.2",
		"host IA32_SYSENTER_EIP is not canonical", SHOW(host_sysenter_eip));
	FAIL_IF((v->exit_controls & EXIT_LOAD_PERF_GLOBAL) &&
		(v->host_perf_global_ctrl & vmx_perf_global_reserved(cpu)), "27.2.2",
		"host IA32_PERF_GLOBAL_CTRL has reserved bits set", SHOW(host_perf_global_ctrl));
	FAIL_IF((v->exit_controls & EXIT_LOAD_PAT) && !cpu_pat_valid(v->host_pat), "27.2.2",
		"host IA32_PAT has a reserved memory type", SHOW(host_pat));
	if (v->exit_controls & EXIT_LOAD_EFER) {
		FAIL_IF(v->host_efer & ~(cpu_efer_valid(cpu) | EFER_LMA), "27.2.2",
			"host IA32_EFER has reserved bits set", SHOW(host_efer));
		FAIL_IF(!(v->host_efer & EFER_LMA) != !host_64, "27.2.2",
			"host IA32_EFER.LMA is not the \"host address-space size\" control",
			SHOW(host_efer), SHOW(exit_controls));
		FAIL_IF(!(v->host_efer & EFER_LME) != !host_64, "27.2.2",
			"host IA32_EFER.LME is not the \"host address-space size\" control",
			SHOW(host_efer), SHOW(exit_controls));
	}
	return true;
}

/* ---- 27.2.3: host segment and descriptor-table registers ---- */

static bool check_host_segments(struct vmx *vmx, const struct vmcs *v)
{
	const u64 rpl_and_ti = 7;

	FAIL_IF(v->host_cs_selector & rpl_and_ti, "27.2.3",
		"RPL or TI of the host's CS selector is not 0", SHOW(host_cs_selector));
	FAIL_IF(v->host_ss_selector & rpl_and_ti, "27.2.3",
		"RPL or TI of the host's SS selector is not 0", SHOW(host_ss_selector));
	FAIL_IF(v->host_ds_selector & rpl_and_ti, "27.2.3",
		"RPL or TI of the host's DS selector is not 0", SHOW(host_ds_selector));
	FAIL_IF(v->host_es_selector & rpl_and_ti, "27.2.3",
		"RPL or TI of the host's ES selector is not 0", SHOW(host_es_selector));
	FAIL_IF(v->host_fs_selector & rpl_and_ti, "27.2.3",
		"RPL or TI of the host's FS selector is not 0", SHOW(host_fs_selector));
	FAIL_IF(v->host_gs_selector & rpl_and_ti, "27.2.3",
		"RPL or TI of the host's GS selector is not 0", SHOW(host_gs_selector));
	FAIL_IF(v->host_tr_selector & rpl_and_ti, "27.2.3",
		"RPL or TI of the host's TR selector is not 0", SHOW(host_tr_selector));
	FAIL_IF(!v->host_cs_selector, "27.2.3", "the host's CS selector is 0000h",
		SHOW(host_cs_selector));
	FAIL_IF(!v->host_tr_selector, "27.2.3", "the host's TR selector is 0000h",
		SHOW(host_tr_selector));
	FAIL_IF(!v->host_ss_selector && !(v->exit_controls & EXIT_HOST_64), "27.2.3",
		"the host's SS selector is 0000h and \"host address-space size\" is 0",
		SHOW(host_ss_selector), SHOW(exit_controls));
	FAIL_IF(!is_canonical(v->host_fs_base), "27.2.3", "the host's FS base is not canonical",
		SHOW(host_fs_base));
	FAIL_IF(!is_canonical(v->host_gs_base), "27.2.3", "the host's GS base is not canonical",
		SHOW(host_gs_base));
	FAIL_IF(!is_canonical(v->host_gdtr_base), "27.2.3", "the host's GDTR base is not canonical",
		SHOW(host_gdtr_base));
	FAIL_IF(!is_canonical(v->host_idtr_base), "27.2.3", "the host's IDTR base is not canonical",
		SHOW(host_idtr_base));
	FAIL_IF(!is_canonical(v->host_tr_base), "27.2.3", "the host's TR base is not canonical",
		SHOW(host_tr_base));
	return true;
}

/* ---- 27.2.4: address-space size ---- */

static bool check_address_space(struct cpu *cpu, struct vmx *vmx, const struct vmcs *v)
{
	bool guest_ia32e = v->entry_controls & ENTRY_IA32E;
	bool host_64 = v->exit_controls & EXIT_HOST_64;

	FAIL_IF(!cpu_lma(cpu) && guest_ia32e, "27.2.4",
		"\"IA-32e mode guest\" is 1 and the processor is outside IA-32e mode",
		SHOW(entry_controls), SHOW_AS("efer", cpu->efer));
	FAIL_IF(!cpu_lma(cpu) && host_64, "27.2.4",
		"\"host address-space size\" is 1 and the processor is outside IA-32e mode",
		SHOW(exit_controls), SHOW_AS("efer", cpu->efer));
	FAIL_IF(cpu_lma(cpu) && !host_64, "27.2.4",
		"\"host address-space size\" is 0 and the processor is in IA-32e mode",
		SHOW(exit_controls), SHOW_AS("efer", cpu->efer));
	if (!host_64) {
		/* that no IA-32e mode guest is asked for follows from the first and the third */
		FAIL_IF(v->host_cr4 & CR4_PCIDE, "27.2.4",
			"host CR4.PCIDE is 1 and \"host address-space size\" is 0", SHOW(host_cr4),
			SHOW(exit_controls));
		FAIL_IF(v->host_rip >> 32, "27.2.4",
			"bits 63:32 of host RIP are not 0 and \"host address-space size\" is 0",
			SHOW(host_rip), SHOW(exit_controls));
		return true;
	}
	FAIL_IF(!(v->host_cr4 & CR4_PAE), "27.2.4",
		"host CR4.PAE is 0 and \"host address-space size\" is 1", SHOW(host_cr4),
		SHOW(exit_controls));
	FAIL_IF(!is_canonical(v->host_rip), "27.2.4",
		"host RIP is not canonical and \"host address-space size\" is 1", SHOW(host_rip),
		SHOW(exit_controls));
	return true;
}

int vmx_check_controls(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;

	vmx->failure.text = NULL;
	/* what looks at VTPR, at guest CR0 and at a field that each exit clears */
	if (vmx->checked)
		return check_tpr_shadow(cpu, vmx, v) && check_injection(vmx, v) ? 0 :
			VMX_ERROR_CONTROLS;
	return check_execution_controls(cpu, vmx, v) && check_exit_controls(cpu, vmx, v) &&
		check_entry_controls(cpu, vmx, v) ? 0 : VMX_ERROR_CONTROLS;
}

int vmx_check_host(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;

	vmx->failure.text = NULL;
	/* what looks at the mode that the CPU is in */
	if (vmx->checked)
		return check_address_space(cpu, vmx, v) ? 0 : VMX_ERROR_HOST_STATE;
	return check_host_registers(cpu, vmx, v) && check_host_segments(vmx, v) &&
		check_address_space(cpu, vmx, v) ? 0 : VMX_ERROR_HOST_STATE;
}
