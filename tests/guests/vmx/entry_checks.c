/* SPDX-License-Identifier: MIT */
/*
 * The checks of VM entries by real VMLAUNCHes, in the manual's order: what each refuses and what it
 * lets pass. How a failed entry ends is failed_entries.c's. SDM3 27.2, 27.3.1.
 */
#include "vmx.h"

CODE(here, "vmcall");

enum outcome {
	PASS,
	CONTROLS,       /* VM-instruction error 7 */
	HOST,           /* 8 */
	EITHER,         /* of them: the manual does not say which */
	GUEST,          /* exit reason 33, qualification 0 */
	GUEST_PDPTE,    /* 2 */
	GUEST_NMI,      /* 3 */
	GUEST_LINK,     /* 4 */
};

/* What a row starts from. */
enum base {
	LONG,           /* 64-bit guest */
	PAE,            /* 32-bit guest, PAE paging */
	V86,
	REAL,           /* unrestricted guest with EPT */
};

struct change {
	u32 field;
	u64 set, clear;
};

struct row {
	const char *name;
	enum outcome outcome;
	enum base base;
	struct change change[7];
};
#define SET(name, bits) { FIELD_##name, bits, 0 }
#define CLEAR(name, bits) { FIELD_##name, 0, bits }
#define IS(name, value) { FIELD_##name, value, ~0ull }
#define PIN(bits) SET(pin_controls, bits)
#define PRIMARY(bits) SET(cpu_controls, bits)
#define SEC(bits) SET(cpu_controls, PROC_SECONDARY), SET(secondary_controls, bits)
#define ODD BIT(0)
#define BEYOND BIT(52)
#define NOT_CANONICAL BIT(62)
#define INJECT(info) IS(entry_interruption_info, (u32)INTR_INFO_VALID | (info))
#define INJECT_ERROR(info) \
	IS(entry_interruption_info, (u32)INTR_INFO_VALID | (u32)INTR_INFO_ERROR | \
	(info))
#define TYPE(type, vector) ((type) << 8 | (vector))

static u8 *a_page;
#define A_PAGE 0x200000 /* an address that is good for whatever is a page */
#define EPTP_OK (A_PAGE | 3 << 3 | 6)

