/* SPDX-License-Identifier: MIT */
/*
 * The guest's x87 and vector state, live in the host's registers: what the files fpu*.c share.
 *
 * Error pointers. The host's FIP and FDP hold addresses of translated code and of our memory, which
 * the guest must not see. When the guest loads pointers of its own they are kept in struct cpu and
 * FPU_MARK goes into FIP; while it is still there at the next save no x87 instruction has run and
 * the guest gets back what it loaded. Otherwise it reads zeros.
 */
#ifndef CPU_FPU_H
#define CPU_FPU_H

#include "cpu/handlers.h"
#include "cpu/xsave.h"

#define FPU_MARK 0x6e657374u

/* Room for one image; struct cpu's fpu_area is the parked one and a bounce behind it. */
#define FPU_IMAGE_ROOM 4096

/* Offsets in the FXSAVE image, APM2 11.4.4.3 */
#define FX_FCW 0
#define FX_FTW 4
#define FX_FOP 6
#define FX_FIP 8
#define FX_FCS 12
#define FX_FDP 16
#define FX_FDS 20
#define FX_MXCSR 24
#define FX_ST 32
#define FX_XMM 160
#define FX_END 416
#define XSAVE_XSTATE_BV 512
#define XSAVE_XCOMP_BV 520
#define XCOMP_COMPACTED BIT(63)

#define MXCSR_RESET 0x1f80
#define FCW_INIT 0x37f /* by FNINIT, APM3 */

static inline u8 *fpu_bounce(const struct cpu *cpu)
{
	return cpu->fpu_area + FPU_IMAGE_ROOM;
}

/* What a save must tell the guest, given the FIP that the host had. */
struct fpu_pointers {
	u64 fip, fdp;
	u16 fop;
};

static inline struct fpu_pointers fpu_pointers_saved(const struct cpu *cpu, u32 host_fip)
{
	if (host_fip != FPU_MARK)
		return (struct fpu_pointers){ 0 };
	return (struct fpu_pointers){ cpu->fpu_fip, cpu->fpu_fdp, cpu->fpu_fop };
}

/* Takes the guest's pointers; gives what to load as the host's FIP. */
static inline u32 fpu_pointers_load(struct cpu *cpu, const struct fpu_pointers *pointers)
{
	cpu->fpu_fip = pointers->fip;
	cpu->fpu_fdp = pointers->fdp;
	cpu->fpu_fop = pointers->fop;
	return pointers->fip || pointers->fdp || pointers->fop ? FPU_MARK : 0;
}

#endif
