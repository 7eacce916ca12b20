/* SPDX-License-Identifier: MIT */
/*
 * What VMRUN, #VMEXIT, VMLOAD and VMSAVE move, what the clean bits leave, the unit's MSRs, the TSC's
 * offset and ratio, branch records: APM2 15.5, 15.6, 15.15, 15.23, 15.30, 15.33.1.
 */
#include "svm.h"

CODE(nothing, "nop");
CODE(change_all, "mov %rbx, %cr2; mov %rcx, %dr6; mov %rdx, %dr7; mov %rsi, %rsp; mov %rdi, %rax;"
	"movl $0x23, %r8d; stc; std");
CODE(read_state, "mov %cr0, %rax; mov %cr2, %rbx; mov %cr3, %rcx; mov %cr4, %rdx; mov %dr6, %rsi;"
	"mov %dr7, %rdi; mov %rsp, %r8; pushfq; pop %r9; mov %es, %r10d; mov %ss, %r11d");
CODE(read_tables, "sgdt (%rbx); sidt 16(%rbx)");
CODE(read_tsc, "rdtsc; shl $32, %rdx; or %rdx, %rax");
CODE(vmsave_code, "vmsave %rax");
CODE(vmload_code, "vmload %rax");
CODE(read_efer, "rdmsr; shl $32, %rdx; or %rdx, %rax");

#define CODE32(name, text) CODE(name, ".code32; " text "; .code64")
CODE32(through_es, "movb %es:(%ebx), %al; movb $0x5a, %es:1(%ebx); movw %es:(%ebx), %dx");

static void round_trip(void)
{
	u64 host_cr0 = read_cr0(), host_cr3 = read_cr3(), host_cr4 = read_cr4();
	u64 efer = rdmsr(MSR_EFER);

	svm_fresh();
	vmcb->cr2 = 0x123456789abc;
	vmcb->cr0 |= CR0_AM;
	vmcb->cr4 |= CR4_TSD;
	vmcb->dr6 = 0xffff0ff1;
	vmcb->dr7 = 0x600;
	vmcb->rflags = 2 | FLAG_CF | FLAG_OF;
	check_equal(svm_run_at(read_state), SVM_EXIT_VMMCALL, "state in");
	check_equal(vmcb->rax, vmcb->cr0, "CR0");
	check_equal(svm_regs.rbx, 0x123456789abc, "CR2");
	check_equal(svm_regs.rcx, vmcb->cr3, "CR3");
	check_equal(svm_regs.rdx, vmcb->cr4, "CR4");
	check_equal(svm_regs.rsi, 0xffff0ff1, "DR6");
	check_equal(svm_regs.rdi, 0x600, "DR7");
	check_equal(svm_regs.r8, svm_stack_top, "RSP");
	check_equal(svm_regs.r9, 2 | FLAG_CF | FLAG_OF, "RFLAGS");
	check_equal(svm_regs.r10, SEL_DATA, "ES");
	check_equal(svm_regs.r11, SEL_DATA, "SS");
	check_equal(read_cr0(), host_cr0, "the host's CR0");
	check_equal(read_cr3(), host_cr3, "the host's CR3");
	check_equal(read_cr4(), host_cr4, "the host's CR4");
	check_equal(rdmsr(MSR_EFER), efer, "the host's EFER");

	svm_fresh();
	svm_regs = (struct svm_regs){ .rbx = 0x777000, .rcx = 0xffff0ff2, .rdx = 0x700,
		.rsi = 0x654321000, .rdi = 0xfeedfacecafebeef };
	check_equal(svm_run_at(change_all), SVM_EXIT_VMMCALL, "state out");
	check_equal(vmcb->cr2, 0x777000, "CR2 is saved");
	check_equal(vmcb->dr6, 0xffff0ff2, "DR6 is saved");
	check_equal(vmcb->dr7, 0x700, "DR7 is saved");
	check_equal(vmcb->rsp, 0x654321000, "RSP is saved");
	check_equal(vmcb->rax, 0xfeedfacecafebeef, "RAX is saved");
	check_equal(vmcb->rflags & (FLAG_CF | FLAG_DF), FLAG_CF | FLAG_DF, "RFLAGS is saved");
	check_equal(vmcb->rip, change_all_end, "RIP is saved");
	check_equal(vmcb->cpl, 0, "CPL is saved");
	check_equal(vmcb->cs_selector, SEL_CODE64, "CS is saved");
	check_equal(vmcb->efer, efer, "EFER is saved");

	/* #VMEXIT turns the host's breakpoints off */
	write_dr7(0x402);
	svm_fresh();
	vmcb->dr7 = 0x400;
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "host DR7");
	check_equal(read_dr7(), 0x400, "host DR7: no breakpoint is left");
}

