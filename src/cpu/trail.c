/* SPDX-License-Identifier: MIT */
/* The trails of contexts: see trail.h. */
#include "cpu/trail.h"

/*
 * Tables are compared by lines of eight entries, so that a guest with many pages has its trail in few of the lines
 * of the host's caches. Of each there is a sum of the entries that were used, each mixed in a way of its place that
 * loses nothing: no change of one entry can leave the sum as it was, and of several none that comes by chance, or
 * that a program could arrange which has some say in where its pages lie.
 */
#define TRAIL_LINE MASK(46, 6)  /* host addresses are below 2^47 */
#define TRAIL_USED_SHIFT 48     /* a bit for each entry */
#define TRAIL_DIRTY_SHIFT 56    /* the same: D was set */
#define PER_LINE 8
#define AHEAD 8 /* lines on their way while one is compared */

/* APM2 5.4.2 */
#define ENTRY_A BIT(5)
#define ENTRY_D_SHIFT 6
#define ENTRY_D BIT(ENTRY_D_SHIFT)

static const u64 factors[PER_LINE] = { 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9,
	0xd6e8feb86659fd93, 0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3, 0x589965cc75374cc3 };

static u64 mixed(u64 value, unsigned place)
{
	value *= factors[place];
	return value ^ value >> 29;
}

static u64 used_bit(unsigned place)
{
	return BIT(TRAIL_USED_SHIFT) << place;
}

static u64 dirty_bit(unsigned place)
{
	return BIT(TRAIL_DIRTY_SHIFT) << place;
}

/* What an entry adds to the sum. One that was not dirty may have had D set since, by a walk of ours. */
static u64 addend(const u64 *line, unsigned place, unsigned dirty)
{
	u64 value = __atomic_load_n(&line[place], __ATOMIC_RELAXED);

	return mixed(value & ~((u64)(~dirty >> place & 1) << ENTRY_D_SHIFT), place);
}

/* Whether a line's entries are what they were. */
static bool line_holds(const struct trail_entry *entry)
{
	const u64 *line = (const u64 *)(entry->line & TRAIL_LINE);
	unsigned used = entry->line >> TRAIL_USED_SHIFT & 0xff, dirty = entry->line >> TRAIL_DIRTY_SHIFT;
	u64 sum = 0;

	/* as most are of a guest that uses much memory */
	if (used == 0xff) {
#pragma GCC unroll 8
		for (unsigned place = 0; place < PER_LINE; place++)
			sum += addend(line, place, dirty);
	} else {
		for (; used; used &= used - 1)
			sum += addend(line, __builtin_ctz(used), dirty);
	}
	return sum == entry->sum;
}

/* The line has the entry already: false if it is no longer what it was. */
static bool note_again(struct trail_entry *entry, unsigned place, u64 value)
{
	if (!line_holds(entry))
		return false;
	if (value & ENTRY_D && !(entry->line & dirty_bit(place))) {
		entry->line |= dirty_bit(place);
		entry->sum += mixed(value, place) - mixed(value & ~ENTRY_D, place);
	}
	return true;
}

static void note(struct trail_entry *entry, unsigned place, u64 value)
{
	entry->line |= used_bit(place) | (value & ENTRY_D ? dirty_bit(place) : 0);
	entry->sum += mixed(value, place);
}

static struct trail_roots roots_now(const struct cpu *cpu)
{
	return (struct trail_roots){ .cr3 = cpu->cr3, .nested_root = cpu->nested_root,
		.nested_cr4 = cpu->nested_cr4, .nested_efer = cpu->nested_efer };
}

static bool same_roots(const struct trail_roots *a, const struct trail_roots *b)
{
	return a->cr3 == b->cr3 && a->nested_root == b->nested_root &&
	       a->nested_cr4 == b->nested_cr4 && a->nested_efer == b->nested_efer;
}

