/* SPDX-License-Identifier: MIT */
/*
 * RFLAGS in its two halves, and what the mode bits of a block's key are made of: APM2 1.2
 * (operating modes), 4.7 (segment attributes), 7.1 and 13.1 (what makes an instruction trap).
 */
#include "base/log.h"
#include "cpu/handlers.h"
#include "cpu/tlb.h"

/* The bits of RFLAGS that exist, APM2 3.1.6; the others read as zero, bit 1 as one. */
#define RFLAGS_EXIST 0x3f7fd5ull

u64 aflags_to_rflags(u32 aflags)
{
	u64 low = (aflags >> 8) & (RFLAGS_ARITH & 0xff);

	return low | (aflags & 1 ? RFLAGS_OF : 0);
}

u32 aflags_from_rflags(u64 rflags)
{
	u32 low = (rflags & (RFLAGS_ARITH & 0xff)) | RFLAGS_RESERVED1;

	return low << 8 | (rflags & RFLAGS_OF ? 1 : 0);
}

u64 cpu_rflags(const struct cpu *cpu)
{
	return cpu->rflags_system | aflags_to_rflags(cpu->aflags);
}

/* The caller follows up with cpu_mode_update() when TF, AC or VM may differ. */
void cpu_set_rflags(struct cpu *cpu, u64 value)
{
	cpu->rflags_system = (value & RFLAGS_EXIST & ~RFLAGS_ARITH) | RFLAGS_RESERVED1;
	cpu->aflags = aflags_from_rflags(value);
}

/* Base 0, 4 GiB, and nothing that a data access could run into. */
static bool flat_data(const struct segment *seg)
{
	const u16 must = SEG_P | SEG_S | SEG_WRITABLE;

	return seg->base == 0 && seg->limit == 0xffffffff &&
	       (seg->attr & (must | SEG_CODE | SEG_EXPAND_DOWN)) == must;
}

static bool flat_code(const struct segment *seg)
{
	const u16 must = SEG_P | SEG_S | SEG_READABLE;

	/* in real mode what CS holds may look like data */
	return seg->base == 0 && seg->limit == 0xffffffff && (seg->attr & must) == must;
}

static u32 code_mode(const struct cpu *cpu)
{
	u32 mode;

	if (cpu_lma(cpu) && (cpu->seg[CS].attr & SEG_L))
		return MODE_CODE64 | MODE_FLAT;
	mode = cpu->seg[CS].attr & SEG_DB ? MODE_CODE32 : MODE_CODE16;
	if (cpu->seg[SS].attr & SEG_DB)
		mode |= MODE_STACK32;
	if (flat_code(&cpu->seg[CS]) && flat_data(&cpu->seg[SS]) && flat_data(&cpu->seg[DS]) &&
	    flat_data(&cpu->seg[ES]))
		mode |= MODE_FLAT;
	return mode;
}

/*
 * MODE_FPU and MODE_SSE are independent: an SSE instruction needs both, and exec_NM() tells #UD
 * from #NM where one is missing.
 */
static u32 vector_mode(const struct cpu *cpu)
{
	u32 mode = 0;

	if (!(cpu->cr0 & (CR0_EM | CR0_TS)))
		mode |= MODE_FPU;
	if ((cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		mode |= MODE_FWAIT_NM;
	if (cpu->cr4 & CR4_OSFXSR)
		mode |= MODE_SSE;
	if ((cpu->cr4 & CR4_OSXSAVE) && (cpu->xcr0 & XCR0_AVX)) {
		mode |= MODE_AVX;
		if ((cpu->xcr0 & XCR0_AVX512) == XCR0_AVX512)
			mode |= MODE_AVX512;
	}
	return mode;
}

/* APM2 1.2 */
enum operating_mode { UNKNOWN_MODE, REAL, VIRTUAL_8086, PROTECTED, COMPATIBILITY, LONG_64 };

static enum operating_mode operating_mode(const struct cpu *cpu)
{
	if (!(cpu->cr0 & CR0_PE))
		return REAL;
	if (cpu_v86(cpu))
		return VIRTUAL_8086;
	if (!cpu_lma(cpu))
		return PROTECTED;
	return cpu->seg[CS].attr & SEG_L ? LONG_64 : COMPATIBILITY;
}

static void trace_mode(struct cpu *cpu)
{
	static const char *const names[] = { "?", "real", "virtual-8086", "protected",
		"compatibility", "64-bit" };
	enum operating_mode mode = operating_mode(cpu);

	if (mode == cpu->traced_mode)
		return;
	cpu->traced_mode = mode;
	cpu_park_fpu(cpu);
	trace_print(TRACE_cpu, "%s mode at %04x:%llx%s", names[mode], cpu->seg[CS].sel,
		(unsigned long long)cpu->rip, cpu->in_guest ? " (guest)" : "");
}

void cpu_mode_update(struct cpu *cpu)
{
	u32 mode = code_mode(cpu) | vector_mode(cpu);

	if (cpu->cpl == 3)
		mode |= MODE_USER;
	if (cpu->cpl == 1 || cpu->cpl == 2)
		mode |= MODE_CPL12;
	if (cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->rflags_system & RFLAGS_AC))
		mode |= MODE_ALIGN;
	if (cpu_protected(cpu))
		mode |= MODE_PROTECTED;
	if ((cpu->rflags_system & RFLAGS_TF) || (cpu->dr7 & DR7_ENABLE) ||
	    (cpu->debugctl & DEBUGCTL_LBR) || cpu->virt_step)
		mode |= MODE_STEP;
	/* which of its exits a hypervisor wants is known in virt/; outside a guest nobody asks */
	if (cpu->in_guest)
		mode |= MODE_GUEST;
	cpu->mode = mode;
	if (trace_on(TRACE_cpu))
		trace_mode(cpu);
	if (cpu_watching(cpu))
		cpu_watch_update(cpu);

	if (!tlb_selected(cpu))
		cpu->context_stale = true;
}
