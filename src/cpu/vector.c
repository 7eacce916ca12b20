/* SPDX-License-Identifier: MIT */
/*
 * Vector and mask registers in the parked XSAVE area: where each of their parts lies, SDM1 13.4.
 */
#include "cpu/fpu.h"
#include "cpu/vector.h"

enum { PART_SSE = 1, PART_AVX = 2, PART_OPMASK = 5, PART_ZMM_HIGH = 6, PART_ZMM_16 = 7 };

/* A component that XSTATE_BV leaves out is in its initial state: all zero. SDM1 13.8.1 */
void vector_open(struct cpu *cpu)
{
	const struct xsave_layout *layout = cpuid_xsave(cpu->cpuid);
	u64 present;

	cpu_park_fpu(cpu);
	if (!layout->mask)
		return;
	copy_bytes(&present, cpu->fpu_area + XSAVE_XSTATE_BV, sizeof(present));
	if (!(present & XCR0_SSE))
		zero_bytes(cpu->fpu_area + FX_XMM, 256);
	for (unsigned part = PART_AVX; part < XSAVE_COMPONENTS; part++)
		if (layout->mask & ~present & BIT(part))
			zero_bytes(cpu->fpu_area + layout->offset[part], layout->size[part]);
	present |= layout->mask & (XCR0_SSE | XCR0_AVX | XCR0_AVX512);
	copy_bytes(cpu->fpu_area + XSAVE_XSTATE_BV, &present, sizeof(present));
}

u8 *vector_bytes(struct cpu *cpu, unsigned reg, unsigned at)
{
	const u16 *offset = cpuid_xsave(cpu->cpuid)->offset;

	if (reg >= 16)
		return cpu->fpu_area + offset[PART_ZMM_16] + 64 * (reg - 16) + at;
	if (at >= 32)
		return cpu->fpu_area + offset[PART_ZMM_HIGH] + 32 * reg + (at - 32);
	if (at >= 16)
		return cpu->fpu_area + offset[PART_AVX] + 16 * reg + (at - 16);
	return cpu->fpu_area + FX_XMM + 16 * reg + at;
}

/* Bytes of a register that the CPU has. */
static unsigned vector_size(const struct cpu *cpu)
{
	u64 mask = cpuid_xsave(cpu->cpuid)->mask;

	return mask & XCR0_AVX512 ? 64 : mask & XCR0_AVX ? 32 : 16;
}

void vector_upper_get(struct cpu *cpu, u8 *to)
{
	unsigned size = vector_size(cpu);

	vector_open(cpu);
	for (unsigned reg = 8; reg < (size == 64 ? 32 : 16); reg++)
		for (unsigned at = 0; at < size; at += 16, to += 16)
			copy_bytes(to, vector_bytes(cpu, reg, at), 16);
}

void vector_upper_put(struct cpu *cpu, const u8 *from)
{
	unsigned size = vector_size(cpu);

	vector_open(cpu);
	for (unsigned reg = 8; reg < (size == 64 ? 32 : 16); reg++)
		for (unsigned at = 0; at < size; at += 16, from += 16)
			copy_bytes(vector_bytes(cpu, reg, at), from, 16);
}

void vector_clear_from(struct cpu *cpu, unsigned reg, unsigned at)
{
	unsigned end = vector_size(cpu);

	for (; at < end; at++)
		*vector_bytes(cpu, reg, at) = 0;
}

u64 opmask_read(struct cpu *cpu, unsigned reg)
{
	u64 value;

	copy_bytes(&value, cpu->fpu_area + cpuid_xsave(cpu->cpuid)->offset[PART_OPMASK] + 8 * reg, 8);
	return value;
}

void opmask_write(struct cpu *cpu, unsigned reg, u64 value)
{
	copy_bytes(cpu->fpu_area + cpuid_xsave(cpu->cpuid)->offset[PART_OPMASK] + 8 * reg, &value, 8);
}

bool vector_mask_bit(struct cpu *cpu, const struct insn_vector *vector, unsigned i)
{
	unsigned last = i * vector->element + vector->element - 1;

	switch (vector->mask_kind) {
	case INSN_MASK_OPMASK:
		return opmask_read(cpu, vector->mask) >> i & 1;
	case INSN_MASK_VECTOR:
		return *vector_bytes(cpu, vector->mask, last) & 0x80;
	default:
		return true;
	}
}
