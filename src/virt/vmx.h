/* SPDX-License-Identifier: MIT */
/*
 * Intel's virtualization unit (VMX): SDM3 chapters 24 to 31. One struct vmx a vCPU hangs off
 * cpu->virt_state. Everything here runs on the vCPU's thread.
 *
 * VMPTRLD copies the VMCS region in guest memory into `vmcs`; VMREAD, VMWRITE, checks, entries and
 * exits work on that copy alone, and VMCLEAR or the VMPTRLD of another VMCS writes it back. So
 * nobody can change a VMCS behind a check. What the region holds is whatever the guest put there:
 * a field is trusted only after vmx_check.c has looked at it, at the entry that uses it.
 */
#ifndef VIRT_VMX_H
#define VIRT_VMX_H

#include "base/types.h"
#include "cpu/cpu.h"
#include "cpu/virt.h"
#include "virt/failure.h"
#include "x86/vmcs.h"
#include "x86/vmx_exits.h"

struct vmx {
	u64 feature_control;
	bool on;                      /* between VMXON and VMXOFF */
	u64 vmxon_pa;
	u64 current_pa;               /* VMCS_NONE: no current VMCS */
	struct vmcs *memory;          /* the current region, in RAM */
	u64 memory_offset;            /* and where in RAM it lies */
	struct vmcs vmcs;             /* the copy */

	/*
	 * Controls and host state are as an entry has found them right, and what follows from them
	 * below is loaded: only what does not stay right by itself is checked again.
	 */
	bool checked;

	/* -- of the entry that the guest runs by; RAM pages, NULL where the control is off -- */
	u32 secondary;                /* secondary controls; 0 where they are not active */
	const u8 *io_bitmap[2];       /* NULL with I/O bitmaps on: not RAM, every port exits */
	const u8 *msr_bitmap;         /* likewise */
	const u8 *vmread_bitmap, *vmwrite_bitmap;
	u8 *virtual_apic;
	u8 *posted;                   /* posted-interrupt descriptor, 64 bytes */
	struct vmcs *shadow;          /* the VMCS that VMREAD and VMWRITE of the guest reach */

	u64 shadow_offset;            /* where in RAM the shadow lies */
	bool host_nmi_blocked;        /* at the entry; virtual NMIs leave it alone */

	/* -- vmx_event.c -- */
	enum { MONITOR_TRAP_OFF, MONITOR_TRAP_NEXT, MONITOR_TRAP_PENDING } monitor_trap;
	u64 timer_deadline;           /* host's TSC when the preemption timer is at zero */

	/* -- vmx_apic.c -- */
	u32 apic_exits;               /* trap-like exits that wait for the instruction's end */
	u16 apic_write_offset;
	u8 apic_write_len;
	u8 eoi_vector;
	u8 rvi, svi;                  /* guest interrupt status while the guest runs */
	bool virtual_interrupt;       /* one is recognized, SDM3 30.2.1 */

	u64 ple_first, ple_last;      /* host TSC of the first and the last PAUSE of a loop */
	struct failure failure;       /* which check the last VM entry failed; text NULL: none */
	u64 pdpte[4];                 /* of a PAE guest, as vmx_check_guest() found them valid */
};

static inline struct vmx *vmx_of(const struct cpu *cpu)
{
	return cpu->virt_state;
}

/* Gives the vCPU the unit: cpu->virt, cpu->virt_state. 0 or -ENOMEM. Before the vCPU first runs. */
int vmx_new(struct cpu *cpu);
void vmx_free(struct cpu *cpu);

/* For --stats: the name of a basic exit reason; NULL: none. */
const char *vmx_exit_name(unsigned reason);

/* ---- between the files of the unit ---- */

/* vmx.c: how VMX instructions end, SDM3 31.2: the arithmetic flags, and OUTCOME_NEXT. */
int vmx_succeed(struct cpu *cpu);
int vmx_fail_invalid(struct cpu *cpu);
int vmx_fail_valid(struct cpu *cpu, enum vmx_error error);
/* VMfail: valid where there is a current VMCS to hold the number. */
int vmx_fail(struct cpu *cpu, enum vmx_error error);

