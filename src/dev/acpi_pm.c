/* SPDX-License-Identifier: MIT */
/*
 * ACPI's fixed hardware (ACPI 6.4, 4.8): PM1a, the power management timer and a block of
 * general-purpose events.
 *
 * Not modelled: a real-time clock that wakes, the sleep button, SMI; SCI_EN is always set, since
 * there is no legacy mode to leave.
 */
#include "dev/acpi_pm.h"

/* PM1 status and enable, ACPI 4.8.3.1 */
#define PM1_TMR 0x0001
#define PM1_BUS_MASTER 0x0010
#define PM1_GLOBAL 0x0020
#define PM1_POWER_BUTTON 0x0100
#define PM1_SLEEP_BUTTON 0x0200
#define PM1_RTC 0x0400
#define PM1_WAKE 0x8000
#define PM1_STATUS_BITS 0x8731
#define PM1_ENABLE_BITS 0x0721
/* PM1 control, ACPI 4.8.3.2.1 */
#define CNT_SCI_EN 0x0001
#define CNT_SLP_TYP 0x1c00
#define CNT_SLP_EN 0x2000
#define CNT_KEPT 0x1c02

static u64 ticks(const struct acpi_pm *pm)
{
	return (u128)(clock_ns() - pm->start) * ACPI_PM_HZ / 1000000000;
}

static void update_sci(struct acpi_pm *pm)
{
	bool level = (pm->pm1_status & pm->pm1_enable) || (pm->gpe_status & pm->gpe_enable);

	line_set(&pm->sci, level);
}

/* TMR_STS is set whenever bit 31 of the timer changes. */
static void check_timer(struct acpi_pm *pm)
{
	u64 halves = ticks(pm) >> 31;

	if (halves != pm->halves) {
		pm->halves = halves;
		pm->pm1_status |= PM1_TMR;
	}
	if ((pm->pm1_enable & PM1_TMR) && !(pm->pm1_status & PM1_TMR)) {
		u64 next = (u128)((halves + 1) << 31) * 1000000000 / ACPI_PM_HZ + 1;

		loop_timer_set(pm->loop, &pm->timer, pm->start + next);
	} else {
		loop_timer_set(pm->loop, &pm->timer, 0);
	}
	update_sci(pm);
}

static void fire(void *arg)
{
	check_timer(arg);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->pm1_status |= PM1_POWER_BUTTON;
	update_sci(pm);
}

void acpi_pm_gpe(struct acpi_pm *pm, unsigned event)
{
	pm->gpe_status |= 1u << (event & 15);
	update_sci(pm);
}

static u64 event_read(void *device, u64 offset, unsigned size)
{
	struct acpi_pm *pm = device;

	check_timer(pm);
	return offset ? pm->pm1_enable : pm->pm1_status;
}

static void event_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct acpi_pm *pm = device;

	check_timer(pm);
	if (offset)
		pm->pm1_enable = value & PM1_ENABLE_BITS;
	else
		pm->pm1_status &= (u16)~(value & PM1_STATUS_BITS);
	check_timer(pm);
}

static u64 control_read(void *device, u64 offset, unsigned size)
{
	struct acpi_pm *pm = device;

	return pm->pm1_control | CNT_SCI_EN;
}

static void control_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct acpi_pm *pm = device;

	pm->pm1_control = value & CNT_KEPT;
	if ((value & CNT_SLP_EN) && pm->sleep)
		pm->sleep(pm->sleep_arg, (value & CNT_SLP_TYP) >> 10);
}

static u64 timer_read(void *device, u64 offset, unsigned size)
{
	struct acpi_pm *pm = device;

	return (u32)ticks(pm);
}

static void timer_write(void *device, u64 offset, unsigned size, u64 value)
{
}

static u64 gpe_read(void *device, u64 offset, unsigned size)
{
	struct acpi_pm *pm = device;
	u16 value = offset < 2 ? pm->gpe_status : pm->gpe_enable;

	return value >> (offset & 1) * 8 & 0xff;
}

static void gpe_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct acpi_pm *pm = device;
	unsigned shift = (offset & 1) * 8;

	if (offset < 2)
		pm->gpe_status &= (u16)~(value << shift);
	else
		pm->gpe_enable = (pm->gpe_enable & ~(0xff << shift)) | value << shift;
	update_sci(pm);
}

static void reset(void *device)
{
	struct acpi_pm *pm = device;

	pm->pm1_status = pm->pm1_enable = pm->pm1_control = 0;
	pm->gpe_status = pm->gpe_enable = 0;
	pm->start = clock_ns();
	pm->halves = 0;
	pm->timer.fire = fire;
	pm->timer.arg = pm;
	check_timer(pm);
}

static void stop(void *device)
{
	struct acpi_pm *pm = device;

	loop_timer_set(pm->loop, &pm->timer, 0);
}

static const struct field state[] = {
	FIELD(struct acpi_pm, pm1_status),
	FIELD(struct acpi_pm, pm1_enable),
	FIELD(struct acpi_pm, pm1_control),
	FIELD(struct acpi_pm, gpe_status),
	FIELD(struct acpi_pm, gpe_enable),
	FIELD(struct acpi_pm, start),
	FIELD(struct acpi_pm, halves),
	{ 0 },
};

const struct device_class acpi_pm_class = {
	.name = "acpi_pm",
	.size = sizeof(struct acpi_pm),
	.ranges = {
		{ PORT, ACPI_PM1A_EVT, 4, { event_read, event_write, .sizes = 2 } },
		{ PORT, ACPI_PM1A_CNT, 2, { control_read, control_write, .sizes = 2 } },
		{ PORT, ACPI_PM_TMR, 4, { timer_read, timer_write, .sizes = 4 } },
		{ PORT, ACPI_GPE0, 4, { gpe_read, gpe_write, .sizes = 1 } },
	},
	.state = state,
	.reset = reset,
	.stop = stop,
};
