/* SPDX-License-Identifier: MIT */
/*
 * What VMRESUME and the VM exit cost by themselves: a hypervisor of one loop and a guest of one
 * VMCALL. Prints lines "L1: cycles NAME N": medians, in ticks of the time-stamp counter.
 */
#include "samples.h"
#include "vmx.h"

#define PAIRS 200
#define BATCHES 101

CODE(ask, "nop");
CODE(ask_time, "rdtsc");

/* Enters the guest `count` times; each time it leaves by the same VMCALL. */
void enter_often(u64 count);
__asm__(".text\nenter_often:\n"
	"	mov $0x6c14, %eax\n" /* host RSP */
	"	vmwrite %rsp, %rax\n"
	"	mov $0x6c16, %eax\n" /* host RIP */
	"	lea 2f(%rip), %rdx\n"
	"	vmwrite %rdx, %rax\n"
	"1:	vmresume\n"
	"	ud2\n"
	"2:	dec %rdi\n"
	"	jnz 1b\n"
	"	cld\n"
	"	ret\n");

/* One entry whose guest reads the counter: the ticks before, within and after. */
struct crossing {
	u64 before, within, after;
};
void enter_timed(struct crossing *crossing);
__asm__(".text\nenter_timed:\n"
	"	mov $0x6c14, %eax\n"
	"	vmwrite %rsp, %rax\n"
	"	mov $0x6c16, %eax\n"
	"	lea 1f(%rip), %rdx\n"
	"	vmwrite %rdx, %rax\n"
	"	rdtsc\n"
	"	mov %eax, (%rdi)\n"
	"	mov %edx, 4(%rdi)\n"
	"	vmresume\n"
	"	ud2\n"
	"1:	mov %eax, 8(%rdi)\n"
	"	mov %edx, 12(%rdi)\n"
	"	rdtsc\n"
	"	mov %eax, 16(%rdi)\n"
	"	mov %edx, 20(%rdi)\n"
	"	cld\n"
	"	ret\n");

static struct samples samples;

static u64 pair(void)
{
	vmx_check_plain(ask_end, vmx_run_at(ask), "the guest leaves by VMCALL");
	samples.count = 0;
	for (unsigned i = 0; i < BATCHES; i++) {
		u64 begin = rdtsc();

		enter_often(PAIRS);
		samples_add(&samples, (rdtsc() - begin) / PAIRS);
	}
	check_equal(get(guest_rip), ask_end, "and does so each time");
	return samples_median(&samples);
}

static void print_halves(void)
{
	static struct samples entries, exits;

	vmx_check_plain(ask_time_end, vmx_run_at(ask_time), "the guest that reads the time");
	for (unsigned i = 0; i < SAMPLES_MAX; i++) {
		struct crossing crossing;

		put(guest_rip, ask_time);
		enter_timed(&crossing);
		samples_add(&entries, crossing.within - crossing.before);
		samples_add(&exits, crossing.after - crossing.within);
	}
	guest_print("L1: cycles vmrun %llu\n", (unsigned long long)samples_median(&entries));
	guest_print("L1: cycles vmexit %llu\n", (unsigned long long)samples_median(&exits));
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	/* tagged, as AMD's guests always are */
	vmx_secondary(SEC_VPID);
	put(vpid, 1);
	guest_print("L1: cycles pair %llu\n", (unsigned long long)pair());
	print_halves();
	vmx_ept();
	guest_print("L1: cycles pair-npt %llu\n", (unsigned long long)pair());
}
