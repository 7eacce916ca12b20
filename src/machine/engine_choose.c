/* SPDX-License-Identifier: MIT */
/* Which engine a machine gets: --engine, and what the host can do. */
#include <stdio.h>

#include "board/board.h"
#include "kvm/kvm.h"
#include "machine/engines.h"

/* What the soft engine cannot do yet. */
static bool soft_can(const struct machine_config *config, char note[MACHINE_PROBLEM_LEN])
{
	if (config->board->cpus == 1)
		return true;
	snprintf(note, MACHINE_PROBLEM_LEN, "--cpus %u: more than one CPU is not there yet in the soft "
		"engine; give 1", config->board->cpus);
	return false;
}

static const struct engine_ops *choose_kvm(const struct machine_config *config,
	char note[MACHINE_PROBLEM_LEN])
{
	struct kvm_probe probe;
	char why[KVM_PROBLEM_LEN];

	kvm_try(&probe);
	if (probe.lack == KVM_REFUSES) {
		snprintf(note, MACHINE_PROBLEM_LEN, "--engine kvm: %.220s; or give --engine soft",
			probe.why);
		return NULL;
	}
	if (!kvm_can_nest(config->nested, why)) {
		snprintf(note, MACHINE_PROBLEM_LEN, "--nested-hw-virt: %s", why);
		return NULL;
	}
	if (probe.lack == KVM_NO_HARDWARE)
		snprintf(note, MACHINE_PROBLEM_LEN, "warning: --engine kvm: %.220s; --engine soft "
			"works", probe.why);
	return &kvm_engine;
}

static const struct engine_ops *choose_any(const struct machine_config *config,
	char note[MACHINE_PROBLEM_LEN])
{
	struct kvm_probe probe;
	char why[KVM_PROBLEM_LEN];

	kvm_try(&probe);
	if (probe.lack == KVM_WORKS && kvm_can_nest(config->nested, why)) {
		snprintf(note, MACHINE_PROBLEM_LEN, "engine kvm: /dev/kvm works");
		return &kvm_engine;
	}
	if (!soft_can(config, note))
		return NULL;
	snprintf(note, MACHINE_PROBLEM_LEN, "engine soft: %s",
		probe.lack == KVM_WORKS ? why : probe.why);
	return &soft_engine;
}

const struct engine_ops *engine_choose(const struct machine_config *config,
	char note[MACHINE_PROBLEM_LEN])
{
	switch (config->engine) {
	case ENGINE_KVM:
		return choose_kvm(config, note);
	case ENGINE_SOFT:
		return soft_can(config, note) ? &soft_engine : NULL;
	default:
		return choose_any(config, note);
	}
}
