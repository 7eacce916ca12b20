/* SPDX-License-Identifier: MIT */
/*
 * One vCPU: its architectural state and what cpu/ offers to translate/, virt/ and machine/.
 *
 * Everything here runs on the vCPU's own thread unless a comment says otherwise. The guest's
 * vector and x87 registers normally stay in the host's while this code runs, so cpu/, virt/ and
 * the engine's runtime are built with -mgeneral-regs-only and call libc only after cpu_park_fpu().
 */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include "base/types.h"
#include "mem/line.h"
#include "mem/space.h"
#include "x86/regs.h"
#include "cpu/insn.h"

struct machine;
struct engine;
struct context;
struct context_pool;
struct virt_ops;

/* A segment register with its hidden part; attr in the VMCB's form (SEG_* in x86/regs.h). */
struct segment {
	u16 sel;
	u16 attr;
	u32 limit; /* in bytes, granularity applied */
	u64 base;
};

struct table_register {
	u64 base;
	u16 limit;
};

/*
 * The mode bits that change what code a block becomes: a part of every block's key, checked by
 * each block that is entered from afar. cpu_mode_update() computes them.
 */
#define MODE_CODE16 0x000
#define MODE_CODE32 0x001
#define MODE_CODE64 0x002
#define MODE_CODE_MASK 0x003
#define MODE_STACK32 0x004  /* SS.B: ESP; without it and outside 64-bit mode: SP */
#define MODE_FLAT 0x008     /* ES CS SS DS: base 0, limit 4 GiB, present, writable where data */
#define MODE_FPU 0x010      /* x87 and MMX run: CR0.EM and TS clear */
#define MODE_SSE 0x020      /* SSE too: CR4.OSFXSR */
#define MODE_AVX 0x040      /* CR4.OSXSAVE and XCR0.AVX */
#define MODE_AVX512 0x080
#define MODE_USER 0x100     /* CPL 3 */
#define MODE_STEP 0x200     /* TF, breakpoints in DR7, DEBUGCTL.LBR: blocks of one instruction */
#define MODE_GUEST 0x400    /* in_guest: PAUSE, RDRAND and RDSEED go to C, a hypervisor may want them */
#define MODE_PROTECTED 0x800 /* CR0.PE without VM: selectors name descriptors */
#define MODE_FWAIT_NM 0x1000 /* CR0.MP and TS: FWAIT raises #NM though MODE_FPU speaks of EM, TS */
#define MODE_ALIGN 0x2000   /* accesses must be aligned: CPL 3, CR0.AM, RFLAGS.AC; APM2 8.2.18 */
#define MODE_CPL12 0x4000   /* CPL 1 or 2: supervisor code that privileged instructions refuse */

enum cpu_activity {
	CPU_RUNNING,
	CPU_HALTED,
	CPU_SHUTDOWN,
	CPU_WAIT_SIPI,
	CPU_GUEST_SHUTDOWN, /* a guest in whose VMCS the activity state says so */
};

/* What went wrong with an instruction, before anything of it was committed. */
enum fault_kind {
	FAULT_NONE,
	FAULT_EXCEPTION, /* vector, error, address */
	/* from here on what goes to virt_ops.nested_fault and not through the IDT */
	FAULT_NESTED,    /* AMD's nested tables: error, gpa, address, in_walk */
	FAULT_EPT_VIOLATION,        /* qualification, suppress_ve, gpa, address */
	FAULT_EPT_MISCONFIGURATION, /* gpa; by SDM3 28.2.1 nothing else is told of it */
	FAULT_PML_FULL,             /* virt_ops.log_dirty had no room: nothing was accessed */
	FAULT_APIC_ACCESS,          /* gpa, access, address, in_walk */
};

struct fault {
	u8 kind;
	u8 vector;
	bool has_error;
	bool trap;      /* RIP of the frame is the next instruction's (#DB of single-step, ...) */
	u32 error;      /* error code; for FAULT_NESTED the PF_* bits of the access */
	u64 address;    /* the linear address: #PF's for CR2, and where linear_valid of the others */
	u64 gpa;        /* the guest-physical address that would not translate;
	                 * FAULT_APIC_ACCESS: where in the machine's space, offset in the page included */
	u64 dr6;        /* #DB: the bits to set in DR6 */
	bool in_walk;   /* hit while reading or updating the guest's page tables: with
	                 * FAULT_APIC_ACCESS a guest-physical access, SDM3 30.4.6.1 */
	bool linear_valid;
	bool suppress_ve;  /* FAULT_EPT_VIOLATION: bit 63 of the entry that decides, SDM3 26.5.7.1 */
	u8 access;         /* ACCESS_READ, WRITE or EXEC: what was tried */
	u16 qualification; /* FAULT_EPT_VIOLATION: EPT_QUAL_*, bits 0 to 8 of the exit qualification */
};

