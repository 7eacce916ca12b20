/* SPDX-License-Identifier: MIT */
/*
 * The local APIC, SDM3 chapter 11 (10 in older editions) and APM2 chapter 16: registers in xAPIC
 * and x2APIC mode, priorities, LVT, what the CPU asks for. Delivery between APICs is in
 * apic_bus.c, the timer in lapic_timer.c.
 *
 * Not modelled: remote read, focus processor checking, CMCI and AMD's extended register space,
 * suppression of EOI broadcasts. Arbitration (APR) is that of an idle bus. Thermal and performance
 * entries are kept and never raised.
 */
#include <errno.h>

#include "base/log.h"
#include "dev/lapic.h"
#include "dev/lapic_internal.h"
#include "x86/regs.h"

/* What software may write of each LVT entry. Remote IRR and delivery status are read-only. */
static const u32 lvt_writable[6] = {
	[LVT_TIMER] = LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
	[LVT_THERMAL] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
	[LVT_PERF] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
	[LVT_LINT0] = LVT_VECTOR | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASKED,
	[LVT_LINT1] = LVT_VECTOR | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASKED,
	[LVT_ERROR] = LVT_VECTOR | LVT_MASKED,
};

/* ---- vectors and priorities ---- */

static int highest(const u32 bits[8])
{
	for (int i = 7; i >= 0; i--) {
		if (bits[i])
			return i * 32 + 31 - __builtin_clz(bits[i]);
	}
	return -1;
}

static void set_bit(u32 bits[8], u8 vector)
{
	bits[vector / 32] |= 1u << vector % 32;
}

static void clear_bit(u32 bits[8], u8 vector)
{
	bits[vector / 32] &= ~(1u << vector % 32);
}

static bool test_bit(const u32 bits[8], u8 vector)
{
	return bits[vector / 32] >> vector % 32 & 1;
}

/* SDM3 11.8.3.1 */
u8 lapic_ppr(const struct lapic *lapic)
{
	int served = highest(lapic->isr);
	u8 class = served < 0 ? 0 : served & 0xf0;

	return (lapic->tpr & 0xf0) >= class ? lapic->tpr : class;
}

/* The vector that may interrupt the CPU now; -1: none. */
static int deliverable(const struct lapic *lapic)
{
	int vector = highest(lapic->irr);

	return vector >= 0 && (vector & 0xf0) > (lapic_ppr(lapic) & 0xf0) ? vector : -1;
}

static bool extint_wanted(const struct lapic *lapic)
{
	u32 lvt = lapic->lvt[LVT_LINT0];

	/* Disabled, it is not there: LINT0 is the CPU's INTR pin. SDM3 11.4.3 */
	if (!(lapic->base & APIC_BASE_ENABLE))
		return lapic->lint[0];
	if (lapic->extint)
		return true;
	return lapic->lint[0] && !(lvt & LVT_MASKED) && (lvt & LVT_MODE) == MODE_EXTINT << 8;
}

void lapic_update(struct lapic *lapic)
{
	bool intr = deliverable(lapic) >= 0 || extint_wanted(lapic);

	if (intr != lapic->intr) {
		lapic->intr = intr;
		lapic_cpu_pin(lapic, CPU_PIN_INTR, intr);
	}
}

void lapic_error(struct lapic *lapic, u32 bit)
{
	u32 lvt = lapic->lvt[LVT_ERROR];

	/* One interrupt for each kind until ESR is written: an error vector below 16 ends here. */
	if (lapic->errors & bit)
		return;
	lapic->errors |= bit;
	if (!(lvt & LVT_MASKED))
		lapic_accept(lapic, lvt & LVT_VECTOR, false);
}

/* A fixed interrupt arrives, SDM3 11.8.4. */
void lapic_accept(struct lapic *lapic, u8 vector, bool level)
{
	if (vector < 16) {
		lapic_error(lapic, ESR_RECEIVE_ILLEGAL_VECTOR);
		return;
	}
	set_bit(lapic->irr, vector);
	if (level)
		set_bit(lapic->tmr, vector);
	else
		clear_bit(lapic->tmr, vector);
	if (trace_on(TRACE_irq))
		trace_print(TRACE_irq, "lapic %u: vector %#x", lapic->id, vector);
	lapic_update(lapic);
}