static const struct row rows[] = {
	{ "nothing wrong", PASS, LONG, {} },
	{ "nothing wrong", PASS, PAE, {} },
	{ "nothing wrong", PASS, V86, {} },
	{ "nothing wrong", PASS, REAL, {} },

	/* 27.2.1.1 */
	{ "pin: must be one", CONTROLS, LONG, { CLEAR(pin_controls, BIT(1)) } },
	{ "pin: must be zero", CONTROLS, LONG, { PIN(BIT(31)) } },
	{ "processor: must be one", CONTROLS, LONG, { CLEAR(cpu_controls, BIT(1)) } },
	{ "processor: must be zero", CONTROLS, LONG, { PRIMARY(BIT(0)) } },
	{ "secondary: must be zero", CONTROLS, LONG, { SEC(BIT(31)) } },
	{ "secondary: not active", PASS, LONG, { SET(secondary_controls, BIT(31)) } },
	{ "CR3 targets: 4", PASS, LONG, { IS(cr3_target_count, 4) } },
	{ "CR3 targets: 5", CONTROLS, LONG, { IS(cr3_target_count, 5) } },
	{ "I/O bitmap A: alignment", CONTROLS, LONG, { PRIMARY(PROC_IO_BITMAPS), SET(io_bitmap_a,
	ODD) } },
	{ "I/O bitmap B: alignment", CONTROLS, LONG, { PRIMARY(PROC_IO_BITMAPS), SET(io_bitmap_b,
	BIT(11)) } },
	{ "I/O bitmap A: width", CONTROLS, LONG, { PRIMARY(PROC_IO_BITMAPS), SET(io_bitmap_a,
	BEYOND) } },
	{ "I/O bitmap B: width", CONTROLS, LONG, { PRIMARY(PROC_IO_BITMAPS), SET(io_bitmap_b,
	BEYOND) } },
	{ "I/O bitmaps not in use", PASS, LONG, { SET(io_bitmap_a, ODD), SET(io_bitmap_b,
	BEYOND) } },
	{ "MSR bitmap: alignment", CONTROLS, LONG, { PRIMARY(PROC_MSR_BITMAPS), SET(msr_bitmap,
	ODD) } },
	{ "MSR bitmap: width", CONTROLS, LONG, { PRIMARY(PROC_MSR_BITMAPS), SET(msr_bitmap,
	BEYOND) } },
	{ "MSR bitmap not in use", PASS, LONG, { SET(msr_bitmap, ODD) } },
	{ "TPR shadow", PASS, LONG, { PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address,
	A_PAGE) } },
	{ "virtual-APIC address: alignment", CONTROLS, LONG,
		{ PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address, A_PAGE | ODD) } },
	{ "virtual-APIC address: width", CONTROLS, LONG,
		{ PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address, A_PAGE | BEYOND) } },
	{ "TPR threshold: reserved bits", CONTROLS, LONG,
		{ PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address, A_PAGE), IS(tpr_threshold,
		0x10) } },
	{ "TPR threshold above VTPR", CONTROLS, LONG,
		{ PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address, A_PAGE), IS(tpr_threshold,
		1) } },
	{ "TPR threshold, not in use", PASS, LONG, { IS(tpr_threshold, 0x1f) } },
	{ "x2APIC without TPR shadow", CONTROLS, LONG, { SEC(SEC_X2APIC) } },
	{ "APIC registers without TPR shadow", CONTROLS, LONG, { SEC(SEC_APIC_REGISTERS) } },
	{ "virtual interrupts without TPR shadow", CONTROLS, LONG,
		{ SEC(SEC_VIRTUAL_INTERRUPTS), PIN(PIN_EXTERNAL_INTERRUPT) } },
	{ "virtual NMIs without NMI exiting", CONTROLS, LONG, { PIN(PIN_VIRTUAL_NMIS) } },
	{ "virtual NMIs", PASS, LONG, { PIN(PIN_VIRTUAL_NMIS | PIN_NMI) } },
	{ "NMI window without virtual NMIs", CONTROLS, LONG, { PRIMARY(PROC_NMI_WINDOW),
	PIN(PIN_NMI) } },
	{ "APIC-access address", PASS, LONG, { SEC(SEC_APIC_ACCESSES), IS(apic_access_address,
	A_PAGE) } },
	{ "APIC-access address: alignment", CONTROLS, LONG,
		{ SEC(SEC_APIC_ACCESSES), IS(apic_access_address, A_PAGE | ODD) } },
	{ "APIC-access address: width", CONTROLS, LONG,
		{ SEC(SEC_APIC_ACCESSES), IS(apic_access_address, A_PAGE | BEYOND) } },
	{ "APIC accesses and x2APIC", CONTROLS, LONG,
		{ SEC(SEC_APIC_ACCESSES | SEC_X2APIC), PRIMARY(PROC_TPR_SHADOW),
			IS(virtual_apic_address, A_PAGE), IS(apic_access_address, A_PAGE) } },
	{ "virtual interrupts without external-interrupt exiting", CONTROLS, LONG,
		{ SEC(SEC_VIRTUAL_INTERRUPTS), PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address,
		A_PAGE) } },
	{ "virtual interrupts", PASS, LONG,
		{ SEC(SEC_VIRTUAL_INTERRUPTS), PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address,
		A_PAGE),
			PIN(PIN_EXTERNAL_INTERRUPT) } },
