/* SPDX-License-Identifier: MIT */
/* Local APICs: priorities, modes, delivery among three of them, the timer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/lapic.h"
#include "fake_loop.h"
#include "x86/regs.h"

#define CPUS 3
#define ENABLE 0x800
#define X2 0x400

static struct apic_bus bus;
static struct lapic cpu[CPUS];
static unsigned self; /* whose thread it is */

struct pins {
	bool intr;
	unsigned nmi, init, sipi, smi;
	u8 sipi_vector;
};
static struct pins pins[CPUS];

static void set_pin(void *listener, unsigned pin, bool level)
{
	struct pins *p = listener;

	switch (pin & 0xff) {
	case CPU_PIN_INTR:
		p->intr = level;
		break;
	case CPU_PIN_NMI:
		p->nmi += level;
		break;
	case CPU_PIN_INIT:
		p->init += level;
		break;
	case CPU_PIN_SIPI:
		p->sipi += level;
		p->sipi_vector = pin >> 8;
		break;
	case CPU_PIN_SMI:
		p->smi += level;
		break;
	}
}

static unsigned current(void *arg)
{
	return self;
}

static u8 eoi_vector;
static unsigned eois;

static void note_eoi(void *arg, u8 vector)
{
	eoi_vector = vector;
	eois++;
}

/* A 3 GHz TSC */
static u64 tsc_to_ns(void *arg, u64 tsc)
{
	return (tsc + 2) / 3;
}

static int pic_vector;

static int pic_acknowledge(void *arg)
{
	lapic_set_lint(&cpu[0], 0, false);
	return pic_vector;
}

static int pic_pending(void *arg)
{
	return pic_vector;
}

static u32 get(unsigned offset)
{
	return lapic_window_class.ranges[0].ops.read(&bus, offset, 4);
}

static void set(unsigned offset, u32 value)
{
	lapic_window_class.ranges[0].ops.write(&bus, offset, 4, value);
}

static u64 rdmsr(u32 msr)
{
	u64 value = 0;

	assert_int_equal(lapic_ops.read_msr(&cpu[self], msr, &value), 0);
	return value;
}

static void wrmsr(u32 msr, u64 value)
{
	assert_int_equal(lapic_ops.write_msr(&cpu[self], msr, value), 0);
}

static void assert_gp_write(u32 msr, u64 value)
{
	assert_int_equal(lapic_ops.write_msr(&cpu[self], msr, value), -1);
}

static void assert_gp_read(u32 msr)
{
	u64 value;

	assert_int_equal(lapic_ops.read_msr(&cpu[self], msr, &value), -1);
}

static int setup(void **state)
{
	fake_start(1000000000, 1000000000);
	bus = (struct apic_bus){ .eoi = note_eoi, .current = current };
	eois = 0;
	for (unsigned i = 0; i < CPUS; i++) {
		pins[i] = (struct pins){ 0 };
		cpu[i] = (struct lapic){ .bus = &bus, .id = i, .bsp = i == 0,
			.cpu = { set_pin, &pins[i], 0 }, .tsc_to_ns = tsc_to_ns,
			.phys_bits = 40 };
		assert_int_equal(lapic_join(&cpu[i]), 0);
		self = i;
		set(0xf0, 0x1ff);
	}
	self = 0;
	cpu[0].extint_acknowledge = pic_acknowledge;
	cpu[0].extint_pending = pic_pending;
	return 0;
}

static void enable_x2apic(void)
{
	for (self = 0; self < CPUS; self++)
		wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | X2);
	self = 0;
}

static void to_self(u8 vector)
{
	set(0x300, 0x40000 | vector);
}

static void test_reset(void **state)
{
	lapic_class.reset(&cpu[1]);
	self = 1;
	assert_int_equal(get(0x20), 0x01000000);
	assert_int_equal(get(0x30), 0x00050014);
	assert_int_equal(get(0xe0), 0xffffffff);
	assert_int_equal(get(0xf0), 0xff);
	for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10)
		assert_int_equal(get(lvt), 0x10000);
	assert_true(rdmsr(MSR_APIC_BASE) == (LAPIC_BASE | ENABLE));
	self = 0;
	assert_true(rdmsr(MSR_APIC_BASE) == (LAPIC_BASE | ENABLE | 0x100));
}

