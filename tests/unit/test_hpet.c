/* SPDX-License-Identifier: MIT */
/* The HPET: its counter, one-shot and periodic timers, levels, routes, legacy replacement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/hpet.h"
#include "fake_loop.h"

#define TICKS(n) ((n) * 10ull) /* ns */
#define CONFIG 0x10
#define STATUS 0x20
#define COUNTER 0xf0
#define T(n) (0x100 + 0x20 * (n))
#define ON 1
#define REPLACE 2
#define T_LEVEL 2
#define T_ENABLE 4
#define T_PERIODIC 8
#define T_SET 0x40
#define T_32 0x100
#define T_ROUTE(pin) ((u64)(pin) << 9)

static struct hpet hpet;
static struct probe legacy[2], route[HPET_ROUTES];
static struct space *memory;
static unsigned replaced, replaced_calls;

static void note_replace(void *arg, bool on)
{
	replaced = on;
	replaced_calls++;
}

static u64 in(unsigned offset)
{
	return space_read(memory, offset, 8);
}

static void out(unsigned offset, u64 value)
{
	space_write(memory, offset, 8, value);
}

static int setup(void **state)
{
	fake_start(5000000000, 0);
	hpet = (struct hpet){ .replace = note_replace };
	replaced = replaced_calls = 0;
	for (unsigned i = 0; i < 2; i++) {
		legacy[i] = (struct probe){ 0 };
		hpet.legacy[i] = (struct line){ probe_set, &legacy[i], 0 };
	}
	for (unsigned i = 0; i < HPET_ROUTES; i++) {
		route[i] = (struct probe){ 0 };
		hpet.route[i] = (struct line){ probe_set, &route[i], 0 };
	}
	hpet_class.reset(&hpet);
	memory = space_new("memory");
	space_add_io(memory, 0, HPET_LEN, &hpet_class.ranges[0].ops, &hpet);
	return 0;
}

static int teardown(void **state)
{
	hpet_class.stop(&hpet);
	assert_int_equal(fake_armed(), 0);
	space_free(memory);
	return 0;
}

static void capabilities(void **state)
{
	assert_true(in(0) == (10000000ull << 32 | 0x8086a201));
	assert_int_equal(space_read(memory, 4, 4), 10000000);
	out(0, 0);
	assert_int_equal(space_read(memory, 0, 4), 0x8086a201);
	assert_true(in(T(0)) == 0x00f0000000000030ull);
	assert_true(in(T(2) + 8) == ~0ull);
	assert_int_equal(in(T(3)), 0);
	assert_int_equal(in(0x3f8), 0);
}

static void main_counter(void **state)
{
	fake_advance(1000);
	assert_int_equal(in(COUNTER), 0);
	out(COUNTER, 0x123400000000);
	out(CONFIG, ON);
	fake_advance(TICKS(50));
	assert_true(in(COUNTER) == 0x123400000000 + 50);
	/* while it runs it is not written */
	out(COUNTER, 7);
	assert_true(in(COUNTER) == 0x123400000000 + 50);
	out(CONFIG, 0);
	fake_advance(TICKS(50));
	assert_true(in(COUNTER) == 0x123400000000 + 50);
	space_write(memory, COUNTER, 4, 9);
	assert_true(in(COUNTER) == 0x123400000009);
	space_write(memory, COUNTER + 4, 4, 1);
	assert_true(in(COUNTER) == 0x100000009);
	/* bits that are reserved read zero */
	out(CONFIG, ~0ull);
	assert_int_equal(in(CONFIG), ON | REPLACE);
}

static void one_shot(void **state)
{
	out(T(2), T_ENABLE | T_ROUTE(21));
	out(T(2) + 8, 1000);
	fake_advance(TICKS(2000));
	assert_int_equal(route[1].rises, 0); /* halted */
	out(CONFIG, ON);
	fake_advance(TICKS(999));
	assert_int_equal(route[1].rises, 0);
	fake_advance(TICKS(1));
	assert_int_equal(route[1].rises, 1);
	assert_true(route[1].level); /* so that an 8259 has time to see it */
	fake_advance(TICKS(1000000));
	assert_int_equal(route[1].rises, 1);
	/* a comparator that the counter has passed: not before it comes around */
	out(T(2) + 8, 10);
	fake_advance(TICKS(1000000));
	assert_int_equal(route[1].rises, 1);
	/* not enabled: no interrupt, and none that is made up for */
	out(T(2), T_ROUTE(21));
	assert_false(route[1].level);
	out(T(2) + 8, in(COUNTER) + 100);
	fake_advance(TICKS(200));
	out(T(2), T_ENABLE | T_ROUTE(21));
	fake_advance(TICKS(200));
	assert_int_equal(route[1].rises, 1);
}

