/* SPDX-License-Identifier: MIT */
/*
 * #VMEXIT codes, APM2 appendix C. Codes below C0h are also the number of the intercept bit that
 * causes them, counted through the six intercept words of the VMCB.
 */
#ifndef X86_SVM_EXITS_H
#define X86_SVM_EXITS_H

#include "base/types.h"

#define SVM_EXITS(X) \
	X(0x60, INTR) \
	X(0x61, NMI) \
	X(0x62, SMI) \
	X(0x63, INIT) \
	X(0x64, VINTR) \
	X(0x65, CR0_SEL_WRITE) \
	X(0x66, IDTR_READ) \
	X(0x67, GDTR_READ) \
	X(0x68, LDTR_READ) \
	X(0x69, TR_READ) \
	X(0x6a, IDTR_WRITE) \
	X(0x6b, GDTR_WRITE) \
	X(0x6c, LDTR_WRITE) \
	X(0x6d, TR_WRITE) \
	X(0x6e, RDTSC) \
	X(0x6f, RDPMC) \
	X(0x70, PUSHF) \
	X(0x71, POPF) \
	X(0x72, CPUID) \
	X(0x73, RSM) \
	X(0x74, IRET) \
	X(0x75, SWINT) \
	X(0x76, INVD) \
	X(0x77, PAUSE) \
	X(0x78, HLT) \
	X(0x79, INVLPG) \
	X(0x7a, INVLPGA) \
	X(0x7b, IOIO) \
	X(0x7c, MSR) \
	X(0x7d, TASK_SWITCH) \
	X(0x7e, FERR_FREEZE) \
	X(0x7f, SHUTDOWN) \
	X(0x80, VMRUN) \
	X(0x81, VMMCALL) \
	X(0x82, VMLOAD) \
	X(0x83, VMSAVE) \
	X(0x84, STGI) \
	X(0x85, CLGI) \
	X(0x86, SKINIT) \
	X(0x87, RDTSCP) \
	X(0x88, ICEBP) \
	X(0x89, WBINVD) \
	X(0x8a, MONITOR) \
	X(0x8b, MWAIT) \
	X(0x8c, MWAIT_CONDITIONAL) \
	X(0x8d, XSETBV) \
	X(0x8e, RDPRU) \
	X(0x8f, EFER_WRITE_TRAP) \
	X(0xa0, INVLPGB) \
	X(0xa1, INVLPGB_ILLEGAL) \
	X(0xa2, INVPCID) \
	X(0xa3, MCOMMIT) \
	X(0xa4, TLBSYNC) \
	X(0x400, NPF) \
	X(0x401, AVIC_INCOMPLETE_IPI) \
	X(0x402, AVIC_NOACCEL) \
	X(0x403, VMGEXIT)

enum {
#define X(code, name) SVM_EXIT_##name = code,
	SVM_EXITS(X)
#undef X
	SVM_EXIT_CR_READ = 0x00,   /* + register */
	SVM_EXIT_CR_WRITE = 0x10,
	SVM_EXIT_DR_READ = 0x20,
	SVM_EXIT_DR_WRITE = 0x30,
	SVM_EXIT_EXCEPTION = 0x40, /* + vector */
	SVM_EXIT_CR_WRITE_TRAP = 0x90,
	SVM_INTERCEPT_BITS = 0xc0,
};
#define SVM_EXIT_INVALID (~0ull)
#define SVM_EXIT_BUSY (~1ull)

#endif
