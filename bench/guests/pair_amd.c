/* SPDX-License-Identifier: MIT */
/*
 * What VMRUN and #VMEXIT cost by themselves: a hypervisor of one loop and a guest of one VMMCALL.
 * Prints lines "L1: cycles NAME N": medians, in ticks of the time-stamp counter.
 */
#include "samples.h"
#include "svm.h"

#define PAIRS 200
#define BATCHES 101

CODE(ask, "nop");
CODE(ask_time, "rdtsc");

/* Enters the guest `count` times; each time it leaves by the same VMMCALL. */
void enter_often(u64 vmcb_pa, u64 count);
__asm__(".text\nenter_often:\n"
	"	mov %rdi, %rax\n"
	"1:	vmrun %rax\n"
	"	dec %rsi\n"
	"	jnz 1b\n"
	"	stgi\n"
	"	cli\n"
	"	ret\n");

/* One entry whose guest reads the counter: the ticks before, within and after. */
struct crossing {
	u64 before, within, after;
};
void enter_timed(u64 vmcb_pa, struct crossing *crossing);
__asm__(".text\nenter_timed:\n"
	"	rdtsc\n"
	"	mov %eax, (%rsi)\n"
	"	mov %edx, 4(%rsi)\n"
	"	mov %rdi, %rax\n"
	"	vmrun %rax\n"
	"	mov %edx, 12(%rsi)\n" /* RAX is the host's again, the guest's is in the VMCB */
	"	rdtsc\n"
	"	mov %eax, 16(%rsi)\n"
	"	mov %edx, 20(%rsi)\n"
	"	stgi\n"
	"	cli\n"
	"	ret\n");

static struct samples samples;

static u64 pair(u32 clean)
{
	vmcb->clean = 0;
	check_equal(svm_run_at(ask), SVM_EXIT_VMMCALL, "the guest leaves by VMMCALL");
	/* at the VMMCALL itself, where it stays */
	vmcb->tlb_control = TLB_CONTROL_NOTHING;
	vmcb->clean = clean;
	samples.count = 0;
	for (unsigned i = 0; i < BATCHES; i++) {
		u64 begin = rdtsc();

		enter_often((u64)vmcb, PAIRS);
		samples_add(&samples, (rdtsc() - begin) / PAIRS);
	}
	check_equal(vmcb->exit_code, SVM_EXIT_VMMCALL, "and does so each time");
	return samples_median(&samples);
}

static void print_halves(void)
{
	static struct samples entries, exits;

	check_equal(svm_run_at(ask_time), SVM_EXIT_VMMCALL, "the guest that reads the time");
	vmcb->tlb_control = TLB_CONTROL_NOTHING;
	vmcb->clean = ~0u;
	for (unsigned i = 0; i < SAMPLES_MAX; i++) {
		struct crossing crossing;

		vmcb->rip = (u64)ask_time;
		enter_timed((u64)vmcb, &crossing);
		crossing.within = (crossing.within >> 32 << 32) | (u32)vmcb->rax;
		samples_add(&entries, crossing.within - crossing.before);
		samples_add(&exits, crossing.after - crossing.within);
	}
	guest_print("L1: cycles vmrun %llu\n", (unsigned long long)samples_median(&entries));
	guest_print("L1: cycles vmexit %llu\n", (unsigned long long)samples_median(&exits));
}

void guest_main(void)
{
	if (!svm_setup())
		return;
	guest_print("L1: cycles pair %llu\n", (unsigned long long)pair(~0u));
	guest_print("L1: cycles pair-dirty %llu\n", (unsigned long long)pair(0));
	print_halves();
	svm_nested_paging();
	guest_print("L1: cycles pair-npt %llu\n", (unsigned long long)pair(~0u));
}