/* 32 bits: again each time that they come around, 2.3.9.2.1. */
static void narrow(void **state)
{
	out(CONFIG, ON);
	out(T(0), T_ENABLE | T_32 | T_ROUTE(20));
	out(T(0) + 8, 0xaaaaaaaa00000064);
	assert_int_equal(in(T(0) + 8), 100);
	fake_advance(TICKS(100));
	assert_int_equal(route[0].rises, 1);
	fake_advance(TICKS(0xffffffff));
	assert_int_equal(route[0].rises, 1);
	fake_advance(TICKS(1));
	assert_int_equal(route[0].rises, 2);
}

static void periodic(void **state)
{
	out(CONFIG, ON);
	out(T(1), T_ENABLE | T_PERIODIC | T_SET | T_ROUTE(23));
	out(T(1) + 8, 5000); /* the first match, and the period */
	assert_int_equal(in(T(1)) & T_SET, 0);
	out(T(1) + 8, 3000); /* the period alone */
	fake_advance(TICKS(4999));
	assert_int_equal(route[3].rises, 0);
	fake_advance(TICKS(1));
	assert_int_equal(route[3].rises, 1);
	assert_int_equal(in(T(1) + 8), 8000);
	fake_advance(TICKS(3000));
	assert_int_equal(route[3].rises, 2);
	fake_advance(TICKS(30000));
	assert_int_equal(route[3].rises, 12);
	/* so short a period that nobody could keep up */
	out(T(1), T_ENABLE | T_PERIODIC | T_SET | T_ROUTE(23));
	out(T(1) + 8, in(COUNTER) + 1);
	out(T(1) + 8, 1);
	route[3].rises = 0;
	fake_advance(10000000);
	assert_in_range(route[3].rises, 400, 510);
	assert_true(in(T(1) + 8) > in(COUNTER));
}

static void level_triggered(void **state)
{
	out(CONFIG, ON);
	out(T(0), T_LEVEL | T_ENABLE | T_ROUTE(22));
	out(T(0) + 8, 100);
	fake_advance(TICKS(100));
	assert_true(route[2].level);
	assert_int_equal(in(STATUS), 1);
	out(STATUS, 6);
	assert_true(route[2].level);
	/* another pin, and none while it is not enabled or the counter stands */
	out(T(0), T_LEVEL | T_ENABLE | T_ROUTE(20));
	assert_false(route[2].level);
	assert_true(route[0].level);
	out(T(0), T_LEVEL | T_ROUTE(20));
	assert_false(route[0].level);
	out(T(0), T_LEVEL | T_ENABLE | T_ROUTE(20));
	assert_true(route[0].level);
	out(CONFIG, 0);
	assert_false(route[0].level);
	out(CONFIG, ON);
	assert_true(route[0].level);
	out(STATUS, 1);
	assert_false(route[0].level);
	assert_int_equal(in(STATUS), 0);
	/* edges leave no status */
	out(T(0), T_ENABLE | T_ROUTE(20));
	out(T(0) + 8, in(COUNTER) + 10);
	fake_advance(TICKS(10));
	assert_int_equal(in(STATUS), 0);
}

static void routes(void **state)
{
	out(T(0), T_ROUTE(20));
	assert_int_equal(in(T(0)) & T_ROUTE(31), T_ROUTE(20));
	/* 2.3.8: a pin that is no choice is not taken */
	out(T(0), T_ROUTE(3));
	assert_int_equal(in(T(0)) & T_ROUTE(31), T_ROUTE(20));
	/* what cannot be written */
	out(T(0), ~0ull);
	assert_true(in(T(0)) == (0x00f0000000000030ull | 0x14e | T_ROUTE(20)));
}

static void legacy_replacement(void **state)
{
	out(T(0), T_ENABLE | T_ROUTE(20));
	out(T(1), T_ENABLE | T_ROUTE(20));
	out(T(2), T_ENABLE | T_ROUTE(20));
	out(CONFIG, ON | REPLACE);
	assert_int_equal(replaced, 1);
	for (unsigned n = 0; n < 3; n++)
		out(T(n) + 8, 100);
	fake_advance(TICKS(100));
	assert_int_equal(legacy[0].rises, 1);
	assert_int_equal(legacy[1].rises, 1);
	assert_int_equal(route[0].rises, 1); /* the third has no place there */
	out(CONFIG, ON);
	assert_int_equal(replaced, 0);
	out(T(0) + 8, in(COUNTER) + 100);
	fake_advance(TICKS(100));
	assert_int_equal(legacy[0].rises, 1);
	assert_int_equal(route[0].rises, 2);
	out(CONFIG, REPLACE);
	assert_int_equal(replaced_calls, 3);
	hpet_class.reset(&hpet);
	assert_int_equal(replaced, 0);
	hpet_class.reset(&hpet);
	assert_int_equal(replaced_calls, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(capabilities),
		TEST(main_counter),
		TEST(one_shot),
		TEST(narrow),
		TEST(periodic),
		TEST(level_triggered),
		TEST(routes),
		TEST(legacy_replacement),
	};

	return cmocka_run_group_tests_name("hpet", tests, NULL, NULL);
}
