/* SPDX-License-Identifier: MIT */
/*
 * What cpu/ asks of the virtualization unit in virt/. The CPU knows one vendor-neutral question,
 * "is this event intercepted?"; svm.c and vmx.c answer and form their own exit.
 */
#ifndef CPU_VIRT_H
#define CPU_VIRT_H

#include "base/types.h"

struct cpu;
struct insn;
struct fault;

/*
 * Events that a hypervisor may intercept. The two words a and b say more, see each line; what is
 * not named is 0.
 */
enum virt_event {
	VIRT_CR_READ,      /* a: number; b: general register */
	VIRT_CR_WRITE,     /* a: number; b: the value, of LMSW its operand; insn tells MOV, LMSW, CLTS */
	VIRT_DR_READ,      /* a: number; b: general register */
	VIRT_DR_WRITE,     /* a: number; b: general register */
	VIRT_IDTR_READ,    /* SIDT, SGDT, SLDT, STR; LIDT, LGDT, LLDT, LTR */
	VIRT_GDTR_READ,
	VIRT_LDTR_READ,
	VIRT_TR_READ,
	VIRT_IDTR_WRITE,
	VIRT_GDTR_WRITE,
	VIRT_LDTR_WRITE,
	VIRT_TR_WRITE,
	VIRT_RDTSC,
	VIRT_RDTSCP,
	VIRT_RDPMC,
	VIRT_RDPRU,
	VIRT_RDRAND,
	VIRT_RDSEED,
	VIRT_PUSHF,
	VIRT_POPF,
	VIRT_CPUID,
	VIRT_RSM,
	VIRT_IRET,
	VIRT_SWINT,        /* a: vector of INT n (not INT3, INTO) */
	VIRT_ICEBP,
	VIRT_INVD,
	VIRT_WBINVD,
	VIRT_PAUSE,
	VIRT_HLT,
	VIRT_INVLPG,       /* a: linear address */
	VIRT_INVLPGA,
	VIRT_INVPCID,      /* a: linear address of the descriptor; b: type */
	VIRT_IO,           /* a: port; b: VIRT_IO_* */
	VIRT_MSR_READ,     /* a: MSR */
	VIRT_MSR_WRITE,    /* a: MSR; b: value */
	VIRT_MONITOR,
	VIRT_MWAIT,
	VIRT_XSETBV,       /* a: register; b: value */
	VIRT_XSAVES,
	VIRT_XRSTORS,
	VIRT_TASK_SWITCH,  /* a: selector; b: VIRT_TASK_* */
	VIRT_SHUTDOWN,
	VIRT_EXCEPTION,    /* a: vector; b: error code; asked by event delivery only */
	VIRT_INTR,         /* pins, asked at instruction boundaries */
	VIRT_NMI,
	VIRT_INIT,         /* SVM leaves it pending; VMX takes it */
	VIRT_SIPI,         /* a: vector; asked in any activity */
	VIRT_SMI,
};

/* b of VIRT_IO */
#define VIRT_IO_IN BIT(0)
#define VIRT_IO_STRING BIT(1)
#define VIRT_IO_REP BIT(2)
#define VIRT_IO_SIZE(b) (((b) >> 4) & 7)   /* 1, 2 or 4 bytes */
#define VIRT_IO_ADDRSIZE(b) (((b) >> 8) & 15) /* 2, 4 or 8 bytes */
#define VIRT_IO_SEG(b) (((b) >> 12) & 7)

/* b of VIRT_TASK_SWITCH */
#define VIRT_TASK_ERROR_CODE(b) ((u32)(b))
#define VIRT_TASK_HAS_ERROR BIT(32)
#define VIRT_TASK_IRET BIT(33)
#define VIRT_TASK_JMP BIT(34)
#define VIRT_TASK_EVENT BIT(35) /* through the IDT */

/* When virt_ops.poll is asked at a boundary; see cpu/event.c for the order. */
enum virt_moment {
	VIRT_AFTER_INSN,  /* before the traps of the instruction that has ended */
	VIRT_BEFORE_NMI,
	VIRT_BEFORE_INTR, /* no shadow holds interrupts back */
	VIRT_AFTER_INTR,  /* the same, and the INTR pin brought nothing */
};

struct virt_ops {
	/*
	 * Only asked while cpu->in_guest. True: intercepted; the #VMEXIT has been done, the state
	 * is the host's, the caller returns OUTCOME_JUMP at once. insn may be NULL (events).
	 */
	bool (*intercept)(struct cpu *cpu, const struct insn *insn, enum virt_event event, u64 a,
		u64 b);
	/*
	 * A fault of a kind from FAULT_NESTED on ends the guest: form its exit. Of EPT violations
	 * #VE may be made instead. cpu->rip and the registers are as before the instruction;
	 * cpu->event is valid where an event was being delivered.
	 */
	void (*nested_fault)(struct cpu *cpu, const struct fault *fault);
	/*
	 * With cpu->ept_pml: the dirty flag of the page at gpa (4 KiB aligned) is about to be set;
	 * log it. False: the log is full, the access becomes FAULT_PML_FULL. SDM3 29.3.6. A page may
	 * be logged twice where another CPU changes the entry at the same time.
	 */
	bool (*log_dirty)(struct cpu *cpu, u64 gpa);
	/*
	 * Data accesses at an offset in cpu->apic_access_page, never across its end. First it is
	 * asked whether one of this kind (ACCESS_READ; ACCESS_WRITE, with ACCESS_MODIFY where the
	 * old bytes are read first) is virtualized; if not it becomes FAULT_APIC_ACCESS. Asking has
	 * no effect, and may come more than once. Then the bytes are read, or those of a write are
	 * handed over as the instruction commits; what follows from them (TPR, EOI, an APIC-write
	 * exit) waits for the next boundary, by cpu->virt_pending and cpu->exit_request. SDM3 30.4.
	 */
	bool (*apic_virtualized)(struct cpu *cpu, u32 offset, unsigned len, unsigned access);
	void (*apic_read)(struct cpu *cpu, u32 offset, void *to, unsigned len);
	void (*apic_write)(struct cpu *cpu, u32 offset, const void *from, unsigned len);
	/*
	 * Instructions of the unit itself (VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA,
	 * VMMCALL, VMCALL, VMX...), with all their checks. An enum outcome.
	 */
	int (*execute)(struct cpu *cpu, const struct insn *insn);
	/* MSRs of the unit (VM_CR, VM_HSAVE_PA, VMX capabilities), and while cpu->virtual_x2apic
	 * those of the local APIC, where 1 says that it is not virtualized. 0, or -1 for #GP(0). */
	int (*read_msr)(struct cpu *cpu, u32 msr, u64 *value);
	int (*write_msr)(struct cpu *cpu, u32 msr, u64 value);
	/* The unit's own events (virtual interrupts, windows, timers): asked at boundaries while
	 * virt_pending is set. True: something was delivered or an exit was done. */
	bool (*poll)(struct cpu *cpu, enum virt_moment moment);
	/* With virt_pending: whether a halted CPU would wake for it now. */
	bool (*wakes)(const struct cpu *cpu);
	/* CR8 while cpu->virtual_tpr. */
	u64 (*read_cr8)(struct cpu *cpu);
	void (*write_cr8)(struct cpu *cpu, u64 value);
	/* Reset and INIT leave guest mode; INIT keeps the unit's MSRs. */
	void (*reset)(struct cpu *cpu, bool init);
};

extern const struct virt_ops svm_ops;
extern const struct virt_ops vmx_ops;

#endif
