/* SPDX-License-Identifier: MIT */
/*
 * The event loop of a thread: file descriptors and timers over epoll. Handlers run on the
 * thread that calls loop_run(). For the machine's loop they run with the machine lock held, since
 * the loop takes it through `before` and `after`.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/types.h"

struct loop;

struct loop *loop_new(void (*before)(void *), void (*after)(void *), void *arg); /* NULL: errno */
void loop_free(struct loop *loop);
/* Whether its thread has a CPU beside those of the threads that set timers, as it has not from the start:
 * then it may stay awake for what spares them work. Before loop_run(). */
void loop_own_cpu(struct loop *loop, bool own);

#define LOOP_READ 1
#define LOOP_WRITE 2
/* Watches fd; calling again changes the events, 0 stops. -errno. From any thread that holds the
 * machine lock. */
int loop_watch(struct loop *loop, int fd, unsigned events,
	void (*ready)(void *arg, int fd, unsigned events), void *arg);

/* A timer by CLOCK_MONOTONIC nanoseconds. Owned by the caller, zeroed before first use except
 * for fire and arg. loop_timer_set() may be called from any thread that holds the machine lock. */
struct loop_timer {
	void (*fire)(void *arg);
	void *arg;
	u64 deadline;    /* ns; 0: not armed */
	unsigned heap;   /* place in the loop's heap, 0: none */
};
void loop_timer_set(struct loop *loop, struct loop_timer *timer, u64 deadline); /* 0: disarm */

/* Runs until loop_stop(), which any thread or signal handler may call. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

u64 clock_ns(void); /* CLOCK_MONOTONIC */
u64 clock_realtime_ns(void); /* since 1970, UTC */

#endif