/* A segment's limit and kind are the VMCB's: expand-down, and as plain data. APM2 4.8.1, 4.7.4 */
static void segment_limits(void)
{
	u8 *bytes = guest_pages(1);

	for (unsigned down = 0; down < 2; down++)
		for (unsigned above = 0; above < 2; above++) {
			u64 exit_code;

			bytes[0] = 0x77;
			bytes[1] = 0;
			svm_fresh();
			vmcb->cs_selector = SEL_CODE32;
			vmcb->cs_attrib = 0xc9b;
			vmcb->es_attrib = down ? 0x497 : 0x493;
			vmcb->es_limit = 0xfff;
			svm_regs.rbx = above ? 0x1000 : 0x500;
			vmcb->es_base = (u64)bytes - svm_regs.rbx;
			svm_intercept(SVM_EXIT_EXCEPTION + VEC_GP, true);
			exit_code = svm_run_at(through_es);
			if (down != above) {
				check_equal(exit_code, SVM_EXIT_EXCEPTION + VEC_GP, "out of the limit");
				check_equal(vmcb->rip, through_es, "out of the limit: RIP");
				continue;
			}
			check_equal(exit_code, SVM_EXIT_VMMCALL, "within the limit");
			check_equal(vmcb->rax & 0xff, 0x77, "within the limit: read");
			check_equal(svm_regs.rdx, 0x5a77, "within the limit: written");
			check_equal(vmcb->es_attrib, down ? 0x497 : 0x493, "ES's attributes are saved");
			check_equal(vmcb->es_limit, 0xfff, "ES's limit is saved");
		}
}

static void descriptor_tables(void)
{
	u8 *image = guest_pages(1);
	struct table *gdtr = (struct table *)image, *idtr = (struct table *)(image + 16), now;

	svm_fresh();
	svm_regs.rbx = (u64)image;
	vmcb->gdtr_limit = 0x1ff;
	vmcb->idtr_limit = 0xfff;
	check_equal(svm_run_at(read_tables), SVM_EXIT_VMMCALL, "tables");
	check(gdtr->limit == 0x1ff && gdtr->base == guest_gdtr.base, "GDTR in the guest");
	check(idtr->limit == 0xfff && idtr->base == guest_idtr.base, "IDTR in the guest");
	__asm__ volatile("sidt %0" : "=m"(now));
	check(now.limit == guest_idtr.limit && now.base == guest_idtr.base, "the host's IDTR");
	/* bases are made canonical */
	svm_fresh();
	svm_regs.rbx = (u64)image;
	vmcb->gdtr_base = BIT(47) | 0x1000;
	vmcb->es_base = BIT(62) | 0x2000;
	check_equal(svm_run_at(read_tables), SVM_EXIT_VMMCALL, "bases that are not canonical");
	if (!guest_tcg_wrong("canonical GDTR"))
		check_equal(gdtr->base, 0xffff800000001000, "GDTR's base is made canonical");
}

