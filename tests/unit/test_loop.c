/* SPDX-License-Identifier: MIT */
/* The event loop: order of timers, descriptors, arming from another thread, stopping. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"

#define MS 1000000ull

struct fixture {
	struct loop *loop;
	pthread_mutex_t lock;
	unsigned order[64];
	unsigned fired;
	unsigned stop_after;
};

struct entry {
	struct loop_timer timer;
	struct fixture *fixture;
	unsigned number;
};

static void lock(void *arg)
{
	pthread_mutex_lock(&((struct fixture *)arg)->lock);
}

static void unlock(void *arg)
{
	pthread_mutex_unlock(&((struct fixture *)arg)->lock);
}

static int setup(void **state)
{
	static struct fixture fixture;

	fixture = (struct fixture){ .lock = PTHREAD_MUTEX_INITIALIZER };
	fixture.loop = loop_new(lock, unlock, &fixture);
	*state = &fixture;
	return !fixture.loop;
}

static int setup_own_cpu(void **state)
{
	int error = setup(state);

	if (!error)
		loop_own_cpu(((struct fixture *)*state)->loop, true);
	return error;
}

static int teardown(void **state)
{
	loop_free(((struct fixture *)*state)->loop);
	return 0;
}

static void fire(void *arg)
{
	struct entry *entry = arg;
	struct fixture *f = entry->fixture;

	assert_int_equal(entry->timer.deadline, 0);
	f->order[f->fired++] = entry->number;
	if (f->fired == f->stop_after)
		loop_stop(f->loop);
}

static void test_order(void **state)
{
	struct fixture *f = *state;
	struct entry entries[50];
	u64 base = clock_ns() + MS;

	for (unsigned i = 0; i < 50; i++) {
		/* 7 is coprime to 50: all numbers come once, out of order. */
		unsigned number = i * 7 % 50;

		entries[i] = (struct entry){ .timer.fire = fire, .timer.arg = &entries[i],
			.fixture = f, .number = number };
		loop_timer_set(f->loop, &entries[i].timer, base + number * 1000);
	}
	/* One is taken out, one moved to the end, one set twice. */
	for (unsigned i = 0; i < 50; i++) {
		if (entries[i].number == 20)
			loop_timer_set(f->loop, &entries[i].timer, 0);
		if (entries[i].number == 10)
			loop_timer_set(f->loop, &entries[i].timer, base + 2 * MS);
		if (entries[i].number == 30)
			loop_timer_set(f->loop, &entries[i].timer, base + 30000);
	}
	f->stop_after = 49;
	loop_run(f->loop);
	assert_int_equal(f->fired, 49);
	assert_true(clock_ns() >= base + 2 * MS);
	assert_int_equal(f->order[48], 10);
	for (unsigned i = 0, number = 0; i < 48; i++, number++) {
		if (number == 10 || number == 20)
			number++;
		assert_int_equal(f->order[i], number);
	}
}

static void *arm_soon(void *arg)
{
	struct entry *entry = arg;

	usleep(20000);
	lock(entry->fixture);
	loop_timer_set(entry->fixture->loop, &entry->timer, clock_ns() + 5 * MS);
	unlock(entry->fixture);
	return NULL;
}

/* The loop sleeps for a far timer, or for ever, when another thread arms a near one. */
static void test_other_thread(void **state)
{
	struct fixture *f = *state;
	struct entry far = { .timer.fire = fire, .timer.arg = &far, .fixture = f, .number = 1 };
	struct entry near = { .timer.fire = fire, .timer.arg = &near, .fixture = f, .number = 2 };

	f->stop_after = 1;
	for (unsigned i = 0; i < 2; i++) {
		pthread_t thread;

		f->fired = 0;
		loop_timer_set(f->loop, &far.timer, i ? clock_ns() + 3600000 * MS : 0);
		assert_int_equal(pthread_create(&thread, NULL, arm_soon, &near), 0);
		loop_run(f->loop);
		pthread_join(thread, NULL);
		assert_int_equal(f->fired, 1);
		assert_int_equal(f->order[0], 2);
	}
	loop_timer_set(f->loop, &far.timer, 0);
}

#define TURNS 400
#define HANDED 3

/* Timers that another thread sets anew whenever they have gone off, as a guest does. */
struct handed {
	struct loop_timer timer;
	struct fixture *fixture;
	u64 deadline;
	unsigned gone_off; /* atomic */
	bool early;
};

static void hand_back(void *arg)
{
	struct handed *handed = arg;

	handed->early |= clock_ns() < handed->deadline;
	__atomic_store_n(&handed->gone_off, handed->gone_off + 1, __ATOMIC_RELEASE);
}

static void *set_anew(void *arg)
{
	struct handed *handed = arg;
	struct fixture *f = handed->fixture;
	unsigned set[HANDED] = { 0 }, left = HANDED;
	u32 x = 1;

	while (left) {
		for (unsigned i = 0; i < HANDED; i++) {
			struct handed *one = &handed[i];

			if (set[i] > TURNS || __atomic_load_n(&one->gone_off, __ATOMIC_ACQUIRE) != set[i])
				continue;
			if (set[i]++ == TURNS) {
				left--;
				continue;
			}
			x = x * 1664525 + 1013904223;
			lock(f);
			/* soon, or in a while: the loop is awake still, or sleeps for a later one */
			one->deadline = clock_ns() + (x & 1u << 31 ? 20000 : 1000000) + (x >> 8 & 0xffff);
			loop_timer_set(f->loop, &one->timer, one->deadline);
			unlock(f);
		}
	}
	loop_stop(f->loop);
	return NULL;
}

