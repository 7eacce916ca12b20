/* SPDX-License-Identifier: MIT */
/* A wire from a device to whoever listens: interrupt pins, the CPU's INTR, NMI and INIT pins. */
#ifndef MEM_LINE_H
#define MEM_LINE_H

#include "base/types.h"

struct line {
	void (*set)(void *listener, unsigned pin, bool level); /* NULL: nobody listens */
	void *listener;
	unsigned pin;
};

static inline void line_set(const struct line *line, bool level)
{
	if (line->set)
		line->set(line->listener, line->pin, level);
}

/*
 * The vCPU's input pins, as `pin` of cpu_line_set(). SIPI's vector comes in bits 15:8. TIMER is no
 * pin of the real thing: it ends the wait that machine_wake_at() began.
 */
enum { CPU_PIN_INTR, CPU_PIN_NMI, CPU_PIN_INIT, CPU_PIN_SIPI, CPU_PIN_SMI, CPU_PIN_TIMER };

/*
 * What a vCPU asks of its local interrupt controller. The functions are called on the vCPU's
 * thread with the machine lock held, except where they say otherwise.
 */
struct intc_ops {
	/* The vector to deliver, acknowledged (INTA); -1: it was spurious and has gone. */
	int (*acknowledge)(void *intc);
	/* The vector that acknowledge() would give, without taking it; -1: none. */
	int (*pending_vector)(void *intc);
	/* End of interrupt, as by a write to the EOI register in whichever mode it is. */
	void (*eoi)(void *intc);
	/* CR8: the upper four bits of TPR. */
	u64 (*read_cr8)(void *intc);
	void (*write_cr8)(void *intc, u64 value);
	/* APIC_BASE, TSC_DEADLINE, x2APIC MSRs. 0: done; -1: the CPU raises #GP(0). */
	int (*read_msr)(void *intc, u32 msr, u64 *value);
	int (*write_msr)(void *intc, u32 msr, u64 value);
	/* INIT leaves the APIC ID, all else as after reset. */
	void (*init)(void *intc);
};

#endif
