/* SPDX-License-Identifier: MIT */
/*
 * AMD's virtualization unit (SVM): APM2 chapter 15. One struct svm a vCPU hangs off
 * cpu->virt_state. Everything here runs on the vCPU's thread.
 *
 * A VMCB in guest memory is read once, into `vmcb`; checks and intercepts look at that copy alone.
 * #VMEXIT brings the copy up to date and writes it back, so that the copy is also what the clean
 * bits speak of.
 */
#ifndef VIRT_SVM_H
#define VIRT_SVM_H

#include "base/types.h"
#include "cpu/cpu.h"
#include "cpu/virt.h"
#include "virt/failure.h"
#include "x86/svm_exits.h"
#include "x86/vmcb.h"

/* What #VMEXIT brings back: hidden parts included, APM2 15.5.1 and 15.6. */
struct svm_host {
	struct segment es, cs, ss, ds;
	struct table_register gdtr, idtr;
	u64 cr0, cr3, cr4, efer;
	u64 rflags_system, rip, rsp, rax;
	u32 aflags;
	bool nmi_blocked;
	bool step_after;
	u64 pat;                     /* kept where the guest has its own */
	u64 pdpte[4];
	u64 debugctl, last_branch_from, last_branch_to, last_int_from, last_int_to;
};

/* Where a VMCB lies in the machine's RAM. */
struct vmcb_memory {
	union vmcb *host;
	u64 ram_offset;
};

/* A page of a permission map in RAM; NULL: not RAM, everything in it is intercepted. */
#define IOPM_PAGES 3
#define MSRPM_PAGES 2

struct svm {
	/* MSRs; tsc_ratio is what guests get */
	u64 vm_cr, hsave_pa, key, tsc_ratio;

	union vmcb vmcb;
	u64 vmcb_pa;
	struct vmcb_memory memory;
	bool cached;                 /* the copy is of vmcb_pa, as memory had it after #VMEXIT */
	u32 intercepts[SVM_INTERCEPT_BITS / 32];
	const u8 *iopm[IOPM_PAGES], *msrpm[MSRPM_PAGES];

	struct svm_host host;
	bool guest_has_pat, guest_has_lbr;
	u16 pause_count;             /* what is left of pause_filter_count */
	u64 pause_tsc;               /* host TSC of the last PAUSE */
	struct failure failure;      /* the first failed check of the last VMRUN */
};

static inline struct svm *svm_of(const struct cpu *cpu)
{
	return cpu->virt_state;
}

/* Gives the vCPU the unit: cpu->virt, cpu->virt_state. 0 or -ENOMEM. Before the vCPU first runs. */
int svm_new(struct cpu *cpu);
void svm_free(struct cpu *cpu);

/* For --stats: the name of a slot of cpu->stats.exits[0]; NULL: none. */
const char *svm_stat_name(unsigned slot);
/* "CR3_WRITE", "NPF"; never NULL. Numbers are appended by the caller. */
const char *svm_exit_name(u64 code);

/* ---- between the files of the unit ---- */

/* svm.c: ends the guest: state to the VMCB, host back. The only way out. */
void svm_vmexit(struct cpu *cpu, u64 code, u64 info1, u64 info2);
/* The same with nRIP: instruction intercepts. */
void svm_vmexit_insn(struct cpu *cpu, const struct insn *insn, u64 code, u64 info1, u64 info2);
/* The bytes at RIP for decode assists, into the copy. */
void svm_fetch_insn_bytes(struct cpu *cpu);

/* svm_check.c: true: the copy may run. `dirty` names the classes that were read anew. */
bool svm_check(struct cpu *cpu, u32 dirty);

/* svm_intercept.c */
void svm_load_intercepts(struct cpu *cpu, u32 dirty);
bool svm_intercept(struct cpu *cpu, const struct insn *insn, enum virt_event event, u64 a, u64 b);
void svm_nested_fault(struct cpu *cpu, const struct fault *fault);
static inline bool svm_intercepted(const struct svm *svm, unsigned code)
{
	return svm->intercepts[code / 32] & BIT(code % 32);
}

/* svm_event.c */
void svm_inject(struct cpu *cpu);
u64 svm_exit_int_info(const struct cpu *cpu);
bool svm_poll(struct cpu *cpu, enum virt_moment moment);
bool svm_wakes(const struct cpu *cpu);
u64 svm_read_cr8(struct cpu *cpu);
void svm_write_cr8(struct cpu *cpu, u64 value);
/* Recomputes cpu->virt_pending after a change to V_IRQ or what masks it. */
void svm_events_changed(struct cpu *cpu);
void svm_set_gif(struct cpu *cpu, bool gif);

/* svm_msr.c */
int svm_read_msr(struct cpu *cpu, u32 msr, u64 *value);
int svm_write_msr(struct cpu *cpu, u32 msr, u64 value);
void svm_reset(struct cpu *cpu, bool init);

/* svm_state.c: VMCB memory and the copy */
/* False: not a page of RAM. */
bool svm_find_vmcb(struct cpu *cpu, u64 pa, struct vmcb_memory *memory);
/* Gives the classes that were read: all of them, or where `cached` those that are not clean. */
u32 svm_read_vmcb(union vmcb *copy, const union vmcb *memory, bool cached);
void svm_vmload(struct cpu *cpu, const union vmcb *memory);
void svm_vmsave(struct cpu *cpu, const struct vmcb_memory *memory);
void svm_save_host(struct cpu *cpu, u64 rip);
void svm_load_host(struct cpu *cpu);
/* False: PDPTEs that may not be. */
bool svm_load_guest(struct cpu *cpu);
void svm_save_guest(struct cpu *cpu);
void svm_write_vmcb(struct cpu *cpu, bool state);

#endif
