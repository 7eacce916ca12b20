/* SPDX-License-Identifier: MIT */
/*
 * x87, SSE and AVX as an operating system sees them: #NM, #MF, #XM, alignment, state images and what
 * is in them, XCR0, XSAVE with masks.
 */
#include "guest.h"

static u8 image[4096] __attribute__((aligned(64)));
static u8 buffer[128] __attribute__((aligned(64)));

static void xsetbv(u64 value)
{
	__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)));
}

static void not_available(void)
{
	u64 cr0 = read_cr0();

	write_cr0(cr0 | CR0_TS);
	check_equal(guest_try("fld1", : :), VEC_NM, "TS: x87");
	check_equal(guest_try("movaps %%xmm0, %%xmm1", : :), VEC_NM, "TS: SSE");
	check_equal(guest_try("movq %%mm0, %%mm1", : :), VEC_NM, "TS: MMX");
	check_equal(guest_try("fxsave (%0)", : : "r"(image) : "memory"), VEC_NM, "TS: FXSAVE");
	check_equal(guest_try("fwait", : :), VEC_NM, "TS and MP: FWAIT");
	write_cr0((cr0 | CR0_TS) & ~CR0_MP);
	check_equal(guest_try("fwait", : :), NO_TRAP, "TS without MP: FWAIT");
	__asm__ volatile("clts");
	check_equal(read_cr0() & CR0_TS, 0, "CLTS");
	write_cr0(cr0 | CR0_EM);
	check_equal(guest_try("fld1", : :), VEC_NM, "EM: x87");
	check_equal(guest_try("movaps %%xmm0, %%xmm1", : :), VEC_UD, "EM: SSE");
	check_equal(guest_try("movq %%mm0, %%mm1", : :), VEC_UD, "EM: MMX");
	write_cr0(cr0);
	write_cr4(read_cr4() & ~CR4_OSFXSR);
	if (!guest_tcg_wrong("SSE without OSFXSR"))
		check_equal(guest_try("movaps %%xmm0, %%xmm1", : :), VEC_UD, "SSE without CR4.OSFXSR");
	write_cr4(read_cr4() | CR4_OSFXSR);
	check_equal(guest_try("movaps %%xmm0, %%xmm1; fninit", : :), NO_TRAP, "all well again");
}

static void errors(void)
{
	u16 unmasked = 0x37b; /* zero divide */
	u32 mxcsr = 0x1f80 & ~(1u << 9), normal = 0x1f80, bad = 0xffff0000;
	u16 status;

	__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp" : : "m"(unmasked));
	check_equal(guest_try("fwait", : :), VEC_MF, "#MF at the next waiting instruction");
	__asm__ volatile("fnstsw %0" : "=m"(status));
	check((status & 0x8084) == 0x8084, "B, ES and ZE: %x", status);
	check_equal(guest_try("fnstcw %0", : "=m"(status)), NO_TRAP, "control instructions do not wait");
	__asm__ volatile("fnclex; fninit");
	check_equal(guest_try("ldmxcsr %0", : : "m"(mxcsr)), NO_TRAP, "LDMXCSR");
	if (!guest_tcg_wrong("unmasked SSE exceptions"))
		check_equal(guest_try("xorps %%xmm1, %%xmm1; movl $0x3f800000, %%eax; movd %%eax, %%xmm0; "
				    "divss %%xmm1, %%xmm0", : : : "rax"), VEC_XM, "#XM by DIVSS");
	write_cr4(read_cr4() & ~CR4_OSXMMEXCPT);
	if (!guest_tcg_wrong("unmasked SSE exceptions without OSXMMEXCPT"))
		check_equal(guest_try("xorps %%xmm1, %%xmm1; movl $0x3f800000, %%eax; movd %%eax, %%xmm0; "
				    "divss %%xmm1, %%xmm0", : : : "rax"), VEC_UD,
			"#UD without CR4.OSXMMEXCPT");
	write_cr4(read_cr4() | CR4_OSXMMEXCPT);
	__asm__ volatile("ldmxcsr %0" : : "m"(normal));
	if (!guest_tcg_wrong("LDMXCSR of reserved bits"))
		check_equal(guest_try("ldmxcsr %0", : : "m"(bad)), VEC_GP, "LDMXCSR of reserved bits");
}