/* Exit qualification of EPT violations, SDM3 table 28-7. Bits 9 to 11 are not offered. */
#define EPT_QUAL_READ BIT(0)
#define EPT_QUAL_WRITE BIT(1)
#define EPT_QUAL_FETCH BIT(2)
#define EPT_QUAL_READABLE BIT(3)
#define EPT_QUAL_WRITABLE BIT(4)
#define EPT_QUAL_EXECUTABLE BIT(5)      /* with mode-based execute control: for supervisor mode */
#define EPT_QUAL_USER_EXECUTABLE BIT(6) /* 0 without mode-based execute control */
#define EPT_QUAL_LINEAR_VALID BIT(7)
#define EPT_QUAL_FINAL BIT(8)           /* the translation of a linear address, no page walk */

/* An interrupt or exception on its way into the guest. Types as in EVENTINJ, APM2 15.20. */
enum event_type { EVENT_INTR = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFT = 4 };

struct event {
	bool valid;
	u8 type;
	u8 vector;
	bool has_error;
	u32 error;
	bool by_insn; /* EVENT_EXCEPTION: of INT3, INTO or INT1 */
	u8 insn_len;  /* of that or of EVENT_SOFT: the frame's RIP is RIP + insn_len */
};

/* Exits counted for --stats, by reason and level. */
#define STAT_EXIT_REASONS 256

/* VM entries that failed, by the check: `text` names it, NULL from the first free row on. */
#define STAT_FAILED_CHECKS 32

struct failed_check {
	const char *section, *text;
	u64 count;
};

struct cpu_stats {
	u64 insns_translated, blocks, tlb_fills, jump_misses, slow_accesses, irqs, flushes;
	u64 flushes_held; /* asked for where nothing had changed, see trail.h */
	u64 exits[2][STAT_EXIT_REASONS]; /* [vendor's unit] by exit code, 255: others */
	struct failed_check failed_check[STAT_FAILED_CHECKS];
	u64 failed_others; /* by checks for which no row was free */
	/* Ticks of the host's TSC spent asleep, in L1, and in what VMRUN entered: L2 and deeper. */
	u64 level_ticks[3];
	u64 level_since; /* host TSC when the last of them was accounted for */
};

/*
 * The state. Translated code reaches it through gs:, so the first part comes first and the whole
 * struct is mapped at the head of every context (cpu/tlb.h).
 */
struct cpu {
	/* -- touched by translated code -- */
	u64 gpr[16];        /* R10 and R11 always live here; the others only while C runs */
	u64 rip;            /* while C runs: IP of the current instruction (no CS.base added) */
	u64 vpage;          /* linear address of the page that holds the running block */
	u32 aflags;         /* arithmetic flags: AL = OF, AH as LAHF gives them */
	u32 mode;           /* MODE_* */
	u32 exit_request;   /* set by any thread; makes the vCPU look at its events soon */
	u32 branched;       /* with MODE_STEP: the instruction that just ran was a taken branch */
	u64 scratch[6];     /* engine */
	u64 host_rsp;
	u64 self;           /* this struct's canonical address */
	u64 runtime[16];    /* engine: addresses of its C entry points */
	u64 stray_rsp, stray_rip; /* engine: to go on with and at, translate/stray_rsp.c */
	struct segment seg[SEG_COUNT];
	/* How many offsets from 0 of ES..GS may be read and written without asking cpu_linear();
	 * 0 where it must be asked. The engine keeps them. */
	u64 seg_read_end[6], seg_write_end[6];
	u64 group_host[8];  /* engine: host addresses of memory that a block has checked once */
	u8 bounce[256] __attribute__((aligned(64)));

