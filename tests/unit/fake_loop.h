/* SPDX-License-Identifier: MIT */
/*
 * Time for tests of chips: it stands still until a test moves it, and timers fire at exactly their
 * time. Linked in place of base/loop.c.
 */
#ifndef FAKE_LOOP_H
#define FAKE_LOOP_H

#include "base/loop.h"
#include "mem/line.h"

void fake_start(u64 monotonic, u64 realtime); /* forgets all timers */
void fake_advance(u64 ns);                    /* fires what is due on the way */
unsigned fake_armed(void);                    /* how many timers wait */

/* A listener for lines: the level now and how often it rose. */
struct probe {
	bool level;
	unsigned rises;
};
void probe_set(void *probe, unsigned pin, bool level);

#endif
