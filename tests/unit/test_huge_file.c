/* SPDX-License-Identifier: MIT */
/* Files of memory, whatever the host makes them of. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/huge_file.h"

#define SIZE (5 * MIB + 4096) /* not a multiple of large pages */

static unsigned open_files(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void test_two_views(void **state)
{
	int fd = huge_file("test", SIZE);
	u8 *rw, *rx;
	struct stat file;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fd, &file), 0);
	assert_int_equal(file.st_size, SIZE);
	rw = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rx = mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	assert_true(rw != MAP_FAILED && rx != MAP_FAILED);
	close(fd);
	/* all of it is there: a file system with too little room would end us here */
	for (u64 at = 0; at < SIZE; at++)
		assert_int_equal(rx[at], 0);
	memset(rw, 0xc3, SIZE); /* RET */
	((void (*)(void))(rx + SIZE - 1))();
	munmap(rw, SIZE);
	munmap(rx, SIZE);
}

static void test_nothing_stays(void **state)
{
	unsigned before = open_files();
	int first = huge_file("test", SIZE), second = huge_file("test", SIZE);

	(void)state;
	assert_true(first >= 0 && second >= 0 && first != second);
	assert_int_equal(open_files(), before + 2);
	close(first);
	close(second);
	assert_int_equal(open_files(), before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_no_such_size(void **state)
{
	unsigned before = open_files();

	(void)state;
	assert_true(huge_file("test", 1ull << 63) < 0);
	assert_int_equal(open_files(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_two_views),
		cmocka_unit_test(test_nothing_stays), cmocka_unit_test(test_no_such_size) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
