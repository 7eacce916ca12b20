/* SPDX-License-Identifier: MIT */
/*
 * What entries load and exits save and load: registers, segments, MSRs by controls and by areas,
 * modes of the guest. SDM3 27.3.2, 27.4, 28.3, 28.4, 28.5, 28.6.
 */
#include "vmx.h"

#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_PERF_GLOBAL_CTRL 0x38f
#define MSR_TSC_AUX 0xc0000103

struct table seen_gdt, seen_idt;
u64 seen_dr7;

CODE(nothing, "nop");
CODE(change_flags, "stc; std; pushfq; orq $0x240000, (%rsp); popfq");
CODE(look_at_tables, "sgdt seen_gdt; sidt seen_idt; mov %dr7, %rax; mov %rax, seen_dr7");
CODE(change_tables,
	"lgdt guest_gdtr; lidt guest_idtr; mov $0x1000, %eax; mov %rax, %dr0;"
	"mov $0x701, %eax; mov %rax, %dr7");
CODE(read_msr, "rdmsr; shl $32, %rdx; or %rdx, %rax");
CODE(write_msr, "wrmsr");
CODE(read_segments,
	"mov %ds, %eax; mov %es, %ebx; mov %fs, %edx; mov %gs, %esi; str %edi; sldt %r8d");
CODE(load_fs_gs, "mov $0x11000, %eax; wrfsbase %rax; mov $0x12000, %eax; wrgsbase %rax");
CODE(swap_gs, "swapgs");
CODE(null_ds, "xor %eax, %eax; mov %eax, %ds; mov %eax, %es");
CODE(code32, ".code32; inc %eax; mov $0x1234, %ecx; vmcall; .code64");
CODE(code16, ".code16; mov $0x1234, %cx; push %cx; vmcall; .code64");
CODE(set_efer, "movl $0xc0000080, %ecx; rdmsr; btc $0, %eax; wrmsr");

/* ---- general state ---- */

static void registers(void)
{
	/* all general registers pass through both ways */
	vmx_fresh();
	for (unsigned i = 0; i < 15; i++)
		((u64 *)&vmx_regs)[i] = 0x1111111111111111ull * (i + 1);
	struct vmx_regs before = vmx_regs;
	PASSES(nothing);
	check(!memcmp(&before, &vmx_regs, sizeof(before)),
		"general registers are nobody's but software's");
	check_equal(get(guest_rsp), vmx_stack_top, "RSP is saved");

	vmx_fresh();
	put(guest_rflags, 2 | FLAG_CF | FLAG_ZF);
	PASSES(nothing);
	check_equal(get(guest_rflags), 2 | FLAG_CF | FLAG_ZF, "RFLAGS, loaded and saved");
	PASSES(change_flags);
	check_equal(get(guest_rflags) & (FLAG_CF | FLAG_DF | FLAG_AC | BIT(21)), FLAG_CF | FLAG_DF |
		FLAG_AC | BIT(21),
		"RFLAGS, as changed");
	check_equal(read_rflags() & (FLAG_AC | BIT(21) | FLAG_IF | FLAG_TF), 0,
		"the host's are clear");
}

static void tables(void)
{
	vmx_fresh();
	put(guest_gdtr_base, 0x123450);
	put(guest_gdtr_limit, 0x2ff);
	put(guest_idtr_base, 0xffff800000001230);
	put(guest_idtr_limit, 0x123);
	PASSES(look_at_tables);
	check_equal(seen_gdt.base, 0x123450, "GDTR of the guest");
	check_equal(seen_gdt.limit, 0x2ff, "GDTR of the guest: limit");
	check_equal(seen_idt.base, 0xffff800000001230, "IDTR of the guest");
	check_equal(seen_idt.limit, 0x123, "IDTR of the guest: limit");
	PASSES(change_tables);
	check_equal(get(guest_gdtr_base), guest_gdtr.base, "GDTR is saved");
	check_equal(get(guest_gdtr_limit), guest_gdtr.limit, "GDTR is saved: limit");
	check_equal(get(guest_idtr_base), guest_idtr.base, "IDTR is saved");
	/* the host's limits are FFFFh, 28.5.2 */
	__asm__ volatile("sgdt %0\n\tsidt %1" : "=m"(seen_gdt), "=m"(seen_idt));
	check_equal(seen_gdt.base, guest_gdtr.base, "GDTR of the host");
	check_equal(seen_gdt.limit, 0xffff, "GDTR of the host: limit");
	check_equal(seen_idt.base, guest_idtr.base, "IDTR of the host");
	check_equal(seen_idt.limit, 0xffff, "IDTR of the host: limit");
	check_equal(read_dr7(), 0x400, "DR7 of the host");
	check_equal(read_dr0(), 0x1000, "DR0 is shared");
	write_dr0(0);
}