/* What an exit reports; what it does not set is zero, or undefined as the manual has it. */
struct vmx_exit {
	u32 reason;
	u64 qualification;
	u32 interruption_info, error_code; /* without INTR_INFO_VALID: none */
	u8 instruction_length;
	u32 instruction_info;
	u64 guest_linear, guest_physical;
	bool boundary; /* between two instructions: traps that wait are saved as pending */
	bool fault;    /* RF is saved set, as an exception's frame would have it */
};

/* vmx_entry.c */
/* VMLAUNCH and VMRESUME, past the checks that every VMX instruction has. An enum outcome. */
int vmx_enter(struct cpu *cpu, const struct insn *insn);
/* Ends the guest: state to the VMCS, host back. The only way out once the guest has run. */
void vmx_exit(struct cpu *cpu, const struct vmx_exit *exit);
/* The same of an instruction: with its length. */
void vmx_exit_insn(struct cpu *cpu, const struct insn *insn, u32 reason, u64 qualification,
	u32 instruction_info);
/* At a boundary: a reason and its qualification are all. */
void vmx_exit_plain(struct cpu *cpu, u32 reason, u64 qualification);
/* SDM3 28.7: the CPU shuts down, nothing of the exit is undone. */
void vmx_abort(struct cpu *cpu, enum vmx_abort why);

/*
 * vmx_check.c: 0, or the number of a VM-instruction error; failure says which check, for
 * failure_report(). What the copy has of a field's 64 bits above its width must be zero.
 */
int vmx_check_controls(struct cpu *cpu);
int vmx_check_host(struct cpu *cpu);
/*
 * vmx_check_guest.c: false: exit reason 33 with this qualification (SDM3 27.8). A guest with PAE
 * paging, with or without EPT, is to get vmx->pdpte and not to read memory again.
 */
bool vmx_check_guest(struct cpu *cpu, u64 *qualification);

/* vmx_vmcs.c */
/* A page of RAM that may be written; NULL: none there. */
u8 *vmx_page(struct cpu *cpu, u64 pa, u64 *ram_offset);
/* The page was written by the unit: code that was translated from it is void. */
void vmx_page_written(struct cpu *cpu, u64 ram_offset, unsigned len);
void vmx_load_region(struct cpu *cpu, u64 pa, struct vmcs *memory, u64 ram_offset);
void vmx_store_region(struct cpu *cpu);
/* There is no current VMCS any more. */
void vmx_forget_region(struct cpu *cpu);
/* A field of the shadow VMCS, which lies in guest memory. */
void vmx_shadow_write(struct cpu *cpu, u64 *field, u64 value);
int vmx_vmread(struct cpu *cpu, const struct insn *insn);
int vmx_vmwrite(struct cpu *cpu, const struct insn *insn);

/* Whether an EPTP may be, SDM3 27.2.1.1. */
bool vmx_eptp_valid(const struct cpu *cpu, u64 eptp);

/* vmx_state.c */
/* Guest state and what follows from the controls; both have been checked. */
void vmx_load_guest(struct cpu *cpu);
void vmx_save_guest(struct cpu *cpu, const struct vmx_exit *exit);
/* Puts back what enters with a guest: tags, masks, controls. vmx_load_host() does. */
void vmx_leave_world(struct cpu *cpu);
/* False: a VMX abort. */
bool vmx_load_host(struct cpu *cpu);

/* vmx_msr.c */
/* False: no capability MSR, or one that this CPU has not got. */
bool vmx_capability(const struct cpu *cpu, u32 msr, u64 *value);
int vmx_read_msr(struct cpu *cpu, u32 msr, u64 *value);
int vmx_write_msr(struct cpu *cpu, u32 msr, u64 value);
/* MSR areas, SDM3 27.4, 28.4, 28.6. 0, or the number (from 1) of the entry that failed. */
u32 vmx_load_msrs(struct cpu *cpu, u64 address, u32 count);
u32 vmx_store_msrs(struct cpu *cpu, u64 address, u32 count);

