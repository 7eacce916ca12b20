/* SPDX-License-Identifier: MIT */
/* The checks on controls and on the host-state area, SDM3 27.2, and how failures are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "cpu_rig.h"
#include "vmx_check_rig.h"

/* An address of a page, behind controls that `with` sets. */
#define PAGE_RULES(field, what, ...) \
	{ "27.2.1.1", "bits 11:0 of " what " are not 0", LONG_GUEST, { __VA_ARGS__ }, \
		{ SET(field, 1), SET(field, 0x800), SET(field, TOP_PAGE | 0x10) }, \
		{ SET(field, 0), SET(field, PAGE_SIZE) } }, \
	{ "27.2.1.1", what " is beyond the physical-address width", LONG_GUEST, { __VA_ARGS__ }, \
		{ SET(field, BEYOND), SET(field, BIT(63)), SET(field, BEYOND | TOP_PAGE) }, \
		{ SET(field, TOP_PAGE) } }

static const struct rule execution_rules[] = {
	{ "27.2.1.1", "a pin-based control that must be 1 is 0", LONG_GUEST, { NOTHING },
		{ SET(pin_controls, 0), SET(pin_controls, PIN & ~BIT(1)),
			SET(pin_controls, PIN & ~BIT(2)), SET(pin_controls, PIN & ~BIT(4)) } },
	{ "27.2.1.1", "a pin-based control that must be 0 is 1", LONG_GUEST, { NOTHING },
		{ SET(pin_controls, PIN | BIT(8)), SET(pin_controls, PIN | BIT(31)) },
		{ SET(pin_controls, PIN | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS |
			PIN_PREEMPTION_TIMER) } },
	{ "27.2.1.1", "a primary processor-based control that must be 1 is 0", LONG_GUEST,
		{ NOTHING },
		{ SET(cpu_controls, 0), SET(cpu_controls, PROC & ~BIT(1)),
			SET(cpu_controls, PROC & ~BIT(26)) },
		{ SET(cpu_controls, PROC | PROC_CR3_LOAD),
			SET(cpu_controls, PROC | PROC_CR3_STORE) } },
	{ "27.2.1.1", "a primary processor-based control that must be 0 is 1", LONG_GUEST,
		{ NOTHING },
		{ SET(cpu_controls, PROC | BIT(0)), SET(cpu_controls, PROC | BIT(17)),
			SET(cpu_controls, PROC | BIT(18)) },
		{ SET(cpu_controls, VMX_PROC_ALLOWED1 & ~PROC_NMI_WINDOW) } },
	{ "27.2.1.1", "a secondary processor-based control that must be 0 is 1", LONG_GUEST,
		{ SECONDARY(0) },
		{ SET(secondary_controls, BIT(15)), SET(secondary_controls, BIT(19)),
			SET(secondary_controls, BIT(23)), SET(secondary_controls, BIT(31)) },
		{ SET(secondary_controls, SEC_RDTSCP | SEC_WBINVD | SEC_PAUSE_LOOP | SEC_RDRAND |
			SEC_INVPCID | SEC_RDSEED | SEC_XSAVES | SEC_DESCRIPTOR_TABLES) } },
	/* they do not count where they are not activated */
	{ "27.2.1.1", NULL, LONG_GUEST, { SET(secondary_controls, 0xffffffff) } },
	/* nor do addresses whose controls are 0 */
	{ "27.2.1.1", NULL, LONG_GUEST, { NOTHING }, { NOTHING },
		{ SET(io_bitmap_a, 1), SET(io_bitmap_b, 1), SET(msr_bitmap, 1),
			SET(virtual_apic_address, 1), SET(tpr_threshold, 0x16),
			SET(apic_access_address, 1), SET(posted_interrupt_descriptor, 1),
			SET(posted_interrupt_vector, 0x100), SET(vpid, 0), SET(eptp, 0),
			SET(pml_address, 1) } },
	{ "27.2.1.1", NULL, LONG_GUEST, { NOTHING }, { NOTHING },
		{ SET(vm_function_controls, ~0ull), SET(eptp_list_address, 1),
			SET(vmread_bitmap, 1), SET(vmwrite_bitmap, 1),
			SET(ve_information_address, 1), SET(tsc_multiplier, 0) } },
	{ "27.2.1.1", "the CR3-target count is greater than 4", LONG_GUEST, { NOTHING },
		{ SET(cr3_target_count, 5), SET(cr3_target_count, 0xffffffff) },
		{ SET(cr3_target_count, 4) } },
	PAGE_RULES(io_bitmap_a, "the address of I/O bitmap A",
		SET(cpu_controls, PROC | PROC_IO_BITMAPS)),
	PAGE_RULES(io_bitmap_b, "the address of I/O bitmap B",
		SET(cpu_controls, PROC | PROC_IO_BITMAPS)),
	PAGE_RULES(msr_bitmap, "the MSR-bitmap address", SET(cpu_controls, PROC | PROC_MSR_BITMAPS)),
	PAGE_RULES(virtual_apic_address, "the virtual-APIC address",
		SET(cpu_controls, PROC | PROC_TPR_SHADOW)),
	{ "27.2.1.1", "bits 31:4 of the TPR threshold are not 0, without virtual-interrupt delivery",
		LONG_GUEST, { SET(cpu_controls, PROC | PROC_TPR_SHADOW) },
		{ SET(tpr_threshold, 0x10), SET(tpr_threshold, BIT(31)) }, { SET(tpr_threshold, 5) } },
	{ "27.2.1.1", NULL, LONG_GUEST,
		{ SECONDARY_APIC(SEC_VIRTUAL_INTERRUPTS),
			SET(pin_controls, PIN | PIN_EXTERNAL_INTERRUPT), SET(tpr_threshold, 0x1f) } },
	{ "27.2.1.1", "the TPR threshold is greater than bits 7:4 of VTPR", LONG_GUEST,
		{ SET(cpu_controls, PROC | PROC_TPR_SHADOW) },
		{ SET(tpr_threshold, 6), SET(tpr_threshold, 15) }, { SET(tpr_threshold, 5) } },
	{ "27.2.1.1", "the TPR threshold is greater than bits 7:4 of VTPR", LONG_GUEST,
		{ SET(cpu_controls, PROC | PROC_TPR_SHADOW), SET(tpr_threshold, 1) },
		{ SET(virtual_apic_address, 0x40000) }, { SET(virtual_apic_address, NO_MEMORY) } },
	{ "27.2.1.1", NULL, LONG_GUEST, { SECONDARY_APIC(SEC_APIC_ACCESSES), SET(tpr_threshold, 15) } },
	{ "27.2.1.1", "\"virtual NMIs\" is 1 and \"NMI exiting\" is 0", LONG_GUEST,
		{ SET(pin_controls, PIN | PIN_NMI | PIN_VIRTUAL_NMIS) },
		{ SET(pin_controls, PIN | PIN_VIRTUAL_NMIS) }, { SET(pin_controls, PIN | PIN_NMI) } },
	{ "27.2.1.1", "\"NMI-window exiting\" is 1 and \"virtual NMIs\" is 0", LONG_GUEST,
		{ SET(pin_controls, PIN | PIN_NMI | PIN_VIRTUAL_NMIS),
			SET(cpu_controls, PROC | PROC_NMI_WINDOW) },
		{ SET(pin_controls, PIN | PIN_NMI), SET(pin_controls, PIN) } },
	PAGE_RULES(apic_access_address, "the APIC-access address", SECONDARY(SEC_APIC_ACCESSES)),
	{ "27.2.1.1", "\"virtualize x2APIC mode\" is 1 and \"use TPR shadow\" is 0", LONG_GUEST,
		{ SECONDARY_APIC(SEC_X2APIC) }, { SET(cpu_controls, PROC | PROC_SECONDARY) } },
	{ "27.2.1.1", "\"APIC-register virtualization\" is 1 and \"use TPR shadow\" is 0", LONG_GUEST,
		{ SECONDARY_APIC(SEC_APIC_REGISTERS) }, { SET(cpu_controls, PROC | PROC_SECONDARY) } },
	{ "27.2.1.1", "\"virtual-interrupt delivery\" is 1 and \"use TPR shadow\" is 0", LONG_GUEST,
		{ SECONDARY_APIC(SEC_VIRTUAL_INTERRUPTS),
			SET(pin_controls, PIN | PIN_EXTERNAL_INTERRUPT) },
		{ SET(cpu_controls, PROC | PROC_SECONDARY) } },
	{ "27.2.1.1", "\"virtualize x2APIC mode\" and \"virtualize APIC accesses\" are both 1",
		LONG_GUEST, { SECONDARY_APIC(SEC_X2APIC) },
		{ SET(secondary_controls, SEC_X2APIC | SEC_APIC_ACCESSES) },
		{ SET(secondary_controls, SEC_APIC_ACCESSES) } },
	{ "27.2.1.1", "\"virtual-interrupt delivery\" is 1 and \"external-interrupt exiting\" is 0",
		LONG_GUEST,
		{ SECONDARY_APIC(SEC_VIRTUAL_INTERRUPTS),
			SET(pin_controls, PIN | PIN_EXTERNAL_INTERRUPT) },
		{ SET(pin_controls, PIN) } },
#define POSTED \
	SECONDARY_APIC(SEC_VIRTUAL_INTERRUPTS), SET(exit_controls, EXIT | EXIT_ACKNOWLEDGE), \
		SET(pin_controls, PIN | PIN_EXTERNAL_INTERRUPT | PIN_POSTED_INTERRUPTS)
	{ "27.2.1.1", "\"process posted interrupts\" is 1 and \"virtual-interrupt delivery\" is 0",
		LONG_GUEST, { POSTED },
		{ SET(secondary_controls, 0), SET(secondary_controls, SEC_APIC_REGISTERS),
			SET(cpu_controls, PROC | PROC_TPR_SHADOW) } },
	{ "27.2.1.1", "\"process posted interrupts\" is 1 and \"acknowledge interrupt on exit\" is 0",
		LONG_GUEST, { POSTED }, { SET(exit_controls, EXIT) } },
	{ "27.2.1.1", "bits 15:8 of the posted-interrupt notification vector are not 0", LONG_GUEST,
		{ POSTED }, { SET(posted_interrupt_vector, 0x100), SET(posted_interrupt_vector, 0xffff) },
		{ SET(posted_interrupt_vector, 0xff) } },
	{ "27.2.1.1", "bits 5:0 of the posted-interrupt descriptor address are not 0", LONG_GUEST,
		{ POSTED },
		{ SET(posted_interrupt_descriptor, 1), SET(posted_interrupt_descriptor, 0x1020) },
		{ SET(posted_interrupt_descriptor, 0x40) } },
	{ "27.2.1.1", "the posted-interrupt descriptor address is beyond the physical-address width",
		LONG_GUEST, { POSTED }, { SET(posted_interrupt_descriptor, BEYOND) },
		{ SET(posted_interrupt_descriptor, BEYOND - 0x40) } },
	{ "27.2.1.1", "\"enable VPID\" is 1 and the VPID is 0000h", LONG_GUEST,
		{ SECONDARY(SEC_VPID) }, { SET(vpid, 0) }, { SET(vpid, 0xffff) } },
	{ "27.2.1.1", "EPTP's memory type is neither UC (0) nor WB (6)", LONG_GUEST,
		{ SECONDARY(SEC_EPT) },
		{ SET(eptp, EPTP ^ 7), SET(eptp, EPTP ^ 2), SET(eptp, EPTP ^ 3), SET(eptp, EPTP ^ 1) },
		{ SET(eptp, EPTP ^ 6) } },
	{ "27.2.1.1", "bits 5:3 of EPTP are not 3, a page-walk length of 4", LONG_GUEST,
		{ SECONDARY(SEC_EPT) },
		{ SET(eptp, 0x5006), SET(eptp, 0x5006 | 2 << 3), SET(eptp, 0x5006 | 4 << 3),
			SET(eptp, 0x5006 | 7 << 3) } },
	{ "27.2.1.1", "EPTP enables supervisor shadow-stack control, which is not supported",
		LONG_GUEST, { SECONDARY(SEC_EPT) }, { SET(eptp, EPTP | BIT(7)) },
		{ SET(eptp, EPTP | EPTP_ACCESSED_DIRTY) } },
	{ "27.2.1.1", "reserved bits 11:8 of EPTP are not 0", LONG_GUEST, { SECONDARY(SEC_EPT) },
		{ SET(eptp, EPTP | BIT(8)), SET(eptp, EPTP | BIT(11)) }, { SET(eptp, EPTP | BIT(13)) } },
	{ "27.2.1.1", "EPTP has bits beyond the physical-address width", LONG_GUEST,
		{ SECONDARY(SEC_EPT) }, { SET(eptp, EPTP | BEYOND), SET(eptp, EPTP | BIT(63)) },
		{ SET(eptp, EPTP | TOP_PAGE) } },
	{ "27.2.1.1", "\"enable PML\" is 1 and \"enable EPT\" is 0", LONG_GUEST,
		{ SECONDARY(SEC_EPT | SEC_PML) }, { SET(secondary_controls, SEC_PML) },
		{ SET(secondary_controls, SEC_EPT) } },
	PAGE_RULES(pml_address, "the PML address", SECONDARY(SEC_EPT | SEC_PML)),
	{ "27.2.1.1", "\"unrestricted guest\" is 1 and \"enable EPT\" is 0", LONG_GUEST,
		{ SECONDARY(SEC_EPT | SEC_UNRESTRICTED) },
		{ SET(secondary_controls, SEC_UNRESTRICTED) } },
	{ "27.2.1.1", "\"mode-based execute control for EPT\" is 1 and \"enable EPT\" is 0",
		LONG_GUEST, { SECONDARY(SEC_EPT | SEC_MODE_BASED_EXECUTE) },
		{ SET(secondary_controls, SEC_MODE_BASED_EXECUTE) } },
	{ "27.2.1.1", "a VM-function control that must be 0 is 1", LONG_GUEST,
		{ SECONDARY(SEC_EPT | SEC_VM_FUNCTIONS) },
		{ SET(vm_function_controls, 2), SET(vm_function_controls, BIT(63)) },
		{ SET(vm_function_controls, 1) } },
	{ "27.2.1.1", "\"EPTP switching\" is 1 and \"enable EPT\" is 0", LONG_GUEST,
		{ SECONDARY(SEC_EPT | SEC_VM_FUNCTIONS), SET(vm_function_controls, 1) },
		{ SET(secondary_controls, SEC_VM_FUNCTIONS) } },
	{ "27.2.1.1", NULL, LONG_GUEST, { SECONDARY(SEC_VM_FUNCTIONS), SET(eptp_list_address, 1) } },
	PAGE_RULES(eptp_list_address, "the EPTP-list address",
		SECONDARY(SEC_EPT | SEC_VM_FUNCTIONS), SET(vm_function_controls, 1)),
	PAGE_RULES(vmread_bitmap, "the VMREAD-bitmap address", SECONDARY(SEC_SHADOWING)),
	PAGE_RULES(vmwrite_bitmap, "the VMWRITE-bitmap address", SECONDARY(SEC_SHADOWING)),
	PAGE_RULES(ve_information_address, "the virtualization-exception information address",
		SECONDARY(SEC_EPT | SEC_EPT_VE)),
	{ "27.2.1.1", "\"use TSC scaling\" is 1 and the TSC multiplier is 0", LONG_GUEST,
		{ SECONDARY(SEC_TSC_SCALING) }, { SET(tsc_multiplier, 0) },
		{ SET(tsc_multiplier, 1), SET(tsc_multiplier, ~0ull) } },
};