/* A clean class stays as the CPU knows it, a dirty one is read; 15.15.3. */
static void clean_bits(void)
{
	struct {
		const char *name;
		unsigned bit;
	} rows[] = { { "I", 0 }, { "CRx", 5 }, { "DRx", 6 }, { "SEG", 8 }, { "CR2", 9 } };

	if (!svm_has(SVM_CLEAN)) {
		guest_skip("clean bits");
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		for (unsigned clean = 0; clean < 2; clean++) {
			u64 exit_code, cr2, cr4, dr6;
			u16 es;

			svm_fresh();
			check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "clean: first");
			/* every class is changed; all but one are dirty, or all but one clean */
			vmcb->cr2 = 0x5000;
			vmcb->cr4 |= CR4_TSD;
			vmcb->dr6 = 0xffff0ff4;
			vmcb->es_selector = 0;
			/* who reads intercepts that are clean would see no more than this one */
			svm_intercept(0x00, rows[i].bit == 0);
			vmcb->clean = clean ? 0x7ff : 0x7ff & ~BIT(rows[i].bit);
			svm_regs.rbx = svm_regs.rsi = svm_regs.rdx = 0;
			exit_code = svm_run_at(read_state);
			/* an implementation may read more than it must, never less */
			if (!clean) {
				cr2 = svm_regs.rbx, cr4 = svm_regs.rdx, dr6 = svm_regs.rsi;
				es = (u16)svm_regs.r10;
				check(rows[i].bit != 0 || exit_code == 0x00, "dirty intercepts are read");
				check(rows[i].bit != 5 || (cr4 & CR4_TSD), "dirty CRx is read");
				check(rows[i].bit != 6 || dr6 == 0xffff0ff4, "dirty DRx is read");
				check(rows[i].bit != 8 || es == 0, "dirty segments are read");
				check(rows[i].bit != 9 || cr2 == 0x5000, "dirty CR2 is read");
			} else {
				check(exit_code == SVM_EXIT_VMMCALL || exit_code == 0x00,
					"all clean: the guest runs");
			}
		}
	/* what no bit covers is read each time; what the guest changed is known */
	svm_fresh();
	svm_regs = (struct svm_regs){ .rbx = 0x777000, .rcx = 0xffff0ff2, .rdx = 0x700,
		.rsi = (u64)svm_stack_top };
	check_equal(svm_run_at(change_all), SVM_EXIT_VMMCALL, "clean: the guest's changes");
	vmcb->clean = 0x7ff;
	vmcb->rsp = (u64)svm_stack_top - 64;
	vmcb->rflags = 2 | FLAG_ZF;
	check_equal(svm_run_at(read_state), SVM_EXIT_VMMCALL, "clean: and again");
	check_equal(svm_regs.rbx, 0x777000, "CR2 as the guest left it");
	check_equal(svm_regs.rsi, 0xffff0ff2, "DR6 as the guest left it");
	check_equal(svm_regs.rdi, 0x700, "DR7 as the guest left it");
	check_equal(svm_regs.r8, (u64)svm_stack_top - 64, "RSP is read");
	check_equal(svm_regs.r9, 2 | FLAG_ZF, "RFLAGS is read");
	/* another VMCB's clean bits speak of another VMCB */
	{
		union vmcb *other = guest_pages(1), *first = vmcb;

		svm_fresh();
		memcpy(other, vmcb, PAGE);
		vmcb->cr2 = 1;
		check_equal(svm_run_at(read_state), SVM_EXIT_VMMCALL, "the first VMCB");
		vmcb = other;
		vmcb->cr2 = 0x9000;
		vmcb->clean = 0x7ff;
		check_equal(svm_run_at(read_state), SVM_EXIT_VMMCALL, "the other VMCB");
		check_equal(svm_regs.rbx, 0x9000, "the other VMCB is read in full");
		vmcb = first;
	}
	/* nor do they after a failed entry */
	svm_fresh();
	svm_run_at(nothing);
	vmcb->guest_asid = 0;
	vmcb->clean = 0;
	check_equal(svm_run_at(nothing), SVM_EXIT_INVALID, "a failed entry");
	vmcb->guest_asid = 1;
	vmcb->clean = 0x7ff;
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "a sound one with stale clean bits");
}

#define SAVED_BASE 0x00007abcdef01000ull

