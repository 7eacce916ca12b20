/* SPDX-License-Identifier: MIT */
/*
 * Model-specific registers: values kept, reserved bits, addresses, ones that do not exist; RDTSC. APM2
 * appendix A, 7.7, 7.8; run as an AMD CPU.
 */
#include "guest.h"

static unsigned read_trap(u32 msr)
{
	return guest_try("rdmsr", : : "c"(msr) : "rax", "rdx");
}

static unsigned write_trap(u32 msr, u64 value)
{
	return guest_try("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

/* Takes the values and gives them back. */
static void keeps(u32 msr, u64 first, u64 second)
{
	u64 before = rdmsr(msr);

	check_equal(write_trap(msr, first), NO_TRAP, "MSR %x: write", msr);
	check_equal(rdmsr(msr), first, "MSR %x", msr);
	check_equal(write_trap(msr, second), NO_TRAP, "MSR %x: write", msr);
	check_equal(rdmsr(msr), second, "MSR %x", msr);
	wrmsr(msr, before);
}

/* An address: canonical or #GP. */
static void is_address(u32 msr)
{
	keeps(msr, 0x123456789abc, 0xffff800012345678);
	check_equal(write_trap(msr, BIT(47)), VEC_GP, "MSR %x: not canonical", msr);
}

static void addresses(void)
{
	is_address(MSR_FS_BASE);
	is_address(MSR_GS_BASE);
	is_address(MSR_KERNEL_GS_BASE);
	is_address(MSR_LSTAR);
	is_address(MSR_CSTAR);
}

static void memory_types(void)
{
	keeps(0x277, 0x0007040600070406, 0x0107040500070406);
	check_equal(write_trap(0x277, 2), VEC_GP, "PAT: type 2");
	check_equal(write_trap(0x277, 8ull << 56), VEC_GP, "PAT: type 8");
	keeps(0x200, 0x80000006, 0);
	check_equal(write_trap(0x200, 2), VEC_GP, "MTRR: type 2");
	keeps(0x250, 0x0606060606060606, 0);
	check_equal(write_trap(0x250, 3), VEC_GP, "fixed MTRR: type 3");
	keeps(0x2ff, 0xc06, 0xc00);
	check_equal(write_trap(0x2ff, BIT(12)), VEC_GP, "MTRRdefType: reserved bits");
}

static void others(void)
{
	keeps(MSR_STAR, 0x0123456789abcdef, 0);
	keeps(MSR_SFMASK, 0xffffffff, 0);
	keeps(0x174, 0x1234, 8);
	/* of Intel, but KVM has it always */
	keeps(0x1a0, 0x400c50809, rdmsr(0x1a0));
	keeps(0x1d9, 2, 0);
	check_equal(write_trap(0x1d9, BIT(6)), VEC_GP, "DEBUGCTL: reserved bits");
	check_equal(write_trap(MSR_EFER, rdmsr(MSR_EFER) | BIT(1)), VEC_GP, "EFER: reserved bits");
	for (u32 msr = 0x1db; msr <= 0x1de; msr++)
		check_equal(read_trap(msr), NO_TRAP, "MSR %x", msr);
	/* counters that do not count, and say so by not keeping what is written */
	for (u32 msr = 0xc0010000; msr <= 0xc0010007; msr++) {
		check_equal(write_trap(msr, 0x1234), NO_TRAP, "MSR %x: write", msr);
		check_equal(rdmsr(msr), 0, "MSR %x", msr);
	}
	for (u32 counter = 0; counter < 5; counter++)
		check_equal(guest_try("rdpmc", : : "c"(counter) : "rax", "rdx"),
			counter < 4 ? NO_TRAP : VEC_GP, "RDPMC of %u", counter);
	check_equal(read_trap(0xdeadbeef), VEC_GP, "an MSR that is none");
	check_equal(write_trap(0xdeadbeef, 0), VEC_GP, "write of one");
	check_equal(read_trap(0x3a), VEC_GP, "FEATURE_CONTROL is Intel's");
}

static u64 at_user(u64 msr)
{
	return read_trap((u32)msr);
}

/* ---- what MSRs and CR4 do to RDTSC and RDTSCP ---- */

#define MSR_TSC 0x10
#define MSR_TSC_AUX 0xc0000103

enum { USER_TSC, USER_RDTSC_TRAP, USER_RDTSCP_TRAP, USER_AUX };

/* RCX, all of it, behind RDTSCP. */
static u64 aux(void)
{
	u64 rcx = ~0ull;

	__asm__ volatile("rdtscp" : "+c"(rcx) : : "rax", "rdx");
	return rcx;
}

static u64 user_tsc(u64 what)
{
	switch (what) {
	case USER_TSC:
		return rdtsc();
	case USER_AUX:
		return aux();
	case USER_RDTSC_TRAP:
		return guest_try("rdtsc", : : : "rax", "rdx");
	default:
		return guest_try("rdtscp", : : : "rax", "rcx", "rdx");
	}
}

static void time_stamps(void)
{
	u64 before, user, after, rax = ~0ull, rdx = ~0ull, flags;

	wrmsr(MSR_TSC, 0x123400000000);
	before = rdtsc();
	user = guest_user(user_tsc, USER_TSC);
	after = rdtsc();
	check(before >= 0x123400000000 && before < user && user < after, "the TSC runs, at CPL 3 too");
	__asm__ volatile("stc; rdtsc; pushfq; popq %2" : "+a"(rax), "+d"(rdx), "=r"(flags));
	check(!(rax >> 32) && !(rdx >> 32), "RDTSC clears the upper halves");
	check(flags & FLAG_CF, "RDTSC leaves the flags alone");
	if (!cpu_has(0x80000001, 3, 27)) {
		guest_skip("RDTSCP");
		return;
	}
	wrmsr(MSR_TSC_AUX, 0x55667788);
	check_equal(aux(), 0x55667788, "RDTSCP");
	check_equal(guest_user(user_tsc, USER_AUX), 0x55667788, "RDTSCP at CPL 3");
	write_cr4(read_cr4() | CR4_TSD);
	check(rdtsc() > after, "CR4.TSD, CPL 0");
	check_equal(aux(), 0x55667788, "RDTSCP, CR4.TSD, CPL 0");
	check_equal(guest_user(user_tsc, USER_RDTSC_TRAP), VEC_GP, "RDTSC at CPL 3, CR4.TSD");
	check_equal(guest_user(user_tsc, USER_RDTSCP_TRAP), VEC_GP, "RDTSCP at CPL 3, CR4.TSD");
	write_cr4(read_cr4() & ~CR4_TSD);
	check_equal(guest_user(user_tsc, USER_RDTSC_TRAP), NO_TRAP, "RDTSC at CPL 3 again");
	wrmsr(MSR_TSC_AUX, 0);
}

void guest_main(void)
{
	if (guest_tcg_wrong("MSRs"))
		return;
	addresses();
	memory_types();
	others();
	time_stamps();
	check_equal(guest_user(at_user, MSR_STAR), VEC_GP, "RDMSR at CPL 3");
}
