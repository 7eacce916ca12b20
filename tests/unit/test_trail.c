/* SPDX-License-Identifier: MIT */
/*
 * Trails: whether table entries are what they were when walks used them, told by comparing them and, once a
 * trail is calm, by watching who writes to their pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/trail.h"
#include "cpu_rig.h"

#define ENTRY(frame) ((u64)(frame) << PAGE_SHIFT | 0x23) /* P, W, A */
#define ENTRY_A BIT(5)
#define ENTRY_D BIT(6)

/* Where the table lies in RAM, on two pages, and how many entries it has. */
#define TABLE_AT (0x60000 - 64)
#define TABLE 24

static bool is_used(unsigned i)
{
	return i != 3 && i != 12;
}

static bool is_dirty(unsigned i)
{
	return i == 5 || i == 16 || i == 21;
}

static u64 *table_of(struct rig *rig)
{
	return (u64 *)(rig->machine.ram.host + TABLE_AT);
}

/* Three lines of a table, of which all but the entries 3 and 12 are used. */
static struct trail *begin_trail(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;
	struct trail *trail = &cpu->context->trail;
	u64 *table = table_of(rig);

	trail->calm_wanted = 0; /* forget how often it was disturbed */
	trail_begin(trail, true);
	for (unsigned i = 0; i < TABLE; i++) {
		table[i] = ENTRY(0x1000 + i) | (is_dirty(i) ? ENTRY_D : 0);
		if (is_used(i))
			trail_add(cpu, &table[i], table[i]);
	}
	assert_int_equal(trail->count, TABLE / 8);
	assert_true(trail_holds(cpu, trail));
	return trail;
}

static void test_compared(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	u64 *table = table_of(rig);
	struct trail *trail;

	for (unsigned i = 0; i < TABLE; i++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			bool counts = is_used(i) && (BIT(bit) != ENTRY_D || is_dirty(i));

			trail = begin_trail(rig);
			table[i] ^= BIT(bit);
			assert_int_equal(trail_holds(cpu, trail), !counts);
			table[i] ^= BIT(bit);
			assert_true(trail_holds(cpu, trail));
		}
	}
	/* two that change places */
	trail = begin_trail(rig);
	table[0] = ENTRY(0x1001);
	table[1] = ENTRY(0x1000);
	assert_false(trail_holds(cpu, trail));
	/* a walk that sets D; from then on it must stay */
	trail = begin_trail(rig);
	table[2] |= ENTRY_D;
	trail_add(cpu, &table[2], table[2]);
	assert_true(trail_holds(cpu, trail));
	table[2] &= ~ENTRY_D;
	assert_false(trail_holds(cpu, trail));
	/* found once more, and another than it was */
	trail = begin_trail(rig);
	table[9] = ENTRY(0x77);
	trail_add(cpu, &table[9], table[9]);
	assert_false(trail_holds(cpu, trail));
	table[9] = ENTRY(0x1009);
	assert_false(trail_holds(cpu, trail));
	/* what no walk of ours leaves, and what cannot be compared */
	trail = begin_trail(rig);
	trail_add(cpu, &table[3], table[3] & ~ENTRY_A);
	assert_false(trail_holds(cpu, trail));
	trail = begin_trail(rig);
	trail_add(cpu, NULL, 0);
	assert_false(trail_holds(cpu, trail));
	/* other tables */
	trail = begin_trail(rig);
	cpu->cr3 ^= PAGE_SIZE;
	assert_false(trail_holds(cpu, trail));
	cpu->cr3 ^= PAGE_SIZE;
	assert_true(trail_holds(cpu, trail));
	/* one is not compared forever */
	trail = begin_trail(rig);
	trail->calm_wanted = TRAIL_HOLDS;
	for (unsigned i = 1; i < TRAIL_HOLDS; i++)
		assert_true(trail_holds(cpu, trail));
	assert_false(trail_holds(cpu, trail));
}

/* ---- watching ---- */

/* What the engine does. */
static void own_written(struct cpu *cpu, u64 ram_offset, unsigned len)
{
	trail_page_written(cpu, ram_offset >> PAGE_SHIFT);
	trail_page_written(cpu, (ram_offset + len - 1) >> PAGE_SHIFT);
}

static void others_written(void *engine, u64 page)
{
	trail_page_written(engine, page);
}

static u64 at(unsigned i)
{
	return TABLE_AT + i * sizeof(u64);
}

static void guest_stores(struct rig *rig, unsigned i, u64 value)
{
	assert_int_equal(cpu_write(rig->cpu, at(i), &value, sizeof(value), ACCESS_WRITE), 0);
}

static void device_stores(struct rig *rig, unsigned i, u64 value)
{
	assert_int_equal(dma_write(rig->machine.memory, at(i), &value, sizeof(value)), 0);
}

static void hypervisor_stores(struct rig *rig, unsigned i, u64 value)
{
	space_write(rig->machine.memory, at(i), sizeof(value), value);
}

static void (*const stores[])(struct rig *rig, unsigned i, u64 value) = { guest_stores, device_stores,
	hypervisor_stores };

/* Until it is watched; how many flushes that took. */
static unsigned calm_down(struct cpu *cpu, struct trail *trail)
{
	unsigned flushes = 0;

	while (trail->watched != trail->count || trail->watched_at != cpu->tables_written) {
		assert_true(trail_holds(cpu, trail));
		flushes++;
	}
	return flushes;
}

