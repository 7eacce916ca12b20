/* SPDX-License-Identifier: MIT */
/* The IO-APIC, with a local APIC behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "fake_loop.h"

static struct apic_bus bus;
static struct lapic cpu;
static struct ioapic chip;

static u32 get(u8 reg)
{
	const struct io_ops *ops = &ioapic_class.ranges[0].ops;

	ops->write(&chip, 0, 4, reg);
	assert_int_equal(ops->read(&chip, 0, 4), reg);
	return ops->read(&chip, 0x10, 4);
}

static void set(u8 reg, u32 value)
{
	const struct io_ops *ops = &ioapic_class.ranges[0].ops;

	ops->write(&chip, 0, 4, reg);
	ops->write(&chip, 0x10, 4, value);
}

static void redirect(unsigned pin, u32 low)
{
	set(0x11 + pin * 2, 0);
	set(0x10 + pin * 2, low);
}

static void eoi(void)
{
	lapic_window_class.ranges[0].ops.write(&bus, 0xb0, 4, 0);
}

static int acknowledge(void)
{
	return lapic_ops.acknowledge(&cpu);
}

static int setup(void **state)
{
	fake_start(1000000000, 1000000000);
	bus = (struct apic_bus){ .eoi = ioapic_eoi, .eoi_listener = &chip };
	cpu = (struct lapic){ .bus = &bus, .bsp = true, .phys_bits = 36 };
	lapic_join(&cpu);
	lapic_window_class.ranges[0].ops.write(&bus, 0xf0, 4, 0x1ff);
	chip = (struct ioapic){ .bus = &bus, .first_id = 2 };
	ioapic_class.reset(&chip);
	return 0;
}

static void test_registers(void **state)
{
	assert_int_equal(get(0), 2 << 24);
	assert_int_equal(get(1), 0x00170020);
	set(0, 0xff000000);
	assert_int_equal(get(0), 0x0f000000);
	assert_int_equal(get(2), 0x0f000000);
	assert_int_equal(get(0x10), 0x10000);
	/* Delivery status and remote IRR are read-only. */
	set(0x10, 0xffffffff);
	assert_int_equal(get(0x10), 0x1afff);
	set(0x11, 0xffffffff);
	assert_int_equal(get(0x11), 0xff000000);
	assert_int_equal(get(0x40), 0);
	set(0x40, 1);
	assert_int_equal(get(0xff), 0);
}

static void test_edge(void **state)
{
	redirect(4, 0x44);
	ioapic_set_irq(&chip, 4, true);
	assert_int_equal(acknowledge(), 0x44);
	eoi();
	/* High is no new edge. */
	ioapic_set_irq(&chip, 4, true);
	assert_int_equal(acknowledge(), -1);
	ioapic_set_irq(&chip, 4, false);
	ioapic_set_irq(&chip, 4, true);
	assert_int_equal(acknowledge(), 0x44);
	eoi();
	/* An edge while masked is lost. */
	ioapic_set_irq(&chip, 4, false);
	redirect(4, 0x10044);
	ioapic_set_irq(&chip, 4, true);
	redirect(4, 0x44);
	assert_int_equal(acknowledge(), -1);
	/* NMI, and pins that are not there */
	ioapic_set_irq(&chip, 24, true);
	ioapic_set_irq(&chip, 4000000000u, true);
	assert_int_equal(acknowledge(), -1);
}

static void test_level(void **state)
{
	redirect(16, 0x8066);
	ioapic_set_irq(&chip, 16, true);
	assert_int_equal(get(0x30), 0xc066);
	assert_int_equal(acknowledge(), 0x66);
	assert_int_equal(acknowledge(), -1);
	/* Still asserted at the EOI: again */
	eoi();
	assert_int_equal(acknowledge(), 0x66);
	ioapic_set_irq(&chip, 16, false);
	eoi();
	assert_int_equal(get(0x30), 0x8066);
	assert_int_equal(acknowledge(), -1);
	/* Asserted while masked, delivered when unmasked */
	redirect(16, 0x18066);
	ioapic_set_irq(&chip, 16, true);
	assert_int_equal(acknowledge(), -1);
	redirect(16, 0x8066);
	assert_int_equal(acknowledge(), 0x66);
	/* The EOI register of version 20h, with a wrong and the right vector */
	ioapic_class.ranges[0].ops.write(&chip, 0x40, 4, 0x65);
	assert_int_equal(get(0x30), 0xc066);
	ioapic_set_irq(&chip, 16, false);
	ioapic_class.ranges[0].ops.write(&chip, 0x40, 4, 0x66);
	assert_int_equal(get(0x30), 0x8066);
	eoi();
	/* Two pins share a vector. */
	redirect(17, 0x8066);
	ioapic_set_irq(&chip, 16, true);
	ioapic_set_irq(&chip, 17, true);
	assert_int_equal(acknowledge(), 0x66);
	ioapic_set_irq(&chip, 16, false);
	eoi();
	assert_int_equal(acknowledge(), 0x66);
	ioapic_set_irq(&chip, 17, false);
	eoi();
	assert_int_equal(acknowledge(), -1);
}

/* Kernels end a level interrupt by making the pin an edge for a moment. */
static void test_edge_trick(void **state)
{
	redirect(16, 0x8066);
	ioapic_set_irq(&chip, 16, true);
	assert_int_equal(acknowledge(), 0x66);
	set(0x30, 0x10066);
	assert_int_equal(get(0x30), 0x10066);
	set(0x30, 0x8066);
	assert_int_equal(get(0x30), 0xc066);
	eoi();
	assert_int_equal(acknowledge(), 0x66);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_registers), TEST(test_edge), TEST(test_level), TEST(test_edge_trick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
