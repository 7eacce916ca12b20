/* SPDX-License-Identifier: MIT */
/* What --stats prints: work of the engine, exits by reason and level, and where the time went. */
#include "cmd/stats.h"

#include <stdio.h>
#include <sys/resource.h>

#include "machine/machine.h"

static double seconds(u64 ns)
{
	return ns / 1e9;
}

static void print_cpu(const struct cpu *cpu)
{
	const struct cpu_stats *s = &cpu->stats;
	static const char *const units[] = { "SVM", "VMX" };

	fprintf(stderr, "cpu %u\n", cpu->id);
	fprintf(stderr, "  instructions translated %12llu\n", (unsigned long long)s->insns_translated);
	fprintf(stderr, "  blocks                  %12llu\n", (unsigned long long)s->blocks);
	fprintf(stderr, "  TLB fills               %12llu\n", (unsigned long long)s->tlb_fills);
	fprintf(stderr, "  TLB flushes             %12llu\n", (unsigned long long)s->flushes);
	fprintf(stderr, "  indirect jump misses    %12llu\n", (unsigned long long)s->jump_misses);
	fprintf(stderr, "  slow accesses           %12llu\n", (unsigned long long)s->slow_accesses);
	fprintf(stderr, "  interrupts delivered    %12llu\n", (unsigned long long)s->irqs);
	for (unsigned unit = 0; unit < 2; unit++)
		for (unsigned reason = 0; reason < STAT_EXIT_REASONS; reason++)
			if (s->exits[unit][reason])
				fprintf(stderr, "  %s exit 0x%02x%s %*llu\n", units[unit], reason,
					reason == STAT_EXIT_REASONS - 1 ? " and others" : "",
					reason == STAT_EXIT_REASONS - 1 ? 11 : 22,
					(unsigned long long)s->exits[unit][reason]);
	for (unsigned level = 0; level < ARRAY_SIZE(s->level_ns); level++)
		if (s->level_ns[level])
			fprintf(stderr, "  seconds in L%u           %12.3f\n", level + 1,
				seconds(s->level_ns[level]));
}

void stats_print(const struct machine *machine)
{
	struct rusage usage;

	for (unsigned i = 0; i < machine->cpu_count; i++)
		print_cpu(machine->cpus[i]);
	getrusage(RUSAGE_SELF, &usage);
	fprintf(stderr, "seconds run               %12.3f\n",
		seconds(machine->end_ns - machine->ready_ns));
	fprintf(stderr, "seconds of CPU            %12.3f user %.3f system\n",
		usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6,
		usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6);
	fprintf(stderr, "peak memory               %12ld KiB, guest memory included\n",
		usage.ru_maxrss);
}
