/* SPDX-License-Identifier: MIT */
/* What a machine asks of an engine, and which engine it gets. */
#ifndef MACHINE_ENGINES_H
#define MACHINE_ENGINES_H

#include "kvm/host.h"
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

/* One vendor's virtualization unit for a guest's CPU. Where it is not given: why, and what would
 * mend that, or empty where nothing is known to. */
struct nested_offer {
	bool given;
	char why[MACHINE_PROBLEM_LEN], repair[KVM_REPAIR_LEN];
};

/* What an engine can give a machine on this host. */
struct engine_offer {
	const char *name;
	bool works;
	char why[MACHINE_PROBLEM_LEN], repair[KVM_REPAIR_LEN]; /* where it does not */
	char slow[KVM_PROBLEM_LEN], slow_repair[KVM_REPAIR_LEN]; /* works, but; or empty */
	struct nested_offer nested[2]; /* AMD-V, VT-x */
	unsigned cpus; /* at most */
	u64 memory; /* bytes that the host can back now; UINT64_MAX: it does not say */
};

#define ENGINE_OFFERS 2 /* soft, kvm */
/* Of a host that was read and tried. Milliseconds; leaves nothing behind. */
void engine_offers(struct engine_offer offers[ENGINE_OFFERS], const struct kvm_host *host);

#endif