static void segments(void)
{
	vmx_fresh();
	put(guest_ds_selector, 0x23);
	put(guest_ds_rights, 0xc0f3);
	put(guest_fs_base, 0xffff900000000000);
	put(guest_gs_base, 0x12345678);
	put(guest_gs_rights, RIGHTS_UNUSABLE);
	put(guest_ldtr_selector, 0x68);
	put(guest_ldtr_rights, 0x82);
	put(guest_ldtr_base, 0x5000);
	put(guest_ldtr_limit, 0x1f);
	put(guest_tr_selector, 0x1c8);
	PASSES(read_segments);
	check_equal((u16)vmx_regs.rax, 0x23, "DS");
	check_equal((u16)vmx_regs.rdi, 0x1c8, "TR");
	check_equal((u16)vmx_regs.r8, 0x68, "LDTR");
	check_equal(get(guest_ds_rights), 0xc0f3, "DS's rights are saved");
	check_equal(get(guest_fs_base), 0xffff900000000000, "FS's base is saved");
	check_equal(get(guest_gs_base), 0x12345678, "the base of an unusable GS is saved");
	check_equal(get(guest_ldtr_base), 0x5000, "LDTR's base is saved");
	check_equal(get(guest_ldtr_limit), 0x1f, "LDTR's limit is saved");
	check(get(guest_gs_rights) & RIGHTS_UNUSABLE, "GS stays unusable");
	PASSES(null_ds);
	check(get(guest_ds_rights) & RIGHTS_UNUSABLE, "a null selector is unusable");
	check(get(guest_es_rights) & RIGHTS_UNUSABLE, "in ES too");
	/* what the host finds, 28.5.2 */
	put(host_fs_base, 0x7000);
	put(host_gs_base, 0xffff880000000000);
	put(host_fs_selector, SEL_DATA);
	PASSES(nothing);
	check_equal(rdmsr(MSR_FS_BASE), 0x7000, "FS's base of the host");
	check_equal(rdmsr(MSR_GS_BASE), 0xffff880000000000, "GS's base of the host");
	u16 ds, ss, fs, gs, tr, ldt, cs;
	__asm__ volatile("mov %%ds, %0; mov %%ss, %1; mov %%fs, %2; mov %%gs, %3; str %4;"
			 "sldt %5; mov %%cs, %6"
			 : "=r"(ds), "=r"(ss), "=r"(fs), "=r"(gs), "=r"(tr), "=r"(ldt), "=r"(cs));
	check_equal(ds, SEL_DATA, "DS of the host");
	check_equal(ss, SEL_DATA, "SS of the host");
	check_equal(cs, SEL_CODE64, "CS of the host");
	check_equal(fs, SEL_DATA, "FS of the host");
	check_equal(gs, 0, "GS of the host");
	check_equal(tr, SEL_TSS, "TR of the host");
	check_equal(ldt, 0, "LDTR of the host");
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
	/* KERNEL_GS_BASE and the like are not switched */
	vmx_fresh();
	wrmsr(MSR_KERNEL_GS_BASE, 0x4444);
	put(guest_gs_base, 0x5555);
	PASSES(swap_gs);
	check_equal(get(guest_gs_base), 0x4444, "SWAPGS in the guest");
	check_equal(rdmsr(MSR_KERNEL_GS_BASE), 0x5555, "KERNEL_GS_BASE is shared");
	if (cpu_has(7, 1, 0)) {
		put(guest_cr4, get(guest_cr4) | CR4_FSGSBASE);
		PASSES(load_fs_gs);
		check_equal(get(guest_fs_base), 0x11000, "WRFSBASE in the guest");
		check_equal(get(guest_gs_base), 0x12000, "WRGSBASE in the guest");
	}
}