static void test_priority(void **state)
{
	to_self(0x31);
	assert_true(pins[0].intr);
	assert_int_equal(lapic_ops.pending_vector(&cpu[0]), 0x31);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x31);
	assert_false(pins[0].intr);
	assert_int_equal(get(0xa0), 0x30);
	/* The same class waits, a higher one nests. */
	to_self(0x3f);
	assert_false(pins[0].intr);
	to_self(0x41);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x41);
	assert_int_equal(get(0x110), 1 << 17);
	assert_int_equal(get(0x120), 1 << 1);
	assert_int_equal(get(0x210), 1u << 31);
	lapic_ops.eoi(&cpu[0]);
	assert_int_equal(get(0x120), 0);
	assert_false(pins[0].intr);
	set(0xb0, 0);
	assert_true(pins[0].intr);
	/* TPR holds it back. */
	set(0x80, 0x35);
	assert_false(pins[0].intr);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), -1);
	assert_int_equal(lapic_ops.read_cr8(&cpu[0]), 3);
	assert_int_equal(get(0xa0), 0x35);
	lapic_ops.write_cr8(&cpu[0], 2);
	assert_int_equal(get(0x80), 0x20);
	assert_true(pins[0].intr);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x3f);
	set(0xb0, 0);
	set(0xb0, 0);
	assert_int_equal(eois, 0);
}

static void test_level(void **state)
{
	apic_message(&bus, LAPIC_BASE, 0xc000 | 0x50);
	assert_int_equal(get(0x1a0), 1 << 16);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x50);
	set(0xb0, 0);
	assert_int_equal(eois, 1);
	assert_int_equal(eoi_vector, 0x50);
	/* The same vector as an edge: no broadcast */
	apic_message(&bus, LAPIC_BASE, 0x50);
	assert_int_equal(get(0x1a0), 0);
	lapic_ops.acknowledge(&cpu[0]);
	set(0xb0, 0);
	assert_int_equal(eois, 1);
	/* De-assertion of a level, and addresses that are not the APICs' */
	apic_message(&bus, LAPIC_BASE, 0x8000 | 0x50);
	apic_message(&bus, 0xfed00000, 0x50);
	apic_message(&bus, LAPIC_BASE | 1ull << 32, 0x50);
	assert_false(pins[0].intr);
}

static void test_software_disable(void **state)
{
	set(0x320, 0x40);
	set(0xf0, 0xff);
	assert_int_equal(get(0x320), 0x10040);
	set(0x320, 0x40);
	assert_int_equal(get(0x320), 0x10040);
	apic_message(&bus, LAPIC_BASE, 0x50);
	assert_false(pins[0].intr);
	apic_message(&bus, LAPIC_BASE, 0x400);
	assert_int_equal(pins[0].nmi, 1);
	set(0xf0, 0x1ff);
	assert_int_equal(get(0x320), 0x10040);
}

static void ipi(u32 destination, u32 low)
{
	set(0x310, destination << 24);
	set(0x300, low);
}

static void test_ipi_xapic(void **state)
{
	ipi(1, 0x4000 | 0x60);
	assert_false(pins[0].intr);
	assert_true(pins[1].intr);
	assert_false(pins[2].intr);
	assert_int_equal(lapic_ops.acknowledge(&cpu[1]), 0x60);
	ipi(2, 0x4500);
	assert_int_equal(pins[2].init, 1);
	/* INIT level de-assert is nothing. */
	ipi(2, 0x8500);
	assert_int_equal(pins[2].init, 1);
	ipi(2, 0x4612);
	assert_int_equal(pins[2].sipi, 1);
	assert_int_equal(pins[2].sipi_vector, 0x12);
	ipi(2, 0x4200);
	assert_int_equal(pins[2].smi, 1);
	/* Broadcast, and the shorthands */
	ipi(0xff, 0x4400);
	ipi(0, 0x84400);
	ipi(0, 0xc4400);
	assert_int_equal(pins[0].nmi, 2);
	assert_int_equal(pins[1].nmi, 3);
	assert_int_equal(pins[2].nmi, 3);
	/* Itself: NMI is let pass, INIT is not */
	ipi(0, 0x44400);
	ipi(0, 0x44500);
	assert_int_equal(pins[0].nmi, 3);
	assert_int_equal(pins[0].init, 0);
	/* Nobody there */
	ipi(9, 0x4061);
	assert_false(pins[0].intr);
	/* The ID can be changed in xAPIC mode. */
	self = 1;
	set(0x20, 9 << 24);
	lapic_ops.write_cr8(&cpu[1], 0);
	set(0xb0, 0);
	self = 0;
	ipi(9, 0x4061);
	assert_true(pins[1].intr);
}

