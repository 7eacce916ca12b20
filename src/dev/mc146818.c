/* SPDX-License-Identifier: MIT */
/*
 * The Motorola MC146818A real-time clock with CMOS memory and the century byte of PCs. The time
 * is the host's plus an offset and is worked out when it is read; flags are raised when somebody
 * could see them, and a timer is armed only for one that would interrupt.
 *
 * Not modelled: the square wave, daylight saving, the NMI mask in bit 7 of port 70h, and a day of
 * the week that differs from the date's.
 */
#include <string.h>
#include <time.h>

#include "dev/mc146818.h"

#define NS 1000000000ull
#define NEVER UINT64_MAX

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, DAY_OF_WEEK, DAY, MONTH,
	YEAR, REG_A, REG_B, REG_C, REG_D, CENTURY = MC146818_CENTURY };

#define A_UIP 0x80
#define A_DIVIDER_RESET 0x60 /* both bits: the chain is held */
#define A_RATE 0x0f
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define D_VALID 0x80
#define HOUR_PM 0x80
#define ALARM_ANY 0xc0 /* both bits: every hour, minute or second matches */
#define UIP_NS 244000  /* UIP is set that long before an update */

static u64 host_now(const struct mc146818 *rtc)
{
	return clock_realtime_ns() + rtc->fraction;
}

