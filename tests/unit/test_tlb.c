/* SPDX-License-Identifier: MIT */
/*
 * What translations are tagged with and what drops them: VPID, EPT pointer, PCID, the bits of the
 * paging mode. Each flush must drop what it names in every form it is cached in (TLB, fetched
 * pages, jumps, code numbers) and nothing else. And the APIC-access page, which is never cached.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/tlb.h"
#include "cpu/virt.h"
#include "cpu_rig.h"

/* Where the first stage's tables are, EPT A's and EPT B's: four pages each, PML4 first. */
#define TABLES 0x80000
#define EPT_A 0x84000
#define EPT_B 0x88000
#define EPTP_4_LEVELS_WB 0x1e
#define EPTP_FLAGS BIT(6)

/* Pages apart from each other: a jump's cache entry goes with the page behind it as well. */
#define PAGE_X 0x20000
#define PAGE_Y 0x24000
#define PAGE_G 0x28000 /* global */
#define PAGE_OTHER 0x2c000
#define APIC_PAGE 0x30000

static const u64 pages[] = { PAGE_X, PAGE_Y, PAGE_G };

static u64 *pte(struct rig *rig, u64 tables, u64 address)
{
	return (u64 *)(rig->machine.ram.host + tables + 3 * PAGE_SIZE) + (address >> PAGE_SHIFT);
}

/* Maps 2 MiB one to one. */
static void put_tables(struct rig *rig, u64 tables, u64 table_bits, u64 page_bits)
{
	for (unsigned level = 0; level < 3; level++)
		rig_put(rig, tables + level * PAGE_SIZE,
			(tables + (level + 1) * PAGE_SIZE) | table_bits, 8);
	for (u64 at = 0; at < 2 * MIB; at += PAGE_SIZE)
		*pte(rig, tables, at) = at | page_bits;
}

/* ---- the hypervisor's side ---- */

struct apic_calls {
	bool refuse;
	u32 offset;
	unsigned asked, reads, writes, len, access;
	u8 data[8];
	struct fault fault; /* of nested_fault */
};

static struct apic_calls *calls_of(struct cpu *cpu)
{
	return cpu->virt_state;
}

static bool apic_virtualized(struct cpu *cpu, u32 offset, unsigned len, unsigned access)
{
	struct apic_calls *calls = calls_of(cpu);

	assert_in_range(len, 1, 8);
	assert_true(offset + len <= PAGE_SIZE);
	calls->asked++;
	calls->offset = offset;
	calls->len = len;
	calls->access = access;
	return !calls->refuse;
}

static void apic_read(struct cpu *cpu, u32 offset, void *to, unsigned len)
{
	calls_of(cpu)->reads++;
	memset(to, 0xa0 + (offset & 15), len);
}

static void apic_write(struct cpu *cpu, u32 offset, const void *from, unsigned len)
{
	struct apic_calls *calls = calls_of(cpu);

	calls->writes++;
	calls->offset = offset;
	calls->len = len;
	memcpy(calls->data, from, len);
}

static void nested_fault(struct cpu *cpu, const struct fault *fault)
{
	calls_of(cpu)->fault = *fault;
}

static const struct virt_ops ops = {
	.apic_virtualized = apic_virtualized,
	.apic_read = apic_read,
	.apic_write = apic_write,
	.nested_fault = nested_fault,
};

/* ---- worlds ---- */

struct world {
	u32 vpid;
	u64 eptp; /* 0: no EPT */
	unsigned pcid;
};

/* What VM entries and exits do, and MOV CR3 that keeps translations. */
static void enter(struct rig *rig, const struct world *world)
{
	struct cpu *cpu = rig->cpu;

	cpu->nested_asid = world->vpid;
	cpu->nested_paging = cpu->ept = world->eptp;
	cpu->nested_root = world->eptp;
	cpu->cr3 = TABLES | world->pcid;
	tlb_world_changed(cpu);
	cpu_mode_update(cpu);
	tlb_select(cpu);
}

/* Caches a page in all the forms there are. */
static void fill(struct rig *rig, u64 page)
{
	struct cpu *cpu = rig->cpu;
	u8 byte, *host;

	assert_int_equal(cpu_read(cpu, page, &byte, 1, ACCESS_READ), 0);
	assert_int_equal(tlb_fetch(cpu, page, &host), 0);
	tlb_add_jump(cpu, page + 0x123, 0x1000);
	tlb_set_code_id(cpu, page, 77);
}

