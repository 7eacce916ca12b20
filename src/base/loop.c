/* SPDX-License-Identifier: MIT */
/*
 * The event loop: epoll for file descriptors, a binary heap for timers.
 *
 * Arming a timer is frequent (every guest tick) and mostly needs no system call: the loop sleeps
 * with its earliest deadline as epoll's timeout, and a timer that is later than what the loop
 * sleeps for anyway only enters the heap. A cancelled timer lets the loop wake once for nothing.
 *
 * One that is earlier, armed by another thread, moves a timerfd, which wakes nobody before the time
 * has come, but interrupts the CPU of the thread that armed it then. On a host that is a VM itself that
 * costs this thread 40,000 to 120,000 cycles, and setting the timerfd 17,000. A loop with a CPU of its
 * own (loop_own_cpu()) therefore waits for all timers itself. It stays awake for a while when one has
 * gone off, since a guest sets the next in the handler of the last, and is woken where that was too
 * short.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"

#define NEVER UINT64_MAX
#define BATCH 16
/* How long the loop stays awake for timers that may be set next: what a tick of L3 needs to get to L1's. */
#define LINGER_NS 100000
/* For how many timers it does so to the end, once one was set only when it slept again. */
#define PATIENCE 16
/* Handles of our own two descriptors; those of watched ones are fd | generation << 32. */
#define HANDLE_WAKE UINT64_MAX
#define HANDLE_TIMER (UINT64_MAX - 1)

struct watch {
	void (*ready)(void *arg, int fd, unsigned events);
	void *arg;
	unsigned events;     /* 0: not watched */
	u32 generation;      /* tells a late event of an earlier watch */
	bool always;         /* a regular file or /dev/null: epoll refuses it, it is always ready */
};

struct loop {
	void (*before)(void *);
	void (*after)(void *);
	void *arg;
	int epoll, wake, timerfd;
	bool no_pwait2;      /* Linux 5.10, or a seccomp filter that does not know it */
	bool own_cpu;
	unsigned patience;   /* see PATIENCE */
	u32 armed;           /* atomic: how often a timer was */
	u64 earliest;        /* atomic: deadline of the first of the heap, NEVER: none */
	int stop;            /* atomic */
	u64 sleep_until;     /* what the loop sleeps for at most; 0: it is awake */
	u64 timerfd_at;      /* what the timerfd is set to; NEVER: nothing */
	struct watch *watches;
	unsigned watch_count, always_count;
	struct loop_timer **heap; /* [1..timer_count], the earliest first */
	unsigned timer_count, heap_size;
};

u64 clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

u64 clock_realtime_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

struct loop *loop_new(void (*before)(void *), void (*after)(void *), void *arg)
{
	struct epoll_event wake = { .events = EPOLLIN, .data.u64 = HANDLE_WAKE };
	/* Edge-triggered: setting the timer again forgets the expiry, so it is never read. */
	struct epoll_event timer = { .events = EPOLLIN | EPOLLET, .data.u64 = HANDLE_TIMER };
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->before = before;
	loop->after = after;
	loop->arg = arg;
	loop->timerfd_at = loop->earliest = NEVER;
	loop->heap_size = 32;
	loop->heap = calloc(loop->heap_size, sizeof(*loop->heap));
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!loop->heap || loop->epoll < 0 || loop->wake < 0 || loop->timerfd < 0 ||
		epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &wake) < 0 ||
		epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timerfd, &timer) < 0) {
		int error = errno;

		loop_free(loop);
		errno = error;
		return NULL;
	}
	return loop;
}

void loop_own_cpu(struct loop *loop, bool own)
{
	loop->own_cpu = own;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->epoll >= 0)
		close(loop->epoll);
	if (loop->wake >= 0)
		close(loop->wake);
	if (loop->timerfd >= 0)
		close(loop->timerfd);
	free(loop->watches);
	free(loop->heap);
	free(loop);
}

static void wake_loop(struct loop *loop)
{
	u64 one = 1;
	/* A full counter also wakes it. */
	ssize_t written = write(loop->wake, &one, sizeof(one));

	(void)written;
}

/* ---- file descriptors ---- */

static int grow_watches(struct loop *loop, unsigned fd)
{
	unsigned count = MAX(fd + 1, loop->watch_count * 2);
	struct watch *watches = realloc(loop->watches, count * sizeof(*watches));

	if (!watches)
		return -ENOMEM;
	memset(watches + loop->watch_count, 0, (count - loop->watch_count) * sizeof(*watches));
	loop->watches = watches;
	loop->watch_count = count;
	return 0;
}