static bool divider_held(const struct mc146818 *rtc)
{
	return (rtc->ram[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

/* The time stands still and is what ram[] says. */
static bool halted(const struct mc146818 *rtc)
{
	return (rtc->ram[REG_B] & B_SET) || divider_held(rtc);
}

/* ---- the registers' form ---- */

static u8 encode(const struct mc146818 *rtc, unsigned value)
{
	if (rtc->ram[REG_B] & B_BINARY)
		return value;
	return value / 10 % 10 << 4 | value % 10;
}

static unsigned decode(const struct mc146818 *rtc, u8 value)
{
	if (rtc->ram[REG_B] & B_BINARY)
		return value;
	return (value >> 4) * 10 + (value & 15);
}

static u8 encode_hour(const struct mc146818 *rtc, unsigned hour)
{
	if (rtc->ram[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct mc146818 *rtc, u8 value)
{
	unsigned hour;

	if (rtc->ram[REG_B] & B_24H)
		return decode(rtc, value);
	hour = decode(rtc, value & ~HOUR_PM) % 12;
	return value & HOUR_PM ? hour + 12 : hour;
}

/* Puts the running time into the registers. */
static void load_time(struct mc146818 *rtc, u64 now)
{
	time_t seconds = (i64)(now / NS) + rtc->offset;
	unsigned year;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm))
		return;
	year = (unsigned)(tm.tm_year + 1900) % 10000;
	rtc->ram[SECONDS] = encode(rtc, tm.tm_sec);
	rtc->ram[MINUTES] = encode(rtc, tm.tm_min);
	rtc->ram[HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->ram[DAY_OF_WEEK] = encode(rtc, tm.tm_wday + 1);
	rtc->ram[DAY] = encode(rtc, tm.tm_mday);
	rtc->ram[MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->ram[YEAR] = encode(rtc, year % 100);
	rtc->ram[CENTURY] = encode(rtc, year / 100);
}

/* Makes the registers' time the running one. Dates that do not exist are taken as later ones. */
static void store_time(struct mc146818 *rtc, u64 now)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->ram[SECONDS]),
		.tm_min = decode(rtc, rtc->ram[MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->ram[HOURS]),
		.tm_mday = decode(rtc, rtc->ram[DAY]),
		.tm_mon = (int)decode(rtc, rtc->ram[MONTH]) - 1,
		.tm_year = (int)(decode(rtc, rtc->ram[CENTURY]) * 100 +
				   decode(rtc, rtc->ram[YEAR])) - 1900,
	};

	rtc->offset = (i64)timegm(&tm) - (i64)(now / NS);
}

/* ---- flags and interrupts ---- */

/* ns between periodic interrupts as a fraction of 32768; 0: none. MC146818A table 5 */
static u64 periodic_units(const struct mc146818 *rtc)
{
	unsigned rate = rtc->ram[REG_A] & A_RATE;

	if (!rate || divider_held(rtc))
		return 0;
	return rate <= 2 ? 64u << rate : 1u << (rate - 1);
}

static u64 periods_until(u64 now, u64 units)
{
	return (u64)((u128)now * 32768 / NS) / units;
}

static bool alarm_field(u8 alarm, unsigned decoded, unsigned value)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || decoded == value;
}

/* The first second after `second` (of the guest's clock) that the alarm matches. */
static i64 next_alarm(const struct mc146818 *rtc, i64 second)
{
	const u8 *ram = rtc->ram;
	unsigned s = decode(rtc, ram[SECONDS_ALARM]), m = decode(rtc, ram[MINUTES_ALARM]);
	unsigned h = decode_hour(rtc, ram[HOURS_ALARM]);
	i64 t = second + 1;

	if (t < 0)
		return INT64_MAX;
	/* At most 24 hours, 60 minutes and 60 seconds are skipped if it can match at all. */
	for (unsigned steps = 0; steps < 160; steps++) {
		if (!alarm_field(ram[HOURS_ALARM], h, t / 3600 % 24))
			t += 3600 - t % 3600;
		else if (!alarm_field(ram[MINUTES_ALARM], m, t / 60 % 60))
			t += 60 - t % 60;
		else if (!alarm_field(ram[SECONDS_ALARM], s, t % 60))
			t++;
		else
			return t;
	}
	return INT64_MAX;
}

/* Raises the flags of what happened since it was last called. */
static void catch_up(struct mc146818 *rtc, u64 now)
{
	u64 units = periodic_units(rtc);
	u64 since = rtc->checked;
	u8 flags = 0;

	rtc->checked = now;
	/* The host's clock was set back. */
	if (now < since)
		return;
	if (units && periods_until(since, units) != periods_until(now, units))
		flags |= C_PF;
	if (!halted(rtc) && since / NS != now / NS) {
		flags |= C_UF;
		if (next_alarm(rtc, (i64)(since / NS) + rtc->offset) <=
			(i64)(now / NS) + rtc->offset)
			flags |= C_AF;
	}
	rtc->ram[REG_C] |= flags;
}

static u64 next_event(const struct mc146818 *rtc, u64 now)
{
	u64 units = periodic_units(rtc);
	u64 next = NEVER;

	if ((rtc->ram[REG_B] & B_PIE) && units) {
		u64 end = (periods_until(now, units) + 1) * units;

		next = (u64)(((u128)end * NS + 32767) / 32768);
	}
	if (halted(rtc))
		return next;
	if (rtc->ram[REG_B] & B_UIE)
		next = MIN(next, (now / NS + 1) * NS);
	if (rtc->ram[REG_B] & B_AIE) {
		i64 alarm = next_alarm(rtc, (i64)(now / NS) + rtc->offset);

		if (alarm != INT64_MAX)
			next = MIN(next, (u64)(alarm - rtc->offset) * NS);
	}
	return next;
}

static void update(struct mc146818 *rtc, u64 now)
{
	bool irq = rtc->ram[REG_C] & rtc->ram[REG_B] & (C_PF | C_AF | C_UF);
	u64 next = NEVER;

	rtc->ram[REG_C] = (rtc->ram[REG_C] & ~C_IRQF) | (irq ? C_IRQF : 0);
	line_set(&rtc->irq, irq);
	/* While the line is up nothing can be told that is not told already. */
	if (!irq)
		next = next_event(rtc, now);
	loop_timer_set(rtc->loop, &rtc->timer, next == NEVER ? 0 : clock_ns() + (next - now));
}

static void fire(void *arg)
{
	struct mc146818 *rtc = arg;
	u64 now = host_now(rtc);

	catch_up(rtc, now);
	update(rtc, now);
}

/* ---- registers ---- */

static bool is_time(u8 index)
{
	return (index <= YEAR && index != SECONDS_ALARM && index != MINUTES_ALARM &&
		index != HOURS_ALARM) || index == CENTURY;
}

static u8 read_register(struct mc146818 *rtc, u8 index, u64 now)
{
	u8 value;

	if (is_time(index) && !halted(rtc))
		load_time(rtc, now);
	switch (index) {
	case REG_A:
		value = rtc->ram[REG_A];
		if (!halted(rtc) && now % NS >= NS - UIP_NS)
			value |= A_UIP;
		return value;
	case REG_C:
		catch_up(rtc, now);
		update(rtc, now);
		value = rtc->ram[REG_C];
		rtc->ram[REG_C] = 0;
		update(rtc, now);
		return value;
	case REG_D:
		return D_VALID;
	}
	return rtc->ram[index];
}

/* A and B: either may halt the clock or let it run. */
static void write_control(struct mc146818 *rtc, u8 index, u8 value, u64 now)
{
	bool was_halted = halted(rtc), was_held = divider_held(rtc);

	if (!was_halted)
		load_time(rtc, now);
	/* Setting SET clears UIE, MC146818A "Register B". */
	if (index == REG_B && (value & B_SET))
		value &= (u8)~B_UIE;
	rtc->ram[index] = index == REG_A ? value & ~A_UIP : value;
	/* The first update comes half a second after the divider chain was let go. */
	if (was_held && !divider_held(rtc)) {
		u64 host = now - rtc->fraction;

		rtc->fraction = (NS / 2 + NS - host % NS) % NS;
		now = host + rtc->fraction;
		rtc->checked = now;
	}
	if (was_halted && !halted(rtc))
		store_time(rtc, now);
}

static void write_register(struct mc146818 *rtc, u8 index, u8 value, u64 now)
{
	/* Flags that are due come by what the registers said until now. */
	if (index <= REG_D)
		catch_up(rtc, now);
	if (index == REG_A || index == REG_B) {
		write_control(rtc, index, value, now);
		now = host_now(rtc);
	} else if (index == REG_C || index == REG_D) {
		return;
	} else if (is_time(index) && !halted(rtc)) {
		load_time(rtc, now);
		rtc->ram[index] = value;
		store_time(rtc, now);
	} else {
		rtc->ram[index] = value;
	}
	if (index <= REG_D)
		update(rtc, now);
}

static u64 port_read(void *device, u64 offset, unsigned size)
{
	struct mc146818 *rtc = device;

	return offset ? read_register(rtc, rtc->index, host_now(rtc)) : 0xff;
}

static void port_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct mc146818 *rtc = device;

	if (offset)
		write_register(rtc, rtc->index, value, host_now(rtc));
	else
		rtc->index = value & 0x7f;
}

void mc146818_set_ram(struct mc146818 *rtc, u8 index, u8 value)
{
	if (index > REG_D && index < sizeof(rtc->ram))
		rtc->ram[index] = value;
}

/* The battery keeps the time and the memory; RESET# clears the enables and flags. */
static void reset(void *device)
{
	struct mc146818 *rtc = device;

	rtc->timer.fire = fire;
	rtc->timer.arg = rtc;
	if (halted(rtc))
		store_time(rtc, host_now(rtc));
	rtc->index = 0;
	rtc->ram[REG_A] = 0x26; /* 32768 Hz, 1024 Hz: as firmware leaves it */
	rtc->ram[REG_B] = B_24H;
	rtc->ram[REG_C] = 0;
	rtc->checked = host_now(rtc);
	update(rtc, rtc->checked);
}

static void stop(void *device)
{
	struct mc146818 *rtc = device;

	loop_timer_set(rtc->loop, &rtc->timer, 0);
}

static const struct field state[] = {
	FIELD(struct mc146818, index),
	FIELD_ARRAY(struct mc146818, ram),
	FIELD(struct mc146818, offset),
	FIELD(struct mc146818, fraction),
	FIELD(struct mc146818, checked),
	{ 0 },
};

const struct device_class mc146818_class = {
	.name = "mc146818",
	.size = sizeof(struct mc146818),
	.ranges = { { PORT, 0, 2, { port_read, port_write, .sizes = 1 } } },
	.state = state,
	.reset = reset,
	.stop = stop,
};