	/* -- the rest of the architecture -- */
	u64 rflags_system;  /* all but RFLAGS_ARITH; bit 1 set */
	u64 cr0, cr2, cr3, cr4, cr8_shadow;
	u64 efer, xcr0, xss, pat;
	u64 dr[4], dr6, dr7;
	struct table_register gdtr, idtr;
	u8 cpl;
	u64 pdpte[4];       /* PAE paging outside long mode: loaded by MOV CR3, APM2 5.3 */
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 tsc_aux, tsc_offset /* guest TSC = host TSC * ratio + offset */, tsc_adjust;
	u64 tsc_l1_offset;  /* what tsc_offset is outside a guest */
	u64 tsc_ratio;      /* of the running guest, TSC_RATIO_ONE being 1.0, as it is outside */
	u64 debugctl, last_branch_from, last_branch_to, last_int_from, last_int_to;
	u64 step_rip;       /* event.c: with MODE_STEP, RIP of the instruction that has just run */
	u64 spec_ctrl, misc_enable, syscfg, hwcr;
	u64 pv_clock, pv_wall_clock; /* where pvclock.c tells L1 the time; MSRs 4B564D01h and 00h */
	u32 pv_clock_version;
	u64 mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];

	/* -- events -- */
	enum cpu_activity activity;
	struct fault fault;     /* with OUTCOME_FAULT */
	struct event event;     /* being delivered, or injected by a VM entry to be delivered next */
	/* The engine asks for these three at once, and sets the next three so, where it does STI itself. */
	u32 pins __attribute__((aligned(8))); /* BIT(CPU_PIN_*): set from any thread, atomically */
	bool virt_pending;      /* ask virt->poll at the next boundary */
	bool nmi_pending;
	u8 no_event[2];         /* 0 */
	bool intr_shadow;       /* STI or MOV SS just executed: no interrupt at this boundary. May be
	                         * stale in translated code, in C it is not, see event.c */
	bool shadow_seen;       /* event.c: intr_shadow has held one boundary, the next clears it */
	bool shadow_mov_ss;     /* intr_shadow is MOV SS's: debug traps wait too */
	u8 no_shadow;           /* 0 */
	bool rf_seen;           /* event.c: RFLAGS.RF has served its instruction */
	bool nmi_blocked;       /* until IRET */
	u64 shadow_rip;         /* intr_shadow covers the instruction there and no other */
	u64 pending_db;         /* DR6 bits of traps to be raised after this instruction */
	u64 watched[4], watched_dr7; /* breakpoint.c: DR0 to DR3 and DR7 as the TLBs know them */
	bool step_after;        /* TF was set when this instruction began */
	u8 sipi_vector;
	bool apic_disabled;     /* APIC_BASE says that there is no local APIC */
	const struct intc_ops *intc_ops;
	void *intc;

	/* -- the virtualization unit -- */
	const struct virt_ops *virt; /* NULL: this CPU has none */
	bool in_guest;          /* running what VMRUN or VMLAUNCH entered */
	bool nested_paging;     /* a second translation stage is on */
	bool gif;               /* global interrupt flag; true where there is no SVM */
	u64 wake_at;            /* host's TSC that machine_wake_at() was asked for; 0: the wake-up has
	                         * come, early perhaps, or nobody asked */
	bool intr_apart;        /* in a guest the INTR pin obeys intr_host_if and not the guest's IF: APM2
	                         * 15.21.1, where it is the hypervisor's at its entry; SDM3 26.3, true */
	bool intr_host_if;
	bool nmi_apart;         /* nmi_blocked is the guest's affair and holds no NMI back: virtual NMIs,
	                         * SDM3 25.6.1 */
	bool nmi_iret_blind;    /* IRET leaves nmi_blocked alone, SDM3 26.3 */
	bool iret_unblocked;    /* the fault being handled is of an IRET that has unblocked NMIs */
	bool vmx_root;          /* VMX root operation, SDM3 24.8: INIT is blocked */
	bool virt_step;         /* the unit looks at every instruction boundary */
	bool virtual_x2apic;    /* RDMSR and WRMSR of 800h to 8FFh ask virt_ops first */
	u32 guest_wants;        /* in a guest, WANTS_*: of what translated code does itself, what is C's */
	u32 guest_lacks;        /* LACKS_*: instructions that are #UD in this guest, SDM3 25.6.2 */
	/* Bits of CR0 and CR4 that the hypervisor owns read as the shadows, SDM3 25.6.6; all zero
	 * outside a guest. */
	u64 cr0_mask, cr0_shadow, cr4_mask, cr4_shadow;
	u64 cr0_fixed1, cr4_fixed1; /* must be one: VMX operation, SDM3 24.8 */
	u64 nested_root;        /* nCR3, or with `ept` the EPTP, all of it */
	u64 nested_cr4, nested_efer; /* the host's, whose paging mode nested_root's tables are in */
	bool virtual_tpr;       /* CR8 is virt_ops', not the controller's TPR */
	bool svm_disabled;      /* VM_CR.SVMDIS: EFER.SVME must be zero */
	bool init_redirect;     /* VM_CR.R_INIT: INIT becomes #SX, APM2 15.28 */
	u32 nested_asid;        /* ASID or VPID: tag of the guest's translations; 0 outside */
	u64 nested_tag;         /* the rest of that tag, see tlb_world_changed() */
	bool ept;               /* with nested_paging: the second stage is EPT, SDM3 29.3 */
	bool ept_mode_based;    /* mode-based execute control for EPT */
	bool ept_pml;           /* page-modification logging: virt->log_dirty is to be asked */
	u64 apic_access_page;   /* data accesses to this page of the machine's space go to
	                         * virt->apic_*, SDM3 30.4; NO_APIC_ACCESS_PAGE: to none */
	/*
	 * For VMREAD and VMWRITE in translated code: where a field of each encoding below 8000h lies
	 * in the current VMCS, in bytes from vmcs_fields; 0: C has to look. Of writes bit 0 says that
	 * the field has 32 bits. All zero where there is no current VMCS.
	 */
	void *vmcs_fields;
	const u16 *vmread_offsets, *vmwrite_offsets;
	void *virt_state;       /* struct svm or struct vmx */

	/* -- where it lives -- */
	struct space *memory;   /* guest-physical */
	struct space *ports;
	struct machine *machine;
	struct engine *engine;
	struct context_pool *contexts;
	struct context *context; /* the current one, see cpu/tlb.h */
	struct context *gs_context; /* engine: the one that gs: points at */
	bool context_stale;     /* select again before translated code runs */
	u32 id;
	u8 phys_bits;           /* guest-physical address width */
	/* Where page tables were last found: RAM below and above 4 GiB, for mmu.c. */
	struct ram_window {
		u64 gpa, size;
		u8 *host;
	} ram_window[2];
	/* A store went to a page with flags, RAM_HAS_*; set by the engine. After the store. */
	void (*watched_page_written)(struct cpu *cpu, u64 ram_offset, unsigned len);
	u64 tables_written;     /* counts stores to pages with RAM_HAS_TABLES; any thread's */
	bool fpu_parked;        /* guest's FPU state is in fpu_area, C may use libc freely */
	u8 *fpu_area;           /* XSAVE area, standard form */
	u64 host_xcr0;          /* what of it the guest may have: x87, SSE, AVX, AVX-512 */
	u64 fpu_fip, fpu_fdp;   /* error pointers the guest itself loaded, see fpu.c */
	u16 fpu_fop;
	u32 mxcsr_mask;         /* bits of MXCSR that exist */
	struct cpuid_table *cpuid;
	struct cpu_stats stats;
	u8 traced_mode;         /* which --trace cpu printed last, mode.c */
};

