/* SPDX-License-Identifier: MIT */
/* The 8259 pair, driven through its ports as a guest does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/i8259.h"
#include "fake_loop.h"

static struct i8259 pic;
static struct probe intr;

static void out(unsigned port, u8 value)
{
	const struct device_range *range = i8259_class.ranges;

	while (port < 0x20 + range->base || port >= 0x20 + range->base + range->len)
		range++;
	range->ops.write(&pic, port - 0x20 - range->base, 1, value);
}

static u8 in(unsigned port)
{
	const struct device_range *range = i8259_class.ranges;

	while (port < 0x20 + range->base || port >= 0x20 + range->base + range->len)
		range++;
	return range->ops.read(&pic, port - 0x20 - range->base, 1);
}

static void program(u8 icw1, u8 icw4)
{
	out(0x20, icw1);
	out(0x21, 0x30);
	out(0x21, 0x04);
	if (icw1 & 1)
		out(0x21, icw4);
	out(0xa0, icw1);
	out(0xa1, 0x38);
	out(0xa1, 0x02);
	if (icw1 & 1)
		out(0xa1, 1);
	out(0x21, 0);
	out(0xa1, 0);
}

static int setup(void **state)
{
	pic = (struct i8259){ .intr = { probe_set, &intr, 0 } };
	intr = (struct probe){ 0 };
	i8259_class.reset(&pic);
	program(0x11, 1);
	return 0;
}

static void pulse(unsigned irq)
{
	i8259_set_irq(&pic, irq, false);
	i8259_set_irq(&pic, irq, true);
}

static void test_priority(void **state)
{
	pulse(5);
	assert_true(intr.level);
	assert_int_equal(i8259_pending_vector(&pic), 0x35);
	assert_int_equal(i8259_acknowledge(&pic), 0x35);
	assert_false(intr.level);
	assert_int_equal(i8259_pending_vector(&pic), -1);
	/* Lower ones wait, higher ones nest; the slave is at 2. */
	pulse(6);
	assert_false(intr.level);
	pulse(12);
	assert_true(intr.level);
	assert_int_equal(i8259_acknowledge(&pic), 0x3c);
	pulse(1);
	assert_int_equal(i8259_acknowledge(&pic), 0x31);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x26);
	out(0x20, 0x20);
	assert_int_equal(in(0x20), 0x24);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	out(0x20, 0x20);
	assert_int_equal(in(0x20), 0);
	assert_int_equal(i8259_acknowledge(&pic), 0x36);
}

static void test_edge_and_level(void **state)
{
	pulse(3);
	assert_int_equal(i8259_acknowledge(&pic), 0x33);
	out(0x20, 0x20);
	/* Still high: an edge-triggered pin does not ask again. */
	i8259_set_irq(&pic, 3, true);
	assert_false(intr.level);
	i8259_set_irq(&pic, 3, false);
	/* ELCR: level-triggered pins do, until the line falls. */
	out(0x4d0, 0xff);
	assert_int_equal(in(0x4d0), 0xf8);
	out(0x4d1, 0xff);
	assert_int_equal(in(0x4d1), 0xde);
	i8259_set_irq(&pic, 10, true);
	assert_int_equal(i8259_acknowledge(&pic), 0x3a);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_true(intr.level);
	assert_int_equal(i8259_acknowledge(&pic), 0x3a);
	i8259_set_irq(&pic, 10, false);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_false(intr.level);
}

static void test_spurious(void **state)
{
	pulse(4);
	i8259_set_irq(&pic, 4, false);
	assert_false(intr.level);
	assert_int_equal(i8259_acknowledge(&pic), 0x37);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0);
}

static void test_mask(void **state)
{
	out(0x21, 0x08);
	assert_int_equal(in(0x21), 0x08);
	pulse(3);
	assert_false(intr.level);
	out(0x20, 0x0a);
	assert_int_equal(in(0x20), 0x08);
	out(0x21, 0);
	assert_true(intr.level);
	/* The cascade masked: nothing of the slave comes through. */
	i8259_acknowledge(&pic);
	out(0x20, 0x20);
	out(0x21, 0x04);
	pulse(9);
	assert_false(intr.level);
	out(0x21, 0);
	assert_int_equal(i8259_acknowledge(&pic), 0x39);
	/* IR2 itself is no input. */
	i8259_set_irq(&pic, 2, true);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_false(intr.level);
}

static void test_special_mask(void **state)
{
	pulse(3);
	i8259_acknowledge(&pic);
	pulse(6);
	assert_false(intr.level);
	out(0x21, 0x08);
	assert_false(intr.level);
	out(0x20, 0x68);
	assert_true(intr.level);
	assert_int_equal(i8259_acknowledge(&pic), 0x36);
	/* A non-specific EOI leaves the masked level in service. */
	out(0x20, 0x20);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x08);
	out(0x20, 0x63);
	assert_int_equal(in(0x20), 0);
	out(0x20, 0x48);
}

static void test_special_fully_nested(void **state)
{
	program(0x11, 0x11);
	pulse(12);
	assert_int_equal(i8259_acknowledge(&pic), 0x3c);
	pulse(9);
	assert_true(intr.level);
	assert_int_equal(i8259_acknowledge(&pic), 0x39);
	pulse(3);
	assert_false(intr.level);
}

static void test_rotation(void **state)
{
	/* Lowest is 3: 4 comes first, 3 last. */
	out(0x20, 0xc3);
	pulse(3);
	pulse(4);
	assert_int_equal(i8259_acknowledge(&pic), 0x34);
	/* Rotate on non-specific EOI: 4 becomes the lowest. */
	out(0x20, 0xa0);
	pulse(4);
	pulse(5);
	assert_int_equal(i8259_acknowledge(&pic), 0x35);
	out(0x20, 0x65);
	assert_int_equal(i8259_acknowledge(&pic), 0x33);
	/* Rotate on specific EOI */
	out(0x20, 0xe3);
	assert_int_equal(i8259_acknowledge(&pic), 0x34);
}

static void test_auto_eoi(void **state)
{
	program(0x11, 0x03);
	pulse(5);
	i8259_acknowledge(&pic);
	pulse(6);
	assert_true(intr.level);
	i8259_acknowledge(&pic);
	/* With rotation the one served becomes the lowest. */
	out(0x20, 0x80);
	pulse(0);
	pulse(1);
	assert_int_equal(i8259_acknowledge(&pic), 0x30);
	pulse(0);
	assert_int_equal(i8259_acknowledge(&pic), 0x31);
	out(0x20, 0x00);
}

static void test_poll(void **state)
{
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0x07);
	pulse(5);
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0x85);
	assert_false(intr.level);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x20);
}

static void test_init(void **state)
{
	pulse(5);
	out(0x21, 0xff);
	out(0x20, 0x11);
	/* IMR and requests are cleared, and nothing interrupts until it is programmed. */
	pulse(6);
	assert_false(intr.level);
	out(0x21, 0x45);
	out(0x21, 0x04);
	out(0x21, 0x01);
	assert_int_equal(in(0x21), 0);
	assert_true(intr.level);
	assert_int_equal(i8259_acknowledge(&pic), 0x46);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_priority), TEST(test_edge_and_level), TEST(test_spurious),
		TEST(test_mask), TEST(test_special_mask), TEST(test_special_fully_nested),
		TEST(test_rotation), TEST(test_auto_eoi), TEST(test_poll), TEST(test_init),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
