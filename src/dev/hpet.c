/* SPDX-License-Identifier: MIT */
/*
 * The IA-PC HPET, specification 1.0a. The counter is the host's clock and worked out when it is read;
 * a timer of the loop is armed for a match that could be seen.
 *
 * Not modelled: interrupts by message (FSB), which 1.0a leaves optional.
 */
#include "dev/hpet.h"

/* 2.3: offsets */
#define CAPABILITIES 0x000
#define CONFIGURATION 0x010
#define STATUS 0x020
#define COUNTER 0x0f0
#define TIMERS 0x100
#define TIMER_SIZE 0x20
#define TIMER_CONFIG 0x00
#define TIMER_COMPARATOR 0x08

#define TICK_NS 10
#define PERIOD_FS (TICK_NS * 1000000ull)

/* 2.3.5 */
#define ENABLE BIT(0)
#define LEGACY BIT(1)
/* 2.3.8 */
#define T_LEVEL BIT(1)
#define T_ENABLE BIT(2)
#define T_PERIODIC BIT(3)
#define T_CAN_PERIODIC BIT(4)
#define T_CAN_64 BIT(5)
#define T_SET_VALUE BIT(6)
#define T_32 BIT(8)
#define T_ROUTE_SHIFT 9
#define T_ROUTE MASK(13, 9)
#define T_WRITABLE (T_LEVEL | T_ENABLE | T_PERIODIC | T_SET_VALUE | T_32)
#define T_ROUTES MASK(HPET_ROUTE_FIRST + HPET_ROUTES - 1, HPET_ROUTE_FIRST)

/* A match farther away than this never comes. */
#define FAR BIT(60)

static u64 counter(const struct hpet *h)
{
	return h->config & ENABLE ? h->base + (clock_ns() - h->start) / TICK_NS : h->base;
}

static unsigned number(const struct hpet_timer *t)
{
	return t - t->hpet->timers;
}

static u64 width(const struct hpet_timer *t)
{
	return t->config & T_32 ? MASK(31, 0) : ~0ull;
}

/* ---- lines ---- */

static const struct line *line_of(const struct hpet_timer *t)
{
	unsigned n = number(t), route = (t->config & T_ROUTE) >> T_ROUTE_SHIFT;

	if ((t->hpet->config & LEGACY) && n < 2)
		return &t->hpet->legacy[n];
	return route ? &t->hpet->route[route - HPET_ROUTE_FIRST] : NULL;
}

static void drive(struct hpet_timer *t, bool level)
{
	const struct line *line = line_of(t);

	if (level == t->high)
		return;
	t->high = level && line;
	if (line)
		line_set(line, level);
}

/* Of a level-triggered timer. */
static void update_line(struct hpet_timer *t)
{
	const struct hpet *h = t->hpet;

	if (!(t->config & T_LEVEL))
		return;
	drive(t, (h->config & ENABLE) && (h->status & BIT(number(t))) &&
			(t->config & T_ENABLE));
}

static void raise(struct hpet_timer *t)
{
	if (t->config & T_LEVEL) {
		t->hpet->status |= BIT(number(t));
		update_line(t);
	} else if (t->config & T_ENABLE) {
		/* an edge, and then it stays: an 8259 forgets a request whose line falls again */
		drive(t, false);
		drive(t, true);
	}
}

/* ---- matches ---- */

static void set_alarm(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	u64 deadline = 0;

	if (t->armed && (h->config & ENABLE) && (t->config & (T_ENABLE | T_LEVEL))) {
		deadline = h->start + (t->due - h->base) * TICK_NS;
		if ((t->config & T_PERIODIC) && t->period < HPET_MIN_TICK)
			deadline = MAX(deadline, clock_ns() + HPET_MIN_TICK * TICK_NS);
	}
	loop_timer_set(h->loop, &t->timer, deadline);
}

/* The next time that the counter comes to the comparator; when it is there now, once around. */
static void schedule(struct hpet_timer *t)
{
	u64 now = counter(t->hpet);
	u64 distance = ((t->comparator - now - 1) & width(t)) + 1;

	t->armed = distance && distance < FAR;
	t->due = now + distance;
	set_alarm(t);
}

/* Matches that have come. Several that were missed are one interrupt. */
static void catch_up(struct hpet_timer *t)
{
	u64 late = counter(t->hpet) - t->due;

	if (!t->armed || late >= FAR)
		return;
	if ((t->config & T_PERIODIC) && t->period) {
		u64 step = (late / t->period + 1) * t->period;

		t->comparator = (t->comparator + step) & width(t);
		t->due += step;
		t->armed = t->period < FAR;
	} else if (t->config & T_32) {
		t->due += ((late >> 32) + 1) << 32;
	} else {
		t->armed = false;
	}
	raise(t);
	set_alarm(t);
}

static void fire(void *arg)
{
	struct hpet_timer *t = arg;

	catch_up(t);
	set_alarm(t);
}

static void catch_up_all(struct hpet *h)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		catch_up(&h->timers[i]);
}

/* ---- registers ---- */

/* What a write of 4 or 8 bytes makes of a register. */
static u64 deposit(u64 old, u64 offset, unsigned size, u64 value)
{
	if (size == 8)
		return value;
	return offset & 4 ? (u32)old | value << 32 : (old & ~MASK(31, 0)) | (u32)value;
}

