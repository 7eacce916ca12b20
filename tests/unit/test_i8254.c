/* SPDX-License-Identifier: MIT */
/* The 8254: every mode's output and count, latches, and channel 0's interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/i8254.h"
#include "fake_loop.h"

#define START 1000000000ull
#define NS_PER_TICK (1000000000ull / I8254_HZ + 1)

static struct i8254 pit;
static struct probe irq;

static void out(unsigned port, u8 value)
{
	const struct device_range *range = &i8254_class.ranges[port == 0x61];

	range->ops.write(&pit, port - 0x40 - range->base, 1, value);
}

static u8 in(unsigned port)
{
	const struct device_range *range = &i8254_class.ranges[port == 0x61];

	return range->ops.read(&pit, port - 0x40 - range->base, 1);
}

static u16 in_pair(unsigned port)
{
	u8 low = in(port);

	return low | in(port) << 8;
}

/* To the middle of tick n of a count that was written at START. */
static void at_tick(u64 n)
{
	u64 target = START + (n * 2 + 1) * 500000000 / I8254_HZ;

	fake_advance(target - clock_ns());
}

static bool out2(void)
{
	return in(0x61) & 0x20;
}

static int setup(void **state)
{
	fake_start(START, START);
	irq = (struct probe){ 0 };
	pit = (struct i8254){ .irq = { probe_set, &irq, 0 } };
	i8254_class.reset(&pit);
	return 0;
}

static void load2(u8 control, u16 count)
{
	out(0x43, control);
	out(0x42, count);
	out(0x42, count >> 8);
}

static void test_mode0(void **state)
{
	out(0x61, 1);
	load2(0xb0, 1000);
	assert_false(out2());
	at_tick(300);
	assert_int_equal(in_pair(0x42), 700);
	assert_false(out2());
	/* The gate holds the count. */
	out(0x61, 0);
	fake_advance(1000000);
	assert_int_equal(in_pair(0x42), 700);
	out(0x61, 1);
	fake_advance(698 * NS_PER_TICK);
	assert_false(out2());
	fake_advance(3 * NS_PER_TICK);
	assert_true(out2());
	/* It counts on below 0, and the output stays. */
	fake_advance(1000000);
	assert_true(in_pair(0x42) > 60000);
	assert_true(out2());
	/* The first byte of a new count stops it. */
	out(0x42, 5);
	assert_false(out2());
	fake_advance(1000000);
	assert_false(out2());
	out(0x42, 0);
	fake_advance(1000000);
	assert_true(out2());
}

static void test_mode1(void **state)
{
	load2(0xb2, 100);
	assert_true(out2());
	fake_advance(1000000);
	assert_true(out2());
	out(0x61, 1);
	assert_false(out2());
	/* The trigger starts anew; the gate's fall does nothing. */
	fake_advance(60 * NS_PER_TICK);
	out(0x61, 0);
	out(0x61, 1);
	fake_advance(60 * NS_PER_TICK);
	assert_false(out2());
	fake_advance(41 * NS_PER_TICK);
	assert_true(out2());
}

static void test_mode2(void **state)
{
	out(0x61, 1);
	load2(0xb4, 100);
	at_tick(30);
	assert_int_equal(in_pair(0x42), 70);
	assert_true(out2());
	at_tick(99);
	assert_false(out2());
	assert_int_equal(in_pair(0x42), 1);
	at_tick(100);
	assert_true(out2());
	assert_int_equal(in_pair(0x42), 100);
	/* A new count waits for the period's end. */
	at_tick(140);
	out(0x42, 200);
	out(0x42, 0);
	at_tick(150);
	assert_int_equal(in_pair(0x42), 50);
	at_tick(210);
	assert_int_equal(in_pair(0x42), 190);
	at_tick(399);
	assert_false(out2());
	/* The gate stops it with the output high, and starts a new period. */
	out(0x61, 0);
	assert_true(out2());
	out(0x61, 1);
	assert_int_equal(in_pair(0x42), 200);
}

static void test_mode3(void **state)
{
	out(0x61, 1);
	load2(0xb6, 100);
	at_tick(10);
	assert_int_equal(in_pair(0x42), 80);
	assert_true(out2());
	at_tick(49);
	assert_true(out2());
	at_tick(50);
	assert_false(out2());
	assert_int_equal(in_pair(0x42), 100);
	at_tick(99);
	assert_false(out2());
	at_tick(100);
	assert_true(out2());
	/* Odd: high for one tick more than low */
	setup(NULL);
	out(0x61, 1);
	load2(0xbe, 5);
	at_tick(2);
	assert_true(out2());
	at_tick(3);
	assert_false(out2());
	at_tick(5);
	assert_true(out2());
}

