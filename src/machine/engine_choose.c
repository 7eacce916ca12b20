/* SPDX-License-Identifier: MIT */
/* Which engine a machine gets: --engine, and what the host can do; and what each can offer. */
#include <stdio.h>
#include <string.h>

#include "board/board.h"
#include "kvm/kvm.h"
#include "machine/engines.h"
#include "translate/engine.h"

static bool say(char note[MACHINE_PROBLEM_LEN], const char *before, const char *why,
	const char *repair, const char *after)
{
	size_t len = strlen(before) + strlen(why) + strlen(repair) + strlen(after);

	/* A command that is cut off is worse than none */
	if (!repair[0])
		snprintf(note, MACHINE_PROBLEM_LEN, "%s%.220s%s", before, why, after);
	else if (len + 2 < MACHINE_PROBLEM_LEN)
		snprintf(note, MACHINE_PROBLEM_LEN, "%s%s; %s%s", before, why, repair, after);
	else
		snprintf(note, MACHINE_PROBLEM_LEN, "%s%.220s; nestbox host says how to mend it%s",
			before, why, after);
	return false;
}

/* ---- choosing ---- */

/* What the soft engine cannot do yet. */
static bool soft_can(const struct machine_config *config, char note[MACHINE_PROBLEM_LEN])
{
	if (config->board->cpus == 1)
		return true;
	snprintf(note, MACHINE_PROBLEM_LEN, "--cpus %u: more than one CPU is not there yet in the soft "
		"engine; give 1", config->board->cpus);
	return false;
}

/* KVM runs a guest's instructions on the host's CPU, whose vendor is then the guest's. */
static bool kvm_has_model(const struct machine_config *config, char why[KVM_PROBLEM_LEN])
{
	if (!config->model || config->model->vendor == cpuid_host_vendor())
		return true;
	snprintf(why, KVM_PROBLEM_LEN, "--cpu %s: /dev/kvm has only CPUs of the host's vendor",
		config->model->name);
	return false;
}

static const struct engine_ops *choose_kvm(const struct machine_config *config,
	char note[MACHINE_PROBLEM_LEN])
{
	char why[KVM_PROBLEM_LEN], repair[KVM_REPAIR_LEN];
	struct kvm_host host;
	enum kvm_lack lack;

	kvm_try(&host);
	lack = kvm_conclude(&host, why, repair);
	if (lack == KVM_REFUSES) {
		say(note, "--engine kvm: ", why, repair, "; or give --engine soft");
		return NULL;
	}
	if (lack == KVM_NO_HARDWARE)
		say(note, "warning: --engine kvm: ", why, "", "; --engine soft works");
	if (!kvm_conclude_nesting(&host, config->nested, why, repair)) {
		say(note, "--nested-hw-virt: ", why, repair, "; or give --engine soft");
		return NULL;
	}
	if (!kvm_has_model(config, why)) {
		say(note, "", why, "", "; give --engine soft");
		return NULL;
	}
	return &kvm_engine;
}

static const struct engine_ops *choose_any(const struct machine_config *config,
	char note[MACHINE_PROBLEM_LEN])
{
	char why[KVM_PROBLEM_LEN], repair[KVM_REPAIR_LEN];
	struct kvm_host host;

	kvm_try(&host);
	if (kvm_conclude(&host, why, repair) == KVM_WORKS &&
	    kvm_conclude_nesting(&host, config->nested, why, repair) && kvm_has_model(config, why)) {
		snprintf(note, MACHINE_PROBLEM_LEN, "engine kvm: /dev/kvm works");
		return &kvm_engine;
	}
	if (!soft_can(config, note))
		return NULL;
	say(note, "engine soft: ", why, repair, "");
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

/* ---- telling ---- */

static void offer_soft(struct engine_offer *offer, const struct kvm_host *host)
{
	struct board_config board = { .cpus = MACHINE_CPUS_MAX };
	struct machine_config config = { .board = &board };
	char note[MACHINE_PROBLEM_LEN];
	int error;

	offer->name = "soft";
	if (!(host->features & BIT(HOST_V2))) {
		snprintf(offer->why, sizeof(offer->why), "the CPU is older than x86-64-v2 (SSE4.2, "
			"POPCNT)");
		snprintf(offer->repair, sizeof(offer->repair), "%s", host->hypervisor[0] ?
			"give this machine more of its host's CPU (QEMU: -cpu host)" : "");
		return;
	}
	error = engine_check();
	if (error) {
		snprintf(offer->why, sizeof(offer->why), "no memory for translated code can be had: "
			"%s", strerror(-error));
		snprintf(offer->repair, sizeof(offer->repair), "allow nestbox memory that is mapped "
			"executable (as root: sysctl vm.memfd_noexec=0, or the policy of SELinux)");
		return;
	}
	offer->works = true;
	while (board.cpus > 1 && !soft_can(&config, note))
		board.cpus--;
	offer->cpus = board.cpus;
	for (unsigned i = 0; i < ARRAY_SIZE(offer->nested); i++) {
		struct nested_offer *nested = &offer->nested[i];

		config.nested = NESTED_AMD + i;
		nested->given = soft_can(&config, nested->why);
		if (nested->given)
			nested->why[0] = 0;
	}
}

static void offer_kvm(struct engine_offer *offer, const struct kvm_host *host)
{
	enum kvm_lack lack = kvm_conclude(host, offer->why, offer->repair);

	offer->name = "kvm";
	offer->works = lack == KVM_WORKS;
	if (!offer->works)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(offer->nested); i++) {
		struct nested_offer *nested = &offer->nested[i];

		nested->given = kvm_conclude_nesting(host, NESTED_AMD + i, nested->why,
			nested->repair);
	}
	offer->cpus = MIN(host->max_cpus, MACHINE_CPUS_MAX);
	kvm_conclude_paging(host, offer->slow, offer->slow_repair);
}

/* Each lack has its reason. */
static void give_nothing(struct engine_offer *offer)
{
	for (unsigned i = 0; i < ARRAY_SIZE(offer->nested); i++)
		snprintf(offer->nested[i].why, sizeof(offer->nested[i].why),
			"the engine %s does not work here", offer->name);
}

void engine_offers(struct engine_offer offers[ENGINE_OFFERS], const struct kvm_host *host)
{
	u64 memory = ram_host_limit();

	memset(offers, 0, ENGINE_OFFERS * sizeof(offers[0]));
	offer_soft(&offers[0], host);
	offer_kvm(&offers[1], host);
	for (unsigned i = 0; i < ENGINE_OFFERS; i++) {
		offers[i].memory = offers[i].works ? memory : 0;
		if (!offers[i].works)
			give_nothing(&offers[i]);
	}
}