static void write_eoi(struct lapic *lapic)
{
	int vector = highest(lapic->isr);

	if (vector < 0)
		return;
	clear_bit(lapic->isr, vector);
	if (test_bit(lapic->tmr, vector) && lapic->bus->eoi)
		lapic->bus->eoi(lapic->bus->eoi_listener, vector);
	lapic_update(lapic);
}

void lapic_set_lint(void *device, unsigned pin, bool level)
{
	struct lapic *lapic = device;
	bool rose = level && !lapic->lint[pin & 1];
	u32 lvt = lapic->lvt[pin & 1 ? LVT_LINT1 : LVT_LINT0];

	lapic->lint[pin & 1] = level;
	if (!(lapic->base & APIC_BASE_ENABLE)) {
		if (pin & 1 && rose)
			lapic_cpu_pin(lapic, CPU_PIN_NMI, true);
	} else if (rose && !(lvt & LVT_MASKED)) {
		switch (lvt >> 8 & 7) {
		case MODE_FIXED:
			/* LINT1 is always edge-sensitive, SDM3 11.5.1. */
			lapic_accept(lapic, lvt & LVT_VECTOR, !(pin & 1) && (lvt & LVT_LEVEL));
			break;
		case MODE_SMI:
			lapic_cpu_pin(lapic, CPU_PIN_SMI, true);
			break;
		case MODE_NMI:
			lapic_cpu_pin(lapic, CPU_PIN_NMI, true);
			break;
		case MODE_INIT:
			lapic_cpu_pin(lapic, CPU_PIN_INIT, true);
			break;
		}
	}
	lapic_update(lapic);
}

/* ---- registers ---- */

static u32 logical_id(const struct lapic *lapic)
{
	if (!lapic_x2apic(lapic))
		return lapic->ldr;
	/* SDM3 11.12.10.2: the cluster in 31:16, one bit of 16 below. */
	return lapic->id >> 4 << 16 | 1u << (lapic->id & 15);
}

/* False: there is no such register. */
static bool read_register(struct lapic *lapic, unsigned reg, u32 *value)
{
	switch (reg) {
	case REG_ID:
		*value = lapic_x2apic(lapic) ? lapic->id : lapic->xapic_id;
		return true;
	case REG_VERSION:
		*value = 0x14 | (ARRAY_SIZE(lapic->lvt) - 1) << 16;
		return true;
	case REG_TPR:
		*value = lapic->tpr;
		return true;
	case REG_APR:
	case REG_PPR:
		*value = lapic_ppr(lapic);
		return true;
	case REG_EOI:
	case REG_RRD:
		*value = 0;
		return true;
	case REG_LDR:
		*value = logical_id(lapic);
		return true;
	case REG_DFR:
		*value = lapic->dfr;
		return true;
	case REG_SVR:
		*value = lapic->svr;
		return true;
	case REG_ISR ... REG_ISR + 7:
		*value = lapic->isr[reg - REG_ISR];
		return true;
	case REG_TMR ... REG_TMR + 7:
		*value = lapic->tmr[reg - REG_TMR];
		return true;
	case REG_IRR ... REG_IRR + 7:
		*value = lapic->irr[reg - REG_IRR];
		return true;
	case REG_ESR:
		*value = lapic->esr;
		return true;
	case REG_ICR_LOW:
		*value = lapic->icr;
		return true;
	case REG_ICR_HIGH:
		*value = lapic->icr >> 32;
		return true;
	case REG_LVT ... REG_LVT + 5:
		*value = lapic->lvt[reg - REG_LVT];
		return true;
	case REG_TIMER_INITIAL:
		*value = lapic->timer_initial;
		return true;
	case REG_TIMER_CURRENT:
		*value = lapic_timer_current(lapic);
		return true;
	case REG_TIMER_DIVIDE:
		*value = lapic->timer_divide;
		return true;
	}
	return false;
}

