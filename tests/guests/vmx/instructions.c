/* SPDX-License-Identifier: MIT */
/*
 * The VMX instructions outside a guest: every way in which each of them fails, and what VMX
 * operation itself forbids. SDM3 24.7, 24.8, 31.3. With "locked" on the command line: VMXON under
 * an IA32_FEATURE_CONTROL that was locked without it.
 */
#include "vmx.h"

static u8 *other_region;
#define BEYOND BIT(52) /* no physical address has this bit */

/* Runs an instruction of no operands. */
static unsigned vmlaunch(void)
{
	return vm_try("vmlaunch", );
}

static unsigned vmresume(void)
{
	return vm_try("vmresume", );
}

static unsigned vmcall(void)
{
	return vm_try("vmcall", );
}

static unsigned vmfunc(void)
{
	return vm_try("vmfunc", "a"(0), "c"(0));
}

static const struct {
	const char *name;
	unsigned (*run)(void);
} plain[] = { { "VMLAUNCH", vmlaunch }, { "VMRESUME", vmresume }, { "VMCALL", vmcall } };

static unsigned some_vmxon(void) { return vmxon((u64)vmx_on_region); }
static unsigned some_vmclear(void) { return vmclear((u64)vmx_region); }
static unsigned some_vmptrld(void) { return vmptrld((u64)vmx_region); }
static unsigned some_vmptrst(void)
{
	u64 pa;
	return vmptrst(&pa);
}
static unsigned some_vmread(void)
{
	u64 value;
	return vmread(FIELD_guest_rip, &value);
}
static unsigned some_vmwrite(void) { return vmwrite(FIELD_guest_rip, 0); }
static unsigned some_invept(void) { return invept(INVEPT_ALL, 0); }
static unsigned some_invvpid(void) { return invvpid(INVVPID_ALL, 0, 0); }

/*
 * All that are #UD outside VMX operation, but for VMCALL: there it calls the VMM, if there is one.
 * What it does is not VMX's affair.
 */
static const struct {
	const char *name;
	unsigned (*run)(void);
} every[] = { { "VMXOFF", vmxoff }, { "VMCLEAR", some_vmclear }, { "VMPTRLD", some_vmptrld },
	{ "VMPTRST", some_vmptrst }, { "VMREAD", some_vmread }, { "VMWRITE", some_vmwrite },
	{ "VMLAUNCH", vmlaunch }, { "VMRESUME", vmresume }, { "VMCALL", vmcall },
	{ "VMFUNC", vmfunc }, { "INVEPT", some_invept }, { "INVVPID", some_invvpid } };

static void outside(const char *when)
{
	for (unsigned i = 0; i < ARRAY_SIZE(every); i++)
		if (every[i].run != vmcall)
			check_equal(every[i].run(), VM_EXCEPTION(VEC_UD), "%s %s", every[i].name,
				when);
}

static unsigned try_wrmsr(u32 msr, u64 value)
{
	return guest_try("wrmsr", : : "c"(msr), "a"((u32)value),
		"d"((u32)(value >> 32)) : "memory");
}

/* ---- VMXON and what stands before it ---- */

/* With CR4.VMXE set. SDM3 24.7. */
static void feature_control(void)
{
	u64 control = rdmsr(MSR_FEATURE_CONTROL);

	if (!(control & FEATURE_CONTROL_LOCK)) {
		check_equal(some_vmxon(), VM_EXCEPTION(VEC_GP), "VMXON, FEATURE_CONTROL unlocked");
		wrmsr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_VMX);
		check_equal(some_vmxon(), VM_EXCEPTION(VEC_GP), "VMXON, allowed but unlocked");
		wrmsr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
	}
	check(rdmsr(MSR_FEATURE_CONTROL) & FEATURE_CONTROL_VMX, "VMX is allowed outside SMX");
	check_equal(try_wrmsr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK), VEC_GP,
		"FEATURE_CONTROL is locked");
	check_equal(try_wrmsr(MSR_FEATURE_CONTROL, rdmsr(MSR_FEATURE_CONTROL)), VEC_GP,
		"for what it holds too");
}