/* An MSR area of two entries. */
#define AREA_RULES(section, prefix, what) \
	{ section, "bits 3:0 of " what " address are not 0", LONG_GUEST, { SET(prefix##_count, 2) }, \
		{ SET(prefix##_address, 1), SET(prefix##_address, 0x1008) }, \
		{ SET(prefix##_address, 0x1010) } }, \
	{ section, what " address is beyond the physical-address width", LONG_GUEST, \
		{ SET(prefix##_count, 2) }, \
		{ SET(prefix##_address, BEYOND), SET(prefix##_address, MASK(63, 4)) } }, \
	{ section, what " area ends beyond the physical-address width", LONG_GUEST, \
		{ SET(prefix##_count, 2) }, { SET(prefix##_address, BEYOND - 16) }, \
		{ SET(prefix##_address, BEYOND - 32) } }, \
	{ section, what " area ends beyond the physical-address width", LONG_GUEST, \
		{ SET(prefix##_address, BEYOND - 16 * 0xffffffffull) }, \
		{ SET(prefix##_count, 0x100000000) }, { SET(prefix##_count, 0xffffffff) } }, \
	{ section, NULL, LONG_GUEST, { SET(prefix##_address, ~0ull) } }

static const struct rule exit_rules[] = {
	{ "27.2.1.2", "a VM-exit control that must be 1 is 0", LONG_GUEST, { NOTHING },
		{ SET(exit_controls, 0), SET(exit_controls, EXIT & ~BIT(0)),
			SET(exit_controls, EXIT & ~BIT(17)) },
		{ SET(exit_controls, EXIT | EXIT_SAVE_DEBUG) } },
	{ "27.2.1.2", "a VM-exit control that must be 0 is 1", LONG_GUEST, { NOTHING },
		{ SET(exit_controls, EXIT | BIT(23)), SET(exit_controls, EXIT | BIT(31)) },
		{ SET(exit_controls, VMX_EXIT_ALLOWED1 & ~EXIT_SAVE_PREEMPTION_TIMER) } },
	{ "27.2.1.2",
		"\"save VMX-preemption timer value\" is 1 and \"activate VMX-preemption timer\" is 0",
		LONG_GUEST,
		{ SET(pin_controls, PIN | PIN_PREEMPTION_TIMER),
			SET(exit_controls, EXIT | EXIT_SAVE_PREEMPTION_TIMER) },
		{ SET(pin_controls, PIN) }, { SET(exit_controls, EXIT) } },
	AREA_RULES("27.2.1.2", exit_msr_store, "the VM-exit MSR-store"),
	AREA_RULES("27.2.1.2", exit_msr_load, "the VM-exit MSR-load"),
};

#define INFO(info) SET(entry_interruption_info, INTR_INFO_VALID | (info))
#define ERROR(vector) INFO(INTR_HARDWARE_EXCEPTION << 8 | INTR_INFO_ERROR | (vector))
#define LENGTH_RULE(type) \
	{ "27.2.1.3", "the VM-entry instruction length is greater than 15", LONG_GUEST, \
		{ EVENT(type, 3) }, \
		{ SET(entry_instruction_length, 16), SET(entry_instruction_length, 0xffffffff) }, \
		{ SET(entry_instruction_length, 0), SET(entry_instruction_length, 15) } }

static const struct rule entry_rules[] = {
	{ "27.2.1.3", "a VM-entry control that must be 1 is 0", LONG_GUEST, { NOTHING },
		{ SET(entry_controls, 0), SET(entry_controls, (ENTRY | ENTRY_IA32E) & ~BIT(12)) },
		{ SET(entry_controls, ENTRY | ENTRY_IA32E | ENTRY_LOAD_DEBUG) } },
	{ "27.2.1.3", "a VM-entry control that must be 0 is 1", LONG_GUEST, { NOTHING },
		{ SET(entry_controls, ENTRY | ENTRY_TO_SMM),
			SET(entry_controls, ENTRY | ENTRY_DEACTIVATE_DUAL_MONITOR),
			SET(entry_controls, ENTRY | BIT(16)), SET(entry_controls, ENTRY | BIT(31)) },
		{ SET(entry_controls, VMX_ENTRY_ALLOWED1) } },
	{ "27.2.1.3", "the interruption type to be injected is reserved", LONG_GUEST, { NOTHING },
		{ EVENT(1, 0), EVENT(1, 0x30) },
		{ EVENT(INTR_NMI, 2), EVENT(INTR_SOFTWARE, 0x80), EVENT(INTR_PRIVILEGED_EXCEPTION, 1),
			EVENT(INTR_SOFTWARE_EXCEPTION, 3), EVENT(INTR_OTHER, 0),
			SET(entry_interruption_info, 0x100) } },
	{ "27.2.1.3", NULL, LONG_GUEST, { SET(guest_rflags, RFLAGS_RESERVED1 | RFLAGS_IF) },
		{ NOTHING }, { EVENT(INTR_EXTERNAL, 0x30), EVENT(INTR_EXTERNAL, 0xff) } },
	{ "27.2.1.3", "an NMI to be injected has a vector other than 2", LONG_GUEST, { NOTHING },
		{ EVENT(INTR_NMI, 1), EVENT(INTR_NMI, 3), EVENT(INTR_NMI, 0xff) },
		{ EVENT(INTR_NMI, 2) } },
	{ "27.2.1.3", "a hardware exception to be injected has a vector above 31", LONG_GUEST,
		{ NOTHING },
		{ EVENT(INTR_HARDWARE_EXCEPTION, 32), EVENT(INTR_HARDWARE_EXCEPTION, 0xff) },
		{ EVENT(INTR_HARDWARE_EXCEPTION, 31), EVENT(INTR_SOFTWARE, 32) } },
	{ "27.2.1.3", "an \"other event\" to be injected has a vector other than 0", LONG_GUEST,
		{ NOTHING }, { EVENT(INTR_OTHER, 1), EVENT(INTR_OTHER, 0x80) },
		{ EVENT(INTR_OTHER, 0) } },
	{ "27.2.1.3", "\"deliver error code\" is 1 for an event that has none", LONG_GUEST,
		{ NOTHING },
		{ ERROR(VEC_UD), ERROR(VEC_DB), ERROR(9), ERROR(16), ERROR(VEC_MC), ERROR(VEC_CP),
			INFO(INTR_INFO_ERROR | INTR_SOFTWARE << 8 | VEC_GP),
			INFO(INTR_INFO_ERROR | INTR_NMI << 8 | 2) },
		{ EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD), EVENT(INTR_HARDWARE_EXCEPTION, VEC_CP),
			EVENT(INTR_SOFTWARE, VEC_GP) } },
	{ "27.2.1.3", "\"deliver error code\" is 1 and CR0.PE is 0", REAL_GUEST, { NOTHING },
		{ ERROR(VEC_GP), ERROR(VEC_PF) }, { EVENT(INTR_HARDWARE_EXCEPTION, VEC_GP) } },
	{ "27.2.1.3", "\"deliver error code\" is 0 for an exception that has one", LONG_GUEST,
		{ NOTHING },
		{ EVENT(INTR_HARDWARE_EXCEPTION, VEC_DF), EVENT(INTR_HARDWARE_EXCEPTION, VEC_TS),
			EVENT(INTR_HARDWARE_EXCEPTION, VEC_NP), EVENT(INTR_HARDWARE_EXCEPTION, VEC_SS),
			EVENT(INTR_HARDWARE_EXCEPTION, VEC_GP), EVENT(INTR_HARDWARE_EXCEPTION, VEC_PF),
			EVENT(INTR_HARDWARE_EXCEPTION, VEC_AC) },
		{ ERROR(VEC_DF), ERROR(VEC_TS), ERROR(VEC_NP), ERROR(VEC_SS), ERROR(VEC_GP),
			ERROR(VEC_PF), ERROR(VEC_AC) } },
	/* an unrestricted guest in protected mode has them again */
	{ "27.2.1.3", "\"deliver error code\" is 0 for an exception that has one", REAL_GUEST,
		{ SET(guest_cr0, CR0_NE | CR0_PE) }, { EVENT(INTR_HARDWARE_EXCEPTION, VEC_GP) },
		{ ERROR(VEC_GP) } },
	{ "27.2.1.3", "reserved bits of the VM-entry interruption information are not 0", LONG_GUEST,
		{ NOTHING },
		{ INFO(BIT(12) | INTR_NMI << 8 | 2), INFO(BIT(30) | INTR_NMI << 8 | 2) },
		{ SET(entry_interruption_info, MASK(30, 0)) } },
	{ "27.2.1.3", "bits 31:16 of the VM-entry exception error code are not 0", LONG_GUEST,
		{ ERROR(VEC_GP) }, { SET(entry_error_code, 0x10000), SET(entry_error_code, BIT(31)) },
		{ SET(entry_error_code, 0xffff) } },
	{ "27.2.1.3", NULL, LONG_GUEST,
		{ EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD), SET(entry_error_code, 0xffffffff) } },
	LENGTH_RULE(INTR_SOFTWARE),
	LENGTH_RULE(INTR_PRIVILEGED_EXCEPTION),
	LENGTH_RULE(INTR_SOFTWARE_EXCEPTION),
	{ "27.2.1.3", NULL, LONG_GUEST, { EVENT(INTR_NMI, 2), SET(entry_instruction_length, 16) } },
	AREA_RULES("27.2.1.3", entry_msr_load, "the VM-entry MSR-load"),
};

#define SELECTOR_RULE(name, what) \
	{ "27.2.3", "RPL or TI of the host's " what " selector is not 0", LONG_GUEST, { NOTHING }, \
		{ SET(host_##name##_selector, 0x11), SET(host_##name##_selector, 0x12), \
			SET(host_##name##_selector, 0x14) }, \
		{ SET(host_##name##_selector, 0x10), SET(host_##name##_selector, 0xfff8) } }
#define CANONICAL_RULE(section, field, text) \
	{ section, text, LONG_GUEST, { NOTHING }, \
		{ SET(field, NOT_CANONICAL), SET(field, BIT(63)), SET(field, MASK(63, 48)) }, \
		{ SET(field, LAST_LOW), SET(field, FIRST_HIGH) } }
#define HOST_CR0 (CR0_PE | CR0_NE | CR0_PG)
#define HOST_CR4 (CR4_VMXE | CR4_PAE)

static const struct rule host_rules[] = {
	{ "27.2.2", "host CR0 has a bit 0 that VMX operation fixes to 1", LONG_GUEST, { NOTHING },
		{ SET(host_cr0, HOST_CR0 & ~CR0_PE), SET(host_cr0, HOST_CR0 & ~CR0_NE),
			SET(host_cr0, HOST_CR0 & ~CR0_PG) } },
	{ "27.2.2", "host CR0 has a bit 1 that VMX operation fixes to 0", LONG_GUEST, { NOTHING },
		{ SET(host_cr0, HOST_CR0 | BIT(32)), SET(host_cr0, HOST_CR0 | BIT(63)) },
		{ SET(host_cr0, 0xffffffff) } },
	{ "27.2.2", "host CR4 has a bit 0 that VMX operation fixes to 1", LONG_GUEST, { NOTHING },
		{ SET(host_cr4, CR4_PAE) } },
	{ "27.2.2", "host CR4 has a bit 1 that VMX operation fixes to 0", LONG_GUEST, { NOTHING },
		{ SET(host_cr4, HOST_CR4 | BIT(15)), SET(host_cr4, HOST_CR4 | BIT(32)),
			SET(host_cr4, HOST_CR4 | BIT(63)) },
		{ SET(host_cr4, HOST_CR4 | CR4_PGE | CR4_OSFXSR | CR4_PCIDE) } },
	{ "27.2.2", "host CR3 has bits beyond the physical-address width", LONG_GUEST, { NOTHING },
		{ SET(host_cr3, BEYOND), SET(host_cr3, BIT(63)) }, { SET(host_cr3, BEYOND - 1) } },
	CANONICAL_RULE("27.2.2", host_sysenter_esp, "host IA32_SYSENTER_ESP is not canonical"),
	CANONICAL_RULE("27.2.2", host_sysenter_eip, "host IA32_SYSENTER_EIP is not canonical"),
	{ "27.2.2", "host IA32_PERF_GLOBAL_CTRL has reserved bits set", LONG_GUEST,
		{ SET(exit_controls, EXIT | EXIT_LOAD_PERF_GLOBAL) },
		{ SET(host_perf_global_ctrl, BIT(31)), SET(host_perf_global_ctrl, BIT(63)) },
		{ SET(host_perf_global_ctrl, 0) } },
	{ "27.2.2", "host IA32_PAT has a reserved memory type", LONG_GUEST,
		{ SET(exit_controls, EXIT | EXIT_LOAD_PAT) },
		{ SET(host_pat, 2), SET(host_pat, 0x300), SET(host_pat, 8ull << 56) },
		{ SET(host_pat, 0x0706050401000606) } },
	{ "27.2.2", "host IA32_EFER has reserved bits set", LONG_GUEST,
		{ SET(exit_controls, EXIT | EXIT_LOAD_EFER) },
		{ SET(host_efer, EFER_LMA | EFER_LME | BIT(1)),
			SET(host_efer, EFER_LMA | EFER_LME | EFER_SVME),
			SET(host_efer, EFER_LMA | EFER_LME | BIT(63)) },
		{ SET(host_efer, EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE) } },
	{ "27.2.2", "host IA32_EFER.LMA is not the \"host address-space size\" control", LONG_GUEST,
		{ SET(exit_controls, EXIT | EXIT_LOAD_EFER) },
		{ SET(host_efer, EFER_LME), SET(host_efer, 0) } },
	{ "27.2.2", "host IA32_EFER.LMA is not the \"host address-space size\" control", LEGACY_HOST,
		{ SET(exit_controls, (EXIT & ~EXIT_HOST_64) | EXIT_LOAD_EFER) },
		{ SET(host_efer, EFER_LMA), SET(host_efer, EFER_LMA | EFER_LME) },
		{ SET(host_efer, EFER_NXE) } },
	{ "27.2.2", "host IA32_EFER.LME is not the \"host address-space size\" control", LONG_GUEST,
		{ SET(exit_controls, EXIT | EXIT_LOAD_EFER) }, { SET(host_efer, EFER_LMA) } },
	{ "27.2.2", "host IA32_EFER.LME is not the \"host address-space size\" control", LEGACY_HOST,
		{ SET(exit_controls, (EXIT & ~EXIT_HOST_64) | EXIT_LOAD_EFER) },
		{ SET(host_efer, EFER_LME) } },
	/* what is not loaded is not looked at */
	{ "27.2.2", NULL, LONG_GUEST, { NOTHING }, { NOTHING },
		{ SET(host_perf_global_ctrl, ~0ull), SET(host_pat, ~0ull), SET(host_efer, ~0ull) } },
	SELECTOR_RULE(cs, "CS"),
	SELECTOR_RULE(ss, "SS"),
	SELECTOR_RULE(ds, "DS"),
	SELECTOR_RULE(es, "ES"),
	SELECTOR_RULE(fs, "FS"),
	SELECTOR_RULE(gs, "GS"),
	SELECTOR_RULE(tr, "TR"),
	{ "27.2.3", "the host's CS selector is 0000h", LONG_GUEST, { NOTHING },
		{ SET(host_cs_selector, 0) } },
	{ "27.2.3", "the host's TR selector is 0000h", LONG_GUEST, { NOTHING },
		{ SET(host_tr_selector, 0) },
		{ SET(host_ss_selector, 0), SET(host_ds_selector, 0), SET(host_es_selector, 0),
			SET(host_fs_selector, 0), SET(host_gs_selector, 0) } },
	{ "27.2.3", "the host's SS selector is 0000h and \"host address-space size\" is 0",
		LEGACY_HOST, { NOTHING }, { SET(host_ss_selector, 0) }, { SET(host_ss_selector, 8) } },
	CANONICAL_RULE("27.2.3", host_fs_base, "the host's FS base is not canonical"),
	CANONICAL_RULE("27.2.3", host_gs_base, "the host's GS base is not canonical"),
	CANONICAL_RULE("27.2.3", host_gdtr_base, "the host's GDTR base is not canonical"),
	CANONICAL_RULE("27.2.3", host_idtr_base, "the host's IDTR base is not canonical"),
	CANONICAL_RULE("27.2.3", host_tr_base, "the host's TR base is not canonical"),
	{ "27.2.4", "\"IA-32e mode guest\" is 1 and the processor is outside IA-32e mode", LEGACY_HOST,
		{ NOTHING }, { SET(entry_controls, ENTRY | ENTRY_IA32E) } },
	{ "27.2.4", "\"host address-space size\" is 1 and the processor is outside IA-32e mode",
		LEGACY_HOST, { NOTHING }, { SET(exit_controls, EXIT) } },
	{ "27.2.4", "\"host address-space size\" is 0 and the processor is in IA-32e mode", LEGACY_GUEST,
		{ SET(host_ss_selector, 0x10) }, { SET(exit_controls, EXIT & ~EXIT_HOST_64) } },
	{ "27.2.4", "host CR4.PCIDE is 1 and \"host address-space size\" is 0", LEGACY_HOST,
		{ NOTHING }, { SET(host_cr4, HOST_CR4 | CR4_PCIDE) }, { SET(host_cr4, CR4_VMXE) } },
	{ "27.2.4", "bits 63:32 of host RIP are not 0 and \"host address-space size\" is 0",
		LEGACY_HOST, { NOTHING }, { SET(host_rip, BIT(32)), SET(host_rip, FIRST_HIGH) },
		{ SET(host_rip, 0xffffffff) } },
	{ "27.2.4", "host CR4.PAE is 0 and \"host address-space size\" is 1", LONG_GUEST, { NOTHING },
		{ SET(host_cr4, CR4_VMXE) } },
	CANONICAL_RULE("27.2.4", host_rip,
		"host RIP is not canonical and \"host address-space size\" is 1"),
};

static void execution_controls(void **state)
{
	vmx_rig_run(state, execution_rules, ARRAY_SIZE(execution_rules));
}

static void exit_controls(void **state)
{
	vmx_rig_run(state, exit_rules, ARRAY_SIZE(exit_rules));
}

static void entry_controls(void **state)
{
	vmx_rig_run(state, entry_rules, ARRAY_SIZE(entry_rules));
}

static void host_state(void **state)
{
	vmx_rig_run(state, host_rules, ARRAY_SIZE(host_rules));
}

/* ---- what the capability MSRs say is what is checked ---- */

/*
 * Each bit of a control field by itself: one that the MSR's low half has must be 1, one that its
 * high half lacks must be 0, the others are free as far as these two checks go.
 */
static void check_bits(void **state, size_t field, u64 capability, const char *zero, const char *one)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		struct vmcs *v = vmx_rig_vmcs(state, LONG_GUEST);
		u64 *controls = (u64 *)((u8 *)v + field);
		const char *text;

		*controls = (*controls & ~BIT(bit)) | (capability & BIT(bit) ? 0 : BIT(bit));
		text = vmx_rig_check(state);
		if (capability & BIT(bit))
			assert_string_equal(text, zero);
		else if (!(capability >> 32 & BIT(bit)))
			assert_string_equal(text, one);
		else if (text)
			assert_true(strcmp(text, zero) && strcmp(text, one));
	}
}

static void capabilities(void **state)
{
	check_bits(state, offsetof(struct vmcs, pin_controls), VMX_TRUE_PIN_CTLS,
		"a pin-based control that must be 1 is 0", "a pin-based control that must be 0 is 1");
	check_bits(state, offsetof(struct vmcs, cpu_controls), VMX_TRUE_PROC_CTLS,
		"a primary processor-based control that must be 1 is 0",
		"a primary processor-based control that must be 0 is 1");
	check_bits(state, offsetof(struct vmcs, exit_controls), VMX_TRUE_EXIT_CTLS,
		"a VM-exit control that must be 1 is 0", "a VM-exit control that must be 0 is 1");
	check_bits(state, offsetof(struct vmcs, entry_controls), VMX_TRUE_ENTRY_CTLS,
		"a VM-entry control that must be 1 is 0", "a VM-entry control that must be 0 is 1");
	/* A.2: what software must set that does not know the TRUE MSRs */
	assert_int_equal((u32)VMX_PIN_CTLS, 0x16);
	assert_int_equal((u32)VMX_PROC_CTLS, 0x0401e172);
	assert_int_equal((u32)VMX_EXIT_CTLS, 0x00036dff);
	assert_int_equal((u32)VMX_ENTRY_CTLS, 0x000011ff);
	assert_int_equal((u32)VMX_TRUE_PROC_CTLS, 0x04006172);
	assert_int_equal((u32)VMX_TRUE_EXIT_CTLS, 0x00036dfb);
	assert_int_equal((u32)VMX_TRUE_ENTRY_CTLS, 0x000011fb);
	assert_int_equal(VMX_BASIC >> 32 & 0x1fff, 4096);
	assert_int_equal(VMX_MISC, 0x600401e5);
	assert_int_equal(VMX_EPT_VPID_CAP, 0xf0106334141);
}

/* A.9: the highest index of a field that exists. */
static void field_enumeration(void **state)
{
	unsigned highest = 0;

#define VMCS_FIELD(encoding, name) highest = MAX(highest, VMCS_INDEX(encoding));
#include "x86/vmcs.def"
	assert_int_equal(VMX_VMCS_ENUM, highest << 1);
}

/* ---- how failures are counted ---- */

static void counts(void **state)
{
	static char texts[STAT_FAILED_CHECKS + 2][16];
	struct rig *rig = *state;
	struct cpu_stats *stats = &rig->cpu->stats;
	const struct vmcs *v = vmx_rig_vmcs(state, LONG_GUEST);
	struct failure failure;

	memset(stats, 0, sizeof(*stats));
	assert_false(FAILURE(&failure, "SDM3 27.1", "the first", SHOW(guest_cr4), SHOW_AS("b", 2)));
	assert_string_equal(failure.field[0].name, "guest_cr4");
	assert_int_equal(failure.field[0].value, v->guest_cr4);
	assert_string_equal(failure.field[1].name, "b");
	assert_int_equal(failure.field[1].value, 2);
	assert_null(failure.field[2].name);
	failure_report(rig->cpu, &failure, "VMLAUNCH", 0x7000, CURRENT);
	failure_report(rig->cpu, &failure, "VMLAUNCH", 0x7000, CURRENT);
	assert_string_equal(stats->failed_check[0].text, "the first");
	assert_string_equal(stats->failed_check[0].section, "SDM3 27.1");
	assert_int_equal(stats->failed_check[0].count, 2);
	assert_null(stats->failed_check[1].text);
	/* the table is full at its end, and what has a row there goes on */
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		failure.text = texts[i];
		failure_report(rig->cpu, &failure, "VMLAUNCH", 0x7000, CURRENT);
	}
	assert_int_equal(stats->failed_others, 3);
	failure.text = texts[STAT_FAILED_CHECKS - 2];
	failure_report(rig->cpu, &failure, "VMLAUNCH", 0x7000, CURRENT);
	assert_int_equal(stats->failed_check[STAT_FAILED_CHECKS - 1].count, 2);
	assert_int_equal(stats->failed_others, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(execution_controls, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(exit_controls, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(entry_controls, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(host_state, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(capabilities, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(counts, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test(field_enumeration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