#define POSTED(...) \
	{ SEC(SEC_VIRTUAL_INTERRUPTS), PRIMARY(PROC_TPR_SHADOW), IS(virtual_apic_address, A_PAGE), \
		PIN(PIN_EXTERNAL_INTERRUPT | PIN_POSTED_INTERRUPTS), __VA_ARGS__ }
	{ "posted interrupts without acknowledgment", CONTROLS, LONG,
		POSTED(IS(posted_interrupt_descriptor, A_PAGE)) },
	{ "posted interrupts", PASS, LONG,
		POSTED(IS(posted_interrupt_descriptor, A_PAGE + 64), SET(exit_controls,
		EXIT_ACKNOWLEDGE)) },
	{ "posted-interrupt descriptor: alignment", CONTROLS, LONG,
		POSTED(IS(posted_interrupt_descriptor, A_PAGE + 32), SET(exit_controls,
		EXIT_ACKNOWLEDGE)) },
	{ "posted-interrupt descriptor: width", CONTROLS, LONG,
		POSTED(IS(posted_interrupt_descriptor, A_PAGE | BEYOND), SET(exit_controls,
		EXIT_ACKNOWLEDGE)) },
	{ "VPID 0", CONTROLS, LONG, { SEC(SEC_VPID) } },
	{ "VPID 1", PASS, LONG, { SEC(SEC_VPID), IS(vpid, 1) } },
	{ "EPTP: memory type", CONTROLS, LONG, { SEC(SEC_EPT), IS(eptp, EPTP_OK ^ 1) } },
	{ "EPTP: walk length", CONTROLS, LONG, { SEC(SEC_EPT), IS(eptp, EPTP_OK ^ BIT(3)) } },
	{ "EPTP: reserved bits", CONTROLS, LONG, { SEC(SEC_EPT), IS(eptp, EPTP_OK | BIT(11)) } },
	{ "EPTP: width", CONTROLS, LONG, { SEC(SEC_EPT), IS(eptp, EPTP_OK | BEYOND) } },
	{ "PML without EPT", CONTROLS, LONG, { SEC(SEC_PML), IS(pml_address, A_PAGE) } },
	{ "PML address: alignment", CONTROLS, REAL, { SEC(SEC_PML), IS(pml_address, A_PAGE |
	ODD) } },
	{ "PML address: width", CONTROLS, REAL, { SEC(SEC_PML), IS(pml_address, A_PAGE |
	BEYOND) } },
	{ "unrestricted guest without EPT", CONTROLS, REAL, { CLEAR(secondary_controls,
	SEC_EPT) } },
	{ "mode-based execution without EPT", CONTROLS, LONG, { SEC(SEC_MODE_BASED_EXECUTE) } },
	{ "VM functions: reserved bits", CONTROLS, REAL,
		{ SEC(SEC_VM_FUNCTIONS), IS(vm_function_controls, BIT(1)), IS(eptp_list_address,
		A_PAGE) } },
	{ "EPTP switching without EPT", CONTROLS, LONG,
		{ SEC(SEC_VM_FUNCTIONS), IS(vm_function_controls, 1), IS(eptp_list_address,
		A_PAGE) } },
	{ "EPTP list: alignment", CONTROLS, REAL,
		{ SEC(SEC_VM_FUNCTIONS), IS(vm_function_controls, 1), IS(eptp_list_address, A_PAGE |
		ODD) } },
	{ "EPTP switching", PASS, REAL,
		{ SEC(SEC_VM_FUNCTIONS), IS(vm_function_controls, 1), IS(eptp_list_address,
		A_PAGE) } },
	{ "VMREAD bitmap: alignment", CONTROLS, LONG, { SEC(SEC_SHADOWING), IS(vmread_bitmap,
	ODD) } },
	{ "VMWRITE bitmap: width", CONTROLS, LONG, { SEC(SEC_SHADOWING), IS(vmwrite_bitmap,
	BEYOND) } },
	{ "#VE area: alignment", CONTROLS, LONG, { SEC(SEC_EPT_VE), IS(ve_information_address,
	ODD) } },
	{ "TSC multiplier 0", CONTROLS, LONG, { SEC(SEC_TSC_SCALING),
	PRIMARY(PROC_TSC_OFFSETTING) } },
	{ "TSC multiplier", PASS, LONG,
		{ SEC(SEC_TSC_SCALING), PRIMARY(PROC_TSC_OFFSETTING), IS(tsc_multiplier, 1) } },

	/* 27.2.1.2 */
	{ "exit controls: must be one", CONTROLS, LONG, { CLEAR(exit_controls, BIT(0)) } },
	{ "exit controls: must be zero", CONTROLS, LONG, { SET(exit_controls, BIT(8 * 3 + 7)) } },
	{ "timer saved but not active", CONTROLS, LONG, { SET(exit_controls,
	EXIT_SAVE_PREEMPTION_TIMER) } },
	{ "exit MSR-store area: alignment", CONTROLS, LONG,
		{ IS(exit_msr_store_address, A_PAGE + 8), IS(exit_msr_store_count, 1) } },
	{ "exit MSR-store area: width", CONTROLS, LONG,
		{ IS(exit_msr_store_address, BEYOND), IS(exit_msr_store_count, 1) } },
	{ "exit MSR-store area: its end", CONTROLS, LONG,
		{ IS(exit_msr_store_address, BEYOND - 16), IS(exit_msr_store_count, 2) } },
	{ "exit MSR-store area of no entries", PASS, LONG, { IS(exit_msr_store_address, 8) } },
	{ "exit MSR-load area: alignment", CONTROLS, LONG,
		{ IS(exit_msr_load_address, A_PAGE + 1), IS(exit_msr_load_count, 1) } },
	{ "exit MSR-load area: width", CONTROLS, LONG,
		{ IS(exit_msr_load_address, BEYOND), IS(exit_msr_load_count, 1) } },

	/* 27.2.1.3 */
	{ "entry controls: must be one", CONTROLS, LONG, { CLEAR(entry_controls, BIT(0)) } },
	{ "entry controls: must be zero", CONTROLS, LONG, { SET(entry_controls, BIT(31)) } },
	{ "entry to SMM", CONTROLS, LONG, { SET(entry_controls, ENTRY_TO_SMM) } },
	{ "entry MSR-load area: alignment", CONTROLS, LONG,
		{ IS(entry_msr_load_address, A_PAGE + 4), IS(entry_msr_load_count, 1) } },
	{ "entry MSR-load area: width", CONTROLS, LONG,
		{ IS(entry_msr_load_address, BEYOND), IS(entry_msr_load_count, 1) } },
	{ "inject: type 1", CONTROLS, LONG, { INJECT(TYPE(1, 0x30)) } },
	{ "inject: NMI of another vector", CONTROLS, LONG, { INJECT(TYPE(INTR_NMI, 3)) } },
	{ "inject: exception 32", CONTROLS, LONG, { INJECT(TYPE(INTR_HARDWARE_EXCEPTION, 32)) } },
	{ "inject: MTF of another vector", CONTROLS, LONG, { INJECT(TYPE(INTR_OTHER, 1)) } },
	{ "inject: #GP without error code", CONTROLS, LONG, { INJECT(TYPE(INTR_HARDWARE_EXCEPTION,
	VEC_GP)) } },
	{ "inject: #UD with error code", CONTROLS, LONG,
		{ INJECT_ERROR(TYPE(INTR_HARDWARE_EXCEPTION, VEC_UD)) } },
	{ "inject: INT n with error code", CONTROLS, LONG,
		{ INJECT_ERROR(TYPE(INTR_SOFTWARE, VEC_GP)), IS(entry_instruction_length, 2) } },
	{ "inject: reserved bits", CONTROLS, LONG, { INJECT(TYPE(INTR_NMI, VEC_NMI) | BIT(13)) } },
	{ "inject: reserved bits of the error code", CONTROLS, LONG,
		{ INJECT_ERROR(TYPE(INTR_HARDWARE_EXCEPTION, VEC_GP)), IS(entry_error_code,
		BIT(20)) } },
	{ "inject: length 16", CONTROLS, LONG,
		{ INJECT(TYPE(INTR_SOFTWARE, 0x30)), IS(entry_instruction_length, 16) } },
	{ "inject: #GP with error code into real mode", CONTROLS, REAL,
		{ INJECT_ERROR(TYPE(INTR_HARDWARE_EXCEPTION, VEC_GP)) } },

	/* 27.2.2 */
	{ "host CR0: fixed to one", HOST, LONG, { CLEAR(host_cr0, CR0_NE) } },
	{ "host CR0: fixed to zero", HOST, LONG, { SET(host_cr0, BIT(32)) } },
	{ "host CR4: fixed to one", HOST, LONG, { CLEAR(host_cr4, CR4_VMXE) } },
	{ "host CR4: fixed to zero", HOST, LONG, { SET(host_cr4, BIT(63)) } },
	{ "host CR3: width", HOST, LONG, { SET(host_cr3, BEYOND) } },
	{ "host SYSENTER_ESP", HOST, LONG, { IS(host_sysenter_esp, NOT_CANONICAL) } },
	{ "host SYSENTER_EIP", HOST, LONG, { IS(host_sysenter_eip, NOT_CANONICAL) } },
	{ "host PAT: a type that is none", HOST, LONG, { SET(exit_controls, EXIT_LOAD_PAT),
	IS(host_pat, 2) } },
	{ "host PAT not in use", PASS, LONG, { IS(host_pat, 2) } },
	{ "host EFER: reserved bits", HOST, LONG,
		{ SET(exit_controls, EXIT_LOAD_EFER), IS(host_efer, EFER_LMA | EFER_LME |
		BIT(63)) } },
	{ "host EFER: LMA", HOST, LONG, { SET(exit_controls, EXIT_LOAD_EFER), IS(host_efer,
	EFER_LME) } },
	{ "host EFER: LME", HOST, LONG, { SET(exit_controls, EXIT_LOAD_EFER), IS(host_efer,
	EFER_LMA) } },

	/* 27.2.3 */
	{ "host CS: RPL", HOST, LONG, { SET(host_cs_selector, 1) } },
	{ "host SS: TI", HOST, LONG, { SET(host_ss_selector, 4) } },
	{ "host DS: RPL", HOST, LONG, { SET(host_ds_selector, 3) } },
	{ "host ES: TI", HOST, LONG, { SET(host_es_selector, 4) } },
	{ "host FS: RPL", HOST, LONG, { SET(host_fs_selector, 2) } },
	{ "host GS: TI", HOST, LONG, { SET(host_gs_selector, 4) } },
	{ "host TR: RPL", HOST, LONG, { SET(host_tr_selector, 1) } },
	{ "host CS: null", HOST, LONG, { IS(host_cs_selector, 0) } },
	{ "host TR: null", HOST, LONG, { IS(host_tr_selector, 0) } },
	{ "host FS base", HOST, LONG, { IS(host_fs_base, NOT_CANONICAL) } },
	{ "host GS base", HOST, LONG, { IS(host_gs_base, NOT_CANONICAL) } },
	{ "host GDTR base", HOST, LONG, { IS(host_gdtr_base, NOT_CANONICAL) } },
	{ "host IDTR base", HOST, LONG, { IS(host_idtr_base, NOT_CANONICAL) } },
	{ "host TR base", HOST, LONG, { IS(host_tr_base, NOT_CANONICAL) } },

	/* 27.2.4 */
	{ "host address space of 32 bits", EITHER, LONG, { CLEAR(exit_controls, EXIT_HOST_64) } },
	{ "host CR4.PAE", HOST, LONG, { CLEAR(host_cr4, CR4_PAE) } },

	/* 27.3.1.1 */
	{ "CR0: fixed to one", GUEST, LONG, { CLEAR(guest_cr0, CR0_NE) } },
	{ "CR0: fixed to zero", GUEST, LONG, { SET(guest_cr0, BIT(32)) } },
	{ "CR0: PG without PE", GUEST, REAL, { SET(guest_cr0, CR0_PG) } },
	{ "CR0: PE clear", GUEST, PAE, { CLEAR(guest_cr0, CR0_PE) } },
	{ "CR4: fixed to one", GUEST, LONG, { CLEAR(guest_cr4, CR4_VMXE) } },
	{ "CR4: fixed to zero", GUEST, LONG, { SET(guest_cr4, BIT(63)) } },
	{ "DEBUGCTL: reserved bits", GUEST, LONG,
		{ SET(entry_controls, ENTRY_LOAD_DEBUG), IS(guest_debugctl, BIT(63)) } },
	{ "DR7: upper half", GUEST, LONG, { SET(entry_controls, ENTRY_LOAD_DEBUG), SET(guest_dr7,
	BIT(32)) } },
	{ "DEBUGCTL and DR7 not in use", PASS, LONG, { IS(guest_debugctl, BIT(63)), SET(guest_dr7,
	BIT(32)) } },
	{ "IA-32e mode without paging", GUEST, LONG, { CLEAR(guest_cr0, CR0_PG) } },
	{ "IA-32e mode without PAE", GUEST, LONG, { CLEAR(guest_cr4, CR4_PAE) } },
	{ "CR3: width", GUEST, LONG, { SET(guest_cr3, BEYOND) } },
	{ "SYSENTER_ESP", GUEST, LONG, { IS(guest_sysenter_esp, NOT_CANONICAL) } },
	{ "SYSENTER_EIP", GUEST, LONG, { IS(guest_sysenter_eip, NOT_CANONICAL) } },
	{ "PAT: a type that is none", GUEST, LONG, { SET(entry_controls, ENTRY_LOAD_PAT),
	IS(guest_pat, 3 << 8) } },
	{ "EFER: reserved bits", GUEST, LONG,
		{ SET(entry_controls, ENTRY_LOAD_EFER), IS(guest_efer, EFER_LMA | EFER_LME |
		BIT(1)) } },
	{ "EFER: LMA", GUEST, LONG, { SET(entry_controls, ENTRY_LOAD_EFER), IS(guest_efer,
	EFER_LME) } },
	{ "EFER: LME", GUEST, LONG, { SET(entry_controls, ENTRY_LOAD_EFER), IS(guest_efer,
	EFER_LMA) } },
	{ "EFER: LMA in 32-bit mode", GUEST, PAE,
		{ SET(entry_controls, ENTRY_LOAD_EFER), IS(guest_efer, EFER_LMA | EFER_LME) } },
	{ "EFER: LME without paging", PASS, REAL, { SET(entry_controls, ENTRY_LOAD_EFER),
	IS(guest_efer, EFER_LME) } },

	/* 27.3.1.2 */
	{ "TR: TI", GUEST, LONG, { SET(guest_tr_selector, 4) } },
	{ "LDTR: TI", GUEST, LONG,
		{ IS(guest_ldtr_rights, 0x82), IS(guest_ldtr_selector, 4) } },
	{ "LDTR: TI, unusable", PASS, LONG, { IS(guest_ldtr_selector, 4) } },
	{ "SS: RPL of another level than CS's", GUEST, LONG, { SET(guest_ss_selector, 3) } },
	{ "V86: CS base", GUEST, V86, { IS(guest_cs_base, 0x30010) } },
	{ "V86: SS limit", GUEST, V86, { IS(guest_ss_limit, 0xfffff) } },
	{ "V86: DS rights", GUEST, V86, { IS(guest_ds_rights, 0x93) } },
	{ "TR base", GUEST, LONG, { IS(guest_tr_base, NOT_CANONICAL) } },
	{ "FS base", GUEST, LONG, { IS(guest_fs_base, NOT_CANONICAL) } },
	{ "GS base", GUEST, LONG, { IS(guest_gs_base, NOT_CANONICAL) } },
	{ "GS base, unusable", GUEST, LONG, { IS(guest_gs_base, NOT_CANONICAL), IS(guest_gs_rights,
	RIGHTS_UNUSABLE) } },
	{ "LDTR base", GUEST, LONG, { IS(guest_ldtr_rights, 0x82), IS(guest_ldtr_base,
	NOT_CANONICAL) } },
	{ "CS base: upper half", GUEST, LONG, { IS(guest_cs_base, BIT(32)) } },
	{ "SS base: upper half", GUEST, LONG, { IS(guest_ss_base, BIT(32)) } },
	{ "DS base: upper half", GUEST, LONG, { IS(guest_ds_base, BIT(32)) } },
	{ "DS base: upper half, unusable", PASS, LONG, { IS(guest_ds_base, BIT(32)),
	IS(guest_ds_rights, RIGHTS_UNUSABLE) } },
	{ "CS: not accessed", GUEST, LONG, { CLEAR(guest_cs_rights, 1) } },
	{ "CS: data, no unrestricted guest", GUEST, PAE, { CLEAR(guest_cs_rights, 8) } },
	{ "CS: data in real mode", PASS, REAL, { CLEAR(guest_cs_rights, 8) } },
	{ "SS: code", GUEST, LONG, { SET(guest_ss_rights, 8) } },
	{ "SS: read-only", GUEST, LONG, { CLEAR(guest_ss_rights, 2) } },
	{ "DS: not accessed", GUEST, LONG, { CLEAR(guest_ds_rights, 1) } },
	{ "ES: execute-only code", GUEST, LONG, { IS(guest_es_rights, 0xc099) } },
	{ "ES: readable code", PASS, LONG, { IS(guest_es_rights, 0xc09b) } },
	{ "CS: a system segment", GUEST, LONG, { CLEAR(guest_cs_rights, BIT(4)) } },
	{ "FS: a system segment", GUEST, LONG, { CLEAR(guest_fs_rights, BIT(4)) } },
	{ "CS: DPL of another level than SS's", GUEST, LONG, { SET(guest_cs_rights, 3 << 5) } },
	{ "CS: conforming, of a higher level", PASS, LONG, { SET(guest_cs_rights, 4) } },
	{ "SS: DPL is not RPL", GUEST, LONG, { SET(guest_ss_rights, 3 << 5) } },
	{ "DS: DPL below RPL", GUEST, LONG, { SET(guest_ds_selector, 3) } },
	{ "CS: not present", GUEST, LONG, { CLEAR(guest_cs_rights, BIT(7)) } },
	{ "ES: not present", GUEST, LONG, { CLEAR(guest_es_rights, BIT(7)) } },
	{ "CS: reserved bits", GUEST, LONG, { SET(guest_cs_rights, BIT(8)) } },
	{ "GS: reserved bits", GUEST, LONG, { SET(guest_gs_rights, BIT(17)) } },
	{ "CS: L and D", GUEST, LONG, { SET(guest_cs_rights, RIGHTS_DB) } },
	{ "CS: limit without G", GUEST, LONG, { CLEAR(guest_cs_rights, RIGHTS_G) } },
	{ "DS: low limit with G", GUEST, LONG, { IS(guest_ds_limit, 0xfff0) } },
	{ "TR: available", GUEST, LONG, { IS(guest_tr_rights, 0x89) } },
	{ "TR: 16 bits in IA-32e mode", GUEST, LONG, { IS(guest_tr_rights, 0x83) } },
	{ "TR: 16 bits", PASS, PAE, { IS(guest_tr_rights, 0x83) } },
	{ "TR: unusable", GUEST, LONG, { SET(guest_tr_rights, RIGHTS_UNUSABLE) } },
	{ "TR: not present", GUEST, LONG, { CLEAR(guest_tr_rights, BIT(7)) } },
	{ "LDTR: another type", GUEST, LONG, { IS(guest_ldtr_rights, 0x83) } },
	{ "LDTR", PASS, LONG, { IS(guest_ldtr_rights, 0x82) } },
	{ "LDTR: limit without G", GUEST, LONG, { IS(guest_ldtr_rights, 0x82), IS(guest_ldtr_limit,
	0x100000) } },

	/* 27.3.1.3 */
	{ "GDTR base", GUEST, LONG, { IS(guest_gdtr_base, NOT_CANONICAL) } },
	{ "IDTR base", GUEST, LONG, { IS(guest_idtr_base, NOT_CANONICAL) } },
	{ "GDTR limit", GUEST, LONG, { IS(guest_gdtr_limit, 0x10000) } },
	{ "IDTR limit", GUEST, LONG, { IS(guest_idtr_limit, 0x10000) } },

	/* 27.3.1.4 */
	{ "RIP: upper half outside 64-bit mode", GUEST, PAE, { SET(guest_rip, BIT(32)) } },
	{ "RFLAGS: bit 1", GUEST, LONG, { CLEAR(guest_rflags, 2) } },
	{ "RFLAGS: bit 15", GUEST, LONG, { SET(guest_rflags, BIT(15)) } },
	{ "RFLAGS: bit 22", GUEST, LONG, { SET(guest_rflags, BIT(22)) } },
	{ "RFLAGS: VM in IA-32e mode", GUEST, LONG, { SET(guest_rflags, FLAG_VM) } },
	{ "an interrupt, IF clear", GUEST, LONG, { INJECT(TYPE(INTR_EXTERNAL, 0x30)) } },

	/* 27.3.1.5 */
	{ "activity state 4", GUEST, LONG, { IS(guest_activity, 4) } },
	{ "HLT at CPL 3", GUEST, LONG,
		{ IS(guest_activity, ACTIVITY_HLT), IS(guest_cs_selector, SEL_USER_CODE64),
		IS(guest_cs_rights, 0xa0fb),
			IS(guest_ss_selector, SEL_USER_DATA), IS(guest_ss_rights, 0xc0f3) } },
	{ "HLT and blocking by STI", GUEST, LONG,
		{ IS(guest_activity, ACTIVITY_HLT), IS(guest_interruptibility,
		INTERRUPTIBILITY_STI),
			SET(guest_rflags, FLAG_IF) } },
	{ "HLT and an injected #GP", GUEST, LONG,
		{ IS(guest_activity, ACTIVITY_HLT), INJECT_ERROR(TYPE(INTR_HARDWARE_EXCEPTION,
		VEC_GP)) } },
	{ "shutdown and an injected interrupt", GUEST, LONG,
		{ IS(guest_activity, ACTIVITY_SHUTDOWN), INJECT(TYPE(INTR_EXTERNAL, 0x30)),
		SET(guest_rflags, FLAG_IF) } },
	{ "wait-for-SIPI and an injected NMI", GUEST, LONG,
		{ IS(guest_activity, ACTIVITY_WAIT_SIPI), INJECT(TYPE(INTR_NMI, VEC_NMI)) } },
	{ "interruptibility: reserved bits", GUEST, LONG, { IS(guest_interruptibility, BIT(5)) } },
	{ "blocking by STI and MOV SS", GUEST, LONG,
		{ IS(guest_interruptibility, INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS),
		SET(guest_rflags, FLAG_IF) } },
	{ "blocking by STI, IF clear", GUEST, LONG, { IS(guest_interruptibility,
	INTERRUPTIBILITY_STI) } },
	{ "an interrupt and blocking by STI", GUEST, LONG,
		{ IS(guest_interruptibility, INTERRUPTIBILITY_STI), SET(guest_rflags, FLAG_IF),
			INJECT(TYPE(INTR_EXTERNAL, 0x30)) } },
	{ "an NMI and blocking by STI", GUEST_NMI, LONG,
		{ IS(guest_interruptibility, INTERRUPTIBILITY_STI), SET(guest_rflags, FLAG_IF),
			INJECT(TYPE(INTR_NMI, VEC_NMI)) } },
	{ "an NMI and blocking by MOV SS", GUEST, LONG,
		{ IS(guest_interruptibility, INTERRUPTIBILITY_MOV_SS), INJECT(TYPE(INTR_NMI,
		VEC_NMI)) } },
	{ "blocking by SMI", GUEST, LONG, { IS(guest_interruptibility, INTERRUPTIBILITY_SMI) } },
	{ "a virtual NMI and blocking by NMI", GUEST, LONG,
		{ PIN(PIN_NMI | PIN_VIRTUAL_NMIS), IS(guest_interruptibility, INTERRUPTIBILITY_NMI),
			INJECT(TYPE(INTR_NMI, VEC_NMI)) } },
	{ "pending debug exceptions: reserved bits", GUEST, LONG, { IS(guest_pending_debug,
	BIT(13)) } },
	{ "blocking by MOV SS, TF, no pending step", GUEST, LONG,
		{ IS(guest_interruptibility, INTERRUPTIBILITY_MOV_SS), SET(guest_rflags,
		FLAG_TF) } },
	{ "blocking by MOV SS, TF, a pending step", PASS, LONG,
		{ IS(guest_interruptibility, INTERRUPTIBILITY_MOV_SS), SET(guest_rflags, FLAG_TF),
			IS(guest_pending_debug, PENDING_BS) } },
	{ "blocking by MOV SS, a pending step, no TF", GUEST, LONG,
		{ IS(guest_interruptibility, INTERRUPTIBILITY_MOV_SS), IS(guest_pending_debug,
		PENDING_BS) } },
	{ "link pointer: alignment", GUEST_LINK, LONG, { IS(link_pointer, A_PAGE | ODD) } },
	{ "link pointer: width", GUEST_LINK, LONG, { IS(link_pointer, A_PAGE | BEYOND) } },
	{ "link pointer: revision", GUEST_LINK, LONG, { IS(link_pointer, A_PAGE) } },

	/* 27.3.1.6 */
	{ "PDPTEs of memory", GUEST_PDPTE, PAE, { IS(guest_cr3, A_PAGE + 0x20) } },
};

