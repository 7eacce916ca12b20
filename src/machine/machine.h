/* SPDX-License-Identifier: MIT */
/* One VM: what it is made of, its life, its threads, its lock. */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/types.h"
#include <pthread.h>
#include "mem/space.h"
#include "cpu/cpu.h"

struct board;
struct loop;

/* How a VM ended; the process exit status follows from it (cmd/run.c). */
enum machine_end { END_NONE, END_POWEROFF, END_DEBUG_EXIT, END_TRIPLE_FAULT, END_RESET, END_STOPPED,
	END_FAILED };

struct machine {
	struct ram ram;
	struct space *memory;
	struct space *ports;
	struct cpu *cpus[256];
	unsigned cpu_count;
	struct board *board;
	struct loop *loop;       /* main thread: timers and file descriptors, base/loop.h */
	pthread_mutex_t lock;    /* all devices; held by whoever runs device code */
	enum machine_end end;
	int debug_exit_value;
	bool no_reboot;
};

/* Any thread. The first end wins; the loop wakes and the vCPUs leave. */
void machine_end(struct machine *machine, enum machine_end how);
/* A guest asked for a reset (port 92h, CF9h, triple fault): done by the vCPU's thread at its next
 * boundary. */
void machine_request_reset(struct machine *machine);
void machine_lock(struct machine *machine);
void machine_unlock(struct machine *machine);
/* Makes a vCPU look at its events: sets exit_request and wakes it if it sleeps. Any thread. */
void machine_kick(struct cpu *cpu);
/* Called by a halted vCPU without the lock: returns when kicked. */
void machine_wait(struct cpu *cpu);

#endif