/* Bits of guest_lacks. */
#define LACKS_RDTSCP BIT(0) /* and RDPID */
#define LACKS_INVPCID BIT(1)
#define LACKS_XSAVES BIT(2) /* and XRSTORS */
#define WANTS_TSC BIT(0)    /* RDTSC, RDTSCP: they exit or do not exist, or the TSC is scaled */
#define WANTS_PUSHF BIT(1)

#define TSC_RATIO_ONE BIT(48)

#define NO_APIC_ACCESS_PAGE (~0ull)

#define LEVEL_ASLEEP 0
#define LEVEL_HOST 1
#define LEVEL_GUEST 2

/* At a change of level: the time since the last one belongs to `level`. */
static inline void cpu_account(struct cpu *cpu, unsigned level)
{
	u64 now = __builtin_ia32_rdtsc();

	cpu->stats.level_ticks[level] += now - cpu->stats.level_since;
	cpu->stats.level_since = now;
}

/* ---- life: reset.c ---- */
/* Power-up state, APM2 14.1.3. */
void cpu_reset(struct cpu *cpu);
/* INIT: as reset but for what APM2 table 14-1 keeps. */
void cpu_init(struct cpu *cpu);

/* ---- flags and modes: mode.c ---- */
u64 cpu_rflags(const struct cpu *cpu);
void cpu_set_rflags(struct cpu *cpu, u64 value);
/* The two halves of aflags, in RFLAGS' positions and back. */
u64 aflags_to_rflags(u32 aflags);
u32 aflags_from_rflags(u64 rflags);
/* To be called after a change to CR0, CR4, EFER, XCR0, CPL, CS, SS, DS, ES, RFLAGS.TF/AC/VM, DR7,
 * in_guest: recomputes mode and marks the context stale where need be. */