static void locked_off(void)
{
	if (rdmsr(MSR_FEATURE_CONTROL) & FEATURE_CONTROL_LOCK) {
		guest_skip("FEATURE_CONTROL is locked by firmware");
		check(rdmsr(MSR_FEATURE_CONTROL) & FEATURE_CONTROL_VMX, "and allows VMX");
		return;
	}
	wrmsr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK);
	check_equal(some_vmxon(), VM_EXCEPTION(VEC_GP), "VMXON is locked out");
	check_equal(try_wrmsr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX),
		VEC_GP,
		"and stays so");
}

static u64 user_status(u64 run)
{
	return ((unsigned (*)(void))run)();
}

static void vmxon_failures(void)
{
	u32 *revision = (u32 *)vmx_on_region;

	write_cr4(read_cr4() & ~CR4_VMXE);
	check_equal(some_vmxon(), VM_EXCEPTION(VEC_UD), "VMXON, CR4.VMXE clear");
	outside("without CR4.VMXE");
	write_cr4(read_cr4() | CR4_VMXE);
	outside("before VMXON");
	feature_control();

	check_equal(guest_user(user_status, (u64)some_vmxon), VM_EXCEPTION(VEC_GP),
		"VMXON at CPL 3");
	check_equal(guest_user(user_status, (u64)some_vmclear), VM_EXCEPTION(VEC_UD),
		"VMCLEAR at CPL 3 outside VMX operation");
	write_cr0(read_cr0() & ~CR0_NE);
	check_equal(some_vmxon(), VM_EXCEPTION(VEC_GP), "VMXON, CR0.NE clear");
	check_equal(guest_last.error, 0, "VMXON: #GP's error code");
	write_cr0(read_cr0() | CR0_NE);

	check_equal(vmxon((u64)vmx_on_region + 1), VM_FAIL_INVALID, "VMXON, address not aligned");
	check_equal(vmxon((u64)vmx_on_region + 0x800), VM_FAIL_INVALID,
		"VMXON, in a page's middle");
	check_equal(vmxon((u64)vmx_on_region | BEYOND), VM_FAIL_INVALID, "VMXON, beyond the width");
	*revision = vmx_revision() ^ 1;
	check_equal(some_vmxon(), VM_FAIL_INVALID, "VMXON, wrong revision");
	*revision = vmx_revision() | (u32)VMCS_SHADOW;
	check_equal(some_vmxon(), VM_FAIL_INVALID, "VMXON, bit 31 of the revision");
	*revision = vmx_revision();
	/* the operand is read like any other */
	check_equal(vm_try("vmxon (%[at])", [at] "r"(0x123456789000ull)), VM_EXCEPTION(VEC_PF),
		"VMXON, operand not mapped");
	check_equal(vm_try("vmxon (%[at])", [at] "r"(BIT(63))), VM_EXCEPTION(VEC_GP),
		"VMXON, operand not canonical");

	check_equal(some_vmxon(), VM_SUCCEED, "VMXON");
	check_equal(some_vmxon(), VM_FAIL_INVALID, "VMXON again, no current VMCS");
	check_equal(some_vmptrld(), VM_FAIL_INVALID, "VMPTRLD of an empty region, no current VMCS");
}

/* ---- what VMX operation fixes, SDM3 24.8 ---- */

static void fixed_bits(void)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4();

	check_equal(guest_try("mov %0, %%cr4", : : "r"(cr4 & ~CR4_VMXE) : "memory"), VEC_GP,
		"CR4.VMXE is fixed");
	check_equal(guest_try("mov %0, %%cr0", : : "r"(cr0 & ~CR0_NE) : "memory"), VEC_GP,
		"CR0.NE is fixed");
	check_equal(guest_try("mov %0, %%cr0", : : "r"(cr0 & ~CR0_PG) : "memory"), VEC_GP,
		"CR0.PG is fixed");
	check_equal(guest_try("mov %0, %%cr0", : : "r"(cr0 ^ CR0_MP) : "memory"), NO_TRAP,
		"CR0.MP is not");
	write_cr0(cr0);
	check_equal(guest_try("mov %0, %%cr4", : : "r"(cr4 ^ CR4_DE) : "memory"), NO_TRAP,
		"CR4.DE is not");
	write_cr4(cr4);
	check_equal(read_cr0(), cr0, "CR0 stays");
	check_equal(read_cr4(), cr4, "CR4 stays");
}

