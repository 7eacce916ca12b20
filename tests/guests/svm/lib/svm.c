/* SPDX-License-Identifier: MIT */
/* Making and running the guest of the SVM tests. */
#include "svm.h"

struct svm_regs svm_regs;
union vmcb *vmcb;
u8 *svm_iopm, *svm_msrpm, *svm_stack_top;
bool svm_host_if, svm_keep_gif, svm_tcg;

void svm_enter(u64 vmcb, struct svm_regs *regs, bool host_if, bool keep_gif);

bool svm_has(enum svm_feature feature)
{
	return cpu_has(0x8000000a, 3, feature);
}

bool svm_setup(void)
{
	svm_tcg = guest_option("tcg");
	if (!cpu_has(0x80000001, 2, 2)) {
		check(false, "the CPU offers no SVM");
		return false;
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, (u64)guest_pages(1));
	vmcb = guest_pages(1);
	svm_iopm = guest_pages(3);
	svm_msrpm = guest_pages(2);
	svm_stack_top = (u8 *)guest_pages(8) + 8 * PAGE - 256;
	svm_fresh();
	return true;
}

#define FLAT(name, sel, attr) \
	do { \
		vmcb->name##_selector = sel; \
		vmcb->name##_attrib = attr; \
		vmcb->name##_limit = 0xffffffff; \
		vmcb->name##_base = 0; \
	} while (0)

void svm_fresh(void)
{
	memset(vmcb, 0, PAGE);
	memset(svm_iopm, 0, 3 * PAGE);
	memset(svm_msrpm, 0, 2 * PAGE);
	svm_regs = (struct svm_regs){ 0 };
	svm_host_if = svm_keep_gif = false;
	svm_intercept(SVM_EXIT_VMRUN, true);
	svm_intercept(SVM_EXIT_VMMCALL, true);
	svm_intercept(SVM_EXIT_SHUTDOWN, true);
	vmcb->iopm_base_pa = (u64)svm_iopm;
	vmcb->msrpm_base_pa = (u64)svm_msrpm;
	vmcb->guest_asid = 1;
	vmcb->tlb_control = TLB_CONTROL_ALL;
	FLAT(cs, SEL_CODE64, 0xa9b);
	FLAT(ds, SEL_DATA, 0xc93);
	FLAT(es, SEL_DATA, 0xc93);
	FLAT(ss, SEL_DATA, 0xc93);
	vmcb->gdtr_base = guest_gdtr.base;
	vmcb->gdtr_limit = guest_gdtr.limit;
	vmcb->idtr_base = guest_idtr.base;
	vmcb->idtr_limit = guest_idtr.limit;
	vmcb->efer = rdmsr(MSR_EFER);
	vmcb->cr0 = read_cr0();
	vmcb->cr3 = read_cr3();
	vmcb->cr4 = read_cr4();
	vmcb->dr6 = 0xffff0ff0;
	vmcb->dr7 = 0x400;
	vmcb->rflags = 2;
	vmcb->rsp = (u64)svm_stack_top;
	vmcb->g_pat = rdmsr(MSR_PAT);
}

u64 svm_run(void)
{
	svm_enter((u64)vmcb, &svm_regs, svm_host_if, svm_keep_gif);
	/* TCG writes half of the code */
	if (vmcb->exit_code == 0xffffffff && svm_tcg)
		return SVM_EXIT_INVALID;
	return vmcb->exit_code;
}

u64 svm_run_at(const void *code)
{
	vmcb->rip = (u64)code;
	return svm_run();
}

u64 svm_run_fixup(const void *code, const void *end)
{
	u64 exit_code;

	guest_last.vector = NO_TRAP;
	guest_fixup = (u64)end;
	exit_code = svm_run_at(code);
	guest_fixup = 0;
	return exit_code;
}

void svm_intercept(unsigned code, bool on)
{
	u32 *word = (u32 *)vmcb->bytes + code / 32;

	*word = (*word & ~(u32)BIT(code % 32)) | (on ? (u32)BIT(code % 32) : 0);
}

u64 *svm_nested_paging(void)
{
	u64 *pml4 = guest_pages(1), *pdpt = guest_pages(1), *pd = guest_pages(4);

	pml4[0] = (u64)pdpt | PTE_P | PTE_W | PTE_U;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)(pd + 512 * i) | PTE_P | PTE_W | PTE_U;
	for (unsigned i = 0; i < 2048; i++)
		pd[i] = i * 0x200000ull | PTE_P | PTE_W | PTE_U | PTE_PS;
	vmcb->nested_control = NESTED_NP_ENABLE;
	vmcb->n_cr3 = (u64)pml4;
	return pml4;
}