/* ---- MSRs that fields and controls switch ---- */

static u64 guest_msr(u32 msr)
{
	vmx_regs.rcx = msr;
	check_equal(vmx_run_fixup(read_msr, read_msr_end), VMX_EXIT_VMCALL, "RDMSR %x", msr);
	return vmx_regs.rax;
}

static void set_guest_msr(u32 msr, u64 value)
{
	vmx_regs.rcx = msr;
	vmx_regs.rax = (u32)value;
	vmx_regs.rdx = value >> 32;
	check_equal(vmx_run_fixup(write_msr, write_msr_end), VMX_EXIT_VMCALL, "WRMSR %x", msr);
	check_equal(vmx_trap.vector, NO_TRAP, "WRMSR %x works", msr);
}

static void fresh_msrs(void)
{
	vmx_fresh();
	vmx_proc(PROC_MSR_BITMAPS);
}

static void sysenter(void)
{
	fresh_msrs();
	put(guest_sysenter_cs, 0x1234);
	put(guest_sysenter_esp, 0xffff800000001111);
	put(guest_sysenter_eip, 0x2222);
	put(host_sysenter_cs, 0x8);
	put(host_sysenter_esp, 0x3333);
	put(host_sysenter_eip, 0xffff800000004444);
	check_equal(guest_msr(MSR_SYSENTER_CS), 0x1234, "SYSENTER_CS of the guest");
	check_equal(guest_msr(MSR_SYSENTER_ESP), 0xffff800000001111, "SYSENTER_ESP of the guest");
	check_equal(guest_msr(MSR_SYSENTER_EIP), 0x2222, "SYSENTER_EIP of the guest");
	check_equal(rdmsr(MSR_SYSENTER_CS), 0x8, "SYSENTER_CS of the host");
	check_equal(rdmsr(MSR_SYSENTER_ESP), 0x3333, "SYSENTER_ESP of the host");
	check_equal(rdmsr(MSR_SYSENTER_EIP), 0xffff800000004444, "SYSENTER_EIP of the host");
	set_guest_msr(MSR_SYSENTER_EIP, 0x9999);
	check_equal(get(guest_sysenter_eip), 0x9999, "SYSENTER_EIP is saved");
}

/* An MSR with three controls: loaded by entries, saved and loaded by exits, each by itself. */
static void switched(const char *name, u32 msr, u64 guest_field, u64 host_field, u32 load, u32 save,
	u32 host_load, const u64 value[4])
{
	u64 real = rdmsr(msr);

	fresh_msrs();
	vmcs_write(guest_field, value[0]);
	vmcs_write(host_field, value[1]);
	wrmsr(msr, value[2]);
	check_equal(guest_msr(msr), value[2], "%s, no controls: shared", name);
	check_equal(vmcs_read(guest_field), value[0], "%s, no controls: not saved", name);
	vmx_on_entry(load);
	check_equal(guest_msr(msr), value[0], "%s is loaded by the entry", name);
	check_equal(rdmsr(msr), value[0], "%s stays the guest's", name);
	if (save) {
		vmx_on_exit(save);
		set_guest_msr(msr, value[3]);
		check_equal(vmcs_read(guest_field), value[3], "%s is saved", name);
	}
	vmx_on_exit(host_load);
	check_equal(guest_msr(msr), save ? value[3] : value[0], "%s of the guest", name);
	check_equal(rdmsr(msr), value[1], "%s of the host", name);
	wrmsr(msr, real);
}

