/* SPDX-License-Identifier: MIT */
/* The trails of contexts: see trail.h. */
#include "cpu/trail.h"

/* APM2 5.4.2 */
#define ENTRY_FLAGS (BIT(5) | BIT(6)) /* A, D */

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
	u16 *known = &trail->known[crc_hash((u64)at) % TRAIL_KNOWN];
	const struct trail_entry *entry = &trail->entries[*known];
	struct trail_roots roots = roots_now(cpu);

	if (!trail->complete)
		return;
	if (!trail->count)
		trail->roots = roots;
	if (!at || !same_roots(&trail->roots, &roots)) {
		trail_lose(trail);
		return;
	}
	/* most walks end in a table entry that others ended in, a large page's */
	if (*known < trail->count && entry->at == at && entry->value == value)
		return;
	if (trail->count == TRAIL_ENTRIES) {
		trail_lose(trail);
		return;
	}
	*known = trail->count;
	trail->entries[trail->count++] = (struct trail_entry){ at, value };
}

bool trail_holds(const struct cpu *cpu, const struct trail *trail)
{
	struct trail_roots roots = roots_now(cpu);

	if (!trail->complete || trail->held == TRAIL_HOLDS)
		return false;
	if (!trail->count)
		return true;
	if (!same_roots(&trail->roots, &roots))
		return false;
	for (u32 i = 0; i < trail->count; i++) {
		const struct trail_entry *entry = &trail->entries[i];
		u64 changed = __atomic_load_n(entry->at, __ATOMIC_RELAXED) ^ entry->value;

		/* a flag that was clear may have been set since, by a walk of ours */
		if (changed & ~(ENTRY_FLAGS & ~entry->value))
			return false;
	}
	return true;
}
