/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's timer, SDM3 11.5.4: one-shot, periodic and TSC-deadline. The count is never
 * kept: it follows from when it was loaded. The timer of the loop is armed only while an expiry
 * would raise an interrupt.
 */
#include "dev/lapic.h"
#include "dev/lapic_internal.h"

/* A guest that asks for shorter periods gets this one: nothing it does may fill the main thread. */
#define PERIOD_MIN_NS 20000

static u32 mode(const struct lapic *lapic)
{
	return lapic->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

/* ns for one count */
static u64 count_ns(const struct lapic *lapic)
{
	unsigned code = (lapic->timer_divide & 3) | (lapic->timer_divide >> 1 & 4);
	u64 divide = code == 7 ? 1 : 2ull << code;

	return divide * (1000000000 / LAPIC_TIMER_HZ);
}

static u64 period_ns(const struct lapic *lapic)
{
	return lapic->timer_initial * count_ns(lapic);
}

u32 lapic_timer_current(const struct lapic *lapic)
{
	u64 counted;

	if (!lapic->timer_initial || lapic->timer_expired || mode(lapic) == LVT_TIMER_DEADLINE)
		return 0;
	counted = (clock_ns() - lapic->timer_start) / count_ns(lapic);
	if (mode(lapic) == LVT_TIMER_PERIODIC)
		return lapic->timer_initial - counted % lapic->timer_initial;
	return counted < lapic->timer_initial ? lapic->timer_initial - counted : 0;
}

static void raise_interrupt(struct lapic *lapic)
{
	u32 lvt = lapic->lvt[LVT_TIMER];

	if (!(lvt & LVT_MASKED))
		lapic_accept(lapic, lvt & LVT_VECTOR, false);
}

static void arm_periodic(struct lapic *lapic)
{
	u64 period = period_ns(lapic);
	u64 now = clock_ns();
	u64 next = lapic->timer_start + ((now - lapic->timer_start) / period + 1) * period;

	if (period < PERIOD_MIN_NS)
		next = now + PERIOD_MIN_NS;
	loop_timer_set(lapic->loop, &lapic->timer, next);
}

static void arm_one_shot(struct lapic *lapic)
{
	u64 end = lapic->timer_start + period_ns(lapic);

	/* One that has expired stays so: unmasking it raises nothing. */
	loop_timer_set(lapic->loop, &lapic->timer, end > clock_ns() ? end : 0);
}

static void arm_deadline(struct lapic *lapic)
{
	u64 deadline = lapic->tsc_to_ns ? lapic->tsc_to_ns(lapic->tsc_arg, lapic->tsc_deadline) :
					  lapic->tsc_deadline;

	/* In the past, which guests do ask for: without a way through the main thread. */
	if (deadline <= clock_ns()) {
		lapic->tsc_deadline = 0;
		loop_timer_set(lapic->loop, &lapic->timer, 0);
		raise_interrupt(lapic);
		return;
	}
	loop_timer_set(lapic->loop, &lapic->timer, deadline);
}

static void arm(struct lapic *lapic)
{
	bool deadline_mode = mode(lapic) == LVT_TIMER_DEADLINE;

	if (deadline_mode && lapic->tsc_deadline)
		arm_deadline(lapic);
	else if (deadline_mode || !lapic->timer_initial || lapic->timer_expired ||
		 (lapic->lvt[LVT_TIMER] & LVT_MASKED))
		loop_timer_set(lapic->loop, &lapic->timer, 0);
	else if (mode(lapic) == LVT_TIMER_PERIODIC)
		arm_periodic(lapic);
	else
		arm_one_shot(lapic);
}

static void fire(void *arg)
{
	struct lapic *lapic = arg;

	/* The host's two clocks drift: a deadline that is still ahead by the TSC is awaited again,
	 * which is cheaper than an interrupt that the guest finds too early. */
	if (mode(lapic) == LVT_TIMER_DEADLINE) {
		arm_deadline(lapic);
		return;
	}
	raise_interrupt(lapic);
	if (mode(lapic) == LVT_TIMER_PERIODIC)
		arm_periodic(lapic);
}

void lapic_timer_write_lvt(struct lapic *lapic, u32 value)
{
	u32 old = lapic->lvt[LVT_TIMER];
	u32 changed = old ^ value;
	u64 counted;

	/* 11b is reserved: it stays what it was. */
	if ((value & LVT_TIMER_MODE) == LVT_TIMER_MODE) {
		value = (value & ~LVT_TIMER_MODE) | (old & LVT_TIMER_MODE);
		changed = old ^ value;
	}
	counted = lapic->timer_initial - lapic_timer_current(lapic);
	lapic->lvt[LVT_TIMER] = value;
	/* Between one-shot and periodic the count goes on; at its end it stays until it is loaded. */
	if (changed & LVT_TIMER_PERIODIC) {
		lapic->timer_expired = lapic->timer_initial && counted == lapic->timer_initial;
		lapic->timer_start = clock_ns() - counted * count_ns(lapic);
	}
	/* Into and out of TSC-deadline mode disarms. */
	if (changed & LVT_TIMER_DEADLINE) {
		lapic->timer_initial = 0;
		lapic->tsc_deadline = 0;
	}
	if (changed & (LVT_TIMER_MODE | LVT_MASKED))
		arm(lapic);
}

void lapic_timer_write_initial(struct lapic *lapic, u32 value)
{
	if (mode(lapic) == LVT_TIMER_DEADLINE)
		return;
	lapic->timer_initial = value;
	lapic->timer_expired = false;
	lapic->timer_start = clock_ns();
	arm(lapic);
}

void lapic_timer_write_divide(struct lapic *lapic, u32 value)
{
	u64 counted = lapic->timer_initial - lapic_timer_current(lapic);

	lapic->timer_divide = value;
	if (!lapic->timer_initial)
		return;
	/* The count goes on from where it is. */
	lapic->timer_start = clock_ns() - counted * count_ns(lapic);
	arm(lapic);
}

void lapic_timer_write_deadline(struct lapic *lapic, u64 value)
{
	if (mode(lapic) != LVT_TIMER_DEADLINE)
		return;
	lapic->tsc_deadline = value;
	arm(lapic);
}

void lapic_timer_init(struct lapic *lapic)
{
	lapic->timer = (struct loop_timer){ .fire = fire, .arg = lapic };
}

void lapic_timer_reset(struct lapic *lapic)
{
	lapic->timer_initial = lapic->timer_divide = 0;
	lapic->timer_start = 0;
	lapic->timer_expired = false;
	lapic->tsc_deadline = 0;
	loop_timer_set(lapic->loop, &lapic->timer, 0);
}
