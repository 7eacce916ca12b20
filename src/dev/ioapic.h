/* SPDX-License-Identifier: MIT */
/* The 82093AA IO-APIC with the EOI register of its successors. Plug at FEC00000h. */
#ifndef DEV_IOAPIC_H
#define DEV_IOAPIC_H

#include "dev/device.h"

#define IOAPIC_PINS 24

struct apic_bus;

struct ioapic {
	/* wiring */
	struct apic_bus *bus; /* bus->eoi = ioapic_eoi, bus->eoi_listener = this */
	u8 first_id;          /* APIC ID after reset, 0..15 */
	/* state */
	u8 id, select;
	u64 redirection[IOAPIC_PINS];
	u32 lines;            /* the pins' levels */
	u32 irr;              /* edges that came while masked or unserved */
};

extern const struct device_class ioapic_class;

/* An input pin 0..23; fits struct line. The board maps ISA IRQ 0 to pin 2. */
void ioapic_set_irq(void *ioapic, unsigned pin, bool level);
/* A local APIC's EOI of a level-triggered vector. */
void ioapic_eoi(void *ioapic, u8 vector);

#endif