/* Of how many of the four forms a page is cached in; reads need no walk, and so make none. */
static unsigned forms_cached(const struct rig *rig, u64 page)
{
	const struct context *context = rig->cpu->context;

	return !!tlb_read_hit(rig->cpu, page, 1) +
	       (context->exec[(page >> PAGE_SHIFT) % EXEC_ENTRIES].linear == page) +
	       (context->block->jump[jump_hash(page + 0x123)].target == page + 0x123) +
	       (context->block->code_ids[code_id_slot(page)] == 77);
}

static const struct world worlds[] = {
	{ 0, 0, 0 },
	{ 0, 0, 1 },
	{ 0, EPT_A | EPTP_4_LEVELS_WB, 0 },
	{ 1, 0, 0 },
	{ 1, 0, 1 },
	{ 1, EPT_A | EPTP_4_LEVELS_WB, 0 },
	{ 1, EPT_A | EPTP_4_LEVELS_WB, 1 },
	{ 1, EPT_A | EPTP_4_LEVELS_WB | EPTP_FLAGS, 1 },
	{ 1, EPT_B | EPTP_4_LEVELS_WB, 0 },
	{ 2, EPT_A | EPTP_4_LEVELS_WB, 0 },
	{ 2, EPT_B | EPTP_4_LEVELS_WB, 1 },
	{ 0x10001, 0, 1 },
};

static void expect(struct rig *rig, const char *what,
	bool (*stays)(const struct world *world, u64 page))
{
	for (unsigned w = 0; w < ARRAY_SIZE(worlds); w++) {
		enter(rig, &worlds[w]);
		for (unsigned p = 0; p < ARRAY_SIZE(pages); p++) {
			unsigned want = stays(&worlds[w], pages[p]) ? 4 : 0;

			if (forms_cached(rig, pages[p]) != want)
				fail_msg("%s: world %u page %#llx: %u forms cached, not %u", what, w,
					(unsigned long long)pages[p], forms_cached(rig, pages[p]),
					want);
		}
	}
}

static void fill_all(struct rig *rig)
{
	for (unsigned w = 0; w < ARRAY_SIZE(worlds); w++) {
		enter(rig, &worlds[w]);
		for (unsigned p = 0; p < ARRAY_SIZE(pages); p++)
			fill(rig, pages[p]);
	}
}

static bool stays_always(const struct world *world, u64 page)
{
	return true;
}

static bool stays_never(const struct world *world, u64 page)
{
	return false;
}

static bool not_x_of_1(const struct world *world, u64 page)
{
	return world->vpid != 1 || page != PAGE_X;
}

static bool not_g_of_1(const struct world *world, u64 page)
{
	return world->vpid != 1 || page != PAGE_G;
}

static bool not_x_of_1_pcid_1(const struct world *world, u64 page)
{
	return not_x_of_1(world, page) || world->pcid != 1;
}

static bool not_of_1(const struct world *world, u64 page)
{
	return world->vpid != 1;
}

static bool not_of_0(const struct world *world, u64 page)
{
	return world->vpid != 0;
}

static bool of_0(const struct world *world, u64 page)
{
	return world->vpid == 0;
}

static bool not_local_of_1(const struct world *world, u64 page)
{
	return world->vpid != 1 || page == PAGE_G;
}

static bool not_local_of_1_pcid_1(const struct world *world, u64 page)
{
	return not_local_of_1(world, page) || world->pcid != 1;
}

static bool not_ept_a(const struct world *world, u64 page)
{
	return (world->eptp & ~0xfffull) != EPT_A;
}

static bool no_ept(const struct world *world, u64 page)
{
	return !world->eptp;
}

