/* SPDX-License-Identifier: MIT */
/*
 * Messages to the user, and trace points. Trace points are named in base/trace.def; `--trace
 * svm,mmu` prints them as they happen. Every point also leaves a record in a ring that bug()
 * dumps. None of this may be called while the guest's FPU state is live (cpu_park_fpu) except
 * trace_on(), which only reads a flag.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum trace_point {
#define TRACE_POINT(name, comment) TRACE_##name,
#include "base/trace.def"
#undef TRACE_POINT
	TRACE_COUNT
};

extern u64 trace_mask; /* BIT(TRACE_*) that print; set once from the command line */

static inline bool trace_on(enum trace_point point)
{
	return unlikely(trace_mask & BIT(point));
}

/* Parses "a,b,c"; on an unknown name returns a pointer to it, else NULL. */
const char *trace_enable(const char *list);
void trace_print(enum trace_point point, const char *format, ...) PRINTF(2, 3);
/* One line on standard error, message_prefix() before it. Keeps the terminal readable in raw mode. */
void message(const char *format, ...) PRINTF(1, 2);
/* Says before each message how many other nestboxes this one is inside of, where it is in any. Once,
 * at the start. */
void message_set_level(unsigned level);
/* What stands before messages: "nestbox: " or "nestbox (L1): ". */
const char *message_prefix(void);
/* A defect of ours: message, trace ring, abort(). Never reachable by a guest. */
_Noreturn void bug(const char *format, ...) PRINTF(1, 2);

#endif
