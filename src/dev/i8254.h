/* SPDX-License-Identifier: MIT */
/*
 * The 8254 timer and port 61h. Plug at port 40h: it takes 40h-43h and 61h. Channel 0 drives a
 * line (ISA IRQ 0), channel 2 is read through port 61h; nothing sounds.
 */
#ifndef DEV_I8254_H
#define DEV_I8254_H

#include "base/loop.h"
#include "dev/device.h"

#define I8254_HZ 1193182

struct i8254_channel {
	u8 mode;          /* 0..5 */
	u8 access;        /* 1: low byte, 2: high byte, 3: both */
	bool bcd;
	bool gate;
	bool write_high, read_high; /* the next byte of `both` is the high one */
	u8 write_low;     /* the low byte of a count that is half written */
	bool null_count;  /* a count was written, or is awaited, and does not count yet */
	bool running;     /* counting since `start` */
	u32 count;        /* what it counts from: 1..65536, in ticks also where bcd; 0: none yet */
	u32 next_count;   /* takes over at next_start, or at the next trigger; 0: none */
	u64 start;        /* ns */
	u64 next_start;   /* ns; 0: by a trigger */
	u64 held;         /* ticks counted when the gate went low in mode 0 or 4 */
	u8 latched;       /* bytes of latch[] that are still to be read */
	u8 latch[2];      /* in the order they will be read, the last one at the end */
	bool status_latched;
	u8 status;
};

struct i8254 {
	/* wiring */
	struct loop *loop;
	struct line irq;   /* OUT of channel 0: pulses low for every tick */
	/* state */
	struct i8254_channel channel[3];
	u8 port61;         /* the bits that were written: gate 2, speaker, check enables */
	struct loop_timer timer;
};

extern const struct device_class i8254_class;

#endif