static void by_controls(void)
{
	static const u64 pat[] = { 0x0606060606060606, 0x0007040600070406, 0x0706050401000607,
		0x0001040506070001 };
	u64 efer = rdmsr(MSR_EFER);
	u64 efers[] = { efer & ~EFER_SCE, efer, efer, efer & ~EFER_NXE };

	switched("PAT", MSR_PAT, FIELD_guest_pat, FIELD_host_pat, ENTRY_LOAD_PAT, EXIT_SAVE_PAT,
		EXIT_LOAD_PAT,
		pat);
	switched("EFER", MSR_EFER, FIELD_guest_efer, FIELD_host_efer, ENTRY_LOAD_EFER,
		EXIT_SAVE_EFER,
		EXIT_LOAD_EFER, efers);
	if (guest_try("rdmsr", : : "c"(MSR_PERF_GLOBAL_CTRL) : "rax", "rdx") == NO_TRAP) {
		static const u64 counters[] = { 1, 0, 2, 3 };

		switched("PERF_GLOBAL_CTRL", MSR_PERF_GLOBAL_CTRL, FIELD_guest_perf_global_ctrl,
			FIELD_host_perf_global_ctrl, ENTRY_LOAD_PERF_GLOBAL, 0,
			EXIT_LOAD_PERF_GLOBAL,
			counters);
	} else {
		guest_skip("PERF_GLOBAL_CTRL");
	}
	/* EFER without controls: LMA follows IA-32e mode, the rest is the host's */
	fresh_msrs();
	PASSES(set_efer);
	check_equal(rdmsr(MSR_EFER), efer ^ EFER_SCE, "EFER is shared");
	wrmsr(MSR_EFER, efer);
}

static void debug_controls(void)
{
	fresh_msrs();
	put(guest_dr7, 0x455);
	put(guest_debugctl, 0);
	write_dr7(0x400);
	PASSES(look_at_tables);
	check_equal(seen_dr7, 0x400, "DR7, not loaded");
	check_equal(get(guest_dr7), 0x455, "DR7, not saved");
	vmx_on_entry(ENTRY_LOAD_DEBUG);
	write_dr0(0x1000);
	write_dr1(0x1000);
	write_dr2(0x1000);
	write_dr3(0x1000);
	PASSES(look_at_tables);
	check_equal(seen_dr7, 0x455, "DR7 is loaded");
	check_equal(read_dr7(), 0x400, "DR7 of the host");
	vmx_on_exit(EXIT_SAVE_DEBUG);
	PASSES(change_tables);
	check_equal(get(guest_dr7), 0x701, "DR7 is saved");
	write_dr0(0);
	/* DEBUGCTL: cleared by exits; LBR is the bit that every CPU has */
	fresh_msrs();
	vmx_on_entry(ENTRY_LOAD_DEBUG);
	vmx_on_exit(EXIT_SAVE_DEBUG);
	put(guest_debugctl, 1);
	check_equal(guest_msr(MSR_DEBUGCTL), 1, "DEBUGCTL is loaded");
	check_equal(rdmsr(MSR_DEBUGCTL), 0, "DEBUGCTL of the host");
	check_equal(get(guest_debugctl), 1, "DEBUGCTL is saved");
	set_guest_msr(MSR_DEBUGCTL, 0);
	check_equal(get(guest_debugctl), 0, "DEBUGCTL is saved as changed");
}

/* ---- MSR areas, 27.4, 28.4, 28.6 ---- */

static struct vmx_msr_entry *entry_load, *exit_store, *exit_load;

