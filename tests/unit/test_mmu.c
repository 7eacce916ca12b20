/* SPDX-License-Identifier: MIT */
/*
 * Page walks over random tables, in every paging mode of both stages, AMD's and Intel's second one,
 * against a model: result, fault, error code or exit qualification, every byte of memory (A and D
 * bits) and the log of dirtied pages must agree.
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
#include "cpu/virt.h"
#include "paging_model.h"

#define TRIALS 240000

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

static u64 random_ept_entry(u64 *state, unsigned level, unsigned index, unsigned quality)
{
	static const u64 types[] = { 0, 1, 4, 5, 6, 6, 6, 6 };
	bool leaf = level == 1 || (level < 4 && chance(state, 15));
	/* A and D, what is ignored, and whether violations may become #VE */
	u64 entry = next_random(state) & (MASK(9, 8) | BIT(11) | MASK(63, 52));

	for (unsigned bit = 0; bit < 3; bit++)
		entry |= chance(state, quality) ? BIT(bit) : 0;
	entry |= chance(state, quality) ? BIT(10) : 0;
	/* write without read is a misconfiguration: seldom, or nothing else would be met */
	if ((entry & 3) == 2 && chance(state, 80))
		entry &= ~BIT(1);
	if (leaf)
		entry |= types[next_random(state) >> 61] << 3 | (level > 1 ? BIT(7) : 0);
	if (leaf && level == 1)
		entry |= (next_random(state) & BIT(7)) | (u64)(index % PAGES) << 12;
	if (!leaf)
		entry |= (u64)(SECOND_TABLES + (level - 2) * 8 + (next_random(state) >> 50 & 7)) << 12;
	if (!chance(state, quality))
		entry |= BIT(18 + (next_random(state) >> 40) % 34); /* beyond RAM, or reserved */
	if (!chance(state, quality))
		entry |= BIT(3 + (next_random(state) >> 40) % 5);
	return entry;
}

static void fill_stage(u64 *state, u8 *ram, const struct stage *s, unsigned quality)
{
	unsigned size = s->form == LEGACY ? 4 : 8;

	if (s->form == NONE)
		return;
	for (unsigned level = 1; level <= 4; level++)
		for (unsigned page = 0; page < 8; page++)
			for (unsigned i = 0; i < PAGE_SIZE / size; i++) {
				u64 entry = s->form == EPT ?
						    random_ept_entry(state, level, i, quality) :
						    random_entry(state, s, level, i, quality);
				unsigned at = (s->second ? SECOND_TABLES : 0) + (level - 1) * 8 + page;

				memcpy(ram + at * PAGE_SIZE + i * size, &entry, size);
			}
}

#define ANY_FORM (-1)

static void random_stage(u64 *state, struct stage *s, bool second_stage, int form)
{
	unsigned top;

	s->form = form == ANY_FORM ? (next_random(state) >> 40) % 4 : form;
	if (second_stage && s->form == NONE)
		return;
	s->second = second_stage;
	s->pse = chance(state, 70);
	s->nxe = chance(state, 80);
	s->flags = chance(state, 50);
	s->mode_based = chance(state, 50);
	top = s->form >= LONG ? 3 : s->form == PAE ? 2 : 1;
	s->root = ((second_stage ? SECOND_TABLES : 0) + top * 8 + (next_random(state) >> 50 & 7)) << 12;
}

#define EPTP_4_LEVELS_WB 0x1e

static void set_cpu(struct cpu *cpu, const struct model *m)
{
	static const u64 cr4[] = { [PAE] = CR4_PAE, [LONG] = CR4_PAE, [EPT] = 0 };
	static const u64 lma[] = { [LONG] = EFER_LMA | EFER_LME };

	cpu->cr0 = CR0_PE | (m->first.form == NONE ? 0 : CR0_PG) | (m->wp ? CR0_WP : 0);
	cpu->cr3 = m->first.root;
	cpu->cr4 = cr4[m->first.form] | (m->first.pse ? CR4_PSE : 0) | (m->smep ? CR4_SMEP : 0) |
		   (m->pge ? CR4_PGE : 0);
	cpu->efer = (m->first.form == LONG ? lma[LONG] : 0) | (m->first.nxe ? EFER_NXE : 0);
	cpu->nested_paging = m->next.form != NONE;
	cpu->ept = m->next.form == EPT;
	cpu->ept_mode_based = m->next.mode_based;
	cpu->ept_pml = m->pml;
	cpu->apic_access_page = m->apic_page;
	cpu->nested_root = m->next.root;
	if (cpu->ept)
		cpu->nested_root |= EPTP_4_LEVELS_WB | (m->next.flags ? BIT(6) : 0);
	cpu->nested_cr4 = cr4[m->next.form] | (m->next.pse ? CR4_PSE : 0);
	cpu->nested_efer = (m->next.form == LONG ? lma[LONG] : 0) | (m->next.nxe ? EFER_NXE : 0);
}