void cpu_mode_update(struct cpu *cpu);
static inline bool cpu_long64(const struct cpu *cpu)
{
	return cpu->mode & MODE_CODE64;
}
static inline bool cpu_lma(const struct cpu *cpu)
{
	return cpu->efer & EFER_LMA;
}
static inline bool cpu_v86(const struct cpu *cpu)
{
	return cpu->rflags_system & RFLAGS_VM;
}
static inline unsigned cpu_iopl(const struct cpu *cpu)
{
	return (cpu->rflags_system & RFLAGS_IOPL) >> 12;
}
static inline bool is_canonical(u64 address)
{
	return (u64)((i64)(address << 16) >> 16) == address;
}

/* ---- faults: each records cpu->fault and returns OUTCOME_FAULT ---- */
void cpu_raise(struct cpu *cpu, u8 vector, bool has_error, u32 error, u64 address);
/* Inline, so that the compiler sees what they return. */
static inline int cpu_fault(struct cpu *cpu, u8 vector) /* no error code */
{
	cpu_raise(cpu, vector, false, 0, 0);
	return OUTCOME_FAULT;
}
static inline int cpu_fault_code(struct cpu *cpu, u8 vector, u32 error)
{
	cpu_raise(cpu, vector, true, error, 0);
	return OUTCOME_FAULT;
}
static inline int cpu_fault_page(struct cpu *cpu, u64 address, u32 error)
{
	cpu_raise(cpu, VEC_PF, true, error, address);
	return OUTCOME_FAULT;
}

/* ---- execution: exec.c ---- */
/*
 * Executes one instruction of enum op. On entry all of gpr[], rip (this instruction's), aflags
 * are valid. OUTCOME_FAULT leaves the architectural state as before the instruction.
 */
int cpu_exec(struct cpu *cpu, const struct insn *insn);

/* ---- events: event.c ---- */
/*
 * Delivers cpu->fault, raised at cpu->rip: asks for intercepts, makes #DF and shutdown of faults
 * during delivery, and leaves rip at the handler. Never fails: at worst activity is CPU_SHUTDOWN.
 */
void cpu_deliver_fault(struct cpu *cpu);
/*
 * At an instruction boundary: looks at pins, NMI, interrupts, virtual interrupts, injected events
 * and traps in the manual's order (APM2 8.5) and delivers one after another. Takes the machine lock
 * where it asks the interrupt controller. True when rip or the world changed. Clears exit_request
 * before it looks.
 */
bool cpu_poll_events(struct cpu *cpu);
/* At a boundary: cpu_poll_events() must be called before the next instruction, see event.c. */
static inline bool cpu_must_poll(const struct cpu *cpu)
{
	return __atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED) || cpu->intr_shadow ||
	       cpu->step_after || cpu->event.valid || cpu->pending_db || (cpu->mode & MODE_STEP);
}
/* After cpu_poll_events(): exactly one instruction may run before it is called again. */
static inline bool cpu_must_step(const struct cpu *cpu)
{
	return (cpu->mode & MODE_STEP) || cpu->intr_shadow;
}
/* cpu_interrupt() and, where that faults, what follows from it. For virtual interrupts. The CPU runs. */
void cpu_deliver_event(struct cpu *cpu, const struct event *event);
/* Takes a pending INIT, SIPI or NMI, which an exit has reported: who asked gets no other. */
void cpu_take_pin(struct cpu *cpu, unsigned pin);
/* The vector that the interrupt controller hands over, acknowledged; -1: it has gone. */
int cpu_acknowledge(struct cpu *cpu);
/* DR6, DR7 and DEBUGCTL as a #DB's handler finds them: for units whose exits show that. */
void cpu_debug_registers(struct cpu *cpu, const struct fault *fault);
/* Whether a halted CPU would wake now. Same thread. */
bool cpu_has_wakeup(struct cpu *cpu);
/* DEBUGCTL.LBR: an interrupt or exception has led from an instruction to cpu->rip. */
void cpu_record_interrupt(struct cpu *cpu, u64 from);
/* What every #DB does besides DR6, as it is raised: APM2 13.1.1.5, 13.1.1.6. */
void cpu_debug_raised(struct cpu *cpu);
/* An interrupt, NMI, exception or INT n through the IDT, all modes. 0 or OUTCOME_FAULT. */
int cpu_interrupt(struct cpu *cpu, const struct event *event);
/* The set function of struct line for a CPU's pins; any thread. Wakes a halted vCPU through
 * machine_kick(). */