/* ---- pointers ---- */

static u64 current(void)
{
	u64 pa = 0;

	check_equal(vmptrst(&pa), VM_SUCCEED, "VMPTRST");
	return pa;
}

static void no_current(void)
{
	u64 value;

	check_equal(current(), VMCS_NONE, "no current VMCS");
	check_equal(vmread(FIELD_guest_rip, &value), VM_FAIL_INVALID, "VMREAD, no current VMCS");
	check_equal(vmread(0xffff, &value), VM_FAIL_INVALID, "VMREAD of no field, no current VMCS");
	check_equal(vmwrite(FIELD_guest_rip, 1), VM_FAIL_INVALID, "VMWRITE, no current VMCS");
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
		check_equal(plain[i].run(), VM_FAIL_INVALID, "%s, no current VMCS", plain[i].name);
	check_equal(vmclear((u64)vmx_region + 8), VM_FAIL_INVALID, "VMCLEAR, no current VMCS");
	check_equal(vmptrld((u64)vmx_region + 8), VM_FAIL_INVALID, "VMPTRLD, no current VMCS");
	check_equal(invept(7, 0), VM_FAIL_INVALID, "INVEPT, no current VMCS");
	check_equal(invvpid(7, 0, 0), VM_FAIL_INVALID, "INVVPID, no current VMCS");
	check_equal(invept(INVEPT_ALL, 0), VM_SUCCEED, "INVEPT needs none");
	check_equal(invvpid(INVVPID_ALL, 0, 0), VM_SUCCEED, "INVVPID needs none");
}

