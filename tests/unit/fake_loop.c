/* SPDX-License-Identifier: MIT */
#include "fake_loop.h"

#define TIMERS 16

static u64 now, realtime_offset;
static struct loop_timer *timers[TIMERS];

void fake_start(u64 monotonic, u64 realtime)
{
	now = monotonic;
	realtime_offset = realtime - monotonic;
	for (unsigned i = 0; i < TIMERS; i++)
		timers[i] = NULL;
}

u64 clock_ns(void)
{
	return now;
}

u64 clock_realtime_ns(void)
{
	return now + realtime_offset;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, u64 deadline)
{
	unsigned place = TIMERS;

	for (unsigned i = 0; i < TIMERS; i++) {
		if (timers[i] == timer)
			timers[i] = NULL;
		if (!timers[i])
			place = i;
	}
	timer->deadline = deadline <= INT64_MAX ? deadline : 0;
	if (timer->deadline && place < TIMERS)
		timers[place] = timer;
}

unsigned fake_armed(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < TIMERS; i++)
		count += timers[i] != NULL;
	return count;
}

static struct loop_timer *take_due(u64 until)
{
	struct loop_timer *due = NULL;
	unsigned place = 0;

	for (unsigned i = 0; i < TIMERS; i++) {
		if (timers[i] && timers[i]->deadline <= until &&
			(!due || timers[i]->deadline < due->deadline)) {
			due = timers[i];
			place = i;
		}
	}
	if (due)
		timers[place] = NULL;
	return due;
}

void fake_advance(u64 ns)
{
	u64 end = now + ns;
	struct loop_timer *due;

	while ((due = take_due(end))) {
		if (due->deadline > now)
			now = due->deadline;
		due->deadline = 0;
		due->fire(due->arg);
	}
	now = end;
}

void probe_set(void *arg, unsigned pin, bool level)
{
	struct probe *probe = arg;

	if (level && !probe->level)
		probe->rises++;
	probe->level = level;
}
