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
 * Vectors that a fault leaves half done. What of them no element belongs to may be zeroed by then,
 * SDM2 VPGATHERDD says. Intel's CPUs zero the mask's and bring its elements to all ones or zeroes
 * before anything else, and zero the destination's with the first element. AMD's do so at the end.
 */
static void prepare_mask(struct cpu *cpu, const struct insn_vector *vector)
{
	for (unsigned i = 0; i < vector->count; i++) {
		u8 fill = vector_mask_bit(cpu, vector, i) ? 0xff : 0;

		for (unsigned at = 0; at < vector->element; at++)
			*vector_bytes(cpu, vector->mask, i * vector->element + at) = fill;
	}
	vector_clear_from(cpu, vector->mask, vector->count * vector->element);
}

int exec_GATHER(struct cpu *cpu, const struct insn *insn)
{
	const struct insn_vector *vector = &insn->vector;
	u64 base = cpu_effective_address(cpu, insn);
	unsigned length = vector->count * MAX(vector->element, vector->index_size);
	bool early = vector->mask_kind == INSN_MASK_OPMASK || cpu_host_is_intel(cpu);

	vector_open(cpu);
	if (early && vector->mask_kind == INSN_MASK_VECTOR)
		prepare_mask(cpu, vector);
	for (unsigned i = 0; i < vector->count; i++) {
		if (vector_mask_bit(cpu, vector, i)) {
			if (access_element(cpu, insn, base, i))
				return OUTCOME_FAULT;
			if (early && !vector->store)
				vector_clear_from(cpu, vector->reg, length);
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