void trail_add(struct cpu *cpu, const u64 *at, u64 value)
{
	struct trail *trail = &cpu->context->trail;
	u64 line = (u64)at & TRAIL_LINE;
	unsigned place = (u64)at / sizeof(u64) % PER_LINE;
	u16 *known = &trail->known[crc_hash(line) % TRAIL_KNOWN];
	struct trail_entry *entry = &trail->entries[*known];
	struct trail_roots roots = roots_now(cpu);

	if (!trail->complete)
		return;
	if (!trail->count)
		trail->roots = roots;
	if (!at || !same_roots(&trail->roots, &roots) || !(value & ENTRY_A)) {
		trail_lose(trail);
		return;
	}
	if (*known >= trail->count || (entry->line & TRAIL_LINE) != line) {
		if (trail->count == TRAIL_ENTRIES) {
			trail_lose(trail);
			return;
		}
		*known = trail->count;
		entry = &trail->entries[trail->count++];
		*entry = (struct trail_entry){ .line = line };
	}
	if (!(entry->line & used_bit(place)))
		note(entry, place, value);
	else if (!note_again(entry, place, value))
		trail_lose(trail);
}

/* All lines from number `first` on. */
static bool lines_hold(const struct trail *trail, u32 first)
{
	for (u32 i = first; i < trail->count; i++) {
		const struct trail_entry *ahead = &trail->entries[MIN(i + AHEAD, trail->count - 1)];

		/* a guest that computes has driven them out of the host's caches since */
		__builtin_prefetch((const void *)(ahead->line & TRAIL_LINE));
		if (!line_holds(&trail->entries[i]))
			return false;
	}
	return true;
}

/* ---- watching ---- */

static u64 tables_written(const struct cpu *cpu)
{
	return __atomic_load_n(&cpu->tables_written, __ATOMIC_SEQ_CST);
}

/*
 * The flag comes off before the count goes up, and here it is put on before the count is read: a writer whose page
 * is watched already is counted, and what one wrote that saw no flag is there to be compared.
 */
void trail_page_written(struct cpu *cpu, u64 page)
{
	u8 *flags = &space_ram(cpu->memory)->page_flags[page];

	if (__atomic_fetch_and(flags, (u8)~RAM_HAS_TABLES, __ATOMIC_SEQ_CST) & RAM_HAS_TABLES)
		__atomic_fetch_add(&cpu->tables_written, 1, __ATOMIC_SEQ_CST);
}

/* From now on whoever writes to the trail's tables is noticed. False: they are not what they were. */
static bool watch(struct cpu *cpu, struct trail *trail)
{
	const struct ram *ram = space_ram(cpu->memory);
	bool more = false;

	for (u32 i = 0; i < trail->count; i++) {
		u64 page = ((trail->entries[i].line & TRAIL_LINE) - (u64)ram->host) >> PAGE_SHIFT;

		more |= !(__atomic_fetch_or(&ram->page_flags[page], RAM_HAS_TABLES, __ATOMIC_SEQ_CST) &
			RAM_HAS_TABLES);
	}
	if (more)
		tlb_protect_watched(cpu);
	trail->watched = trail->count;
	trail->watched_at = tables_written(cpu);
	trail->calm = 0;
	return lines_hold(trail, 0);
}

bool trail_holds(struct cpu *cpu, struct trail *trail)
{
	struct trail_roots roots = roots_now(cpu);

	if (!trail->complete || trail->held == TRAIL_HOLDS)
		return false;
	if (!trail->count)
		return true;
	if (!same_roots(&trail->roots, &roots))
		return false;
	if (trail->watched && trail->watched_at != tables_written(cpu)) {
		trail->watched = trail->calm = 0;
		trail->calm_wanted = MIN(2 * trail->calm_wanted, TRAIL_HOLDS);
	}
	if (trail->watched == trail->count)
		return true;
	trail->held++;
	return ++trail->calm < trail->calm_wanted ? lines_hold(trail, trail->watched) : watch(cpu, trail);
}
