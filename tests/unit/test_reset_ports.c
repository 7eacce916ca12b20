/* SPDX-License-Identifier: MIT */
/* Ports that reset, the keyboard controller without a keyboard, and the debug exit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/debug_exit.h"
#include "dev/reset_ports.h"
#include "fake_loop.h"

static struct reset_ports ports;
static struct space *space;
static struct probe irq;
static unsigned resets;

static void note_reset(void *arg)
{
	resets++;
}

static u8 in(unsigned port)
{
	return space_read(space, port, 1);
}

static void out(unsigned port, u8 value)
{
	space_write(space, port, 1, value);
}

static int setup(void **state)
{
	const struct device_range *range = reset_ports_class.ranges;

	resets = 0;
	irq = (struct probe){ 0 };
	ports = (struct reset_ports){ .request = note_reset,
		.keyboard_irq = { probe_set, &irq, 0 } };
	reset_ports_class.reset(&ports);
	space = space_new("ports");
	for (; range->len; range++)
		space_add_io(space, 0x60 + range->base, range->len, &range->ops, &ports);
	return 0;
}

static int teardown(void **state)
{
	space_free(space);
	return 0;
}

static void test_resets(void **state)
{
	assert_int_equal(in(0x92), 0x02);
	out(0x92, 0x00);
	assert_int_equal(in(0x92), 0x00);
	out(0x92, 0x02);
	assert_int_equal(resets, 0);
	out(0x92, 0x03);
	assert_int_equal(resets, 1);
	out(0x92, 0x03);
	assert_int_equal(resets, 1);
	out(0xcf9, 0x02);
	assert_int_equal(in(0xcf9), 0x02);
	assert_int_equal(resets, 1);
	out(0xcf9, 0x06);
	assert_int_equal(resets, 2);
	out(0x64, 0xfe);
	assert_int_equal(resets, 3);
	out(0x64, 0xff);
	assert_int_equal(resets, 3);
	out(0x64, 0xd1);
	out(0x60, 0xfe);
	assert_int_equal(resets, 4);
}

static void test_controller(void **state)
{
	assert_int_equal(in(0x64) & 3, 0);
	out(0x64, 0xaa);
	assert_int_equal(in(0x64) & 3, 1);
	assert_int_equal(in(0x60), 0x55);
	assert_int_equal(in(0x64) & 1, 0);
	out(0x64, 0xab);
	assert_int_equal(in(0x60), 0x00);
	out(0x64, 0x60);
	out(0x60, 0x45);
	out(0x64, 0x20);
	assert_int_equal(irq.rises, 1);
	assert_int_equal(in(0x60), 0x45);
	assert_false(irq.level);
	/* Nobody answers, and says so at once. */
	out(0x60, 0xf2);
	assert_int_equal(in(0x64) & 0x41, 0x41);
	assert_int_equal(in(0x60), 0xfe);
	assert_int_equal(in(0x64) & 0x41, 0);
	/* A20 by the output port */
	out(0x64, 0xd1);
	out(0x60, 0x01);
	assert_int_equal(in(0x92), 0x00);
	out(0x64, 0xd1);
	out(0x60, 0x03);
	out(0x64, 0xd0);
	assert_int_equal(in(0x60), 0x03);
	assert_int_equal(resets, 0);
}

static void note_exit(void *arg, u32 value)
{
	*(u32 *)arg = value;
}

static void test_debug_exit(void **state)
{
	u32 value = 0;
	struct debug_exit port = { .exit = note_exit, .arg = &value };

	space_add_io(space, 0xf4, 4, &debug_exit_class.ranges[0].ops, &port);
	in(0xf4);
	assert_int_equal(value, 0);
	space_write(space, 0xf4, 1, 0x31);
	assert_int_equal(value, 0x31);
	space_write(space, 0xf4, 4, 0x12345678);
	assert_int_equal(value, 0x12345678);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_resets), TEST(test_controller), TEST(test_debug_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
