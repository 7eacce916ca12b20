/* SPDX-License-Identifier: MIT */
/* `nestbox host`: what this host can run and what it lacks. */
#ifndef CMD_HOST_H
#define CMD_HOST_H

#include <stdio.h>
#include "kvm/host.h"
#include "machine/engines.h"

struct host_report {
	struct kvm_host host;
	struct engine_offer offers[ENGINE_OFFERS]; /* soft, kvm */
	char kernel[65]; /* release */
	unsigned long uid;
};

/* The name of the engine that --engine auto takes; NULL: none works. */
const char *host_report_auto(const struct host_report *report);
void host_print_text(const struct host_report *report, FILE *out);
/* docs/host.md describes it. */
void host_print_json(const struct host_report *report, FILE *out);

/* argv: what follows the verb. Returns the exit status. */
int cmd_host(int argc, char **argv);

#endif