int loop_watch(struct loop *loop, int fd, unsigned events,
	void (*ready)(void *arg, int fd, unsigned events), void *arg)
{
	struct epoll_event event = { 0 };
	struct watch *watch;
	int op;

	if (fd < 0)
		return -EBADF;
	if ((unsigned)fd >= loop->watch_count) {
		int error = events ? grow_watches(loop, fd) : 0;

		if (error || !events)
			return error;
	}
	watch = &loop->watches[fd];
	if (!events && !watch->events)
		return 0;
	if (watch->always) {
		loop->always_count--;
		watch->always = false;
		watch->events = 0;
		if (!events)
			return 0;
	}
	op = !events ? EPOLL_CTL_DEL : watch->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (op != EPOLL_CTL_MOD)
		watch->generation++;
	event.events = (events & LOOP_READ ? EPOLLIN : 0) | (events & LOOP_WRITE ? EPOLLOUT : 0);
	event.data.u64 = (u32)fd | (u64)(watch->generation & 0x7fffffff) << 32;
	watch->ready = ready;
	watch->arg = arg;
	watch->events = events;
	if (epoll_ctl(loop->epoll, op, fd, &event) == 0)
		return 0;
	if (op == EPOLL_CTL_ADD && errno == EPERM) {
		watch->always = true;
		loop->always_count++;
		wake_loop(loop);
		return 0;
	}
	/* A descriptor that was closed while watched has left epoll by itself. */
	if (op == EPOLL_CTL_DEL)
		return 0;
	if (op == EPOLL_CTL_MOD && errno == ENOENT &&
		epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
		return 0;
	watch->events = 0;
	return -errno;
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
	unsigned fd = (u32)event->data.u64;
	u32 generation = event->data.u64 >> 32;
	unsigned events = 0;
	struct watch *watch;
	u64 count;

	if (event->data.u64 == HANDLE_TIMER) {
		loop->timerfd_at = NEVER;
		return;
	}
	if (event->data.u64 == HANDLE_WAKE) {
		ssize_t got = read(loop->wake, &count, sizeof(count));

		(void)got;
		return;
	}
	if (fd >= loop->watch_count)
		return;
	watch = &loop->watches[fd];
	if ((watch->generation & 0x7fffffff) != generation || !watch->events || watch->always)
		return;
	/* An error or a hang-up shows to whoever reads or writes. */
	if (event->events & (EPOLLERR | EPOLLHUP))
		events = watch->events;
	if (event->events & EPOLLIN)
		events |= LOOP_READ;
	if (event->events & EPOLLOUT)
		events |= LOOP_WRITE;
	events &= watch->events;
	if (events)
		watch->ready(watch->arg, fd, events);
}

static void dispatch_always(struct loop *loop)
{
	for (unsigned fd = 0; loop->always_count && fd < loop->watch_count; fd++) {
		struct watch *watch = &loop->watches[fd];

		if (watch->always)
			watch->ready(watch->arg, fd, watch->events);
	}
}

/* ---- timers ---- */

static void heap_put(struct loop *loop, unsigned place, struct loop_timer *timer)
{
	loop->heap[place] = timer;
	timer->heap = place;
}

/* Moves the timer that belongs at `place`, which is free, to where the order wants it. */
static void heap_settle(struct loop *loop, unsigned place, struct loop_timer *timer)
{
	struct loop_timer **heap = loop->heap;

	while (place > 1 && heap[place / 2]->deadline > timer->deadline) {
		heap_put(loop, place, heap[place / 2]);
		place /= 2;
	}
	while (place * 2 <= loop->timer_count) {
		unsigned child = place * 2;

		if (child < loop->timer_count && heap[child + 1]->deadline < heap[child]->deadline)
			child++;
		if (heap[child]->deadline >= timer->deadline)
			break;
		heap_put(loop, place, heap[child]);
		place = child;
	}
	heap_put(loop, place, timer);
}

static void heap_remove(struct loop *loop, struct loop_timer *timer)
{
	unsigned place = timer->heap;
	struct loop_timer *last = loop->heap[loop->timer_count--];

	timer->heap = 0;
	if (last != timer)
		heap_settle(loop, place, last);
}

static void note_earliest(struct loop *loop)
{
	u64 earliest = loop->timer_count ? loop->heap[1]->deadline : NEVER;

	__atomic_store_n(&loop->earliest, earliest, __ATOMIC_RELAXED);
}

static bool heap_grow(struct loop *loop)
{
	struct loop_timer **heap = realloc(loop->heap, loop->heap_size * 2 * sizeof(*heap));

	if (!heap)
		return false;
	loop->heap = heap;
	loop->heap_size *= 2;
	return true;
}

static void set_timerfd(struct loop *loop, u64 deadline)
{
	struct itimerspec spec = {
		.it_value.tv_sec = deadline / 1000000000,
		.it_value.tv_nsec = deadline % 1000000000,
	};

	timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &spec, NULL);
	loop->timerfd_at = deadline;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, u64 deadline)
{
	/* Past the range of the kernel's clocks: 292 years from boot, never. */
	if (deadline > INT64_MAX)
		deadline = 0;
	timer->deadline = deadline;
	if (!deadline) {
		if (timer->heap)
			heap_remove(loop, timer);
		note_earliest(loop);
		return;
	}
	if (timer->heap) {
		heap_settle(loop, timer->heap, timer);
	} else {
		/* Timers belong to devices: their number is fixed once the machine is built. */
		if (loop->timer_count + 1 == loop->heap_size && !heap_grow(loop))
			bug("no memory for a timer");
		heap_settle(loop, ++loop->timer_count, timer);
	}
	__atomic_store_n(&loop->armed, loop->armed + 1, __ATOMIC_RELAXED);
	note_earliest(loop);
	if (loop->sleep_until <= deadline)
		return;
	if (loop->own_cpu) {
		wake_loop(loop);
		loop->sleep_until = 0; /* it looks at the heap before it sleeps again */
		loop->patience = PATIENCE;
	} else {
		set_timerfd(loop, deadline);
		loop->sleep_until = deadline;
	}
}