static void test_logical(void **state)
{
	for (self = 0; self < CPUS; self++)
		set(0xd0, 1u << (24 + self));
	self = 0;
	ipi(0x6, 0x4800 | 0x60);
	assert_false(pins[0].intr);
	assert_true(pins[1].intr);
	assert_true(pins[2].intr);
	/* Lowest priority: one of them, and the next time the other */
	setup(NULL);
	for (self = 0; self < CPUS; self++)
		set(0xd0, 1u << (24 + self));
	self = 0;
	ipi(0x6, 0x4900 | 0x60);
	assert_int_equal(pins[1].intr + pins[2].intr, 1);
	ipi(0x6, 0x4900 | 0x61);
	assert_int_equal(pins[1].intr + pins[2].intr, 2);
	/* Whoever runs at the lowest priority gets it. */
	lapic_ops.write_cr8(&cpu[1], 8);
	lapic_ops.write_cr8(&cpu[2], 8);
	ipi(0x7, 0x4900 | 0x62);
	assert_true(pins[0].intr);
	/* The same by a message with the redirection hint */
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x62);
	lapic_ops.write_cr8(&cpu[1], 0);
	lapic_ops.acknowledge(&cpu[1]);
	apic_message(&bus, LAPIC_BASE | 0x6 << 12 | 0xc, 0x90);
	assert_int_equal(pins[1].intr + pins[2].intr, 1);

	/* Clusters: two CPUs of cluster 1, one of cluster 2 */
	setup(NULL);
	for (self = 0; self < CPUS; self++)
		set(0xe0, 0x0fffffff);
	self = 0;
	set(0xd0, 0x11000000);
	self = 1;
	set(0xd0, 0x12000000);
	self = 2;
	set(0xd0, 0x21000000);
	self = 0;
	ipi(0x13, 0x4860);
	assert_true(pins[0].intr && pins[1].intr && !pins[2].intr);
	ipi(0x21, 0x4860);
	assert_true(pins[2].intr);
}

static void test_modes(void **state)
{
	u64 base = LAPIC_BASE | 0x100;

	assert_gp_read(0x802);
	assert_gp_write(MSR_APIC_BASE, base | X2);
	assert_gp_write(MSR_APIC_BASE, base | ENABLE | 1);
	assert_gp_write(MSR_APIC_BASE, base | ENABLE | 1ull << 40);
	wrmsr(MSR_APIC_BASE, base | ENABLE | X2);
	assert_gp_write(MSR_APIC_BASE, base | ENABLE);
	assert_int_equal(get(0x20), 0xffffffff);
	assert_int_equal(rdmsr(0x802), 0);
	wrmsr(MSR_APIC_BASE, base);
	assert_gp_write(MSR_APIC_BASE, base | ENABLE | X2);
	wrmsr(MSR_APIC_BASE, base | ENABLE);
	assert_int_equal(get(0xf0), 0xff);
}

static void test_x2apic(void **state)
{
	enable_x2apic();
	assert_int_equal(rdmsr(0x80d), 1);
	self = 2;
	assert_int_equal(rdmsr(0x80d), 4);
	assert_int_equal(rdmsr(0x802), 2);
	self = 0;
	assert_gp_write(0x802, 0);
	assert_gp_write(0x803, 0);
	assert_gp_write(0x80d, 0);
	assert_gp_write(0x80b, 1);
	assert_gp_write(0x828, 1);
	assert_gp_write(0x808, 0x100);
	assert_gp_write(0x808, 1ull << 32);
	assert_gp_write(0x810, 0);
	assert_gp_read(0x80b);
	assert_gp_read(0x80e);
	assert_gp_read(0x831);
	assert_gp_read(0x83f);
	assert_gp_read(0x8ff);
	wrmsr(0x80b, 0);
	wrmsr(0x808, 0x20);
	assert_int_equal(rdmsr(0x80a), 0x20);
	wrmsr(0x808, 0);
	/* ICR in one write, 32 bits of destination */
	wrmsr(0x830, 2ull << 32 | 0x4060);
	assert_true(pins[2].intr);
	assert_true(rdmsr(0x830) == (2ull << 32 | 0x4060));
	wrmsr(0x830, 0x102ull << 32 | 0x4400);
	wrmsr(0x830, 0xffull << 32 | 0x4400);
	assert_int_equal(pins[0].nmi + pins[1].nmi + pins[2].nmi, 0);
	wrmsr(0x830, 0xffffffffull << 32 | 0x4400);
	assert_int_equal(pins[0].nmi + pins[1].nmi + pins[2].nmi, 3);
	/* Logical: cluster 0, CPUs 0 and 1 */
	wrmsr(0x830, 3ull << 32 | 0x4861);
	assert_true(pins[0].intr && pins[1].intr);
	lapic_ops.acknowledge(&cpu[0]);
	wrmsr(0x80b, 0);
	wrmsr(0x83f, 0x70);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x70);
	assert_gp_write(0x83f, 0x170);
	/* A message's eight bits name an x2APIC too. */
	apic_message(&bus, LAPIC_BASE | 1 << 12, 0x71);
	assert_int_equal(lapic_ops.pending_vector(&cpu[1]), 0x71);
}