/* SDM3 29.4.3.1, whichever world is the current one. */
static void test_flushes(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	for (unsigned w = 0; w < ARRAY_SIZE(worlds); w++) {
#define CHECK(flush, stays) \
	do { \
		fill_all(rig); \
		enter(rig, &worlds[w]); \
		flush; \
		expect(rig, #flush, stays); \
	} while (0)
		CHECK((void)0, stays_always);
		CHECK(tlb_flush_page(cpu, 1, 0, PAGE_X, true), not_x_of_1);
		CHECK(tlb_flush_page(cpu, 1, 0, PAGE_G, true), not_g_of_1);
		CHECK(tlb_flush_page(cpu, 1, 1, PAGE_X, false), not_x_of_1_pcid_1);
		CHECK(tlb_flush_asid(cpu, 1), not_of_1);
		CHECK(tlb_flush_asid(cpu, 0), not_of_0);
		CHECK(tlb_flush_every_vpid(cpu), of_0);
		CHECK(tlb_flush_asid_local(cpu, 1), not_local_of_1);
		CHECK(tlb_flush_pcid(cpu, 1, 1), not_local_of_1_pcid_1);
		CHECK(tlb_flush_ept(cpu, EPT_A), not_ept_a);
		CHECK(tlb_flush_ept(cpu, EPT_A | EPTP_4_LEVELS_WB | EPTP_FLAGS), not_ept_a);
		CHECK(tlb_flush_every_ept(cpu), no_ept);
		CHECK(tlb_flush_all(cpu), stays_never);
#undef CHECK
	}
}

static u8 read_byte(struct rig *rig, u64 linear)
{
	u8 byte;

	assert_int_equal(cpu_read(rig->cpu, linear, &byte, 1, ACCESS_READ), 0);
	return byte;
}

/* A second stage that moved to other tables: what walks remember of the old ones goes as well. */
static void test_moved_tables(void **state)
{
	struct rig *rig = *state;
	const struct world a = { 1, EPT_A | EPTP_4_LEVELS_WB, 0 }, b = { 1, EPT_B | EPTP_4_LEVELS_WB, 0 };

	rig_put(rig, PAGE_X, 1, 1);
	rig_put(rig, PAGE_OTHER, 2, 1);
	put_tables(rig, 0xa0000, 7, 6 << 3 | 7);
	*pte(rig, 0xa0000, PAGE_X) = PAGE_OTHER | 6 << 3 | 7;
	enter(rig, &a);
	assert_int_equal(read_byte(rig, PAGE_X), 1);
	enter(rig, &b);
	assert_int_equal(read_byte(rig, PAGE_X), 1);
	/* both page directories now name the other table */
	rig_put(rig, EPT_A + 2 * PAGE_SIZE, (0xa0000 + 3 * PAGE_SIZE) | 7, 8);
	rig_put(rig, EPT_B + 2 * PAGE_SIZE, (0xa0000 + 3 * PAGE_SIZE) | 7, 8);
	enter(rig, &a);
	assert_int_equal(read_byte(rig, PAGE_X), 1);
	tlb_flush_ept(rig->cpu, EPT_A);
	assert_int_equal(read_byte(rig, PAGE_X), 2);
	enter(rig, &b);
	assert_int_equal(read_byte(rig, PAGE_X), 1);
	tlb_flush_every_ept(rig->cpu);
	assert_int_equal(read_byte(rig, PAGE_X), 2);
}

/* A device that moves its BAR over page tables hides them, and uncovers them as it goes. */
static void test_hidden_tables(void **state)
{
	static const struct io_ops nothing = { 0 };
	struct rig *rig = *state;
	struct translation out;

	rig_long(rig);
	assert_int_equal(mmu_translate(rig->cpu, PAGE_X, ACCESS_READ, false, false, &out), 0);
	assert_int_equal(space_add_io(rig->machine.memory, RIG_TABLES, PAGE_SIZE, &nothing, rig), 0);
	tlb_flush_all(rig->cpu);
	assert_int_equal(mmu_translate(rig->cpu, PAGE_X, ACCESS_READ, false, false, &out),
		OUTCOME_FAULT);
	space_remove_io(rig->machine.memory, RIG_TABLES, rig);
	tlb_flush_all(rig->cpu);
	assert_int_equal(mmu_translate(rig->cpu, PAGE_X, ACCESS_READ, false, false, &out), 0);
}

/* A VM entry may change CR0.WP, CR4.SMEP, EFER.NXE under the same VPID with no flush. */
static void test_modes(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct world world = { 1, 0, 0 };
	u8 byte = 0, *host;

	*pte(rig, TABLES, PAGE_X) = PAGE_X | 1 | 4; /* user, read-only */
	*pte(rig, TABLES, PAGE_Y) = PAGE_Y | 3 | BIT(63);
	cpu->cr0 &= ~CR0_WP;
	cpu->efer |= EFER_NXE;
	enter(rig, &world);
	assert_int_equal(cpu_write(cpu, PAGE_X, &byte, 1, ACCESS_WRITE), 0);
	assert_int_equal(tlb_fetch(cpu, PAGE_X, &host), 0);
	assert_int_equal(tlb_fetch(cpu, PAGE_Y, &host), OUTCOME_FAULT);
	read_byte(rig, PAGE_Y);

	/* each bit for itself, and back */
	cpu->cr0 |= CR0_WP;
	enter(rig, &world);
	assert_int_equal(cpu_write(cpu, PAGE_X, &byte, 1, ACCESS_WRITE), OUTCOME_FAULT);
	cpu->cr0 &= ~CR0_WP;
	cpu->cr4 |= CR4_SMEP;
	enter(rig, &world);
	assert_int_equal(tlb_fetch(cpu, PAGE_X, &host), OUTCOME_FAULT);
	cpu->cr4 &= ~CR4_SMEP;
	cpu->efer &= ~EFER_NXE;
	enter(rig, &world);
	assert_int_equal(cpu_read(cpu, PAGE_Y, &byte, 1, ACCESS_READ), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.error, PF_P | PF_RSVD);
	cpu->efer |= EFER_NXE;

	/* what was cached at first still is */
	enter(rig, &world);
	assert_non_null(tlb_write_hit(cpu, PAGE_X, 1));
	assert_non_null(tlb_read_hit(cpu, PAGE_Y, 1));
}

/* Where EPT has flags they are kept, whatever was cached by the same tables without them. */
static void test_flags_tag(void **state)
{
	struct rig *rig = *state;
	struct world world = { 1, EPT_A | EPTP_4_LEVELS_WB, 0 };
	u8 byte = 0;

	enter(rig, &world);
	assert_int_equal(cpu_write(rig->cpu, PAGE_X, &byte, 1, ACCESS_WRITE), 0);
	assert_int_equal(*pte(rig, EPT_A, PAGE_X) & MASK(9, 8), 0);
	world.eptp |= EPTP_FLAGS;
	enter(rig, &world);
	assert_null(tlb_write_hit(rig->cpu, PAGE_X, 1));
	read_byte(rig, PAGE_X);
	assert_int_equal(*pte(rig, EPT_A, PAGE_X) & MASK(9, 8), BIT(8));
	assert_null(tlb_write_hit(rig->cpu, PAGE_X, 1));
	assert_int_equal(cpu_write(rig->cpu, PAGE_X, &byte, 1, ACCESS_WRITE), 0);
	assert_int_equal(*pte(rig, EPT_A, PAGE_X) & MASK(9, 8), MASK(9, 8));
	assert_non_null(tlb_write_hit(rig->cpu, PAGE_X, 1));
}

/* Mode-based execute control gives an EPT pointer's translations another meaning. */
static void test_mode_based(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct world world = { 1, EPT_A | EPTP_4_LEVELS_WB, 0 };
	u8 *host;

	*pte(rig, EPT_A, PAGE_X) |= BIT(10); /* user-mode addresses too */
	*pte(rig, TABLES, PAGE_Y) &= ~(u64)4;
	for (unsigned level = 0; level < 3; level++)
		rig_put(rig, EPT_A + level * PAGE_SIZE,
			rig_get(rig, EPT_A + level * PAGE_SIZE, 8) | BIT(10), 8);
	enter(rig, &world);
	assert_int_equal(tlb_fetch(cpu, PAGE_G, &host), 0);
	cpu->ept_mode_based = true;
	enter(rig, &world);
	assert_int_equal(tlb_fetch(cpu, PAGE_X, &host), 0);
	assert_int_equal(tlb_fetch(cpu, PAGE_Y, &host), 0);
	assert_int_equal(tlb_fetch(cpu, PAGE_G, &host), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.kind, FAULT_EPT_VIOLATION);
	assert_int_equal(cpu->fault.qualification & 0x7f,
		EPT_QUAL_FETCH | EPT_QUAL_READABLE | EPT_QUAL_WRITABLE | EPT_QUAL_EXECUTABLE);
}

/* What may be executed alone is not read, and the other way round. */
static void test_execute_only(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct world world = { 1, EPT_A | EPTP_4_LEVELS_WB, 0 };
	u8 byte, *host;

	*pte(rig, EPT_A, PAGE_X) = PAGE_X | 6 << 3 | 4;
	*pte(rig, EPT_A, PAGE_Y) = PAGE_Y | 6 << 3 | 1;
	enter(rig, &world);
	assert_int_equal(tlb_fetch(cpu, PAGE_X, &host), 0);
	assert_int_equal(cpu_read(cpu, PAGE_X, &byte, 1, ACCESS_READ), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.kind, FAULT_EPT_VIOLATION);
	read_byte(rig, PAGE_Y);
	assert_int_equal(tlb_fetch(cpu, PAGE_Y, &host), OUTCOME_FAULT);
	assert_int_equal(cpu_write(cpu, PAGE_Y, &byte, 1, ACCESS_WRITE), OUTCOME_FAULT);
}

/* A fault drops what is cached of its address, SDM3 4.10.4.1 and 29.4.3.1; nothing else goes. */
static void test_fault_drops(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct world host = { 0, 0, 0 }, guest = { 1, EPT_A | EPTP_4_LEVELS_WB, 0 };
	u8 byte = 9;

	rig_put(rig, PAGE_X, 1, 1);
	rig_put(rig, PAGE_OTHER, 2, 1);
	*pte(rig, TABLES, PAGE_X) = PAGE_X | 5;
	cpu->cr0 |= CR0_WP;
	enter(rig, &host);
	fill(rig, PAGE_X);
	fill(rig, PAGE_Y);
	*pte(rig, TABLES, PAGE_X) = PAGE_OTHER | 5;
	assert_int_equal(read_byte(rig, PAGE_X), 1);
	/* at level 3 the same address is another entry, of the same translation */
	cpu->cpl = 3;
	enter(rig, &host);
	assert_int_equal(cpu_write(cpu, PAGE_X, &byte, 1, ACCESS_WRITE), OUTCOME_FAULT);
	cpu->cpl = 0;
	enter(rig, &host);
	assert_int_equal(forms_cached(rig, PAGE_X), 0);
	assert_int_equal(forms_cached(rig, PAGE_Y), 4);
	assert_int_equal(read_byte(rig, PAGE_X), 2);

	*pte(rig, TABLES, PAGE_X) = PAGE_X | 7;
	*pte(rig, EPT_A, PAGE_X) &= ~BIT(1);
	enter(rig, &guest);
	fill(rig, PAGE_X);
	fill(rig, PAGE_Y);
	*pte(rig, EPT_A, PAGE_X) = PAGE_OTHER | 6 << 3 | 1;
	assert_int_equal(cpu_write(cpu, PAGE_X, &byte, 1, ACCESS_WRITE), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.kind, FAULT_EPT_VIOLATION);
	assert_int_equal(forms_cached(rig, PAGE_X), 0);
	assert_int_equal(forms_cached(rig, PAGE_Y), 4);
	assert_int_equal(read_byte(rig, PAGE_X), 2);
}

/* More worlds than there are contexts: the oldest ones give way, and none shows another's pages. */
static void test_many_worlds(void **state)
{
	struct rig *rig = *state;
	struct world world = { 0 };
	unsigned cached = 0;

	rig_put(rig, PAGE_X, 1, 1);
	rig_put(rig, PAGE_OTHER, 2, 1);
	*pte(rig, EPT_B, PAGE_X) = PAGE_OTHER | 6 << 3 | 7;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 1; i < 3 * CONTEXTS; i++) {
			world.vpid = i;
			world.eptp = (i & 1 ? EPT_A : EPT_B) | EPTP_4_LEVELS_WB;
			enter(rig, &world);
			assert_int_equal(read_byte(rig, PAGE_X), i & 1 ? 1 : 2);
		}
	}
	for (unsigned i = 3 * CONTEXTS - 1; i > 2 * CONTEXTS; i--) {
		world.vpid = i;
		world.eptp = (i & 1 ? EPT_A : EPT_B) | EPTP_4_LEVELS_WB;
		enter(rig, &world);
		cached += !!tlb_read_hit(rig->cpu, PAGE_X, 1);
	}
	assert_int_equal(cached, CONTEXTS - 1);
}

