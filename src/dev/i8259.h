/* SPDX-License-Identifier: MIT */
/*
 * The pair of 8259A interrupt controllers with the ELCR of the PIIX. Plug at port 20h: it takes
 * 20h-21h, A0h-A1h and 4D0h-4D1h.
 */
#ifndef DEV_I8259_H
#define DEV_I8259_H

#include "dev/device.h"

struct i8259_chip {
	u8 irr, imr, isr;
	u8 lines;         /* the pins' levels */
	u8 elcr;          /* 1: level-triggered */
	u8 base;          /* ICW2: vector of IR0 */
	u8 icw1, icw3, icw4;
	u8 init_step;     /* 0: ready; 2..4: the ICW that is expected */
	u8 lowest;        /* the pin with the lowest priority: 7 unless rotated */
	bool read_isr, poll, special_mask, rotate_auto_eoi;
};

struct i8259 {
	/* wiring */
	struct line intr; /* the master's INT: to LINT0 of the first local APIC */
	/* state */
	struct i8259_chip chip[2];
	bool intr_level;
};

extern const struct device_class i8259_class;

/* An input pin 0..15 (2 is the cascade and takes nothing); fits struct line, pin: the IRQ. */
void i8259_set_irq(void *pic, unsigned irq, bool level);
/* The CPU's INTA cycle: the vector, that of IR7 where the request has gone (spurious). */
int i8259_acknowledge(void *pic);
/* The vector that i8259_acknowledge() would give now; -1: INT is low. */
int i8259_pending_vector(void *pic);

#endif