static u64 random_linear(u64 *state, enum form form)
{
	u64 linear = next_random(state);

	/* few enough regions that a walk often begins where another ended */
	linear &= ~(MASK(47, 40) | MASK(38, 31) | MASK(29, 23));
	return form == LONG ? (u64)((i64)(linear << 16) >> 16) : linear;
}

struct rig {
	struct cpu cpu;
	struct context context; /* for its hints alone */
	struct ram ram;
	u64 seed;
	unsigned ends[ENDS];
	/* page-modification log */
	unsigned log_room, logged;
	u64 log[LOG_ROOM];
};

static bool log_dirty(struct cpu *cpu, u64 gpa)
{
	struct rig *rig = (struct rig *)cpu; /* its first member */

	if (!rig->log_room)
		return false;
	rig->log_room--;
	rig->log[rig->logged++] = gpa;
	return true;
}

static const struct virt_ops ops = { .log_dirty = log_dirty };

static void compare_fault(const struct fault *fault, const struct result *want)
{
	static const u8 kinds[ENDS] = {
		[OK] = FAULT_NONE,
		[PAGE_FAULT] = FAULT_EXCEPTION,
		[NESTED_FAULT] = FAULT_NESTED,
		[VIOLATION] = FAULT_EPT_VIOLATION,
		[MISCONFIGURATION] = FAULT_EPT_MISCONFIGURATION,
		[LOG_FULL] = FAULT_PML_FULL,
		[APIC_ACCESS] = FAULT_APIC_ACCESS,
	};

	assert_int_equal(fault->kind, kinds[want->end]);
	if (want->end == OK || want->end == LOG_FULL)
		return;
	if (want->end != PAGE_FAULT)
		assert_int_equal(fault->gpa, want->fault_gpa);
	if (want->end == PAGE_FAULT || want->end == NESTED_FAULT)
		assert_int_equal(fault->error, want->error);
	if (want->end == NESTED_FAULT || want->end == VIOLATION || want->end == APIC_ACCESS)
		assert_int_equal(fault->in_walk, want->in_walk);
	if (want->end == VIOLATION) {
		assert_int_equal(fault->qualification, want->qualification);
		assert_int_equal(fault->suppress_ve, want->suppress_ve);
	}
}

static void compare_log(const struct rig *rig, const struct model *m)
{
	assert_int_equal(rig->logged, m->logged);
	assert_int_equal(rig->log_room, m->log_room);
	if (m->logged)
		assert_memory_equal(rig->log, m->log, m->logged * sizeof(u64));
}

static void compare(struct rig *rig, struct model *m, u64 linear, unsigned access, bool user,
	bool smap)
{
	struct cpu *cpu = &rig->cpu;
	struct translation got = { 0 };
	struct result want;
	int outcome;

	model_translate(m, linear, access, user, smap, &want);
	memset(&cpu->fault, 0, sizeof(cpu->fault));
	outcome = mmu_translate(cpu, linear, access, user, smap, &got);
	rig->ends[want.end]++;
	assert_int_equal(outcome, want.end == OK ? 0 : OUTCOME_FAULT);
	compare_fault(&cpu->fault, &want);
	compare_log(rig, m);
	if (want.end == OK) {
		assert_int_equal(got.gpa, want.gpa);
		assert_int_equal(got.span, want.span);
		assert_int_equal(got.writable, want.writable);
		assert_int_equal(got.global, want.global);
		return;
	}
	assert_int_equal(cpu->fault.address, m->first.form == LONG ? linear : (u32)linear);
	if (want.end == PAGE_FAULT)
		assert_int_equal(cpu->fault.vector, VEC_PF);
	else
		assert_true(cpu->fault.linear_valid);
}