void cpu_pin_set(void *cpu, unsigned pin, bool level);

/* ---- breakpoints on data and ports: breakpoint.c ---- */
static inline bool cpu_watching(const struct cpu *cpu)
{
	return unlikely(cpu->dr7 & DR7_ENABLE);
}
/* With cpu_watching(): whether a page may have no TLB entry, since accesses to it are watched. */
bool cpu_watches_page(const struct cpu *cpu, u64 linear);
/* With cpu_watching(): an access that found no TLB entry; a hit goes to pending_db. */
void cpu_watch_data(struct cpu *cpu, u64 linear, u64 len, bool write);
void cpu_watch_port(struct cpu *cpu, u16 port, unsigned size);
/* Called by cpu_mode_update(). */
void cpu_watch_update(struct cpu *cpu);

/* ---- segments: segment.c ---- */
/* Loads a data or stack segment register as MOV and POP do, with all checks. 0 or OUTCOME_FAULT. */
int cpu_load_segment(struct cpu *cpu, unsigned seg, u16 selector);
/*
 * Checks an access of len bytes at offset in a segment (limit, type, canonical form) and gives the
 * linear address. write: it will be stored to. 0 or OUTCOME_FAULT (#GP or #SS).
 */
int cpu_linear(struct cpu *cpu, unsigned seg, u64 offset, u64 len, bool write, u64 *linear);
/* The offset part of insn's memory operand, truncated to its address size. */
u64 cpu_effective_address(const struct cpu *cpu, const struct insn *insn);

/* ---- memory by linear address: access.c, over the current context's TLB ---- */
#define ACCESS_READ 0
#define ACCESS_WRITE 1
#define ACCESS_EXEC 2
#define ACCESS_SYSTEM 4 /* implicit supervisor access, whatever CPL: descriptors, TSS, frames */
#define ACCESS_MODIFY 8 /* with ACCESS_WRITE to cpu_access_begin(): the old bytes are wanted too */
/* Any length, pages crossed; a write faults before anything is written. 0 or OUTCOME_FAULT. */
int cpu_read(struct cpu *cpu, u64 linear, void *to, unsigned len, unsigned access);
int cpu_write(struct cpu *cpu, u64 linear, const void *from, unsigned len, unsigned access);
/*
 * Through a segment, as an operand: cpu_linear(), the alignment that MODE_ALIGN asks for, and then
 * the access. An operand of several words is aligned as one of them, a word being 1 to 8 bytes.
 */
int cpu_read_words(struct cpu *cpu, unsigned seg, u64 offset, void *to, unsigned len, unsigned word);
int cpu_write_words(struct cpu *cpu, unsigned seg, u64 offset, const void *from, unsigned len,
	unsigned word);
static inline int cpu_read_seg(struct cpu *cpu, unsigned seg, u64 offset, void *to, unsigned word)
{
	return cpu_read_words(cpu, seg, offset, to, word, word);
}
static inline int cpu_write_seg(struct cpu *cpu, unsigned seg, u64 offset, const void *from,
	unsigned word)
{
	return cpu_write_words(cpu, seg, offset, from, word, word);
}
/* 0, or OUTCOME_FAULT (#AC): for operands that reach memory by other ways. align: a power of two */
static inline int cpu_check_aligned(struct cpu *cpu, u64 linear, unsigned align)
{
	if (likely(!(cpu->mode & MODE_ALIGN) || !(linear & (align - 1u))))
		return 0;
	return cpu_fault_code(cpu, VEC_AC, 0);
}
/*
 * Host pointers for len bytes that are about to be read or written; where the bytes are not plain
 * RAM in one page, `host` is a buffer that cpu_access_commit() writes back. 0 or OUTCOME_FAULT.
 */
