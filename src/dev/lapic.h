/* SPDX-License-Identifier: MIT */
/*
 * Local APICs, xAPIC and x2APIC, and the bus that joins them, the IO-APIC and message-signalled
 * interrupts.
 *
 * The board makes one struct apic_bus, plugs lapic_window_class (whose device is the bus) at
 * FEE00000h, makes one struct lapic a vCPU, fills its wiring, calls lapic_join() and hands
 * lapic_ops and the lapic to the cpu as intc_ops and intc. Machine lock held throughout.
 */
#ifndef DEV_LAPIC_H
#define DEV_LAPIC_H

#include "base/loop.h"
#include "dev/device.h"

#define LAPIC_BASE 0xfee00000u
#define LAPIC_TIMER_HZ 1000000000u /* the timer's clock before its divider */
#define APIC_BUS_MAX 256

struct lapic;

struct apic_bus {
	/* wiring */
	/* An EOI of a level-triggered vector: ioapic_eoi. */
	void (*eoi)(void *listener, u8 vector);
	void *eoi_listener;
	/* Which vCPU's thread is calling, as index into lapic[]; NULL: always 0. */
	unsigned (*current)(void *arg);
	void *current_arg;
	struct space *memory; /* where the window is plugged; NULL: it does not follow APIC_BASE */
	/* state */
	struct lapic *lapic[APIC_BUS_MAX];
	unsigned count;
	unsigned turn;        /* who was last chosen by lowest priority */
	u64 window;           /* where the registers stand */
};

struct lapic {
	/* wiring */
	struct apic_bus *bus;
	struct loop *loop;
	u32 id;               /* initial APIC ID */
	bool bsp;
	/* The CPU's pins: cpu_pin_set and the cpu; `pin` of the line is not used. */
	struct line cpu;
	/* When the guest's TSC reaches a value, in CLOCK_MONOTONIC ns, rounded up. The past: any
	 * time not after now. Beyond all times: UINT64_MAX. */
	u64 (*tsc_to_ns)(void *arg, u64 tsc);
	void *tsc_arg;
	/* The 8259 behind ExtINT: i8259_acknowledge, i8259_pending_vector; NULL: none. */
	int (*extint_acknowledge)(void *pic);
	int (*extint_pending)(void *pic);
	void *pic;
	/* Physical address width, for reserved bits of APIC_BASE. */
	u8 phys_bits;
	/* state */
	u64 base;             /* MSR APIC_BASE */
	u32 xapic_id;         /* what the guest may write in xAPIC mode, bits 31:24 */
	u32 tpr, ldr, dfr, svr;
	u32 isr[8], tmr[8], irr[8];
	u32 esr, errors;      /* as latched; gathered since */
	u64 icr;
	u32 lvt[6];           /* timer, thermal, performance, LINT0, LINT1, error */
	u32 timer_initial, timer_divide;
	u64 timer_start;      /* ns when the count was loaded */
	bool timer_expired;   /* periodic mode: set while the count was at its end */
	u64 tsc_deadline;
	bool lint[2];         /* the pins' levels */
	bool extint;          /* an ExtINT message came and was not acknowledged yet */
	bool intr;            /* what the CPU's INTR pin was told */
	struct loop_timer timer;
};

extern const struct device_class lapic_window_class; /* device: struct apic_bus */
extern const struct device_class lapic_class;        /* state, reset, stop; it has no ranges */
extern const struct intc_ops lapic_ops;

/* Adds it to its bus as the next index and resets it. -ENOSPC */
int lapic_join(struct lapic *lapic);
/* LINT0 (pin 0: the 8259's INT) and LINT1 (pin 1: NMI); fits struct line. */
void lapic_set_lint(void *lapic, unsigned pin, bool level);

/*
 * A message-signalled interrupt: a 32-bit write of data to FEExxxxxh, SDM3 11.11, APM2 16. What
 * PCI MSI and MSI-X, the IO-APIC and HPET deliver through. Other addresses are ignored.
 */
void apic_message(struct apic_bus *bus, u64 address, u32 data);

#endif