/* False: MOV CR3 would fault, as it does in the model. */
static bool compare_pdptes(struct rig *rig, struct model *m)
{
	struct cpu *cpu = &rig->cpu;
	struct result want;

	model_load_pdptes(m, &want);
	memset(&cpu->fault, 0, sizeof(cpu->fault));
	assert_int_equal(mmu_load_pdptes(cpu, m->first.root), want.end == OK ? 0 : OUTCOME_FAULT);
	assert_false(cpu->fault.linear_valid);
	if (want.end == PAGE_FAULT) {
		assert_int_equal(cpu->fault.vector, VEC_GP);
		return false;
	}
	compare_fault(&cpu->fault, &want);
	compare_log(rig, m);
	rig->ends[want.end]++;
	if (want.end == OK)
		assert_memory_equal(cpu->pdpte, m->pdpte, sizeof(m->pdpte));
	return want.end == OK;
}

static void random_machine(struct rig *rig, u64 *state, struct model *m, int next)
{
	static const unsigned qualities[] = { 75, 95, 99, 100 };
	unsigned quality = qualities[next_random(state) >> 62];

	memset(&m->first, 0, sizeof(m->first));
	memset(&m->next, 0, sizeof(m->next));
	random_stage(state, &m->first, false, ANY_FORM);
	random_stage(state, &m->next, true, next);
	m->wp = chance(state, 50);
	m->smep = chance(state, 50);
	m->pge = chance(state, 50);
	m->pml = chance(state, 50);
	m->apic_page = next == EPT && chance(state, 50) ?
			       (next_random(state) >> 58) * PAGE_SIZE :
			       NO_APIC_ACCESS_PAGE;
	m->log_room = rig->log_room = next_random(state) >> 60;
	m->logged = rig->logged = 0;
	fill_stage(state, m->ram, &m->first, quality);
	fill_stage(state, m->ram, &m->next, quality);
	memcpy(rig->ram.host, m->ram, PAGES * PAGE_SIZE);
	set_cpu(&rig->cpu, m);
	walk_hints_flush(rig->cpu.context);
}

static void walk_many(struct rig *rig, int next)
{
	static const unsigned accesses[] = { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC };
	struct model *m = calloc(1, sizeof(*m));
	u64 state = rig->seed;

	assert_non_null(m);
	m->ram = malloc(PAGES * PAGE_SIZE);
	assert_non_null(m->ram);
	print_message("seed %llu\n", (unsigned long long)rig->seed);
	for (unsigned trial = 0; trial < TRIALS; trial++) {
		if (trial % 500 == 0) {
			random_machine(rig, &state, m, next);
			if (m->first.form == PAE && (next == NONE || next == EPT) &&
				!compare_pdptes(rig, m)) {
				trial += 499;
				continue;
			}
		}
		/* of a context that is not the walk's own the hints are not to be used */
		rig->cpu.context_stale = chance(&state, 20);
		compare(rig, m, random_linear(&state, m->first.form),
			accesses[(next_random(&state) >> 40) % 3], chance(&state, 50),
			chance(&state, 50));
		if (m->second_changed) {
			walk_hints_flush(rig->cpu.context);
			m->second_changed = false;
		}
		/* cmocka's own comparison takes its time, and is left the telling */
		if (trial % 25 == 24 && memcmp(rig->ram.host, m->ram, PAGES * PAGE_SIZE))
			assert_memory_equal(rig->ram.host, m->ram, PAGES * PAGE_SIZE);
	}
	free(m->ram);
	free(m);
	print_message("%u translated, %u page faults, %u nested faults, %u violations, "
		      "%u misconfigurations, %u with the log full, %u APIC accesses\n",
		rig->ends[OK], rig->ends[PAGE_FAULT], rig->ends[NESTED_FAULT],
		rig->ends[VIOLATION], rig->ends[MISCONFIGURATION], rig->ends[LOG_FULL],
		rig->ends[APIC_ACCESS]);
	/* a run that met only one kind of end would have tested little */
	assert_true(rig->ends[OK] > TRIALS / 20);
	assert_true(rig->ends[PAGE_FAULT] > TRIALS / 20);
}

static void test_one_stage(void **state)
{
	walk_many(*state, NONE);
}