static void vmload_vmsave(void)
{
	union vmcb *area = guest_pages(1);
	u64 fs = rdmsr(MSR_FS_BASE), star = rdmsr(MSR_STAR);

	wrmsr(MSR_FS_BASE, SAVED_BASE);
	wrmsr(MSR_GS_BASE, SAVED_BASE + 1);
	wrmsr(MSR_KERNEL_GS_BASE, SAVED_BASE + 2);
	wrmsr(MSR_STAR, 0x1122334455667788);
	wrmsr(MSR_LSTAR, SAVED_BASE + 3);
	wrmsr(MSR_CSTAR, SAVED_BASE + 4);
	wrmsr(MSR_SFMASK, 0x77);
	wrmsr(0x174, 0x99);
	wrmsr(0x175, SAVED_BASE + 5);
	wrmsr(0x176, SAVED_BASE + 6);
	memset(area, 0xee, PAGE);
	__asm__ volatile("vmsave %%rax" : : "a"(area) : "memory");
	check_equal(area->fs_base, SAVED_BASE, "VMSAVE: FS");
	check_equal(area->gs_base, SAVED_BASE + 1, "VMSAVE: GS");
	check_equal(area->kernel_gs_base, SAVED_BASE + 2, "VMSAVE: KERNEL_GS_BASE");
	check_equal(area->star, 0x1122334455667788, "VMSAVE: STAR");
	check_equal(area->lstar, SAVED_BASE + 3, "VMSAVE: LSTAR");
	check_equal(area->cstar, SAVED_BASE + 4, "VMSAVE: CSTAR");
	check_equal(area->sfmask, 0x77, "VMSAVE: SFMASK");
	check_equal(area->sysenter_cs, 0x99, "VMSAVE: SYSENTER_CS");
	check_equal(area->sysenter_esp, SAVED_BASE + 5, "VMSAVE: SYSENTER_ESP");
	check_equal(area->sysenter_eip, SAVED_BASE + 6, "VMSAVE: SYSENTER_EIP");
	check_equal(area->tr_selector, SEL_TSS, "VMSAVE: TR");
	check_equal(area->tr_base, (u64)guest_tss, "VMSAVE: TR's base");
	check_equal(area->tr_attrib & 0x9f, 0x8b, "VMSAVE: TR is busy");
	check_equal(area->cr3, 0xeeeeeeeeeeeeeeee, "VMSAVE writes nothing else");

	area->fs_base = 0x1000;
	area->gs_base = BIT(47) | 0x10;
	area->kernel_gs_base = 0x3000;
	area->lstar = 0x4000;
	area->sysenter_cs = 0x5;
	__asm__ volatile("vmload %%rax" : : "a"(area) : "memory");
	check_equal(rdmsr(MSR_FS_BASE), 0x1000, "VMLOAD: FS");
	if (!guest_tcg_wrong("VMLOAD makes bases canonical"))
		check_equal(rdmsr(MSR_GS_BASE), 0xffff800000000010, "VMLOAD: GS, made canonical");
	check_equal(rdmsr(MSR_KERNEL_GS_BASE), 0x3000, "VMLOAD: KERNEL_GS_BASE");
	check_equal(rdmsr(MSR_LSTAR), 0x4000, "VMLOAD: LSTAR");
	check_equal(rdmsr(0x174), 5, "VMLOAD: SYSENTER_CS");
	wrmsr(MSR_FS_BASE, fs);
	wrmsr(MSR_STAR, star);
	wrmsr(MSR_GS_BASE, 0);
}

/* The guest's VMLOAD and VMSAVE by its own addresses, without an exit; 15.33.1. */
static void virtual_vmload_vmsave(void)
{
	union vmcb *area = guest_pages(1);
	u64 *nested;

	if (!svm_has(SVM_VLS)) {
		guest_skip("virtual VMLOAD and VMSAVE");
		return;
	}
	svm_fresh();
	nested = svm_nested_paging();
	vmcb->virt_ext = VIRT_EXT_VMLOAD_VMSAVE;
	*guest_pte(nested, 0x40000000, 1) = (u64)area | PTE_P | PTE_W | PTE_U;
	vmcb->rax = 0x40000000;
	check_equal(svm_run_at(vmsave_code), SVM_EXIT_VMMCALL, "virtual VMSAVE");
	check_equal(area->tr_base, (u64)guest_tss, "virtual VMSAVE: to the guest's page");
	area->kernel_gs_base = 0x8888;
	vmcb->rax = 0x40000000;
	check_equal(svm_run_at(vmload_code), SVM_EXIT_VMMCALL, "virtual VMLOAD");
	check_equal(rdmsr(MSR_KERNEL_GS_BASE), 0x8888, "virtual VMLOAD: from the guest's page");
	*guest_pte(nested, 0x40000000, 1) = 0;
	vmcb->tlb_control = TLB_CONTROL_ALL;
	check_equal(svm_run_at(vmload_code), SVM_EXIT_NPF, "virtual VMLOAD of a missing page");
	check_equal(vmcb->exit_info2, 0x40000000, "virtual VMLOAD: the address");
	check_equal(vmcb->rip, vmload_code, "virtual VMLOAD: RIP");
	svm_intercept(SVM_EXIT_VMLOAD, true);
	check_equal(svm_run_at(vmload_code), SVM_EXIT_VMLOAD, "virtual VMLOAD: the intercept is first");
	/* not virtual: the address is the host's, 15.5.2 */
	svm_fresh();
	svm_nested_paging();
	vmcb->rax = (u64)area;
	check_equal(svm_run_at(vmsave_code), SVM_EXIT_VMMCALL, "VMSAVE by a host address");
}

