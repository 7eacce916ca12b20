/* SPDX-License-Identifier: MIT */
/* One VM: what it is made of, its life, its threads, its lock. */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/types.h"
#include <pthread.h>
#include "base/loop.h"
#include "mem/space.h"
#include "cpu/cpu.h"

struct board;
struct board_config;
struct console;
struct engine_ops;
struct kvm_vm;
struct loop;

/* How a VM ended; the process exit status follows from it (cmd/run.c). */
enum machine_end { END_NONE, END_POWEROFF, END_DEBUG_EXIT, END_TRIPLE_FAULT, END_RESET, END_STOPPED,
	END_FAILED };

enum { CONSOLE_SERIAL, CONSOLE_VIRTIO, CONSOLE_COUNT };

struct machine {
	struct ram ram;
	struct space *memory;
	struct space *ports;
	struct cpu *cpus[256];
	unsigned cpu_count;
	struct board *board;
	const struct engine_ops *engine; /* machine/engines.h */
	struct kvm_vm *kvm;      /* the KVM engine's */
	struct loop *loop;       /* main thread: timers and file descriptors, base/loop.h */
	pthread_mutex_t lock;    /* all devices; held by whoever runs device code */
	enum machine_end end;
	int debug_exit_value;
	bool no_reboot;
	u32 leaving;             /* set with end, or for a reset: machine_is_leaving() */
	struct loop_timer wakes[256]; /* of the vCPU of that id, machine_wake_at() */
	u32 sleeping[256];       /* futexes: the vCPU of that id waits in machine_wait() */
	pthread_t threads[256];  /* of the vCPUs */
	unsigned thread_count;
	unsigned parked;         /* vCPUs that left the engine for a reset, under the lock */
	u64 generation;          /* resets done so far */
	pthread_cond_t reset_done;
	struct console *consoles[CONSOLE_COUNT]; /* NULL: off */
	int signal_fd;
	u64 ready_ns, end_ns;    /* CLOCK_MONOTONIC: when the vCPUs started, when the VM ended */
};

enum engine_choice { ENGINE_AUTO, ENGINE_SOFT, ENGINE_KVM };

/* What a machine is made from; strings stay the caller's and live as long as the machine. */
struct machine_config {
	const struct board_config *board;
	enum engine_choice engine;
	enum nested_vendor nested;
	const struct cpu_model *model; /* NULL: none in particular */
	/* Where the serial port and the virtio console lead: "off", or see machine/console.h. The
	 * board has a virtio console where it is not off. */
	const char *serial, *console;
	u8 escape;          /* the terminal's, see machine/escape.h */
	u64 code_cache; /* bytes */
	bool no_reboot;
};

#define MACHINE_PROBLEM_LEN 320
#define MACHINE_CPUS_MAX 64
/*
 * Makes a machine with its board, its CPU and its engine, image loaded. The calling thread becomes
 * the one of the loop. 0 or -errno, and problem is one line for the user.
 */
int machine_new(struct machine **machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN]);
/* Runs it to its end, also by SIGTERM and SIGINT. Main thread, lock not held. */
enum machine_end machine_run(struct machine *machine);
void machine_free(struct machine *machine);

/* Any thread, with or without the lock. The first end wins; the loop wakes, the vCPUs leave. */
void machine_end(struct machine *machine, enum machine_end how);
/* A guest asked for a reset (port 92h, CF9h, triple fault): the vCPUs leave the engine at their
 * next boundary, and the last to leave resets all. Any thread. With no_reboot the machine ends. */
void machine_request_reset(struct machine *machine);
/* machine_lock(), machine_kick() and what else a vCPU needs are declared in cpu/cpu.h. */

#endif