static void areas(void)
{
	u64 aux = rdmsr(MSR_TSC_AUX);

	fresh_msrs();
	put(entry_msr_load_address, entry_load);
	put(exit_msr_store_address, exit_store);
	put(exit_msr_load_address, exit_load);
	entry_load[0] = (struct vmx_msr_entry){ .index = MSR_LSTAR, .value = 0x1111 };
	entry_load[1] = (struct vmx_msr_entry){ .index = MSR_TSC_AUX, .value = 0x2222 };
	exit_store[0] = (struct vmx_msr_entry){ .index = MSR_TSC_AUX };
	exit_store[1] = (struct vmx_msr_entry){ .index = MSR_LSTAR };
	exit_store[2] = (struct vmx_msr_entry){ .index = MSR_EFER, .value = 0x77 };
	exit_load[0] = (struct vmx_msr_entry){ .index = MSR_LSTAR, .value = 0x3333 };
	exit_load[1] = (struct vmx_msr_entry){ .index = MSR_TSC_AUX, .value = 0x4444 };
	wrmsr(MSR_LSTAR, 0x9999);
	check_equal(guest_msr(MSR_LSTAR), 0x9999, "areas of no entries");
	put(entry_msr_load_count, 2);
	check_equal(guest_msr(MSR_LSTAR), 0x1111, "LSTAR is loaded by the entry");
	check_equal(guest_msr(MSR_TSC_AUX), 0x2222, "TSC_AUX too");
	put(exit_msr_store_count, 2);
	put(exit_msr_load_count, 2);
	set_guest_msr(MSR_LSTAR, 0x5555);
	check_equal(exit_store[0].value, 0x2222, "TSC_AUX is stored");
	check_equal(exit_store[1].value, 0x5555, "LSTAR is stored");
	check_equal(exit_store[2].value, 0x77, "no more than the count says");
	check_equal(rdmsr(MSR_LSTAR), 0x3333, "LSTAR is loaded by the exit");
	check_equal(rdmsr(MSR_TSC_AUX), 0x4444, "TSC_AUX too");
	wrmsr(MSR_TSC_AUX, aux);
	/* what fails: the number of the entry, from 1; 27.4 */
	static const struct {
		const char *name;
		struct vmx_msr_entry entry;
	} bad[] = {
		{ "FS_BASE", { MSR_FS_BASE, 0, 0 } },
		{ "GS_BASE", { MSR_GS_BASE, 0, 0 } },
		{ "an x2APIC register", { 0x808, 0, 0 } },
		{ "SMM_MONITOR_CTL", { 0x9b, 0, 0 } },
		{ "reserved bits", { MSR_LSTAR, 1, 0 } },
		{ "a value that WRMSR refuses", { MSR_LSTAR, 0, BIT(63) } },
		{ "no MSR", { 0x1fff, 0, 0 } },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fresh_msrs();
		put(entry_msr_load_address, entry_load);
		entry_load[0] = (struct vmx_msr_entry){ .index = MSR_CSTAR, .value = 0x700 + i };
		entry_load[1] = bad[i].entry;
		put(entry_msr_load_count, 2);
		put(host_sysenter_eip, 0x7777);
		wrmsr(MSR_SYSENTER_EIP, 0);
		check_equal(vmx_run_at(nothing), VMX_EXIT_MSR_LOADING |
			(u32)EXIT_REASON_ENTRY_FAILURE,
			"entry that loads %s", bad[i].name);
		check_equal(get(exit_qualification), 2, "entry that loads %s: its number",
			bad[i].name);
		check_equal(get(guest_rip), nothing, "entry that loads %s: the guest", bad[i].name);
		check_equal(rdmsr(MSR_CSTAR), 0x700 + i, "what came before is loaded");
		check_equal(rdmsr(MSR_SYSENTER_EIP), 0x7777, "and host state");
		/* it was not launched: VMLAUNCH works once the area is right */
		put(entry_msr_load_count, 1);
		check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "and without it");
	}
	wrmsr(MSR_CSTAR, 0);
}

/* ---- control registers ---- */

static void control_registers(void)
{
	u64 *root = guest_pages(1);

	memcpy(root, guest_pml4, PAGE);
	vmx_fresh();
	put(guest_cr3, root);
	put(guest_cr0, get(guest_cr0) | CR0_TS);
	put(guest_cr4, get(guest_cr4) | CR4_TSD);
	put(host_cr4, read_cr4() | CR4_DE);
	PASSES(nothing);
	check_equal(read_cr3(), guest_pml4, "CR3 of the host");
	check(!(read_cr0() & CR0_TS), "CR0 of the host");
	check_equal(read_cr4() & (CR4_TSD | CR4_DE), CR4_DE, "CR4 of the host");
	check_equal(get(guest_cr3), root, "CR3 is saved");
	check(get(guest_cr0) & CR0_TS, "CR0 is saved");
	check(get(guest_cr4) & CR4_TSD, "CR4 is saved");
	write_cr4(read_cr4() & ~CR4_DE);
}