static void write_lvt(struct lapic *lapic, unsigned entry, u32 value)
{
	value &= lvt_writable[entry];
	/* SDM3 11.4.7.2: while software has it disabled, all entries stay masked. */
	if (!(lapic->svr & SVR_ENABLE))
		value |= LVT_MASKED;
	if (entry == LVT_TIMER) {
		lapic_timer_write_lvt(lapic, value);
		return;
	}
	lapic->lvt[entry] = value;
	lapic_update(lapic);
}

static void write_svr(struct lapic *lapic, u32 value)
{
	lapic->svr = value & SVR_WRITABLE;
	if (!(value & SVR_ENABLE)) {
		for (unsigned i = 0; i < ARRAY_SIZE(lapic->lvt); i++) {
			if (i == LVT_TIMER)
				lapic_timer_write_lvt(lapic, lapic->lvt[i] | LVT_MASKED);
			else
				lapic->lvt[i] |= LVT_MASKED;
		}
	}
	lapic_update(lapic);
}

/* False: there is no such register, or it is not for writing. */
static bool write_register(struct lapic *lapic, unsigned reg, u32 value)
{
	switch (reg) {
	case REG_ID:
		lapic->xapic_id = value & 0xff000000;
		return true;
	case REG_TPR:
		lapic->tpr = value & 0xff;
		lapic_update(lapic);
		return true;
	case REG_EOI:
		write_eoi(lapic);
		return true;
	case REG_LDR:
		lapic->ldr = value & 0xff000000;
		return true;
	case REG_DFR:
		lapic->dfr = value | 0x0fffffff;
		return true;
	case REG_SVR:
		write_svr(lapic, value);
		return true;
	case REG_ESR:
		/* SDM3 11.5.3: a write shows what came since the last. */
		lapic->esr = lapic->errors;
		lapic->errors = 0;
		return true;
	case REG_ICR_LOW:
		lapic->icr = (lapic->icr & MASK(63, 32)) | (value & ICR_WRITABLE);
		lapic_send(lapic);
		return true;
	case REG_ICR_HIGH:
		lapic->icr = (lapic->icr & MASK(31, 0)) | (u64)(value & 0xff000000) << 32;
		return true;
	case REG_LVT ... REG_LVT + 5:
		write_lvt(lapic, reg - REG_LVT, value);
		return true;
	case REG_TIMER_INITIAL:
		lapic_timer_write_initial(lapic, value);
		return true;
	case REG_TIMER_DIVIDE:
		lapic_timer_write_divide(lapic, value & 0xb);
		return true;
	}
	return false;
}

static struct lapic *current(struct apic_bus *bus)
{
	unsigned index = bus->current ? bus->current(bus->current_arg) : 0;

	return index < bus->count ? bus->lapic[index] : NULL;
}

static u64 window_read(void *device, u64 offset, unsigned size)
{
	struct lapic *lapic = current(device);
	u32 value = 0;

	if (!lapic || (lapic->base & (APIC_BASE_ENABLE | APIC_BASE_X2)) != APIC_BASE_ENABLE)
		return UINT32_MAX;
	/* Registers stand 16 bytes apart; between them is nothing. */
	if (offset % 16 || !read_register(lapic, offset / 16, &value))
		lapic_error(lapic, ESR_ILLEGAL_REGISTER);
	return value;
}

static void window_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct lapic *lapic = current(device);
	u32 ignored;

	if (!lapic || (lapic->base & (APIC_BASE_ENABLE | APIC_BASE_X2)) != APIC_BASE_ENABLE)
		return;
	if (!(offset % 16) && write_register(lapic, offset / 16, value))
		return;
	/* Writing one that is only for reading is no error. */
	if (offset % 16 || !read_register(lapic, offset / 16, &ignored))
		lapic_error(lapic, ESR_ILLEGAL_REGISTER);
}

/* ---- what the CPU asks ---- */

static int acknowledge(void *device)
{
	struct lapic *lapic = device;
	int vector;

	if (extint_wanted(lapic) && lapic->extint_acknowledge) {
		lapic->extint = false;
		vector = lapic->extint_acknowledge(lapic->pic);
		lapic_update(lapic);
		return vector;
	}
	vector = deliverable(lapic);
	if (vector >= 0) {
		clear_bit(lapic->irr, vector);
		set_bit(lapic->isr, vector);
	}
	lapic_update(lapic);
	return vector;
}

