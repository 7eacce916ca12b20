/* SPDX-License-Identifier: MIT */
/*
 * Messages, trace points and the ring of the last trace records, which bug() dumps. The log is
 * the process's and not a VM's: standard error is shared, and bug() must find the ring from
 * anywhere. It is therefore the only state in nestbox that hangs off nothing.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"

#define RING_RECORDS 256
#define RECORD_LEN 384 /* the longest are entries of --trace svm and vmx */

struct record {
	u64 number; /* 1 + its place in the sequence of all records; 0: empty */
	char text[RECORD_LEN];
};

u64 trace_mask;
static char prefix[32] = "nestbox: ";
static struct record ring[RING_RECORDS];
static u64 ring_count;

static const char *const point_names[TRACE_COUNT] = {
#define TRACE_POINT(name, comment) [TRACE_##name] = #name,
#include "base/trace.def"
#undef TRACE_POINT
};

/* One write(), so that lines of several threads do not mix. */
static void put_line(const char *text, size_t len)
{
	char line[RECORD_LEN * 4];
	struct termios tty;
	/* A terminal in raw mode does not go back to the first column by itself. */
	bool raw = tcgetattr(STDERR_FILENO, &tty) == 0 && !(tty.c_oflag & OPOST);
	size_t n = 0;
	ssize_t written;

	if (raw)
		line[n++] = '\r';
	len = MIN(len, sizeof(line) - 3);
	memcpy(line + n, text, len);
	n += len;
	if (raw)
		line[n++] = '\r';
	line[n++] = '\n';
	do {
		written = write(STDERR_FILENO, line, n);
	} while (written < 0 && errno == EINTR);
}

static void vmessage(const char *what, const char *format, va_list args)
{
	char text[RECORD_LEN * 3];
	int n = snprintf(text, sizeof(text), "%s%s", prefix, what);
	int more = vsnprintf(text + n, sizeof(text) - n, format, args);

	if (more > 0)
		n = MIN(n + more, (int)sizeof(text) - 1);
	put_line(text, n);
}

const char *trace_enable(const char *list)
{
	u64 mask = 0;

	while (*list) {
		size_t len = strcspn(list, ",");
		unsigned i;

		for (i = 0; i < TRACE_COUNT; i++) {
			if (strlen(point_names[i]) == len && !strncmp(point_names[i], list, len))
				break;
		}
		if (i == TRACE_COUNT)
			return list;
		mask |= BIT(i);
		list += len;
		if (*list == ',')
			list++;
	}
	trace_mask |= mask;
	return NULL;
}

void trace_print(enum trace_point point, const char *format, ...)
{
	u64 number = __atomic_add_fetch(&ring_count, 1, __ATOMIC_RELAXED);
	struct record *record = &ring[number % RING_RECORDS];
	int saved_errno = errno;
	va_list args;
	int n;

	va_start(args, format);
	n = snprintf(record->text, RECORD_LEN, "%s: ", point_names[point]);
	vsnprintf(record->text + n, RECORD_LEN - n, format, args);
	va_end(args);
	__atomic_store_n(&record->number, number, __ATOMIC_RELEASE);
	if (trace_on(point))
		put_line(record->text, strnlen(record->text, RECORD_LEN));
	errno = saved_errno;
}

void message_set_level(unsigned level)
{
	if (level)
		snprintf(prefix, sizeof(prefix), "nestbox (L%u): ", level);
	else
		snprintf(prefix, sizeof(prefix), "nestbox: ");
}

const char *message_prefix(void)
{
	return prefix;
}

void message(const char *format, ...)
{
	int saved_errno = errno;
	va_list args;

	va_start(args, format);
	vmessage("", format, args);
	va_end(args);
	errno = saved_errno;
}

void bug(const char *format, ...)
{
	u64 last = __atomic_load_n(&ring_count, __ATOMIC_ACQUIRE);
	u64 first = last > RING_RECORDS ? last - RING_RECORDS + 1 : 1;
	va_list args;

	for (u64 number = first; number <= last; number++) {
		const struct record *record = &ring[number % RING_RECORDS];

		if (__atomic_load_n(&record->number, __ATOMIC_ACQUIRE) == number)
			put_line(record->text, strnlen(record->text, RECORD_LEN));
	}
	va_start(args, format);
	vmessage("internal error: ", format, args);
	va_end(args);
	abort();
}