/* Two pages of one slot: neither is walked for again, and whatever concerns one reaches it where it waits. */
static void test_same_slot(void **state)
{
	const u64 rival = 0x2020000; /* tlb_hash() of PAGE_X */
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct world world = { 0, 0, 0 };
	u8 byte = 7, *x_host = (u8 *)rig->machine.ram.host + PAGE_X;
	u64 fills;

	assert_int_equal(tlb_hash(rival), tlb_hash(PAGE_X));
	rig_put(rig, TABLES + 2 * PAGE_SIZE + 8 * (rival >> 21), 0xa0000 | 7, 8);
	rig_put(rig, 0xa0000 + 8 * (rival >> PAGE_SHIFT & 511), PAGE_Y | 7, 8);
	rig_put(rig, PAGE_X, 1, 1);
	rig_put(rig, PAGE_OTHER, 2, 1);
	rig_put(rig, PAGE_Y, 3, 1);
	enter(rig, &world);
	assert_int_equal(cpu_write(cpu, PAGE_X + 1, &byte, 1, ACCESS_WRITE), 0);
	assert_int_equal(read_byte(rig, rival), 3);
	fills = cpu->stats.tlb_fills;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(read_byte(rig, PAGE_X), 1);
		assert_non_null(tlb_write_hit(cpu, PAGE_X, 1));
		assert_int_equal(read_byte(rig, rival), 3);
		assert_null(tlb_read_hit(cpu, PAGE_X, 1));
	}
	assert_int_equal(cpu->stats.tlb_fills, fills);
	/* code was translated there */
	tlb_protect_ram_page(cpu, (u64)x_host);
	assert_int_equal(read_byte(rig, PAGE_X), 1);
	assert_null(tlb_write_hit(cpu, PAGE_X, 1));
	assert_int_equal(read_byte(rig, rival), 3);
	/* a store has to walk, and must not leave the old entry behind */
	tlb_flush_page(cpu, 0, 0, rival, true);
	assert_int_equal(cpu_write(cpu, PAGE_X + 1, &byte, 1, ACCESS_WRITE), 0);
	assert_non_null(tlb_write_hit(cpu, PAGE_X, 1));
	*pte(rig, TABLES, PAGE_X) = PAGE_OTHER | 7;
	tlb_flush_page(cpu, 0, 0, PAGE_X, true);
	assert_int_equal(read_byte(rig, PAGE_X), 2);
	/* and where it waits */
	assert_int_equal(read_byte(rig, rival), 3);
	*pte(rig, TABLES, PAGE_X) = PAGE_X | 7;
	assert_int_equal(read_byte(rig, PAGE_X), 2);
	assert_int_equal(read_byte(rig, rival), 3);
	tlb_flush_page(cpu, 0, 0, PAGE_X, true);
	assert_int_equal(read_byte(rig, PAGE_X), 1);
	assert_int_equal(read_byte(rig, rival), 3);
	*pte(rig, TABLES, PAGE_X) = PAGE_OTHER | 7;
	tlb_flush_all(cpu);
	assert_int_equal(read_byte(rig, PAGE_X), 2);
}