static void pointers(void)
{
	u64 region = (u64)vmx_region, other = (u64)other_region;

	check_equal(vmclear(region), VM_SUCCEED, "VMCLEAR");
	no_current();
	*(u32 *)vmx_region = vmx_revision();
	*(u32 *)other_region = vmx_revision();
	check_equal(vmptrld(region), VM_SUCCEED, "VMPTRLD");
	check_equal(current(), region, "VMPTRST");
	check_equal(some_vmxon(), VM_FAIL_VALID(VMX_ERROR_VMXON_IN_ROOT), "VMXON in VMX operation");

	check_equal(vmclear(region + 8), VM_FAIL_VALID(VMX_ERROR_VMCLEAR_ADDRESS),
		"VMCLEAR, alignment");
	check_equal(vmclear(region | BEYOND), VM_FAIL_VALID(VMX_ERROR_VMCLEAR_ADDRESS),
		"VMCLEAR, width");
	check_equal(vmclear((u64)vmx_on_region), VM_FAIL_VALID(VMX_ERROR_VMCLEAR_VMXON),
		"VMCLEAR of the VMXON region");
	check_equal(vmptrld(other + 8), VM_FAIL_VALID(VMX_ERROR_VMPTRLD_ADDRESS),
		"VMPTRLD, alignment");
	check_equal(vmptrld(other | BEYOND), VM_FAIL_VALID(VMX_ERROR_VMPTRLD_ADDRESS),
		"VMPTRLD, width");
	check_equal(vmptrld((u64)vmx_on_region), VM_FAIL_VALID(VMX_ERROR_VMPTRLD_VMXON),
		"VMPTRLD of the VMXON region");
	*(u32 *)other_region = vmx_revision() + 1;
	check_equal(vmptrld(other), VM_FAIL_VALID(VMX_ERROR_VMPTRLD_REVISION), "VMPTRLD, revision");
	*(u32 *)other_region = vmx_revision();
	check_equal(current(), region, "what failed changes nothing");

	/* what one VMCS holds outlives the other's being current, and VMCLEAR */
	put(guest_rip, 0x1111222233334444);
	check_equal(vmptrld(other), VM_SUCCEED, "VMPTRLD of another");
	put(guest_rip, 0x5555666677778888);
	check_equal(vmclear(region), VM_SUCCEED, "VMCLEAR of one that is not current");
	check_equal(current(), other, "and the current one stays");
	check_equal(vmclear(other), VM_SUCCEED, "VMCLEAR of the current one");
	check_equal(current(), VMCS_NONE, "and there is none");
	check_equal(vmptrld(region), VM_SUCCEED, "VMPTRLD");
	check_equal(get(guest_rip), 0x1111222233334444, "the first keeps its own");
	check_equal(vmptrld(other), VM_SUCCEED, "VMPTRLD");
	check_equal(get(guest_rip), 0x5555666677778888, "the other too");
	check_equal(vmptrld(other), VM_SUCCEED, "VMPTRLD of the current one");
	check_equal(get(guest_rip), 0x5555666677778888, "changes nothing");

	/* bit 31 is for shadow VMCSs, which VMPTRLD takes and VM entries do not */
	if (vmx_offers_secondary(SEC_SHADOWING, "VMCS shadowing")) {
		vmclear(other);
		*(u32 *)other_region = vmx_revision() | (u32)VMCS_SHADOW;
		check_equal(vmptrld(other), VM_SUCCEED, "VMPTRLD of a shadow VMCS");
		put(guest_rip, 0x9999);
		check_equal(get(guest_rip), 0x9999, "a shadow VMCS has fields");
		check_equal(vmlaunch(), VM_FAIL_INVALID, "VMLAUNCH of a shadow VMCS");
		check_equal(vmresume(), VM_FAIL_INVALID, "VMRESUME of a shadow VMCS");
		vmclear(other);
		*(u32 *)other_region = vmx_revision();
	}
	check_equal(vmptrld(region), VM_SUCCEED, "VMPTRLD");

	/* operands in memory */
	check_equal(vm_try("vmptrst (%[at])", [at] "r"(0x123456789000ull)), VM_EXCEPTION(VEC_PF),
		"VMPTRST, not mapped");
	check_equal(guest_last.error, 2, "VMPTRST writes");
	check_equal(vm_try("vmptrld (%[at])", [at] "r"(0x123456789000ull)), VM_EXCEPTION(VEC_PF),
		"VMPTRLD, not mapped");
	check_equal(guest_last.error, 0, "VMPTRLD reads");
	check_equal(vm_try("vmclear (%[at])", [at] "r"(BIT(63))), VM_EXCEPTION(VEC_GP),
		"VMCLEAR, not canonical");
}

/* ---- VMREAD and VMWRITE ---- */

static u64 width_mask(u32 encoding)
{
	switch (VMCS_WIDTH(encoding)) {
	case VMCS_16:
		return 0xffff;
	case VMCS_32:
		return 0xffffffff;
	default:
		return ~0ull;
	}
}

static u64 pattern(unsigned i)
{
	return 0x0123456789abcdefull * (2 * i + 3);
}

/* What field number i holds when its pattern was written. */
static u64 field_value(unsigned i)
{
	return pattern(i) & width_mask(vmcs_rows[i].encoding);
}