/* ---- other modes ---- */

static void modes(void)
{
	/* compatibility mode */
	vmx_fresh();
	put(guest_cs_selector, SEL_CODE32);
	put(guest_cs_rights, 0xc09b);
	vmx_regs.rax = 0xfffffffffffffff;
	check_equal(vmx_run_at(code32), VMX_EXIT_VMCALL, "compatibility mode");
	check_equal(vmx_regs.rcx, 0x1234, "compatibility mode: it ran");
	check_equal(vmx_regs.rax, 0, "INC EAX, where 64-bit mode has a prefix");
	check_equal(get(guest_rip), (u64)code32 + 6, "compatibility mode: RIP");
	check(get(entry_controls) & ENTRY_IA32E, "IA-32e mode still");
	/* protected mode with PAE paging */
	u64 *pdpt = guest_pages(1);
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)(guest_pd + 512 * i) | PTE_P;
	vmx_fresh();
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cs_selector, SEL_CODE32);
	put(guest_cs_rights, 0xc09b);
	put(guest_cr3, pdpt);
	check_equal(vmx_run_at(code32), VMX_EXIT_VMCALL, "PAE paging");
	check_equal(get(guest_rip), (u64)code32 + 6, "PAE paging: RIP");
	check(!(get(entry_controls) & ENTRY_IA32E), "no IA-32e mode");
	check(rdmsr(MSR_EFER) & EFER_LMA, "the host is back in it");
	/* 16-bit code of protected mode, a stack of 16 bits */
	vmx_fresh();
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cr3, pdpt);
	put(guest_cs_selector, SEL_CODE16);
	put(guest_cs_rights, 0x9b);
	put(guest_cs_limit, 0xffff);
	put(guest_cs_base, (u64)code16 & ~0xfull);
	put(guest_ss_rights, 0x93);
	put(guest_ss_limit, 0xffff);
	put(guest_ss_base, (u64)vmx_stack_top & ~0xffffull);
	put(guest_rsp, 0x1122330000 | 0x100);
	check_equal(vmx_run_at((void *)((u64)code16 & 0xf)), VMX_EXIT_VMCALL, "16-bit code");
	check_equal(vmx_regs.rcx & 0xffff, 0x1234, "16-bit code: it ran");
	check_equal(get(guest_rsp) & 0xffffffff, 0x223300fe, "16-bit stack");
	/* virtual-8086 mode */
	vmx_fresh();
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cr3, pdpt);
	for (unsigned i = 0; i < 6; i++) {
		vmcs_write(FIELD_guest_es_selector + 2 * i, 0x3000);
		vmcs_write(FIELD_guest_es_base + 2 * i, 0x30000);
		vmcs_write(FIELD_guest_es_limit + 2 * i, 0xffff);
		vmcs_write(FIELD_guest_es_rights + 2 * i, 0xf3);
	}
	put(guest_rsp, 0x8000);
	put(guest_rflags, 2 | FLAG_VM);
	memcpy((void *)0x30100, code16, 16);
	vmx_regs.rcx = 0;
	check_equal(vmx_run_at((void *)0x100), VMX_EXIT_VMCALL, "virtual-8086 mode");
	check_equal(vmx_regs.rcx & 0xffff, 0x1234, "virtual-8086 mode: it ran");
	check(get(guest_rflags) & FLAG_VM, "VM is saved");
	check(!(read_rflags() & FLAG_VM), "and not the host's");
	/* real mode and protected mode without paging, for unrestricted guests */
	if (!vmx_offers_secondary(SEC_UNRESTRICTED, "unrestricted guest"))
		return;
	put(guest_rflags, 2);
	put(guest_cr0, CR0_NE);
	put(guest_cr3, 0);
	for (unsigned i = 0; i < 6; i++)
		vmcs_write(FIELD_guest_es_rights + 2 * i, i == 1 ? 0x9b : 0x93);
	vmx_ept();
	vmx_secondary(SEC_UNRESTRICTED);
	vmx_regs.rcx = 0;
	check_equal(vmx_run_at((void *)0x100), VMX_EXIT_VMCALL, "real mode");
	check_equal(vmx_regs.rcx & 0xffff, 0x1234, "real mode: it ran");
	check_equal(get(guest_cr0) & (CR0_PE | CR0_PG), 0, "PE and PG are saved");
	vmx_fresh();
	vmx_ept();
	vmx_secondary(SEC_UNRESTRICTED);
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cr0, CR0_PE | CR0_NE);
	put(guest_cs_selector, SEL_CODE32);
	put(guest_cs_rights, 0xc09b);
	check_equal(vmx_run_at(code32), VMX_EXIT_VMCALL, "protected mode without paging");
	check_equal(get(guest_rip), (u64)code32 + 6, "without paging: RIP");
}