static int pending_vector(void *device)
{
	struct lapic *lapic = device;
	int vector = -1;

	if (extint_wanted(lapic) && lapic->extint_pending)
		vector = lapic->extint_pending(lapic->pic);
	return vector >= 0 ? vector : deliverable(lapic);
}

static u64 read_cr8(void *device)
{
	struct lapic *lapic = device;

	return lapic->tpr >> 4;
}

static void write_cr8(void *device, u64 value)
{
	struct lapic *lapic = device;

	lapic->tpr = value << 4 & 0xf0;
	lapic_update(lapic);
}

/* SDM3 table 11-6 and 11.12.1.2: which registers there are in x2APIC mode, and what raises #GP. */
static int read_x2apic(struct lapic *lapic, unsigned reg, u64 *value)
{
	u32 low;

	switch (reg) {
	case REG_APR:
	case REG_EOI:
	case REG_RRD:
	case REG_DFR:
	case REG_ICR_HIGH:
	case REG_SELF_IPI:
		return -1;
	case REG_ICR_LOW:
		*value = lapic->icr;
		return 0;
	}
	if (!read_register(lapic, reg, &low))
		return -1;
	*value = low;
	return 0;
}

static int write_x2apic(struct lapic *lapic, unsigned reg, u64 value)
{
	if (reg == REG_ICR_LOW) {
		lapic->icr = value & (ICR_WRITABLE | MASK(63, 32));
		lapic_send(lapic);
		return 0;
	}
	if (value >> 32)
		return -1;
	switch (reg) {
	case REG_ID:
	case REG_LDR:
	case REG_DFR:
	case REG_ICR_HIGH:
		return -1;
	case REG_EOI:
	case REG_ESR:
		if (value)
			return -1;
		break;
	case REG_TPR:
		if (value >> 8)
			return -1;
		break;
	case REG_SELF_IPI:
		if (value >> 8)
			return -1;
		if (value < 16)
			lapic_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
		else
			lapic_accept(lapic, value, false);
		return 0;
	}
	return write_register(lapic, reg, value) ? 0 : -1;
}

/* All but the ID, APIC_BASE and the wires. SDM3 11.4.7.1 */
static void init_registers(struct lapic *lapic)
{
	lapic->tpr = lapic->ldr = lapic->esr = lapic->errors = 0;
	lapic->icr = 0;
	lapic->dfr = 0xffffffff;
	lapic->svr = 0xff;
	for (unsigned i = 0; i < 8; i++)
		lapic->isr[i] = lapic->tmr[i] = lapic->irr[i] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(lapic->lvt); i++)
		lapic->lvt[i] = LVT_MASKED;
	lapic->extint = false;
	lapic_timer_reset(lapic);
}

/* SDM3 11.12.5: the modes and the ways between them. */
static int write_base(struct lapic *lapic, u64 value)
{
	u64 modes = APIC_BASE_ENABLE | APIC_BASE_X2;
	u64 reserved = ~(MASK(lapic->phys_bits - 1, 12) | modes | APIC_BASE_BSP);
	u64 old = lapic->base;

	if (value & reserved)
		return -1;
	if ((value & modes) == APIC_BASE_X2)
		return -1;
	/* x2APIC mode is left only by disabling, and entered only from xAPIC mode. */
	if ((old & modes) == modes && (value & modes) == APIC_BASE_ENABLE)
		return -1;
	if (!(old & APIC_BASE_ENABLE) && (value & modes) == modes)
		return -1;
	lapic->base = (value & ~APIC_BASE_BSP) | (old & APIC_BASE_BSP);
	if ((old & APIC_BASE_ENABLE) && !(value & APIC_BASE_ENABLE))
		init_registers(lapic);
	apic_bus_move_window(lapic->bus, lapic->base & ~MASK(11, 0));
	lapic_update(lapic);
	return 0;
}

static int read_msr(void *device, u32 msr, u64 *value)
{
	struct lapic *lapic = device;

	switch (msr) {
	case MSR_APIC_BASE:
		*value = lapic->base;
		return 0;
	case MSR_TSC_DEADLINE:
		*value = lapic->tsc_deadline;
		return 0;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		if (!lapic_x2apic(lapic))
			return -1;
		return read_x2apic(lapic, msr - MSR_X2APIC_FIRST, value);
	}
	return -1;
}