/* Whether one went off that its handler did not set again. */
static bool fire_timers(struct loop *loop)
{
	unsigned turns = loop->timer_count;
	bool spent = false;
	u64 now;

	if (!turns)
		return false;
	/* Bounded: one that always sets itself to the past must not hold up the descriptors. */
	now = clock_ns();
	while (turns-- && loop->timer_count && loop->heap[1]->deadline <= now) {
		struct loop_timer *timer = loop->heap[1];

		heap_remove(loop, timer);
		timer->deadline = 0;
		timer->fire(timer->arg);
		spent |= !timer->deadline;
	}
	note_earliest(loop);
	return spent;
}

/* ---- running ---- */

/* Until when to sleep; tells loop_timer_set() of it. The lock is held. */
static u64 prepare_sleep(struct loop *loop)
{
	u64 until = loop->earliest;

	if (loop->always_count)
		until = 0;
	/* epoll_wait's milliseconds are too coarse: the timerfd keeps the time. */
	else if (loop->no_pwait2 && until != NEVER && until != loop->timerfd_at)
		set_timerfd(loop, until);
	loop->sleep_until = until;
	return until;
}

/* Without the lock: loop_timer_set() may move the timerfd meanwhile, to earlier only. */
static int sleep_until(struct loop *loop, struct epoll_event *events, u64 until)
{
	struct timespec timeout = { 0 };
	u64 now;
	int n;

	if (!until)
		return epoll_wait(loop->epoll, events, BATCH, 0);
	if (until == NEVER || loop->no_pwait2)
		return epoll_wait(loop->epoll, events, BATCH, -1);
	now = clock_ns();
	if (until > now) {
		timeout.tv_sec = (until - now) / 1000000000;
		timeout.tv_nsec = (until - now) % 1000000000;
	}
	n = epoll_pwait2(loop->epoll, events, BATCH, &timeout, NULL);
	if (n < 0 && (errno == ENOSYS || errno == EPERM))
		loop->no_pwait2 = true;
	return n;
}

/*
 * Stays awake for LINGER_NS, or until a timer is due, also one that is set meanwhile, or a descriptor
 * ready; without patience until a timer is set. The turn after that lets its setter give up the lock.
 */
static int linger(struct loop *loop, struct epoll_event *events, bool patient)
{
	u32 armed = __atomic_load_n(&loop->armed, __ATOMIC_RELAXED);
	u64 now = clock_ns(), until = now + LINGER_NS;
	bool waits;
	int n;

	do {
		waits = patient || __atomic_load_n(&loop->armed, __ATOMIC_RELAXED) == armed;
		n = epoll_wait(loop->epoll, events, BATCH, 0);
		now = clock_ns();
	} while (!n && waits && now < until && now < __atomic_load_n(&loop->earliest, __ATOMIC_RELAXED));
	return n;
}

/* Waits for what comes next. The lock is held, but not meanwhile. */
static int wait_for_events(struct loop *loop, struct epoll_event *events, bool spent)
{
	bool awake = spent && loop->own_cpu && !loop->always_count;
	bool patient = loop->patience;
	u64 until = awake ? 0 : prepare_sleep(loop);
	int n;

	if (awake && patient)
		loop->patience--;
	if (loop->after)
		loop->after(loop->arg);
	n = awake ? linger(loop, events, patient) : sleep_until(loop, events, until);
	if (loop->before)
		loop->before(loop->arg);
	loop->sleep_until = 0;
	return n;
}

void loop_run(struct loop *loop)
{
	struct epoll_event events[BATCH];
	bool spent = false;

	/* The default slack of 50 us would make every guest timer late. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	if (loop->before)
		loop->before(loop->arg);
	while (!__atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE)) {
		int n = wait_for_events(loop, events, spent);

		spent = fire_timers(loop);
		for (int i = 0; i < n; i++)
			dispatch(loop, &events[i]);
		if (loop->always_count)
			dispatch_always(loop);
	}
	__atomic_store_n(&loop->stop, 0, __ATOMIC_RELEASE);
	if (loop->after)
		loop->after(loop->arg);
}

void loop_stop(struct loop *loop)
{
	int saved_errno = errno;

	__atomic_store_n(&loop->stop, 1, __ATOMIC_RELEASE);
	wake_loop(loop);
	errno = saved_errno;
}
