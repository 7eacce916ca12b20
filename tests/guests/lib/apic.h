/* SPDX-License-Identifier: MIT */
/* The local APIC, xAPIC form. apic.c. */
#ifndef APIC_H
#define APIC_H

#include "guest.h"

#define APIC_BASE 0xfee00000ull
static inline u32 apic_read(u32 reg) { return *(volatile u32 *)(APIC_BASE + reg); }
static inline void apic_write(u32 reg, u32 value) { *(volatile u32 *)(APIC_BASE + reg) = value; }
void apic_enable(void);
/* Sends itself a fixed interrupt, or with vector 2 an NMI. */
void apic_self(unsigned vector);
/* INIT, to its own ID. */
void apic_init_self(void);
static inline void apic_eoi(void) { apic_write(0xb0, 0); }

#endif