static u64 register_read(struct hpet *h, u64 offset)
{
	unsigned n = (offset - TIMERS) / TIMER_SIZE;

	switch (offset) {
	case CAPABILITIES:
		return HPET_ID | PERIOD_FS << 32;
	case CONFIGURATION:
		return h->config;
	case STATUS:
		return h->status;
	case COUNTER:
		return counter(h);
	}
	if (offset < TIMERS || n >= HPET_TIMERS)
		return 0;
	switch (offset % TIMER_SIZE) {
	case TIMER_CONFIG:
		return h->timers[n].config | T_CAN_PERIODIC | T_CAN_64 | T_ROUTES << 32;
	case TIMER_COMPARATOR:
		return h->timers[n].comparator;
	default:
		return 0;
	}
}

static u64 hpet_read(void *device, u64 offset, unsigned size)
{
	struct hpet *h = device;
	u64 value;

	catch_up_all(h);
	value = register_read(h, offset & ~7ull);
	return offset & 4 ? value >> 32 : value;
}

static void write_configuration(struct hpet *h, u64 value)
{
	u64 changed = (h->config ^ value) & (ENABLE | LEGACY);

	if (!changed)
		return;
	/* lines are let go while it is known which they are */
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		drive(&h->timers[i], false);
	if (changed & ENABLE) {
		h->base = counter(h);
		h->start = clock_ns();
	}
	h->config ^= changed;
	if ((changed & LEGACY) && h->replace)
		h->replace(h->arg, h->config & LEGACY);
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		update_line(&h->timers[i]);
		schedule(&h->timers[i]);
	}
}

/* 2.3.7: only while it is halted. */
static void write_counter(struct hpet *h, u64 value)
{
	if (h->config & ENABLE)
		return;
	h->base = value;
}

static void write_timer_config(struct hpet_timer *t, u64 value)
{
	u64 route = value & T_ROUTE;

	/* 2.3.8: what is no route of this timer is not taken */
	if (!(T_ROUTES & BIT(route >> T_ROUTE_SHIFT)))
		route = t->config & T_ROUTE;
	value = (value & T_WRITABLE) | route;
	if (((value ^ t->config) & (T_ROUTE | T_LEVEL)) || !(value & T_ENABLE))
		drive(t, false);
	t->config = value;
	if (!(t->config & T_PERIODIC))
		t->config &= ~T_SET_VALUE;
	if (!(t->config & T_LEVEL))
		t->hpet->status &= ~BIT(number(t));
	t->comparator &= width(t);
	t->period &= width(t);
	update_line(t);
	schedule(t);
}

/*
 * 2.3.9.2: of a periodic timer the comparator itself is only written behind T_SET_VALUE. That this
 * write sets the period too is what hardware does, and software relies on.
 */
static void write_comparator(struct hpet_timer *t, u64 offset, unsigned size, u64 value)
{
	if (!(t->config & T_PERIODIC) || (t->config & T_SET_VALUE))
		t->comparator = deposit(t->comparator, offset, size, value) & width(t);
	if (t->config & T_PERIODIC)
		t->period = deposit(t->period, offset, size, value) & width(t);
	t->config &= ~T_SET_VALUE;
	schedule(t);
}

static void write_timer(struct hpet *h, u64 offset, unsigned size, u64 value)
{
	unsigned n = (offset - TIMERS) / TIMER_SIZE;
	struct hpet_timer *t;

	if (offset < TIMERS || n >= HPET_TIMERS)
		return;
	t = &h->timers[n];
	switch (offset % TIMER_SIZE & ~7ull) {
	case TIMER_CONFIG:
		write_timer_config(t, deposit(t->config, offset, size, value));
		break;
	case TIMER_COMPARATOR:
		write_comparator(t, offset, size, value);
		break;
	}
}

static void hpet_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct hpet *h = device;

	catch_up_all(h);
	switch (offset & ~7ull) {
	case CONFIGURATION:
		write_configuration(h, deposit(h->config, offset, size, value));
		break;
	case STATUS:
		h->status &= ~deposit(0, offset, size, value);
		for (unsigned i = 0; i < HPET_TIMERS; i++)
			update_line(&h->timers[i]);
		break;
	case COUNTER:
		write_counter(h, deposit(h->base, offset, size, value));
		break;
	default:
		write_timer(h, offset, size, value);
	}
}

static void reset(void *device)
{
	struct hpet *h = device;

	if (h->config & LEGACY && h->replace)
		h->replace(h->arg, false);
	h->config = h->status = h->base = h->start = 0;
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		struct hpet_timer *t = &h->timers[i];

		t->hpet = h;
		t->config = t->period = 0;
		t->comparator = ~0ull; /* 2.3.9 */
		t->armed = t->high = false;
		t->timer.fire = fire;
		t->timer.arg = t;
		loop_timer_set(h->loop, &t->timer, 0);
	}
}

static void stop(void *device)
{
	struct hpet *h = device;

	for (unsigned i = 0; i < HPET_TIMERS; i++)
		loop_timer_set(h->loop, &h->timers[i].timer, 0);
}

#define TIMER_FIELDS(n) \
	FIELD(struct hpet, timers[n].config), FIELD(struct hpet, timers[n].comparator), \
		FIELD(struct hpet, timers[n].period), FIELD(struct hpet, timers[n].armed), \
		FIELD(struct hpet, timers[n].due), FIELD(struct hpet, timers[n].high)

static const struct field state[] = {
	FIELD(struct hpet, config),
	FIELD(struct hpet, status),
	FIELD(struct hpet, base),
	FIELD(struct hpet, start),
	TIMER_FIELDS(0),
	TIMER_FIELDS(1),
	TIMER_FIELDS(2),
	{ 0 },
};

const struct device_class hpet_class = {
	.name = "hpet",
	.size = sizeof(struct hpet),
	.ranges = { { MMIO, 0, HPET_LEN, { hpet_read, hpet_write, .sizes = 4 | 8 } } },
	.state = state,
	.reset = reset,
	.stop = stop,
};
