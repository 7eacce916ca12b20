/* SPDX-License-Identifier: MIT */
/* The 16550: both directions without loss, the order of interrupts, loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "dev/ns16550.h"
#include "fake_loop.h"

static struct ns16550 uart;
static struct probe irq;
static u8 sent[64];
static unsigned sent_len, accept, rooms;
static const char *backlog;

static unsigned output(void *arg, const u8 *bytes, unsigned len)
{
	unsigned n = MIN(len, accept);

	memcpy(sent + sent_len, bytes, n);
	sent_len += n;
	accept -= n;
	return n;
}

static void room(void *arg)
{
	rooms++;
	if (backlog)
		backlog += ns16550_input(&uart, (const u8 *)backlog, strlen(backlog));
}

static u8 in(unsigned offset)
{
	return ns16550_class.ranges[0].ops.read(&uart, offset, 1);
}

static void out(unsigned offset, u8 value)
{
	ns16550_class.ranges[0].ops.write(&uart, offset, 1, value);
}

static int setup(void **state)
{
	irq = (struct probe){ 0 };
	sent_len = rooms = 0;
	accept = sizeof(sent);
	backlog = NULL;
	uart = (struct ns16550){ .irq = { probe_set, &irq, 0 }, .output = output, .room = room };
	ns16550_class.reset(&uart);
	return 0;
}

static void test_registers(void **state)
{
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(2), 0x01);
	assert_int_equal(in(6), 0xb0);
	out(7, 0x5a);
	assert_int_equal(in(7), 0x5a);
	out(3, 0x83);
	out(0, 0x34);
	out(1, 0x12);
	assert_int_equal(in(0), 0x34);
	assert_int_equal(in(1), 0x12);
	out(3, 0x03);
	assert_int_equal(in(1), 0);
	out(1, 0xff);
	assert_int_equal(in(1), 0x0f);
	/* A 16550A shows working FIFOs. */
	out(2, 0x01);
	assert_int_equal(in(2) & 0xc0, 0xc0);
	out(2, 0x00);
	assert_int_equal(in(2) & 0xc0, 0x00);
}

static void test_output(void **state)
{
	out(2, 0x01);
	out(0, 'a');
	out(0, 'b');
	assert_int_equal(sent_len, 2);
	assert_memory_equal(sent, "ab", 2);
	assert_int_equal(in(5), 0x60);
	/* The backend is full: THRE goes, bytes wait in the FIFO, and all come out in order. */
	accept = 1;
	for (unsigned i = 0; i < 5; i++)
		out(0, '0' + i);
	assert_int_equal(in(5) & 0x60, 0);
	accept = 2;
	ns16550_output_ready(&uart);
	assert_int_equal(in(5) & 0x60, 0);
	accept = 10;
	ns16550_output_ready(&uart);
	assert_int_equal(in(5) & 0x60, 0x60);
	assert_int_equal(sent_len, 7);
	assert_memory_equal(sent, "ab01234", 7);
}

static void test_output_irq(void **state)
{
	/* THR is empty: enabling the interrupt raises it, IIR shows and clears it. */
	out(1, 0x02);
	assert_true(irq.level);
	assert_int_equal(in(2), 0x02);
	assert_false(irq.level);
	assert_int_equal(in(2), 0x01);
	out(0, 'x');
	assert_true(irq.level);
	in(2);
	accept = 0;
	out(0, 'y');
	assert_false(irq.level);
	accept = 1;
	ns16550_output_ready(&uart);
	assert_true(irq.level);
	out(1, 0);
	assert_false(irq.level);
}

static void test_input(void **state)
{
	out(2, 0x81);
	out(1, 0x01);
	out(4, 0x0b);
	/* Below the trigger of 8: the timeout interrupt */
	assert_int_equal(ns16550_input(&uart, (const u8 *)"abc", 3), 3);
	assert_true(irq.level);
	assert_int_equal(in(2), 0xcc);
	assert_int_equal(ns16550_input(&uart, (const u8 *)"defgh", 5), 5);
	assert_int_equal(in(2), 0xc4);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(in(5) & 1, 1);
		assert_int_equal(in(0), 'a' + i);
	}
	assert_false(irq.level);
	assert_int_equal(in(5) & 1, 0);
	assert_int_equal(rooms, 0);
}

static void test_no_input_lost(void **state)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog again and again";
	char got[sizeof(text)] = { 0 };
	unsigned n = 0;

	backlog = text;
	backlog += ns16550_input(&uart, (const u8 *)backlog, strlen(backlog));
	assert_ptr_equal(backlog, text);
	/* As a driver opens it: looped to see what it is, FIFOs cleared, RTS raised last. */
	out(4, 0x12);
	in(5);
	out(4, 0x00);
	in(5);
	out(2, 0x07);
	in(0);
	out(4, 0x0b);
	while (in(5) & 1) {
		assert_true(n < sizeof(text) - 1);
		got[n++] = in(0);
	}
	assert_string_equal(got, text);
	assert_int_equal(in(5) & 2, 0);
	/* With RTS down the rest waits. */
	backlog = text;
	n = 0;
	backlog += ns16550_input(&uart, (const u8 *)backlog, strlen(backlog));
	out(4, 0x00);
	while (in(5) & 1)
		got[n++] = in(0);
	assert_int_equal(n, NS16550_FIFO);
	out(4, 0x02);
	while (in(5) & 1)
		got[n++] = in(0);
	assert_string_equal(got, text);
}

/* A program that never touches MCR and only polls */
static void test_polling(void **state)
{
	backlog = "poll";
	assert_int_equal(ns16550_input(&uart, (const u8 *)backlog, 4), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(in(5) & 1, 1);
		assert_int_equal(in(0), "poll"[i]);
	}
	assert_int_equal(in(5) & 1, 0);
}

static void test_priority(void **state)
{
	out(1, 0x0f);
	out(4, 0x10);
	/* Looped: RTS, DTR, OUT1, OUT2 come back, with deltas. */
	in(6);
	out(4, 0x1f);
	assert_int_equal(in(6), 0xfb);
	assert_int_equal(in(6), 0xf0);
	out(4, 0x1b);
	assert_int_equal(in(6), 0xb4);
	out(4, 0x10);
	/* Overrun: two bytes without a FIFO */
	out(0, 1);
	out(0, 2);
	assert_int_equal(sent_len, 0);
	assert_int_equal(in(2), 0x06);
	assert_int_equal(in(5) & 3, 3);
	assert_int_equal(in(5) & 3, 1);
	assert_int_equal(in(2), 0x04);
	assert_int_equal(in(0), 1);
	assert_int_equal(in(2), 0x02);
	assert_int_equal(in(2), 0x00);
	in(6);
	assert_int_equal(in(2), 0x01);
	assert_false(irq.level);
}

static void test_loop_holds_input(void **state)
{
	out(4, 0x10);
	backlog = "z";
	assert_int_equal(ns16550_input(&uart, (const u8 *)"z", 1), 0);
	assert_int_equal(in(5) & 1, 0);
	out(4, 0x02);
	assert_int_equal(in(0), 'z');
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_registers), TEST(test_output), TEST(test_output_irq), TEST(test_input),
		TEST(test_no_input_lost), TEST(test_polling),
		TEST(test_priority), TEST(test_loop_holds_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