static void every_field(void)
{
	for (unsigned i = 0; i < vmcs_row_count; i++)
		vmcs_write(vmcs_rows[i].encoding, pattern(i));
	for (unsigned i = 0; i < vmcs_row_count; i++)
		check_equal(vmcs_read(vmcs_rows[i].encoding), field_value(i), "%s",
			vmcs_rows[i].name);
	for (unsigned i = 0; i < vmcs_row_count; i++) {
		u32 encoding = vmcs_rows[i].encoding;
		u64 value;

		if (VMCS_WIDTH(encoding) != VMCS_64) {
			check_equal(vmread(encoding | 1, &value), VM_FAIL_VALID(VMX_ERROR_FIELD),
				"%s has no high half", vmcs_rows[i].name);
			continue;
		}
		check_equal(vmcs_read(encoding | 1), field_value(i) >> 32, "%s, high half",
			vmcs_rows[i].name);
		vmcs_write(encoding | 1, 0xaaaaaaaa55443322);
		check_equal(vmcs_read(encoding), (field_value(i) & 0xffffffff) | 0x5544332200000000,
			"%s, its high half written", vmcs_rows[i].name);
	}
}

static void no_field(void)
{
	static const u64 none[] = {
		FIELD_pml_index + 2, FIELD_host_tr_selector + 2, 0x6816 | 1, 0x2fff, 0x7ffe,
		0x8000 | FIELD_guest_rip, BIT(12) | FIELD_guest_rip, BIT(31) | FIELD_guest_rip,
		BIT(32) | FIELD_guest_rip, BIT(63) | FIELD_guest_rip, 0x1000, 0xffffffffffffffff,
	};
	u64 value = 0x77;

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		check_equal(vmread(none[i], &value), VM_FAIL_VALID(VMX_ERROR_FIELD), "VMREAD %llx",
			(unsigned long long)none[i]);
		check_equal(vmwrite(none[i], 0), VM_FAIL_VALID(VMX_ERROR_FIELD), "VMWRITE %llx",
			(unsigned long long)none[i]);
	}
	check_equal(value, 0x77, "a VMREAD that fails writes nothing");
}

static void operands(void)
{
	static u64 memory[3];
	u64 value = 0;

	put(guest_rip, 0x1122334455667788);
	put(guest_cs_limit, 0xfedcba98);
	put(guest_cs_selector, 0xabcd);
	/* registers: zero-extended */
	value = ~0ull;
	__asm__ volatile("vmread %1, %0" : "+r"(value) : "r"((u64)FIELD_guest_cs_limit) : "cc");
	check_equal(value, 0xfedcba98, "VMREAD of 32 bits to a register");
	value = ~0ull;
	__asm__ volatile("vmread %1, %0" : "+r"(value) : "r"((u64)FIELD_guest_cs_selector) : "cc");
	check_equal(value, 0xabcd, "VMREAD of 16 bits to a register");
	__asm__ volatile("vmwrite %0, %1" : : "r"(0x1234567890ull),
		"r"((u64)FIELD_guest_cs_limit) : "cc");
	check_equal(get(guest_cs_limit), 0x34567890, "VMWRITE takes 32 bits of a register");
	/* memory: always 64 bits, at any alignment */
	memory[0] = memory[1] = memory[2] = ~0ull;
	check_equal(vm_try("vmread %[f], 3(%[m])", [f] "r"((u64)FIELD_guest_cs_selector),
			    [m] "r"(&memory[0])), VM_SUCCEED, "VMREAD to memory");
	check_equal(memory[0], 0x0000abcdffffff, "VMREAD to memory: low");
	check_equal(memory[1], 0xffffffffff000000, "VMREAD to memory: high");
	memory[0] = 0xcdef << 8 | 0x55;
	memory[1] = 0;
	check_equal(vm_try("vmwrite 1(%[m]), %[f]", [f] "r"((u64)FIELD_guest_cs_selector),
			    [m] "r"(&memory[0])), VM_SUCCEED, "VMWRITE from memory");
	check_equal(get(guest_cs_selector), 0xcdef, "VMWRITE from memory");
	/* R8 to R15, and RSP */
	__asm__ volatile("movl $0x681e, %%r9d\n\tvmread %%r9, %%r10\n\tmovq %%r10, %0"
			 : "=r"(value) : : "r9", "r10", "cc");
	check_equal(value, 0x1122334455667788, "VMREAD with R9 and R10");
	__asm__ volatile("movl $0x681c, %%r11d\n\tvmwrite %%rsp, %%r11\n\tmovq %%rsp, %0"
			 : "=r"(value) : : "r11", "cc", "memory");
	check_equal(get(guest_rsp), value, "VMWRITE of RSP");

	check_equal(vm_try("vmread %[f], (%[at])", [f] "r"((u64)FIELD_guest_rip),
			    [at] "r"(0x123456789000ull)), VM_EXCEPTION(VEC_PF),
			"VMREAD, not mapped");
	check_equal(guest_last.error, 2, "VMREAD writes");
	check_equal(vm_try("vmwrite (%[at]), %[f]", [f] "r"((u64)FIELD_guest_rip),
			    [at] "r"(0x123456789000ull)), VM_EXCEPTION(VEC_PF),
			"VMWRITE, not mapped");
	check_equal(guest_last.error, 0, "VMWRITE reads");
	/* the field is looked at before memory is written */
	check_equal(vm_try("vmread %[f], (%[at])", [f] "r"(0x1000ull), [at] "r"(0x123456789000ull)),
		VM_FAIL_VALID(VMX_ERROR_FIELD), "VMREAD of no field to nowhere");
}

