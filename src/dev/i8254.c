/* SPDX-License-Identifier: MIT */
/*
 * The Intel 8254 programmable interval timer (231164-005) and port 61h of the PC. Counts are
 * never kept: they follow from when counting began, so an idle channel costs nothing.
 *
 * Not modelled: sound; what channel 1 once refreshed, though port 61h shows its toggling.
 */
#include "dev/i8254.h"

#define CONTROL 3
#define NS 1000000000ull
/* An interrupt rate above this is the guest's mistake: it gets this one. */
#define PERIOD_MIN_NS 20000
#define REFRESH_NS 15085

#define PORT61_GATE2 0x01
#define PORT61_WRITABLE 0x0f
#define PORT61_REFRESH 0x10
#define PORT61_OUT2 0x20

#define STATUS_OUT 0x80
#define STATUS_NULL 0x40

static u64 ns_to_ticks(u64 ns)
{
	return (u128)ns * I8254_HZ / NS;
}

/* Rounded up: that many ticks have passed then. */
static u64 ticks_to_ns(u64 ticks)
{
	return ((u128)ticks * NS + I8254_HZ - 1) / I8254_HZ;
}

static bool is_periodic(const struct i8254_channel *ch)
{
	return ch->mode == 2 || ch->mode == 3;
}

/* In these a trigger at the gate begins the counting, not the written count. */
static bool by_trigger(const struct i8254_channel *ch)
{
	return ch->mode == 1 || ch->mode == 5;
}

/* A new count of a periodic mode takes over when the period ends. */
static void take_over(struct i8254_channel *ch, u64 now)
{
	if (ch->next_count && ch->next_start && now >= ch->next_start) {
		ch->count = ch->next_count;
		ch->start = ch->next_start;
		ch->next_count = 0;
		ch->next_start = 0;
		ch->null_count = false;
	}
}

static u64 elapsed(const struct i8254_channel *ch, u64 now)
{
	return ch->running ? ns_to_ticks(now - ch->start) : ch->held;
}

static bool output(const struct i8254_channel *ch, u64 now)
{
	u64 ticks = elapsed(ch, now);

	switch (ch->mode) {
	case 0:
		return ch->count && ticks >= ch->count;
	case 1:
		return !ch->running || ticks >= ch->count;
	case 2:
		return !ch->running || ticks % ch->count != ch->count - 1;
	case 3:
		return !ch->running || ticks % ch->count < (ch->count + 1) / 2;
	default: /* low for the tick after the last */
		return !ch->count || ticks != ch->count;
	}
}

static u16 counter(const struct i8254_channel *ch, u64 now)
{
	u64 modulus = ch->bcd ? 10000 : 65536;
	u64 ticks = elapsed(ch, now);
	u32 value;

	if (!ch->count)
		return 0;
	if (ch->mode == 2)
		value = ch->count - ticks % ch->count;
	else if (ch->mode == 3) /* by twos, twice in a period */
		value = ch->count - (ticks % ch->count * 2 % ch->count & ~1u);
	else /* on through 0 */
		value = (ch->count + modulus - ticks % modulus) % modulus;
	value %= modulus;
	if (ch->bcd)
		value = value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 |
			value / 1000 << 12;
	return value;
}

static u32 ticks_of_count(const struct i8254_channel *ch, u16 written)
{
	u32 value = written;

	/* Digits above 9 are undefined on the chip: here they count as they stand. */
	if (ch->bcd)
		value = (value & 15) + (value >> 4 & 15) * 10 + (value >> 8 & 15) * 100 +
			(value >> 12) * 1000;
	if (!value)
		return ch->bcd ? 10000 : 65536;
	return value;
}

/* ---- channel 0's interrupts ---- */

/* When OUT will rise next; 0: not while nobody touches it. */
static u64 next_rise(const struct i8254_channel *ch, u64 now)
{
	u64 ticks, end;

	if (!ch->running || by_trigger(ch))
		return 0;
	ticks = elapsed(ch, now);
	if (is_periodic(ch)) {
		end = ch->start + ticks_to_ns((ticks / ch->count + 1) * ch->count);
		return MAX(end, now + (ch->count < 24 ? PERIOD_MIN_NS : 0));
	}
	end = ch->count + (ch->mode == 4);
	return ticks < end ? ch->start + ticks_to_ns(end) : 0;
}