static const struct context *enter_with_ac(struct rig *rig, const struct world *world, u64 ac)
{
	rig->cpu->rflags_system = (rig->cpu->rflags_system & ~RFLAGS_AC) | ac;
	enter(rig, world);
	return rig->cpu->context;
}

/* STAC and CLAC may go from one context to the other: both ways, until one is to be emptied, and under SMAP. */
static void test_ac_links(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct world world = { 1, 0, 0 }, other = { 2, 0, 0 };
	const struct context *clear, *set;

	cpu->cr4 |= CR4_SMAP;
	for (unsigned i = 0; i < 3; i++) {
		clear = enter_with_ac(rig, &world, 0);
		set = enter_with_ac(rig, &world, RFLAGS_AC);
		assert_ptr_not_equal(clear, set);
		assert_ptr_equal(clear->block->ac_block, set->block);
		assert_ptr_equal(clear->block->ac_context, set);
		assert_ptr_equal(set->block->ac_block, clear->block);
		assert_ptr_equal(set->block->ac_context, clear);
		/* the one that is not the current is marked, the other emptied at once */
		if (i == 0)
			tlb_flush_all(cpu);
		else if (i == 1)
			tlb_flush_asid(cpu, 1);
		else
			enter(rig, &other);
		if (i < 2) {
			assert_null(set->block->ac_block);
			assert_null(clear->block->ac_block);
		}
	}
	assert_null(cpu->context->block->ac_block);
	/* no SMAP: AC decides nothing, so nothing may lead by it */
	cpu->cr4 &= ~CR4_SMAP;
	enter(rig, &world);
	assert_null(cpu->context->block->ac_block);
}