/* ---- VM entries that fail before they look at the VMCS: SDM3 27.1 ---- */

CODE(nothing, "nop");

static unsigned entry_after_mov_ss(bool launch)
{
	if (launch)
		return vm_try("movl %[ss], %%ss\n\tvmlaunch", [ss] "r"(SEL_DATA));
	return vm_try("movl %[ss], %%ss\n\tvmresume", [ss] "r"(SEL_DATA));
}

static void launch_states(void)
{
	vmx_fresh();
	check_equal(vmresume(), VM_FAIL_VALID(VMX_ERROR_VMRESUME_NOT_LAUNCHED),
		"VMRESUME of a clear one");
	check_equal(entry_after_mov_ss(false), VM_FAIL_VALID(VMX_ERROR_MOV_SS),
		"MOV SS comes before the launch state");
	check_equal(entry_after_mov_ss(true), VM_FAIL_VALID(VMX_ERROR_MOV_SS),
		"VMLAUNCH after MOV SS");
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "VMLAUNCH");
	check_equal(vmlaunch(), VM_FAIL_VALID(VMX_ERROR_VMLAUNCH_NOT_CLEAR),
		"VMLAUNCH of a launched one");
	check_equal(entry_after_mov_ss(true), VM_FAIL_VALID(VMX_ERROR_MOV_SS),
		"MOV SS comes before the launch state here too");
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "VMRESUME");
	/* the launch state is the VMCS's own */
	check_equal(vmptrld((u64)other_region), VM_SUCCEED, "VMPTRLD");
	check_equal(vmresume(), VM_FAIL_VALID(VMX_ERROR_VMRESUME_NOT_LAUNCHED),
		"VMRESUME of another");
	check_equal(vmptrld((u64)vmx_region), VM_SUCCEED, "VMPTRLD");
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "VMRESUME of the first");
	check_equal(vmclear((u64)vmx_region), VM_SUCCEED, "VMCLEAR");
	check_equal(vmptrld((u64)vmx_region), VM_SUCCEED, "VMPTRLD");
	check_equal(vmresume(), VM_FAIL_VALID(VMX_ERROR_VMRESUME_NOT_LAUNCHED),
		"VMCLEAR makes it clear");
	vmx_launched = false;
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "and VMLAUNCH works again");
	check_equal(vmcall(), VM_FAIL_VALID(VMX_ERROR_VMCALL_IN_ROOT), "VMCALL");
	check_equal(vmfunc(), VM_EXCEPTION(VEC_UD), "VMFUNC");
	check_equal(vmcall(), VM_FAIL_VALID(VMX_ERROR_VMCALL_IN_ROOT), "VMCALL again");
}

/* ---- INVEPT and INVVPID: what they refuse ---- */

#define BAD_OPERAND VM_FAIL_VALID(VMX_ERROR_INVALIDATION_OPERAND)

