/* SPDX-License-Identifier: MIT */
/*
 * What an entry that fails leaves behind, SDM3 27.2, 27.8: the error number of an instruction that
 * fails, the reason and qualification of an exit of a guest that never ran, the host as its area has
 * it, the guest's state and the launch state as they were. One check of each kind; all of them are
 * tried out by test_vmx_check.
 */
#include "vmx.h"

CODE(nothing, "vmcall");
CODE(long_code, "movq $1, %r8; vmcall");

#define FAILS(reason) ((u32)((reason) | EXIT_REASON_ENTRY_FAILURE))

static u8 *msr_area, *region;

/* Nothing of the guest was saved, and with what was wrong put right it can be launched. */
static void check_left(const char *what)
{
	check_equal(get(guest_rip), (u64)nothing, "%s: the guest's RIP stays", what);
	check_equal(get(guest_rflags), 2, "%s: the guest's RFLAGS stay", what);
	check(!vmx_launched, "%s: not launched", what);
}

static void instruction_fails(const char *what, u32 error)
{
	put(exit_reason, 0x5a5a);
	check_equal(vmx_run_at(nothing), ENTRY_FAIL_VALID(error), "%s", what);
	check_equal(get(instruction_error), error, "%s: the error number", what);
	check_equal(get(exit_reason), 0x5a5a, "%s: no exit", what);
	check_left(what);
}

/* With an NMI to be injected, so that there is an event to stay. */
static void guest_fails(const char *what, u32 reason, u64 qualification)
{
	put(entry_interruption_info, INTR_INFO_VALID | INTR_NMI << 8 | 2);
	check_equal(vmx_run_at(nothing), FAILS(reason), "%s", what);
	check_equal(get(exit_qualification), qualification, "%s: the qualification", what);
	check(get(entry_interruption_info) & INTR_INFO_VALID, "%s: the event stays", what);
	check_left(what);
}

static void runs(const char *what)
{
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "%s", what);
	vmx_fresh();
}

static void controls_and_host(void)
{
	u64 controls = get(pin_controls), base;

	put(pin_controls, controls | BIT(8));
	instruction_fails("a control that is not offered", VMX_ERROR_CONTROLS);
	put(pin_controls, controls);
	runs("without it");
	put(cr3_target_count, 5);
	instruction_fails("five CR3 targets", VMX_ERROR_CONTROLS);
	put(cr3_target_count, 4);
	runs("four CR3 targets");
	base = get(host_gs_base);
	put(host_gs_base, BIT(47));
	instruction_fails("a host's base that is not canonical", VMX_ERROR_HOST_STATE);
	put(host_gs_base, base);
	runs("one that is");
	base = get(exit_controls);
	put(exit_controls, base & ~EXIT_HOST_64);
	instruction_fails("a host of 32 bits", VMX_ERROR_HOST_STATE);
	/* controls come before the host's state */
	put(cr3_target_count, 5);
	instruction_fails("both", VMX_ERROR_CONTROLS);
	vmx_fresh();
}

static void guest_state(void)
{
	put(guest_cr4, get(guest_cr4) & ~CR4_VMXE);
	guest_fails("CR4.VMXE clear", VMX_EXIT_INVALID_GUEST_STATE, 0);
	vmx_fresh();
	put(guest_tr_rights, 0x89);
	guest_fails("a TSS that is not busy", VMX_EXIT_INVALID_GUEST_STATE, 0);
	put(guest_tr_rights, 0x8b);
	put(entry_interruption_info, 0);
	runs("a busy one");
	/* 27.3.2.2: CS's L counts all the same */
	put(guest_cs_rights, 0xa09b | RIGHTS_UNUSABLE);
	vmx_regs.r8 = 0;
	check_equal(vmx_run_at(long_code), VMX_EXIT_VMCALL, "CS is unusable");
	check_equal(vmx_regs.r8, 1, "and its L counts");
	vmx_fresh();
	put(link_pointer, region);
	runs("a link pointer to a VMCS");
	put(link_pointer, region + 1);
	guest_fails("a link pointer that is not aligned", VMX_EXIT_INVALID_GUEST_STATE, 4);
	vmx_fresh();
	put(link_pointer, vmx_region);
	guest_fails("a link pointer to the current VMCS", VMX_EXIT_INVALID_GUEST_STATE, 4);
	vmx_fresh();
}

static void msr_loads(void)
{
	struct vmx_msr_entry *entry = (struct vmx_msr_entry *)msr_area;

	entry[0] = (struct vmx_msr_entry){ .index = MSR_PAT, .value = rdmsr(MSR_PAT) };
	entry[1] = entry[0];
	put(entry_msr_load_address, msr_area);
	put(entry_msr_load_count, 2);
	runs("two MSRs to load");
	entry[1].value = 2;
	put(entry_msr_load_address, msr_area);
	put(entry_msr_load_count, 2);
	guest_fails("the second has a value that may not be", VMX_EXIT_MSR_LOADING, 2);
	vmx_fresh();
	entry[0].reserved = 1;
	put(entry_msr_load_address, msr_area);
	put(entry_msr_load_count, 2);
	guest_fails("the first has a reserved bit", VMX_EXIT_MSR_LOADING, 1);
	vmx_fresh();
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	msr_area = guest_pages(1);
	region = guest_pages(1);
	*(u32 *)region = vmx_revision();
	controls_and_host();
	guest_state();
	msr_loads();
}