static void arm(struct i8254 *pit, u64 now)
{
	struct i8254_channel *ch = &pit->channel[0];
	u64 rise = next_rise(ch, now);

	/* The period that runs ends where the next count's begins. */
	if (ch->next_start && rise > ch->next_start)
		rise = ch->next_start;
	loop_timer_set(pit->loop, &pit->timer, rise);
}

static void fire(void *arg)
{
	struct i8254 *pit = arg;
	u64 now = clock_ns();

	take_over(&pit->channel[0], now);
	/* The low part of OUT is made here: nobody sees how long it was. */
	line_set(&pit->irq, false);
	line_set(&pit->irq, true);
	arm(pit, now);
}

static void update_irq(struct i8254 *pit, u64 now)
{
	if (!is_periodic(&pit->channel[0]))
		line_set(&pit->irq, output(&pit->channel[0], now));
	arm(pit, now);
}

/* ---- counting ---- */

static void begin(struct i8254_channel *ch, u64 now)
{
	ch->start = now;
	ch->held = 0;
	ch->running = true;
	ch->null_count = false;
}

static void load_count(struct i8254_channel *ch, u16 written, u64 now)
{
	u32 count = ticks_of_count(ch, written);

	ch->null_count = true;
	if (by_trigger(ch)) {
		ch->next_count = count;
		return;
	}
	if (is_periodic(ch) && ch->running) {
		u64 periods = elapsed(ch, now) / ch->count + 1;

		ch->next_count = count;
		ch->next_start = ch->start + ticks_to_ns(periods * ch->count);
		return;
	}
	ch->count = count;
	ch->next_count = 0;
	ch->next_start = 0;
	if (ch->gate) {
		begin(ch, now);
	} else {
		ch->running = false;
		ch->held = 0;
		ch->null_count = false;
	}
}

static void set_gate(struct i8254_channel *ch, bool gate, u64 now)
{
	bool rises = gate && !ch->gate;
	bool falls = !gate && ch->gate;

	ch->gate = gate;
	take_over(ch, now);
	if (by_trigger(ch)) {
		if (!rises || !(ch->next_count || ch->count))
			return;
		if (ch->next_count)
			ch->count = ch->next_count;
		ch->next_count = 0;
		begin(ch, now);
	} else if (is_periodic(ch)) {
		/* The gate stops it with OUT high, and begins a new period. */
		if (falls)
			ch->running = false;
		if (rises && ch->count) {
			if (ch->next_count)
				ch->count = ch->next_count;
			ch->next_count = 0;
			ch->next_start = 0;
			begin(ch, now);
		}
	} else if (falls && ch->running) {
		ch->held = elapsed(ch, now);
		ch->running = false;
	} else if (rises && ch->count && !ch->running && !ch->write_high) {
		ch->start = now - ticks_to_ns(ch->held);
		ch->running = true;
	}
}

/* ---- registers ---- */

static void latch_count(struct i8254_channel *ch, u64 now)
{
	u16 value;

	/* A second latch before the first was read does nothing. */
	if (ch->latched)
		return;
	value = counter(ch, now);
	if (ch->access == 3) {
		/* A pair that is half read goes on with its high byte. */
		ch->latch[0] = ch->read_high ? value >> 8 : value;
		ch->latch[1] = ch->read_high ? value : value >> 8;
		ch->latched = 2;
	} else {
		ch->latch[1] = ch->access == 2 ? value >> 8 : value;
		ch->latched = 1;
	}
}

static void latch_status(struct i8254_channel *ch, u64 now)
{
	if (ch->status_latched)
		return;
	ch->status = (output(ch, now) ? STATUS_OUT : 0) | (ch->null_count ? STATUS_NULL : 0) |
		ch->access << 4 | ch->mode << 1 | ch->bcd;
	ch->status_latched = true;
}

static void read_back(struct i8254 *pit, u8 value, u64 now)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!(value & 2u << i))
			continue;
		take_over(&pit->channel[i], now);
		if (!(value & 0x20))
			latch_count(&pit->channel[i], now);
		if (!(value & 0x10))
			latch_status(&pit->channel[i], now);
	}
}

