/* SPDX-License-Identifier: MIT */
/*
 * A guest under test of a hypervisor under test: one VMCB, one guest that shares the test's memory,
 * IDT and GDT, so that guest_try() and handlers work on both sides. APM2 chapter 15.
 */
#ifndef SVM_H
#define SVM_H

#include "apic.h"
#include "guest.h"
#include "x86/svm_exits.h"
#include "x86/vmcb.h"

/* CPUID 8000000Ah EDX */
enum svm_feature { SVM_NPT = 0, SVM_LBRV = 1, SVM_SVML = 2, SVM_NRIPS = 3, SVM_TSC_RATE = 4,
	SVM_CLEAN = 5, SVM_FLUSH_BY_ASID = 6, SVM_DECODE = 7, SVM_PAUSE = 10, SVM_PAUSE_THRESHOLD = 12,
	SVM_VLS = 15, SVM_VGIF = 16 };
bool svm_has(enum svm_feature feature);

#define MSR_PAT 0x277
#define MSR_VM_CR 0xc0010114
#define MSR_VM_HSAVE_PA 0xc0010117
#define MSR_SVM_KEY 0xc0010118
#define MSR_TSC_RATIO 0xc0000104

/* The guest's general registers but RAX and RSP, which the VMCB holds; what VMRUN starts with and
 * #VMEXIT left. */
struct svm_regs {
	u64 rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
};
extern struct svm_regs svm_regs;
extern union vmcb *vmcb;
extern u8 *svm_iopm, *svm_msrpm; /* 3 pages and 2 */
extern u8 *svm_stack_top;
extern bool svm_host_if;   /* RFLAGS.IF of the host at VMRUN */
extern bool svm_keep_gif;  /* leave GIF clear after the exit */

extern bool svm_tcg;       /* QEMU's TCG runs this */

/* False: this CPU has no SVM, and that has been said. */
bool svm_setup(void);
/* The VMCB as new: a 64-bit guest in the host's page tables; VMRUN, VMMCALL, shutdown intercepted. */
void svm_fresh(void);
/* Runs from the VMCB's RIP. The exit code. GIF is 1 afterwards, IF is 0. */
u64 svm_run(void);
/* Runs code from its start. */
u64 svm_run_at(const void *code);
/* As svm_run_at(), but an exception in the guest goes to `end`, into guest_last. */
u64 svm_run_fixup(const void *code, const void *end);

/* Sets or clears the intercept with an exit code below C0h. */
void svm_intercept(unsigned code, bool on);
/* Maps all memory to itself for the guest, in 2 MiB pages, and turns nested paging on. The PML4. */
u64 *svm_nested_paging(void);

/* Guest code: name and name_end are its labels; VMMCALL follows. */
#define CODE(name, text) \
	extern u8 name[], name##_end[]; \
	__asm__(".text\n" #name ":\n\t" text "\n" #name "_end:\n\tvmmcall\n\tud2\n")

static inline void stgi(void) { __asm__ volatile("stgi" : : : "memory"); }
static inline void clgi(void) { __asm__ volatile("clgi" : : : "memory"); }

#endif