static void test_errors(void **state)
{
	set(0x370, 0xfe);
	to_self(0x0f);
	assert_int_equal(get(0x280), 0);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0xfe);
	set(0xb0, 0);
	set(0x280, 0);
	assert_int_equal(get(0x280), 0x20);
	set(0x280, 0);
	assert_int_equal(get(0x280), 0);
	apic_message(&bus, LAPIC_BASE, 0x0e);
	set(0x280, 0);
	assert_int_equal(get(0x280), 0x40);
	get(0x3f0);
	set(0x280, 0);
	assert_int_equal(get(0x280), 0x80);
	/* Read-only ones may be written without effect. */
	set(0x30, 0);
	set(0x280, 0);
	assert_int_equal(get(0x280), 0);
	/* An illegal error vector does not run in circles. */
	set(0x370, 0x01);
	to_self(0x02);
	set(0x280, 0);
	assert_int_equal(get(0x280), 0x60);
}

static void test_lint(void **state)
{
	/* ExtINT through LINT0: the 8259's vector, before the APIC's own */
	set(0x350, 0x700);
	pic_vector = 0x21;
	lapic_set_lint(&cpu[0], 0, true);
	assert_true(pins[0].intr);
	to_self(0x80);
	assert_int_equal(lapic_ops.pending_vector(&cpu[0]), 0x21);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x21);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x80);
	set(0xb0, 0);
	assert_false(pins[0].intr);
	set(0x350, 0x10700);
	lapic_set_lint(&cpu[0], 0, true);
	assert_false(pins[0].intr);
	set(0x350, 0x700);
	assert_true(pins[0].intr);
	lapic_set_lint(&cpu[0], 0, false);
	assert_false(pins[0].intr);
	/* Fixed */
	set(0x350, 0x44);
	lapic_set_lint(&cpu[0], 0, true);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x44);
	set(0xb0, 0);
	/* NMI through LINT1, an edge */
	set(0x360, 0x400);
	lapic_set_lint(&cpu[0], 1, true);
	lapic_set_lint(&cpu[0], 1, true);
	assert_int_equal(pins[0].nmi, 1);
	lapic_set_lint(&cpu[0], 1, false);
	lapic_set_lint(&cpu[0], 1, true);
	assert_int_equal(pins[0].nmi, 2);
	/* Globally disabled, the pins are the CPU's own. */
	lapic_set_lint(&cpu[0], 0, false);
	wrmsr(MSR_APIC_BASE, LAPIC_BASE | 0x100);
	lapic_set_lint(&cpu[0], 0, true);
	assert_true(pins[0].intr);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x21);
	apic_message(&bus, LAPIC_BASE, 0x50);
	assert_false(pins[0].intr);
}

static void test_init(void **state)
{
	self = 1;
	set(0x20, 7 << 24);
	to_self(0x50);
	lapic_ops.init(&cpu[1]);
	assert_false(pins[1].intr);
	assert_int_equal(get(0x20), 7 << 24);
	assert_int_equal(get(0xf0), 0xff);
}

static void test_one_shot(void **state)
{
	set(0x3e0, 0xb);
	set(0x320, 0x40);
	set(0x380, 1000);
	assert_int_equal(get(0x390), 1000);
	fake_advance(400);
	assert_int_equal(get(0x390), 600);
	assert_false(pins[0].intr);
	fake_advance(600);
	assert_true(pins[0].intr);
	assert_int_equal(get(0x390), 0);
	assert_int_equal(fake_armed(), 0);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x40);
	set(0xb0, 0);
	/* Divided by 2 (0), 16 (3), 32 (8) */
	set(0x3e0, 0);
	set(0x380, 1000);
	fake_advance(1000);
	assert_int_equal(get(0x390), 500);
	/* The divider changes under way: the count goes on. */
	set(0x3e0, 3);
	assert_int_equal(get(0x390), 500);
	fake_advance(1600);
	assert_int_equal(get(0x390), 400);
	/* Masked: it counts and raises nothing; 0 stops it. */
	set(0x320, 0x10040);
	fake_advance(100000);
	assert_false(pins[0].intr);
	set(0x320, 0x40);
	fake_advance(100000);
	assert_false(pins[0].intr);
	set(0x380, 1000);
	set(0x380, 0);
	fake_advance(1000000);
	assert_false(pins[0].intr);
}

