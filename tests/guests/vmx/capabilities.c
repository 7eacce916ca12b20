/* SPDX-License-Identifier: MIT */
/* The capability MSRs: they agree with one another, and offer what they should. SDM3 appendix A. */
#include "vmx.h"

#define CR4_LA57 BIT(12)

static u32 low(u32 msr)
{
	return (u32)rdmsr(msr);
}

static u32 high(u32 msr)
{
	return (u32)(rdmsr(msr) >> 32);
}

static void basic(void)
{
	u64 value = rdmsr(MSR_VMX_BASIC);

	check(!(value & BIT(31)), "bit 31 is always zero");
	check((value >> 32 & 0x1fff) > 0 && (value >> 32 & 0x1fff) <= PAGE,
		"the region is in a page");
	check(!(value & BIT(48)), "addresses are not limited to 32 bits");
	check(!(value & BIT(49)), "no dual-monitor treatment");
	check_equal(value >> 50 & 15, 6, "structures are write-back memory");
	check(value & BIT(54), "INS and OUTS are described");
	check(value & BIT(55), "there are true controls");
	check_equal(value >> 57, 0, "reserved bits");
}

/* A.2 to A.5. on: what this CPU is to offer; off: what it must not. */
static const struct {
	const char *name;
	u32 msr, true_msr;
	u32 default1, on, off;
} controls[] = {
	{ "pin-based", MSR_VMX_PIN_CTLS, MSR_VMX_TRUE_PIN_CTLS, 0x16,
		PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER |
			PIN_POSTED_INTERRUPTS, 0 },
	{ "processor-based", MSR_VMX_PROC_CTLS, MSR_VMX_TRUE_PROC_CTLS, 0x0401e172,
		PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_HLT | PROC_INVLPG | PROC_MWAIT |
			PROC_RDPMC | PROC_RDTSC | PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD |
			PROC_CR8_STORE | PROC_TPR_SHADOW | PROC_NMI_WINDOW | PROC_MOV_DR |
			PROC_UNCONDITIONAL_IO | PROC_IO_BITMAPS | PROC_MONITOR_TRAP |
			PROC_MSR_BITMAPS | PROC_MONITOR | PROC_PAUSE | PROC_SECONDARY, 0 },
	{ "exit", MSR_VMX_EXIT_CTLS, MSR_VMX_TRUE_EXIT_CTLS, 0x36dff,
		EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_LOAD_PERF_GLOBAL | EXIT_ACKNOWLEDGE |
			EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER |
			EXIT_SAVE_PREEMPTION_TIMER, 0 },
	{ "entry", MSR_VMX_ENTRY_CTLS, MSR_VMX_TRUE_ENTRY_CTLS, 0x11ff,
		ENTRY_LOAD_DEBUG | ENTRY_IA32E | ENTRY_LOAD_PERF_GLOBAL | ENTRY_LOAD_PAT |
			ENTRY_LOAD_EFER, ENTRY_TO_SMM | ENTRY_DEACTIVATE_DUAL_MONITOR },
};
#define SECONDARY_ON \
	(SEC_APIC_ACCESSES | SEC_EPT | SEC_DESCRIPTOR_TABLES | SEC_RDTSCP | SEC_X2APIC | \
		SEC_VPID | \
		SEC_WBINVD | SEC_UNRESTRICTED | SEC_APIC_REGISTERS | SEC_VIRTUAL_INTERRUPTS | \
		SEC_PAUSE_LOOP | SEC_INVPCID | SEC_VM_FUNCTIONS | SEC_SHADOWING | SEC_PML | \
		SEC_EPT_VE | SEC_XSAVES | SEC_MODE_BASED_EXECUTE | SEC_TSC_SCALING)

/* enclaves, processor trace, sub-page permissions, PCONFIG, ENCLV */
#define SECONDARY_OFF \
	(BIT(15) | BIT(19) | BIT(23) | BIT(24) | BIT(27) | BIT(28))

static void allowed(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
		const char *name = controls[i].name;
		u32 must = low(controls[i].msr), may = high(controls[i].msr);

		check_equal(must & ~may, 0, "%s: what must be one may be", name);
		check_equal(must & controls[i].default1, controls[i].default1, "%s: default1",
			name);
		check_equal(must & ~controls[i].default1, 0, "%s: nothing else must be one", name);
		check_equal(high(controls[i].true_msr), may, "%s: true controls may the same",
			name);
		check_equal(low(controls[i].true_msr) & ~must, 0, "%s: true controls must less",
			name);
		check_equal(controls[i].on & ~may, 0, "%s: offered", name);
		check_equal(controls[i].on & low(controls[i].true_msr), 0, "%s: may be off", name);
		check_equal(may & controls[i].off, 0, "%s: not offered", name);
	}
	check_equal(low(MSR_VMX_PROC_CTLS2), 0, "secondary: nothing must be one");
	check_equal(SECONDARY_ON & ~high(MSR_VMX_PROC_CTLS2), 0, "secondary: offered");
	check_equal(high(MSR_VMX_PROC_CTLS2) & SECONDARY_OFF, 0, "secondary: not offered");
}