static void alignment(void)
{
	if (!guest_tcg_wrong("alignment of SSE operands")) {
		check_equal(guest_try("movaps (%0), %%xmm0", : : "r"(buffer + 8)), VEC_GP, "MOVAPS, misaligned");
		check_equal(guest_last.error, 0, "its error code");
		check_equal(guest_try("addps (%0), %%xmm0", : : "r"(buffer + 4)), VEC_GP, "ADDPS, misaligned");
		check_equal(guest_try("movntdq %%xmm0, (%0)", : : "r"(buffer + 1) : "memory"), VEC_GP,
			"MOVNTDQ, misaligned");
		check_equal(guest_try("fxsave (%0)", : : "r"(image + 8) : "memory"), VEC_GP,
			"FXSAVE, misaligned");
		check_equal(guest_try("movaps (%%rsp), %%xmm0; movaps 8(%%rsp), %%xmm0", : : : "memory"), VEC_GP,
			"MOVAPS by RSP, one of two");
	}
	check_equal(guest_try("movups (%0), %%xmm0", : : "r"(buffer + 3)), NO_TRAP, "MOVUPS, misaligned");
	check_equal(guest_try("movaps (%0), %%xmm0", : : "r"(buffer + 16)), NO_TRAP, "MOVAPS, aligned");
	check_equal(guest_try("cmpxchg16b 8(%0)", : : "r"(buffer) : "rax", "rdx", "cc", "memory"), VEC_GP,
		"CMPXCHG16B, misaligned");
}

static void images(void)
{
	u64 value = 0x400921fb54442d18, back = 0;
	u64 fip, fdp;
	u16 word;

	memset(image, 0xcc, 512);
	__asm__ volatile("fninit; fldl %1; movq %1, %%xmm3; fxsave64 (%0); fninit; pxor %%xmm3, %%xmm3"
			 : : "r"(image), "m"(value) : "memory");
	memcpy(&word, image, 2);
	check_equal(word, 0x37f, "FXSAVE: FCW");
	memcpy(&word, image + 2, 2);
	check_equal(word >> 11 & 7, 7, "FXSAVE: TOP");
	check_equal(image[4], 0x80, "FXSAVE: abridged tag");
	check(!memcmp(image + 160 + 48, &value, 8), "FXSAVE: XMM3");
	check_equal(image[511], 0xcc, "FXSAVE leaves bytes 464 and above");
	/* FIP and FDP are the guest's or 0: an address that is neither in this image nor null would be
	 * one of the host's. AMD's CPUs do not write them without a pending exception. */
	memcpy(&fip, image + 8, 8);
	memcpy(&fdp, image + 16, 8);
	check(fip == 0 || fip == 0xcccccccccccccccc || fip - 0x100000 < 0x100000, "FIP %lx is no host address", fip);
	check(fdp == 0 || fdp == 0xcccccccccccccccc || fdp < (1ull << 32), "FDP %lx is no host address", fdp);
	__asm__ volatile("fxrstor64 (%1); fstpl %0" : "=m"(back) : "r"(image));
	check_equal(back, value, "FXRSTOR brings ST0 back");
	__asm__ volatile("movq %%xmm3, %0" : "=r"(back));
	check_equal(back, value, "FXRSTOR brings XMM3 back");

	memset(image, 0xcc, 128);
	__asm__ volatile("fninit; fldpi; fnsave (%0)" : : "r"(image) : "memory");
	memcpy(&fip, image + 12, 4);
	fip &= 0xffffffff;
	check(fip < 0x200000, "FNSAVE's FIP %lx is no host address", fip);
	__asm__ volatile("frstor (%1); fstpl %0" : "=m"(back) : "r"(image));
	check_equal(back, 0x400921fb54442d18, "FRSTOR brings ST0 back");
	memset(image, 0, 64);
	__asm__ volatile("fninit; fld1; fnstenv (%0)" : : "r"(image) : "memory");
	memcpy(&word, image + 8, 2);
	check_equal(word, 0x3fff, "FNSTENV: full tag word");
}

static u64 xgetbv(void)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (u64)hi << 32 | lo;
}