/* vmx_intercept.c */
bool vmx_intercept(struct cpu *cpu, const struct insn *insn, enum virt_event event, u64 a, u64 b);
/* The VM-exit instruction-information field, SDM3 28.2.5. */
u32 vmx_instruction_info(const struct insn *insn);
/* Of the memory operand, as exit qualifications give it, SDM3 28.2.1; 0: it has none. */
u64 vmx_displacement(const struct cpu *cpu, const struct insn *insn);

/* vmx_fault.c */
void vmx_nested_fault(struct cpu *cpu, const struct fault *fault);
/* Page-modification logging; false: the log is full. */
bool vmx_log_dirty(struct cpu *cpu, u64 gpa);

/* vmx_invalidate.c */
int vmx_invept(struct cpu *cpu, const struct insn *insn);
int vmx_invvpid(struct cpu *cpu, const struct insn *insn);
int vmx_vmfunc(struct cpu *cpu, const struct insn *insn);

/* vmx_event.c */
void vmx_inject(struct cpu *cpu);
/* What of the exit follows from the event that was being delivered: IDT-vectoring information. */
u32 vmx_event_info(const struct event *event);
bool vmx_poll(struct cpu *cpu, enum virt_moment moment);
bool vmx_wakes(const struct cpu *cpu);
/* Recomputes cpu->virt_pending after a change to what vmx_poll() looks at. */
void vmx_events_changed(struct cpu *cpu);
void vmx_timer_start(struct cpu *cpu);
/* What is left of the preemption timer. */
u32 vmx_timer_left(const struct cpu *cpu);

/*
 * vmx_apic.c: APIC virtualization, SDM3 chapter 30. Called only while in_guest.
 */
/* At entry, once the controls and virtual_apic are loaded: TPR threshold, RVI and SVI. */
void vmx_apic_enter(struct cpu *cpu);
/* At exit: RVI and SVI go to the VMCS. */
void vmx_apic_leave(struct cpu *cpu);
/* MOV CR8 under the TPR shadow. */
u64 vmx_apic_read_cr8(struct cpu *cpu);
void vmx_apic_write_cr8(struct cpu *cpu, u64 value);
/*
 * RDMSR and WRMSR of 800h to 8FFh with "virtualize x2APIC mode", the bitmap having let them pass.
 * 0: done; -1: #GP(0); 1: not virtualized, the MSR is the real local APIC's.
 */
int vmx_apic_read_msr(struct cpu *cpu, u32 msr, u64 *value);
int vmx_apic_write_msr(struct cpu *cpu, u32 msr, u64 value);
/* Accesses to the APIC-access page: virt_ops.apic_virtualized, apic_read and apic_write. */
bool vmx_apic_virtualized(struct cpu *cpu, u32 offset, unsigned len, unsigned access);
void vmx_apic_read(struct cpu *cpu, u32 offset, void *to, unsigned len);
void vmx_apic_write(struct cpu *cpu, u32 offset, const void *from, unsigned len);
/* Of an access that is not virtualized; ACCESS_*. in_walk: a guest-physical access, 30.4.6.1. */
u64 vmx_apic_access_qualification(const struct cpu *cpu, u64 gpa, unsigned access, bool in_walk);
/* Trap-like exits and the evaluation of virtual interrupts at the end of an instruction. */
bool vmx_apic_poll_traps(struct cpu *cpu);
/* Whether a virtual interrupt may be delivered but for RFLAGS.IF and shadows. */
bool vmx_apic_interrupt_ready(const struct cpu *cpu);
/* Virtual-interrupt delivery, SDM3 30.2.2: the vector, now in service. */
u8 vmx_apic_deliver(struct cpu *cpu);
/* An external interrupt with posted-interrupt processing on; true: it was the notification. */
bool vmx_apic_posted(struct cpu *cpu, u8 vector);

#endif
