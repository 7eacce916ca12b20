/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints of DR0 to DR3 on data and ports: APM2 13.1.1, 13.1.2. Those on instructions are
 * event.c's, at the boundary before the instruction.
 *
 * While breakpoints are armed blocks hold one instruction (MODE_STEP), and a page that one of them
 * lies in has no TLB entry, so that every access to it comes to C and is told to cpu_watch(). What
 * it hits is raised at the instruction's end.
 */
#include "cpu/handlers.h"
#include "cpu/tlb.h"

enum breakpoint_kind { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

static enum breakpoint_kind kind_of(const struct cpu *cpu, unsigned n)
{
	return (cpu->dr7 >> (16 + 4 * n)) & 3;
}

static bool enabled(const struct cpu *cpu, unsigned n)
{
	return (cpu->dr7 >> (2 * n)) & 3;
}

/* The bytes that breakpoint n covers, its address aligned as the CPU does: APM2 13.1.1.4. */
static u64 watched_range(const struct cpu *cpu, unsigned n, u64 *first)
{
	static const u8 lengths[] = { 1, 2, 8, 4 };
	u64 len = lengths[(cpu->dr7 >> (18 + 4 * n)) & 3];

	*first = cpu->dr[n] & ~(len - 1);
	return len;
}

static bool overlaps(const struct cpu *cpu, unsigned n, u64 at, u64 len)
{
	u64 first, size = watched_range(cpu, n, &first);

	return at < first + size && first < at + len;
}

bool cpu_watches_page(const struct cpu *cpu, u64 linear)
{
	for (unsigned n = 0; n < 4; n++)
		if (enabled(cpu, n) && (kind_of(cpu, n) & 1) &&
		    overlaps(cpu, n, linear & PAGE_MASK, PAGE_SIZE))
			return true;
	return false;
}

void cpu_watch_data(struct cpu *cpu, u64 linear, u64 len, bool write)
{
	for (unsigned n = 0; n < 4; n++) {
		enum breakpoint_kind kind = kind_of(cpu, n);

		if (enabled(cpu, n) && (kind == BREAK_ACCESS || (kind == BREAK_WRITE && write)) &&
		    overlaps(cpu, n, linear, len))
			cpu->pending_db |= DR6_B(n);
	}
}

void cpu_watch_port(struct cpu *cpu, u16 port, unsigned size)
{
	/* without CR4.DE there are none, APM2 13.1.1.4 */
	if (!(cpu->cr4 & CR4_DE))
		return;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(cpu, n) && kind_of(cpu, n) == BREAK_IO && overlaps(cpu, n, port, size))
			cpu->pending_db |= DR6_B(n);
}

void cpu_watch_update(struct cpu *cpu)
{
	bool same = cpu->watched_dr7 == cpu->dr7;

	for (unsigned n = 0; n < 4; n++) {
		same = same && cpu->watched[n] == cpu->dr[n];
		cpu->watched[n] = cpu->dr[n];
	}
	cpu->watched_dr7 = cpu->dr7;
	if (!same && cpu->context)
		tlb_flush_all(cpu);
}