static void xsave(void)
{
	u32 leaf[4];
	u64 ones = ~0ull, value, bv;
	bool avx = cpu_has(1, 2, 28);

	if (!cpu_has(1, 2, 26)) {
		guest_skip("XSAVE");
		return;
	}
	check_equal(guest_try("xgetbv", : : "c"(0) : "rax", "rdx"), VEC_UD, "XGETBV without CR4.OSXSAVE");
	check_equal(guest_try("xsave (%0)", : : "r"(image), "a"(3), "d"(0) : "memory"), VEC_UD,
		"XSAVE without CR4.OSXSAVE");
	check(!cpu_has(1, 2, 27), "CPUID.OSXSAVE follows CR4");
	write_cr4(read_cr4() | CR4_OSXSAVE);
	check(cpu_has(1, 2, 27), "CPUID.OSXSAVE follows CR4");
	check_equal(xgetbv(), 1, "XCR0 after reset");
	check_equal(guest_try("xsetbv", : : "c"(0), "a"(2), "d"(0)), VEC_GP, "XCR0 without x87");
	check_equal(guest_try("xsetbv", : : "c"(0), "a"(5), "d"(0)), VEC_GP, "XCR0: AVX without SSE");
	check_equal(guest_try("xsetbv", : : "c"(0), "a"(3), "d"(0x80000000)), VEC_GP, "XCR0: reserved bits");
	check_equal(guest_try("xsetbv", : : "c"(1), "a"(3), "d"(0)), VEC_GP, "XCR1");
	if (avx)
		check_equal(guest_try("vxorps %%ymm0, %%ymm0, %%ymm0", : :), VEC_UD, "AVX without XCR0.AVX");
	xsetbv(avx ? 7 : 3);
	check_equal(xgetbv(), avx ? 7 : 3, "XCR0");
	cpuid(0xd, 0, leaf);
	check_equal(leaf[1], avx ? 832 : 576, "CPUID 0Dh: size by XCR0");
	check_equal(leaf[0] & 3, 3, "CPUID 0Dh: x87 and SSE");

	/* SSE alone */
	memset(image, 0, sizeof(image));
	__asm__ volatile("movq %1, %%xmm5; xsave (%0)" : : "r"(image), "m"(ones), "a"(2), "d"(0) : "memory");
	memcpy(&bv, image + 512, 8);
	check_equal(bv, 2, "XSTATE_BV: what the mask asked for");
	check_equal(image[160 + 80], 0xff, "XMM5 is there");
	check_equal(image[0], 0, "x87 is not");
	__asm__ volatile("pxor %%xmm5, %%xmm5; xrstor (%1); movq %%xmm5, %0" : "=r"(value)
			 : "r"(image), "a"(7), "d"(0));
	check_equal(value, ones, "XRSTOR brings XMM5 back");
	/* a component that is not in XSTATE_BV gets its initial state */
	memset(image + 512, 0, 8);
	__asm__ volatile("xrstor (%1); movq %%xmm5, %0" : "=r"(value) : "r"(image), "a"(2), "d"(0));
	check_equal(value, 0, "XRSTOR initializes");
	check_equal(guest_try("xrstor 1(%0)", : : "r"(image), "a"(2), "d"(0)), VEC_GP, "XRSTOR, misaligned");
	image[520] = 1;
	check_equal(guest_try("xrstor (%0)", : : "r"(image), "a"(2), "d"(0)), VEC_GP,
		"XRSTOR of a header that is not clean");
	image[520] = 0;
	image[512] = 0x80;
	image[519] = 0x40;
	check_equal(guest_try("xrstor (%0)", : : "r"(image), "a"(2), "d"(0)), VEC_GP,
		"XRSTOR of components that XCR0 lacks");
	memset(image + 512, 0, 64);
	if (avx) {
		memset(buffer, 0xa5, 32);
		__asm__ volatile("vmovdqu (%1), %%ymm9; xsave (%0); vzeroall; xrstor (%0); vmovdqu %%ymm9, (%2)"
				 : : "r"(image), "r"(buffer), "r"(buffer + 32), "a"(7), "d"(0) : "memory");
		check(!memcmp(buffer, buffer + 32, 32), "XSAVE and XRSTOR of YMM9");
		check_equal(image[576 + 9 * 16], 0xa5, "its upper half is at 576");
		write_cr0(read_cr0() | CR0_TS);
		check_equal(guest_try("vxorps %%ymm0, %%ymm0, %%ymm0", : :), VEC_NM, "TS: AVX");
		if (!guest_tcg_wrong("TS: XSAVE"))
			check_equal(guest_try("xsave (%0)", : : "r"(image), "a"(7), "d"(0) : "memory"), VEC_NM,
				"TS: XSAVE");
		write_cr0(read_cr0() & ~CR0_TS);
		/* VMOVAPS checks alignment, VADDPS does not */
		if (!guest_tcg_wrong("alignment of AVX operands"))
			check_equal(guest_try("vmovaps (%0), %%ymm0", : : "r"(buffer + 16)), VEC_GP,
				"VMOVAPS, misaligned");
		check_equal(guest_try("vaddps (%0), %%ymm0, %%ymm0", : : "r"(buffer + 4)), NO_TRAP,
			"VADDPS, misaligned");
	} else {
		guest_skip("AVX");
	}
	write_cr4(read_cr4() & ~CR4_OSXSAVE);
	write_cr4(read_cr4() | CR4_OSXSAVE);
	check_equal(xgetbv(), avx ? 7 : 3, "XCR0 outlives CR4.OSXSAVE");
}

