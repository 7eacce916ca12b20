/* SPDX-License-Identifier: MIT */
/* Samples of the time-stamp counter and their median, for bare-metal guests that measure. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include "guest.h"

#define SAMPLES_MAX 2001

struct samples {
	unsigned count;
	u64 ticks[SAMPLES_MAX];
};

static inline void samples_add(struct samples *samples, u64 ticks)
{
	if (samples->count < SAMPLES_MAX)
		samples->ticks[samples->count++] = ticks;
}

/* Sorts them. */
static inline u64 samples_median(struct samples *samples)
{
	for (unsigned gap = samples->count / 2; gap; gap /= 2) {
		for (unsigned i = gap; i < samples->count; i++) {
			u64 value = samples->ticks[i];
			unsigned at = i;

			for (; at >= gap && samples->ticks[at - gap] > value; at -= gap)
				samples->ticks[at] = samples->ticks[at - gap];
			samples->ticks[at] = value;
		}
	}
	return samples->count ? samples->ticks[samples->count / 2] : 0;
}

#endif