/* ---- the APIC-access page, SDM3 30.4 ---- */

static void enter_with_apic(struct rig *rig, u64 eptp)
{
	const struct world world = { 1, eptp, 0 };

	rig->cpu->apic_access_page = APIC_PAGE;
	enter(rig, &world);
}

static void check_apic_accesses(struct rig *rig, u64 eptp)
{
	struct cpu *cpu = rig->cpu;
	struct apic_calls *calls = calls_of(cpu);
	const u32 value = 0x11223344;
	struct access access;
	u32 got;

	memset(rig->machine.ram.host + APIC_PAGE - 16, 0x55, PAGE_SIZE + 32);
	enter_with_apic(rig, eptp);
	assert_int_equal(cpu_read(cpu, APIC_PAGE + 0x84, &got, 4, ACCESS_READ), 0);
	assert_int_equal(got, 0xa4a4a4a4);
	assert_int_equal(calls->offset, 0x84);
	assert_int_equal(calls->access, ACCESS_READ);
	assert_null(tlb_read_hit(cpu, APIC_PAGE, 1));

	assert_int_equal(cpu_write(cpu, APIC_PAGE + 0xb0, &value, 4, ACCESS_WRITE), 0);
	assert_int_equal(calls->writes, 1);
	assert_int_equal(calls->offset, 0xb0);
	assert_memory_equal(calls->data, &value, 4);
	assert_int_equal(rig_get(rig, APIC_PAGE + 0xb0, 4), 0x55555555);

	/* an operand that is read and written: the old bytes come from there, no others */
	assert_int_equal(cpu_access_begin(cpu, &access, APIC_PAGE + 0x85, 2,
				 ACCESS_WRITE | ACCESS_MODIFY), 0);
	assert_int_equal(calls->access, ACCESS_WRITE | ACCESS_MODIFY);
	assert_int_equal(access.host[0], 0xa5);
	memcpy(access.host, &value, 2);
	cpu_access_commit(cpu, &access);
	assert_int_equal(calls->writes, 2);
	assert_int_equal(calls->offset, 0x85);
	assert_int_equal(calls->len, 2);

	/* one that crosses into the page */
	assert_int_equal(cpu_write(cpu, APIC_PAGE - 2, &value, 4, ACCESS_WRITE), 0);
	assert_int_equal(rig_get(rig, APIC_PAGE - 2, 2), 0x3344);
	assert_int_equal(calls->writes, 3);
	assert_int_equal(calls->len, 2);
	assert_memory_equal(calls->data, (const u8 *)&value + 2, 2);
	assert_int_equal(rig_get(rig, APIC_PAGE, 4), 0x55555555);
}

