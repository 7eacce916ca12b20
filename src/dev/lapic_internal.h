/* SPDX-License-Identifier: MIT */
/* What lapic.c, lapic_timer.c and apic_bus.c share; for nobody else. Names as in SDM3 11. */
#ifndef DEV_LAPIC_INTERNAL_H
#define DEV_LAPIC_INTERNAL_H

#include "dev/lapic.h"

/* MSR APIC_BASE, SDM3 figure 11-26 */
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2 BIT(10)
#define APIC_BASE_ENABLE BIT(11)

/* Registers: MMIO offset / 16, and MSR number - 800h. SDM3 tables 11-1 and 11-6 */
enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR_LOW = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT = 0x32,
	REG_TIMER_INITIAL = 0x38,
	REG_TIMER_CURRENT = 0x39,
	REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR };

#define LVT_VECTOR 0xffu
#define LVT_MODE 0x700u
#define LVT_POLARITY (1u << 13)
#define LVT_LEVEL (1u << 15)
#define LVT_MASKED (1u << 16)
#define LVT_TIMER_MODE (3u << 17)
#define LVT_TIMER_ONE_SHOT (0u << 17)
#define LVT_TIMER_PERIODIC (1u << 17)
#define LVT_TIMER_DEADLINE (2u << 17)

/* Delivery modes of LVT, ICR, MSI and the IO-APIC */
enum {
	MODE_FIXED = 0,
	MODE_LOWEST = 1,
	MODE_SMI = 2,
	MODE_NMI = 4,
	MODE_INIT = 5,
	MODE_SIPI = 6,
	MODE_EXTINT = 7,
};

#define SVR_ENABLE BIT(8)
#define SVR_WRITABLE MASK(9, 0)

#define ICR_LOGICAL BIT(11)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)
#define ICR_SHORTHAND MASK(19, 18)
#define ICR_WRITABLE \
	(MASK(7, 0) | MASK(10, 8) | ICR_LOGICAL | ICR_ASSERT | ICR_LEVEL | ICR_SHORTHAND)

#define ESR_SEND_ILLEGAL_VECTOR BIT(5)
#define ESR_RECEIVE_ILLEGAL_VECTOR BIT(6)
#define ESR_ILLEGAL_REGISTER BIT(7)

static inline bool lapic_x2apic(const struct lapic *lapic)
{
	return lapic->base & APIC_BASE_X2;
}

static inline void lapic_cpu_pin(struct lapic *lapic, unsigned pin, bool level)
{
	if (lapic->cpu.set)
		lapic->cpu.set(lapic->cpu.listener, pin, level);
}

/* lapic.c */
u8 lapic_ppr(const struct lapic *lapic);
void lapic_accept(struct lapic *lapic, u8 vector, bool level);
void lapic_error(struct lapic *lapic, u32 bit);
void lapic_update(struct lapic *lapic); /* tells the CPU's INTR pin */
const struct io_ops *lapic_window_ops(void);

/* apic_bus.c */
void lapic_send(struct lapic *lapic); /* what ICR says */
void apic_bus_move_window(struct apic_bus *bus, u64 base);

/* lapic_timer.c */
void lapic_timer_init(struct lapic *lapic);
void lapic_timer_reset(struct lapic *lapic);
u32 lapic_timer_current(const struct lapic *lapic);
void lapic_timer_write_lvt(struct lapic *lapic, u32 value);
void lapic_timer_write_initial(struct lapic *lapic, u32 value);
void lapic_timer_write_divide(struct lapic *lapic, u32 value);
void lapic_timer_write_deadline(struct lapic *lapic, u64 value);

#endif