static void write_control(struct i8254 *pit, u8 value, u64 now)
{
	struct i8254_channel *ch;
	bool gate;

	if (value >> 6 == 3) {
		read_back(pit, value, now);
		return;
	}
	ch = &pit->channel[value >> 6];
	take_over(ch, now);
	if (!(value & 0x30)) {
		latch_count(ch, now);
		return;
	}
	gate = ch->gate;
	*ch = (struct i8254_channel){
		.mode = value >> 1 & 7,
		.access = value >> 4 & 3,
		.bcd = value & 1,
		.gate = gate,
		.null_count = true,
	};
	if (ch->mode > 5)
		ch->mode -= 4;
	if (ch == &pit->channel[0]) {
		line_set(&pit->irq, ch->mode != 0);
		arm(pit, now);
	}
}

static void write_count(struct i8254 *pit, unsigned number, u8 value, u64 now)
{
	struct i8254_channel *ch = &pit->channel[number];

	take_over(ch, now);
	if (ch->access == 3 && !ch->write_high) {
		ch->write_low = value;
		ch->write_high = true;
		/* In mode 0 the first byte stops the counting. */
		if (ch->mode == 0) {
			ch->running = false;
			ch->held = 0;
		}
	} else {
		u16 count = ch->access == 1 ? value : value << 8;

		if (ch->access == 3)
			count |= ch->write_low;
		ch->write_high = false;
		load_count(ch, count, now);
	}
	if (number == 0)
		update_irq(pit, now);
}

static u8 read_count(struct i8254_channel *ch, u64 now)
{
	u16 value;
	bool high;

	take_over(ch, now);
	if (ch->status_latched) {
		ch->status_latched = false;
		return ch->status;
	}
	high = ch->access == 2 || (ch->access == 3 && ch->read_high);
	if (ch->access == 3)
		ch->read_high = !ch->read_high;
	if (ch->latched)
		return ch->latch[2 - ch->latched--];
	value = counter(ch, now);
	return high ? value >> 8 : value;
}

static u64 pit_read(void *device, u64 offset, unsigned size)
{
	struct i8254 *pit = device;

	if (offset == CONTROL)
		return 0xff;
	return read_count(&pit->channel[offset], clock_ns());
}

static void pit_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct i8254 *pit = device;

	if (offset == CONTROL)
		write_control(pit, value, clock_ns());
	else
		write_count(pit, offset, value, clock_ns());
}

static u64 port61_read(void *device, u64 offset, unsigned size)
{
	struct i8254 *pit = device;
	u64 now = clock_ns();
	u8 value = pit->port61;

	take_over(&pit->channel[2], now);
	if (now / REFRESH_NS & 1)
		value |= PORT61_REFRESH;
	if (output(&pit->channel[2], now))
		value |= PORT61_OUT2;
	return value;
}

static void port61_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct i8254 *pit = device;

	pit->port61 = value & PORT61_WRITABLE;
	set_gate(&pit->channel[2], value & PORT61_GATE2, clock_ns());
}

/*
 * As firmware leaves it: channel 0 as a square wave of 18.2 Hz. The chip itself has no reset and
 * no defined state.
 */
static void reset(void *device)
{
	struct i8254 *pit = device;
	u64 now = clock_ns();

	pit->timer.fire = fire;
	pit->timer.arg = pit;
	pit->port61 = 0;
	for (unsigned i = 0; i < 3; i++) {
		pit->channel[i] = (struct i8254_channel){ .mode = 3, .access = 3, .gate = i < 2 };
		load_count(&pit->channel[i], 0, now);
	}
	line_set(&pit->irq, false);
	arm(pit, now);
}

static void stop(void *device)
{
	struct i8254 *pit = device;

	loop_timer_set(pit->loop, &pit->timer, 0);
}

static const struct field state[] = {
	FIELD_ARRAY(struct i8254, channel),
	FIELD(struct i8254, port61),
	{ 0 },
};

const struct device_class i8254_class = {
	.name = "i8254",
	.size = sizeof(struct i8254),
	.ranges = {
		{ PORT, 0x00, 4, { pit_read, pit_write, .sizes = 1 } },
		{ PORT, 0x21, 1, { port61_read, port61_write, .sizes = 1 } },
	},
	.state = state,
	.reset = reset,
	.stop = stop,
};