static void test_apic_access(void **state)
{
	struct rig *rig = *state;

	check_apic_accesses(rig, 0);
	calls_of(rig->cpu)->writes = 0;
	check_apic_accesses(rig, EPT_A | EPTP_4_LEVELS_WB);
}

static void expect_apic_fault(struct rig *rig, u64 gpa, unsigned access)
{
	const struct fault *fault = &rig->cpu->fault;

	assert_int_equal(fault->kind, FAULT_APIC_ACCESS);
	assert_int_equal(fault->gpa, gpa);
	assert_int_equal(fault->access, access);
	assert_false(fault->in_walk);
	assert_true(fault->linear_valid);
	rig->cpu->fault.kind = FAULT_NONE;
}

/* Accesses that the hypervisor does not let be virtualized end the guest before they do anything. */
static void test_apic_refused(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct apic_calls *calls = calls_of(cpu);
	struct access access;
	u32 value = 0;
	u8 *host;

	memset(rig->machine.ram.host + APIC_PAGE - 16, 0x55, PAGE_SIZE + 32);
	calls->refuse = true;
	enter_with_apic(rig, EPT_A | EPTP_4_LEVELS_WB);
	assert_int_equal(cpu_read(cpu, APIC_PAGE + 0x20, &value, 4, ACCESS_READ), OUTCOME_FAULT);
	expect_apic_fault(rig, APIC_PAGE + 0x20, ACCESS_READ);
	assert_int_equal(cpu_write(cpu, APIC_PAGE + 0x20, &value, 4, ACCESS_WRITE), OUTCOME_FAULT);
	expect_apic_fault(rig, APIC_PAGE + 0x20, ACCESS_WRITE);
	assert_int_equal(cpu_write(cpu, APIC_PAGE - 2, &value, 4, ACCESS_WRITE), OUTCOME_FAULT);
	expect_apic_fault(rig, APIC_PAGE, ACCESS_WRITE);
	assert_int_equal(rig_get(rig, APIC_PAGE - 2, 4), 0x55555555);
	assert_int_equal(cpu_access_begin(cpu, &access, APIC_PAGE + 8, 4,
				 ACCESS_WRITE | ACCESS_MODIFY), OUTCOME_FAULT);
	expect_apic_fault(rig, APIC_PAGE + 8, ACCESS_WRITE);
	assert_int_equal(calls->reads + calls->writes, 0);

	/* code is never virtualized */
	calls->refuse = false;
	assert_int_equal(tlb_fetch(cpu, APIC_PAGE + 4, &host), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.access, ACCESS_EXEC);
	cpu_deliver_fault(cpu);
	assert_int_equal(calls->fault.kind, FAULT_APIC_ACCESS);
	assert_int_equal(calls->fault.gpa, APIC_PAGE + 4);
}

/* Page walks through EPT that come upon the page: guest-physical accesses, SDM3 30.4.6.1. */
static void test_apic_in_walk(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	u8 byte;

	memcpy(rig->machine.ram.host + APIC_PAGE, rig->machine.ram.host + TABLES + 3 * PAGE_SIZE,
		PAGE_SIZE);
	rig_put(rig, TABLES + 2 * PAGE_SIZE, APIC_PAGE | 7, 8);
	enter_with_apic(rig, EPT_A | EPTP_4_LEVELS_WB);
	assert_int_equal(cpu_read(cpu, PAGE_X, &byte, 1, ACCESS_READ), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.kind, FAULT_APIC_ACCESS);
	assert_true(cpu->fault.in_walk);
	assert_int_equal(cpu->fault.gpa, APIC_PAGE + (PAGE_X >> PAGE_SHIFT) * 8);
	assert_int_equal(calls_of(cpu)->asked, 0);
	/* without EPT a walk's accesses are physical ones, and find memory */
	enter_with_apic(rig, 0);
	read_byte(rig, PAGE_X);
}