static void msrs(void)
{
	u64 efer = rdmsr(MSR_EFER);

	check_equal(guest_try("wrmsr", : : "c"(MSR_VM_HSAVE_PA), "a"(0x1001), "d"(0)), VEC_GP,
		"VM_HSAVE_PA misaligned");
	check_equal(guest_try("wrmsr", : : "c"(MSR_VM_HSAVE_PA), "a"(0), "d"(0x80000000)), VEC_GP,
		"VM_HSAVE_PA too high");
	if (guest_tcg_wrong("VM_CR"))
		return;
	check_equal(rdmsr(MSR_VM_CR), 0, "VM_CR after reset");
	check_equal(guest_try("wrmsr", : : "c"(MSR_VM_CR), "a"(VM_CR_SVMDIS), "d"(0)), VEC_GP,
		"SVMDIS while SVME is set");
	check_equal(guest_try("wrmsr", : : "c"(MSR_VM_CR), "a"(BIT(5)), "d"(0)), VEC_GP,
		"VM_CR's reserved bits");
	wrmsr(MSR_EFER, efer & ~EFER_SVME);
	wrmsr(MSR_VM_CR, VM_CR_SVMDIS);
	check_equal(rdmsr(MSR_VM_CR), VM_CR_SVMDIS, "SVMDIS");
	check_equal(guest_try("wrmsr", : : "c"(MSR_EFER), "a"((u32)efer), "d"(0)), VEC_GP,
		"SVME under SVMDIS");
	/* locked, both bits stay */
	if (svm_has(SVM_SVML)) {
		wrmsr(MSR_SVM_KEY, 0x1234);
		wrmsr(MSR_VM_CR, VM_CR_SVMDIS | VM_CR_LOCK);
		wrmsr(MSR_VM_CR, 0);
		check_equal(rdmsr(MSR_VM_CR), VM_CR_SVMDIS | VM_CR_LOCK, "the lock holds");
		wrmsr(MSR_SVM_KEY, 0x4321);
		check_equal(rdmsr(MSR_VM_CR), VM_CR_SVMDIS | VM_CR_LOCK, "a wrong key");
		check_equal(rdmsr(MSR_SVM_KEY), 0, "the key is not told");
		wrmsr(MSR_SVM_KEY, 0x1234);
		check_equal(rdmsr(MSR_VM_CR), VM_CR_SVMDIS, "the right key");
	}
	wrmsr(MSR_VM_CR, 0);
	wrmsr(MSR_EFER, efer);
	check_equal(rdmsr(MSR_EFER), efer, "SVME again");
}

static void tsc(void)
{
	u64 before, after;

	svm_fresh();
	vmcb->tsc_offset = BIT(50);
	before = rdtsc();
	check_equal(svm_run_at(read_tsc), SVM_EXIT_VMMCALL, "TSC offset");
	after = rdtsc();
	check(vmcb->rax - BIT(50) >= before && vmcb->rax - BIT(50) <= after, "the guest's TSC");
	check(after < BIT(49), "the host's TSC has no offset");
	if (!svm_has(SVM_TSC_RATE)) {
		guest_skip("TSC ratio");
		return;
	}
	check_equal(rdmsr(MSR_TSC_RATIO), BIT(32), "TSC_RATIO after reset");
	check_equal(guest_try("wrmsr", : : "c"(MSR_TSC_RATIO), "a"(0), "d"(0x100)), VEC_GP,
		"TSC_RATIO's reserved bits");
	for (unsigned shift = 0; shift < 2; shift++) {
		u64 ratio = shift ? BIT(31) : 3 * BIT(32) + BIT(30);
		u64 low, high;

		wrmsr(MSR_TSC_RATIO, ratio);
		svm_fresh();
		before = rdtsc();
		check_equal(svm_run_at(read_tsc), SVM_EXIT_VMMCALL, "TSC ratio");
		after = rdtsc();
		low = (u64)((unsigned __int128)before * ratio >> 32);
		high = (u64)((unsigned __int128)after * ratio >> 32);
		check(vmcb->rax + 2 >= low && vmcb->rax <= high + 2, "the guest's TSC, ratio %lx", ratio);
	}
	wrmsr(MSR_TSC_RATIO, BIT(32));
}

