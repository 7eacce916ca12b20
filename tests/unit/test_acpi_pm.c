/* SPDX-License-Identifier: MIT */
/* ACPI's fixed hardware: the timer and its carry, the SCI, sleeping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/acpi_pm.h"
#include "fake_loop.h"

#define SECOND 1000000000ull
#define HALF ((u64)(2147483648.0 / ACPI_PM_HZ * 1e9)) /* until bit 31 changes */

static struct acpi_pm pm;
static struct probe sci;
static struct space *ports;
static unsigned slept;

static void note_sleep(void *arg, unsigned type)
{
	slept = 100 + type;
}

static u32 in(unsigned port, unsigned size)
{
	return space_read(ports, 0x600 + port, size);
}

static void out(unsigned port, unsigned size, u32 value)
{
	space_write(ports, 0x600 + port, size, value);
}

static int setup(void **state)
{
	const struct device_range *range = acpi_pm_class.ranges;

	fake_start(5 * SECOND, 5 * SECOND);
	sci = (struct probe){ 0 };
	slept = 0;
	pm = (struct acpi_pm){ .sci = { probe_set, &sci, 0 }, .sleep = note_sleep };
	acpi_pm_class.reset(&pm);
	ports = space_new("ports");
	for (; range->len; range++)
		space_add_io(ports, 0x600 + range->base, range->len, &range->ops, &pm);
	return 0;
}

static int teardown(void **state)
{
	space_free(ports);
	return 0;
}

static void test_timer(void **state)
{
	assert_int_equal(in(ACPI_PM_TMR, 4), 0);
	fake_advance(SECOND);
	assert_int_equal(in(ACPI_PM_TMR, 4), ACPI_PM_HZ);
	fake_advance(9 * SECOND);
	assert_int_equal(in(ACPI_PM_TMR, 4), ACPI_PM_HZ * 10);
	fake_advance(HALF * 2 - 10 * SECOND + SECOND);
	assert_in_range(in(ACPI_PM_TMR, 4), ACPI_PM_HZ - 10, ACPI_PM_HZ);
}

static void test_carry(void **state)
{
	assert_int_equal(in(0, 2), 0);
	fake_advance(HALF + SECOND);
	assert_int_equal(in(0, 2), 1);
	out(0, 2, 1);
	assert_int_equal(in(0, 2), 0);
	assert_false(sci.level);
	/* Enabled, it interrupts when the bit changes next. */
	out(2, 2, 1);
	fake_advance(HALF - 2 * SECOND);
	assert_false(sci.level);
	fake_advance(2 * SECOND);
	assert_true(sci.level);
	out(0, 2, 1);
	assert_false(sci.level);
	acpi_pm_class.stop(&pm);
	assert_int_equal(fake_armed(), 0);
}

static void test_events(void **state)
{
	acpi_pm_power_button(&pm);
	assert_false(sci.level);
	out(2, 2, 0xffff);
	assert_int_equal(in(2, 2), 0x721);
	assert_true(sci.level);
	/* Status and enable in one access, as some guests do */
	assert_int_equal(in(0, 4), 0x07210100);
	out(0, 2, 0x100);
	assert_false(sci.level);
	acpi_pm_gpe(&pm, 9);
	assert_int_equal(in(ACPI_GPE0 + 1, 1), 2);
	assert_false(sci.level);
	out(ACPI_GPE0 + 3, 1, 2);
	assert_true(sci.level);
	out(ACPI_GPE0, 1, 0xff);
	assert_true(sci.level);
	out(ACPI_GPE0 + 1, 1, 2);
	assert_false(sci.level);
}

static void test_sleep(void **state)
{
	assert_int_equal(in(ACPI_PM1A_CNT, 2), 1);
	out(ACPI_PM1A_CNT, 2, ACPI_SLP_TYP_S5 << 10);
	assert_int_equal(slept, 0);
	out(ACPI_PM1A_CNT, 2, ACPI_SLP_TYP_S5 << 10 | 1 << 13);
	assert_int_equal(slept, 105);
	/* SLP_EN reads as 0. */
	assert_int_equal(in(ACPI_PM1A_CNT, 2), ACPI_SLP_TYP_S5 << 10 | 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_timer), TEST(test_carry), TEST(test_events), TEST(test_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