/* A world with the page does not use what one without it has cached, nor the other way round. */
static void test_apic_tag(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct world world = { 1, EPT_A | EPTP_4_LEVELS_WB, 0 };

	rig_put(rig, APIC_PAGE, 0x66, 1);
	enter(rig, &world);
	assert_int_equal(read_byte(rig, APIC_PAGE), 0x66);
	enter_with_apic(rig, EPT_A | EPTP_4_LEVELS_WB);
	assert_int_equal(read_byte(rig, APIC_PAGE), 0xa0);
	cpu->apic_access_page = NO_APIC_ACCESS_PAGE;
	enter(rig, &world);
	assert_int_equal(read_byte(rig, APIC_PAGE), 0x66);
}

static int set_up(void **state)
{
	struct apic_calls *calls;
	struct rig *rig;

	if (rig_setup(state))
		return -1;
	rig = *state;
	calls = calloc(1, sizeof(*calls));
	if (!calls)
		return -1;
	rig->cpu->virt = &ops;
	rig->cpu->virt_state = calls;
	rig_long(rig);
	put_tables(rig, TABLES, 7, 7);
	*pte(rig, TABLES, PAGE_G) |= BIT(8);
	put_tables(rig, EPT_A, 7, 6 << 3 | 7);
	put_tables(rig, EPT_B, 7, 6 << 3 | 7);
	rig->cpu->cr4 |= CR4_PGE | CR4_PCIDE;
	return 0;
}

/* What a world had that is asked for no more goes to the next new one, though there is unused memory. */
static void test_abandoned_world(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	const struct context *first, *second;

	enter(rig, &worlds[0]);
	fill(rig, PAGE_X);
	first = cpu->context;
	enter(rig, &worlds[1]);
	second = cpu->context;
	assert_ptr_not_equal(second, first);
	for (unsigned i = 0; i < 1000; i++)
		tlb_select(cpu);
	enter(rig, &worlds[2]);
	assert_ptr_not_equal(cpu->context, first);
	assert_ptr_not_equal(cpu->context, second);
	for (unsigned i = 0; i < 40000; i++)
		tlb_select(cpu);
	enter(rig, &worlds[3]);
	assert_true(cpu->context == first || cpu->context == second);
	assert_int_equal(forms_cached(rig, PAGE_X), 0);
	enter(rig, &worlds[0]);
	assert_int_equal(forms_cached(rig, PAGE_X), 0);
}

/* Targets that meet in a set of the jump cache: it has the last JUMP_WAYS of them. */
static void test_jump_ways(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	u64 targets[JUMP_WAYS + 1], at = PAGE_X;

	enter(rig, &worlds[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++, at++) {
		while (i && jump_hash(at) != jump_hash(targets[0]))
			at++;
		targets[i] = at;
		tlb_add_jump(cpu, at, 0x1000 + i);
	}
	assert_int_equal(tlb_jump(cpu, targets[0]), 0);
	for (unsigned i = 1; i < ARRAY_SIZE(targets); i++)
		assert_int_equal(tlb_jump(cpu, targets[i]), 0x1000 + i);
	/* one that is there moves to the front and takes nobody's place */
	tlb_add_jump(cpu, targets[2], 0x2000);
	assert_int_equal(cpu->context->block->jump[jump_hash(targets[2])].target, targets[2]);
	for (unsigned i = 1; i < ARRAY_SIZE(targets); i++)
		assert_int_equal(tlb_jump(cpu, targets[i]), i == 2 ? 0x2000 : 0x1000 + i);
	tlb_flush_page(cpu, 0, 0, targets[3], true);
	assert_int_equal(tlb_jump(cpu, targets[3]), 0);
	tlb_flush_all(cpu);
	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++)
		assert_int_equal(tlb_jump(cpu, targets[i]), 0);
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	free(rig->cpu->virt_state);
	return rig_teardown(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_flushes),
		CASE(test_moved_tables),
		CASE(test_hidden_tables),
		CASE(test_modes),
		CASE(test_flags_tag),
		CASE(test_mode_based),
		CASE(test_execute_only),
		CASE(test_fault_drops),
		CASE(test_many_worlds),
		CASE(test_same_slot),
		CASE(test_ac_links),
		CASE(test_abandoned_world),
		CASE(test_jump_ways),
		CASE(test_apic_access),
		CASE(test_apic_refused),
		CASE(test_apic_in_walk),
		CASE(test_apic_tag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