static int write_msr(void *device, u32 msr, u64 value)
{
	struct lapic *lapic = device;

	switch (msr) {
	case MSR_APIC_BASE:
		return write_base(lapic, value);
	case MSR_TSC_DEADLINE:
		lapic_timer_write_deadline(lapic, value);
		return 0;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		if (!lapic_x2apic(lapic))
			return -1;
		return write_x2apic(lapic, msr - MSR_X2APIC_FIRST, value);
	}
	return -1;
}

static void eoi(void *device)
{
	write_eoi(device);
}

static void init(void *device)
{
	struct lapic *lapic = device;

	init_registers(lapic);
	lapic_update(lapic);
}

static void reset(void *device)
{
	struct lapic *lapic = device;

	lapic->base = LAPIC_BASE | APIC_BASE_ENABLE | (lapic->bsp ? APIC_BASE_BSP : 0);
	lapic->xapic_id = lapic->id << 24;
	init_registers(lapic);
	/* As firmware leaves the boot processor: the 8259's interrupts and NMI reach it. */
	if (lapic->bsp) {
		lapic->lvt[LVT_LINT0] = MODE_EXTINT << 8;
		lapic->lvt[LVT_LINT1] = MODE_NMI << 8;
	}
	apic_bus_move_window(lapic->bus, LAPIC_BASE);
	lapic_update(lapic);
}

static void stop(void *device)
{
	struct lapic *lapic = device;

	loop_timer_set(lapic->loop, &lapic->timer, 0);
}

int lapic_join(struct lapic *lapic)
{
	struct apic_bus *bus = lapic->bus;

	if (bus->count == APIC_BUS_MAX)
		return -ENOSPC;
	bus->lapic[bus->count++] = lapic;
	if (!bus->window)
		bus->window = LAPIC_BASE;
	lapic_timer_init(lapic);
	reset(lapic);
	return 0;
}

const struct intc_ops lapic_ops = {
	.acknowledge = acknowledge,
	.pending_vector = pending_vector,
	.eoi = eoi,
	.read_cr8 = read_cr8,
	.write_cr8 = write_cr8,
	.read_msr = read_msr,
	.write_msr = write_msr,
	.init = init,
};

static const struct field state[] = {
	FIELD(struct lapic, base),
	FIELD(struct lapic, xapic_id),
	FIELD(struct lapic, tpr),
	FIELD(struct lapic, ldr),
	FIELD(struct lapic, dfr),
	FIELD(struct lapic, svr),
	FIELD_ARRAY(struct lapic, isr),
	FIELD_ARRAY(struct lapic, tmr),
	FIELD_ARRAY(struct lapic, irr),
	FIELD(struct lapic, esr),
	FIELD(struct lapic, errors),
	FIELD(struct lapic, icr),
	FIELD_ARRAY(struct lapic, lvt),
	FIELD(struct lapic, timer_initial),
	FIELD(struct lapic, timer_divide),
	FIELD(struct lapic, timer_start),
	FIELD(struct lapic, timer_expired),
	FIELD(struct lapic, tsc_deadline),
	FIELD_ARRAY(struct lapic, lint),
	FIELD(struct lapic, extint),
	FIELD(struct lapic, intr),
	{ 0 },
};

static const struct field window_state[] = {
	FIELD(struct apic_bus, turn),
	FIELD(struct apic_bus, window),
	{ 0 },
};

const struct device_class lapic_class = {
	.name = "lapic",
	.size = sizeof(struct lapic),
	.state = state,
	.reset = reset,
	.stop = stop,
};

static const struct io_ops window_ops = { window_read, window_write, .sizes = 4 };

const struct io_ops *lapic_window_ops(void)
{
	return &window_ops;
}

const struct device_class lapic_window_class = {
	.name = "lapic_window",
	.size = sizeof(struct apic_bus),
	.ranges = { { MMIO, 0, 0x1000, { window_read, window_write, .sizes = 4 } } },
	.state = window_state,
};
