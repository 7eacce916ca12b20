/* SPDX-License-Identifier: MIT */
/*
 * ACPI's fixed hardware: PM1a event and control, PM timer, one GPE block. Always in ACPI mode (FADT
 * without SMI_CMD). Plug anywhere in port space; the FADT's offsets from there are below.
 */
#ifndef DEV_ACPI_PM_H
#define DEV_ACPI_PM_H

#include "base/loop.h"
#include "dev/device.h"

#define ACPI_PM1A_EVT 0x00  /* length 4 */
#define ACPI_PM1A_CNT 0x04  /* length 2 */
#define ACPI_PM_TMR 0x08    /* length 4, 32 bits wide: FADT flag TMR_VAL_EXT */
#define ACPI_GPE0 0x20      /* length 4: two bytes of status, two of enable */
#define ACPI_PM_LEN 0x24    /* ports in all */
#define ACPI_PM_HZ 3579545
#define ACPI_SLP_TYP_S5 5   /* what the DSDT's \_S5 says */

struct acpi_pm {
	/* wiring */
	struct loop *loop;
	struct line sci;   /* level, active high at this pin */
	/* The guest wrote SLP_EN with this SLP_TYP; ACPI_SLP_TYP_S5 is power off. */
	void (*sleep)(void *arg, unsigned type);
	void *sleep_arg;
	/* state */
	u16 pm1_status, pm1_enable, pm1_control;
	u16 gpe_status, gpe_enable;
	u64 start;         /* ns when the timer was 0 */
	u64 halves;        /* how often bit 31 had changed when TMR_STS was last looked at */
	struct loop_timer timer;
};

extern const struct device_class acpi_pm_class;

/* The power button was pressed: the guest should shut down by itself. */
void acpi_pm_power_button(struct acpi_pm *pm);
/* General-purpose event 0..15 (_L00.._L0F or _E00.._E0F). */
void acpi_pm_gpe(struct acpi_pm *pm, unsigned event);

#endif