static void invalidation(void)
{
	u64 eptp = (u64)other_region | 3 << 3 | 6;
	u64 bad_eptp[] = { eptp ^ 1, eptp ^ 1 << 3, eptp | BIT(7), eptp | BIT(11), eptp | BEYOND };
	static const u64 no_type[] = { 0, 3, 4, BIT(32) | 1, ~0ull };

	for (unsigned i = 0; i < ARRAY_SIZE(no_type); i++) {
		check_equal(invept(no_type[i], eptp), BAD_OPERAND, "INVEPT of no type, %u", i);
		if (i >= 2)
			check_equal(invvpid(no_type[i], 1, 0), BAD_OPERAND,
				"INVVPID of no type, %u", i);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad_eptp); i++) {
		check_equal(invept(INVEPT_SINGLE, bad_eptp[i]), BAD_OPERAND, "INVEPT, EPTP %u", i);
		check_equal(invept(INVEPT_ALL, bad_eptp[i]), VM_SUCCEED, "INVEPT of all, EPTP %u",
			i);
	}
	check_equal(invept(INVEPT_SINGLE, eptp), VM_SUCCEED, "INVEPT of one");
	for (u64 type = INVVPID_ADDRESS; type <= INVVPID_LOCAL; type++) {
		bool all = type == INVVPID_ALL;

		check_equal(invvpid(type, 1, 0x1000), VM_SUCCEED, "INVVPID %llu",
			(unsigned long long)type);
		check_equal(invvpid(type, 0xffff, 0x1000), VM_SUCCEED, "INVVPID %llu, largest VPID",
			(unsigned long long)type);
		check_equal(invvpid(type, 0, 0x1000), all ? VM_SUCCEED : BAD_OPERAND,
			"INVVPID %llu, VPID 0", (unsigned long long)type);
		check_equal(invvpid(type, 0x10001, 0x1000), BAD_OPERAND,
			"INVVPID %llu, bit 16 of the descriptor", (unsigned long long)type);
		check_equal(invvpid(type, 1 | BIT(63), 0x1000), BAD_OPERAND,
			"INVVPID %llu, bit 63 of the descriptor", (unsigned long long)type);
		check_equal(invvpid(type, 1, BIT(63)),
			type == INVVPID_ADDRESS ? BAD_OPERAND : VM_SUCCEED,
			"INVVPID %llu, address not canonical", (unsigned long long)type);
	}
	check_equal(vm_try("invept (%[at]), %[t]", [at] "r"(0x123456789000ull), [t] "r"(2ull)),
		VM_EXCEPTION(VEC_PF), "INVEPT, not mapped");
	check_equal(vm_try("invvpid (%[at]), %[t]", [at] "r"(0x123456789000ull), [t] "r"(2ull)),
		VM_EXCEPTION(VEC_PF), "INVVPID, not mapped");
	check_equal(guest_last.error, 0, "INVVPID reads");
}

/* ---- levels and modes ---- */

static void privilege(void)
{
	check_equal(guest_user(user_status, (u64)some_vmxon), VM_EXCEPTION(VEC_GP),
		"VMXON at CPL 3 in VMX operation");
	for (unsigned i = 0; i < ARRAY_SIZE(every); i++)
		check_equal(guest_user(user_status, (u64)every[i].run),
			VM_EXCEPTION(every[i].run == vmfunc ? VEC_UD : VEC_GP), "%s at CPL 3",
			every[i].name);
}

/*
 * Each runs in a code segment of 32 or 16 bits and comes back. Addresses do not matter: the mode is
 * looked at first.
 */
