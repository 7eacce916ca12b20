/* SPDX-License-Identifier: MIT */
/*
 * Descriptors and stacks, for the files of cpu/ that load segments and write frames: APM2 4.7,
 * 4.8 (legacy and long-mode descriptors) and 8.7 to 8.9 (frames).
 */
#ifndef CPU_DESCRIPTOR_H
#define CPU_DESCRIPTOR_H

#include "cpu/handlers.h"

#define SELECTOR_RPL(sel) ((sel) & 3)
#define SELECTOR_TI 4
#define SELECTOR_NULL(sel) (((sel) & 0xfffc) == 0)
/* In an error code: the selector's index and table, APM2 8.4.1. */
#define SELECTOR_ERROR(sel) ((sel) & 0xfffcu)
#define ERROR_EXT 1u
#define ERROR_IDT 2u

/* Types of system descriptors, APM2 tables 4-5 and 4-6. */
enum {
	SYS_TSS16 = 1,
	SYS_LDT = 2,
	SYS_TSS16_BUSY = 3,
	SYS_CALL_GATE16 = 4,
	SYS_TASK_GATE = 5,
	SYS_INTR_GATE16 = 6,
	SYS_TRAP_GATE16 = 7,
	SYS_TSS32 = 9,      /* 64-bit in long mode */
	SYS_TSS32_BUSY = 11,
	SYS_CALL_GATE32 = 12,
	SYS_INTR_GATE32 = 14,
	SYS_TRAP_GATE32 = 15,
};

/* A descriptor as it lies in its table; high is only read of 16-byte ones. */
struct descriptor {
	u64 low;
	u64 high;
	u64 linear; /* where it lies */
	u16 sel;
};

static inline u16 descriptor_attr(const struct descriptor *desc)
{
	return ((desc->low >> 40) & 0xff) | ((desc->low >> 44) & 0xf00);
}

static inline unsigned attr_dpl(u16 attr)
{
	return (attr & SEG_DPL) >> SEG_DPL_SHIFT;
}

