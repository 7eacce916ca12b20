/* SPDX-License-Identifier: MIT */
/*
 * The MC146818 clock with 128 bytes of CMOS memory. Plug at port 70h: it takes 70h-71h. The time
 * is the host's CLOCK_REALTIME in UTC plus what the guest set.
 */
#ifndef DEV_MC146818_H
#define DEV_MC146818_H

#include "base/loop.h"
#include "dev/device.h"

struct mc146818 {
	/* wiring */
	struct loop *loop;
	struct line irq;   /* ISA IRQ 8 */
	/* state */
	u8 index;
	u8 ram[128];       /* the clock's registers 0-0Dh are part of it; time valid while halted */
	i64 offset;        /* seconds: the guest's clock minus the host's */
	u32 fraction;      /* ns by which its seconds begin before the host's */
	u64 checked;       /* host's ns plus fraction up to which flags were raised */
	struct loop_timer timer;
};

extern const struct device_class mc146818_class;

/* For the board, before the guest runs: memory size, boot order. Index 0Eh..7Fh. */
void mc146818_set_ram(struct mc146818 *rtc, u8 index, u8 value);
/* The index of the century's byte, for the FADT. */
#define MC146818_CENTURY 0x32

#endif
