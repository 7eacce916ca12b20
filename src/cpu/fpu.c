/* SPDX-License-Identifier: MIT */
/*
 * Moving the guest's x87 and vector state out of the host's registers and back, so that libc may
 * use them meanwhile; XCR0. APM2 11.5, SDM1 chapter 13.
 *
 * What is moved is everything a guest may have, whatever its XCR0 says: x87, SSE, AVX, AVX-512.
 * The host's other components (protection keys, AMX) are never the guest's.
 */
#include <errno.h>
#include <stdlib.h>

#include "cpu/fpu.h"

_Static_assert(FPU_IMAGE_ROOM >= XSAVE_EXTENDED, "the legacy area and the header fit");

void cpu_park_fpu(struct cpu *cpu)
{
	u32 mxcsr = MXCSR_RESET, low = cpu->host_xcr0;

	if (cpu->fpu_parked)
		return;
	if (low)
		__asm__ volatile("xsave64 (%0)" : : "r"(cpu->fpu_area), "a"(low), "d"(0) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(cpu->fpu_area) : "memory");
	/* what the ABI promises to C: an empty x87 stack, default modes, no dirty upper halves */
	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
	if (low & XCR0_AVX)
		__asm__ volatile("vzeroupper");
	cpu->fpu_parked = true;
}

void cpu_unpark_fpu(struct cpu *cpu)
{
	u32 low = cpu->host_xcr0;

	if (!cpu->fpu_parked)
		return;
	if (low)
		__asm__ volatile("xrstor64 (%0)" : : "r"(cpu->fpu_area), "a"(low), "d"(0) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(cpu->fpu_area) : "memory");
	cpu->fpu_parked = false;
}

int cpu_fpu_new(struct cpu *cpu)
{
	const struct xsave_layout *layout = cpuid_xsave(cpu->cpuid);

	if (xsave_standard_size(layout, layout->mask) > FPU_IMAGE_ROOM)
		return -ENOTSUP;
	cpu->fpu_area = aligned_alloc(FPU_IMAGE_ROOM, 2 * FPU_IMAGE_ROOM);
	if (!cpu->fpu_area)
		return -ENOMEM;
	zero_bytes(cpu->fpu_area, 2 * FPU_IMAGE_ROOM);
	cpu->host_xcr0 = layout->mask;
	/* the host's own image says which MXCSR bits exist, 0 for the oldest: SDM1 11.6.6 */
	__asm__ volatile("fxsave64 (%0)" : : "r"(fpu_bounce(cpu)) : "memory");
	copy_bytes(&cpu->mxcsr_mask, fpu_bounce(cpu) + FX_MXCSR + 4, 4);
	if (!cpu->mxcsr_mask)
		cpu->mxcsr_mask = 0xffbf;
	cpu->fpu_parked = true;
	cpu_fpu_reset(cpu);
	return 0;
}

void cpu_fpu_free(struct cpu *cpu)
{
	free(cpu->fpu_area);
	cpu->fpu_area = NULL;
}

/* APM2 table 14-1: registers zero and valid, FCW 40h, MXCSR 1F80h. */
void cpu_fpu_reset(struct cpu *cpu)
{
	const u16 fcw = 0x40;
	const u32 mxcsr = MXCSR_RESET;
	const u64 in_use = XCR0_X87 | XCR0_SSE;

	cpu_park_fpu(cpu);
	zero_bytes(cpu->fpu_area, XSAVE_EXTENDED);
	copy_bytes(cpu->fpu_area + FX_FCW, &fcw, sizeof(fcw));
	cpu->fpu_area[FX_FTW] = 0xff;
	copy_bytes(cpu->fpu_area + FX_MXCSR, &mxcsr, sizeof(mxcsr));
	/* the components not named are restored to their initial state */
	copy_bytes(cpu->fpu_area + XSAVE_XSTATE_BV, &in_use, sizeof(in_use));
	cpu->fpu_fip = cpu->fpu_fdp = cpu->fpu_fop = 0;
}

void cpu_fpu_init(struct cpu *cpu)
{
	const u16 fcw = FCW_INIT;

	cpu_fpu_reset(cpu);
	copy_bytes(cpu->fpu_area + FX_FCW, &fcw, sizeof(fcw));
	cpu->fpu_area[FX_FTW] = 0;
}

int exec_XGETBV(struct cpu *cpu, const struct insn *insn)
{
	u32 index = cpu->gpr[RCX], low, high;
	u64 value;

	if (!(cpu->cr4 & CR4_OSXSAVE))
		return cpu_fault(cpu, VEC_UD);
	if (index == 0) {
		value = cpu->xcr0;
	} else if (index == 1 && cpuid_xsave(cpu->cpuid)->compact) {
		cpu_unpark_fpu(cpu);
		__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
		value = low & cpu->xcr0;
	} else {
		return cpu_fault_gp0(cpu);
	}
	cpu->gpr[RAX] = (u32)value;
	cpu->gpr[RDX] = value >> 32;
	return OUTCOME_NEXT;
}

/* APM2 11.5.2, SDM1 13.3 */
static bool xcr0_valid(const struct cpu *cpu, u64 value)
{
	u64 avx512 = value & XCR0_AVX512;

	if ((value & ~cpuid_xsave(cpu->cpuid)->mask) || !(value & XCR0_X87))
		return false;
	if ((value & XCR0_AVX) && !(value & XCR0_SSE))
		return false;
	return !avx512 || (avx512 == XCR0_AVX512 && (value & XCR0_AVX));
}

int exec_XSETBV(struct cpu *cpu, const struct insn *insn)
{
	u64 value = cpu->gpr[RDX] << 32 | (u32)cpu->gpr[RAX];
	u32 index = cpu->gpr[RCX];

	if (!(cpu->cr4 & CR4_OSXSAVE))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_XSETBV, index, value))
		return OUTCOME_JUMP;
	if (index || !xcr0_valid(cpu, value))
		return cpu_fault_gp0(cpu);
	cpu->xcr0 = value;
	cpu_mode_update(cpu);
	return OUTCOME_NEXT;
}