/* For code and data segments, and for system segments by their type alone. */
static inline bool attr_is_code(u16 attr)
{
	return (attr & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}

static inline bool attr_is_conforming(u16 attr)
{
	return (attr & (SEG_S | SEG_CODE | SEG_CONFORMING)) == (SEG_S | SEG_CODE | SEG_CONFORMING);
}

static inline bool attr_is_writable(u16 attr)
{
	return (attr & (SEG_S | SEG_CODE | SEG_WRITABLE)) == (SEG_S | SEG_WRITABLE);
}

/* The system type, or 0 (which is reserved) for a code or data segment. */
static inline unsigned attr_system_type(u16 attr)
{
	return attr & SEG_S ? 0 : attr & SEG_TYPE;
}

/* The hidden part, as loading puts it into the register. */
static inline void segment_from_descriptor(struct segment *seg, u16 sel,
	const struct descriptor *desc)
{
	u64 low = desc->low;
	u32 limit = (low & 0xffff) | ((low >> 32) & 0xf0000);

	seg->sel = sel;
	seg->attr = descriptor_attr(desc);
	seg->limit = seg->attr & SEG_G ? limit << 12 | 0xfff : limit;
	seg->base = ((low >> 16) & 0xffffff) | ((low >> 32) & 0xff000000);
}

/*
 * Reads the 8-byte descriptor of a selector that is not null. Beyond the table's limit it raises
 * `vector` with the selector and ext as error code. 0 or OUTCOME_FAULT.
 */
int descriptor_read(struct cpu *cpu, u16 sel, u8 vector, u32 ext, struct descriptor *desc);
/* Reads on: the second half of a 16-byte system descriptor. */
int descriptor_read_high(struct cpu *cpu, u8 vector, u32 ext, struct descriptor *desc);
/* Sets the accessed bit of a code or data descriptor where it is clear. */
int descriptor_set_accessed(struct cpu *cpu, struct descriptor *desc);
/* Sets or clears a TSS descriptor's busy bit. */
int descriptor_set_busy(struct cpu *cpu, struct descriptor *desc, bool busy);

/*
 * The check of cpu_linear() on any segment, loaded or about to be. Returns whether the access is
 * permitted; long64: 64-bit mode's rules, in which only FS and GS have a base and canonical form
 * takes the limit's place.
 */
bool segment_check(const struct cpu *cpu, const struct segment *seg, bool has_base, bool long64,
	u64 offset, u64 len, bool write, u64 *linear);

/* Real and virtual-8086 mode: the selector is the base. */
static inline void segment_load_real(struct cpu *cpu, unsigned index, u16 sel)
{
	struct segment *seg = &cpu->seg[index];

	seg->sel = sel;
	seg->base = (u64)sel << 4;
}
void segment_load_v86(struct cpu *cpu, unsigned index, u16 sel);

/* CS, SS and stack: what pushes and pops obey. */
static inline u64 stack_mask(const struct cpu *cpu)
{
	if (cpu->mode & MODE_CODE64)
		return ~0ull;
	return cpu->mode & MODE_STACK32 ? 0xffffffff : 0xffff;
}

/* RSP with a new low part under the mask; 32-bit stacks clear the upper half as any write does. */
static inline u64 stack_wrap(u64 old, u64 new, u64 mask)
{
	return mask == 0xffff ? (old & ~mask) | (new & mask) : new & mask;
}

/* Writes below *rsp and moves it; the caller commits *rsp to the register when all is done. */
int stack_push(struct cpu *cpu, u64 *rsp, u64 value, unsigned size);
int stack_pop(struct cpu *cpu, u64 *rsp, u64 *value, unsigned size);

/* A stack that is about to become the current one: call gates, interrupts. */
struct new_stack {
	struct segment ss;
	u64 rsp;
	u64 mask;
	bool long64;
	u8 cpl;
};
/* vector, error: what is raised when the segment forbids the access. */
int new_stack_write(struct cpu *cpu, struct new_stack *stack, const void *from, unsigned len,
	u32 error);

/*
 * Stack pointer and stack segment for an inner level out of the current TSS, with the checks of
 * APM2 8.7.3. Not for long mode. 0 or OUTCOME_FAULT.
 */
int tss_inner_stack(struct cpu *cpu, unsigned cpl, u32 ext, struct new_stack *stack);
/* The same in long mode: RSP0..2, or IST1..7 with ist. */
int tss_long_stack(struct cpu *cpu, unsigned cpl, unsigned ist, u32 ext, u64 *rsp);

/* Checks a stack segment for CPL `cpl`, descriptor read already; raises vector. */
int stack_segment_check(struct cpu *cpu, u16 sel, unsigned cpl, u8 vector, u32 ext,
	struct descriptor *desc);

/* Whether a code segment may be entered at rip: limit or canonical form. 0 or #GP(0). */
int code_target_check(struct cpu *cpu, const struct segment *cs, u64 rip);

/* The code segment that RET or IRET goes back to, with all checks, APM3 RET (far). */
int return_code_segment(struct cpu *cpu, u16 sel, struct segment *cs);
/* And the stack segment, for a return to `cs` at level cpl. */
int return_stack_segment(struct cpu *cpu, u16 sel, const struct segment *cs, unsigned cpl,
	struct segment *ss);
/* RSP as a return to SS of an outer level leaves it. */
u64 return_stack_pointer(const struct cpu *cpu, const struct segment *cs, const struct segment *ss,
	u64 rsp);
/* n words of `size` bytes at `skip` above the stack's top, nothing popped. 0 or OUTCOME_FAULT. */
int stack_peek(struct cpu *cpu, unsigned skip, unsigned n, unsigned size, u64 *words);

/* Makes data segments that an outer level must not see null, APM2 4.6.2 and IRET, RET. */
void segments_leave_inner(struct cpu *cpu);

/* ---- task.c ---- */
enum task_source { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };
/*
 * Switches to the task of a TSS selector. next_rip: what the old task's EIP becomes. An enum
 * outcome: OUTCOME_JUMP when done or intercepted.
 */
int task_switch(struct cpu *cpu, const struct insn *insn, u16 sel, enum task_source source,
	u64 next_rip, const struct event *event);

/* ---- event.c ---- */
/* STI, MOV SS and VM entries: the instruction at `rip` runs before an interrupt may come. */
static inline void cpu_shadow_begin(struct cpu *cpu, u64 rip, bool mov_ss)
{
	cpu->intr_shadow = true;
	cpu->shadow_seen = false;
	cpu->shadow_mov_ss = mov_ss;
	cpu->shadow_rip = rip;
}

static inline void cpu_shadow_end(struct cpu *cpu)
{
	cpu->intr_shadow = cpu->shadow_seen = cpu->shadow_mov_ss = false;
}

/* Whether something waits that IF alone may hold back. */
static inline bool cpu_events_waiting(const struct cpu *cpu)
{
	return __atomic_load_n(&cpu->pins, __ATOMIC_RELAXED) || cpu->virt_pending ||
	       cpu->nmi_pending;
}

/* RFLAGS.IF or something else that held an event back was cleared: look soon if one is there. */
static inline void cpu_events_unmasked(struct cpu *cpu)
{
	if (unlikely(cpu_events_waiting(cpu)))
		__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_RELAXED);
}

/* Ends the instruction and its block: RIP goes on, the engine looks at modes and events. */
static inline int cpu_end_block(struct cpu *cpu, const struct insn *insn)
{
	cpu->rip += insn->len;
	return OUTCOME_JUMP;
}

/* In VME's virtual-8086 mode and PVI, flags as software sees them: IF is VIF, IOPL 3. */
u64 virtual_flags(const struct cpu *cpu);

#endif