/* A calm trail is no longer compared, and every way to write to its tables is noticed. */
static void test_watched(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	u64 *table = table_of(rig);

	for (unsigned s = 0; s < ARRAY_SIZE(stores); s++) {
		/* the first page has one line of it, the second two */
		for (unsigned i = 0; i < TABLE; i += 9) {
			struct trail *trail = begin_trail(rig);
			u32 held;

			/* the first one may end what an earlier trail watched */
			guest_stores(rig, i, table[i]);
			guest_stores(rig, i, table[i]);
			assert_non_null(tlb_write_hit(cpu, at(i), 8));
			calm_down(cpu, trail);
			assert_null(tlb_write_hit(cpu, at(i), 8));
			assert_non_null(tlb_read_hit(cpu, at(i), 8));
			held = trail->held;
			for (unsigned n = 0; n < 2 * TRAIL_HOLDS; n++)
				assert_true(trail_holds(cpu, trail));
			assert_int_equal(trail->held, held);

			/* beside what was used, and the same as before: still holds, and has to calm down anew */
			stores[s](rig, 3, 0);
			stores[s](rig, i, table[i]);
			assert_true(calm_down(cpu, trail) > 1);
			stores[s](rig, i, table[i] ^ BIT(20));
			assert_false(trail_holds(cpu, trail));
		}
	}
}

/* The page of a table is written to freely once it was, and the longer it takes to be watched again. */
static void test_disturbed(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct trail *trail = begin_trail(rig);
	unsigned took = calm_down(cpu, trail), before;

	for (unsigned n = 0; n < 3; n++) {
		before = took;
		guest_stores(rig, 3, n);
		guest_stores(rig, 3, n);
		assert_non_null(tlb_write_hit(cpu, at(3), 8));
		took = calm_down(cpu, trail);
		assert_true(took >= 2 * before);
	}
	/* one that no walk has used before is compared until the next time */
	table_of(rig)[12] = ENTRY(0x12);
	trail_add(cpu, &table_of(rig)[TABLE], ENTRY(0x24));
	table_of(rig)[TABLE] = ENTRY(0x24);
	assert_true(trail_holds(cpu, trail));
	assert_int_equal(trail->count, trail->watched + 1);
	table_of(rig)[TABLE] = ENTRY(0x25);
	assert_false(trail_holds(cpu, trail));
}

/* What changed before all of it is watched is found as it begins. */
static void test_changed_before(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct trail *trail = begin_trail(rig);

	for (unsigned n = 2; n < TRAIL_CALM; n++)
		assert_true(trail_holds(cpu, trail));
	assert_int_equal(trail->watched, 0);
	table_of(rig)[TABLE - 1] ^= BIT(30);
	assert_false(trail_holds(cpu, trail));
}

/* A walk of 32-bit tables sets A in one half of what a trail has as one entry. */
static void test_other_width(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct trail *trail = &cpu->context->trail;
	const u64 cr0 = cpu->cr0, cr3 = cpu->cr3, cr4 = cpu->cr4, efer = cpu->efer;
	u64 *entry = &table_of(rig)[8]; /* the first of its page */
	u8 byte;

	*entry = ENTRY(0x1008) | (0x90000ull | 3) << 32;
	rig_put(rig, 0x90000, 0x20000 | 3, 4);
	trail_begin(trail, true);
	trail_add(cpu, entry, *entry);
	calm_down(cpu, trail);

	rig_protected(rig);
	cpu->efer = 0;
	cpu->cr4 = 0;
	cpu->cr3 = TABLE_AT + 64;
	cpu->cr0 |= CR0_PG;
	cpu_mode_update(cpu);
	tlb_select(cpu);
	assert_ptr_not_equal(&cpu->context->trail, trail);
	assert_int_equal(cpu_read(cpu, 0x400000, &byte, 1, ACCESS_READ), 0);
	assert_true(*entry & ENTRY_A << 32);

	cpu->cr0 = cr0;
	cpu->cr3 = cr3;
	cpu->cr4 = cr4;
	cpu->efer = efer;
	assert_false(trail_holds(cpu, trail));
}

/* Whatever is written in whatever order: a trail that holds is of entries that are what they were. */
static void test_random_stores(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct trail *trail = begin_trail(rig);
	u64 *table = table_of(rig), then[TABLE], random = 1, begun = 0, watched = 0;

	memcpy(then, table, sizeof(then));
	for (unsigned n = 0; n < 200000; n++) {
		unsigned i;
		bool same = true;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		i = (random >> 40) % TABLE;
		if (!(random >> 33 & 63))
			stores[(random >> 50) % ARRAY_SIZE(stores)](rig, i,
				random >> 56 & 3 ? then[i] : then[i] ^ BIT(12 + (random >> 60)));
		for (i = 0; i < TABLE; i++)
			same &= !is_used(i) || table[i] == then[i];
		watched += trail->watched && trail->watched_at == cpu->tables_written;
		if (trail_holds(cpu, trail)) {
			assert_true(same);
		} else {
			assert_true(!same || trail->held == TRAIL_HOLDS);
			trail = begin_trail(rig);
			begun++;
		}
	}
	/* all of it was tried */
	assert_true(begun > 100);
	assert_true(watched > 1000);
}

static int set_up(void **state)
{
	struct rig *rig;

	if (rig_setup(state))
		return -1;
	rig = *state;
	rig_long(rig);
	tlb_select(rig->cpu);
	rig->cpu->watched_page_written = own_written;
	rig->machine.ram.watched_written = others_written;
	rig->machine.ram.engine = rig->cpu;
	return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_compared),
		CASE(test_watched),
		CASE(test_disturbed),
		CASE(test_changed_before),
		CASE(test_other_width),
		CASE(test_random_stores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