static void registers(void)
{
	u64 cr0_one = rdmsr(MSR_VMX_CR0_FIXED0), cr0_may = rdmsr(MSR_VMX_CR0_FIXED1);
	u64 cr4_one = rdmsr(MSR_VMX_CR4_FIXED0), cr4_may = rdmsr(MSR_VMX_CR4_FIXED1);
	u64 used = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE |
		   CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_VMXE;

	check_equal(cr0_one, CR0_PE | CR0_NE | CR0_PG, "CR0: fixed to one");
	check_equal(cr0_may, 0xffffffff, "CR0: may be one");
	check_equal(cr4_one, CR4_VMXE, "CR4: fixed to one");
	check_equal(used & ~cr4_may, 0, "CR4: what every CPU has may be one");
	/*
	 * One by one, what may be one and what CR4 takes are the same. LA57 cannot be changed in
	 * long mode; this code would not survive SMEP and SMAP, its pages being open to CPL 3.
	 */
	for (unsigned bit = 0; bit < 32; bit++) {
		u64 cr4 = read_cr4();
		bool taken = cr4 & BIT(bit);

		if (BIT(bit) & (CR4_LA57 | CR4_SMEP | CR4_SMAP))
			continue;
		if (!taken) {
			taken = guest_try("mov %0, %%cr4", : : "r"(cr4 | BIT(bit)) : "memory") ==
				NO_TRAP;
			if (taken)
				write_cr4(cr4);
		}
		check_equal(cr4_may >> bit & 1, taken, "CR4 bit %u", bit);
	}
}

static void others(void)
{
	u64 misc = rdmsr(MSR_VMX_MISC), ept = rdmsr(MSR_VMX_EPT_VPID_CAP);
	unsigned highest = 0;

	for (unsigned i = 0; i < vmcs_row_count; i++)
		if (VMCS_INDEX(vmcs_rows[i].encoding) > highest)
			highest = VMCS_INDEX(vmcs_rows[i].encoding);
	check(rdmsr(MSR_VMX_VMCS_ENUM) >> 1 >= highest, "VMCS_ENUM has the highest index");
	check_equal(rdmsr(MSR_VMX_VMCS_ENUM) & ~0x3feull, 0, "VMCS_ENUM: reserved bits");
	check((misc & 31) < 24, "the preemption timer's rate");
	check(misc & BIT(5), "exits store EFER.LMA: goes with unrestricted guest");
	check_equal(misc >> 6 & 7, 7, "activity states");
	check_equal(misc >> 16 & 0x1ff, 4, "CR3 targets");
	check(misc & BIT(29), "VMWRITE takes read-only fields");
	check(misc & BIT(30), "injection with length 0");
	check(ept & BIT(0), "execute-only pages");
	check(ept & BIT(6), "page walks of 4");
	check(!(ept & BIT(7)), "and no other length");
	check(ept & BIT(14), "write-back paging structures");
	check(ept & BIT(16), "2 MiB pages");
	check(ept & BIT(17), "1 GiB pages");
	check(ept & BIT(20), "INVEPT");
	check(ept & BIT(21), "accessed and dirty flags");
	check_equal(ept >> 25 & 3, 3, "both types of INVEPT");
	check(ept & BIT(32), "INVVPID");
	check_equal(ept >> 40 & 15, 15, "all types of INVVPID");
	check(rdmsr(MSR_VMX_VMFUNC) & VM_FUNCTION_EPTP_SWITCHING, "EPTP switching");
}

void guest_main(void)
{
	if (!vmx_prepare())
		return;
	basic();
	allowed();
	registers();
	others();
	for (u32 msr = MSR_VMX_BASIC; msr <= MSR_VMX_VMFUNC; msr++) {
		u64 value = rdmsr(msr);

		check_equal(guest_try("wrmsr", : : "c"(msr), "a"((u32)value),
			"d"((u32)(value >> 32))),
			VEC_GP, "MSR %x cannot be written", msr);
	}
}
