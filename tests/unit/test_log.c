/* SPDX-License-Identifier: MIT */
/* Trace lists, messages, and the ring that a defect dumps. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static void test_enable(void **state)
{
	const char *list = "svm,nonsense,mmu";

	trace_mask = 0;
	assert_ptr_equal(trace_enable(list), list + 4);
	assert_true(trace_mask == 0);
	assert_null(trace_enable("svm,mmu"));
	assert_true(trace_on(TRACE_svm) && trace_on(TRACE_mmu) && !trace_on(TRACE_io));
	assert_null(trace_enable("io"));
	assert_true(trace_on(TRACE_svm) && trace_on(TRACE_io));
	assert_null(trace_enable(""));
	list = "sv";
	assert_ptr_equal(trace_enable(list), list);
	trace_mask = 0;
}

/* Runs in a child whose standard error is the returned text. */
static int capture(void (*run)(void), char *text, size_t size)
{
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct rlimit no_core = { 0 };

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		run();
		_exit(0);
	}
	close(fds[1]);
	while (len < size - 1 && (n = read(fds[0], text + len, size - 1 - len)) > 0)
		len += n;
	text[len] = 0;
	close(fds[0]);
	waitpid(pid, &status, 0);
	return status;
}

static void say(void)
{
	message("%s: %d", "a file", 5);
	message_set_level(2);
	message("inside");
	message_set_level(0);
	message("outside");
	trace_print(TRACE_io, "not seen");
	trace_enable("io");
	trace_print(TRACE_io, "seen %d", 1);
}

static void test_message(void **state)
{
	char text[4096];

	assert_int_equal(capture(say, text, sizeof(text)), 0);
	assert_string_equal(text, "nestbox: a file: 5\nnestbox (L2): inside\nnestbox: outside\nio: seen 1\n");
}

static void say_much(void)
{
	char long_text[2000];

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	for (unsigned i = 0; i < 1000; i++)
		trace_print(TRACE_irq, "record %u", i);
	trace_print(TRACE_irq, "%s", long_text);
	message("%s", long_text);
	bug("this %s wrong", "is");
}

static void test_bug(void **state)
{
	static char text[65536];
	int status = capture(say_much, text, sizeof(text));

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "irq: record 999\n"));
	assert_non_null(strstr(text, "irq: record 800\n"));
	assert_null(strstr(text, "record 100\n"));
	assert_non_null(strstr(text, "\nnestbox: internal error: this is wrong\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enable), cmocka_unit_test(test_message),
		cmocka_unit_test(test_bug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