static void start_from(enum base base)
{
	static u64 *pdpt;

	vmx_fresh();
	put(guest_rip, here);
	if (base == LONG)
		return;
	if (!pdpt)
		pdpt = guest_pages(1);
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)(guest_pd + 512 * i) | PTE_P;
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cr3, pdpt);
	if (base == PAE) {
		put(guest_cs_selector, SEL_CODE32);
		put(guest_cs_rights, 0xc09b);
		return;
	}
	for (unsigned i = 0; i < 6; i++) {
		vmcs_write(FIELD_guest_es_selector + 2 * i, 0x3000);
		vmcs_write(FIELD_guest_es_base + 2 * i, 0x30000);
		vmcs_write(FIELD_guest_es_limit + 2 * i, 0xffff);
		vmcs_write(FIELD_guest_es_rights + 2 * i,
			base == V86 ? 0xf3 : i == 1 ? 0x9b : 0x93);
	}
	memcpy((void *)0x30100, here, 3);
	put(guest_rip, 0x100);
	if (base == V86) {
		put(guest_rflags, 2 | FLAG_VM);
		return;
	}
	put(guest_cr0, CR0_NE);
	put(guest_cr3, 0);
	vmx_ept();
	vmx_secondary(SEC_UNRESTRICTED);
}

static void check_row(const struct row *row)
{
	u32 reason;

	memset(a_page, 0, PAGE);
	*(u64 *)(a_page + 0x20) = PTE_P | PTE_W; /* reserved in a PDPTE */
	start_from(row->base);
	for (unsigned i = 0;
		i < ARRAY_SIZE(row->change) && (row->change[i].set || row->change[i].clear); i++) {
		const struct change *change = &row->change[i];

		vmcs_write(change->field, (vmcs_read(change->field) & ~change->clear) |
			change->set);
	}
	reason = vmx_run();
	switch (row->outcome) {
	case PASS:
		check(!(reason & (0x30000 | (u32)EXIT_REASON_ENTRY_FAILURE)), "passes: %s: got %x",
		row->name, reason);
		break;
	case CONTROLS:
		check_equal(reason, ENTRY_FAIL_VALID(VMX_ERROR_CONTROLS), "%s", row->name);
		break;
	case HOST:
		check_equal(reason, ENTRY_FAIL_VALID(VMX_ERROR_HOST_STATE), "%s", row->name);
		break;
	case EITHER:
		check(reason == ENTRY_FAIL_VALID(VMX_ERROR_CONTROLS) ||
				reason == ENTRY_FAIL_VALID(VMX_ERROR_HOST_STATE),
			"%s: got %x", row->name, reason);
		break;
	default:
		if (check_equal(reason, VMX_EXIT_INVALID_GUEST_STATE |
		(u32)EXIT_REASON_ENTRY_FAILURE, "%s", row->name))
			check_equal(get(exit_qualification), row->outcome == GUEST_PDPTE ? 2 :
				row->outcome == GUEST_NMI ? 3 : row->outcome == GUEST_LINK ? 4 : 0,
				"%s: qualification", row->name);
	}
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	a_page = (u8 *)A_PAGE;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(&rows[i]);
}