/* From real mode to 64-bit mode by its own instructions, as an operating system does. */
extern u8 boot_start[], boot_64[], boot_end[];
__asm__(".text\nboot_start:\n.code16\n\t"
	"movl %cr4, %eax; orl $0x20, %eax; movl %eax, %cr4\n\t"
	"movl %edi, %cr3\n\t"
	"movl $0xc0000080, %ecx; rdmsr; orl $0x100, %eax; wrmsr\n\t"
	"movl %cr0, %eax; orl $0x80000001, %eax; movl %eax, %cr0\n\t"
	"ljmpl *%cs:boot_far - boot_start\n"
	"boot_far: .long boot_64; .word 0x08\n.code64\n"
	"boot_64: movq $0x123456789abc, %rbx; vmcall\nboot_end:\n");

static void climbs(void)
{
	if (!vmx_offers_secondary(SEC_UNRESTRICTED, "unrestricted guest"))
		return;
	fresh_msrs();
	vmx_ept();
	vmx_secondary(SEC_UNRESTRICTED);
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cr0, CR0_NE);
	put(guest_cr3, 0);
	put(guest_cr4, CR4_VMXE);
	vmx_on_entry(ENTRY_LOAD_EFER);
	vmx_on_exit(EXIT_SAVE_EFER | EXIT_LOAD_EFER);
	put(guest_efer, 0);
	put(host_efer, rdmsr(MSR_EFER));
	/* the VMM keeps NE and VMXE for itself */
	put(cr0_mask, CR0_NE);
	put(cr4_mask, CR4_VMXE);
	for (unsigned i = 0; i < 6; i++) {
		vmcs_write(FIELD_guest_es_selector + 2 * i, 0x3000);
		vmcs_write(FIELD_guest_es_base + 2 * i, 0x30000);
		vmcs_write(FIELD_guest_es_limit + 2 * i, 0xffff);
		vmcs_write(FIELD_guest_es_rights + 2 * i, i == 1 ? 0x9b : 0x93);
	}
	memcpy((void *)0x30000, boot_start, (size_t)(boot_end - boot_start));
	put(guest_rsp, 0x8000);
	vmx_regs.rdi = (u64)guest_pml4;
	check_equal(vmx_run_at((void *)0), VMX_EXIT_VMCALL, "from real mode to 64 bits");
	check_equal(vmx_regs.rbx, 0x123456789abc, "it got there");
	check(get(entry_controls) & ENTRY_IA32E, "the entry control follows");
	check_equal(get(guest_efer) & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA, "EFER is saved");
	check_equal(get(guest_cr0) & (CR0_PE | CR0_PG | CR0_NE), CR0_PE | CR0_PG | CR0_NE,
		"CR0 is saved");
	check_equal(get(guest_cs_selector), SEL_CODE64, "CS is saved");
	check_equal(get(guest_cs_rights) & RIGHTS_L, RIGHTS_L, "with its L bit");
	/* and goes on from there */
	check_equal(vmx_run_at(boot_64), VMX_EXIT_VMCALL, "resumed in 64-bit mode");
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	entry_load = guest_pages(1);
	exit_store = guest_pages(1);
	exit_load = guest_pages(1);
	registers();
	tables();
	segments();
	sysenter();
	by_controls();
	debug_controls();
	areas();
	control_registers();
	modes();
	climbs();
}
