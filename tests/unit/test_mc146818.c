/* SPDX-License-Identifier: MIT */
/* The real-time clock: date, its forms, halting, and the three interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/mc146818.h"
#include "fake_loop.h"

#define SECOND 1000000000ull
/* 2024-02-29 23:59:58.25 UTC, a Thursday */
#define TODAY (1709251198ull * SECOND + SECOND / 4)

static struct mc146818 rtc;
static struct probe irq;

static u8 get(u8 index)
{
	const struct io_ops *ops = &mc146818_class.ranges[0].ops;

	ops->write(&rtc, 0, 1, index);
	return ops->read(&rtc, 1, 1);
}

static void set(u8 index, u8 value)
{
	const struct io_ops *ops = &mc146818_class.ranges[0].ops;

	ops->write(&rtc, 0, 1, index | 0x80);
	ops->write(&rtc, 1, 1, value);
}

static int setup(void **state)
{
	fake_start(5 * SECOND, TODAY);
	irq = (struct probe){ 0 };
	rtc = (struct mc146818){ .irq = { probe_set, &irq, 0 } };
	mc146818_class.reset(&rtc);
	return 0;
}

static void assert_time(u8 hour, u8 minute, u8 second)
{
	assert_int_equal(get(4), hour);
	assert_int_equal(get(2), minute);
	assert_int_equal(get(0), second);
}

static void assert_date(u8 century, u8 year, u8 month, u8 day, u8 weekday)
{
	assert_int_equal(get(0x32), century);
	assert_int_equal(get(9), year);
	assert_int_equal(get(8), month);
	assert_int_equal(get(7), day);
	assert_int_equal(get(6), weekday);
}

static void test_reading(void **state)
{
	assert_time(0x23, 0x59, 0x58);
	assert_date(0x20, 0x24, 0x02, 0x29, 5);
	fake_advance(2 * SECOND);
	assert_time(0, 0, 0);
	assert_date(0x20, 0x24, 0x03, 0x01, 6);
	assert_int_equal(get(0xd), 0x80);
	/* Binary, and twelve hours */
	set(0xb, 0x06);
	fake_advance(23 * 3600 * SECOND);
	assert_time(23, 0, 0);
	set(0xb, 0x04);
	assert_int_equal(get(4), 0x80 | 11);
	set(0xb, 0x00);
	assert_int_equal(get(4), 0x91);
	fake_advance(3600 * SECOND);
	assert_int_equal(get(4), 0x12);
	fake_advance(12 * 3600 * SECOND);
	assert_int_equal(get(4), 0x92);
}

static void test_update_in_progress(void **state)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < 10000; i++) {
		busy += get(0xa) >> 7;
		fake_advance(SECOND / 10000);
	}
	assert_in_range(busy, 2, 3);
	set(0xb, 0x82);
	for (unsigned i = 0; i < 10000; i++) {
		assert_int_equal(get(0xa) & 0x80, 0);
		fake_advance(SECOND / 10000);
	}
}

/* As Linux sets it: SET, divider held, fields, SET cleared, divider let go. */
static void test_setting(void **state)
{
	set(0xb, 0x82);
	set(0xa, 0x76);
	set(9, 0x31);
	set(8, 0x12);
	set(7, 0x31);
	set(4, 0x23);
	set(2, 0x59);
	set(0, 0x59);
	set(0x32, 0x19);
	fake_advance(10 * SECOND);
	assert_time(0x23, 0x59, 0x59);
	set(0xb, 0x02);
	fake_advance(10 * SECOND);
	assert_time(0x23, 0x59, 0x59);
	set(0xa, 0x26);
	/* The next second begins half a second later. */
	fake_advance(SECOND / 2 - 1);
	assert_time(0x23, 0x59, 0x59);
	fake_advance(1);
	assert_time(0, 0, 0);
	assert_date(0x19, 0x32, 0x01, 0x01, 6);
	/* A field written while it runs */
	set(2, 0x30);
	fake_advance(SECOND);
	assert_time(0, 0x30, 1);
	/* The battery keeps it through a reset. */
	mc146818_class.reset(&rtc);
	assert_time(0, 0x30, 1);
}