#define COMPAT(name, insn) \
	extern u8 name##_32[], name##_16[]; \
	__asm__(".text\n" #name "_32:\n\t.code32\n\t" insn "\n\tnop\n" #name "_32e:\n\tlretl\n" \
		#name "_16:\n\t.code16\n\t" insn "\n\tnop\n" #name "_16e:\n\tlretl\n\t.code64\n")
COMPAT(compat_vmxon, "vmxon (%esi)");
COMPAT(compat_vmxoff, "vmxoff");
COMPAT(compat_vmclear, "vmclear (%esi)");
COMPAT(compat_vmptrld, "vmptrld (%esi)");
COMPAT(compat_vmptrst, "vmptrst (%esi)");
COMPAT(compat_vmread, "vmread %eax, (%esi)");
COMPAT(compat_vmread_register, "vmread %eax, %edx");
COMPAT(compat_vmwrite, "vmwrite %edx, %eax");
COMPAT(compat_vmlaunch, "vmlaunch");
COMPAT(compat_vmresume, "vmresume");
COMPAT(compat_vmcall, "vmcall");
COMPAT(compat_invept, "invept (%esi), %eax");
COMPAT(compat_invvpid, "invvpid (%esi), %eax");

static void on_ud(struct frame *frame)
{
	guest_last.vector = VEC_UD;
	guest_last.rip = frame->rip;
	/* to the far return behind it */
	while (*(u8 *)frame->rip != 0x90)
		frame->rip++;
	frame->rip++;
}

/* The vector that code raises there, or NO_TRAP. */
static unsigned run_compat(const u8 *code, u16 selector)
{
	struct {
		u32 offset;
		u16 selector;
	} __attribute__((packed)) to = { (u32)(u64)code, selector };

	guest_last.vector = NO_TRAP;
	guest_set_handler(VEC_UD, on_ud);
	/* a far call of 32 bits pushes 32-bit offsets */
	__asm__ volatile("lcall *%0" : : "m"(to), "S"(vmx_region), "a"(0), "d"(0) : "memory", "cc");
	guest_set_handler(VEC_UD, NULL);
	return guest_last.vector;
}

static void modes(bool root)
{
	const char *when = root ? "in VMX operation" : "outside VMX operation";

	static const struct {
		const char *name;
		const u8 *code[2];
	} rows[] = {
#define ROW(name) { #name, { compat_##name##_32, compat_##name##_16 } }
		ROW(vmxon), ROW(vmxoff), ROW(vmclear), ROW(vmptrld), ROW(vmptrst), ROW(vmread),
		ROW(vmread_register), ROW(vmwrite), ROW(vmlaunch), ROW(vmresume), ROW(vmcall),
		ROW(invept), ROW(invvpid),
	};

	/* 16 bits, but with a limit that reaches the code */
	guest_gdt[SEL_FREE / 8] = 0x008f9b000000ffff;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		for (unsigned bits = 0; bits < 2; bits++) {
			if (rows[i].code[0] == compat_vmcall_32 && !root)
				continue;
			check_equal(run_compat(rows[i].code[bits], bits ? SEL_FREE : SEL_CODE32),
				VEC_UD,
				"%s in a %u-bit segment of long mode, %s", rows[i].name,
				bits ? 16 : 32,
				when);
			check_equal(guest_last.rip, rows[i].code[bits], "%s: where", rows[i].name);
		}
}

void guest_main(void)
{
	if (!vmx_prepare())
		return;
	if (guest_option("locked")) {
		locked_off();
		return;
	}
	other_region = guest_pages(1);
	modes(false);
	vmxon_failures();
	fixed_bits();
	pointers();
	vmx_fresh();
	every_field();
	no_field();
	operands();
	launch_states();
	invalidation();
	privilege();
	modes(true);

	check_equal(vmxoff(), VM_SUCCEED, "VMXOFF");
	outside("after VMXOFF");
	check_equal(guest_try("mov %0, %%cr4", : : "r"(read_cr4() & ~CR4_VMXE) : "memory"), NO_TRAP,
		"CR4.VMXE is free again");
	write_cr4(read_cr4() | CR4_VMXE);
	check_equal(some_vmxon(), VM_SUCCEED, "VMXON after VMXOFF");
	check_equal(current(), VMCS_NONE, "no VMCS is current then");
	check_equal(vmxoff(), VM_SUCCEED, "VMXOFF");
}
