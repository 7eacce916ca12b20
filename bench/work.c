/* SPDX-License-Identifier: MIT */
/*
 * A small load in eight parts that every level runs: integers, memory, hashing, floating point,
 * system calls, forks, page faults, a pipe between two processes. Prints seconds for each, their
 * sum, and the time from its first line to its last.
 *   work LEVEL [--seconds N] [PART...]
 * LEVEL stands in what is printed, PARTs are the parts to run. With N each part is run again and again
 * for so long, and the median is printed: memory is there after the first time, what is left is the
 * steady cost.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <malloc.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What the loops compute goes here, so that none of them is optimized away. */
static volatile uint64_t sink;

static void sieve(void)
{
	const uint32_t limit = 20000000;
	uint8_t *composite = calloc(limit + 1, 1);
	uint64_t count = 0;

	if (!composite)
		exit(1);
	for (uint32_t i = 2; i <= limit; i++) {
		if (composite[i])
			continue;
		count++;
		for (uint64_t j = (uint64_t)i * i; j <= limit; j += i)
			composite[j] = 1;
	}
	free(composite);
	sink += count;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void sort(void)
{
	const size_t count = 1500000;
	uint32_t *values = malloc(count * sizeof(*values)), x = 12345;

	if (!values)
		exit(1);
	for (size_t i = 0; i < count; i++) {
		x = x * 1664525 + 1013904223;
		values[i] = x;
	}
	qsort(values, count, sizeof(*values), compare);
	sink += values[count / 2];
	free(values);
}

/* A mixing function in the manner of hashes: rotates, adds and xors over a buffer. */
static void hash(void)
{
	static uint32_t buffer[1 << 18];
	uint32_t a = 1, b = 2, c = 3, d = 4;

	for (int round = 0; round < 48; round++)
		for (size_t i = 0; i < sizeof(buffer) / sizeof(buffer[0]); i++) {
			a += buffer[i] ^ (b << 7 | b >> 25);
			b ^= a + (c << 13 | c >> 19);
			c += b ^ (d << 17 | d >> 15);
			d ^= c + a;
			buffer[i] = d;
		}
	sink += d;
}

static void matmul(void)
{
	enum { N = 320 };
	static double a[N][N], b[N][N], c[N][N];
	double sum = 0;

	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			a[i][j] = i * 0.5 + j;
			b[i][j] = i - j * 0.25;
		}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
			for (int j = 0; j < N; j++)
				c[i][j] += a[i][k] * b[k][j];
	for (int i = 0; i < N; i++)
		sum += c[i][N - 1 - i];
	sink += (uint64_t)sum;
}

static void system_calls(void)
{
	for (int i = 0; i < 1000000; i++)
		sink += (uint64_t)syscall(SYS_getppid);
}

static void forks(void)
{
	for (int i = 0; i < 1000; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static void page_faults(void)
{
	const size_t size = 64u << 20;

	for (int round = 0; round < 3; round++) {
		char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);

		if (memory == MAP_FAILED)
			exit(1);
		for (size_t i = 0; i < size; i += 4096)
			memory[i] = 1;
		munmap(memory, size);
	}
}

static void pipes(void)
{
	int there[2], back[2];
	char byte = 0;
	pid_t pid;

	if (pipe(there) || pipe(back))
		exit(1);
	pid = fork();
	if (!pid) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	close(there[0]);
	for (int i = 0; i < 50000; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			exit(1);
	close(there[1]);
	waitpid(pid, NULL, 0);
}

static int wanted(int count, char **names, const char *part)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], part))
			return 1;
	return !count;
}

static double once(void (*run)(void))
{
	double start = now();

	run();
	return now() - start;
}

static int compare_times(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The median time of a part that is run for some seconds, the first time not counted. */
static double steady(void (*run)(void), double seconds)
{
	enum { MOST = 10000 };
	static double times[MOST];
	double start;
	int count = 0;

	run();
	start = now();
	do
		times[count++] = once(run);
	while (count < MOST && now() - start < seconds);
	qsort(times, count, sizeof(times[0]), compare_times);
	return times[count / 2];
}

/* A line goes out by the serial ports of all levels after it was written, and each letter costs exits:
 * the first part is not to pay for it. */
static void let_lines_go_out(void)
{
	struct timespec time = { .tv_nsec = 300000000 };

	fflush(stdout);
	nanosleep(&time, NULL);
}

int main(int argc, char **argv)
{
	static struct {
		const char *name;
		void (*run)(void);
		double took;
	} parts[] = { { .name = "sieve", .run = sieve }, { .name = "sort", .run = sort },
		{ .name = "hash", .run = hash }, { .name = "matmul", .run = matmul },
		{ .name = "syscall", .run = system_calls }, { .name = "fork", .run = forks },
		{ .name = "pagefault", .run = page_faults }, { .name = "pipe", .run = pipes } };
	const size_t count = sizeof(parts) / sizeof(parts[0]);
	const char *level = argc > 1 ? argv[1] : "host";
	double begin = now(), total = 0, seconds = 0;
	cpu_set_t one;

	argc -= MIN(argc, 2);
	argv += 2;
	if (argc > 1 && !strcmp(argv[0], "--seconds")) {
		seconds = atof(argv[1]);
		argc -= 2;
		argv += 2;
		/* what is freed is kept for the next time */
		mallopt(M_MMAP_THRESHOLD, 1 << 30);
		mallopt(M_TRIM_THRESHOLD, 1 << 30);
	}

	/* one CPU, as the guests have */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	printf("%s: work begins\n", level);
	let_lines_go_out();
	for (size_t i = 0; i < count; i++) {
		if (!wanted(argc, argv, parts[i].name))
			continue;
		parts[i].took = seconds > 0 ? steady(parts[i].run, seconds) : once(parts[i].run);
		total += parts[i].took;
	}
	for (size_t i = 0; i < count; i++)
		if (wanted(argc, argv, parts[i].name))
			printf("%s: work %s %.4f\n", level, parts[i].name, parts[i].took);
	printf("%s: work total %.4f\n", level, total);
	printf("%s: work ends after %.4f\n", level, now() - begin);
	return 0;
}
