/* SPDX-License-Identifier: MIT */
/* Making and running the guest of the VMX tests. */
#include "vmx.h"

struct vmx_regs vmx_regs;
u8 *vmx_on_region, *vmx_region, *vmx_stack_top, *vmx_msr_bitmap, *vmx_io_bitmap;
bool vmx_launched;
struct trap vmx_trap;

const struct vmcs_row vmcs_rows[] = {
#define VMCS_FIELD(encoding, name) { encoding, #name },
#include "x86/vmcs.def"
};
const unsigned vmcs_row_count = ARRAY_SIZE(vmcs_rows);

u64 vmx_enter(struct vmx_regs *regs, bool launch);

bool vmx_prepare(void)
{
	if (!cpu_has(1, 2, 5)) {
		check(false, "the CPU offers no VMX");
		return false;
	}
	write_cr4(read_cr4() | CR4_VMXE);
	vmx_on_region = guest_pages(1);
	vmx_region = guest_pages(1);
	vmx_msr_bitmap = guest_pages(1);
	vmx_io_bitmap = guest_pages(2);
	vmx_stack_top = (u8 *)guest_pages(8) + 8 * PAGE - 256;
	*(u32 *)vmx_on_region = vmx_revision();
	return true;
}

bool vmx_setup(void)
{
	u64 control;

	if (!vmx_prepare())
		return false;
	control = rdmsr(MSR_FEATURE_CONTROL);
	if (!(control & FEATURE_CONTROL_LOCK))
		wrmsr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
	if (!check_equal(vmxon((u64)vmx_on_region), VM_SUCCEED, "VMXON"))
		return false;
	vmx_fresh();
	return true;
}

u32 vmx_revision(void)
{
	return (u32)rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
}

u64 vmcs_read(u64 field)
{
	u64 value = 0;

	check_equal(vmread(field, &value), VM_SUCCEED, "VMREAD %llx", (unsigned long long)field);
	return value;
}

void vmcs_write(u64 field, u64 value)
{
	check_equal(vmwrite(field, value), VM_SUCCEED, "VMWRITE %llx", (unsigned long long)field);
}

/* What must be one, by the capability MSR that leaves most open. */
static u32 must_be_one(u32 msr)
{
	return (u32)rdmsr(msr);
}

static void change(u64 field, u32 msr, u32 on)
{
	u32 may = (u32)(rdmsr(msr) >> 32);

	check_equal(on & ~may, 0, "control bits of field %llx are offered",
		(unsigned long long)field);
	vmcs_write(field, vmcs_read(field) | (on & may));
}

void vmx_pin(u32 on)
{
	change(FIELD_pin_controls, MSR_VMX_TRUE_PIN_CTLS, on);
}

void vmx_proc(u32 on)
{
	change(FIELD_cpu_controls, MSR_VMX_TRUE_PROC_CTLS, on);
}

void vmx_secondary(u32 on)
{
	vmx_proc((u32)PROC_SECONDARY);
	change(FIELD_secondary_controls, MSR_VMX_PROC_CTLS2, on);
}

void vmx_on_exit(u32 on)
{
	change(FIELD_exit_controls, MSR_VMX_TRUE_EXIT_CTLS, on);
}

void vmx_on_entry(u32 on)
{
	change(FIELD_entry_controls, MSR_VMX_TRUE_ENTRY_CTLS, on);
}

bool vmx_offers_secondary(u32 bits, const char *name)
{
	return check((rdmsr(MSR_VMX_PROC_CTLS2) >> 32 & bits) == bits, "offered: %s", name);
}

static void fresh_controls(void)
{
	put(pin_controls, must_be_one(MSR_VMX_TRUE_PIN_CTLS));
	put(cpu_controls, must_be_one(MSR_VMX_TRUE_PROC_CTLS));
	put(exit_controls, must_be_one(MSR_VMX_TRUE_EXIT_CTLS));
	put(entry_controls, must_be_one(MSR_VMX_TRUE_ENTRY_CTLS));
	vmx_on_exit(EXIT_HOST_64);
	vmx_on_entry(ENTRY_IA32E);
	put(link_pointer, VMCS_NONE);
	put(msr_bitmap, vmx_msr_bitmap);
	put(io_bitmap_a, vmx_io_bitmap);
	put(io_bitmap_b, vmx_io_bitmap + PAGE);
}

static void fresh_host(void)
{
	put(host_cr0, read_cr0());
	put(host_cr3, read_cr3());
	put(host_cr4, read_cr4());
	put(host_cs_selector, SEL_CODE64);
	put(host_ss_selector, SEL_DATA);
	put(host_ds_selector, SEL_DATA);
	put(host_es_selector, SEL_DATA);
	put(host_tr_selector, SEL_TSS);
	put(host_tr_base, guest_tss);
	put(host_gdtr_base, guest_gdtr.base);
	put(host_idtr_base, guest_idtr.base);
}

