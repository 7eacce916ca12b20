/* SPDX-License-Identifier: MIT */
/*
 * Page walks over random tables, in every paging mode of both stages, against a model that was
 * written from the manual's figures and not from mmu.c: result, fault, error code, and every byte
 * of memory (A and D bits) must agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cpu/tlb.h"

#define PAGES 64            /* of RAM; each stage and level has eight of them for its tables */
#define PHYS_BITS 40
#define TRIALS 300000

enum form { NONE, LEGACY, PAE, LONG };

/* ---- random numbers: xorshift64*, so that a seed names a run ---- */

static u64 next_random(u64 *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* True in `percent` of 100 cases. */
static bool chance(u64 *state, unsigned percent)
{
	return next_random(state) >> 33 & 1 ? (next_random(state) >> 20) % 100 < percent :
					      (next_random(state) >> 30) % 100 < percent;
}

/* ---- the model ---- */

struct stage {
	enum form form;
	bool pse, nxe, second;
	u64 root;
};

struct model {
	u8 *ram;
	struct stage first, next; /* next.form NONE: no nested paging */
	u64 pdpte[4];
	bool wp, smep, pge;
};

struct result {
	enum { OK, PAGE_FAULT, NESTED_FAULT } end;
	u64 gpa, span;
	bool writable, global;
	u32 error;
	u64 fault_gpa;
	bool in_walk;
};

struct used_entry {
	u64 address; /* real */
	u64 value;
};

/* What tables say of an address. */
struct mapping {
	bool present, reserved, failed;
	bool u, w, nx, g;
	u64 page, span;
	struct used_entry used[4];
	unsigned count;
};

static void second(const struct model *m, u64 gpa, bool write, bool fetch, bool in_walk,
	struct result *r);

static u64 model_read(const struct model *m, u64 address, unsigned size)
{
	u64 value = 0;

	if (address >= PAGES * PAGE_SIZE)
		return size == 4 ? 0xffffffff : ~0ull;
	memcpy(&value, m->ram + address, size);
	return value;
}

/* Whether bits hi..lo of a value are all clear. */
static bool clear(u64 value, unsigned hi, unsigned lo)
{
	for (unsigned i = lo; i <= hi; i++)
		if (value >> i & 1)
			return false;
	return true;
}

static void look_up(const struct model *m, const struct stage *s, u64 address, struct mapping *map,
	struct result *r)
{
	unsigned level = s->form == LONG ? 4 : s->form == PAE ? 3 : 2;
	unsigned bits = s->form == LEGACY ? 10 : 9, size = s->form == LEGACY ? 4 : 8;
	u64 table = s->form == LONG ? s->root / 4096 % BIT(40) * 4096 :
		    s->form == PAE  ? s->root / 32 % BIT(27) * 32 :
				      s->root / 4096 % BIT(20) * 4096;

	memset(map, 0, sizeof(*map));
	map->u = map->w = true;
	for (;; level--) {
		unsigned shift = 12 + bits * (level - 1);
		u64 index = address >> shift & (s->form == PAE && level == 3 ? 3 : BIT(bits) - 1);
		u64 where = table + index * size, entry;
		bool top_of_pae = s->form == PAE && level == 3, large;

		if (top_of_pae && !s->second && m->next.form == NONE) {
			entry = m->pdpte[index];
		} else {
			if (!s->second && m->next.form != NONE) {
				second(m, where, true, false, true, r);
				if (r->end != OK) {
					map->failed = true;
					return;
				}
				where = r->gpa;
			}
			entry = model_read(m, where, size);
		}
		if (!(entry & 1))
			return;
		map->present = true;
		if (top_of_pae) {
			if (!clear(entry, 2, 1) || !clear(entry, 8, 5) || !clear(entry, 63, PHYS_BITS)) {
				map->reserved = true;
				return;
			}
			table = entry & MASK(PHYS_BITS - 1, 12);
			map->present = false;
			continue;
		}
		large = (entry & BIT(7)) && level > 1 && (s->form != LEGACY || s->pse);
		map->used[map->count++] = (struct used_entry){ where, entry };
		if (s->form != LEGACY) {
			if (!clear(entry, 51, PHYS_BITS) || (!s->nxe && entry >> 63) ||
			    (s->form == PAE && !clear(entry, 62, 52)) || (large && level == 4) ||
			    (level == 4 && !clear(entry, 8, 8)) || /* the rig's CPU is AMD's */
			    (large && !clear(entry, shift - 1, 13)))
				map->reserved = true;
		} else if (large && !clear(entry, 21, 21)) {
			map->reserved = true;
		}
		if (map->reserved)
			return;
		map->u &= entry >> 2 & 1;
		map->w &= entry >> 1 & 1;
		map->nx |= s->form != LEGACY && entry >> 63;
		if (level == 1 || large) {
			map->g = entry >> 8 & 1;
			map->span = BIT(shift);
			if (s->form == LEGACY && large)
				map->page = (entry >> 13 & 0xff) << 32 | (entry >> 22 & 0x3ff) << 22;
			else
				map->page = (entry & MASK(s->form == LEGACY ? 31 : 51, 12)) >>
					    shift << shift;
			return;
		}
		table = entry & MASK(s->form == LEGACY ? 31 : 51, 12);
		map->present = false;
	}
}

static void mark(const struct model *m, const struct stage *s, struct mapping *map, bool dirty)
{
	for (unsigned i = 0; i < map->count; i++) {
		struct used_entry *used = &map->used[i];

		used->value |= BIT(5) | (dirty && i == map->count - 1 ? BIT(6) : 0);
		if (used->address < PAGES * PAGE_SIZE)
			memcpy(m->ram + used->address, &used->value, s->form == LEGACY ? 4 : 8);
	}
}

static bool is_dirty(const struct mapping *map)
{
	return map->used[map->count - 1].value >> 6 & 1;
}

static void second(const struct model *m, u64 gpa, bool write, bool fetch, bool in_walk,
	struct result *r)
{
	const struct stage *s = &m->next;
	struct mapping map;

	memset(r, 0, sizeof(*r));
	look_up(m, s, gpa, &map, r);
	if (s->form != LONG && gpa > 0xffffffff)
		memset(&map, 0, sizeof(map));
	if (map.present && !map.reserved && map.u && (map.w || !write) && !(map.nx && fetch)) {
		mark(m, s, &map, write);
		r->gpa = map.page + gpa % map.span;
		r->span = map.span;
		r->writable = map.w && is_dirty(&map);
		return;
	}
	r->end = NESTED_FAULT;
	r->fault_gpa = gpa;
	r->in_walk = in_walk;
	r->error = 4 | (map.present ? 1 : 0) | (write ? 2 : 0) | (map.reserved ? 8 : 0) |
		(fetch && s->nxe ? 16 : 0);
}

static bool allowed(const struct model *m, const struct mapping *map, bool write, bool fetch,
	bool user, bool smap)
{
	if (user && !map->u)
		return false;
	if (fetch && map->nx)
		return false;
	if (!user && map->u && (fetch ? m->smep : smap))
		return false;
	if (write && !map->w && (user || m->wp))
		return false;
	return true;
}

static void translate(const struct model *m, u64 linear, bool write, bool fetch, bool user, bool smap,
	struct result *r)
{
	const struct stage *s = &m->first;
	struct result real;
	struct mapping map;

	memset(r, 0, sizeof(*r));
	r->span = 4096;
	if (s->form == NONE) {
		r->gpa = (u32)linear;
		r->writable = true;
	} else {
		look_up(m, s, s->form == LONG ? linear : (u32)linear, &map, r);
		if (map.failed)
			return;
		memset(r, 0, sizeof(*r));
		if (!map.present || map.reserved || !allowed(m, &map, write, fetch, user, smap)) {
			r->end = PAGE_FAULT;
			r->error = (map.present ? 1 : 0) | (write ? 2 : 0) | (user ? 4 : 0) |
				(map.reserved ? 8 : 0) |
				(fetch && (m->smep || (s->nxe && s->form != LEGACY)) ? 16 : 0);
			return;
		}
		mark(m, s, &map, write);
		r->gpa = map.page + linear % map.span;
		r->span = map.span;
		r->writable = is_dirty(&map) && allowed(m, &map, true, false, user, smap);
		r->global = map.g && m->pge;
	}
	if (m->next.form != NONE) {
		second(m, r->gpa, write, fetch, false, &real);
		if (real.end != OK) {
			*r = real;
			return;
		}
		r->gpa = real.gpa;
		r->writable &= real.writable;
	}
}

/* ---- random tables ---- */

/*
 * quality: how often a flag is the permitting one. Tables stay apart from each other, so that what a
 * walk remembers of one stays true.
 */
static u64 random_entry(u64 *state, const struct stage *s, unsigned level, unsigned index,
	unsigned quality)
{
	enum form form = s->form;
	bool second_stage = s->second;
	unsigned base = second_stage ? 32 : 0, bits = form == LEGACY ? 10 : 9;
	bool top_of_pae = form == PAE && level == 3, large;
	u64 entry = next_random(state) & (BIT(3) | BIT(4) | BIT(5) | BIT(6) | MASK(11, 8));

	entry |= chance(state, quality) ? BIT(0) : 0;
	entry |= chance(state, quality) ? BIT(1) : 0;
	entry |= chance(state, quality) ? BIT(2) : 0;
	large = level > 1 && !top_of_pae && (form != LEGACY || s->pse) && chance(state, 15);
	if (large)
		entry |= BIT(7);
	if (level == 1)
		/* the second stage keeps tables where they are, so that they stay apart */
		entry |= (u64)(second_stage ? index % PAGES : next_random(state) >> 40 & 63) << 12;
	else if (large)
		entry |= (next_random(state) >> 60) << (12 + bits * (level - 1));
	else
		entry |= (u64)(base + (level - 2) * 8 + (next_random(state) >> 50 & 7)) << 12;
	if (second_stage && large)
		entry &= ~MASK(51, 12);
	if (!chance(state, quality))
		entry |= BIT(18 + (next_random(state) >> 40) % 34); /* beyond RAM, or reserved */
	if (form != LEGACY && !chance(state, quality))
		entry |= BIT(52 + (next_random(state) >> 40) % 12);
	if (top_of_pae && chance(state, quality))
		entry &= ~(MASK(2, 1) | MASK(8, 5) | MASK(63, PHYS_BITS));
	return form == LEGACY ? (u32)entry : entry;
}

static void fill_stage(u64 *state, u8 *ram, const struct stage *s, unsigned quality)
{
	unsigned size = s->form == LEGACY ? 4 : 8;

	for (unsigned level = 1; level <= 4; level++)
		for (unsigned page = 0; page < 8; page++)
			for (unsigned i = 0; i < PAGE_SIZE / size; i++) {
				u64 entry = random_entry(state, s, level, i, quality);
				unsigned at = (s->second ? 32 : 0) + (level - 1) * 8 + page;

				memcpy(ram + at * PAGE_SIZE + i * size, &entry, size);
			}
}

static void random_stage(u64 *state, struct stage *s, bool second_stage)
{
	unsigned top;

	s->form = (next_random(state) >> 40) % 4;
	if (second_stage && s->form == NONE)
		return;
	s->second = second_stage;
	s->pse = chance(state, 70);
	s->nxe = chance(state, 80);
	top = s->form == LONG ? 3 : s->form == PAE ? 2 : 1;
	s->root = ((second_stage ? 32 : 0) + top * 8 + (next_random(state) >> 50 & 7)) << 12;
}

static void set_cpu(struct cpu *cpu, const struct model *m)
{
	static const u64 cr4[] = { [NONE] = 0, [LEGACY] = 0, [PAE] = CR4_PAE, [LONG] = CR4_PAE };
	static const u64 lma[] = { [LONG] = EFER_LMA | EFER_LME };

	cpu->cr0 = CR0_PE | (m->first.form == NONE ? 0 : CR0_PG) | (m->wp ? CR0_WP : 0);
	cpu->cr3 = m->first.root;
	cpu->cr4 = cr4[m->first.form] | (m->first.pse ? CR4_PSE : 0) | (m->smep ? CR4_SMEP : 0) |
		   (m->pge ? CR4_PGE : 0);
	cpu->efer = (m->first.form == LONG ? lma[LONG] : 0) | (m->first.nxe ? EFER_NXE : 0);
	cpu->nested_paging = m->next.form != NONE;
	cpu->nested_root = m->next.root;
	cpu->nested_cr4 = cr4[m->next.form] | (m->next.pse ? CR4_PSE : 0);
	cpu->nested_efer = (m->next.form == LONG ? lma[LONG] : 0) | (m->next.nxe ? EFER_NXE : 0);
}

/* The PDPTEs that MOV CR3 would load; false: it would fault. */
static bool load_pdptes(struct model *m)
{
	for (unsigned i = 0; i < 4; i++) {
		u64 entry = model_read(m, m->first.root + i * 8, 8);

		m->pdpte[i] = entry;
		if ((entry & 1) &&
		    !(clear(entry, 2, 1) && clear(entry, 8, 5) && clear(entry, 63, PHYS_BITS)))
			return false;
	}
	return true;
}

static u64 random_linear(u64 *state, enum form form)
{
	u64 linear = next_random(state);

	/* few enough regions that a walk often begins where another ended */
	linear &= ~(MASK(47, 40) | MASK(38, 31) | MASK(29, 23));
	return form == LONG ? (u64)((i64)(linear << 16) >> 16) : linear;
}

static void compare(struct cpu *cpu, struct model *m, u64 linear, unsigned access, bool user,
	bool smap)
{
	struct translation got = { 0 };
	struct result want;
	int outcome;

	translate(m, linear, access & ACCESS_WRITE, access & ACCESS_EXEC, user, smap, &want);
	memset(&cpu->fault, 0, sizeof(cpu->fault));
	outcome = mmu_translate(cpu, linear, access, user, smap, &got);
	if (want.end == OK) {
		assert_int_equal(outcome, 0);
		assert_int_equal(got.gpa, want.gpa);
		assert_int_equal(got.span, want.span);
		assert_int_equal(got.writable, want.writable);
		assert_int_equal(got.global, want.global);
	} else {
		assert_int_equal(outcome, OUTCOME_FAULT);
		assert_int_equal(cpu->fault.error, want.error);
		assert_int_equal(cpu->fault.address,
			m->first.form == LONG ? linear : (u32)linear);
		if (want.end == PAGE_FAULT) {
			assert_int_equal(cpu->fault.kind, FAULT_EXCEPTION);
			assert_int_equal(cpu->fault.vector, VEC_PF);
		} else {
			assert_int_equal(cpu->fault.kind, FAULT_NESTED);
			assert_int_equal(cpu->fault.gpa, want.fault_gpa);
			assert_int_equal(cpu->fault.in_walk, want.in_walk);
		}
	}
}

struct rig {
	struct cpu cpu;
	struct context context; /* for its hints alone */
	struct ram ram;
	u64 seed;
	unsigned ends[3];
};

static void random_machine(struct rig *rig, u64 *state, struct model *m, bool nested)
{
	static const unsigned qualities[] = { 75, 95, 99, 100 };
	unsigned quality = qualities[next_random(state) >> 62];

	memset(&m->first, 0, sizeof(m->first));
	memset(&m->next, 0, sizeof(m->next));
	random_stage(state, &m->first, false);
	if (nested)
		random_stage(state, &m->next, true);
	m->wp = chance(state, 50);
	m->smep = chance(state, 50);
	m->pge = chance(state, 50);
	fill_stage(state, m->ram, &m->first, quality);
	fill_stage(state, m->ram, &m->next, quality);
	memcpy(rig->ram.host, m->ram, PAGES * PAGE_SIZE);
	set_cpu(&rig->cpu, m);
	walk_hints_flush(rig->cpu.context);
}

static void walk_many(struct rig *rig, bool nested)
{
	static const unsigned accesses[] = { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC };
	struct model m = { .ram = malloc(PAGES * PAGE_SIZE) };
	u64 state = rig->seed;

	assert_non_null(m.ram);
	print_message("seed %llu\n", (unsigned long long)rig->seed);
	for (unsigned trial = 0; trial < TRIALS; trial++) {
		if (trial % 500 == 0) {
			random_machine(rig, &state, &m, nested);
			if (m.first.form == PAE && m.next.form == NONE) {
				bool valid = load_pdptes(&m);

				assert_int_equal(mmu_load_pdptes(&rig->cpu, m.first.root),
					valid ? 0 : OUTCOME_FAULT);
				if (!valid) {
					assert_int_equal(rig->cpu.fault.vector, VEC_GP);
					trial += 499;
					continue;
				}
			}
		}
		/* of a context that is not the walk's own the hints are not to be used */
		rig->cpu.context_stale = chance(&state, 20);
		compare(&rig->cpu, &m, random_linear(&state, m.first.form),
			accesses[(next_random(&state) >> 40) % 3], chance(&state, 50),
			chance(&state, 50));
		if (trial % 25 == 24)
			assert_memory_equal(rig->ram.host, m.ram, PAGES * PAGE_SIZE);
		rig->ends[rig->cpu.fault.kind == FAULT_NONE	 ? OK :
			  rig->cpu.fault.kind == FAULT_EXCEPTION ? PAGE_FAULT :
								   NESTED_FAULT]++;
	}
	free(m.ram);
	print_message("%u translated, %u page faults, %u nested faults\n", rig->ends[OK],
		rig->ends[PAGE_FAULT], rig->ends[NESTED_FAULT]);
	/* a run that met only one kind of end would have tested little */
	assert_true(rig->ends[OK] > TRIALS / 20);
	assert_true(rig->ends[PAGE_FAULT] > TRIALS / 20);
	if (nested)
		assert_true(rig->ends[NESTED_FAULT] > TRIALS / 20);
}

static void test_one_stage(void **state)
{
	walk_many(*state, false);
}

static void test_two_stages(void **state)
{
	walk_many(*state, true);
}

static void test_non_canonical(void **state)
{
	struct rig *rig = *state;
	struct translation out;

	rig->cpu.cr0 = CR0_PE | CR0_PG;
	rig->cpu.cr4 = CR4_PAE;
	rig->cpu.efer = EFER_LMA | EFER_LME;
	assert_int_equal(mmu_translate(&rig->cpu, 0x0000800000000000ull, ACCESS_READ, false, false,
				 &out), OUTCOME_FAULT);
	assert_int_equal(rig->cpu.fault.vector, VEC_GP);
	assert_int_equal(rig->cpu.fault.error, 0);
}

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	const char *seed = getenv("NESTBOX_SEED");

	if (!rig || ram_new(&rig->ram, PAGES * PAGE_SIZE))
		return -1;
	rig->seed = seed ? strtoull(seed, NULL, 0) : (u64)time(NULL) * 2 + 1;
	rig->cpu.phys_bits = PHYS_BITS;
	rig->cpu.apic_access_page = NO_APIC_ACCESS_PAGE;
	rig->cpu.context = &rig->context;
	rig->cpu.memory = space_new("memory");
	if (!rig->cpu.memory || cpuid_table_new(&rig->cpu.cpuid, NESTED_AMD, 1) ||
	    space_add_ram(rig->cpu.memory, 0, PAGES * PAGE_SIZE, &rig->ram, 0))
		return -1;
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	space_free(rig->cpu.memory);
	cpuid_table_free(rig->cpu.cpuid);
	ram_free(&rig->ram);
	free(rig);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_stage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_two_stages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_non_canonical, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