struct access {
	u8 *host;
	u64 linear;
	unsigned len;
	bool write;
	bool bounced;
	u64 bytes; /* which of the bounced ones are to be written: bit n for byte n */
	/* the bytes lie there as they do in the guest, for the host to check their alignment */
	u8 buffer[128] __attribute__((aligned(64)));
};
int cpu_access_begin(struct cpu *cpu, struct access *access, u64 linear, unsigned len,
	unsigned kind);
void cpu_access_commit(struct cpu *cpu, struct access *access);
/*
 * The same for insn's operand under a mask, masked.c: always a buffer, and elements that the mask
 * leaves out are not touched. address: linear, or is_offset: in insn->seg. align: of the whole
 * operand, 0: any.
 */
int cpu_access_begin_masked(struct cpu *cpu, struct access *access, const struct insn *insn,
	u64 address, bool is_offset, unsigned align, unsigned kind);
/* Whether len bytes may be accessed, nothing more: 0 or OUTCOME_FAULT. */
int cpu_probe(struct cpu *cpu, u64 linear, u64 len, unsigned access);

/* ---- paging: mmu.c ---- */
struct translation {
	u64 gpa;         /* in the machine's own address space (after both stages) */
	u64 span;        /* bytes of the first stage's page, which one INVLPG drops: 4K, 2M, 4M, 1G */
	bool writable;   /* a write needs no further walk: permitted, D set in every stage */
	bool global;
};
/*
 * Walks the page tables (both stages) with all checks, sets A and D with compare-exchange.
 * 0 or OUTCOME_FAULT with cpu->fault set. `user`: checked as CPL 3; `smap`: a supervisor data
 * access to a user page faults (AC clear or implicit).
 */
int mmu_translate(struct cpu *cpu, u64 linear, unsigned access, bool user, bool smap,
	struct translation *out);
/* Second stage alone: a guest-physical address the hypervisor's structures named. */
int mmu_translate_guest_physical(struct cpu *cpu, u64 gpa, unsigned access, bool in_walk,
	u64 linear, struct translation *out);
/*
 * Loads pdpte[] as MOV CR3 does for PAE paging outside long mode. OUTCOME_FAULT is #GP(0), or under
 * EPT one of its faults. Under AMD's nested paging it does nothing: there each walk reads them.
 */
int mmu_load_pdptes(struct cpu *cpu, u64 cr3);
/* Whether four PDPTEs that are not read by MOV CR3 (a VMCS's) may be, SDM3 27.3.1.6. */
bool mmu_pdptes_valid(const struct cpu *cpu, const u64 pdpte[4]);

/* ---- control registers: control.c; used by virt/ on world switches too ---- */
/* With checks and flushes as the MOV. 0 or OUTCOME_FAULT. */
int cpu_write_cr0(struct cpu *cpu, u64 value);
int cpu_write_cr3(struct cpu *cpu, u64 value);
int cpu_write_cr4(struct cpu *cpu, u64 value);
int cpu_write_efer(struct cpu *cpu, u64 value);
/* Which bits this CPU has; the rest are reserved. */
u64 cpu_cr4_valid(const struct cpu *cpu); /* what cpuid_table_new() found */
u64 cpu_efer_valid(const struct cpu *cpu);
/* Each of the eight memory types is one that exists. */
bool cpu_pat_valid(u64 pat);
/* 0, or OUTCOME_FAULT with #GP(0) */
int cpu_read_msr(struct cpu *cpu, u32 msr, u64 *value);
int cpu_write_msr(struct cpu *cpu, u32 msr, u64 value);