/*
 * The same instructions again and again, now allowed and now not. noinline: what is called is found by the engine's
 * caches, which must tell its translations apart.
 */
static __attribute__((noinline)) unsigned x87_trap(void) { return guest_try("fnop", : :); }
static __attribute__((noinline)) unsigned fwait_trap(void) { return guest_try("fwait", : :); }
static __attribute__((noinline)) unsigned sse_trap(void) { return guest_try("xorps %%xmm0, %%xmm0", : :); }
static __attribute__((noinline)) unsigned avx_trap(void)
{
	return guest_try("vxorps %%ymm0, %%ymm0, %%ymm0", : :);
}

static void by_turns(void)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4(), allowed = 0;

	if (cpu_has(1, 2, 27) && cr4 & CR4_OSXSAVE)
		allowed = xgetbv();
	for (unsigned round = 0; round < 24; round++) {
		unsigned x87, fwait, sse, avx = NO_TRAP;
		bool ts = round & 1, no_sse = round & 2, no_avx = round & 4, mp = round & 8;

		if (allowed & 4)
			xsetbv(no_avx ? 3 : allowed);
		write_cr4(no_sse ? cr4 & ~CR4_OSFXSR : cr4);
		write_cr0((cr0 & ~CR0_MP) | (ts ? CR0_TS : 0) | (mp ? CR0_MP : 0));
		x87 = x87_trap();
		fwait = fwait_trap();
		sse = sse_trap();
		if (allowed & 4)
			avx = avx_trap();
		write_cr0(cr0);
		write_cr4(cr4);
		check_equal(x87, ts ? VEC_NM : NO_TRAP, "FNOP, round %u", round);
		check_equal(fwait, ts && mp ? VEC_NM : NO_TRAP, "FWAIT, round %u", round);
		check_equal(sse, no_sse ? VEC_UD : ts ? VEC_NM : NO_TRAP, "XORPS, round %u", round);
		if (allowed & 4)
			check_equal(avx, no_avx ? VEC_UD : ts ? VEC_NM : NO_TRAP, "VXORPS, round %u", round);
	}
	if (allowed & 4)
		xsetbv(allowed);
}

/* The state belongs to the CPU: interrupts, faults and devices leave it. */
static void kept(void)
{
	u64 value = 0x123456789abcdef0, back;

	__asm__ volatile("movq %0, %%xmm7" : : "r"(value));
	for (unsigned i = 0; i < 100; i++) {
		inb(0x3fd);
		guest_try("ud2", : :);
	}
	guest_print("printing with XMM7 in use\n");
	__asm__ volatile("movq %%xmm7, %0" : "=r"(back));
	check_equal(back, value, "XMM7 over exceptions and port accesses");
}

/* What firmware leaves, which kernels do not set up anew in each place that relies on it. */
static void as_found(void)
{
	u16 fcw, environment[14];

	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	check_equal(fcw, 0x37f, "FCW at the start");
	__asm__ volatile("fnstenv %0" : "=m"(environment));
	check_equal(environment[4], 0xffff, "the x87 registers are empty");
}

void guest_main(void)
{
	as_found();
	not_available();
	errors();
	alignment();
	images();
	xsave();
	by_turns();
	kept();
}
