/* SPDX-License-Identifier: MIT */
/*
 * FXSAVE, FXRSTOR and the XSAVE family: APM2 11.4.4 and 11.5, SDM1 chapter 13, SDM2.
 *
 * The host's instruction works on a bounce area of ours; what it wrote is copied to the guest's
 * memory, error pointers replaced (fpu.h). Before a restore all that could make the host fault is
 * checked here. XSAVEOPT is XSAVE that leaves out initial components; XSAVES is XSAVEC, for there
 * is no supervisor state.
 */
#include "cpu/fpu.h"
#include "cpu/vector.h"

static inline u64 get64(const u8 *at)
{
	u64 value;

	copy_bytes(&value, at, sizeof(value));
	return value;
}

static inline u32 get32(const u8 *at)
{
	u32 value;

	copy_bytes(&value, at, sizeof(value));
	return value;
}

static inline void put64(u8 *at, u64 value)
{
	copy_bytes(at, &value, sizeof(value));
}

/* FIP and FDP are 64 bits wide in the REX.W forms, else 32 with selectors, which read as zero. */
static void pointers_to_image(const struct cpu *cpu, u8 *image, bool wide)
{
	struct fpu_pointers p = fpu_pointers_saved(cpu, get32(image + FX_FIP));

	copy_bytes(image + FX_FOP, &p.fop, sizeof(p.fop));
	put64(image + FX_FIP, wide ? p.fip : (u32)p.fip);
	put64(image + FX_FDP, wide ? p.fdp : (u32)p.fdp);
}

static void pointers_from_image(struct cpu *cpu, u8 *image, bool wide)
{
	struct fpu_pointers p = { get64(image + FX_FIP), get64(image + FX_FDP), 0 };

	copy_bytes(&p.fop, image + FX_FOP, sizeof(p.fop));
	p.fop &= 0x7ff;
	if (!wide) {
		p.fip = (u32)p.fip;
		p.fdp = (u32)p.fdp;
	}
	put64(image + FX_FIP, fpu_pointers_load(cpu, &p));
	put64(image + FX_FDP, 0);
	zero_bytes(image + FX_FOP, sizeof(p.fop));
}

/* Linear address of an image, aligned as it must be. 0 or OUTCOME_FAULT. */
static int image_address(struct cpu *cpu, const struct insn *insn, unsigned size, unsigned align,
	bool write, u64 *linear)
{
	if (cpu_linear(cpu, insn->seg, cpu_effective_address(cpu, insn), size, write, linear))
		return OUTCOME_FAULT;
	/* CPUs have FXSAVE's #AC only where its words are misaligned: else it is #GP like the others' */
	if (align == 16 && cpu_check_aligned(cpu, *linear, 4))
		return OUTCOME_FAULT;
	if (*linear & (align - 1))
		return cpu_fault_gp0(cpu);
	return 0;
}

/* ---- FXSAVE, FXRSTOR ---- */

int exec_FXSAVE(struct cpu *cpu, const struct insn *insn)
{
	/* outside 64-bit mode registers 8 to 15 are not written */
	unsigned end = cpu_long64(cpu) ? FX_END : FX_XMM + 8 * 16;
	u8 *image = fpu_bounce(cpu);
	u64 linear;

	if (cpu->cr0 & (CR0_EM | CR0_TS))
		return cpu_fault(cpu, VEC_NM);
	if (image_address(cpu, insn, XSAVE_LEGACY_SIZE, 16, true, &linear))
		return OUTCOME_FAULT;
	cpu_unpark_fpu(cpu);
	zero_bytes(image, FX_ST);
	__asm__ volatile("fxsave64 (%0)" : : "r"(image) : "memory");
	pointers_to_image(cpu, image, insn->opsize == 8);
	return cpu_write(cpu, linear, image, end, ACCESS_WRITE);
}

int exec_FXRSTOR(struct cpu *cpu, const struct insn *insn)
{
	u8 *image = fpu_bounce(cpu), upper[VECTOR_UPPER_BYTES];
	u64 linear;

	if (cpu->cr0 & (CR0_EM | CR0_TS))
		return cpu_fault(cpu, VEC_NM);
	if (image_address(cpu, insn, XSAVE_LEGACY_SIZE, 16, false, &linear) ||
	    cpu_read(cpu, linear, image, XSAVE_LEGACY_SIZE, ACCESS_READ))
		return OUTCOME_FAULT;
	if (get32(image + FX_MXCSR) & ~cpu->mxcsr_mask)
		return cpu_fault_gp0(cpu);
	pointers_from_image(cpu, image, insn->opsize == 8);
	if (!cpu_long64(cpu))
		vector_upper_get(cpu, upper);
	cpu_unpark_fpu(cpu);
	__asm__ volatile("fxrstor64 (%0)" : : "r"(image) : "memory");
	if (!cpu_long64(cpu))
		vector_upper_put(cpu, upper);
	return OUTCOME_NEXT;
}

