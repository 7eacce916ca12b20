/* SPDX-License-Identifier: MIT */
/*
 * A vCPU with RAM and tables but without an engine: tests call cpu_exec() and cpu_poll_events()
 * by hand. RAM is mapped one to one; in long mode by a 1 GiB identity map.
 */
#ifndef TESTS_CPU_RIG_H
#define TESTS_CPU_RIG_H

#include "cpu/cpu.h"
#include "cpu/tlb.h"
#include "machine/machine.h"

#define RIG_GDT 0x1000
#define RIG_IDT 0x2000
#define RIG_TSS 0x4000
#define RIG_TSS2 0x5000
#define RIG_TABLES 0x10000
#define RIG_STACK0 0x8000 /* top of level 0's */
#define RIG_STACK3 0x9000
#define RIG_IST 0xa000
#define RIG_HANDLER 0x30000 /* vector v: RIG_HANDLER + 16 * v */

/* The GDT of rig_protected() and rig_long(). */
enum {
	SEL_CODE0 = 0x08,
	SEL_DATA0 = 0x10,
	SEL_CODE3 = 0x18 | 3,
	SEL_DATA3 = 0x20 | 3,
	SEL_TSS = 0x28,    /* and 0x30 in long mode */
	SEL_ABSENT = 0x38, /* data, not present */
	SEL_GATE = 0x40,   /* call gate to CODE0; and 0x48 in long mode */
	SEL_TSS2 = 0x50,
	SEL_EXECUTE = 0x58, /* code, execute-only, level 0 */
	SEL_COMPAT3 = 0x60 | 3,
	SEL_SMALL = 0x68,   /* data of 0x1000 bytes at 0x20000 */
};

struct rig {
	struct machine machine;
	struct cpu *cpu;
	int vector; /* what the interrupt controller has, or -1 */
};

int rig_setup(void **state);
int rig_teardown(void **state);

void rig_real(struct rig *rig);
void rig_protected(struct rig *rig);
void rig_long(struct rig *rig);
/* Level 3 by the segments of the mode, on RIG_STACK3. */
void rig_user(struct rig *rig);

void rig_put(struct rig *rig, u64 at, u64 value, unsigned size);
u64 rig_get(struct rig *rig, u64 at, unsigned size);
void rig_gate(struct rig *rig, unsigned vector, unsigned type, unsigned dpl, unsigned ist);
/* The interrupt controller raises a vector. */
void rig_interrupt(struct rig *rig, int vector);

/* One instruction: its outcome, with a fault delivered as the engine would. */
int rig_exec(struct rig *rig, struct insn insn);
/* What the engine does between instructions. */
bool rig_boundary(struct rig *rig);

#endif