CODE(one_branch, "jmp 1f; ud2; 1: nop");
CODE(record_branch, "xorl %edx, %edx; movl $1, %eax; wrmsr; jmp 1f; ud2; 1: xorl %eax, %eax; wrmsr");

/* The records move with the bit, and stay the host's without; 15.23. */
static void branch_records(void)
{
	if (!svm_has(SVM_LBRV)) {
		guest_skip("LBR virtualization");
		return;
	}
	svm_fresh();
	vmcb->virt_ext = VIRT_EXT_LBR;
	vmcb->dbgctl = 0;
	vmcb->br_from = 0x1111;
	vmcb->br_to = 0x2222;
	vmcb->last_excp_from = 0x3333;
	vmcb->last_excp_to = 0x4444;
	svm_regs.rcx = 0x1db;
	check_equal(svm_run_at(read_efer), SVM_EXIT_VMMCALL, "LBR");
	check_equal(vmcb->rax, 0x1111, "LASTBRANCHFROMIP is the guest's");
	svm_regs.rcx = 0x1de;
	check_equal(svm_run_at(read_efer), SVM_EXIT_VMMCALL, "LBR");
	check_equal(vmcb->rax, 0x4444, "LASTINTTOIP is the guest's");
	check(rdmsr(0x1db) != 0x1111, "LASTBRANCHFROMIP is the host's again");
	vmcb->virt_ext = 0;
	svm_regs.rcx = 0x1db;
	check_equal(svm_run_at(read_efer), SVM_EXIT_VMMCALL, "LBR, not virtualized");
	check(vmcb->rax != 0x1111, "LASTBRANCHFROMIP is shared");

	/* what the guest records is its own, and the host does not record meanwhile */
	wrmsr(0x1d9, 0);
	u64 from = rdmsr(0x1db), to = rdmsr(0x1dc);

	svm_fresh();
	vmcb->virt_ext = VIRT_EXT_LBR;
	vmcb->dbgctl = 1;
	check_equal(svm_run_at(one_branch), SVM_EXIT_VMMCALL, "a guest that records");
	check_equal(vmcb->br_from, one_branch, "the VMCB's LASTBRANCHFROMIP");
	check_equal(vmcb->br_to, one_branch + 4, "the VMCB's LASTBRANCHTOIP");
	check_equal(vmcb->dbgctl, 1, "the VMCB's DEBUGCTL");
	check_equal(rdmsr(0x1d9), 0, "DEBUGCTL is the host's again");
	check(rdmsr(0x1db) == from && rdmsr(0x1dc) == to, "so are the records");
	svm_fresh();
	svm_regs.rcx = 0x1d9;
	check_equal(svm_run_at(record_branch), SVM_EXIT_VMMCALL, "a guest that records the host's");
	wrmsr(0x1d9, 0);
	check_equal(rdmsr(0x1db), record_branch + 9, "without virtualization the host sees them");
	check_equal(vmcb->dbgctl, 0, "and the VMCB does not");
}

/* A VMCB in a page that code was run from, and code in a page that was a VMCB. */
static void vmcb_over_code(void)
{
	u8 *page = guest_pages(1);
	u64 (*function)(void) = (u64 (*)(void))(page + 0x640); /* CR2's place */
	union vmcb *first = vmcb;

	memcpy(page + 0x640, "\xb8\x07\x00\x00\x00\xc3", 6); /* mov $7, %eax; ret */
	check_equal(function(), 7, "code in the page");
	svm_fresh();
	memcpy(page, vmcb, PAGE);
	vmcb = (union vmcb *)page;
	vmcb->cr2 = 0;
	svm_regs.rcx = 0xffff0ff0;
	svm_regs.rdx = 0x400;
	/* the guest's CR2 becomes mov $11, %eax; ret when #VMEXIT writes it */
	svm_regs.rbx = 0xc30000000bb8ull;
	check_equal(svm_run_at(change_all), SVM_EXIT_VMMCALL, "a VMCB where code was");
	check_equal(function(), 11, "#VMEXIT's writes are code as well");
	vmcb = first;
}

void guest_main(void)
{
	if (!svm_setup())
		return;
	round_trip();
	if (!guest_tcg_wrong("limits of data segments"))
		segment_limits();
	descriptor_tables();
	clean_bits();
	vmload_vmsave();
	virtual_vmload_vmsave();
	msrs();
	tsc();
	branch_records();
	vmcb_over_code();
}
