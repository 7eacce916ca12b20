/* SPDX-License-Identifier: MIT */
/*
 * The HPET: one block of three timers over a counter of 100 MHz. Plug at its address: it takes 1 KiB.
 */
#ifndef DEV_HPET_H
#define DEV_HPET_H

#include "base/loop.h"
#include "dev/device.h"

#define HPET_LEN 0x400
#define HPET_ID 0x8086a201u /* low half of the capabilities, for ACPI's table */
#define HPET_TIMERS 3
#define HPET_MIN_TICK 2000 /* 20 us: no timer interrupts more often */
#define HPET_ROUTE_FIRST 20 /* pins of the IO-APIC that timers can be routed to */
#define HPET_ROUTES 4

struct hpet;

struct hpet_timer {
	struct hpet *hpet;
	u64 config;       /* what can be written of it */
	u64 comparator;
	u64 period;       /* ticks */
	bool armed;       /* `due` is a match that will come */
	u64 due;          /* value of the counter */
	bool high;        /* its line is up */
	struct loop_timer timer;
};

struct hpet {
	/* wiring */
	struct loop *loop;
	struct line legacy[2];           /* ISA IRQ 0 and 8, when they are replaced */
	struct line route[HPET_ROUTES];
	/* The 8254's and the RTC's interrupts are to go nowhere, or to be theirs again. */
	void (*replace)(void *arg, bool on);
	void *arg;
	/* state */
	u64 config;
	u64 status;       /* of level-triggered timers */
	u64 base;         /* the counter at `start`, or while it is halted */
	u64 start;        /* ns */
	struct hpet_timer timers[HPET_TIMERS];
};

extern const struct device_class hpet_class;

#endif
