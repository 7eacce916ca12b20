/* SPDX-License-Identifier: MIT */
/*
 * Gathers and scatters: VEX's, whose mask is a vector of sign bits, and EVEX's with a mask register.
 * SDM2 VGATHERDPS, VPGATHERDD, VPSCATTERDD and their like. Elements are accessed from the lowest
 * on; each one that is done, or that the mask leaves out, is struck from the mask, so that after a
 * fault the instruction goes on where it stopped.
 */
#include "cpu/vector.h"

/* Element i of the vector of indices, sign-extended. */
static u64 index_of(struct cpu *cpu, const struct insn_vector *vector, unsigned i)
{
	u64 index = 0;

	copy_bytes(&index, vector_bytes(cpu, vector->index, i * vector->index_size),
		vector->index_size);
	return sign_extend(index, vector->index_size);
}

static void strike(struct cpu *cpu, const struct insn_vector *vector, unsigned i)
{
	if (vector->mask_kind == INSN_MASK_OPMASK)
		opmask_write(cpu, vector->mask, opmask_read(cpu, vector->mask) & ~BIT(i));
	else
		zero_bytes(vector_bytes(cpu, vector->mask, i * vector->element), vector->element);
}

static int access_element(struct cpu *cpu, const struct insn *insn, u64 base, unsigned i)
{
	const struct insn_vector *vector = &insn->vector;
	u64 offset = low_bytes(base + index_of(cpu, vector, i) * insn->scale, insn->addrsize);
	u8 *data = vector_bytes(cpu, vector->reg, i * vector->element);
	u64 value = 0;

	if (vector->store) {
		copy_bytes(&value, data, vector->element);
		return cpu_write_words(cpu, insn->seg, offset, &value, vector->element, 1);
	}
	if (cpu_read_words(cpu, insn->seg, offset, &value, vector->element, 1))
		return OUTCOME_FAULT;
	copy_bytes(data, &value, vector->element);
	return 0;
}

/*
 * What a fault leaves of vectors that are half done. Bytes that no element belongs to may be zeroed by
 * then, SDM2 VPGATHERDD says, and when is the CPU's choice. Intel's bring the mask to all ones or zeroes
 * first, as the manual's pseudocode has it, and zero what lies above the destination with the first
 * element that is there; AMD's touch nothing but the elements.
 */
static void prepare_mask(struct cpu *cpu, const struct insn_vector *vector, unsigned length)
{
	for (unsigned at = 0; at < length; at += vector->element) {
		u8 fill = *vector_bytes(cpu, vector->mask, at + vector->element - 1) & 0x80 ? 0xff : 0;

		for (unsigned i = 0; i < vector->element; i++)
			*vector_bytes(cpu, vector->mask, at + i) = fill;
	}
	vector_clear_from(cpu, vector->mask, length);
}

/*
 * Whether a fault has to wait: traps of elements that are done come in lieu of it, SDM2 VPGATHERDD
 * and VPSCATTERDD, APM4 VPGATHERDD. The instruction then goes on, and its first element faults.
 * Data breakpoints are such traps, and a single step is: on Intel's CPUs and, as seen, on Zen 5.
 */
static bool traps_come_first(const struct cpu *cpu)
{
	return cpu->pending_db || cpu->step_after;
}

int exec_GATHER(struct cpu *cpu, const struct insn *insn)
{
	const struct insn_vector *vector = &insn->vector;
	u64 base = cpu_effective_address(cpu, insn);
	unsigned length = vector->count * MAX(vector->element, vector->index_size);
	bool early = vector->mask_kind == INSN_MASK_OPMASK || cpu_host_is_intel(cpu);
	bool any = false;

	vector_open(cpu);
	if (early && vector->mask_kind == INSN_MASK_VECTOR)
		prepare_mask(cpu, vector, length);
	for (unsigned i = 0; i < vector->count; i++) {
		if (vector_mask_bit(cpu, vector, i)) {
			u64 hits = cpu->pending_db;

			if (access_element(cpu, insn, base, i)) {
				cpu->pending_db = hits;
				return any && traps_come_first(cpu) ? OUTCOME_AGAIN : OUTCOME_FAULT;
			}
			if (early && !any && !vector->store)
				vector_clear_from(cpu, vector->reg, length);
			any = true;
		}
		strike(cpu, vector, i);
	}
	if (vector->mask_kind == INSN_MASK_OPMASK)
		opmask_write(cpu, vector->mask, 0);
	else
		vector_clear_from(cpu, vector->mask, 0);
	if (!vector->store)
		vector_clear_from(cpu, vector->reg, vector->count * vector->element);
	return OUTCOME_NEXT;
}