static void test_periodic(void **state)
{
	unsigned ticks = 0;

	set(0x3e0, 0xb);
	set(0x320, 0x20040);
	set(0x380, 100000);
	for (unsigned i = 0; i < 100; i++) {
		fake_advance(100000);
		if (lapic_ops.acknowledge(&cpu[0]) == 0x40)
			ticks++;
		set(0xb0, 0);
	}
	assert_int_equal(ticks, 100);
	fake_advance(30000);
	assert_int_equal(get(0x390), 70000);
	/* To one-shot: the count goes on from where it is ... */
	set(0x320, 0x40);
	assert_int_equal(get(0x390), 70000);
	fake_advance(70000);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x40);
	set(0xb0, 0);
	/* ... and once expired it stays so in either mode, until it is loaded */
	set(0x320, 0x20040);
	assert_int_equal(get(0x390), 0);
	fake_advance(1000000);
	assert_int_equal(get(0x390), 0);
	assert_false(pins[0].intr);
	/* To periodic under way */
	set(0x320, 0x40);
	set(0x380, 100000);
	fake_advance(30000);
	set(0x320, 0x20040);
	assert_int_equal(get(0x390), 70000);
	fake_advance(170000);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x40);
	set(0xb0, 0);
	/* Absurd periods are bounded. */
	ticks = 0;
	set(0x380, 1);
	for (unsigned i = 0; i < 1000; i++) {
		fake_advance(1000);
		if (lapic_ops.acknowledge(&cpu[0]) == 0x40)
			ticks++;
		set(0xb0, 0);
	}
	assert_in_range(ticks, 40, 60);
	lapic_class.stop(&cpu[0]);
	assert_int_equal(fake_armed(), 0);
}

static void test_deadline(void **state)
{
	u64 now = clock_ns() * 3;

	/* In another mode the MSR does nothing. */
	wrmsr(MSR_TSC_DEADLINE, now + 3000);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
	set(0x320, 0x40040);
	wrmsr(MSR_TSC_DEADLINE, now + 3000);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), now + 3000);
	fake_advance(999);
	assert_false(pins[0].intr);
	fake_advance(1);
	assert_int_equal(lapic_ops.acknowledge(&cpu[0]), 0x40);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
	set(0xb0, 0);
	/* In the past: at once */
	wrmsr(MSR_TSC_DEADLINE, 1);
	assert_true(pins[0].intr);
	lapic_ops.acknowledge(&cpu[0]);
	set(0xb0, 0);
	/* Disarmed by 0, and by leaving the mode */
	wrmsr(MSR_TSC_DEADLINE, now + 30000);
	wrmsr(MSR_TSC_DEADLINE, 0);
	assert_int_equal(fake_armed(), 0);
	wrmsr(MSR_TSC_DEADLINE, now + 30000);
	set(0x380, 1000);
	assert_int_equal(get(0x380), 0);
	set(0x320, 0x40);
	assert_int_equal(fake_armed(), 0);
	assert_int_equal(rdmsr(MSR_TSC_DEADLINE), 0);
	/* Never */
	set(0x320, 0x40040);
	wrmsr(MSR_TSC_DEADLINE, UINT64_MAX - 4);
	fake_advance(1000000000);
	assert_false(pins[0].intr);
}

static void test_window_moves(void **state)
{
	struct space *space = space_new("memory");

	bus.memory = space;
	assert_int_equal(space_add_io(space, LAPIC_BASE, 0x1000,
				 &lapic_window_class.ranges[0].ops, &bus), 0);
	wrmsr(MSR_APIC_BASE, 0xd0000000 | 0x100 | ENABLE);
	assert_int_equal(space_read(space, 0xd0000030, 4), 0x00050014);
	assert_int_equal(space_read(space, LAPIC_BASE + 0x30, 4), 0xffffffff);
	lapic_class.reset(&cpu[0]);
	assert_int_equal(space_read(space, LAPIC_BASE + 0x30, 4), 0x00050014);
	assert_int_equal(space_read(space, 0xd0000030, 4), 0xffffffff);
	space_free(space);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reset), TEST(test_priority), TEST(test_level),
		TEST(test_software_disable), TEST(test_ipi_xapic), TEST(test_logical),
		TEST(test_modes), TEST(test_x2apic), TEST(test_errors), TEST(test_lint),
		TEST(test_init), TEST(test_one_shot), TEST(test_periodic), TEST(test_deadline),
		TEST(test_window_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