/* ---- CPUID: cpuid.c ---- */
enum nested_vendor { NESTED_OFF, NESTED_AMD, NESTED_INTEL };
/* Made once; the host is asked here and never again (CPUID costs microseconds on virtual hosts). */
/* Who the CPU says it is, a row of x86/cpu_models.def. */
struct cpu_model {
	const char *name;
	enum nested_vendor vendor;
	u32 signature;
	const char *brand;
};
const struct cpu_model *cpu_model_find(const char *name); /* NULL: there is none */
/* All the names, between commas; for messages. */
extern const char cpu_model_names[];
/* model: NULL: of the vendor that `nested` asks for, or of the host's. */
int cpuid_table_new(struct cpuid_table **table, enum nested_vendor nested,
	const struct cpu_model *model, unsigned cpus);
/* The vendor of the host's CPU: who a guest's CPU is of where nothing else was asked for. */
enum nested_vendor cpuid_host_vendor(void);
void cpuid_table_free(struct cpuid_table *table);
void cpu_cpuid(struct cpu *cpu, u32 leaf, u32 subleaf, u32 out[4]);
u8 cpuid_phys_bits(const struct cpuid_table *table); /* for cpu->phys_bits */
u32 cpuid_tsc_khz(const struct cpuid_table *table);  /* of the host, measured */
/* Whether the guest has a feature: leaf, register (0 EAX .. 3 EDX) of subleaf 0 and bit. */
bool cpu_has(const struct cpu *cpu, u32 leaf, unsigned reg, unsigned bit);
bool cpu_has_in(const struct cpu *cpu, u32 leaf, u32 subleaf, unsigned reg, unsigned bit);
/* What the manuals leave to the CPU, where its vendors differ and C has to do as the host would. */
bool cpu_host_is_intel(const struct cpu *cpu);
bool cpu_host_is_zen5(const struct cpu *cpu); /* AMD's Zen 5 or later */
/* The CPUID vendor the guest sees: some instructions differ. */
bool cpu_is_intel(const struct cpu *cpu);

/* ---- time ---- */
u64 cpu_tsc(const struct cpu *cpu); /* the guest's */
/* A guest's TSC becomes L1's times ratio (TSC_RATIO_ONE: 1.0) plus offset; and L1's again. */
void cpu_enter_guest_tsc(struct cpu *cpu, u64 ratio, u64 offset);
void cpu_leave_guest_tsc(struct cpu *cpu);
/* Of L1 and a running guest with it; the local APIC's deadline follows. 0 at reset, or by WRMSR. */
void cpu_set_tsc(struct cpu *cpu, u64 value);
/* When L1's TSC reaches a value, in CLOCK_MONOTONIC ns, rounded up; `cpu` is a struct cpu. Fits
 * struct lapic's tsc_to_ns. Any thread that holds the machine lock. */
u64 cpu_tsc_to_ns(void *cpu, u64 tsc);

/* ---- FPU: fpu.c ---- */
/* Moves the guest's vector and x87 state out of the host's registers, so that libc may use them;
 * cpu_unpark_fpu() brings it back. Both are cheap to call twice. */
void cpu_park_fpu(struct cpu *cpu);
void cpu_unpark_fpu(struct cpu *cpu);
/* Allocates fpu_area, fills host_xcr0, leaves the CPU parked and its FPU reset; -errno. */
int cpu_fpu_new(struct cpu *cpu);
void cpu_fpu_free(struct cpu *cpu);
/* Power-up state of the FPU, APM2 table 14-1; INIT leaves it alone. */
void cpu_fpu_reset(struct cpu *cpu);
/* And then FNINIT, as firmware does: all exceptions masked, all registers empty. */
void cpu_fpu_init(struct cpu *cpu);

/* ---- what the vCPU needs of the machine it is in; machine/ defines them, see machine.h ---- */
void machine_lock(struct machine *machine);
void machine_unlock(struct machine *machine);
void machine_kick(struct cpu *cpu);
void machine_wait(struct cpu *cpu);
/* At that CLOCK_MONOTONIC ns CPU_PIN_TIMER is set; one such moment a vCPU. Takes the lock. */
void machine_wake_at(struct cpu *cpu, u64 ns);
bool machine_is_leaving(const struct machine *machine);
/* A triple fault, or shutdown for another reason: the machine resets or ends. */
void machine_cpu_shutdown(struct cpu *cpu);

/* ---- devices: io.c: parks the FPU, takes the machine lock, accesses the space ---- */
u64 cpu_io_read(struct cpu *cpu, struct space *space, u64 address, unsigned size);
void cpu_io_write(struct cpu *cpu, struct space *space, u64 address, unsigned size, u64 value);

#endif
