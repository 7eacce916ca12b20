/* SPDX-License-Identifier: MIT */
/*
 * gs: on a kernel that does not say that it may be written: every host that can write it at all is
 * such a one to this test.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "translate/gs.h"
#include "translate/host.h"

bool host_has_fsgsbase(void)
{
	return false;
}

static u8 *bytes; /* what gs: reaches */
static unsigned lost;

static void on_fault(int number, siginfo_t *info, void *context)
{
	if (!gs_is_lost(info->si_addr))
		_exit(1);
	lost++;
	gs_write((u64)bytes + GS_REACH_BELOW);
}

static u8 read_gs(i64 displacement)
{
	u8 value;

	__asm__ volatile("movb %%gs:(%1), %0" : "=q"(value) : "r"(displacement) : "memory");
	return value;
}

static void test_lost_is_found(void **state)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	const size_t size = GS_REACH_BELOW + GS_REACH_ABOVE;

	(void)state;
	if (gs_find_way() == GS_ASKED)
		skip();
	assert_int_equal(gs_find_way(), GS_LOST_AT_TIMES);
	bytes = aligned_alloc(PAGE_SIZE, size);
	assert_non_null(bytes);
	bytes[0] = 1;
	bytes[GS_REACH_BELOW] = 2;
	bytes[size - 1] = 3;
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		static const i64 at[3] = { -(i64)GS_REACH_BELOW, 0, (i64)GS_REACH_ABOVE - 1 };

		gs_thread(); /* what a kernel gives back that knows nothing of WRGSBASE */
		assert_int_equal(read_gs(at[i]), i + 1);
		assert_int_equal(lost, i + 1);
	}
	for (unsigned i = 0; i < 3; i++) {
		usleep(1000);
		assert_int_equal(read_gs(0), 2);
	}
	gs_ask(0);
	assert_false(gs_is_lost(bytes));
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_lost_is_found) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