#define FLAT(name, sel, rights) \
	do { \
		put(guest_##name##_selector, sel); \
		put(guest_##name##_rights, rights); \
		put(guest_##name##_limit, 0xffffffff); \
	} while (0)

static void fresh_guest(void)
{
	put(guest_cr0, read_cr0());
	put(guest_cr3, read_cr3());
	put(guest_cr4, read_cr4());
	put(guest_dr7, 0x400);
	FLAT(cs, SEL_CODE64, 0xa09b);
	FLAT(ss, SEL_DATA, 0xc093);
	FLAT(ds, SEL_DATA, 0xc093);
	FLAT(es, SEL_DATA, 0xc093);
	FLAT(fs, SEL_DATA, 0xc093);
	FLAT(gs, SEL_DATA, 0xc093);
	put(guest_ldtr_rights, RIGHTS_UNUSABLE);
	put(guest_tr_selector, SEL_TSS);
	put(guest_tr_rights, 0x8b);
	put(guest_tr_limit, 103);
	put(guest_tr_base, guest_tss);
	put(guest_gdtr_base, guest_gdtr.base);
	put(guest_gdtr_limit, guest_gdtr.limit);
	put(guest_idtr_base, guest_idtr.base);
	put(guest_idtr_limit, guest_idtr.limit);
	put(guest_rsp, vmx_stack_top);
	put(guest_rflags, 2);
}

void vmx_fresh(void)
{
	u64 pa = (u64)vmx_region;

	check_equal(vmclear(pa), VM_SUCCEED, "VMCLEAR");
	memset(vmx_region, 0, PAGE);
	*(u32 *)vmx_region = vmx_revision();
	check_equal(vmptrld(pa), VM_SUCCEED, "VMPTRLD");
	/* what a region of zeros means is nobody's business but the processor's: SDM3 25.11.1 */
	for (unsigned i = 0; i < vmcs_row_count; i++)
		vmcs_write(vmcs_rows[i].encoding, 0);
	memset(vmx_msr_bitmap, 0, PAGE);
	memset(vmx_io_bitmap, 0, 2 * PAGE);
	vmx_regs = (struct vmx_regs){ 0 };
	vmx_launched = false;
	fresh_controls();
	fresh_host();
	fresh_guest();
}

void vmx_user(void)
{
	put(guest_cs_selector, SEL_USER_CODE64);
	put(guest_cs_rights, 0xa0fb);
	put(guest_ss_selector, SEL_USER_DATA);
	put(guest_ss_rights, 0xc0f3);
}

u32 vmx_run(void)
{
	unsigned status;
	u32 reason;
	u64 flags;

	guest_last.vector = NO_TRAP;
	flags = vmx_enter(&vmx_regs, !vmx_launched);
	vmx_trap = guest_last;
	status = flags ? vm_status(NO_TRAP, flags) : VM_SUCCEED;
	if (status == VM_FAIL_INVALID)
		return ENTRY_FAIL_INVALID;
	if (status != VM_SUCCEED)
		return ENTRY_FAIL_VALID(status & 0xff);
	reason = (u32)get(exit_reason);
	if (!(reason & EXIT_REASON_ENTRY_FAILURE))
		vmx_launched = true;
	return reason;
}

u32 vmx_run_at(const void *code)
{
	put(guest_rip, code);
	return vmx_run();
}

u32 vmx_run_fixup(const void *code, const void *end)
{
	u32 reason;

	put(guest_rip, code);
	/* from here to the entry nobody may use the fix-up for himself, as put() does */
	guest_fixup = (u64)end;
	reason = vmx_run();
	guest_fixup = 0;
	return reason;
}

u64 vmx_eptp(const u64 *pml4)
{
	return (u64)pml4 | 3 << 3 | 6;
}

u64 *vmx_ept(void)
{
	u64 *pml4 = guest_pages(1), *pdpt = guest_pages(1), *pd = guest_pages(4);

	pml4[0] = (u64)pdpt | EPT_RWX;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)(pd + 512 * i) | EPT_RWX;
	for (unsigned i = 0; i < 2048; i++)
		pd[i] = i * 0x200000ull | EPT_RWX | EPT_WB | EPT_LARGE;
	put(eptp, vmx_eptp(pml4));
	vmx_secondary(SEC_EPT);
	return pml4;
}

u64 *vmx_ept_entry(u64 *pml4, u64 gpa, unsigned level)
{
	u64 *table = pml4;

	for (unsigned at = 4; at > level; at--) {
		u64 *entry = &table[gpa >> (12 + 9 * (at - 1)) & 511];

		if (!(*entry & EPT_RWX)) {
			*entry = (u64)guest_pages(1) | EPT_RWX;
		} else if (at < 4 && (*entry & EPT_LARGE)) {
			u64 *split = guest_pages(1);
			u64 step = 1ull << (12 + 9 * (at - 2));
			u64 flags = *entry & ~PTE_ADDRESS & ~(at == 2 ? EPT_LARGE : 0);
			u64 first = *entry & PTE_ADDRESS & ~(512 * step - 1);

			for (unsigned i = 0; i < 512; i++)
				split[i] = (first + i * step) | flags;
			*entry = (u64)split | EPT_RWX;
		}
		table = (u64 *)(*entry & PTE_ADDRESS);
	}
	return &table[gpa >> (12 + 9 * (level - 1)) & 511];
}

bool vmx_check_exit(const void *code, const void *end, u32 got, u32 reason, const char *name)
{
	if (!check_equal(got, reason, "%s: exit reason", name))
		return false;
	check_equal(get(guest_rip), code, "%s: RIP", name);
	check_equal(get(exit_instruction_length), (u64)end - (u64)code, "%s: length", name);
	check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "%s: IDT vectoring", name);
	return true;
}

bool vmx_check_plain(const void *end, u32 got, const char *name)
{
	if (!check_equal(got, VMX_EXIT_VMCALL, "%s: comes to its end", name))
		return false;
	return check_equal(get(guest_rip), end, "%s: RIP of the end", name);
}

void vmx_check_raises(const void *code, const void *end, unsigned vector, const char *name)
{
	vmx_check_plain(end, vmx_run_fixup(code, end), name);
	check_equal(vmx_trap.vector, vector, "%s: exception", name);
}
