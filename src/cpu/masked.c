/* SPDX-License-Identifier: MIT */
/*
 * Memory operands under a mask: VMASKMOV, VPMASKMOV, and what AVX-512 has of them. Elements that
 * the mask leaves out are not accessed and cause no fault, SDM2 2.8.8 and VMASKMOV. This is the
 * way of those that a plain look-up of the whole operand did not settle: the host runs the
 * instruction on a buffer, into which the elements were read or whose elements are written.
 *
 * MASKMOVQ and MASKMOVDQU are not of this kind: all of their operand must be accessible, as the
 * manuals permit.
 */
#include "cpu/vector.h"

/* The operand's elements in memory that are accessed, bit i for element i. */
static u64 elements_of(struct cpu *cpu, const struct insn_vector *vector)
{
	u64 elements = 0;
	unsigned packed = 0;

	for (unsigned i = 0; i < vector->mask_count; i++)
		if (vector_mask_bit(cpu, vector, i))
			elements |= BIT(vector->packed ? packed++ : i % vector->count);
	return elements;
}

static int element_linear(struct cpu *cpu, const struct insn *insn, u64 address, bool is_offset,
	unsigned size, bool write, u64 *linear)
{
	if (is_offset)
		return cpu_linear(cpu, insn->seg, address, size, write, linear);
	*linear = address;
	/* of a flat segment: within 4 GiB */
	if (cpu_long64(cpu) ? !is_canonical(address) || !is_canonical(address + size - 1)
			    : address + size - 1 > 0xffffffff)
		return cpu_fault_code(cpu, insn->seg == SS ? VEC_SS : VEC_GP, 0);
	return 0;
}

/*
 * Where a masked store reaches from a page into the next, and that faults, Intel's CPUs name the last
 * byte that they would have stored, AMD's the first in that page. SDM3 4.7 leaves open which of an
 * access's addresses CR2 gets.
 */
static void split_store_fault(struct cpu *cpu, const struct access *access, u64 elements,
	unsigned size)
{
	u64 first = access->linear + __builtin_ctzll(elements) * size;
	u64 last = access->linear + (64 - __builtin_clzll(elements)) * size - 1;

	if (cpu->fault.vector == VEC_PF && (cpu->fault.address ^ first) & PAGE_MASK)
		cpu->fault.address = cpu_long64(cpu) ? last : (u32)last;
}

/*
 * What MODE_ALIGN asks of the operand. To Intel's CPUs #AC is for operands of eight bytes at most, SDM3
 * 6.15, interrupt 17. AMD's (seen on Zen 5) check elements under an opmask, and nothing under VMASKMOV's.
 */
static unsigned masked_alignment(const struct cpu *cpu, const struct insn_vector *vector)
{
	unsigned len = vector->count * vector->element;

	if (cpu_is_intel(cpu))
		return len <= 8 ? len : 1;
	return vector->mask_kind == INSN_MASK_OPMASK ? vector->element : 1;
}

int cpu_access_begin_masked(struct cpu *cpu, struct access *access, const struct insn *insn,
	u64 address, bool is_offset, unsigned align, unsigned kind)
{
	const struct insn_vector *vector = &insn->vector;
	unsigned size = vector->element;
	bool write = kind & ACCESS_WRITE;
	u64 elements, linear;

	vector_open(cpu);
	elements = elements_of(cpu, vector);
	/* the buffer too: nothing of the stack comes through it */
	zero_bytes(access, sizeof(*access));
	access->linear = is_offset ? cpu->seg[insn->seg].base + address : address;
	access->len = vector->count * size;
	access->write = write;
	access->bounced = true;
	if (!cpu_long64(cpu))
		access->linear = (u32)access->linear;
	access->host = access->buffer + (access->linear & 63);
	/* with no element to access there is nothing that could be misaligned */
	if (elements && align && access->linear & (align - 1))
		return cpu_fault_code(cpu, VEC_GP, 0);
	/* of each: limits and canonical addresses, alignment, the page, APM2 table 8-8 */
	for (unsigned i = 0; i < vector->count; i++) {
		unsigned at = i * size;

		if (!(elements & BIT(i)))
			continue;
		if (element_linear(cpu, insn, address + at, is_offset, size, write, &linear))
			return OUTCOME_FAULT;
		if (!insn->any_alignment &&
			cpu_check_aligned(cpu, access->linear, masked_alignment(cpu, vector)))
			return OUTCOME_FAULT;
		if (write ? cpu_probe(cpu, linear, size, kind)
			  : cpu_read(cpu, linear, access->host + at, size, kind)) {
			if (write && vector->count > 1 && cpu_host_is_intel(cpu))
				split_store_fault(cpu, access, elements, size);
			return OUTCOME_FAULT;
		}
		access->bytes |= (BIT(size) - 1) << at;
	}
	return 0;
}
