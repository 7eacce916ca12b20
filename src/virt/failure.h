/* SPDX-License-Identifier: MIT */
/*
 * Why a VM entry failed, for both vendors' units: which check, its section, the fields it looked
 * at. `--trace vmentry` prints it, `--stats` counts it. On the vCPU's thread.
 */
#ifndef VIRT_FAILURE_H
#define VIRT_FAILURE_H

#include "base/types.h"

struct cpu;

#define FAILURE_FIELDS 3

struct failure {
	const char *section; /* with its manual: "SDM3 27.3.1.1" */
	const char *text;    /* a literal: its address names the check; NULL: nothing failed */
	struct {
		const char *name; /* of vmcs.def, vmcb.def or what else was looked at; or NULL */
		u64 value;
	} field[FAILURE_FIELDS];
};

/*
 * FAILURE(&failure, section, text, show...) records a failure and is false. What it shows, one to
 * three of them: SHOW(field) of the struct that `v` points to, or SHOW_AS(name, value).
 */
#define SHOW(name) #name, v->name
#define SHOW_AS(name, value) name, value
#define FAILURE(failure, section, text, ...) \
	FAILURE_SET(failure, section, text, __VA_ARGS__, NULL, 0, NULL, 0, NULL)
#define FAILURE_SET(failure, section, text, name0, value0, name1, value1, name2, value2, ...) \
	failure_set(failure, section, text, name0, value0, name1, value1, name2, value2)
bool failure_set(struct failure *failure, const char *section, const char *text, const char *name0,
	u64 value0, const char *name1, u64 value1, const char *name2, u64 value2);

/*
 * Counts a failure that was recorded and, with --trace vmentry, prints it: the instruction at rip
 * failed to enter the guest that the structure at pa describes.
 */
void failure_report(struct cpu *cpu, const struct failure *failure, const char *instruction,
	u64 rip, u64 pa);

#endif