static void test_nested_tables(void **state)
{
	struct rig *rig = *state;

	walk_many(rig, ANY_FORM);
	assert_true(rig->ends[NESTED_FAULT] > TRIALS / 20);
}

static void test_ept(void **state)
{
	struct rig *rig = *state;

	walk_many(rig, EPT);
	assert_true(rig->ends[VIOLATION] > TRIALS / 50);
	assert_true(rig->ends[MISCONFIGURATION] > TRIALS / 50);
	assert_true(rig->ends[LOG_FULL] > 100);
	assert_true(rig->ends[APIC_ACCESS] > 100);
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

/* ---- one walk at a time: what random tables would seldom meet ---- */

static u64 *entry_at(struct rig *rig, unsigned page, unsigned index)
{
	return (u64 *)(rig->ram.host + page * PAGE_SIZE) + index;
}

/* EPT that maps the first 2 MiB one to one by tables in pages 32, 40, 48 and 56, all rights. */
static void plain_ept(struct rig *rig)
{
	struct cpu *cpu = &rig->cpu;

	memset(rig->ram.host, 0, PAGES * PAGE_SIZE);
	*entry_at(rig, 32, 0) = 40 * PAGE_SIZE | 0x407;
	*entry_at(rig, 40, 0) = 48 * PAGE_SIZE | 0x407;
	*entry_at(rig, 48, 0) = 56 * PAGE_SIZE | 0x407;
	for (unsigned i = 0; i < 512; i++)
		*entry_at(rig, 56, i) = i * PAGE_SIZE | 6 << 3 | 0x407;
	cpu->cr0 = CR0_PE;
	cpu->nested_paging = cpu->ept = true;
	cpu->nested_root = 32 * PAGE_SIZE | EPTP_4_LEVELS_WB;
	walk_hints_flush(cpu->context);
}

static int translate_physical(struct rig *rig, u64 gpa, unsigned access)
{
	struct translation out;

	memset(&rig->cpu.fault, 0, sizeof(rig->cpu.fault));
	return mmu_translate_guest_physical(&rig->cpu, gpa, access, false, 0, &out);
}

/* Four levels translate 48 bits. */
static void test_ept_width(void **state)
{
	struct rig *rig = *state;

	rig->cpu.phys_bits = 52;
	plain_ept(rig);
	assert_int_equal(translate_physical(rig, 0x3123, ACCESS_READ), 0);
	assert_int_equal(translate_physical(rig, BIT(48) | 0x3123, ACCESS_READ), OUTCOME_FAULT);
	assert_int_equal(rig->cpu.fault.kind, FAULT_EPT_VIOLATION);
	assert_int_equal(rig->cpu.fault.qualification, EPT_QUAL_READ);
	assert_int_equal(rig->cpu.fault.gpa, BIT(48) | 0x3123);
}

/*
 * Rights that an upper entry gained are found at the next try, hint or not: a violation drops what
 * is cached of its address, SDM3 29.4.3.1.
 */
static void test_gained_rights(void **state)
{
	struct rig *rig = *state;
	struct translation out;

	plain_ept(rig);
	*entry_at(rig, 48, 0) &= ~BIT(1);
	assert_int_equal(translate_physical(rig, 0x3000, ACCESS_READ), 0);
	assert_int_equal(translate_physical(rig, 0x3000, ACCESS_WRITE), OUTCOME_FAULT);
	assert_int_equal(rig->cpu.fault.qualification,
		EPT_QUAL_WRITE | EPT_QUAL_READABLE | EPT_QUAL_EXECUTABLE);
	*entry_at(rig, 48, 0) |= BIT(1);
	assert_int_equal(translate_physical(rig, 0x3000, ACCESS_WRITE), 0);

	/* the same of the first stage */
	rig->cpu.nested_paging = rig->cpu.ept = false;
	rig->cpu.cr0 = CR0_PE | CR0_PG | CR0_WP;
	rig->cpu.cr4 = CR4_PAE;
	rig->cpu.efer = EFER_LMA | EFER_LME;
	rig->cpu.cr3 = 8 * PAGE_SIZE;
	walk_hints_flush(rig->cpu.context);
	*entry_at(rig, 8, 0) = 9 * PAGE_SIZE | 7;
	*entry_at(rig, 9, 0) = 10 * PAGE_SIZE | 7;
	*entry_at(rig, 10, 0) = 11 * PAGE_SIZE | 5;
	*entry_at(rig, 11, 3) = 3 * PAGE_SIZE | 7;
	assert_int_equal(mmu_translate(&rig->cpu, 0x3000, ACCESS_READ, true, false, &out), 0);
	assert_int_equal(mmu_translate(&rig->cpu, 0x3000, ACCESS_WRITE, true, false, &out),
		OUTCOME_FAULT);
	*entry_at(rig, 10, 0) |= 2;
	assert_int_equal(mmu_translate(&rig->cpu, 0x3000, ACCESS_WRITE, true, false, &out), 0);
}

/*
 * Without flags in EPT a guest's tables need be readable alone, until A or D is to be set in one;
 * also where the walk begins with what an earlier one left.
 */
static void test_read_only_tables(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = &rig->cpu;
	struct translation out;

	plain_ept(rig);
	cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
	cpu->cr4 = CR4_PAE;
	cpu->efer = EFER_LMA | EFER_LME;
	cpu->cr3 = 8 * PAGE_SIZE;
	*entry_at(rig, 8, 0) = 9 * PAGE_SIZE | 0x27;
	*entry_at(rig, 9, 0) = 10 * PAGE_SIZE | 0x27;
	*entry_at(rig, 10, 0) = 11 * PAGE_SIZE | 0x27;
	*entry_at(rig, 11, 3) = 3 * PAGE_SIZE | 0x27;
	*entry_at(rig, 11, 4) = 4 * PAGE_SIZE | 0x67;
	*entry_at(rig, 56, 11) &= ~BIT(1);
	assert_int_equal(mmu_translate(cpu, 0x3000, ACCESS_READ, false, false, &out), 0);
	assert_false(out.writable);
	assert_int_equal(mmu_translate(cpu, 0x4000, ACCESS_WRITE, false, false, &out), 0);
	assert_true(out.writable);
	assert_int_equal(mmu_translate(cpu, 0x3000, ACCESS_WRITE, false, false, &out),
		OUTCOME_FAULT);
	assert_int_equal(cpu->fault.kind, FAULT_EPT_VIOLATION);
	assert_int_equal(cpu->fault.gpa, 11 * PAGE_SIZE + 3 * 8);
	assert_true(cpu->fault.in_walk);
	assert_int_equal(cpu->fault.qualification, EPT_QUAL_WRITE | EPT_QUAL_READABLE |
		EPT_QUAL_EXECUTABLE | EPT_QUAL_LINEAR_VALID);
	assert_int_equal(*entry_at(rig, 11, 3), 3 * PAGE_SIZE | 0x27);
}

/* PDPTEs that a VMCS holds are checked as those of MOV CR3 are. */
static void test_pdptes(void **state)
{
	struct rig *rig = *state;
	u64 pdpte[4] = { 0x1001, 0, 0x3001, MASK(63, 1) };

	assert_true(mmu_pdptes_valid(&rig->cpu, pdpte));
	pdpte[2] |= BIT(1);
	assert_false(mmu_pdptes_valid(&rig->cpu, pdpte));
	pdpte[2] = BIT(PHYS_BITS) | 1;
	assert_false(mmu_pdptes_valid(&rig->cpu, pdpte));
	pdpte[2] = BIT(PHYS_BITS - 1) | 1;
	assert_true(mmu_pdptes_valid(&rig->cpu, pdpte));
}

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	const char *seed = getenv("NESTBOX_SEED");

	if (!rig || ram_new(&rig->ram, PAGES * PAGE_SIZE))
		return -1;
	/* the same walks each time, so that a red run is the change's */
	rig->seed = seed ? strtoull(seed, NULL, 0) : 1;
	rig->cpu.phys_bits = PHYS_BITS;
	rig->cpu.context = &rig->context;
	rig->cpu.virt = &ops;
	rig->cpu.apic_access_page = NO_APIC_ACCESS_PAGE;
	rig->cpu.memory = space_new("memory");
	if (!rig->cpu.memory || cpuid_table_new(&rig->cpu.cpuid, NESTED_AMD, NULL, 1) ||
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
		cmocka_unit_test_setup_teardown(test_nested_tables, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_non_canonical, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ept_width, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gained_rights, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_read_only_tables, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pdptes, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
