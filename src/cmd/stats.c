/* SPDX-License-Identifier: MIT */
/* What --stats prints: work of the engine, exits by reason and level, and where the time went. */
#include "cmd/stats.h"

#include <stdio.h>
#include <sys/resource.h>

#include "kvm/kvm.h"
#include "machine/engines.h"
#include "machine/machine.h"
#include "virt/svm.h"
#include "virt/vmx.h"

static double seconds(u64 ns)
{
	return ns / 1e9;
}

static void count(const char *what, u64 n)
{
	fprintf(stderr, "  %-32s%12llu\n", what, (unsigned long long)n);
}

/* Exits to nestbox, by KVM's reasons */
static void print_kvm_cpu(const struct cpu *cpu)
{
	for (unsigned reason = 0; reason < STAT_EXIT_REASONS; reason++) {
		const char *name = kvm_stat_name(reason);
		char text[40];

		if (!cpu->stats.exits[1][reason])
			continue;
		snprintf(text, sizeof(text), "exits %02x %s", reason, name ? name : "?");
		count(text, cpu->stats.exits[1][reason]);
	}
}

/*
 * Exits of L2 to L1. What is deeper exits to L2 by way of L1, which the exits of L2's own VMRUN
 * count.
 */
static void print_svm_exits(unsigned slot, u64 n)
{
	const char *name = svm_stat_name(slot);
	char text[48];

	if (slot < SVM_EXIT_EXCEPTION)
		snprintf(text, sizeof(text), "exits L2 to L1 %s %u", name, slot & 15);
	else if (slot < SVM_EXIT_INTR)
		snprintf(text, sizeof(text), "exits L2 to L1 %s %u", name, slot & 31);
	else
		snprintf(text, sizeof(text), "exits L2 to L1 %s", name ? name : "?");
	count(text, n);
}

static void print_vmx_exits(unsigned reason, u64 n)
{
	const char *name = vmx_exit_name(reason);
	char text[48];

	snprintf(text, sizeof(text), "exits L2 to L1 %s", name ? name : "?");
	count(text, n);
}

/* VM entries that failed, by the check they failed; `--trace vmentry` shows each. */
static void print_failed_entries(const struct cpu_stats *s)
{
	for (unsigned i = 0; i < STAT_FAILED_CHECKS && s->failed_check[i].text; i++) {
		const struct failed_check *check = &s->failed_check[i];

		fprintf(stderr, "  %-32s%12llu  %s (%s)\n", "failed VM entries",
			(unsigned long long)check->count, check->text, check->section);
	}
	if (s->failed_others)
		count("failed VM entries, other checks", s->failed_others);
}

static void time_spent(const char *where, const struct cpu *cpu, unsigned level)
{
	double hz = cpuid_tsc_khz(cpu->cpuid) * 1e3;

	fprintf(stderr, "  seconds %-24s%12.3f\n", where, cpu->stats.level_ticks[level] / hz);
}

static void print_soft_cpu(const struct cpu *cpu)
{
	const struct cpu_stats *s = &cpu->stats;

	count("instructions translated", s->insns_translated);
	count("blocks", s->blocks);
	count("TLB fills", s->tlb_fills);
	count("TLB flushes", s->flushes);
	count("TLB flushes, nothing changed", s->flushes_held);
	count("indirect jump misses", s->jump_misses);
	count("slow accesses", s->slow_accesses);
	count("interrupts delivered", s->irqs);
	for (unsigned slot = 0; slot < STAT_EXIT_REASONS; slot++)
		if (s->exits[0][slot])
			print_svm_exits(slot, s->exits[0][slot]);
	for (unsigned slot = 0; slot < STAT_EXIT_REASONS; slot++)
		if (s->exits[1][slot])
			print_vmx_exits(slot, s->exits[1][slot]);
	print_failed_entries(s);
	time_spent("in level 1", cpu, LEVEL_HOST);
	if (s->level_ticks[LEVEL_GUEST])
		time_spent("in level 2 and deeper", cpu, LEVEL_GUEST);
	time_spent("asleep", cpu, LEVEL_ASLEEP);
}

void stats_print(const struct machine *machine)
{
	struct rusage usage;

	for (unsigned i = 0; i < machine->cpu_count; i++) {
		fprintf(stderr, "cpu %u, engine %s\n", i, machine->engine->name);
		if (machine->kvm)
			print_kvm_cpu(machine->cpus[i]);
		else
			print_soft_cpu(machine->cpus[i]);
	}
	getrusage(RUSAGE_SELF, &usage);
	fprintf(stderr, "seconds run                       %12.3f\n",
		seconds(machine->end_ns - machine->ready_ns));
	fprintf(stderr, "seconds of CPU                    %12.3f user %.3f system\n",
		usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6,
		usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6);
	fprintf(stderr, "peak memory                       %12ld KiB, guest memory included\n",
		usage.ru_maxrss);
}