/* None of them is lost, and none comes too early. */
static void test_set_anew(void **state)
{
	struct fixture *f = *state;
	struct handed handed[HANDED];
	pthread_t thread;

	for (unsigned i = 0; i < HANDED; i++)
		handed[i] = (struct handed){ .timer.fire = hand_back, .timer.arg = &handed[i], .fixture = f };
	assert_int_equal(pthread_create(&thread, NULL, set_anew, handed), 0);
	loop_run(f->loop);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < HANDED; i++) {
		assert_int_equal(handed[i].gone_off, TURNS);
		assert_false(handed[i].early);
	}
}

static void rearm(void *arg)
{
	struct entry *entry = arg;

	entry->number++;
	loop_timer_set(entry->fixture->loop, &entry->timer, 1);
}

static void readable(void *arg, int fd, unsigned events)
{
	struct fixture *f = arg;
	char byte;

	assert_int_equal(events, LOOP_READ);
	assert_int_equal(read(fd, &byte, 1), 1);
	f->order[f->fired++] = byte;
	if (f->fired == f->stop_after)
		loop_stop(f->loop);
}

/* A timer that is always due leaves the descriptors their turn. */
static void test_fair(void **state)
{
	struct fixture *f = *state;
	struct entry busy = { .timer.fire = rearm, .timer.arg = &busy, .fixture = f };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	loop_timer_set(f->loop, &busy.timer, 1);
	assert_int_equal(loop_watch(f->loop, fds[0], LOOP_READ, readable, f), 0);
	f->stop_after = 3;
	loop_run(f->loop);
	assert_true(busy.number >= 3);
	assert_int_equal(f->order[0], 'a');
	assert_int_equal(f->order[2], 'c');
	assert_int_equal(loop_watch(f->loop, fds[0], 0, NULL, NULL), 0);
	assert_int_equal(loop_watch(f->loop, fds[0], 0, NULL, NULL), 0);
	close(fds[0]);
	close(fds[1]);
}

struct pair {
	struct fixture *fixture;
	int fds[2];
	unsigned calls;
};

/* Both ends are ready in one batch; the first to run stops watching the other. */
static void stop_other(void *arg, int fd, unsigned events)
{
	struct pair *pair = arg;
	int other = pair->fds[fd == pair->fds[0]];

	pair->calls++;
	loop_watch(pair->fixture->loop, other, 0, NULL, NULL);
	loop_stop(pair->fixture->loop);
}

static void test_unwatch_in_batch(void **state)
{
	struct fixture *f = *state;
	struct pair pair = { .fixture = f };
	int a[2], b[2];

	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	pair.fds[0] = a[0];
	pair.fds[1] = b[0];
	assert_int_equal(write(a[1], "x", 1), 1);
	assert_int_equal(write(b[1], "x", 1), 1);
	assert_int_equal(loop_watch(f->loop, a[0], LOOP_READ, stop_other, &pair), 0);
	assert_int_equal(loop_watch(f->loop, b[0], LOOP_READ, stop_other, &pair), 0);
	loop_run(f->loop);
	assert_int_equal(pair.calls, 1);
	assert_int_equal(loop_watch(f->loop, a[0], 0, NULL, NULL), 0);
	assert_int_equal(loop_watch(f->loop, b[0], 0, NULL, NULL), 0);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

static void end_of_file(void *arg, int fd, unsigned events)
{
	struct fixture *f = arg;
	char byte;

	assert_int_equal(read(fd, &byte, 1), 0);
	loop_watch(f->loop, fd, 0, NULL, NULL);
	f->fired++;
	loop_stop(f->loop);
}

/* What epoll refuses is always ready: standard input may be a file or /dev/null. */
static void test_always_ready(void **state)
{
	struct fixture *f = *state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(loop_watch(f->loop, fd, LOOP_READ, end_of_file, f), 0);
	loop_run(f->loop);
	assert_int_equal(f->fired, 1);
	close(fd);
	assert_int_equal(loop_watch(f->loop, fd, LOOP_READ, end_of_file, f), -EBADF);
	assert_int_equal(loop_watch(f->loop, -1, LOOP_READ, end_of_file, f), -EBADF);
}

static void *stop_soon(void *arg)
{
	usleep(20000);
	loop_stop(arg);
	return NULL;
}

static void test_stop(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stop_soon, f->loop), 0);
	loop_run(f->loop);
	pthread_join(thread, NULL);
	/* A stop that comes before the run is not lost, and the lock is free after it. */
	loop_stop(f->loop);
	loop_run(f->loop);
	assert_int_equal(pthread_mutex_trylock(&f->lock), 0);
	pthread_mutex_unlock(&f->lock);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown), \
	{ #name "_own_cpu", name, setup_own_cpu, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order), TEST(test_other_thread), TEST(test_set_anew), TEST(test_fair),
		TEST(test_unwatch_in_batch), TEST(test_always_ready), TEST(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
