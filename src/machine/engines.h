/* SPDX-License-Identifier: MIT */
/* What a machine asks of an engine, and which engine it gets. */
#ifndef MACHINE_ENGINES_H
#define MACHINE_ENGINES_H

#include "machine/machine.h"

struct board_interrupts;

struct engine_ops {
	const char *name;
	/* The vCPUs are made and not reset yet, the board is not there. 0, or -errno, and problem
	 * says what the user can do or is empty. */
	int (*open)(struct machine *machine, const struct machine_config *config,
		char problem[MACHINE_PROBLEM_LEN]);
	/* All is made and reset. 0 or -errno. */
	int (*start)(struct machine *machine, const struct machine_config *config);
	/* Also after an open() that failed. */
	void (*close)(struct machine *machine);
	/* The interrupt controllers that it brings; nothing: the board's own. */
	struct board_interrupts (*interrupts)(struct machine *machine);
	/* On the vCPU's thread until machine_is_leaving(). */
	void (*run)(struct cpu *cpu);
	/* Makes a vCPU look at its events, and at machine_is_leaving(), soon. Any thread. */
	void (*kick)(struct cpu *cpu);
};

extern const struct engine_ops soft_engine, kvm_engine;

/*
 * The engine that config asks for, or with `auto` the one that fits. `note` is for the user: which
 * and why where that was left open, or what may not work; or empty. NULL: it says why none is.
 */
const struct engine_ops *engine_choose(const struct machine_config *config,
	char note[MACHINE_PROBLEM_LEN]);

#endif