/* ---- the XSAVE family ---- */

static int xsave_available(struct cpu *cpu)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cr0 & CR0_TS)
		return cpu_fault(cpu, VEC_NM);
	return 0;
}

static u64 requested(const struct cpu *cpu)
{
	return (cpu->gpr[RDX] << 32 | (u32)cpu->gpr[RAX]) & cpu->xcr0;
}

/* One piece of the image, from the bounce to the guest. */
static int put_piece(struct cpu *cpu, u64 linear, unsigned offset, unsigned size)
{
	return cpu_write(cpu, linear + offset, fpu_bounce(cpu) + offset, size, ACCESS_WRITE);
}

static int get_piece(struct cpu *cpu, u64 linear, unsigned offset, unsigned size)
{
	return cpu_read(cpu, linear + offset, fpu_bounce(cpu) + offset, size, ACCESS_READ);
}

/* The components of the legacy area: MXCSR goes with SSE and, in the standard form, AVX. */
static int put_legacy(struct cpu *cpu, u64 linear, u64 components, bool mxcsr)
{
	unsigned registers = cpu_long64(cpu) ? 16 : 8;

	if ((components & XCR0_X87) &&
	    (put_piece(cpu, linear, 0, FX_MXCSR) ||
		    put_piece(cpu, linear, FX_ST, FX_XMM - FX_ST)))
		return OUTCOME_FAULT;
	if (mxcsr && put_piece(cpu, linear, FX_MXCSR, 8))
		return OUTCOME_FAULT;
	if ((components & XCR0_SSE) && put_piece(cpu, linear, FX_XMM, registers * 16))
		return OUTCOME_FAULT;
	return 0;
}

/* XSAVE and XSAVEOPT: the standard form. */
static int save_standard(struct cpu *cpu, const struct insn *insn, bool skip_initial)
{
	const struct xsave_layout *layout = cpuid_xsave(cpu->cpuid);
	u8 *image = fpu_bounce(cpu);
	u64 linear, components, in_use, header;
	unsigned size;

	if (xsave_available(cpu))
		return OUTCOME_FAULT;
	components = requested(cpu);
	size = xsave_standard_size(layout, components);
	if (image_address(cpu, insn, size, 64, true, &linear) ||
	    cpu_probe(cpu, linear, size, ACCESS_WRITE) ||
	    cpu_read(cpu, linear + XSAVE_XSTATE_BV, &header, 8, ACCESS_READ))
		return OUTCOME_FAULT;
	cpu_unpark_fpu(cpu);
	zero_bytes(image, FX_ST);
	zero_bytes(image + XSAVE_XSTATE_BV, XSAVE_HEADER_SIZE);
	__asm__ volatile("xsave64 (%0)"
		: : "r"(image), "a"((u32)components), "d"(0) : "memory");
	in_use = get64(image + XSAVE_XSTATE_BV) & components;
	if (components & XCR0_X87)
		pointers_to_image(cpu, image, insn->opsize == 8);
	header = (header & ~components) | in_use;
	if (put_legacy(cpu, linear, skip_initial ? in_use : components,
		    components & (XCR0_SSE | XCR0_AVX)) ||
	    cpu_write(cpu, linear + XSAVE_XSTATE_BV, &header, 8, ACCESS_WRITE))
		return OUTCOME_FAULT;
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++)
		if (((skip_initial ? in_use : components) & BIT(i)) &&
		    put_piece(cpu, linear, layout->offset[i], layout->size[i]))
			return OUTCOME_FAULT;
	return OUTCOME_NEXT;
}

int exec_XSAVE(struct cpu *cpu, const struct insn *insn)
{
	return save_standard(cpu, insn, false);
}

int exec_XSAVEOPT(struct cpu *cpu, const struct insn *insn)
{
	return save_standard(cpu, insn, true);
}

/* XSAVEC: the compacted form, components in their initial state left out. */
static int save_compacted(struct cpu *cpu, const struct insn *insn)
{
	const struct xsave_layout *layout = cpuid_xsave(cpu->cpuid);
	u64 components = requested(cpu), linear, in_use;
	unsigned size = xsave_compact_offset(layout, components, XSAVE_COMPONENTS);
	u8 *image = fpu_bounce(cpu);

	if (image_address(cpu, insn, size, 64, true, &linear) ||
	    cpu_probe(cpu, linear, size, ACCESS_WRITE))
		return OUTCOME_FAULT;
	cpu_unpark_fpu(cpu);
	zero_bytes(image, FX_ST);
	zero_bytes(image + XSAVE_XSTATE_BV, XSAVE_HEADER_SIZE);
	__asm__ volatile("xsavec64 (%0)"
		: : "r"(image), "a"((u32)components), "d"(0) : "memory");
	in_use = get64(image + XSAVE_XSTATE_BV);
	if (in_use & XCR0_X87)
		pointers_to_image(cpu, image, insn->opsize == 8);
	if (put_legacy(cpu, linear, in_use, in_use & XCR0_SSE) ||
	    put_piece(cpu, linear, XSAVE_XSTATE_BV, 16))
		return OUTCOME_FAULT;
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++)
		if ((in_use & BIT(i)) &&
		    put_piece(cpu, linear, xsave_compact_offset(layout, components, i),
			    layout->size[i]))
			return OUTCOME_FAULT;
	return OUTCOME_NEXT;
}