static void test_mode4_and_5(void **state)
{
	out(0x61, 1);
	load2(0xb8, 100);
	at_tick(99);
	assert_true(out2());
	at_tick(100);
	assert_false(out2());
	at_tick(101);
	assert_true(out2());

	setup(NULL);
	load2(0xba, 100);
	fake_advance(200 * NS_PER_TICK);
	assert_true(out2());
	out(0x61, 1);
	fake_advance(100 * NS_PER_TICK + NS_PER_TICK / 2);
	assert_false(out2());
	fake_advance(NS_PER_TICK);
	assert_true(out2());
}

static void test_latch(void **state)
{
	out(0x61, 1);
	load2(0xb4, 0x1000);
	at_tick(0x234);
	out(0x43, 0x80);
	at_tick(0x334);
	/* A second latch is ignored until the first was read. */
	out(0x43, 0x80);
	assert_int_equal(in_pair(0x42), 0x1000 - 0x234);
	assert_int_equal(in_pair(0x42), 0x1000 - 0x334);
	/* Read-back of status and count: status comes first. */
	out(0x43, 0xc8);
	assert_int_equal(in(0x42), 0xb4);
	assert_int_equal(in_pair(0x42), 0x1000 - 0x334);
	/* A count that is not loaded yet */
	out(0x43, 0xb4);
	out(0x43, 0xe8);
	assert_int_equal(in(0x42), 0xf4);
	/* Only low or only high bytes */
	out(0x43, 0x94);
	out(0x42, 0x80);
	assert_int_equal(in(0x42), 0x80);
	assert_int_equal(in(0x42), 0x80);
	out(0x43, 0xa4);
	out(0x42, 0x80);
	assert_int_equal(in(0x42), 0x80);
	assert_int_equal(pit.channel[2].count, 0x8000);
}

static void test_bcd(void **state)
{
	out(0x61, 1);
	load2(0xb5, 0x1000);
	at_tick(1);
	assert_int_equal(in_pair(0x42), 0x0999);
	load2(0xb1, 0);
	assert_int_equal(pit.channel[2].count, 10000);
	assert_int_equal(in_pair(0x42), 0);
}

static void test_periodic_irq(void **state)
{
	/* 1193 ticks are 999.8 us. */
	out(0x43, 0x34);
	out(0x40, 1193 & 0xff);
	out(0x40, 1193 >> 8);
	irq.rises = 0;
	fake_advance(1000000000);
	assert_int_equal(irq.rises, I8254_HZ / 1193);
	/* Faster: takes over when the period ends, no tick is lost or doubled. */
	out(0x40, 597 & 0xff);
	out(0x40, 597 >> 8);
	irq.rises = 0;
	fake_advance(1000000000);
	assert_in_range(irq.rises, I8254_HZ / 597 - 1, I8254_HZ / 597);
	/* Absurd rates are bounded. */
	out(0x43, 0x34);
	out(0x40, 2);
	out(0x40, 0);
	irq.rises = 0;
	fake_advance(100000000);
	assert_in_range(irq.rises, 1, 5000);
	i8254_class.stop(&pit);
	assert_int_equal(fake_armed(), 0);
}

static void test_one_shot_irq(void **state)
{
	out(0x43, 0x30);
	assert_false(irq.level);
	assert_int_equal(fake_armed(), 0);
	irq.rises = 0;
	out(0x40, 0);
	out(0x40, 1);
	fake_advance(255 * NS_PER_TICK);
	assert_false(irq.level);
	fake_advance(2 * NS_PER_TICK);
	assert_true(irq.level);
	assert_int_equal(irq.rises, 1);
	assert_int_equal(fake_armed(), 0);
	/* Mode 4, as Linux uses it for one event after another */
	out(0x43, 0x38);
	irq.rises = 0;
	for (unsigned i = 0; i < 3; i++) {
		out(0x40, 0);
		out(0x40, 1);
		fake_advance(300 * NS_PER_TICK);
	}
	assert_int_equal(irq.rises, 3);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mode0), TEST(test_mode1), TEST(test_mode2), TEST(test_mode3),
		TEST(test_mode4_and_5), TEST(test_latch), TEST(test_bcd),
		TEST(test_periodic_irq), TEST(test_one_shot_irq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