static void test_ram(void **state)
{
	set(0x40, 0xa5);
	assert_int_equal(get(0x40), 0xa5);
	mc146818_set_ram(&rtc, 0x15, 0x80);
	mc146818_set_ram(&rtc, 0x0b, 0xff);
	assert_int_equal(get(0x15), 0x80);
	assert_int_equal(get(0x0b), 0x02);
}

static void test_periodic(void **state)
{
	unsigned rises;

	assert_int_equal(fake_armed(), 0);
	set(0xb, 0x42);
	assert_int_equal(fake_armed(), 1);
	fake_advance(SECOND / 1024 + 1);
	assert_true(irq.level);
	/* Nothing more until C is read. */
	assert_int_equal(fake_armed(), 0);
	assert_int_equal(get(0xc) & 0xf0, 0xc0);
	assert_false(irq.level);
	assert_int_equal(get(0xc), 0);
	rises = irq.rises;
	for (unsigned i = 0; i < 1024; i++) {
		fake_advance(SECOND / 1024);
		if (irq.level)
			get(0xc);
	}
	assert_in_range(irq.rises - rises, 1022, 1025);
	/* Rates 1 and 2 are those of 8 and 9. */
	set(0xa, 0x21);
	get(0xc);
	fake_advance(SECOND / 256 + 1000);
	assert_true(irq.level);
	set(0xa, 0x20);
	get(0xc);
	fake_advance(SECOND);
	assert_false(irq.level);
}

static void test_flags_without_interrupts(void **state)
{
	fake_advance(SECOND);
	assert_int_equal(get(0xc), 0x50);
	assert_int_equal(irq.rises, 0);
	assert_int_equal(fake_armed(), 0);
	/* Enabling one whose flag is up raises it. */
	fake_advance(SECOND);
	set(0xb, 0x12);
	assert_true(irq.level);
}

static void test_update_ended(void **state)
{
	set(0xa, 0x20);
	set(0xb, 0x12);
	fake_advance(SECOND * 3 / 4 - 1);
	assert_false(irq.level);
	fake_advance(1);
	assert_true(irq.level);
	assert_int_equal(get(0xc), 0x90);
	/* Setting SET clears UIE. */
	set(0xb, 0x92);
	assert_int_equal(get(0xb), 0x82);
}

static void test_alarm(void **state)
{
	set(0xa, 0x20);
	set(1, 0x05);
	set(3, 0x00);
	set(5, 0x00);
	set(0xb, 0x22);
	fake_advance(SECOND * 67 / 10);
	assert_false(irq.level);
	fake_advance(SECOND / 10);
	assert_true(irq.level);
	assert_time(0, 0, 5);
	assert_int_equal(get(0xc) & 0xa0, 0xa0);
	/* Again a day later, and not before */
	fake_advance(86390 * SECOND);
	assert_false(irq.level);
	fake_advance(10 * SECOND);
	assert_true(irq.level);
	get(0xc);
	/* Every minute at second 5 */
	set(5, 0xff);
	set(3, 0xc0);
	irq.rises = 0;
	for (unsigned i = 0; i < 10; i++) {
		fake_advance(60 * SECOND);
		get(0xc);
	}
	assert_int_equal(irq.rises, 10);
	/* One that cannot be */
	set(1, 0x99);
	irq.rises = 0;
	get(0xc);
	fake_advance(7200 * SECOND);
	assert_int_equal(irq.rises, 0);
	assert_int_equal(fake_armed(), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reading), TEST(test_update_in_progress), TEST(test_setting),
		TEST(test_ram), TEST(test_periodic), TEST(test_flags_without_interrupts),
		TEST(test_update_ended), TEST(test_alarm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