int exec_XSAVEC(struct cpu *cpu, const struct insn *insn)
{
	return xsave_available(cpu) ? OUTCOME_FAULT : save_compacted(cpu, insn);
}

int exec_XSAVES(struct cpu *cpu, const struct insn *insn)
{
	if (unlikely(cpu->guest_lacks & LACKS_XSAVES))
		return cpu_fault(cpu, VEC_UD);
	if (xsave_available(cpu))
		return OUTCOME_FAULT;
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_XSAVES, 0, 0))
		return OUTCOME_JUMP;
	return save_compacted(cpu, insn);
}

static bool all_zero(const u8 *at, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		if (at[i])
			return false;
	return true;
}

/* SDM1 13.8: what of the header makes XRSTOR fault. */
static bool header_valid(const struct cpu *cpu, const u8 *image)
{
	u64 in_use = get64(image + XSAVE_XSTATE_BV), form = get64(image + XSAVE_XCOMP_BV);

	if (!(form & XCOMP_COMPACTED))
		/* 13.8.1: bytes 23:8 of the header */
		return !(in_use & ~cpu->xcr0) && all_zero(image + XSAVE_XCOMP_BV, 16);
	/* 13.8.2: bytes 63:16 of the header */
	return cpuid_xsave(cpu->cpuid)->compact && !(form & ~(cpu->xcr0 | XCOMP_COMPACTED)) &&
	       !(in_use & ~form) && all_zero(image + XSAVE_XCOMP_BV + 8, XSAVE_HEADER_SIZE - 16);
}

static int restore(struct cpu *cpu, const struct insn *insn, bool compacted_only)
{
	const struct xsave_layout *layout = cpuid_xsave(cpu->cpuid);
	u8 *image = fpu_bounce(cpu), upper[VECTOR_UPPER_BYTES];
	u64 components = requested(cpu), linear, in_use, form;
	const u32 initial = MXCSR_RESET;
	bool compacted, mxcsr;

	if (image_address(cpu, insn, XSAVE_EXTENDED, 64, false, &linear) ||
	    get_piece(cpu, linear, 0, XSAVE_EXTENDED))
		return OUTCOME_FAULT;
	in_use = get64(image + XSAVE_XSTATE_BV);
	form = get64(image + XSAVE_XCOMP_BV);
	compacted = form & XCOMP_COMPACTED;
	if ((compacted_only && !compacted) || !header_valid(cpu, image))
		return cpu_fault_gp0(cpu);
	mxcsr = compacted ? components & in_use & XCR0_SSE : components & (XCR0_SSE | XCR0_AVX);
	if (!mxcsr)
		copy_bytes(image + FX_MXCSR, &initial, sizeof(initial));
	else if (get32(image + FX_MXCSR) & ~cpu->mxcsr_mask)
		return cpu_fault_gp0(cpu);
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
		unsigned offset = compacted ? xsave_compact_offset(layout, form, i) :
					      layout->offset[i];

		if ((components & in_use & BIT(i)) &&
		    get_piece(cpu, linear, offset, layout->size[i]))
			return OUTCOME_FAULT;
	}
	if (components & in_use & XCR0_X87)
		pointers_from_image(cpu, image, insn->opsize == 8);
	else if (components & XCR0_X87)
		fpu_pointers_load(cpu, &(struct fpu_pointers){ 0 });
	/* the host's header checks are ours but for the bytes that it may ignore and we need not */
	zero_bytes(image + XSAVE_XCOMP_BV + 8, XSAVE_HEADER_SIZE - 16);
	if (!cpu_long64(cpu))
		vector_upper_get(cpu, upper);
	cpu_unpark_fpu(cpu);
	__asm__ volatile("xrstor64 (%0)"
		: : "r"(image), "a"((u32)components), "d"(0) : "memory");
	if (!cpu_long64(cpu))
		vector_upper_put(cpu, upper);
	return OUTCOME_NEXT;
}

int exec_XRSTOR(struct cpu *cpu, const struct insn *insn)
{
	return xsave_available(cpu) ? OUTCOME_FAULT : restore(cpu, insn, false);
}

int exec_XRSTORS(struct cpu *cpu, const struct insn *insn)
{
	if (unlikely(cpu->guest_lacks & LACKS_XSAVES))
		return cpu_fault(cpu, VEC_UD);
	if (xsave_available(cpu))
		return OUTCOME_FAULT;
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_XRSTORS, 0, 0))
		return OUTCOME_JUMP;
	return restore(cpu, insn, true);
}
