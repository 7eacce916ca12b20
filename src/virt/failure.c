// SPDX-License-Identifier: MIT
/* See failure.h. */
#include "virt/failure.h"

#include <stdio.h>

#include "base/log.h"
#include "cpu/cpu.h"

bool failure_set(struct failure *failure, const char *section, const char *text, const char *name0,
	u64 value0, const char *name1, u64 value1, const char *name2, u64 value2)
{
	failure->section = section;
	failure->text = text;
	failure->field[0].name = name0;
	failure->field[0].value = value0;
	failure->field[1].name = name1;
	failure->field[1].value = value1;
	failure->field[2].name = name2;
	failure->field[2].value = value2;
	return false;
}

/* The table takes what fails first; a guest that tries out more kinds than fit fills `others`. */
static void count(struct cpu_stats *stats, const struct failure *failure)
{
	for (unsigned i = 0; i < ARRAY_SIZE(stats->failed_check); i++) {
		struct failed_check *check = &stats->failed_check[i];

		if (!check->text) {
			check->section = failure->section;
			check->text = failure->text;
		}
		if (check->text == failure->text) {
			check->count++;
			return;
		}
	}
	stats->failed_others++;
}

static void trace(const struct failure *failure, const char *instruction, u64 rip, u64 pa)
{
	char fields[FAILURE_FIELDS * 64];
	size_t len = 0;

	fields[0] = '\0';
	for (unsigned i = 0; i < FAILURE_FIELDS && failure->field[i].name; i++)
		len += snprintf(fields + len, sizeof(fields) - len, "%s %s %llx", i ? "," : ":",
			failure->field[i].name, (unsigned long long)failure->field[i].value);
	trace_print(TRACE_vmentry, "%s of %llx at %llx failed: %s (%s)%s", instruction,
		(unsigned long long)pa, (unsigned long long)rip, failure->text, failure->section,
		fields);
}

void failure_report(struct cpu *cpu, const struct failure *failure, const char *instruction,
	u64 rip, u64 pa)
{
	count(&cpu->stats, failure);
	if (!trace_on(TRACE_vmentry))
		return;
	cpu_park_fpu(cpu);
	trace(failure, instruction, rip, pa);
}
